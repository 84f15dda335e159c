"""The pictures of training from scratch: legible, described in words, right in their numbers."""

import re

import numpy as np
import pytest

import utils
from mobilenet.scratch import kept_runs
from mobilenet.transfer.metrics import Result
from tests.helpers.figure_contract import FigureContract

COUNTS = (10, 20, 50, 268)


def fitted(epochs):
    """What Keras's `fit` notes."""
    loss, share = np.linspace(0.7, 0.2, epochs), np.linspace(0.5, 0.95, epochs)
    return {"loss": loss, "accuracy": share, "val_loss": loss + 0.1, "val_accuracy": share - 0.1}


def by_count():
    ways = ("frozen random features", "frozen pretrained features")
    results = {way: [Result(30 + 8 * i + k, 68) for k in range(4)] for i, way in enumerate(ways)}
    return utils.accuracy_by_count_plot(COUNTS, results, 0.5, {"from scratch": Result(46, 68)})


def staircase(*groups):
    """Of groups of so many ways each, every way a little better than the one before."""
    rights = iter(range(40, 69, 3))
    made = [
        {f"group {k}, + augmentation, {i}": Result(next(rights), 68) for i in range(count)}
        for k, count in enumerate(groups)
    ]
    return utils.staircase_plot(made, 0.5)


def run(epochs):
    return [
        {"epoch": i, "accuracy": 1 - 0.5 / i, "val_accuracy": 1 - 0.6 / i}
        for i in range(1, epochs + 1)
    ]


FIGURES = {
    "ways_plot": lambda: utils.ways_plot(
        {"which side is up": fitted(60), "which class": fitted(60)}
    ),
    "ways_plot, one epoch": lambda: utils.ways_plot({"from scratch": fitted(1)}),
    "staircase_plot": lambda: staircase(1, 2, 3),
    "staircase_plot of one": lambda: staircase(1),
    "accuracy_by_count_plot": lambda: by_count(),
    "runs_plot": lambda: utils.runs_plot(
        {f"data {i}, 45,000 photos\nMobileNetV1, α 0.75, 32 px": run(9) for i in range(5)}
    ),
    "runs_plot, one epoch": lambda: utils.runs_plot({"mobilenetv2, cifar10": run(1)}),
}


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = FIGURES


def test_each_way_has_its_curve():
    figure = utils.ways_plot({"one": fitted(4), "two": fitted(7)})
    for axes in figure.axes:
        solid = [line for line in axes.lines if line.get_label() in ("one", "two")]
        assert [len(line.get_xdata()) for line in solid] == [4, 7]
    assert "one 85 %; two 85 %" in figure.get_label()


def test_intervals_are_those_of_the_counts():
    (axes,) = by_count().axes
    *lines, alone = axes.containers
    for i, bars in enumerate(lines):
        (segments,) = (part.get_segments() for part in bars.lines[2])
        for k, segment in enumerate(segments):
            low, high = Result(30 + 8 * i + k, 68).interval
            assert np.allclose(segment[:, 1], [low, high])
            assert np.allclose(segment[:, 0], COUNTS[k], rtol=0.05)
    ((segment,),) = (part.get_segments() for part in alone.lines[2])
    assert np.allclose(segment[:, 1], Result(46, 68).interval)
    assert np.allclose(segment[:, 0], COUNTS[-1], rtol=0.05)


def test_a_step_shows_its_count_and_its_interval():
    (axes,) = staircase(1, 2).axes
    bars = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    assert np.allclose(bars[:3], [Result(n, 68).interval for n in (40, 43, 46)])
    assert [text.get_text() for text in axes.texts] == ["40 of 68", "43 of 68", "46 of 68"]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"group {k}, + augmentation, {i}" for k, i in ((0, 0), (1, 0), (1, 1))]
    assert axes.yaxis_inverted(), "the first on top"
    dots = [line for line in axes.lines if line.get_marker() != "None"]
    first, second, third = (line.get_color() for line in dots)
    assert first != second == third, "a group has a colour"


# --- The runs in git ---


def test_the_table_of_runs_holds_what_they_say():
    runs = kept_runs.kept_runs()
    header, rows = kept_runs.kept_table(runs)
    assert {len(header)} == {len(row) for row in rows}
    assert len(rows) == len(runs) >= 3
    text = str(rows)
    for about, history in runs.values():
        assert len(history) == about["epochs"], "one line an epoch"
        assert f"{about['photos']['train']:,}" in text
        said = str(Result(about["test_correct"], about["test_total"]))
        assert re.search(r"[\d.]+ %", said)[0] in text, "rounded as everywhere"
    random = [row for row in rows if row[2] == "random"]
    for row, name in zip(random, kept_runs.kept_curves(runs), strict=True):
        assert name.splitlines()[1] == row[1], "the picture in the order of the table"
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
