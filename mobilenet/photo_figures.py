"""The pictures that show photos: grids, what is behind a confusion matrix, where a network looks.

Right and wrong differ in colour, in mark and in frame; a class has its colour everywhere.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from mobilenet import UserError
from mobilenet.canvas import GREEN, GREY, RED, WIDEST, class_colour, new_figure, short, width
from mobilenet.photos import Photos
from mobilenet.training import confusion, cross_entropy
from mobilenet.unseen import OwnPhotos

PHOTO_INCHES = 1.345  # of one photo in a grid, of which six stand side by side
THUMBNAIL = 0.5  # inches, the smallest that still shows what a photo is of
THUMBNAILS = 24  # at most, on a map of dots
PANEL = 0.8  # the height of a map of dots, in widths
SHAPES = "os^Dv*P"  # of the dots, a class each; they and the colours repeat after 42 together
DASHES = (0, (2, 0.6))
JUDGED = {True: (GREEN, 1.5, "-"), False: (RED, 4, DASHES)}  # the frame of right and of wrong
ROWS = 4  # so many photos high are pictures that show a row of each
UNSURE = 0.75  # a photo whose likeliest class has a P below this
ORDERS = {
    "loss": "the highest loss first",
    "confidence": "the least sure first",
    "file": "in the order of their files",
}
ONLY = {
    "wrong": "wrong",
    "unsure": f"unsure (no class has a P of {UNSURE} or more)",
}


# --- Grids ---


def _grid(count: int, columns: int, alt: str, title_lines: int):
    """A figure of `count` square photo axes without ticks, and those axes."""
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    height = rows * (PHOTO_INCHES + 0.19 * title_lines + 0.08)
    figure, axes = new_figure(columns * (PHOTO_INCHES + 0.12), height, alt, rows, columns)
    axes = np.atleast_1d(axes).ravel()
    for one in axes:
        one.set_xticks([])
        one.set_yticks([])
        one.set_gid("photo")
    for one in axes[count:]:
        one.set_axis_off()
    return figure, axes[:count]


def _frame(axes, colour: str, width: float, style: str = "-") -> None:
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=width, linestyle=style, capstyle="butt")


def _in_turn(photos: Photos, seed: int = 0) -> list[int]:
    """All photos, drawn by lot, the classes in turn."""
    rng = np.random.default_rng(seed)
    lots = [
        rng.permutation(np.flatnonzero(photos.labels == k)) for k in range(len(photos.class_names))
    ]
    return [int(lot[i]) for i in range(max(map(len, lots))) for lot in lots if i < len(lot)]


def photo_grid(photos: Photos, columns: int = 6, rows: int = 3, seed: int = 0) -> Figure:
    """Photos drawn by lot, the classes in turn, each framed in its class's colour."""
    chosen = _in_turn(photos, seed)[: columns * rows]
    alt = f"{len(chosen)} photos with their classes: {', '.join(photos.class_names)}."
    figure, axes = _grid(len(chosen), columns, alt, title_lines=1)
    for one, i in zip(axes, chosen, strict=True):
        label = photos.labels[i]
        one.imshow(photos.images[i])
        one.set_title(short(photos.class_names[label]), fontsize=10)
        _frame(one, class_colour(label), 2.5)
    return figure


def view_grid(views: np.ndarray) -> Figure:
    """Views of photos, uint8 (V, N, size, size, 3): a row for each photo, itself first."""
    count, photos = views.shape[:2]
    alt = f"{photos} photos, each with {count - 1} augmented views beside it."
    figure, axes = _grid(count * photos, count, alt, title_lines=1)
    for i, one in enumerate(axes):
        row, column = divmod(i, count)
        one.imshow(views[column, row])
        if row == 0:
            one.set_title("the photo" if column == 0 else f"view {column}", fontsize=10)
        _frame(one, "black" if column == 0 else "white", 2)
    return figure


