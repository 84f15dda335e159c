"""The README and what it links to name files, commands and tests that are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from mobilenet import ROOT

TESTS = Path(__file__).parents[1]
LONG_TESTS = TESTS / "long.txt"
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
WORDS = 1200  # of the README at most, as `wc -w` counts them
ROOMS = ("dataset", "mobilenet/scratch/results", "mobilenet/networks/weights", "tests")
PAGES = [README, CONTRIBUTING, *sorted(ROOT.glob("docs/*.md"))]
PAGES += [ROOT / room / "README.md" for room in ROOMS]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A folder, a file in one, or a file beside the README; what .venv holds apart.
PATH = re.compile(r"(?<![\w/.])(?!\.venv)(?:[\w.-]+/[\w./-]*|[\w-]+\.(?:py|md|txt)\b)")
NAMED = re.compile(r"`(test_\w+\.py)?(?:::(test_\w+))?`")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def names(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them in addresses."""
    heads = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_readme_is_short_and_names_the_test_command():
    assert len(read(README).split()) <= WORDS
    assert "make test " in read(README)


def test_the_readme_leads_to_every_page_and_notebook():
    wanted = [CONTRIBUTING, *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb")]
    assert set(names(wanted)) <= set(LINK.findall(read(README)))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_a_link_leads_somewhere(page):
    for target in LINK.findall(read(page)):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            other = page.parent / path if path else page
            assert other.exists(), target
            assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_a_command_is_there(page):
    """Targets of make, modules with the options behind them, scripts, lists of packages."""
    text = read(page)
    targets = re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE)
    for target in re.findall(r"(?:`|^    |PHOTOS=\w+ )make ([a-z-]+)", text, re.MULTILINE):
        assert target in targets, target
    for file in re.findall(r"python ([\w/]+\.py)|-r (requirements[\w-]*\.txt)", text):
        assert (ROOT / "".join(file)).is_file(), file
    for module, rest in re.findall(r"python -m mobilenet\.([a-z]\w*)(.*)", text):
        code = read(ROOT / "mobilenet" / f"{module}.py")
        assert 'if __name__ == "__main__"' in code, module
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in code, (module, option)


def test_what_contributing_names_is_there():
    named = set(PATH.findall(read(CONTRIBUTING))) - {"dataset/photos/"}  # made by `make photos`
    named = {path.replace("ROOM/", "photos/").replace("NAME", "folders") for path in named}
    assert {"utils.py", "mobilenet/", "tests/transfer", ".ci/run", ".binder/"} <= named
    assert not {path for path in named if not (ROOT / path).exists()}


def test_what_shows_a_promise_is_there():
    file, count = "", 0
    for match in NAMED.finditer((TESTS / "README.md").read_text(encoding="utf-8")):
        file = match[1] or file
        (path,) = TESTS.rglob(file)
        code = path.read_text(encoding="utf-8")
        assert f"def {match[2] or 'test_'}" in code, match[0]
        count += 1
    assert count > 50


@cache
def functions(path: Path) -> set[str]:
    """The names of the tests in a file, those of its classes among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("test_")}


def long_tests() -> list[str]:
    return LONG_TESTS.read_text(encoding="utf-8").split()


def test_what_a_check_leaves_out_is_there():
    shared = functions(TESTS / "helpers" / "figure_contract.py")  # tests of every class of figures
    assert long_tests() == sorted(set(long_tests()))
    for line in long_tests():
        file, name = line.split("::")
        assert name in functions(TESTS / file) | shared, line


# What takes long or needs more than requirements.txt, and what is tried through another module.
ELSEWHERE = {
    *("benchmarks.one_run", "benchmarks.recipe", "scale.cluster", "system.untrusted"),
    *("phone.training_photos", "scale.whole_head"),
    *("figures.costs", "figures.phone", "figures.comparisons"),
}
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "mobilenet").with_suffix("").parts)
    for path in (ROOT / "mobilenet").rglob("[a-z]*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_a_check_says_something_of(module):
    """A test that it keeps is in a file that imports the module."""
    room, _, name = f"mobilenet.{module}".rpartition(".")
    long = set(long_tests())
    one = rf"from {room} import (\([^)]*|.*)\b{name}\b|from {room}\.{name} import"
    texts = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    files = [path for path, text in texts.items() if re.search(one, text)]
    kept = {f"{path.relative_to(TESTS)}::{test}" for path in files for test in functions(path)}
    assert kept - long or module in ELSEWHERE
