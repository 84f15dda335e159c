"""What a turned knob decided is not read: cells in a real IPython shell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from mobilenet.transfer import lesson
from tests.helpers.drawn import one_sentence

CELLS = {
    "knobs": "EPOCHS, VIEWS = 5, {'flip': True}",
    "load": "photos = list(range(9))",
    "features": "views = [photos, VIEWS]",
    "train": "history = [views, EPOCHS]",
    "use": "told = len(history)",
}


@pytest.fixture
def shell(capsys):
    """A shell whose cells are watched; shell.made lists what was told of each name."""
    found = InteractiveShell(user_ns={}, history_manager=None)
    found.made = []
    lesson.watch(found, lambda *about: found.made.append(about))
    lesson.watch(found, lambda *about: found.made.append("twice"))
    return found


def run(shell, *cells: str):
    """Run cells, by their name in CELLS or their code; the result of the last."""
    for cell in cells:
        result = shell.run_cell(CELLS.get(cell, cell), store_history=True)
    return result


def refused(shell, *cells: str) -> str:
    """The sentence with which the last of the cells is refused."""
    result = run(shell, *cells)
    assert isinstance(result.error_before_exec, lesson.Stale), result
    assert one_sentence(result.error_before_exec)
    return str(result.error_before_exec)


def test_from_top_to_bottom_and_again_nothing_is_refused(shell):
    for _ in range(2):
        for cell in CELLS:
            assert run(shell, cell).success
            assert run(shell, cell).success


@pytest.mark.parametrize(
    ("turned", "start"),
    [
        ("EPOCHS = 6", "train"),
        ("VIEWS = {'flip': False}", "features"),
        ("VIEWS['x'] = 1", "features"),
    ],
)
def test_a_turned_knob_stops_what_reads_its_results_until_they_are_made_anew(shell, turned, start):
    run(shell, *CELLS)
    number = 1 + list(CELLS).index(start)
    knob = turned[:6].split("=")[0].split("[")[0].strip()
    said = refused(shell, turned, "use")
    assert said == (
        f"{knob} changed after cell [{number}] used the old value: run that cell again, and those "
        "below it."
    )
    after = list(CELLS)[list(CELLS).index(start) :]
    for cell in after:
        assert run(shell, cell).success
    before = [cell for cell in list(CELLS)[1:] if cell not in after]
    assert all(run(shell, cell).success for cell in before), "what it does not decide still runs"


def test_turned_back_nothing_is_stale(shell):
    run(shell, *CELLS)
    refused(shell, "EPOCHS = 6", "use")
    assert run(shell, "EPOCHS = 5", "use").success


def test_a_refused_cell_changes_nothing(shell):
    run(shell, *CELLS)
    refused(shell, "EPOCHS = 6", "told = history[0]")
    assert shell.user_ns["told"] == 2


@pytest.mark.parametrize(
    ("make", "use"),
    [
        ("def f(x, n=1):\n    k = n\n    return x * RATE + k", "made = f(2)"),
        ("def f(x):\n    def g():\n        return RATE\n    return g()", "made = f(2)"),
        ("f = lambda x: x * RATE", "made = f(2)"),
        ("f = [x * RATE for x in range(3)]", "made = f"),
        ("f = {}\nf['x'] = RATE", "made = f"),
        ("f = []\nfor x in [1]:\n    f.append(RATE * x)", "made = f"),
        ("f = []", "f.append(RATE)"),
        ("f, g = RATE, 1", "made = [g]"),
        ("with open('/dev/null') as f:\n    g = RATE", "made = g"),
    ],
)
def test_ways_to_use_a_knob(shell, make, use):
    assert run(
        shell, "RATE = 1", make, use, "done = f, made" if "made" in use else "done = f"
    ).success
    run(shell, "RATE = 2")
    assert "RATE changed after cell [" in refused(
        shell, "done = made" if "made" in use else "done = f"
    )
    assert run(shell, make, use, "done = made" if "made" in use else "done = f").success


def test_a_function_reads_the_knob_of_now(shell):
    run(shell, "RATE = 1", "def f():\n    return RATE", "RATE = 2")
    assert run(shell, "found = f()").success
    assert shell.user_ns["found"] == 2


def test_a_function_reads_what_its_own_cell_assigns(shell):
    cells = "table = [RATE]\n\n\ndef f():\n    return table\n\n\nmade = f()", "found = made"
    assert run(shell, "RATE = 1", *cells).success
    refused(shell, "RATE = 2", cells[1])
    assert run(shell, *cells).success
    assert shell.user_ns["found"] == [2]


def test_training_on_is_told_from_which_cell_to_begin(shell):
    """The cell that trains what another made reads its own result: run the other first."""
    model = "from types import SimpleNamespace\nmodel = SimpleNamespace(fit=lambda epochs: None)"
    run(shell, "EPOCHS, SIZE = 5, 1", f"{model}\nmodel.size = SIZE", "model.fit(EPOCHS)")
    assert "cell [2]" in refused(shell, "EPOCHS = 6", "model.fit(EPOCHS)")
    assert run(shell, f"{model}\nmodel.size = SIZE", "model.fit(EPOCHS)").success


def test_an_element_that_is_changed_changes_what_it_is_out_of(shell):
    make = "from types import SimpleNamespace\nbase = SimpleNamespace(layers=[SimpleNamespace()])"
    run(shell, "CUT = 1", f"{make}\nbase.cut = CUT", "OTHER = 1")
    run(shell, "for layer in base.layers:\n    layer.trainable = OTHER")
    assert "OTHER" in refused(shell, "OTHER = 2", "found = base")


def test_what_a_cell_that_was_broken_off_made_is_not_read(shell):
    run(shell, *CELLS)
    run(shell, "history = [views, EPOCHS]\n1 / 0")
    assert "did not run to its end" in refused(shell, "use")
    assert run(shell, "train", "use").success
    run(shell, "x = 1\n1 / 0")
    assert run(shell, "y = x").success, "no knob decided it"


def test_what_was_made_is_told_with_its_knobs(shell):
    run(shell, *CELLS)
    told = {name: (value, knobs) for name, value, knobs, _ in shell.made}
    assert told["history"][1] == {"EPOCHS": 5, "VIEWS": {"flip": True}}
    assert told["views"][1] == {"VIEWS": {"flip": True}}
    assert told["photos"] == (list(range(9)), {})
    assert "EPOCHS" not in told
    seconds = {name: found for name, _, _, found in shell.made}
    assert seconds["photos"] == 0, "counted from the photos on"
    assert 0 < seconds["views"] < seconds["history"] < seconds["told"] < 60


@given(st.permutations(list(CELLS)[1:]), st.data())
def test_in_whatever_order_no_result_has_other_knobs_than_now(cells, data):
    """Run cells in any order, turning knobs meanwhile: what a cell made that ran is as of now."""
    shell = InteractiveShell(user_ns={}, history_manager=None)
    lesson.watch(shell, lambda *about: None)
    run(shell, *CELLS)
    for cell in cells * 2:
        epochs = data.draw(st.sampled_from([5, 6]))
        run(shell, f"EPOCHS = {epochs}")
        result = run(shell, cell)
        if result.success and cell in ("train", "use"):
            assert shell.user_ns["history"][1] == epochs


def test_names_of_code_that_no_notebook_has_yet():
    code = "a += 1\nb: int = c\nclass D:\n    e = f\ntry:\n    g = h\nexcept E as i:\n    pass"
    names = lesson.Names(compile(code, "", "exec", lesson.ast.PyCF_ONLY_AST))
    assert {"a", "c", "f", "h", "E"} <= names.read
    assert {"a", "b", "g"} <= names.assigned
