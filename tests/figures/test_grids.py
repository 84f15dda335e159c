"""Looking at answers: which photos are shown, in which order, and how each is marked."""

from dataclasses import replace
from functools import cache, partial
from itertools import combinations

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.patches import Rectangle

import utils
from mobilenet import UserError
from mobilenet.explain import neighbours
from mobilenet.figures import canvas, grids
from mobilenet.figures import feature_map as maps
from mobilenet.transfer import metrics
from tests.helpers.answers import NAMES, any_answers, boxes, some_answers, some_photos
from tests.helpers.drawn import one_sentence
from tests.helpers.figure_contract import FigureContract


def long_names(photos):
    files = tuple(f"{'a-folder' * 4}/{'x' * 30}-$IMG$_{i:04}.jpeg" for i in range(len(photos)))
    return replace(photos, files=files)


def grid(classes=2, count=12, **knobs):
    photos = long_names(some_photos(classes, count))
    return utils.prediction_grid(photos, any_answers(photos), **knobs)


def confusion(classes, count=12):
    photos = some_photos(classes, count)
    return utils.confusion_photos(photos, any_answers(photos, strength=1.0))


def cams(classes=2, count=6, networks=("frozen", "fine-tuned")):
    photos = some_photos(classes, count)
    heats = np.random.default_rng(0).random((len(photos), 7, 7))
    heats[1] = 0
    asked = np.arange(len(photos)) % classes
    found = {name: (heats, any_answers(photos, i)) for i, name in enumerate(networks)}
    return utils.grad_cam_rows(photos, asked, found)


def features(photos, seed=0, apart=1.0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, apart, (len(photos.class_names), 8))
    return centres[photos.labels] + rng.normal(0, 1, (len(photos), 8))


def nearest(classes=2, count=12, rows=4):
    photos = some_photos(classes, count)
    some, chosen = features(photos), np.arange(rows)
    return utils.neighbour_grid(
        photos, chosen, photos, *neighbours.neighbours(some[chosen], some, 5)
    )


def changed(classes=2, strength=1.0):
    photos = some_photos(classes)
    return utils.changed_grid(photos, *(any_answers(photos, i, strength) for i in (0, 1)))


def feature_map(classes=2, count=12, moved=0.5, names=("frozen", "fine-tuned")):
    photos = some_photos(classes, count)
    before = features(photos)
    return utils.feature_map(photos, before, before + moved * features(photos, 1), names)


FIGURES = {
    "prediction_grid": lambda: grid(),
    "prediction_grid, five": lambda: grid(5),
    "prediction_grid, five, wrong, with files": lambda: grid(5, only="wrong", files=True),
    "prediction_grid, 12 photos": lambda: grid(2, 6, order="confidence", files=True),
    "prediction_grid, many": lambda: grid(2, 2500, order="file", only="unsure"),
    "prediction_grid, one photo": lambda: grid(2, 1, columns=1, rows=1, files=True),
    "prediction_grid, none": lambda: utils.prediction_grid(
        some_photos(), some_answers(some_photos(), wrong=0)[0], only="wrong"
    ),
    "confusion_photos": lambda: confusion(2),
    "confusion_photos, 12 photos": lambda: confusion(2, 6),
    "confusion_photos, many": lambda: confusion(2, 2500),
    "confusion_photos, five": lambda: confusion(5),
    "confusion_photos, five, many": lambda: confusion(5, 1000),
    "confusion_photos, six": lambda: confusion(6, 40),
    "confusion_photos, seven": lambda: confusion(7, 40),
    "confusion_photos, eight": lambda: confusion(8, 40),
    "grad_cam_rows": lambda: cams(),
    "grad_cam_rows, five": lambda: cams(5, networks=("frozen", "fine-tuned from block_13_expand")),
    "grad_cam_rows, one network": lambda: cams(2, 1, networks=("frozen",)),
    "grad_cam_rows, three networks": lambda: cams(5, networks=("from scratch", "frozen", "tuned")),
    "neighbour_grid": lambda: nearest(),
    "neighbour_grid, five": lambda: nearest(5),
    "neighbour_grid, few": lambda: nearest(2, 2, rows=1),
    "feature_map": lambda: feature_map(),
    "feature_map, five": lambda: feature_map(5),
    "feature_map, 12 photos": lambda: feature_map(2, 6),
    "feature_map, many": lambda: feature_map(5, 1000),
    "feature_map, six, at rest": lambda: feature_map(6, 20, moved=0.0),
    "feature_map, long names": lambda: feature_map(
        5, 20, names=("untrained", "tuned from block_3")
    ),
    "changed_grid": lambda: changed(),
    "changed_grid, five": lambda: changed(5),
}


@cache
def made(name):
    """A figure, made once for all tests."""
    return FIGURES[name]()


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = {name: partial(made, name) for name in FIGURES}  # noqa: RUF012


