"""How far to trust a network, and what was tried: figures and tables, right in their numbers."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest

import utils
from mobilenet import UserError
from mobilenet.explain import calibration
from mobilenet.figures import canvas, curves, trust
from mobilenet.figures.canvas import GREY
from mobilenet.transfer import runs
from mobilenet.transfer.metrics import History, Result, probabilities, wilson_interval
from tests.helpers.drawn import draw, one_sentence
from tests.helpers.figure_contract import FigureContract

LONG = "a class with a long name, $5 to $6"
KNOBS = {
    "CUT": "block_13_expand",
    "EPOCHS": 6,
    "LEARNING_RATE": 3e-3,
    "AUGMENTATION": {"flip": True, "rotation": 15, "zoom": 0.15},
    "POSITIVE": None,
}
TURNED = (
    {},
    {"EPOCHS": 60},
    {"LEARNING_RATE": 3e-4},
    {"AUGMENTATION": {"flip": False, "rotation": 30, "zoom": 0.15}},
    {"CUT": "block_12_expand", "POSITIVE": LONG},
    {"EPOCHS": 1},
    {"LEARNING_RATE": 10.0},
    {"AUGMENTATION": {}, "CUT": "block_16_expand", "EPOCHS": 7, "LEARNING_RATE": 1e-5},
    {"POSITIVE": "not alpaca"},
    {"EPOCHS": 12},
)


def answers(count, classes, sure=1.0, seed=0):
    """Logits of a network that knows how sure to be, times sure, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 1 if classes == 2 else classes))
    sums = probabilities(logits).cumsum(axis=1)
    labels = (rng.random((count, 1)) > sums).sum(axis=1).clip(0, classes - 1)
    labels[0] = 0  # so that there is one
    return sure * logits, labels


def all_right(count):
    labels = np.arange(count) % 2
    logits = (1 - 2.0 * labels[:, None]) * np.linspace(1, 9, count)[:, None]
    return probabilities(logits), labels


def reliability(count, classes, temperature=None):
    logits, labels = answers(count, classes, 2.0)
    return utils.reliability_plot(probabilities(logits), labels, temperature)


def thresholds(count, classes, name="alpaca"):
    logits, labels = answers(count, classes)
    p, positive = probabilities(logits)[:, 0], labels == 0
    return utils.threshold_plot(p, positive, calibration.choose_threshold(p, positive, 0.9), name)


def history(epochs=6, lowest=0.1, share=0.9):
    val_loss = list(np.linspace(0.7, lowest, epochs + 1))
    val_accuracy = list(np.linspace(0.5, share, epochs + 1))
    loss, accuracy = [math.nan, *val_loss[1:]], [math.nan, *val_accuracy[1:]]
    return History(loss, accuracy, val_loss, val_accuracy, best=epochs, seconds=1.5)


def remember(turned, correct=45, lowest=0.1, notebook="03", photos=None):
    knobs = KNOBS | turned
    made = history(knobs["EPOCHS"], lowest)
    about = knobs, photos or {"count": 327}, {"alpha": 1.0}
    return runs.remember(notebook, *about, Result(correct, 50), lowest, 1.5, made)


def shown_runs(count):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(runs, "FOLDER", Path(folder))
        for i, turned in enumerate(TURNED[:count]):
            remember(turned, 40 + i % 7, 0.1 / (i + 1))
        return curves.run_curves(runs.recall("03")[0])


def no_numbers():
    """A run whose losses all were no numbers."""
    about = "03-x", "03", "2025-01-01", 1, {}, {}, {}, 1, 2, 0.0, 1.0
    return curves.run_curves([runs.Run(*about, {kind: [None, None] for kind in runs.CURVES})])


FIGURES = {
    "reliability_plot, two classes": lambda: reliability(65, 2),
    "reliability_plot, five classes": lambda: reliability(65, 5),
    "reliability_plot, 12 photos": lambda: reliability(12, 2),
    "reliability_plot, 12 photos, five classes": lambda: reliability(12, 5),
    "reliability_plot, 5,000 photos": lambda: reliability(5000, 2),
    "reliability_plot, 5,000 photos, five classes": lambda: reliability(5000, 5),
    "reliability_plot, two classes, divided": lambda: reliability(65, 2, 2.0),
    "reliability_plot, 5,000 photos, five classes, divided": lambda: reliability(5000, 5, 2.0),
    "reliability_plot, all right": lambda: utils.reliability_plot(*all_right(54), 0.5),
    "reliability_plot, one photo": lambda: utils.reliability_plot(*all_right(1)),
    "threshold_plot, two classes": lambda: thresholds(65, 2),
    "threshold_plot, five classes": lambda: thresholds(65, 5),
    "threshold_plot, 12 photos": lambda: thresholds(12, 5, LONG),
    "threshold_plot, 5,000 photos": lambda: thresholds(5000, 2, LONG),
    "threshold_plot, all are": lambda: utils.threshold_plot(
        np.full(12, 0.9), np.ones(12, bool), 0.45, "alpaca"
    ),
    "threshold_plot, none is called so": lambda: utils.threshold_plot(
        np.linspace(0, 0.4, 12), np.arange(12) > 6, 0.5, "alpaca"
    ),
    "run_curves, one run": lambda: shown_runs(1),
    "run_curves, two runs": lambda: shown_runs(2),
    "run_curves, ten runs": lambda: shown_runs(10),
    "run_curves, no numbers": no_numbers,
}


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = FIGURES


