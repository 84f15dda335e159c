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


def functions(path: Path) -> set[str]:
    """The names of the tests in a file, those of its classes among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("test_")}


def long_tests() -> list[str]:
    return LONG_TESTS.read_text(encoding="utf-8").split()


def test_what_a_check_leaves_out_is_there():
    shared = functions(HERE / "figure_contract.py")  # tests of every class of figures
    assert long_tests() == sorted(set(long_tests()))
    for line in long_tests():
        file, name = line.split("::")
        assert name in functions(HERE / file) | shared, line


# What takes long or needs more than requirements.txt, and what is tried through another module.
ELSEWHERE = {"bench_run", "cluster", "recipe", "cost_figures", "device_figures", "untrusted"}


@pytest.mark.parametrize("module", sorted(ROOT.glob("mobilenet/[a-z]*.py")), ids=lambda p: p.stem)
def test_a_check_says_something_of(module):
    """A test that it keeps is in a file that imports the module."""
    name, long = module.stem, set(long_tests())
    one = rf"from mobilenet import (\([^)]*|.*)\b{name}\b|from mobilenet\.{name} import"
    texts = {path: path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py")}
    files = [path for path, text in texts.items() if re.search(one, text)]
    kept = {f"{path.name}::{test}" for path in files for test in functions(path)} - long
    assert kept or name in ELSEWHERE
