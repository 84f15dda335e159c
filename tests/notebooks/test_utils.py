"""What notebook cells call: every picture legible, described in words, right in its numbers."""

import ast
import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import utils
from mobilenet import ROOT, UserError
from mobilenet.figures import canvas
from mobilenet.networks import anatomy, published
from mobilenet.photos.photos import Photos, ordered
from mobilenet.photos.splits import split
from mobilenet.transfer.metrics import History, Result
from tests.helpers.answers import some_photos
from tests.helpers.drawn import one_sentence
from tests.helpers.figure_contract import FigureContract


def test_a_notebook_of_another_copy_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mobilenet").mkdir()
    (tmp_path / "mobilenet" / "__init__.py").touch()
    (tmp_path / "notebooks").mkdir()
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        with pytest.raises(UserError, match=re.escape(f"is in {tmp_path}, but")) as error:
            utils.begin("01")
        assert one_sentence(str(error.value))


def history(epochs=5):
    loss = list(np.linspace(0.7, 0.2, epochs + 1))
    share = list(np.linspace(0.5, 0.95, epochs + 1))
    return History([np.nan, *loss[1:]], [np.nan, *share[1:]], loss, share, best=epochs - 1)


KINDS = ("standard", "pointwise", "depthwise", "grouped", "dense")


def by_kind(low, high):
    rng = np.random.default_rng(0)
    return {kind: np.exp(rng.uniform(np.log(low), np.log(high), 6)) for kind in KINDS}


def parts(photos):
    return split(photos, seed=0)


def passages(dimensions):
    points = anatomy.spiral(100)
    return utils.passages_plot(points, {n: anatomy.passage(points, n, n) for n in dimensions})


FIGURES = {
    "photo_grid, two classes": lambda: utils.photo_grid(some_photos()),
    "photo_grid, five classes": lambda: utils.photo_grid(some_photos(5)),
    "photo_grid, 12 photos": lambda: utils.photo_grid(some_photos(2, 6)),
    "photo_grid, two photos": lambda: utils.photo_grid(some_photos(2, 1)),
    "view_grid": lambda: utils.view_grid(np.zeros((6, 3, 8, 8, 3), np.uint8)),
    "view_grid of one": lambda: utils.view_grid(np.zeros((1, 1, 8, 8, 3), np.uint8)),
    "class_balance": lambda: utils.class_balance(some_photos(), parts(some_photos())),
    "class_balance, five": lambda: utils.class_balance(some_photos(5), parts(some_photos(5))),
    "learning_curves": lambda: utils.learning_curves(history()),
    "learning_curves, both": lambda: utils.learning_curves(history(), history(3)),
    "loss_by_rate_plot": lambda: utils.loss_by_rate_plot(
        np.geomspace(1e-6, 1e-2, 8), [0.2, 0.2, 0.19, 0.17, 0.15, 0.18, 2.5, np.nan], 0.2
    ),
    "loss_by_rate_plot, none holds": lambda: utils.loss_by_rate_plot([1e-3], [np.inf], 0.2),
    "class_bars": lambda: utils.class_bars(
        {"llama": 0.8, "Arabian camel": 0.1, "a thing with a long name": 0.02}, "Said", "Bars."
    ),
    "l2_plot": lambda: utils.l2_plot(
        10.0 ** np.arange(3, -3, -1), np.array([0.6, 0.3, 0.2, 0.1, 0.15, 0.3])
    ),
    "ratio_plot": lambda: utils.ratio_plot(
        [1, 3, 5, 7], 2 ** np.arange(11), 1 / 2 ** np.arange(11) + 1 / np.c_[[1, 9, 25, 49]]
    ),
    "time_against_multiply_adds_plot": lambda: utils.time_against_multiply_adds_plot(
        by_kind(1e6, 1e9), by_kind(1e-4, 1e-1), 2e-4
    ),
    "speed_against_intensity_plot": lambda: utils.speed_against_intensity_plot(
        by_kind(0.5, 100), by_kind(1e8, 1e11)
    ),
    "passages_plot": lambda: passages((2, 3, 5, 15, 30)),
    "passages_plot of one": lambda: passages((30,)),
    "losses_plot": lambda: utils.losses_plot(
        {"with": np.geomspace(1.4, 0.01, 20), "without": np.geomspace(1.4, 0.5, 20)}
    ),
    "clip_plot": lambda: utils.clip_plot({str(i): 5 + i**1.2 for i in range(35)}),
    "shares_plot": lambda: utils.shares_plot(
        {name: dict.fromkeys(KINDS, (0.2, 0.2)) for name in ("V1", "V2")}
    ),
    "shares_plot, one kind has all": lambda: utils.shares_plot({"V1": {"pointwise": (1, 1)}}),
    "top1_plot": lambda: utils.top1_plot(
        {"V1": (np.array([40, 570]), np.array([50, 70])), "V2": (np.array([300]), np.array([72]))},
        {name: (one.millions, one.top1) for name, one in published.OTHERS.items()},
    ),
}


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = FIGURES