def prediction_grid(
    photos: Photos,
    p: np.ndarray,
    columns: int = 6,
    rows: int = 3,
    order: str = "loss",
    only: str | None = None,
    files: bool = False,
) -> Figure:
    """Photos with what the network says of them: predicted class, its probability, true class.

    p: (N, K) probabilities. order: "loss" (the highest first), "confidence" (the least sure first)
    or "file". only: "wrong", "unsure" (no class has a P of UNSURE or more) or None for all. files:
    whether to name each photo's file, without its folder and shortened. Right ones have a ✓ and a
    thin green frame; wrong ones a ✗, a thick dashed vermilion frame. Raises UserError for another
    order or only.
    """
    if order not in ORDERS:
        raise UserError(f"There is no order {order!r}: use {', '.join(map(repr, ORDERS))}.")
    if only not in (None, *ONLY):
        raise UserError(f"There is no {only!r} to show only: use {', '.join(map(repr, ONLY))}.")
    names, guesses, sure = photos.class_names, p.argmax(axis=1), p.max(axis=1)
    asked = {"wrong": guesses != photos.labels, "unsure": sure < UNSURE}
    found = np.flatnonzero(asked[only]) if only else np.arange(len(photos))
    if not len(found):
        said = f"None of {len(photos)} photos is {ONLY[only]}." if only else "There are no photos."
        figure, axes = new_figure(1 + 0.09 * len(said), 0.7, said)
        axes.set_axis_off()
        axes.text(0.5, 0.5, said, ha="center", va="center", fontsize=12)
        return figure
    by = {"loss": -cross_entropy(p, photos.labels), "confidence": sure, "file": np.arange(len(p))}
    chosen = found[np.argsort(by[order][found], kind="stable")][: columns * rows]
    wrong = int((guesses[chosen] != photos.labels[chosen]).sum())
    which = f"photos that are {ONLY[only]}" if only else "photos"
    alt = f"{len(chosen)} of {len(found)} {which}, {ORDERS[order]}, with predicted class and " + (
        f"probability; {wrong} of them are wrong."
    )
    figure, axes = _grid(len(chosen), columns, alt, title_lines=3 if files else 2)
    for one, i in zip(axes, chosen, strict=True):
        right = bool(photos.labels[i] == guesses[i])
        one.imshow(photos.images[i])
        lines = [f"{_mark(right)} {short(names[guesses[i]])} {sure[i]:.2f}"]
        lines += [f"is {short(names[photos.labels[i]])}"]
        lines += [_file_name(photos.files[i])] if files else []
        _judge(one, "\n".join(lines), right)
    return figure


def changed_grid(
    photos: Photos, before: np.ndarray, after: np.ndarray, columns: int = 6, rows: int = 2
) -> Figure:
    """The photos to which two networks say different things, then those whose P moved most: what
    the first said, what the second says, the true class. Framed as the second is right or wrong;
    ≠ marks the photos that got another class.

    before, after: (N, K) probabilities.
    """
    guesses, now = before.argmax(axis=1), after.argmax(axis=1)
    changed, moved = guesses != now, np.abs(after - before).max(axis=1)
    chosen = np.lexsort((-moved, ~changed))[: columns * rows]
    alt = (
        f"{len(chosen)} of {len(photos)} photos with what two networks say of them; "
        f"{changed[chosen].sum()} of them got another class, P moved by {moved.max():.2f} at most."
    )
    figure, axes = _grid(len(chosen), columns, alt, title_lines=3)
    for one, i in zip(axes, chosen, strict=True):
        was, is_, right = guesses[i], now[i], bool(photos.labels[i] == now[i])
        one.imshow(photos.images[i])
        first = f"{short(photos.class_names[was], 12)} {before[i, was]:.2f}"
        second = f"{short(photos.class_names[is_], 12)} {after[i, is_]:.2f}"
        arrow = "≠" if changed[i] else "→"
        label = f"{_mark(right)} is {short(photos.class_names[photos.labels[i]], 12)}"
        _judge(one, f"{first}\n{arrow} {second}\n{label}", right)
    return figure


def own_grid(own: OwnPhotos, class_names: Sequence[str]) -> Figure:
    """Your own photos, the first 18: the file's name, the predicted class and its P, framed in that
    class's colour. One that is unlike the known photos is marked ⚠, says so, and has a thick dotted
    vermilion frame. Raises UserError if there is none.
    """
    if not own.files:
        raise UserError(f"There are no photos in {own.place}: put some there.")
    count, odd = len(own.images), int(own.unseen[: len(own.images)].sum())
    of = f" of {len(own.files)}" if len(own.files) > count else ""
    alt = f"{count}{of} photos of yours with predicted class and probability; " + (
        f"{odd} of them marked as unlike the training photos."
    )
    figure, axes = _grid(count, 6, alt, title_lines=4)
    for one, image, file, p, strange in zip(
        axes, own.images, own.files, own.p, own.unseen, strict=False
    ):
        guess = int(p.argmax())
        one.imshow(image)
        one.set_title(f"{_file_name(file)}\n{short(class_names[guess])} {p[guess]:.2f}", fontsize=9)
        _frame(one, class_colour(guess), 2.5)
        if strange:
            warning = "⚠ unlike the\ntraining photos"
            one.set_xlabel(warning, fontsize=9, color=RED, fontweight="bold")
            _frame(one, RED, 4, (0, (1, 1)))
    return figure