def which(photos, axes):
    """The positions of the photos that are drawn in axes, in the order of drawing."""
    position = {photos.images[i].tobytes(): i for i in range(len(photos))}
    return [position[one.get_array().tobytes()] for one in axes.get_images()]


def shown(photos, figure):
    return [i for axes in figure.axes for i in which(photos, axes)]


def frame(axes):
    """Colour, width and dashes of a photo's frame."""
    spine = axes.spines["left"]
    return colors.to_hex(spine.get_edgecolor()), spine.get_linewidth(), str(spine.get_linestyle())


# --- Answers ---


@pytest.mark.parametrize(("classes", "count"), [(2, 9), (5, 4)])
def test_wrong_answers_differ_by_more_than_colour(classes, count):
    photos = some_photos(classes, count)
    p, missed = some_answers(photos, wrong=4)
    figure = utils.prediction_grid(photos, p, order="file")
    looks = {True: set(), False: set()}
    for i, axes in enumerate(figure.axes[: min(18, len(photos))]):
        wrong = bool(i in missed)
        first, *others = axes.get_title().splitlines()
        looks[wrong].add((first[0] == "✗", axes.title.get_fontweight(), *frame(axes)))
        assert first.endswith(" 90 %")
        name = photos.class_names[p[i].argmax()][:9].replace("$", r"\$")
        assert first.removeprefix("✗ ").startswith(name)
        label = photos.class_names[photos.labels[i]][:9].replace("$", r"\$")
        assert [one[: len(label) + 3] for one in others] == [f"is {label}"] * wrong
        assert which(photos, axes) == [i]
    ((right, *right_look),) = looks[False]
    ((wrong, *wrong_look),) = looks[True]
    assert (right, wrong) == (False, True)
    assert all(a != b for a, b in zip(right_look, wrong_look, strict=True))
    assert max(right_look[2], wrong_look[2]) <= 2, "frames are thin"
    assert f"; {(missed < 18).sum()} wrong." in figure.get_label()


@pytest.mark.parametrize("classes", [2, 5])
def test_the_order_is_the_one_asked_for(classes):
    photos = some_photos(classes, 10)
    p = any_answers(photos)
    loss, sure = metrics.cross_entropy(p, photos.labels), p.max(axis=1)
    for order, expected, words in (
        ("loss", np.argsort(-loss), "the highest loss first"),
        ("confidence", np.argsort(sure), "the least sure first"),
        ("file", np.arange(len(photos)), "in the order of their files"),
    ):
        figure = utils.prediction_grid(photos, p, order=order)
        assert shown(photos, figure) == list(expected[:18])
        assert figure.get_label().startswith(f"18 of {len(photos)} photos, {words}")
    assert shown(photos, utils.prediction_grid(photos, p)) == list(np.argsort(-loss)[:18])
    few = utils.prediction_grid(photos, p, columns=2, rows=2, order="file")
    assert shown(photos, few) == [0, 1, 2, 3]


@pytest.mark.parametrize("classes", [2, 5])
def test_only_those_asked_for_are_shown(classes):
    photos = replace(some_photos(classes, 10), labels=np.repeat(np.arange(classes), 10))
    p = any_answers(photos, strength=1.5)
    wrong = np.flatnonzero(p.argmax(axis=1) != photos.labels)
    unsure = np.flatnonzero(p.max(axis=1) < grids.UNSURE)
    assert 0 < len(wrong) < len(unsure) < len(photos)
    for only, expected in (("wrong", wrong), ("unsure", unsure)):
        figure = utils.prediction_grid(photos, p, columns=8, order="file", only=only)
        assert shown(photos, figure) == list(expected[:24])
        said = f"{min(24, len(expected))} of {len(expected)} photos that are {only}"
        assert figure.get_label().startswith(said)


@pytest.mark.parametrize("only", ["wrong", "unsure"])
def test_where_there_is_none_words_say_so(only):
    photos = some_photos(2, 10)
    p = some_answers(photos, wrong=0)[0]
    figure = utils.prediction_grid(photos, p, only=only)
    (text,) = figure.axes[0].texts
    assert text.get_text() == figure.get_label()
    assert text.get_text().startswith(f"None of 20 photos is {only}")
    nothing = photos.subset(np.array([], int))
    assert utils.prediction_grid(nothing, p[:0]).get_label() == "There are no photos."


@pytest.mark.parametrize("knobs", [{"order": "worst"}, {"only": "right"}])
def test_what_cannot_be_asked_for(knobs):
    photos = some_photos(2, 10)
    with pytest.raises(UserError, match=r"use '(loss|wrong)', '") as raised:
        utils.prediction_grid(photos, any_answers(photos), **knobs)
    assert one_sentence(raised.value)


