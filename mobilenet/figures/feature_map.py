"""A map of photos by their features: what training moved.

The map is a principal component analysis (PCA): Pearson (1901), *On lines and planes of closest fit
to systems of points in space*, https://doi.org/10.1080/14786440109462720.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mobilenet.explain import neighbours
from mobilenet.figures.canvas import WIDEST, class_colour, new_figure, percent
from mobilenet.figures.grids import in_turn
from mobilenet.figures.lettering import short, width
from mobilenet.photos.photos import Photos

PINNED = 0.5  # inches, of a photo on the map
THUMBNAILS = 14  # at most, on the map
PANEL = 0.66  # the height of the map, in widths
SHAPES = "os^Dv*P"  # of the dots, a class each
LOOKS = 42  # of a dot: they and the colours repeat together
TALLEST = 7  # inches
STILL = 0.1  # of the spread; if photos move by less in the median, nothing moved


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
    points, share = neighbours.plane(np.concatenate([before, after]))
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
