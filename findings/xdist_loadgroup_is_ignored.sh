#!/usr/bin/env bash
# pytest-xdist 3.8.0 on pytest 9.2.0: `--dist loadgroup` does not keep a group on one worker.
#
# Seen: eight tests that carry the same xdist_group marker are run by both of two workers, without a
# warning; on pytest 8.4.2 the same file is run by one. xdist writes the group behind the private
# `_nodeid` of each test, and pytest 9.2.0 answers `nodeid` from elsewhere, so that the scheduler
# never sees it. What such tests share in a module's fixtures is then made twice.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_group.py" << 'END'
import time

import pytest

pytestmark = pytest.mark.xdist_group("together")


@pytest.mark.parametrize("number", range(8))
def test_one_of_a_group(number):
    time.sleep(0.2)
END
workers() { # PYTEST: how many workers ran tests of the group
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install -q --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  (cd "$folder" && "$1/bin/python" -m pytest -v -n 2 --dist loadgroup test_group.py) |
    grep -o '^\[gw[01]\].*PASSED' | cut -c1-5 | sort -u | wc -l
}
old=$(workers 8.4.2)
new=$(workers 9.2.0)
echo "workers that ran the group: $old on pytest 8.4.2, $new on pytest 9.2.0"
[ "$old" = 1 ] && [ "$new" = 2 ]
