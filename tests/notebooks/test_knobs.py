"""Cells run twice, knobs turned and turned back, other folders of photos: in small copies.

What the notebooks hold at their full size is in test_notebooks.py.
"""

import ast
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from tests.helpers import kernels
from tests.helpers.copies import (
    DEEP,
    NOTEBOOKS,
    code_cells,
    copy_small,
    executed,
    names_assigned,
    turn,
    without,
)

DRAWN = 20  # photos of each class: more than 32 train, which 8 bits take their ranges from
WORD = re.compile(r"[\w.]+")

# For each notebook a knob with another value in a fresh kernel, before it has its own.
TURNED = {
    "01_convolution_cost": ("N", "48"),
    "02_mobilenet_architecture": ("ALPHA", "0.5"),
    "03_alpaca_classifier": ('"rotation":', "30"),
    "04_fine_tuning": ("CUT", '"block_10_expand"'),
    "05_how_far_to_trust_it": ('"rotation":', "30"),
    "06_from_scratch": ("HEAD_EPOCHS", "12"),
    "07_to_a_phone": ("BITS", "(7, 5)"),
}
VIEWS = {"VIEWS": "3", '"flip":': "False", '"rotation":': "40", '"zoom":': "0.4"}
OTHERS = {
    "01_convolution_cost": {
        "D_K": "5",
        "M": "16",
        "N": "48",
        "D_F": "16",
        "ALPHA": "0.5",
        "RHO": "0.5",
        "PICTURE": "4",
        "PIXELS": "48",
        "MIX": "(0.0, 1.0, 0.5)",
        "TIMED": "[(8, 16, 8)]",
        "BATCH": "2",
    },
    "02_mobilenet_architecture": {
        "ALPHA": "0.5",
        "SIZE": "64",
        "SEED": "1",
        "PICTURE": "4",
        "BLOCKS": "(2, 12)",
        "DIMENSIONS": "(2, 4)",
        "DRAWS": "12",
        "DEPTH": "1",
        "STEPS": "4",
        "LEARNING_RATE": "0.01",
        "BITS": "6",
        "COUNT": "6",
    },
    "03_alpaca_classifier": {
        "POSITIVE": "sorted(p.name for p in folder.iterdir())[-1]",
        "SEED": "1",
        **VIEWS,
        "EPOCHS": "9",
        "LEARNING_RATE": "1e-2",
        "DROPOUT": "0.7",
        "CLASS_WEIGHTS": '"balanced"',
        "MY_PHOTO": '"my_photos/umbrella.jpg"',
    },
    "04_fine_tuning": {
        "CUT": '"block_14_expand"',
        "EPOCHS": "12",
        "LEARNING_RATE": "3e-3",
        "HEAD_EPOCHS": "9",
        "HEAD_LEARNING_RATE": "1e-2",
        "DROPOUT": "0.7",
        **VIEWS,
        "CLASS_WEIGHTS": '"balanced"',
        "POSITIVE": "sorted(p.name for p in folder.iterdir())[-1]",
        "SEED": "1",
        "TRIED_CUT": '"block_14_expand"',
        "TRIED_HEAD_EPOCHS": "7",
        "TRIED_EPOCHS": "3",
        "RATES": "(1e-5, 1e-3)",
    },
    "05_how_far_to_trust_it": {
        "POSITIVE": "sorted(p.name for p in folder.iterdir())[-1]",
        "SEED": "1",
        **VIEWS,
        "EPOCHS": "9",
        "LEARNING_RATE": "1e-2",
        "DROPOUT": "0.7",
        "FOLDS": "3",
        "L2": "30.0",
        "FLIPPED": "5",
        "WEAK": "10.0",
        "RECALL": "0.3",
        "DECISIONS": "{min(photos.files): None}",
        "NEITHER": '"my_photos"',
        "MY_PHOTOS": '"dataset/rendered_other"',
    },
    "06_from_scratch": {
        "SIZE": "48",
        "CHANNELS": "(24,)",
        "EPOCHS": "3",
        "MIRROR": "True",
        "RATE": "3e-2",
        "DECAY": "1e-2",
        "SMOOTHING": "0.1",
        "MOMENTA": "(0.99, 0.5)",
        "FEW_EPOCHS": "3",
        "ROTATION": "40",
        "ZOOM": "0.4",
        "VIEWS": "3",
        "HEAD_EPOCHS": "9",
        "HEAD_RATE": "3e-2",
        "CUT": '"block_10_expand"',
        "TUNING_EPOCHS": "2",
        "TUNING_RATE": "1e-2",
        "DROPOUT": "0.7",
        "COUNTS": "(12,)",
        "DRAWS": "2",
        "SEED": "1",
    },
    "07_to_a_phone": {
        "BITS": "(6, 5)",
        "CALIBRATION": "34",
        "VIEWS": "3",
        "AUGMENTATION": '{"flip": False, "rotation": 40, "zoom": 0.4}',
        "EPOCHS": "9",
        "LEARNING_RATE": "1e-2",
        "DROPOUT": "0.7",
        "POSITIVE": "sorted(p.name for p in folder.iterdir())[-1]",
        "SEED": "1",
    },
}
# Of these a notebook shows nothing but seconds.
OF_THE_CLOCK = {
    "01_convolution_cost": {"XLA", "REPEATS"},
    "02_mobilenet_architecture": {"BATCH", "REPEATS"},
    "07_to_a_phone": {"ROUNDS", "THREADS"},
}


