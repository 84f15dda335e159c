"""Pictures under layers: legible, and of the channels that they say."""

import numpy as np
import pytest

from mobilenet.figures import layers
from tests.helpers.figure_contract import FigureContract

RNG = np.random.default_rng(0)
PHOTO = RNG.uniform(size=(24, 24, 3))
KERNELS = "blur", "edge", "sharpen"


def channels(*shapes):
    maps = {f"block {i}": RNG.normal(size=shape) for i, shape in enumerate(shapes)}
    return layers.channels_plot(PHOTO, maps)


FIGURES = {
    "separable_plot": lambda: layers.separable_plot(PHOTO, PHOTO, PHOTO[..., 0], KERNELS),
    "channels_plot": lambda: channels((56, 56, 8), (14, 14, 24), (7, 7, 56)),
    "channels_plot of one": lambda: channels((1, 1, 5)),
    "channels_plot of five": lambda: channels(*5 * [(112, 112, 160)]),
}


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = FIGURES


def test_those_channels_are_shown_that_vary_most():
    maps = np.tile(RNG.normal(size=(6, 6, 1)), 20) * np.arange(20)
    figure = layers.channels_plot(PHOTO, {"block 1": maps})
    shown = [axes.get_title() for axes in figure.axes if axes.get_title().isdigit()]
    assert shown == [str(k) for k in range(12, 20)]


def test_each_channel_stands_above_what_its_kernel_made_of_it():
    filtered, mixed = PHOTO + 1, PHOTO[..., 0] - 1
    figure = layers.separable_plot(PHOTO, filtered, mixed, KERNELS)
    drawn = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes}
    for k, (colour, name) in enumerate(zip(("red", "green", "blue"), KERNELS, strict=True)):
        assert np.array_equal(drawn[colour], PHOTO[..., k])
        assert np.array_equal(drawn[f"↓ {name}"], filtered[..., k])
    assert np.array_equal(drawn["→ pointwise mix"], mixed)
    assert "red through 'blur'" in figure.get_label()
