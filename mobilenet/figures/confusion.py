"""The confusion matrix, and the photos behind it."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mobilenet.figures.canvas import GREY, new_figure
from mobilenet.figures.grids import JUDGED
from mobilenet.figures.lettering import short, width
from mobilenet.photos.photos import Photos
from mobilenet.transfer.metrics import confusion, cross_entropy

THUMBNAIL = 0.7  # inches, the smallest that shows well what a photo is of
SIDES = (1.25, 1.1, 1.0, 0.9, 0.8, THUMBNAIL)  # of the photos in a confusion matrix
TABLE = (7.6, 6.2)  # inches, the most that a confusion matrix takes without its names
PAD, HEAD, EMPTY = 0.07, 0.42, 0.42  # inches around photos, of a cell's words, of a cell of none
ROOMY = 1.6  # inches, of a cell in which it is also said how many photos are not shown
ROOMY_COUNT = 0.6  # inches, of a cell in which a count has a mark, and 0 is written
LISTED = 32  # classes, the most of which each count is legible
BARS = 24  # of mistakes
MOST = 5  # classes; with more, photos no longer fit


class Row(NamedTuple):
    """How the photos of a class are laid out: so many lines of them, and columns in each cell."""

    lines: int
    columns: list[int]


def confusion_photos(photos: Photos, p: np.ndarray) -> Figure:
    """Return the confusion matrix and the photos behind it: a row a true class, in it a cell for
    each predicted class, as wide as its photos need.

    p: (N, K) probabilities. A cell has its count and as many of its photos as fit, the worst first
    where they are wrong, the surest first where right. Above MOST classes only counts fit; above
    LISTED not even these, and the most frequent mistakes are named.
    """
    names, guesses, table = photos.class_names, p.argmax(axis=1), confusion(p, photos.labels)
    told = "; ".join(
        f"{name}: {', '.join(f'{n} as {as_}' for n, as_ in zip(row, names, strict=True))}"
        for name, row in zip(names, table, strict=True)
    )
    limit = 12 if len(names) < 5 else 7  # letters of a predicted class
    least = [max(THUMBNAIL, width(short(name, limit, names)) / 72) + 2 * PAD for name in names]
    fits = [sum(np.where(row > 0, least, EMPTY)) <= TABLE[0] for row in table]
    if len(names) > MOST or not all(fits):
        few = len(names) <= LISTED
        return (_counts if few else _mistakes)(names, table, f"Confusion matrix. {told}.")
    side, rows, widths = _layout(table, least)
    heights = [HEAD + PAD + row.lines * side for row in rows]
    wide, high = max(map(sum, widths)), sum(heights)
    alt = f"Confusion matrix, with photos of each cell. {told}."
    figure, axes = new_figure(wide + 0.85, high + 0.45, alt)
    ranks, top = np.argsort(-cross_entropy(p, photos.labels), kind="stable"), 0.0
    for i, row in enumerate(rows):
        widths[i][table[i].argmax()] += wide - sum(widths[i])  # rows end together
        left = 0.0
        for k in range(len(names)):
            mine = ranks[(photos.labels[ranks] == i) & (guesses[ranks] == k)]
            mine = mine[::-1] if i == k else mine
            cell = left, top, widths[i][k], heights[i]
            _cell(axes, cell, len(mine), short(names[k], limit, names), i == k)
            shown = mine[: row.lines * row.columns[k]]
            _fill(axes, cell, photos.images[shown], row.columns[k], side, len(mine) - len(shown))
            left += widths[i][k]
        top += heights[i]
    axes.set(xlim=(-0.01, wide + 0.01), ylim=(high + 0.01, -0.01), aspect="equal", gid="photo")
    middles = np.cumsum(heights) - np.array(heights) / 2
    said = [short(name, 12, names) for name in names]
    axes.set_yticks(middles, said, rotation=90 * (min(heights) > 1.2), va="center")
    axes.set_xticks([])
    axes.set_ylabel("true class")
    axes.set_title("how many photos, and the class predicted for them", fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _layout(table: np.ndarray, least: list[float]) -> tuple[float, list[Row], list[list[float]]]:
    """Return the side of a photo, in inches, the largest with which all fit, and for each true
    class its row and the widths of its cells. With the smallest side some photos may be left out.
    """
    for side in SIDES:
        rows = [_row(counts, side, least) for counts in table]
        if sum(HEAD + PAD + row.lines * side for row in rows) <= TABLE[1]:
            break
    else:
        most = int((TABLE[1] / len(table) - HEAD - PAD) / side)
        rows = [_row(counts, side, least, max(1, most)) for counts in table]
    widths = [
        [_wide(n, row, k, side, least) for k, n in enumerate(counts)]
        for row, counts in zip(rows, table, strict=True)
    ]
    return side, rows, widths


def _row(counts: np.ndarray, side: float, least: list[float], most: int = 99) -> Row:
    """Return how to lay out cells of so many photos in the fewest lines, or in `most` of them."""
    for lines in range(1, most + 1):
        row = Row(lines, [-(-int(n) // lines) for n in counts])
        over = sum(_wide(n, row, k, side, least) for k, n in enumerate(counts)) - TABLE[0]
        if over <= 0:
            return row
    # What does not fit is left out of the largest cells.
    columns = row.columns
    while over > 0 and max(columns) > 1:
        columns[int(np.argmax(columns))] -= 1
        row = Row(most, columns)
        over = sum(_wide(n, row, k, side, least) for k, n in enumerate(counts)) - TABLE[0]
    return row


def _wide(count: int, row: Row, k: int, side: float, least: list[float]) -> float:
    """The width of a cell, in inches."""
    return max(least[k], row.columns[k] * side + 2 * PAD) if count else EMPTY


def _cell(axes, cell, count: int, name: str, right: bool) -> None:
    """Draw a cell (left, top, width, height): its frame, its count and the predicted class."""
    (x, y, wide, high), (colour, line, style) = cell, JUDGED[right]
    axes.add_patch(Rectangle((x, y), wide, high, fc="#f4f4f4" if count else "white", ec="#c8c8c8"))
    if not count:
        axes.text(x + wide / 2, y + 0.13, "0", color=GREY, ha="center", va="center")
        return
    inner = (x + 0.03, y + 0.03), wide - 0.06, high - 0.06
    axes.add_patch(Rectangle(*inner, fill=False, ec=colour, lw=line, ls=style))
    ink = {"color": colour, "fontsize": 11, "fontweight": "bold", "va": "center"}
    axes.text(x + PAD + 0.02, y + 0.13, f"{count} {'✓' if right else '✗'}", **ink)
    axes.text(x + PAD + 0.02, y + 0.31, name, fontsize=9, va="center")


def _fill(axes, cell, images, columns: int, side: float, hidden: int) -> None:
    """Draw a cell's photos, so many a line, and how many more are not shown, where that fits."""
    left, top, wide, _ = cell
    for n, image in enumerate(images):
        line, column = divmod(n, columns)
        x, y = left + PAD + column * side, top + HEAD + line * side
        edges = (x + 0.015, x + side - 0.015, y + side - 0.015, y + 0.015)
        axes.imshow(image, extent=edges, zorder=2)
    if hidden and wide > ROOMY:
        at = left + wide - 0.1, top + 0.13
        axes.text(*at, f"+ {hidden} more", fontsize=9, ha="right", va="center")


