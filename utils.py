"""Shared loading and plotting: what a notebook cell calls.

Every plot returns a matplotlib Figure that carries a sentence of alt text as its label;
`show(figure)` puts both into the notebook. Class k has colour `class_colour(k)` in every figure;
right and wrong differ in colour, in mark and in frame.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator
from PIL import Image

from mobilenet import BUILD, UserError, explain, review, runs
from mobilenet.backbone import Backbone
from mobilenet.canvas import (
    BLUE,
    GREEN,
    GREY,
    RED,
    class_colour,
    new_figure,
    show,
    show_table,
)
from mobilenet.cost_figures import (
    clip_plot,
    losses_plot,
    passages_plot,
    ratio_plot,
    shares_plot,
    speed_against_intensity_plot,
    time_against_multiply_adds_plot,
    top1_plot,
)
from mobilenet.files import write_json
from mobilenet.photos import (
    Photos,
    find_folder,
    load_photos,
    load_split,
    read_photo,
    save_split,
    split,
)
from mobilenet.training import (
    History,
    Result,
    confusion,
    cross_entropy,
    probabilities,
    wilson_interval,
)

# Handed on: notebooks call them from here.
__all__ = [
    "Photos",
    "class_colour",
    "clip_plot",
    "find_folder",
    "load_photos",
    "load_split",
    "losses_plot",
    "passages_plot",
    "ratio_plot",
    "read_photo",
    "save_split",
    "shares_plot",
    "show",
    "show_table",
    "speed_against_intensity_plot",
    "split",
    "time_against_multiply_adds_plot",
    "top1_plot",
]

PHOTO_INCHES = 1.35  # of one photo in a grid
THUMBNAIL = 0.5  # inches, the smallest that still shows what a photo is of
THUMBNAILS = 24  # at most, on a map of dots
PANEL = 0.8  # the height of a map of dots, in widths
SHAPES = "os^Dv*"  # of the dots, a class each
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
SCOREBOARD = BUILD / "scoreboard"


def describe(photos: Photos) -> str:
    """How many photos there are of each class, which files were left out and why (ten of them by
    name), and how many decisions of `mobilenet.review` were applied.
    """
    counts = np.bincount(photos.labels, minlength=len(photos.class_names))
    each = ", ".join(f"{n} {name}" for n, name in zip(counts, photos.class_names, strict=True))
    lines = [f"{len(photos)} photos: {each}; {len(photos.left_out)} files left out."]
    lines += [f"  left out: {file} ({reason})" for file, reason in photos.left_out[:10]]
    decided = sum(reason == review.REASON for _, reason in photos.left_out)
    if photos.corrected or decided:
        lines.append(
            f"{review.NAME} changed {len(photos.corrected)} of the labels and left out {decided} "
            "of the photos; their files are as they were."
        )
    return "\n".join(lines)


def publish(name: str, entry: dict[str, Any], photos: Photos, network: Backbone) -> None:
    """Write one entry of the scoreboard, `build/scoreboard/NAME.json`; `make run` collects them.

    entry: counts as `Result.entry` gives them, seconds from decoded photos to the result. What it
    was measured with is added.
    """
    source = {"count": len(photos), "classes": list(photos.class_names)}
    write_json(SCOREBOARD / f"{name}.json", {**entry, "photos": source, "backbone": network.card()})


# --- Photos ---


def _grid(count: int, columns: int, alt: str, title_lines: int):
    """A figure of `count` square photo axes without ticks, and those axes."""
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    height = rows * (PHOTO_INCHES + 0.19 * title_lines + 0.06)
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


def _short(name: str, limit: int = 14, end: int = 0) -> str:
    """A name of at most `limit` characters, of which, if some are left out, `end` are its last."""
    if len(name) > limit:
        name = name[: limit - 1 - end] + "…" + name[len(name) - end :]
    return name.replace("$", r"\$")  # else matplotlib takes what is between two for a formula


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
        one.set_title(_short(photos.class_names[label]), fontsize=10)
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


def class_balance(photos: Photos, parts: dict[str, np.ndarray]) -> Figure:
    """Bars: how many photos of each class each part holds."""
    names = photos.class_names
    counts = {
        part: np.bincount(photos.labels[i], minlength=len(names)) for part, i in parts.items()
    }
    told = "; ".join(f"{part} {', '.join(map(str, c))}" for part, c in counts.items())
    alt = f"Photos of each class ({', '.join(names)}) in each part: {told}."
    figure, axes = new_figure(7, 0.8 + 0.7 * len(parts), alt)
    left, legend = np.zeros(len(parts)), []
    for k in range(len(names)):
        width = np.array([c[k] for c in counts.values()])
        bars = axes.barh(list(parts), width, left=left, color=class_colour(k))
        legend.append(bars)
        ink = "white" if class_colour(k) in (BLUE, GREY) else "black"
        axes.bar_label(bars, label_type="center", fontsize=10, color=ink, fontweight="bold")
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("photos")
    axes.spines[["top", "right"]].set_visible(False)
    short = [_short(name, 32) for name in names]
    figure.legend(legend, short, loc="outside upper left", ncols=min(len(names), 4), frameon=False)
    return figure


# --- Training and results ---


def learning_curves(head: History, tuned: History | None = None) -> Figure:
    """Loss and accuracy over the epochs; with `tuned`, both stages, the start of fine-tuning
    marked. The ringed epoch is the one whose weights were kept.
    """
    stages = [head] if tuned is None else [head, tuned]
    alt = "Learning curves: loss and accuracy on training and validation photos by epoch"
    alt += "." if tuned is None else ", the start of fine-tuning marked."
    figure, (losses, accuracies) = new_figure(9, 3.4, alt, 1, 2)
    start = 0
    for number, stage in enumerate(stages):
        for axes, train, val in (
            (losses, stage.loss, stage.val_loss),
            (accuracies, stage.accuracy, stage.val_accuracy),
        ):
            label = {"label": None} if number else {}
            epochs = start + np.arange(len(val))
            axes.plot(epochs, train, color=GREY, linestyle="--", **({"label": "training"} | label))
            axes.plot(epochs, val, color="black", **({"label": "validation"} | label))
            kept = {"label": "weights kept"} | label
            axes.plot(
                start + stage.best, val[stage.best], "o", ms=9, mfc="none", color=RED, mew=2, **kept
            )
            if number:
                axes.axvline(
                    start, color=GREEN, linestyle=":", linewidth=2, label="fine-tuning starts"
                )
        start += len(stage.val_loss) - 1
    for axes, title in ((losses, "cross-entropy, nats"), (accuracies, "share right")):
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    losses.set_ylim(bottom=0)
    accuracies.set_ylim(top=1.01)
    accuracies.legend(fontsize=9, loc="lower right")
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
    whether to name each photo's file, without its folder. Right ones have a ✓ and a thin green
    frame; wrong ones a ✗, a thick dashed vermilion frame. Raises UserError for another order or
    only.
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
        lines = [f"{_mark(right)} {_short(names[guesses[i]])} {sure[i]:.2f}"]
        lines += [f"is {_short(names[photos.labels[i]])}"]
        lines += [_short(PurePosixPath(photos.files[i]).stem, 16, end=8)] if files else []
        _judge(one, "\n".join(lines), right)
    return figure


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
    width, height = min(4, 10.2 / len(names)), min(2.3, 5.9 / len(names))  # inches, of a cell
    head = 0.26  # of its count
    if height - head - 0.07 < THUMBNAIL:
        width, height, head = min(width, 0.9), min(height, 0.55), min(height, 0.55)
    size = width * len(names), height * len(names)
    some = ", with photos of each cell" if head < height else ""
    alt = f"Confusion matrix{some}. {told}."
    figure, axes = new_figure(size[0] + 1.6, size[1] + (0.8 if len(names) < 8 else 1.1), alt)
    shades = matplotlib.colormaps["Greys"](table / np.maximum(table.sum(axis=1), 1)[:, None] / 4)
    ranks = np.argsort(-cross_entropy(p, photos.labels), kind="stable")  # the worst first
    for row, column in np.ndindex(table.shape):
        right, corner = row == column, (column * width, row * height)
        axes.add_patch(Rectangle(corner, width, height, fc=shades[row, column], ec=GREY))
        mine = ranks[(photos.labels[ranks] == row) & (guesses[ranks] == column)]
        _fill(axes, photos, mine[::-1] if right else mine, right, (*corner, width, height), head)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="equal", gid="photo")
    middles, short = np.arange(len(names)) + 0.5, [_short(name) for name in names]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(middles * width, short, **({} if len(names) < 8 else slanted))
    axes.set_yticks(middles * height, short)
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
    said, middle = f"{count} {_mark(right)}" if count or right else "0", y + head / 2 + 0.02
    ink = {"color": colour if count or right else GREY, "fontsize": 11, "fontweight": "bold"}
    axes.text(x + 0.1, middle, said, va="center", **ink)
    if places and count > len(places):
        more = f"+ {count - len(places)} more"
        axes.text(x + width - 0.1, middle, more, fontsize=9, ha="right", va="center")
    if count:
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


def class_bars(shares: dict[str, float], title: str, alt: str) -> Figure:
    """Horizontal bars of shares in [0, 1] by name, the largest on top."""
    ranked = sorted(shares.items(), key=lambda item: item[1])
    figure, axes = new_figure(7, 0.9 + 0.3 * len(ranked), alt)
    bars = axes.barh([name for name, _ in ranked], [share for _, share in ranked], color=GREY)
    axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=10)
    axes.set_title(title, fontsize=11)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


# --- What it looks at ---


def _rows(count: int, widths: Sequence[float], alt: str):
    """A figure of `count` rows of axes without ticks, each one title line below the next, so many
    photos wide, and those axes, row by row.
    """
    inches = min(PHOTO_INCHES, 11 / sum(widths))
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
        first.set_title(_short(names[label]), fontsize=9)
        _frame(first, class_colour(label), 2.5)
        for one, (name, (heats, p)) in zip(others, networks.items(), strict=True):
            one.imshow(_heat_and_overlay(photo, heats[i]))
            right = bool(p[i].argmax() == label)
            said = f"{_mark(right)} P({_short(names[asked[i]])}) {p[i, asked[i]]:.2f}"
            _judge(one, said, right)
            if i == 0:
                place = {"xytext": (0, 18), "textcoords": "offset points", "ha": "center"}
                one.annotate(_short(name, 32), (0.5, 1), xycoords="axes fraction", **place)
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
        first.set_title(_short(names[label]), fontsize=9, fontweight="bold")
        _frame(first, class_colour(label), 2.5)
        gap.set_axis_off()
        for one, other, near in zip(beside, order[i], similarity[i], strict=True):
            kind = others.labels[other]
            one.imshow(others.images[other])
            said = f"{near:.2f}" if kind == label else f"≠ {_short(names[kind])} {near:.2f}"
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
    width = min(7, 11.6 / len(maps))
    figure, panels = new_figure(
        width * len(maps), width * PANEL + 0.65, alt, 1, len(maps), squeeze=False
    )
    side = THUMBNAIL / width
    places = [_placed(points, side) for points, _ in maps.values()]
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
    short = [_short(name, 24) for name in photos.class_names]
    columns = max(1, min(len(short), int(figure.get_figwidth() / 2.3)))
    look = {"ncols": columns, "frameon": False, "markerscale": (60 / dot) ** 0.5}
    figure.legend(marks, short, loc="outside upper center", **look)
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


# --- How far to trust P ---


def reliability_plot(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Figure:
    """How often the likeliest class is right, by its P, as trained and with the logits divided by
    the temperature, in bins of a tenth with 95 % intervals; below, how many photos are in a bin.

    logits: (N, 1) or (N, K), labels: (N,), of photos that neither training nor the temperature has
    seen. On the dotted line a network is right as often as it is sure.
    """
    ways = {"as trained": logits, f"logits divided by {temperature:.2f}": logits / temperature}
    figure, axes = new_figure(10, 5, "", 2, 2, sharex=True, sharey="row", height_ratios=(4, 1))
    told, lowest = [], 1.0
    for (way, scaled), (dots, bars) in zip(ways.items(), axes.T, strict=True):
        p = probabilities(scaled)
        found = explain.reliability(p, labels)
        bins = np.flatnonzero(found.counts)
        counts, right, left = found.counts[bins], found.right[bins], bins / len(found.counts)
        hits = np.rint(right * counts).astype(int)
        intervals = [wilson_interval(*pair) for pair in zip(hits, counts, strict=True)]
        reach = np.abs(np.transpose(intervals) - right)
        (even,) = dots.plot([0, 1], [0, 1], ":", color=GREY)
        shown = dots.errorbar(found.sure[bins], right, reach, fmt="o", color="black", capsize=4)
        drawn = bars.bar(left + 0.05, counts, 0.08, color=GREY)
        bars.bar_label(drawn, [f"{count:,}" for count in counts], padding=2, fontsize=9)
        loss = f"cross-entropy {cross_entropy(p, labels).mean():.3f} nats"
        scores = (
            f"Brier score {explain.brier(p, labels):.3f}",
            f"calibration error {found.error:.3f}",
        )
        dots.set_title(f"{way}\n{loss}\n{', '.join(scores)}", fontsize=11)
        each = zip(hits, counts, left, strict=True)
        shares = ", ".join(f"{hit} of {count} right from {low:.1f}" for hit, count, low in each)
        told.append(f"{way} {', '.join([loss, *scores, shares])}")
        lowest = min(lowest, left[0])
    axes[0, 0].set(ylim=(-0.03, 1.03), ylabel="share right")
    axes[1, 0].set(xlim=(lowest - 0.01, 1.01), ylabel="photos", yticks=[])
    axes[1, 0].set_xticks(np.arange(round(10 * lowest), 11) / 10)
    axes[1, 0].set_ylim(top=axes[1, 0].get_ylim()[1] * 1.5)  # room for the labels
    for one in axes.ravel():
        one.grid(alpha=0.3, axis="x" if one in axes[1] else "both")
        one.spines[["top", "right"]].set_visible(False)
    for one in axes[1]:
        one.set_xlabel("P of the likeliest class")
    said = ["right as often as sure", "photos of a bin, 95 % interval"]
    figure.legend([even, shown], said, loc="outside lower center", ncols=2, frameon=False)
    figure.set_label(
        f"Share right by P of the likeliest class, {len(labels)} photos: {'; '.join(told)}."
    )
    return figure


def threshold_plot(p: np.ndarray, positive: np.ndarray, threshold: float, name: str) -> Figure:
    """Precision and recall against the threshold from which on a photo is called `name`; the
    chosen one is marked. A stroke is a photo: on top those that are `name`, below the others.

    p: P(name), (N,). positive: bool (N,), whether a photo is. Raises UserError if none is.
    """
    found, called = explain.thresholds(p, positive), p >= threshold
    hits, calls, there = (int(some.sum()) for some in (positive & called, called, positive))
    figure, axes = new_figure(9, 4, "")
    edges = np.append(0.0, found.thresholds[::-1])
    lines = (
        ("precision", found.precision, hits, calls, "-", "black", "s"),
        ("recall", found.recall, hits, there, "--", GREEN, "o"),
    )
    told = []
    for line, values, n, of, style, colour, mark in lines:
        # Up to the highest P; above, none is called so, and precision is no number.
        axes.step(edges, np.append(values[::-1], values[0]), style, where="post", color=colour)
        share = f"{line} {n} of {of}"
        if of:
            axes.plot(threshold, n / of, mark, ms=9, mfc="none", mew=2, color=colour)
            low, high = wilson_interval(n, of)
            share += f" ({100 * low:.1f} to {100 * high:.1f} %)"
        axes.plot([], [], style, marker=mark, mfc="none", mew=2, color=colour, label=share)
        told.append(share)
    axes.axvline(threshold, color=RED, linestyle=":", label=f"threshold {threshold:.3f}")
    for some, height in ((positive, 1.12), (~positive, -0.12)):
        axes.plot(p[some], np.full(some.sum(), height), "|", color=GREY, ms=8, alpha=0.6)
    ticks = {0.2 * i: f"{0.2 * i:.1f}" for i in range(6)} | {-0.12: "others", 1.12: _short(name)}
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.18, 1.18))
    axes.set_xlabel(f"threshold on P({_short(name, 30)})")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, fontsize=10, frameon=False)
    figure.set_label(
        f"Precision and recall of calling {len(p)} photos {name!r} by the threshold on its P, at "
        f"{threshold:.3f}: {', '.join(told)}."
    )
    return figure


# --- From scratch ---

WAYS = ((RED, "o"), (GREEN, "s"), ("black", "D"))  # none of them a class's colour


def ways_plot(ways: dict[str, Sequence[History]]) -> Figure:
    """Loss and accuracy on the validation photos (solid) and in training (dashed) by epoch, a
    colour a way of training; a way of several stages is drawn as one curve.
    """
    alt = f"Validation loss and accuracy by epoch of {', '.join(ways)}."
    figure, (losses, accuracies) = new_figure(10, 3.8, alt, 1, 2)
    for (name, stages), (colour, mark) in zip(ways.items(), WAYS, strict=False):
        for axes, part in ((losses, "loss"), (accuracies, "accuracy")):
            for kind, look in ((f"val_{part}", "-"), (part, "--")):
                # A later stage begins where the last one ended.
                values = [v for i, h in enumerate(stages) for v in getattr(h, kind)[bool(i) :]]
                label = name if look == "-" else None
                axes.plot(values, look, color=colour, label=label, alpha=1 if label else 0.5)
            axes.plot(len(values) - 1, getattr(stages[-1], f"val_{part}")[-1], mark, color=colour)
    for axes, title in ((losses, "cross-entropy, nats"), (accuracies, "share right")):
        axes.set_title(f"{title} (dashed: training)", fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    losses.set_ylim(bottom=0)
    accuracies.set_ylim(top=1.02)
    losses.legend(fontsize=9)
    return figure


def accuracy_by_count_plot(
    counts: Sequence[int], ways: dict[str, Sequence[Result]], commonest: float
) -> Figure:
    """Share right with its 95 % interval against the number of training photos, a line a way;
    commonest: the share right of who always names the commonest class, drawn dotted.
    """
    told = "; ".join(
        f"{name}: {', '.join(f'{r.correct} of {r.total}' for r in results)}"
        for name, results in ways.items()
    )
    alt = f"Test photos right by training photos ({', '.join(map(str, counts))}). {told}."
    figure, axes = new_figure(9.5, 4.2, alt)
    for i, ((name, results), (colour, mark)) in enumerate(zip(ways.items(), WAYS, strict=False)):
        beside = np.array(counts) * 1.04 ** (i - 1)  # so that no interval hides another
        share = np.array([r.correct / r.total for r in results])
        reach = np.abs(np.array([r.interval for r in results]).T - share)
        axes.errorbar(beside, share, reach, fmt=f"-{mark}", color=colour, capsize=4, label=name)
    axes.axhline(commonest, color=GREY, linestyle=":", label="always the commonest class")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training photos")
    axes.set_title("share of the test photos right, with 95 % intervals", fontsize=11)
    axes.set_ylim(top=1.02)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=10, loc="outside right center", frameon=False)
    return figure


def strength_plot(strengths: np.ndarray, losses: np.ndarray) -> Figure:
    """Mean loss of photos held out against the strength of the penalty; the lowest is ringed."""
    best = losses.argmin()
    alt = f"Held-out loss by strength of the penalty: lowest, {losses[best]:.3f} nats, at " + (
        f"{strengths[best]:.3g}; {losses[0]:.3f} at {strengths[0]:.3g}, "
        f"{losses[-1]:.3f} at {strengths[-1]:.3g}."
    )
    figure, axes = new_figure(6.5, 3.4, alt)
    axes.plot(strengths, losses, "-", color="black")
    axes.plot(strengths[best], losses[best], "o", ms=9, mfc="none", color=RED, mew=2)
    axes.set_xscale("log")
    axes.set_xlabel("strength of the penalty")
    axes.set_title("cross-entropy of photos held out, nats", fontsize=11)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    return figure


def runs_plot(runs: dict[str, Sequence[dict[str, float]]]) -> Figure:
    """Share right by epoch of runs of mobilenet.train: validation photos solid, training dashed.

    runs: name → its lines of history.jsonl.
    """
    alt = f"Share right by epoch on validation and training photos of {', '.join(runs)}."
    figure, all_axes = new_figure(min(4.2 * len(runs), 12), 3.6, alt, 1, len(runs), squeeze=False)
    for axes, (name, rows) in zip(all_axes[0], runs.items(), strict=True):
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["accuracy"] for row in rows], "--", color=GREY, label="training")
        axes.plot(epochs, [row["val_accuracy"] for row in rows], color="black", label="validation")
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="lower right")
    all_axes[0][0].set_ylabel("share right")
    return figure


# --- The memory of re-runs ---

MARKS = "s^vPX<>d*p"  # of the curves of older runs


def log_run(
    notebook: str,
    scope: Mapping[str, Any],
    photos: Photos,
    network: Backbone,
    history: History,
    count: int,
) -> None:
    """Note what came of a training: the epoch that was kept, judged by the validation photos.

    scope: globals(), whose knobs are noted. photos: all photos. count: how many of them are
    validation photos. The same knobs, photos and backbone are the same run, brought up to date.
    Raises UserError if the disk does not take it.
    """
    right = round(history.val_accuracy[history.best] * count)
    about = runs.knobs_of(scope), runs.photos_of(photos), runs.backbone_of(network)
    loss = history.val_loss[history.best]
    runs.remember(notebook, *about, Result(right, count), loss, history.seconds, history)


def show_runs(notebook: str, last: int = 10) -> None:
    """The last runs of a notebook as a table and as curves; a best one that is older stands last.
    Says what to do if there is none or only one, and which files of the log are damaged.
    """
    found, damaged = runs.recall(notebook)
    if found:
        shown, best = found[:last], runs.best(found)
        if best not in shown:
            shown[-1] = best
        show_table(*runs.table(shown))
        if len(shown) > 1:
            print(
                "★ most validation photos right of the runs on the newest's photos, of equals the "
                "lowest loss; bold: not as in the newest run."
            )
        else:
            print("One run so far: turn a knob and run the cells again, and a row is added.")
        show(run_curves(shown))
    else:
        print("No run is noted yet: run the cell that trains.")
    if damaged:
        names = ", ".join(damaged[:3]) + (f" and {len(damaged) - 3} more" if damaged[3:] else "")
        print(f"Left out, since damaged: {names}; delete what lies in the log under these names.")


def run_curves(shown: Sequence[runs.Run]) -> Figure:
    """Loss and share right of the validation photos by epoch of runs, the newest first: it and the
    best stand out, with a ring where weights were kept; the names say what was turned.
    """
    best, names = shown.index(runs.best(shown)), ["1 newest"]
    if len(shown) > 1:
        names = [f"{i} {turned}" for i, turned in enumerate(runs.labels(shown), start=1)]
        names[0] = names[0].replace("1", "1 newest:", 1)
        names[best] += " ★"
    rows = zip(names, shown, strict=True)
    told = "; ".join(f"{name}: {run.correct} of {run.total}" for name, run in rows)
    alt = f"Validation loss and share right by epoch of runs. {told}."
    figure, (losses, shares) = new_figure(12, 4.2, alt, 1, 2)
    for i, run in reversed(list(enumerate(shown))):  # the newest on top
        loss, share = (np.array(run.curves[f"val_{kind}"], float) for kind in ("loss", "accuracy"))
        places = [*range(i % 3, len(loss), 1 + len(loss) // 4), len(loss) - 1]
        look = {"color": "#b0b0b0", "marker": MARKS[i % len(MARKS)], "mfc": "white", "mec": GREY}
        if i in (0, best):
            look = {"color": GREEN if i else "black", "linewidth": 2.5, "zorder": 3}
        label = textwrap.fill(names[i], 40, max_lines=2, placeholder=" …").replace("$", r"\$")
        for axes, values in ((losses, loss), (shares, share)):
            axes.plot(values, markevery=places, label=label, **look)
            if i in (0, best) and np.isfinite(loss).any():
                kept = np.nanargmin(loss)
                axes.plot(kept, values[kept], "o", ms=9, mfc="none", color=RED, mew=2, zorder=4)
    for axes, title in ((losses, "validation: cross-entropy, nats"), (shares, "share right")):
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    _log_ticks(losses)
    shares.set_ylim(top=1.03)
    losses.plot([], [], "o", ms=9, mfc="none", color=RED, mew=2, label="weights kept")
    handles, labels = losses.get_legend_handles_labels()
    order = [*range(len(shown))[::-1], -1]
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order],
        loc="outside right center", frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _log_ticks(axes) -> None:
    """A logarithmic axis from one round number to another, so that low losses are told apart."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    steps = np.array([m * 10.0**k for k in range(-15, 9) for m in (1, 2, 5)])
    axes.set_yscale("log")
    axes.minorticks_off()
    if len(values):
        first, last = np.searchsorted(steps, [values.min(), values.max()], "right")
        some = steps[max(first - 1, 0) : last + 1]
        axes.yaxis.set_major_locator(FixedLocator(some))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(some[0] * 0.9, some[-1] * 1.1)  # rings are drawn whole