def _file_name(file: str) -> str:
    """A file's name as wide as a photo at most, without its middle if it is longer: what tells
    photos apart is often the end.
    """
    whole = file.rsplit("/", 1)[-1]
    for start in range(12, -1, -1):
        cut = f"{whole[:start]}…{whole[-start - 4 :]}"
        name = min(whole, cut, key=len)
        if width(name) < 72 * PHOTO_INCHES:
            break
    return short(name, 40)


def _mark(right: bool) -> str:
    return "✓" if right else "✗"


def _judge(axes, title: str, right: bool) -> None:
    """Title and frame of a right or of a wrong answer."""
    weight = "normal" if right else "bold"
    axes.set_title(title, fontsize=9, color=JUDGED[right][0], fontweight=weight)
    _frame(axes, *JUDGED[right])


def confusion_photos(photos: Photos, p: np.ndarray) -> Figure:
    """Confusion matrix, true class by row, predicted class by column, and the photos behind it.

    p: (N, K) probabilities. Each cell shows its count and as many of its photos as fit, the worst
    first where they are wrong, the surest first where right. Above seven classes only counts fit.
    """
    names, guesses, table = photos.class_names, p.argmax(axis=1), confusion(p, photos.labels)
    told = "; ".join(
        f"{name}: {', '.join(f'{n} as {as_}' for n, as_ in zip(row, names, strict=True))}"
        for name, row in zip(names, table, strict=True)
    )
    width, height = min(3.45, 6.9 / len(names)), min(2.3, 5.9 / len(names))  # inches, of a cell
    head = 0.26  # of its count
    if height - head - 0.07 < THUMBNAIL:
        width, height, head = min(width, 0.9), min(height, 0.55), min(height, 0.55)
    size = width * len(names), height * len(names)
    some = ", with photos of each cell" if head < height else ""
    alt = f"Confusion matrix{some}. {told}."
    figure, axes = new_figure(size[0] + 1.9, size[1] + (0.6 if len(names) < 8 else 1.1), alt)
    shades = matplotlib.colormaps["Greys"](table / np.maximum(table.sum(axis=1), 1)[:, None] / 4)
    ranks = np.argsort(-cross_entropy(p, photos.labels), kind="stable")  # the worst first
    for row, column in np.ndindex(table.shape):
        right, corner = row == column, (column * width, row * height)
        axes.add_patch(Rectangle(corner, width, height, fc=shades[row, column], ec=GREY))
        mine = ranks[(photos.labels[ranks] == row) & (guesses[ranks] == column)]
        _fill(axes, photos, mine[::-1] if right else mine, right, (*corner, width, height), head)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="equal", gid="photo" if some else None)
    middles, said = np.arange(len(names)) + 0.5, [short(name) for name in names]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(middles * width, said, **({} if len(names) < 8 else slanted))
    axes.set_yticks(middles * height, said)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    return figure


def _fill(axes, photos: Photos, mine: np.ndarray, right: bool, cell, head: float) -> None:
    """A cell, (left, top, width, height) in inches, with the number of its photos in the upper
    `head` inches, below as many of them as fit, and its frame.
    """
    (x, y, width, height), count = cell, len(mine)
    side, places = _places(count, width - 0.14, height - head - 0.07)
    for i, (left, top) in zip(mine, places, strict=False):
        left, top, end = x + 0.07 + left, y + head + top, side - 0.02
        edges = (left + 0.02, left + end, top + end, top + 0.02)
        axes.imshow(photos.images[i], extent=edges, zorder=2)
    colour, line, style = JUDGED[right]
    said, middle = f"{count} {_mark(right)}" if count else "0", y + head / 2 + 0.02
    ink = {"color": colour if count else GREY, "fontsize": 11, "fontweight": "bold"}
    axes.text(x + 0.1, middle, said, va="center", **ink)
    if places and count > len(places):
        more = f"+ {count - len(places)}" + (" more" if width > 1.5 else "")
        axes.text(x + width - 0.1, middle, more, fontsize=9, ha="right", va="center")
    if count and width > 0.5:
        look = {"fill": False, "ec": colour, "lw": min(line, 2.5), "ls": style}
        axes.add_patch(Rectangle((x + 0.04, y + 0.04), width - 0.08, height - 0.08, **look))


