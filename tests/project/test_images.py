"""The figures say what the networks are, and can be read."""

import itertools

import numpy as np
import pytest
from PIL import Image

from images import architectures, draw
from mobilenet import ROOT
from mobilenet.networks import cost, mobilenets


def test_the_shares_of_v1_are_those_of_the_network():
    counted = cost.by_kind(cost.count(mobilenets.mobilenet_v1()))
    drawn = dict.fromkeys(counted, 0)
    for times, *_, works in architectures.v1_rows():
        for kind, multiply_adds in works.items():
            drawn[kind] += times * multiply_adds
    assert drawn == {kind: sums.multiply_adds for kind, sums in counted.items()}


def test_the_blocks_of_v2_are_those_of_the_network():
    network = mobilenets.mobilenet_v2()
    named = {layer.name: layer for layer in network.layers}
    blocks = [block for stage in architectures.v2_stages() for block in stage]
    names = ["expanded_conv", *(f"block_{i}" for i in range(1, len(blocks)))]
    inside = [(block.output, block.output, block.t * block.m) for block in blocks]
    assert inside == [named[f"{name}_depthwise_relu"].output.shape[1:] for name in names]
    assert [block.shortcut for block in blocks] == [f"{name}_add" in named for name in names]
    ends = ["Conv1_relu", *(f"{name}_project_BN" for name in names), "out_relu"]
    assert [(s, s, n) for s, n in architectures.v2_maps()] == [
        named[e].output.shape[1:] for e in ends
    ]


@pytest.mark.parametrize(("name", "figure"), list(draw.figures()))
def test_a_figure_can_be_read(name, figure):
    """Nothing larger than 12 × 7 inches at 96 dpi, no text below 9 points, over another or cut."""
    figure.set_dpi(architectures.DPI)
    width, height = (round(inches * architectures.DPI) for inches in figure.get_size_inches())
    with Image.open(ROOT / "images" / name) as image:
        assert max(abs(np.subtract(image.size, (width, height)))) <= 1
    assert width <= 12 * 96
    assert height <= 7 * 96
    figure.canvas.draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for text in texts:
        assert text.get_size() * architectures.DPI / 96 >= 9, text.get_text()
    for text, box in boxes:
        assert box.x0 >= 0 <= box.y0 and box.x1 <= width and box.y1 <= height, text
    for (text, box), (other, another) in itertools.combinations(boxes, 2):
        assert not box.overlaps(another), (text, other)
