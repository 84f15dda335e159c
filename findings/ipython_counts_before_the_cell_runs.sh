#!/usr/bin/env bash
# IPython 9.18.1: `execution_count` is the next cell's number already before a cell runs.
#
# Seen: in a pre_run_cell callback and in an AST transformer the shell's execution_count of the first
# cell is 2, although its prompt, and the result that post_run_cell gets, say 1. In IPython 8.31.0 all
# of them say 1. Who notes the number of a cell before it runs, to name it later, names the one after.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/count.py" << 'END'
from IPython.core.interactiveshell import InteractiveShell


class Transformer:
    def visit(self, node):
        seen.append(shell.execution_count)
        return node


shell, seen = InteractiveShell(), []
shell.ast_transformers.append(Transformer())
shell.events.register("pre_run_cell", lambda info: seen.append(shell.execution_count))
result = shell.run_cell("x = 1", store_history=True)
print(*seen, result.execution_count)
END
counts() { # IPYTHON: before the cell, in the transformer, of the result
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install -q --disable-pip-version-check "ipython==$1"
  IPYTHONDIR="$folder/home" "$folder/$1/bin/python" "$folder/count.py"
}
old=$(counts 8.31.0)
new=$(counts 9.18.1)
echo "before the cell, in the transformer, of the result: $old on IPython 8.31.0, $new on 9.18.1"
[ "$old" = "1 1 1" ] && [ "$new" = "2 2 1" ]