def _places(count: int, width: float, height: float) -> tuple[float, list[tuple[float, float]]]:
    """Where to put `count` squares, or as many as fit at THUMBNAIL inches, into a rectangle: their
    side, and left and top of each. As large as possible, but no larger than a photo in a grid.
    """
    if min(width, height) < THUMBNAIL:
        return 0, []
    most = int(height / THUMBNAIL), int(width / THUMBNAIL)
    sides = [height / (k + 1) for k in range(most[0])] + [width / (k + 1) for k in range(most[1])]
    for side in sorted((min(one, PHOTO_INCHES) for one in sides), reverse=True):
        rows, columns = int(height / side + 1e-9), int(width / side + 1e-9)
        if rows * columns >= count:
            break
    every = [(column * side, row * side) for row in range(rows) for column in range(columns)]
    return side, every[:count]


# --- What it looks at ---


def _rows(count: int, widths: Sequence[float], alt: str):
    """A figure of `count` rows of axes without ticks, each one title line below the next, so many
    photos wide, and those axes, row by row.
    """
    inches = min(PHOTO_INCHES, (WIDEST - 0.12 * len(widths)) / sum(widths))
    size = sum(widths) * inches + 0.12 * len(widths), count * (inches + 0.27) + 0.15
    ratios = {"width_ratios": widths}
    figure, axes = new_figure(*size, alt, count, len(widths), squeeze=False, gridspec_kw=ratios)
    for one in axes.ravel():
        one.set(xticks=[], yticks=[], gid="photo")
    return figure, axes


