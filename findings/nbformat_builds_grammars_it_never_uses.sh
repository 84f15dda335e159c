#!/usr/bin/env bash
# nbformat 5.10.4 beside jsonschema 4.26.0 with its extra "format-nongpl", which JupyterLab brings by
# way of jupyter_events: `import nbformat` builds dozens of grammars for web addresses.
#
# Guess: reading a notebook, whose schema has no address in it and which nbformat checks with
# fastjsonschema by default, loads a JSON schema or two; extras of another package change nothing.
#
# Seen: nbformat imports jsonschema, whatever checks the notebook in the end; jsonschema tries to
# import each of its optional checkers of formats; and rfc3987_syntax 1.1.0 builds one Lark parser
# for each term of RFC 3987 while it is imported. Without the extra no parser is built. With it,
# `import nbformat` took 2.8 s here in the place of 0.6 s, and 39 parsers were built. That is paid by
# each process that reads a notebook: nbclient, nbconvert, a test worker.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/count.py" << 'END'
import sys
import time

built = 0
try:
    import lark
except ImportError:  # nothing here brings it
    lark = None
if lark:
    make = lark.Lark.__init__

    def counting(self, *args, **kwargs):
        global built
        built += 1
        make(self, *args, **kwargs)

    lark.Lark.__init__ = counting
start = time.perf_counter()
import nbformat

seconds = time.perf_counter() - start
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
nbformat.validate(notebook)
print(nbformat.__version__, built, "rfc3987_syntax" in sys.modules, file=sys.stdout)
print(f"  import nbformat took {seconds:.2f} s", file=sys.stderr)
END
seen() { # PACKAGES …: what `import nbformat` does beside them
  rm -rf "$folder/venv"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install -q --disable-pip-version-check nbformat==5.10.4 "$@"
  "$folder/venv/bin/python" "$folder/count.py"
}
alone=$(seen jsonschema==4.26.0)
beside=$(seen "jsonschema[format-nongpl]==4.26.0" rfc3987-syntax==1.1.0 lark==1.3.1)
echo "version, parsers built, rfc3987_syntax loaded"
echo "without the extra: $alone"
echo "with it:           $beside"
[ "$alone" = "5.10.4 0 False" ] && [ "$beside" = "5.10.4 39 True" ]