def test_every_public_plot_is_drawn_somewhere():
    plots = {
        name
        for name, what in vars(utils).items()
        if getattr(what, "__annotations__", {}).get("return") is Figure and name[0] != "_"
    }
    drawn = set()
    for file in (ROOT / "tests").glob("*/test_*.py"):
        if found := re.search(r"^FIGURES = \{$.*?^\}$", file.read_text("utf-8"), re.M | re.S):
            drawn |= set(re.findall(r'^    "(\w+)', found[0], re.M))
    assert drawn >= plots


# --- Colours, marks and numbers ---


def test_curves_show_each_stage_by_itself_and_mark_the_epoch_kept():
    head, tuned = history(5), history(3)
    tuned.val_loss, tuned.loss = [0.2, 0.19, 0.18, 0.19], [np.nan, 0.19, 0.18, 0.17]
    figure = utils.learning_curves(head, tuned)
    for axes, stage in zip(figure.axes, (head, tuned, head, tuned), strict=True):
        (kept,) = (line for line in axes.lines if line.get_label() == "weights kept")
        assert list(kept.get_xdata()) == [stage.best]
        last = max(line.get_xdata().max() for line in axes.lines)
        assert last == len(stage.val_loss) - 1
    low, high = figure.axes[1].get_ylim()
    assert low > 0.16
    assert high < 0.21, "enlarged"
    assert "fine-tuning" in figure.get_label()
    alone = utils.learning_curves(head)
    assert len(alone.axes) == 2
    assert "fine-tuning" not in alone.get_label()


def test_rates_show_the_lowest_and_what_is_off_the_scale():
    rates = np.geomspace(1e-6, 1e-2, 8)
    losses = [0.2, 0.2, 0.19, 0.17, 0.15, 0.18, 2.5, np.nan]
    figure = utils.loss_by_rate_plot(rates[::-1], losses[::-1], 0.2)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    (label,) = (one for one in lines if one.startswith("lowest"))
    assert label == f"lowest, at {rates[4]:.1e}"
    assert lines[label].get_ydata() == [0.15]
    crosses = lines["off the scale, or diverged"]
    assert crosses.get_xdata() == pytest.approx(rates[6:])
    assert crosses.get_ydata() == pytest.approx(np.full(2, axes.get_ylim()[1]))
    assert [one.get_text() for one in axes.texts] == ["2.5"]
    assert "diverged at 1.0e-02" in figure.get_label()


def test_grids_show_photos_of_each_class_once():
    photos = some_photos(5, count=4)
    shown = [axes for axes in utils.photo_grid(photos).axes if axes.get_images()]
    assert len(shown) == 18
    pictures = {axes.get_images()[0].get_array().tobytes() for axes in shown}
    assert len(pictures) == 18
    assert len({axes.get_title() for axes in shown}) == 5


# --- What a notebook gets ---


@pytest.mark.parametrize(
    ("name", "kind"), [("class_balance", "image/png"), ("photo_grid, five classes", "image/jpeg")]
)
def test_shown_figures_carry_their_alt_text(outputs, name, kind):
    made = FIGURES[name]()
    assert utils.show(made) is None
    (output,) = outputs
    alt, shown = made.get_label(), output["metadata"][kind]
    assert list(output["metadata"]) == [kind]
    assert shown["alt"] == output["data"]["text/plain"] == alt
    coded = base64.b64decode(output["data"][kind])
    picture = Image.open(io.BytesIO(coded))
    width, height = made.get_size_inches() * canvas.DPI
    assert (shown["width"], shown["height"]) == pytest.approx((width, height), abs=1)
    assert picture.size == pytest.approx((2 * width, 2 * height), abs=2), "sharp"
    assert len(coded) <= canvas.BYTES
    assert np.asarray(picture.convert("L")).std() > 5


