"""Bars: their colours are those of the classes, their lengths the counts."""

import numpy as np
import pytest

import utils
from mobilenet.figures import bars, canvas
from mobilenet.photos.splits import split
from tests.helpers.answers import some_photos


def test_a_class_has_its_colour_everywhere():
    assert len({canvas.class_colour(k) for k in range(6)}) == 6
    photos = some_photos(5)
    balance = bars.class_balance(photos, split(photos, seed=0))
    (legend,) = balance.legends
    drawn_bars = balance.axes[0].containers
    assert [one[0].get_facecolor() for one in drawn_bars] == [
        pytest.approx(np.array([*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1]))
        for c in map(canvas.class_colour, range(5))
    ]
    drawn = [patch.get_facecolor() for patch in legend.get_patches()]
    assert drawn == [one[0].get_facecolor() for one in drawn_bars]
    assert len(legend.get_texts()) == 5
    for axes in utils.photo_grid(photos).axes:
        if axes.get_title():
            shown = [name[:13] for name in photos.class_names]
            label = shown.index(axes.get_title().rstrip("…").replace(r"\$", "$"))
            frame = axes.spines["left"].get_edgecolor()
            hexadecimal = "#" + "".join(f"{round(255 * c):02x}" for c in frame[:3])
            assert hexadecimal == canvas.class_colour(label)


def test_the_bars_count_the_photos_of_each_part():
    photos = some_photos(5, count=11)
    made = split(photos, seed=0)
    axes = bars.class_balance(photos, made).axes[0]
    expected = [
        [int((photos.labels[index] == k).sum()) for index in made.values()] for k in range(5)
    ]
    assert [[bar.get_width() for bar in bars] for bars in axes.containers] == expected
