"""The photos behind a confusion matrix: each cell's count, its photos and its frame."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.patches import Rectangle

import utils
from mobilenet.figures import confusion
from mobilenet.transfer import metrics
from tests.helpers.answers import any_answers, boxes, some_answers, some_photos


def cells(figure):
    """What each cell of a confusion matrix holds: its box, words and photos, left to right, top to
    bottom.
    """
    (axes,) = figure.axes
    boxes = [one.get_bbox() for one in axes.patches if one.get_fill()]
    found = [SimpleNamespace(box=box, words=[], images=[]) for box in boxes]

    def at(x, y):
        (cell,) = (one for one in found if one.box.contains(x, y))
        return cell

    for text in axes.texts:
        at(*text.get_position()).words.append(text.get_text())
    for image in axes.get_images():
        left, right, bottom, top = image.get_extent()
        assert at(left, top) is at(right, bottom), "inside of the cell"
        assert right - left == pytest.approx(bottom - top)
        assert right - left > confusion.THUMBNAIL - 0.05
        at(left, top).images.append(image)
    return found


@pytest.mark.parametrize(("classes", "count"), [(2, 6), (2, 40), (2, 500), (5, 8), (5, 90)])
def test_each_cell_counts_its_photos_and_shows_them(classes, count):
    photos = some_photos(classes, count)
    p = any_answers(photos, strength=1.0)
    guesses, loss = p.argmax(axis=1), metrics.cross_entropy(p, photos.labels)
    figure = utils.confusion_photos(photos, p)
    position = {photos.images[i].tobytes(): i for i in range(len(photos))}
    found = cells(figure)
    assert len(found) == classes**2
    for (row, column), cell in zip(np.ndindex(classes, classes), found, strict=True):
        mine = np.flatnonzero((photos.labels == row) & (guesses == column))
        mark = " ✓" if row == column else " ✗" if len(mine) else ""
        assert cell.words[0] == f"{len(mine)}{mark}"
        if len(mine):
            assert cell.words[1][:5].strip("…") in photos.class_names[column].replace("$", r"\$")
        mine = mine[np.argsort(loss[mine] if row == column else -loss[mine])]
        seen = [position[one.get_array().tobytes()] for one in cell.images]
        assert seen == list(mine[: len(seen)]), "the surest, or the worst, first"
        assert bool(seen) == bool(len(mine))
        more = len(mine) - len(seen)
        assert cell.words[2:] == (
            [f"+ {more} more"] if more and cell.box.width > confusion.ROOMY else []
        )
    first, second = photos.class_names[:2]
    right, wrong = (((photos.labels == 0) & (guesses == k)).sum() for k in (0, 1))
    assert f"{first}: {right} as {first}, {wrong} as {second}" in figure.get_label()


def test_many_classes_are_counted():
    photos = some_photos(8, 9)
    p = any_answers(photos, strength=1.0)
    (axes,) = utils.confusion_photos(photos, p).axes
    table = metrics.confusion(p, photos.labels)
    assert [int(one.get_text().split()[0]) for one in axes.texts] == table.ravel().tolist()


def test_cells_without_photos_are_narrow():
    photos = some_photos(2, 30)
    found = cells(utils.confusion_photos(photos, some_answers(photos, wrong=0)[0]))
    widths = [cell.box.width for cell in found]
    assert max(widths[1:3]) < 0.1 * min(widths[0], widths[3])


def test_few_photos_are_shown_large_and_none_covers_another():
    sides = []
    for count in (3, 30):
        photos = some_photos(2, count)
        (axes,) = utils.confusion_photos(photos, some_answers(photos, wrong=1)[0]).axes
        found = boxes(axes)
        for a, b in combinations(found, 2):
            assert a[1] <= b[0] or b[1] <= a[0] or a[2] <= b[3] or b[2] <= a[3]
        sides.append(np.ptp(found[:, :2], axis=1).mean())
    assert sides[0] > 1.5 * sides[1]


def test_right_and_wrong_cells_differ_in_frame():
    photos = some_photos(2, 30)
    (axes,) = utils.confusion_photos(photos, some_answers(photos, wrong=9)[0]).axes
    frames = [one for one in axes.patches if isinstance(one, Rectangle) and not one.get_fill()]
    looks = {
        (colors.to_hex(one.get_edgecolor()), one.get_linewidth(), str(one.get_linestyle()))
        for one in frames
    }
    assert (len(frames), len(looks)) == (4, 2)
    assert all(a != b for a, b in zip(*looks, strict=True))
