"""Pictures of many photos at once: those behind a confusion matrix, and a map of their features.

The map is a principal component analysis (PCA): Pearson (1901), *On lines and planes of closest fit
to systems of points in space*, https://doi.org/10.1080/14786440109462720.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mobilenet import explain
from mobilenet.canvas import GREY, WIDEST, class_colour, new_figure, percent
from mobilenet.lettering import short, width
from mobilenet.metrics import confusion, cross_entropy
from mobilenet.photo_figures import JUDGED, in_turn
from mobilenet.photos import Photos

THUMBNAIL = 0.7  # inches, the smallest that shows well what a photo is of
SIDES = (1.25, 1.1, 1.0, 0.9, 0.8, THUMBNAIL)  # of the photos in a confusion matrix
TABLE = (7.6, 6.2)  # inches, the most that a confusion matrix takes without its names
PAD, HEAD, EMPTY = 0.07, 0.42, 0.42  # inches around photos, of a cell's words, of a cell of none
ROOMY = 1.6  # inches, of a cell in which it is also said how many photos are not shown
ROOMY_COUNT = 0.6  # inches, of a cell in which a count has a mark, and 0 is written
LISTED = 32  # classes, the most of which each count is legible
BARS = 24  # of mistakes
MOST = 5  # classes; with more, photos no longer fit
PINNED = 0.5  # inches, of a photo on the map
THUMBNAILS = 14  # at most, on the map
PANEL = 0.66  # the height of the map, in widths
SHAPES = "os^Dv*P"  # of the dots, a class each
LOOKS = 42  # of a dot: they and the colours repeat together
TALLEST = 7  # inches
STILL = 0.1  # of the spread; if photos move by less in the median, nothing moved


# --- What is behind a confusion matrix ---


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
    for side in SIDES:
        rows = [_row(row, side, least) for row in table]
        if sum(HEAD + PAD + row.lines * side for row in rows) <= TABLE[1]:
            break
    else:
        most = int((TABLE[1] / len(rows) - HEAD - PAD) / side)
        rows = [_row(row, side, least, max(1, most)) for row in table]
    widths = [[_wide(n, row, k, side, least) for k, n in enumerate(counts)]
              for row, counts in zip(rows, table, strict=True)]  # fmt: skip
    heights = [HEAD + PAD + row.lines * side for row in rows]
    size = max(map(sum, widths)), sum(heights)
    alt = f"Confusion matrix, with photos of each cell. {told}."
    figure, axes = new_figure(size[0] + 0.85, size[1] + 0.45, alt)
    ranks, top = np.argsort(-cross_entropy(p, photos.labels), kind="stable"), 0.0
    for i, row in enumerate(rows):
        left = 0.0
        for k, wide in enumerate(widths[i]):
            wide += (size[0] - sum(widths[i])) * (k == table[i].argmax())  # rows end together
            mine = ranks[(photos.labels[ranks] == i) & (guesses[ranks] == k)]
            mine = mine[::-1] if i == k else mine
            cell = left, top, wide, heights[i]
            _cell(axes, cell, len(mine), short(names[k], limit, names), i == k)
            shown = mine[: row.lines * row.columns[k]]
            for n, photo in enumerate(shown):
                x, y = divmod(n, row.columns[k])[::-1]
                x, y = left + PAD + x * side, top + HEAD + y * side
                edges = (x + 0.015, x + side - 0.015, y + side - 0.015, y + 0.015)
                axes.imshow(photos.images[photo], extent=edges, zorder=2)
            if len(mine) > len(shown) and wide > ROOMY:
                more, end = f"+ {len(mine) - len(shown)} more", left + wide - 0.1
                axes.text(end, top + 0.13, more, fontsize=9, ha="right", va="center")
            left += wide
        top += heights[i]
    axes.set(
        xlim=(-0.01, size[0] + 0.01), ylim=(size[1] + 0.01, -0.01), aspect="equal", gid="photo"
    )
    middles = np.cumsum(heights) - np.array(heights) / 2
    said = [short(name, 12, names) for name in names]
    axes.set_yticks(middles, said, rotation=90 * (min(heights) > 1.2), va="center")
    axes.set_xticks([])
    axes.set_ylabel("true class")
    axes.set_title("how many photos, and the class predicted for them", fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


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


# --- What training moved ---


def feature_map(
    photos: Photos,
    before: np.ndarray,
    after: np.ndarray,
    names: tuple[str, str] = ("frozen", "fine-tuned"),
) -> Figure:
    """Return where photos lie by their features after training, an arrow from where each lay
    before, on one plane: that along which both sets of features vary most (PCA).

    before, after: features of the photos, (N, C) each. The title says how far the photos moved, as
    a share of their spread before (root of the mean squared distance to their mean), in the
    median; below STILL, that almost nothing moved.
    """
    points, share = explain.plane(np.concatenate([before, after]))
    spread = np.sqrt(((before - before.mean(axis=0)) ** 2).sum(axis=1).mean())
    lengths = np.linalg.norm(np.float64(after) - before, axis=1)
    moved = float(np.median(lengths) / spread) if spread > 0 else 0.0
    what = (
        f"from {names[0]} to {names[1]}, the median photo moves by {percent(moved)} of the spread"
    )
    what = f"{'almost nothing moves: ' if moved < STILL else ''}{what}"
    names_of = photos.class_names
    said = [short(name, 24 if len(names_of) <= 9 else 12, names_of) for name in names_of]
    wide = max(map(width, said)) / 72 + 0.75  # inches, of a name in the legend
    columns = max(1, min(len(said), int(WIDEST / wide)))
    lines = -(-len(said) // columns) if len(said) <= LOOKS else 0
    figure, axes = new_figure(
        WIDEST,
        min(WIDEST * PANEL + 0.6 + 0.2 * lines, TALLEST),
        f"{len(photos)} photos on the plane of two principal components, which shows "
        f"{percent(share)} of the variance; {what}.",
    )
    side = PINNED / WIDEST
    places = _placed(points, side)
    start, end = places[: len(photos)], places[len(photos) :]
    dot = 40 if len(photos) <= 100 else 20 if len(photos) <= 1000 else 10
    rim = dot**0.5 / 2 / 72 / WIDEST
    arrow = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.0016, "headwidth": 7}
    arrow |= {"headlength": 8, "headaxislength": 7, "minlength": 0, "alpha": 0.8}
    marks = []
    for k in range(len(photos.class_names)):
        mine, colour = photos.labels == k, class_colour(k)
        moves = end[mine] - start[mine]
        length = np.linalg.norm(moves, axis=1, keepdims=True)
        tips = np.maximum(length - rim, 0) / np.maximum(length, 1e-12) * moves  # to the dot's edge
        axes.quiver(*start[mine].T, *tips.T, color=colour, **arrow)
        look = {"color": colour, "marker": SHAPES[k % len(SHAPES)], "linewidths": 0, "alpha": 0.85}
        marks.append(axes.scatter(*end[mine].T, s=dot, zorder=2.5, **look))
    for i in _apart(end, in_turn(photos), 1.2 * side):
        (x, y), colour = end[i], class_colour(photos.labels[i])
        left, low = x - side / 2, y - side / 2
        axes.imshow(photos.images[i], extent=(left, left + side, low, low + side), zorder=3)
        frame = {"fill": False, "edgecolor": colour, "linewidth": 2, "zorder": 4}
        axes.add_patch(Rectangle((left, low), side, side, **frame))
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, PANEL), aspect="equal", gid="photo")
    axes.spines[:].set_color("#c8c8c8")
    axes.set_title(what[0].upper() + what[1:], fontsize=11)
    told = "" if lines else f"; {len(said)} classes, too many for a legend"
    axes.set_xlabel(f"two principal components, {percent(share)} of the variance{told}")
    if lines:
        look = {"ncols": columns, "frameon": False, "markerscale": (60 / dot) ** 0.5}
        figure.legend(marks, said, loc="outside upper center", **look)
    return figure


def _placed(points: np.ndarray, side: float) -> np.ndarray:
    """Points (N, 2) moved and scaled alike in both directions into a panel 1 wide and PANEL high,
    so that a square of this side around each stays inside.
    """
    room = np.array([1, PANEL]) - 1.3 * side
    low, high = points.min(axis=0), points.max(axis=0)
    scale = max(((high - low) / room).max(), 1e-12)
    return (points - (low + high) / 2) / scale + np.array([1, PANEL]) / 2


def _apart(places: np.ndarray, order: list[int], side: float) -> list[int]:
    """Of photos at places (N, 2) those to show there, at most THUMBNAILS: in this order each that
    is `side` away from those before it.
    """
    chosen = []
    for i in order:
        gaps = np.abs(places[chosen] - places[i]).max(axis=1)
        if len(chosen) < THUMBNAILS and not (gaps < side).any():
            chosen.append(i)
    return chosen
