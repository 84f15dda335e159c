"""Copies of the project in which notebooks run, so that no test touches what a user made: whole
ones, and small ones, in which a notebook takes seconds.

A small copy has FEW pictures of each class, a backbone for pictures of SIZE pixels, and the knobs
in SMALL. All else is the project's own code.
"""

import ast
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import pytest

from mobilenet import ROOT, from_root
from notebooks import run

NOTEBOOKS = {path.stem: path for path in run.notebooks()}
FEW = 28  # so that more than 32 train, which 8 bits take their ranges from
SIZE = 64  # pixels
# These count the blocks of the networks.
DEEP = ("01_convolution_cost", "02_mobilenet_architecture")
# A shallow backbone leaves out nine blocks of those that leave channels and pixels as they are, and
# with them half of what Keras must compile. Each kind of block is still there.
SHALLOW = """

def _shallow(model):
    from mobilenet.system.engine import keras

    left_out = {f"block_{number}" for number in (2, 4, 5, 7, 8, 9, 11, 12, 15)}
    inputs = x = keras.Input(model.input_shape[1:])
    for layer in model.layers[1:]:
        if "_".join(layer.name.split("_")[:2]) in left_out:
            continue
        if layer.name.endswith("_expand"):
            start = x
        copy = type(layer).from_config(layer.get_config())
        x = copy([start, x] if layer.name.endswith("_add") else x)
        copy.set_weights(layer.get_weights())
    return keras.Model(inputs, x, name=model.name)
"""
# The blocks of MobileNetV1 that leave channels and pixels as they are.
SAME_SIZE = r"    (\((128|256|1024), 1\)|\*5 \* \(\(512, 1\),\)),\n"

# What a small copy says in place of the project: few steps, small networks.
SMALL = {
    "01_convolution_cost": {"TIMED": "[(8, 16, 16), (4, 16, 32)]", "REPEATS": "5"},
    "02_mobilenet_architecture": {
        "SIZE": "32",
        "DRAWS": "10",
        "DEPTH": "2",
        "STEPS": "3",
        "COUNT": "8",
        "REPEATS": "5",
    },
    "03_alpaca_classifier": {"VIEWS": "2", "EPOCHS": "8"},
    "04_fine_tuning": {
        "EPOCHS": "2",
        "TRIED_EPOCHS": "2",
        "HEAD_EPOCHS": "8",
        "VIEWS": "2",
        "RATES": "(1e-4, 1e-2)",
    },
    "05_how_far_to_trust_it": {"VIEWS": "2", "EPOCHS": "8", "FOLDS": "2"},
    "06_from_scratch": {
        "SIZE": "32",
        "CHANNELS": "(16,)",
        "EPOCHS": "2",
        "FEW_EPOCHS": "2",
        "HEAD_EPOCHS": "8",
        "TUNING_EPOCHS": "1",
        "COUNTS": "(10,)",
        "DRAWS": "1",
    },
    "07_to_a_phone": {
        "BITS": "(8, 6)",
        "CALIBRATION": "32",
        "ROUNDS": "2",
        "VIEWS": "2",
        "EPOCHS": "8",
    },
}


def copy_project(folder: Path) -> Path:
    """A copy of what notebooks and `make` need, with the drawn pictures, without build/."""
    copy = folder / "project"
    leave = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("mobilenet", "notebooks", "images", "my_photos"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    for name in ("utils.py", "Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    (copy / "dataset").mkdir()
    for drawn in (ROOT / "dataset").glob("rendered*/"):
        (copy / "dataset" / drawn.name).symlink_to(drawn)
    return copy


def copy_small(folder: Path, photos: Path | None = None, deep: bool = False) -> Path:
    """A small copy, with the first FEW pictures of each class.

    photos: a folder of class folders, for dataset/photos/; by default there are drawn pictures.
    deep: MobileNetV1 has its 13 blocks and MobileNetV2 its 17, not 5 and 8.
    """
    copy = copy_project(folder)
    (copy / "dataset" / "rendered").unlink()
    few = copy / "dataset" / ("photos" if photos else "rendered")
    for of in sorted((photos or ROOT / "dataset" / "rendered").iterdir()):
        (few / of.name).mkdir(parents=True)
        for file in sorted(of.iterdir())[:FEW]:
            shutil.copy(file, few / of.name)
    sizes, networks = r'("(?:imagenet|bundled)": \([\d.]+, )\d+', copy / "mobilenet" / "networks"
    change(networks / "pretrained.py", sizes, rf"\g<1>{SIZE}", 2)
    if not deep:
        change(networks / "mobilenets.py", SAME_SIZE, "", 4)
        backbone = networks / "backbone.py"
        change(backbone, "    model.trainable = False\n", r"    model = _shallow(model)\n\g<0>", 1)
        backbone.write_text(backbone.read_text("utf-8") + SHALLOW, "utf-8")
    for name, knobs in SMALL.items():
        set_knobs(copy, name, knobs)
    return copy


def set_knobs(project: Path, name: str, knobs: Mapping[str, str]) -> None:
    """Give knobs of a notebook in a copy other values, as `turn` does."""
    path = project / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    turn(code_cells(notebook)[1], knobs)
    nbformat.write(notebook, path)


def keep_code_cells(project: Path, name: str, numbers: Sequence[int]) -> None:
    """Take the other code cells, counted from 0, out of a notebook in a copy."""
    path = project / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = code_cells(notebook)
    kept = [code[number] for number in numbers]
    notebook.cells = [c for c in notebook.cells if c.cell_type != "code" or c in kept]
    nbformat.write(notebook, path)


def change(file: Path, pattern: str, by: str, times: int) -> None:
    """Put something in the place of what a pattern finds so many times in a file."""
    text, count = re.subn(pattern, by, file.read_text("utf-8"))
    assert count == times, f"{file.name} says it elsewhere"
    file.write_text(text, "utf-8")


def executed(names) -> list:
    """Names of notebooks as parameters of tests that execute them."""
    return [
        pytest.param(name, marks=pytest.mark.device) if name in run.ON_CALL else name
        for name in names
    ]


def code_cells(notebook: nbformat.NotebookNode) -> list:
    """The code cells; the second one holds the knobs."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def turn(cell: nbformat.NotebookNode, knobs: Mapping[str, str]) -> None:
    """Give knobs of a cell other values, {name: code}; a key of a dictionary is `"name":`."""
    for name, value in knobs.items():
        start = rf"({re.escape(name)} )" if name.endswith(":") else rf"^({name} = )"
        cell.source, count = re.subn(
            rf"{start}.*?(?=,?  #|,?$)", lambda m, v=value: m[1] + v, cell.source, flags=re.M
        )
        assert count == 1, f"there is no knob {name} in {cell.source[:60]}"


def names_assigned(source: str) -> set[str]:
    """The names to which code assigns."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)]
    named = [name for node in nodes for target in node.targets for name in ast.walk(target)]
    return {name.id for name in named if isinstance(name, ast.Name)}


def without(*names: str) -> dict[str, str]:
    """The environment without these names, and with the paths of photos and weights absolute."""
    kept = {name: value for name, value in os.environ.items() if name not in names}
    paths = {name for name in ("PHOTOS", "KERAS_HOME") if kept.get(name)}
    return kept | {name: str(from_root(kept[name])) for name in paths}