# --- How far to trust P ---


@pytest.mark.parametrize(("count", "classes"), [(7, 2), (12, 2), (65, 5), (5000, 2)])
def test_a_dot_is_a_bin_of_enough_photos_with_its_interval_and_its_count(count, classes):
    logits, labels = answers(count, classes, 2.0)
    p = probabilities(logits)
    (axes,) = utils.reliability_plot(p, labels).axes
    ((line, _, (reach,)),) = axes.containers
    counts = [int(one.get_text().replace(",", "")) for one in axes.texts]
    assert sum(counts) == count
    assert min(counts) >= min(trust.FEWEST, count)
    sure, right = np.sort(p.max(axis=1))[::-1], p.argmax(axis=1) == labels
    right = right[np.argsort(-p.max(axis=1), kind="stable")]
    ends = np.cumsum(counts)
    bins = [slice(end - n, end) for n, end in zip(counts, ends, strict=True)]
    assert line.get_xdata() == pytest.approx([sure[some].mean() for some in bins])
    assert line.get_ydata() == pytest.approx([right[some].mean() for some in bins])
    for some, segment in zip(bins, reach.get_segments(), strict=True):
        hits = right[some]
        assert segment[:, 1] == pytest.approx(wilson_interval(int(hits.sum()), len(hits)))


def test_the_scores_are_told_before_and_after():
    logits, labels = answers(20_000, 2, sure=3.0)
    before, after = (probabilities(z) for z in (logits, logits / 3))
    figure = utils.reliability_plot(before, labels, 3.0)
    _, *said = (one.get_text() for one in figure.legends[0].get_texts())
    for p, words in zip((before, after), said, strict=True):
        assert f"calibration error {calibration.reliability(p, labels).error:.3f}" in words
        assert f"loss {-np.log(p[np.arange(20_000), labels]).mean():.3f}" in words
        assert words.split(": ")[1] in figure.get_label()
    assert calibration.reliability(after, labels).error < 0.01
    assert calibration.reliability(before, labels).error > 0.05
    first, second = (one[0] for one in figure.axes[0].containers)
    assert second.get_ydata() == pytest.approx(second.get_xdata(), abs=0.05), "on the dotted line"
    assert first.get_ydata() != pytest.approx(first.get_xdata(), abs=0.05)


def test_the_chosen_threshold_is_marked_with_its_counts():
    p = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1])
    positive = np.array([1, 1, 0, 1, 0, 0], bool)
    figure = utils.threshold_plot(p, positive, 0.5, "alpaca")
    alt = figure.get_label()
    assert "0.500: precision 2 of 3 (" in alt
    assert "recall 2 of 3 (20.8 to 93.9 %)" in alt
    axes, ours, others = figure.axes
    for strip, some, colour in (
        (ours, positive, canvas.class_colour(1)),
        (others, ~positive, GREY),
    ):
        strokes, _ = strip.lines
        assert strokes.get_xdata() == pytest.approx(p[some])
        assert strokes.get_color() == colour
    marks = [one for one in axes.lines if list(one.get_xdata()) == [0.5]]
    assert [one.get_ydata()[0] for one in marks] == pytest.approx([2 / 3, 2 / 3])
    steps = [one for one in axes.lines if one.get_drawstyle() == "steps-post"]
    for line, values in zip(steps, ("precision", "recall"), strict=True):
        for threshold in (0.05, 0.25, 0.5, 0.75, 0.85):
            called = p >= threshold
            of = {"precision": called, "recall": positive}[values]
            at = np.searchsorted(line.get_xdata(), threshold) - 1
            assert line.get_ydata()[at] == pytest.approx((called & positive).sum() / of.sum())


def test_no_positive_photo_is_one_sentence():
    with pytest.raises(UserError) as raised:
        utils.threshold_plot(np.array([0.5]), np.array([False]), 0.5, "alpaca")
    assert one_sentence(raised.value)