def grad_cam_rows(
    photos: Photos, asked: np.ndarray, networks: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Figure:
    """Where networks see what speaks for a class: a row for each of the first ROWS photos, with
    each network's heat map and the photo, grey, under the same heat.

    asked: (N,), the class asked about. networks: name → heats (N, h, w) from 0 to 1, as
    `explain.grad_cam` gives them, and p (N, K). Black is no heat; the hottest place of each photo
    is yellow. Mark and frame say whether the network gets the photo right.
    """
    photos, names = photos.subset(np.arange(min(ROWS, len(photos)))), photos.class_names
    told = "; ".join(
        f"{names[k]} {', '.join(f'{p[i, k]:.2f} {name}' for name, (_, p) in networks.items())}"
        for i, k in enumerate(asked[: len(photos)])
    )
    alt = (
        f"Where {len(photos)} photos speak for a class, as heat beside and over each; P of {told}."
    )
    figure, axes = _rows(len(photos), [1, *[2.04] * len(networks)], alt)
    for i, (first, *others) in enumerate(axes):
        photo, label = photos.images[i], photos.labels[i]
        first.imshow(photo)
        first.set_title(short(names[label]), fontsize=9)
        _frame(first, class_colour(label), 2.5)
        for one, (name, (heats, p)) in zip(others, networks.items(), strict=True):
            one.imshow(_heat_and_overlay(photo, heats[i]))
            right = bool(p[i].argmax() == label)
            said = f"{_mark(right)} P({short(names[asked[i]])}) {p[i, asked[i]]:.2f}"
            _judge(one, said, right)
            if i == 0:
                place = {"xytext": (0, 18), "textcoords": "offset points", "ha": "center"}
                one.annotate(short(name, 32), (0.5, 1), xycoords="axes fraction", **place)
    return figure


def _heat_and_overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map (h, w), scaled up smoothly, and beside it the grey photo (size, size, 3) under it:
    float (size, 2.04 size, 3), 0 to 1. The hotter, the less of the photo is seen, at least 40 %.
    """
    size = photo.shape[:2]
    heat = Image.fromarray(heat.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    grey = np.repeat(photo.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    covered = 0.6 * heat[..., None]
    gap = np.ones((size[0], round(0.04 * size[1]), 3))
    return np.concatenate([colours, gap, grey * (1 - covered) + colours * covered], axis=1)


def neighbour_grid(
    photos: Photos, chosen: np.ndarray, others: Photos, order: np.ndarray, similarity: np.ndarray
) -> Figure:
    """Photos, a row for each of the first ROWS chosen ones, and the others most similar to it.

    chosen: positions in photos. order, similarity: (len(chosen), n), as `explain.neighbours` gives
    them for the chosen, positions in others and cosines. Frames have the class's colour; a
    neighbour of another class than the photo has a thick dashed one, a ≠ and its class's name.
    """
    names, chosen = photos.class_names, chosen[:ROWS]
    count = order.shape[1]
    strange = int((others.labels[order[:ROWS]] != photos.labels[chosen][:, None]).sum())
    alt = (
        f"{len(chosen)} photos, each with the {count} most similar of {len(others)}; {strange} of "
        + (f"these {len(chosen) * count} are of another class than their photo.")
    )
    figure, axes = _rows(len(chosen), [1, 0.05, *[1] * count], alt)
    for i, (first, gap, *beside) in enumerate(axes):
        label = photos.labels[chosen[i]]
        first.imshow(photos.images[chosen[i]])
        first.set_title(short(names[label]), fontsize=9, fontweight="bold")
        _frame(first, class_colour(label), 2.5)
        gap.set_axis_off()
        for one, other, near in zip(beside, order[i], similarity[i], strict=True):
            kind = others.labels[other]
            one.imshow(others.images[other])
            said = f"{near:.2f}" if kind == label else f"≠ {short(names[kind])} {near:.2f}"
            one.set_title(said, fontsize=9)
            _frame(one, class_colour(kind), *((2.5, "-") if kind == label else (4, DASHES)))
    return figure


def feature_map(photos: Photos, maps: dict[str, tuple[np.ndarray, float]]) -> Figure:
    """Photos as dots on a plane, in their class's colour and shape, some with a small picture.

    maps: name → points (N, 2) and the share of the variance that they show, in [0, 1], as
    `explain.plane` gives them; a panel each. Pictures are in the middle of their dots, the same
    photos in every panel where there is room, and never cover each other.
    """
    told = ", ".join(f"{name} {share:.0%}" for name, (_, share) in maps.items())
    alt = f"{len(photos)} photos as dots on the plane along which their features vary most; it " + (
        f"shows of the variance: {told}."
    )
    width = min(7, WIDEST / len(maps))
    figure, panels = new_figure(
        width * len(maps), width * PANEL + 0.65, alt, 1, len(maps), squeeze=False
    )
    side = THUMBNAIL / width
    first, *_ = (points for points, _ in maps.values())
    # Which way is up is nobody's: as in the first, so that only what moved looks moved.
    turned = [p * np.where((p * first).sum(axis=0) < 0, -1, 1) for p, _ in maps.values()]
    places = [_placed(points, side) for points in turned]
    shown = _apart(places, _in_turn(photos), 1.15 * side)
    dot = 60 if len(photos) <= 100 else 25 if len(photos) <= 1000 else 10
    for axes, (name, (_, share)), points, mine in zip(
        panels[0], maps.items(), places, shown, strict=True
    ):
        marks = []
        for k in range(len(photos.class_names)):
            look = {"color": class_colour(k), "marker": SHAPES[k % len(SHAPES)]}
            x, y = points[photos.labels == k].T
            marks.append(axes.scatter(x, y, s=dot, alpha=0.7, linewidths=0, **look))
        for i in mine:
            x, y = points[i]
            left, low = x - side / 2, y - side / 2
            edges = (left, left + side, low, low + side)
            axes.imshow(photos.images[i], extent=edges, zorder=3)
            colour = class_colour(photos.labels[i])
            frame = {"fill": False, "edgecolor": colour, "linewidth": 2.5, "zorder": 4}
            axes.add_patch(Rectangle((left, low), side, side, **frame))
            look = {"color": colour, "marker": SHAPES[photos.labels[i] % len(SHAPES)]}
            axes.scatter(
                left + side / 8, low + 7 * side / 8, s=60, zorder=5, edgecolors="white", **look
            )
        axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, PANEL), aspect="equal", gid="photo")
        axes.set_title(f"{name}: {share:.0%} of the variance", fontsize=11)
    said = [short(name, 24) for name in photos.class_names]
    columns = max(1, min(len(said), int(figure.get_figwidth() / 2.3)))
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


def _apart(places: Sequence[np.ndarray], order: Sequence[int], side: float) -> list[list[int]]:
    """Of photos at places (N, 2) in each panel, those to show there, at most THUMBNAILS: in this
    order whoever is `side` away from those before it; first those who are so in every panel.
    """
    chosen = [[] for _ in places]

    def free(panel, i):
        gaps = np.abs(places[panel][chosen[panel]] - places[panel][i]).max(axis=1)
        return len(chosen[panel]) < THUMBNAILS and not (gaps < side).any()

    every = range(len(places))
    for panels in ([every], [[panel] for panel in every]):
        for i in order:
            for some in panels:
                if all(free(panel, i) for panel in some):
                    for panel in some:
                        chosen[panel].append(i)
    return chosen