def test_files_are_named_so_that_they_can_be_told_apart():
    photos = some_photos(2, 9)
    p = any_answers(photos)
    assert not any(axes.get_xlabel() for axes in utils.prediction_grid(photos, p).axes)
    figure = utils.prediction_grid(photos, p, order="file", files=True)
    assert [axes.get_xlabel() for axes in figure.axes] == [
        f"{i:03}.png" for i in (*range(9), *range(9, 18))
    ]
    many = long_names(photos)
    long = [
        axes.get_xlabel() for axes in utils.prediction_grid(many, p, order="file", files=True).axes
    ]
    assert len(set(long)) == 18
    for i, name in enumerate(long):
        start, end = name.replace(r"\$", "$").split("…")
        file = many.files[i].split("/")[1]
        assert file.startswith(start)
        assert file.endswith(end)
        assert f"{i:04}" in end


def test_what_two_networks_say_stands_above_a_photo():
    photos = replace(some_photos(2, 3), labels=np.repeat([0, 1], 3))
    before = np.array([[0.8, 0.2], [0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.5, 0.5]])
    after = np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.7, 0.3], [0.49, 0.51]])
    figure = utils.changed_grid(photos, before, after)
    first, second, third = (axes.get_title().splitlines() for axes in figure.axes[:3])
    assert first == ["not alpaca 80 % →", "✗ alpaca 70 %", "is not alpaca"]
    assert second == ["alpaca 60 % →", "✗ not alpaca 60 %", "is alpaca"]
    assert third == ["alpaca 50 % →", "not alpaca 51 %"]
    assert figure.axes[3].get_title().splitlines() == ["alpaca", "70 % → 90 %"]
    assert "3 of them got another class" in figure.get_label()


# --- Heat ---


def test_a_row_shows_the_photo_and_then_under_heat():
    photos = some_photos(2, 4, size=32)
    heats = np.zeros((8, 4, 4), np.float32)
    heats[:, 0, 3] = 1  # upper right
    p, missed = some_answers(photos, wrong=1)
    asked = np.array([0, 1] * 4)
    figure = utils.grad_cam_rows(photos, asked, {"one": (heats, p), "other": (heats, 1 - p)})
    assert len(figure.axes) == 4 * 3, "at most four photos, each with two networks"
    for i in range(4):
        photo, one, other = figure.axes[3 * i : 3 * i + 3]
        assert which(photos, photo) == [i]
        assert frame(photo)[0] == canvas.class_colour(photos.labels[i])
        over = one.get_images()[0].get_array().data.astype(float)
        grey = grids.DARKENED * photos.images[i].mean(axis=2) / 255
        cold = np.repeat(grey[16:, :, None], 3, axis=2)
        assert over[16:] == pytest.approx(cold, abs=0.01), "grey where nothing speaks for the class"
        assert over.sum(axis=2)[0, -1] == pytest.approx(over.sum(axis=2).max(), rel=0.02)
        assert np.ptp(over[0, -1]) > 0.2, "coloured where it is hot"
        assert one.get_title() == f"{'✗ ' if i in missed else ''}{NAMES[asked[i]]} " + (
            canvas.percent(p[i, asked[i]])
        )
        assert one.get_title()[0] != other.get_title()[0]
        assert all(a != b for a, b in zip(frame(one), frame(other), strict=True))
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["one", "other"]
    said = f"alpaca {canvas.percent(p[0, 0])} one, {canvas.percent(1 - p[0, 0])} other;"
    assert said in figure.get_label()


def test_heat_is_scaled_up_smoothly():
    heats = np.zeros((1, 8, 8))
    heats[0, 4, 4] = 1
    photos = some_photos(2, 1, size=64).subset(np.array([0]))
    figure = utils.grad_cam_rows(photos, np.array([0]), {"one": (heats, np.array([[1.0, 0.0]]))})
    over = figure.axes[1].get_images()[0].get_array().astype(float)
    steps = np.abs(np.diff(over, axis=0)).max()
    assert steps < 0.4, "no edges between the places of the map"
    assert np.unravel_index(over.sum(axis=2).argmax(), (64, 64)) == pytest.approx((36, 36), abs=2)


# --- What resembles what ---


