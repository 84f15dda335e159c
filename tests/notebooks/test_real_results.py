"""The boxes of the notebooks say what the command found, all of it and nothing else."""

import json
import re

import nbformat
import pytest
from PIL import Image

from mobilenet import ROOT
from notebooks import real_results, run

RESULTS = json.loads(real_results.FILE.read_text(encoding="utf-8"))
BOXES = {
    (path.stem, found[1]): found[0]
    for path in run.notebooks()
    for cell in nbformat.read(path, as_version=4).cells
    if cell.cell_type == "markdown"
    for found in re.finditer(r"<!-- real: (\w+) -->.*?<!-- /real -->", cell.source, re.S)
}


def test_every_result_has_its_box_and_every_box_its_result():
    asked = {(name, key) for name, tell in real_results.TELL.items() for key in tell}
    assert set(BOXES) == asked
    assert set(RESULTS["boxes"]) == {key for _, key in asked}
    for path in run.notebooks():
        source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
        assert source.count("<!-- real:") == source.count("<!-- /real -->")


@pytest.mark.parametrize("box", BOXES)
def test_a_box_says_what_was_found(box):
    assert BOXES[box] == real_results.box(box[1], RESULTS)
    assert RESULTS["made"][box[0]]["date"] in BOXES[box]


@pytest.mark.parametrize("key", RESULTS["pictures"])
def test_a_curve_is_there_sharp(key):
    picture = Image.open(ROOT / "images" / f"real_{key}.png")
    assert picture.width >= 1000
    assert RESULTS["pictures"][key].strip(), "text for the blind"