# --- The memory of re-runs ---


@pytest.fixture
def log(tmp_path, monkeypatch):
    """An empty log."""
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    return tmp_path


def cells(outputs):
    """The table that was shown: a dict of a row by its header."""
    (table,) = [one["data"]["text/markdown"] for one in outputs if "text/markdown" in one["data"]]
    header, _, *rows = ([c.strip() for c in line.split(" | ")] for line in table.splitlines())
    names = [name.strip("| ") for name in header]
    return [dict(zip(names, (c.strip("| ") for c in row), strict=True)) for row in rows]


def test_a_training_takes_one_call(log, small):
    photos = draw(40)
    val = photos.subset(np.arange(50))
    knobs = KNOBS | {"SEED": 0}
    for _ in range(2):
        utils.log_run("03", knobs, photos, val, small, history(share=0.9))
    (run,) = runs.recall("03")[0]
    assert run.times == 2
    assert (run.correct, run.total, run.seconds) == (45, 50, 1.5)
    assert run.loss == pytest.approx(0.1)
    assert run.knobs == knobs
    utils.log_run("03", knobs, photos.subset(np.arange(70)), val, small, history())
    utils.log_run("03", knobs | {"SEED": 1}, photos, val, small, history())
    assert [run.times for run in runs.recall("03")[0]] == [1, 1, 2]


def test_one_run_is_one_line(log, outputs, capsys):
    utils.show_runs("03")
    assert "No run is noted yet" in capsys.readouterr().out
    remember({})
    remember({})
    utils.show_runs("03")
    (said,) = capsys.readouterr().out.splitlines()
    assert "validation accuracy 45 of 50 (78.6 to 95.7 %), validation loss 0.1000" in said
    assert said.endswith("Turn a knob and run the cells again to compare.")
    assert not outputs, "neither table nor picture"