def test_neighbours_have_their_own_class_colour_and_strangers_a_mark():
    photos = some_photos(3, 6)
    order = np.array([[0, 1, 6], [12, 7, 8]])
    near = np.array([[0.987, 0.5, 0.25], [1, 0.456, -0.1]])
    figure = utils.neighbour_grid(photos, np.array([2, 9]), photos, order, near)
    rows = [[axes for axes in figure.axes if axes.get_images()][k : k + 4] for k in (0, 4)]
    assert [[which(photos, axes) for axes in row] for row in rows] == [
        [[2], [0], [1], [6]],
        [[9], [12], [7], [8]],
    ]
    titles = [[axes.get_title() for axes in row] for row in rows]
    assert titles[0] == ["alpaca", "0.99", "0.50", "≠ not alpaca 0.25"]
    assert titles[1] == ["not alpaca", f"≠ {NAMES[2][:13]}… 1.00", "0.46", "-0.10"]
    for row in rows:
        looks = [frame(axes) for axes in row]
        for axes, (colour, *look) in zip(row, looks, strict=True):
            (i,) = which(photos, axes)
            assert colour == canvas.class_colour(photos.labels[i])
            assert (look != list(looks[0][1:])) == ("≠" in axes.get_title())
    assert "2 of these 6 are of another class" in figure.get_label()


def test_at_most_four_photos_get_a_row():
    figure = nearest(2, 12, rows=7)
    assert len([axes for axes in figure.axes if axes.get_images()]) == 4 * 6
    assert figure.get_label().startswith("4 photos, each with the 5 most similar of 24;")


# --- The map ---


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith("feature_map")])
def test_pictures_on_the_map_cover_no_other(name):
    figure = made(name)
    for axes in figure.axes:
        found = boxes(axes)
        assert 3 <= len(found) <= maps.THUMBNAILS
        for a, b in combinations(found, 2):
            assert a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]
        assert found.min() >= 0
        assert found[:, 1].max() <= 1
        assert found[:, 3].max() <= maps.PANEL
    again = FIGURES[name]()
    for axes, other in zip(figure.axes, again.axes, strict=True):
        assert (boxes(axes) == boxes(other)).all(), "the same at each call"


def dots_and_arrows(axes, classes):
    """Where photos lie after and lay before, class by class: (N, 2) each."""
    arrows, dots = axes.collections[: 2 * classes : 2], axes.collections[1 : 2 * classes : 2]
    ends = np.concatenate([one.get_offsets().data for one in dots])
    starts = np.concatenate([np.stack([one.X, one.Y], axis=1) for one in arrows])
    return ends, starts


def test_pictures_lie_at_their_dots_in_their_class_colour():
    photos = some_photos(5, 8)
    before = features(photos)
    after = before + features(photos, 1)
    (axes,) = utils.feature_map(photos, before, after).axes
    dots = axes.collections[1:10:2]
    assert [colors.to_hex(one.get_facecolor()[0]) for one in dots] == [
        canvas.class_colour(k) for k in range(5)
    ]
    assert len({one.get_paths()[0].vertices.tobytes() for one in dots}) == 5
    ends, starts = dots_and_arrows(axes, 5)
    points, _ = neighbours.plane(np.concatenate([before, after]))
    drawn = np.concatenate([starts, ends])
    scale = np.ptp(drawn, axis=0) / np.ptp(points, axis=0)
    assert scale[0] == pytest.approx(scale[1]), "a unit is as long up as along"
    assert drawn - drawn.mean(axis=0) == pytest.approx(scale * (points - points.mean(axis=0)))
    mine, found = which(photos, axes), boxes(axes)
    middles = np.stack([found[:, :2].mean(axis=1), found[:, 2:].mean(axis=1)], axis=1)
    assert middles == pytest.approx(ends[mine])
    frames = [one for one in axes.patches if isinstance(one, Rectangle)]
    assert [colors.to_hex(one.get_edgecolor()) for one in frames] == [
        canvas.class_colour(photos.labels[i]) for i in mine
    ]


@pytest.mark.parametrize("moved", [0.0, 0.02, 0.5])
def test_the_title_says_how_far_photos_moved(moved):
    photos = some_photos(2, 30)
    before = features(photos)
    spread = np.sqrt(((before - before.mean(axis=0)) ** 2).sum(axis=1).mean())
    step = np.zeros(8)
    step[3] = moved * spread
    figure = utils.feature_map(photos, before, before + step, ("frozen", "tuned"))
    (axes,) = figure.axes
    title = axes.get_title()
    assert title.startswith("Almost nothing moves: ") == (moved < maps.STILL)
    assert f"rom frozen to tuned, the median photo moves by {moved:.0%}".replace("%", " %") in title
    assert title[1:] in figure.get_label()
    ends, starts = dots_and_arrows(axes, 2)
    lengths = np.linalg.norm(ends - starts, axis=1)
    assert lengths == pytest.approx(np.full(60, lengths[0])), "all alike"
    assert (lengths[0] > 0) == (moved > 0)


def test_photos_that_all_are_alike_lie_in_the_middle():
    photos = some_photos(2, 3)
    nothing = np.zeros((6, 8))
    (axes,) = utils.feature_map(photos, nothing, nothing).axes
    assert len(axes.get_images()) == 1
    middle = (0.5, maps.PANEL / 2)
    ends, _ = dots_and_arrows(axes, 2)
    assert ends == pytest.approx(np.full((6, 2), middle))