def _counts(names, table: np.ndarray, alt: str) -> Figure:
    """Return a confusion matrix of counts alone."""
    side = min(0.9, TABLE[0] / len(names)), min(0.55, 5.4 / len(names))
    figure, axes = new_figure(side[0] * len(names) + 1.2, side[1] * len(names) + 1.2, alt)
    many = side[0] < ROOMY_COUNT
    shades = table / np.maximum(table.sum(axis=1, keepdims=True), 1) / 4
    axes.imshow(shades, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        mark = "" if not count or many else " ✓" if row == column else " ✗"
        look = {"color": JUDGED[bool(row == column)][0] if count else GREY}
        look |= {"fontsize": 9, "fontweight": "bold" if row == column else "normal"} if many else {}
        if count or not many:
            axes.text(column, row, f"{count}{mark}", ha="center", va="center", **look)
    said = [short(name, 12, names) for name in names]
    slanted = {"rotation": 90 if many else 45, "ha": "right", "rotation_mode": "anchor"}
    slanted |= {"va": "center"} if many else {}
    axes.set_xticks(range(len(names)), said, fontsize=9 if many else 10, **slanted)
    axes.set_yticks(range(len(names)), said, fontsize=9 if many else 10)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0)
    return figure


def _mistakes(names, table: np.ndarray, alt: str) -> Figure:
    """Return bars: which classes are most often taken for which, of many classes."""
    wrong = table - np.diag(np.diag(table))
    pairs = [divmod(int(i), len(names)) for i in np.argsort(-wrong, axis=None, kind="stable")]
    pairs = [pair for pair in pairs[:BARS] if wrong[pair]]
    counts = [int(wrong[pair]) for pair in pairs]
    figure, axes = new_figure(7, 1 + 0.2 * len(pairs), alt)
    said = [" as ".join(short(names[k], 18, names) for k in pair) for pair in pairs]
    bars = axes.barh(range(len(pairs)), counts, color=JUDGED[False][0])
    axes.bar_label(bars, padding=3, fontsize=9)
    axes.set_yticks(range(len(pairs)), said, fontsize=9)
    axes.set(xticks=[], ylim=(len(pairs) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(f"{sum(counts)} of {wrong.sum()} mistakes: what is called what", fontsize=11)
    return figure