def test_the_table_tells_what_was_turned(log, outputs, capsys):
    remember({}, 46, 0.20)
    remember({"AUGMENTATION": {"flip": True, "rotation": 30, "zoom": 0.15}}, 47, 0.15)
    remember({"EPOCHS": 9}, 47, 0.14)
    remember({"CUT": "block_12_expand"}, 45, 0.10)
    utils.show_runs("03")
    rows = cells(outputs)
    assert [row["run"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0] == {
        "run": "1", "when": "newest", "CUT": "block_12_expand", "EPOCHS": "6",
        "AUGMENTATION": "rotation 15", "validation accuracy": "45 of 50",
        "95 % interval": "78.6 to 95.7 %", "validation loss": "0.1000", "training": "1.5 s",
        "times run": "1",
    }  # fmt: skip
    assert [row["CUT"] for row in rows] == ["block_12_expand", *3 * ["**block_13_expand**"]]
    assert [row["EPOCHS"] for row in rows] == ["6", "**9**", "6", "6"]
    assert [row["AUGMENTATION"] for row in rows] == [
        "rotation 15", "rotation 15", "**rotation 30**", "rotation 15"
    ]  # fmt: skip
    assert [row["when"] for row in rows] == ["newest", *3 * ["just before"]]
    assert "These 50 validation photos cannot tell the runs apart." in capsys.readouterr().out
    alt = outputs[-1]["data"]["text/plain"]
    assert "1 newest: 45 of 50; 2 CUT block_13_expand, EPOCHS 9: 47 of 50" in alt
    assert "★" not in str(outputs)
    plain = outputs[0]["data"]["text/plain"].splitlines()
    assert len(plain) == 5
    assert len({line.index(" of 50") for line in plain[1:]}) == 1
    assert "**" not in outputs[0]["data"]["text/plain"]


def test_a_star_is_a_run_better_than_the_newest_by_more_than_chance(log, outputs, capsys):
    remember({}, 50)
    remember({"EPOCHS": 9}, 49)
    remember({"EPOCHS": 12}, 47)
    remember({"EPOCHS": 1}, 40)
    utils.show_runs("03")
    rows = cells(outputs)
    high = wilson_interval(40, 50)[1]
    for row, right in zip(rows, (40, 47, 49, 50), strict=True):
        star = "★ " if wilson_interval(right, 50)[0] > high else ""
        assert row["validation accuracy"] == f"{star}{right} of 50"
    assert "★" in rows[-1]["validation accuracy"]
    assert "more than chance" in capsys.readouterr().out


def test_where_the_newest_is_the_better_one_that_is_said(log, outputs, capsys):
    remember({}, 30)
    remember({"EPOCHS": 9}, 49)
    utils.show_runs("03")
    assert "No run is better than the newest by more than chance." in capsys.readouterr().out
    remember({"EPOCHS": 7}, 30, photos={"count": 5})
    runs_found = runs.recall("03")[0]
    assert runs.better(runs_found) == []
    utils.show_runs("03")
    assert "different photos" in capsys.readouterr().out


def test_many_knobs_share_a_column(log, outputs):
    remember(dict.fromkeys("ABCDEF", 1))
    remember(dict.fromkeys("ABCDE", 2))
    utils.show_runs("03")
    newest, other = cells(outputs)
    assert newest["knobs"] == "A 2, B 2, C 2, D 2, E 2"
    assert other["knobs"] == "A **1**, B **1**, C **1**, D **1**, E **1**, F **1**"


def test_an_older_run_that_is_better_stays_in_sight(log, outputs):
    remember({"EPOCHS": 30}, 50)
    for epochs in range(1, 6):
        remember({"EPOCHS": epochs}, 30)
    utils.show_runs("03", last=3)
    assert [row["EPOCHS"].strip("*") for row in cells(outputs)] == ["5", "4", "30"]


def test_other_photos_are_told_and_are_not_better(log, outputs):
    remember({}, 50, photos={"count": 12, "digest": "ab"})
    remember({"EPOCHS": 3}, 44, photos={"count": 327, "digest": "cd"})
    utils.show_runs("03")
    rows = cells(outputs)
    assert [row["photos"] for row in rows] == [
        "count 327, digest cd",
        "**count 12**, **digest ab**",
    ]
    assert [row["validation accuracy"] for row in rows] == ["44 of 50", "50 of 50"]


def test_what_a_stranger_wrote_is_shown_as_it_is(log, outputs):
    remember({"CUT": "**x** <img src=a>\n| `b`"})
    remember({"CUT": "y" * 80})
    utils.show_runs("03")
    table = outputs[0]["data"]["text/markdown"].splitlines()
    assert len(table) == 4
    assert r"**`**x** <img src=a> \| 'b'`**" in table[3]
    assert f"| {'y' * 31}… |" in table[2]


def test_damaged_files_are_named_and_left_out(log, outputs, capsys):
    remember({})
    remember({"EPOCHS": 9})
    (log / "03-broken.json").write_text("{")
    utils.show_runs("03")
    said = capsys.readouterr().out
    assert "damaged: 03-broken.json;" in said
    assert one_sentence(said.splitlines()[-1])
    assert len(cells(outputs)) == 2


def test_the_curves_are_those_of_the_runs_and_the_newest_stands_out():
    figure = shown_runs(10)
    for axes, first in zip(figure.axes, (0.7, 0.5), strict=True):
        drawn = [one for one in axes.lines if len(one.get_ydata()) > 1]
        assert len(drawn) == 10
        assert all(one.get_ydata()[0] == pytest.approx(first) for one in drawn)
        assert sorted(len(one.get_ydata()) - 1 for one in drawn) == sorted(
            (KNOBS | turned)["EPOCHS"] for turned in TURNED
        )
        wide = [one for one in drawn if one.get_linewidth() > 2]
        assert wide == [drawn[-1]], "the newest, on top"
        marks = {one.get_marker() for one in drawn if one not in wide}
        assert len(marks) == 9, "the others are told apart by their marks"
    said = [one.get_text() for one in figure.legends[0].get_texts()]
    assert said[0] == "1 newest"
    assert [one.split()[0] for one in said[:10]] == [str(i) for i in range(1, 11)]


def test_a_better_run_has_a_star_in_the_picture(log):
    remember({}, 50, 0.1)
    remember({"EPOCHS": 2}, 30, 0.6)
    figure = curves.run_curves(runs.recall("03")[0])
    for axes in figure.axes:
        stars = [one for one in axes.lines if one.get_marker() == "*"]
        assert [one.get_xdata()[0] for one in stars] == [6]
    said = [one.get_text() for one in figure.legends[0].get_texts()]
    assert said == ["1 newest", "2 EPOCHS 6 ★", "weights kept"]


def test_losses_that_are_much_alike_have_a_linear_axis(log):
    for lowest, scale in ((0.72 / curves.LINEAR, "linear"), (0.01, "log")):
        remember({"SEED": lowest}, 45, lowest)
        assert curves.run_curves(runs.recall("03")[0]).axes[0].get_yscale() == scale


def test_showing_runs_twice_gives_the_same_bytes(log, outputs):
    for turned in TURNED[:4]:
        remember(turned)
    utils.show_runs("03")
    utils.show_runs("03")
    assert outputs[:2] == outputs[2:]