# --- Knobs ---


class Fresh(NamedTuple):
    """A small copy, a kernel that ran a notebook of it once, what its code cells showed, and what
    it made: the scoreboard, the split, the sha256 of every array of every model.
    """

    name: str
    project: Path
    client: NotebookClient
    shown: list[list[tuple[str, Any]]]
    made: dict[str, Any]


@pytest.fixture(scope="module", params=executed(NOTEBOOKS))
def fresh(request, tmp_path_factory) -> Iterator[Fresh]:
    """The clean run: on photos of PHOTOS, if that is set, else on three classes that are drawn,
    none of them an alpaca, with one file that is no photo at all.
    """
    name, photos = request.param, without().get("PHOTOS")
    if not photos:
        photos = tmp_path_factory.mktemp("photos")
        draw_classes(photos, classes=3, count=DRAWN)
        (photos / "class 1" / "broken.jpg").write_text("no photo")
    # Pretrained blocks see nothing without those between them; the drawn classes need little.
    deep = name in DEEP or bool(without().get("PHOTOS"))
    project = copy_small(tmp_path_factory.mktemp("small"), Path(photos), deep)
    with kernels.kernel(project, name, "notebooks", **weights()) as client:
        kernels.run(client)
        shown = [kernels.seen(cell) for cell in code_cells(client.nb)]
        yield Fresh(name, project, client, shown, made(project))


def made(project: Path) -> dict[str, Any]:
    """What running left in build/, but for the memory of runs, which tells of all of them."""
    return {file: of for file, of in kernels.made(project).items() if not file.startswith("log/")}


def weights() -> dict[str, str]:
    """What decides the weights of a kernel; bundled ones, where nothing is insisted on."""
    names = ("WEIGHTS", "KERAS_HOME")
    return {name: value for name, value in without().items() if value and name in names}


@pytest.mark.real
def test_every_knob_counts_and_every_cell_runs_again(fresh):
    """Each knob turned, and the cells run from the first one that names it to one that shows more
    than the new value. When all that the same cell names first were turned, they are turned back,
    and these cells show what they showed at first. So do those that no knob needed, run again.
    """
    cells, first = code_cells(fresh.client.nb), fresh.shown
    knobs, own = cells[1], cells[1].source
    there = {name for name in names_assigned(own) if name.isupper()}
    clock = OF_THE_CLOCK.get(fresh.name, set())
    assert {used_as(knob) for knob in OTHERS[fresh.name]} | clock == there, "a knob has no value"

    def start(knob):
        return decided(cells, knob)

    def run_again(i):
        shown = kernels.seen(kernels.run_cell(fresh.client, i))
        assert shown == first[i] or is_log(cells[i]), f"not as at first: {cells[i].source[:80]}"
        left.discard(i)

    left = set(range(len(cells)))
    for at, together in itertools.groupby(sorted(OTHERS[fresh.name], key=start), start):
        last = at
        for knob in together:
            knobs.source = own
            turn(knobs, {knob: OTHERS[fresh.name][knob]})
            kernels.run_cell(fresh.client, 1)
            kernels.run_cell(fresh.client, end := at)
            while not shows_more(cells[end], first[end], own, knobs.source):
                end += 1
                assert end < len(cells), f"{knob} changes nothing that is shown"
                kernels.run_cell(fresh.client, end)
            last = max(last, end)
        knobs.source = own
        # What is decided of photos stays until it is undone.
        (fresh.project / "dataset" / "corrections.csv").unlink(missing_ok=True)
        for i in (1, *range(at, last + 1)):
            run_again(i)
    for i in sorted(left):
        run_again(i)


def used_as(knob: str) -> str:
    """The name under which cells use a knob."""
    return "AUGMENTATION" if knob.endswith(":") else knob


def decided(cells: list, knob: str) -> int:
    """The first code cell below the knobs that uses one of them."""
    names = [{n.id for n in ast.walk(ast.parse(c.source)) if hasattr(n, "id")} for c in cells]
    return next(i for i in range(2, len(cells)) if used_as(knob) in names[i])