def test_showing_twice_gives_the_same_bytes(outputs):
    for _ in range(2):
        utils.show(FIGURES["photo_grid, five classes"]())
    first, second = outputs
    assert first == second


def test_tables_come_as_markdown_and_as_text(outputs):
    utils.show_table(("class", "n"), [("a|b", 1), ("not alpaca", 20)])
    (output,) = outputs
    assert output["data"]["text/markdown"].splitlines() == [
        "| class | n |",
        "| --- | --- |",
        "| a\\|b | 1 |",
        "| not alpaca | 20 |",
    ]
    assert output["data"]["text/plain"].splitlines() == [
        "class       n",
        "a|b         1",
        "not alpaca  20",
    ]


def test_photos_in_words():
    photos = some_photos(2, 3)
    assert utils.describe(photos) == "6 photos: 3 alpaca, 3 not alpaca; 0 files left out."
    left_out = tuple((f"alpaca/{i}.jpg", "it is empty") for i in range(15))
    lines = utils.describe(replace(photos, left_out=left_out)).splitlines()
    assert lines[0].endswith("15 files left out.")
    ten = ", ".join(f"alpaca/{i}.jpg" for i in range(10))
    assert lines[1:] == [f"  left out: {ten} and 5 more (it is empty)"]
    many = tuple((f"{i}.jpg", f"reason {i}") for i in range(15))
    lines = utils.describe(replace(photos, left_out=many)).splitlines()
    assert lines[1:3] == ["  left out: 0.jpg (reason 0)", "  left out: 1.jpg (reason 1)"]
    assert lines[11:] == ["  left out: 5 more"]


def test_counts_of_classes_that_are_numbers_read():
    labels = np.repeat(np.arange(12), 2)
    names = ordered([str(k) for k in range(1, 13)])
    photos = Photos(tuple(map(str, range(24))), np.zeros((24, 1, 1, 3), np.uint8), labels, names)
    first, second = utils.describe(photos).splitlines()
    each = ", ".join(f"{k}: 2" for k in range(1, 13))
    assert first == f"24 photos: {each}; 0 files left out."
    assert one_sentence(second)
    assert second.endswith("as in Keras: 0 is '1', 1 is '10', 2 is '11'.")


@pytest.mark.parametrize(("rare", "said"), [(5, True), (24, True), (25, True), (26, False)])
def test_classes_of_very_different_sizes_are_told(rare, said):
    photos = some_photos(3, 100)
    some = photos.subset(np.r_[0:100, 100:200, 200 : 200 + rare])
    lines = utils.describe(some).splitlines()
    assert len(lines) == 1 + said
    if said:
        counts = np.bincount(some.labels)
        few, many = (photos.class_names[k] for k in (counts.argmin(), counts.argmax()))
        assert f"unbalanced: 100 {many}, {rare} {few}." in lines[1]
        assert f"Always answering {many!r} is right for {10000 / len(some):.1f} %" in lines[1]


def test_an_entry_of_the_scoreboard(small, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "BOARD", tmp_path)
    utils.publish("frozen", Result(3, 4), 1.5, some_photos(2, 3), small)
    written = json.loads((tmp_path / "frozen.json").read_text())
    assert (written["correct"], written["total"], written["seconds"]) == (3, 4, 1.5)
    assert written["photos"] == {"count": 6, "classes": ["alpaca", "not alpaca"]}
    assert written["backbone"] == small.card()
    some = replace(some_photos(2, 3), left_out=(("a.heic", "HEIC is not read"),), hidden=2)
    utils.publish("frozen", Result(3, 4), 1.5, some, small)
    written = json.loads((tmp_path / "frozen.json").read_text())["photos"]
    assert (written["left_out"], written["hidden"]) == (1, 2)


def test_what_is_handed_on_is_called():
    text = (ROOT / "utils.py").read_text("utf-8")
    here = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    handed = {
        (one.asname or one.name)
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for one in node.names
    }
    notebooks = "".join(path.read_text("utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert not {name for name in handed - here if f"utils.{name}" not in notebooks}
