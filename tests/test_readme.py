"""The table of what is promised names tests that are there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.compile(r"`(test_\w+\.py)?(?:::(test_\w+))?`")


def test_what_shows_a_promise_is_there():
    file, count = "", 0
    for match in NAMED.finditer((HERE / "README.md").read_text(encoding="utf-8")):
        file = match[1] or file
        code = (HERE / file).read_text(encoding="utf-8")
        assert f"def {match[2] or 'test_'}" in code, match[0]
        count += 1
    assert count > 50