def is_log(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell tells of all runs there were."""
    return "log" in cell.metadata.get("tags", [])


def shows_more(cell: nbformat.NotebookNode, before: list, old: str, new: str) -> bool:
    """Whether a cell shows something else than before, other than what was turned from and to."""
    turned = set(WORD.findall(old)) ^ set(WORD.findall(new))

    def rest(shown):
        words = [(kind, WORD.findall(str(text))) for kind, text in shown]
        return [(kind, [word for word in some if word not in turned]) for kind, some in words]

    return not is_log(cell) and rest(kernels.seen(cell)) != rest(before)


@pytest.mark.real
def test_nothing_is_left_of_another_knob(fresh):
    """From the root, in a kernel that knows another knob first: all cells with it, then, turned
    back, those from the one that the knob decides. What is left of the other knob must not be
    seen: equal to the clean run, which had a fresh kernel, nothing kept from before, another folder
    and another seed of Python's hashes.
    """
    changed, logs = [], []
    with kernels.kernel(fresh.project, fresh.name, PYTHONHASHSEED="7", **weights()) as client:
        cells = code_cells(client.nb)
        own, (knob, value) = cells[1].source, TURNED[fresh.name]
        turn(cells[1], {knob: value})
        turned = set(WORD.findall(own)) ^ set(WORD.findall(cells[1].source))
        start = decided(cells, knob)
        for i in range(len(cells)):
            changed.append(kernels.seen(kernels.run_cell(client, i)) != fresh.shown[i])
        cells[1].source = own
        for i in (0, 1, *range(start, len(cells))):
            shown = kernels.seen(kernels.run_cell(client, i))
            if is_log(cells[i]):
                logs.append(str(shown))
                assert kernels.seen(kernels.run_cell(client, i)) == shown, "a log that changes"
            else:
                assert shown == fresh.shown[i], f"not as at first: {cells[i].source[:80]}"
    assert not any(changed[2:start]), "a cell above is decided, too"
    assert any(changed[start:]), "the knob changed nothing"
    assert made(fresh.project) == fresh.made, "not the same bits"
    for told in logs:
        assert turned <= set(WORD.findall(told)), "it tells of both knobs"


# --- Other photos ---


def draw_classes(folder: Path, classes: int, count: int) -> None:
    """Classes that differ in hue, a stripe in each photo at another place; every third photo has
    the hue of the next class, so that no network is right of all.
    """
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class {label}").mkdir(parents=True)
        for i in range(count):
            pixels = rng.normal(128, 40, (120, 160, 3))
            left = rng.integers(0, 100)
            pixels[:, left : left + 60] = np.eye(3)[(label + (i % 3 == 2)) % classes] * 200
            photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            photo.save(folder / f"class {label}" / f"{i}.jpg")


@pytest.mark.skipif(bool(os.environ.get("PHOTOS")), reason="needs PHOTOS to be unset")
def test_any_labelled_folder_will_do(fresh):
    """What the clean run told of the three classes."""
    text = "".join(str(shown) for shown in fresh.shown)
    if "utils.describe(" in "".join(cell.source for cell in code_cells(fresh.client.nb)):
        each = ", ".join(f"{DRAWN} class {k}" for k in range(3))
        assert f"{3 * DRAWN} photos: {each}; 1 file left out." in text
        assert "class 1/broken.jpg" in text
    assert "alpaca" not in text


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Iterator[NotebookClient]:
    """A kernel that has done the set-up of notebook 3."""
    project = copy_small(tmp_path_factory.mktemp("small"))
    with kernels.kernel(project, "03_alpaca_classifier") as client:
        kernels.run(client, 0, 1)
        yield client


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "no class folders"),
        (lambda folder: draw_classes(folder, 1, 6), "one class folder"),
        (lambda folder: draw_classes(folder, 2, 3), "the split needs 5"),
        (lambda folder: (draw_classes(folder, 2, 6), (folder / "void").mkdir()), "'void'"),
    ],
    ids=["none", "one class", "too few", "empty class"],
)
def test_bad_folders_stop_the_notebook_with_one_sentence(make, says, started, tmp_path):
    make(tmp_path)
    for cell in code_cells(started.nb):
        cell.outputs = []
    kernels.tell(started, f"import os; os.environ['PHOTOS'] = {str(tmp_path)!r}")
    with pytest.raises(CellExecutionError) as failed:
        kernels.run(started)
    assert failed.value.ename == "UserError"
    assert says in failed.value.evalue
    (shown,) = (o for c in code_cells(started.nb) for o in c.outputs if o.output_type == "error")
    assert len(shown.traceback) == 1, "a reader sees one line, not a traceback"
