"""The table of what is promised names tests that are there; `make check` looks at every module."""

import ast
import re
from pathlib import Path

import pytest
from conftest import LONG_TESTS

from mobilenet import ROOT

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


def tests_of(path: Path) -> set[str]:
    """file::function of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return {f"{path.name}::{name}" for name in names if name.startswith("test_")}


def test_what_a_check_leaves_out_is_there():
    long = LONG_TESTS.read_text(encoding="utf-8").split()
    assert long == sorted(set(long))
    assert set(long) <= {name for path in HERE.glob("test_*.py") for name in tests_of(path)}


# These are tried by tests that are long, or need what is not installed for all.
WITHOUT = {"bench_run", "cluster", "parts"}


@pytest.mark.parametrize(
    "module", sorted({*ROOT.glob("mobilenet/[a-z]*.py")}), ids=lambda p: p.stem
)
def test_a_check_says_something_of(module):
    """A test that it keeps is in a file that imports the module."""
    long, name = set(LONG_TESTS.read_text(encoding="utf-8").split()), module.stem
    naming = re.compile(
        rf"^(from mobilenet import .*\b{name}\b|from mobilenet\.{name} import )", re.M
    )
    several = re.compile(rf"^from mobilenet import \([^)]*\b{name}\b[^)]*\)", re.M)
    texts = {path: path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")}
    files = [path for path, text in texts.items() if naming.search(text) or several.search(text)]
    kept = set().union(*(tests_of(path) for path in files)) - long
    assert bool(kept) != (name in WITHOUT)
