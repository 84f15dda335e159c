"""The rooms of mobilenet/: what may import what, what a command is, where a test stands."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobilenet import ROOT

PROJECT = ROOT / "mobilenet"
# In the order in which a photo travels; a room imports only rooms that stand before it.
ROOMS = (
    *("system", "photos", "networks", "transfer", "inference", "explain"),
    *("phone", "scale", "figures", "scratch", "benchmarks"),
)
LONGEST = 500  # lines of a file
OTHERS = ("commands", "faults", "helpers", "notebooks", "project")  # folders of tests, beside rooms


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {dotted(path): path for path in PROJECT.rglob("*.py") if path.name != "__init__.py"}
CODE = [
    path for part in ("mobilenet", "tests", "notebooks") for path in (ROOT / part).rglob("*.py")
]
CODE += [*(ROOT / "dataset").glob("**/*.py"), *(ROOT / "images").glob("*.py"), *ROOT.glob("*.py")]


def imports(text: str) -> Iterator[str]:
    """The files of the project that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
        elif isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        yield from (name for name in names if name in FILES)


ARROWS = {name: set(imports(path.read_text("utf-8"))) for name, path in FILES.items()}


def room_of(name: str) -> str:
    """ "" for a command."""
    _, *room, _ = name.split(".")
    return ".".join(room)


def reached(name: str, arrows: dict[str, set[str]]) -> set[str]:
    """All that a file imports, by however many steps."""
    found, new = set(), {name}
    while new := {one for name in new for one in arrows[name]} - found:
        found |= new
    return found


def circles(arrows: dict[str, set[str]]) -> list[str]:
    return [name for name in arrows if name in reached(name, arrows)]


def upwards(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports of a command, or of a room that stands further down."""
    rank = {room: i for i, room in enumerate(ROOMS)}
    pairs = [(name, one) for name, others in arrows.items() for one in others]
    return [
        (name, one)
        for name, one in pairs
        if not room_of(one) or (room_of(name) and rank[room_of(one)] > rank[room_of(name)])
    ]


def test_no_file_imports_itself_by_way_of_others():
    assert not circles(ARROWS)


def test_a_room_imports_only_rooms_before_it():
    assert not upwards(ARROWS)


def test_what_would_be_wrong_is_seen():
    text = "def work():\n    from mobilenet.scale import parts\n"
    early, late = "mobilenet.system.files", "mobilenet.scale.parts"
    assert set(imports(text)) == {late}
    wrong = ARROWS | {early: {late}, late: {early}}
    assert {early, late} <= set(circles(wrong))
    assert upwards(wrong) == [(early, late)]
    assert upwards(ARROWS | {late: {"mobilenet.predict"}}) == [(late, "mobilenet.predict")]


def test_each_room_says_what_it_is_and_names_its_files():
    folders = {path.name for path in PROJECT.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == set(ROOMS)
    for room in ROOMS:
        init = ast.parse((PROJECT / room / "__init__.py").read_text("utf-8"))
        assert len(init.body) == 1, "a room hands nothing on"
        said = ast.get_docstring(init)
        for path in (PROJECT / room).glob("[a-z]*.py"):
            assert path.stem in said.replace(",", " ").replace(".", " ").split(), path


@pytest.mark.parametrize("path", sorted(PROJECT.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_what_lies_in_the_hall_is_a_command(path):
    text = path.read_text("utf-8")
    assert f"    python -m mobilenet.{path.stem}" in ast.get_docstring(ast.parse(text))
    assert text.endswith('\n\nif __name__ == "__main__":\n    sys.exit(main())\n')


def test_no_file_is_long():
    assert not {dotted(one) for one in CODE if len(one.read_text("utf-8").splitlines()) > LONGEST}


def test_a_test_is_found_by_the_name_of_its_file():
    """tests/ROOM/test_NAME.py is of mobilenet/ROOM/NAME.py; NAME_more is of it, too."""
    tests = list((ROOT / "tests").rglob("*.py"))
    assert not [name for name, n in Counter(path.name for path in tests).items() if n > 1]
    for path in tests:
        assert "test_" not in "".join(imports_of_tests(path.read_text("utf-8"))), path
        folder = path.parent.name
        if path.name.startswith("test_") and folder not in OTHERS:
            stems = {one.stem for one in (PROJECT / folder).glob("[a-z]*.py")}
            name = path.stem.removeprefix("test_")
            assert any(name == stem or name.startswith(f"{stem}_") for stem in stems), path
    folders = {path.parent.name for path in tests} - {"tests", *OTHERS}
    assert folders == set(ROOMS)


def imports_of_tests(text: str) -> Iterator[str]:
    """The modules that a test imports; those of tests begin with test_."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield f" {node.module}".replace(" tests.", " ").split(".")[-1]
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
