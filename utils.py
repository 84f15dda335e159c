"""Shared loading and plotting: what a notebook cell calls.

Every plot returns a matplotlib Figure that carries a sentence of alt text as its label;
`show(figure)` puts both into the notebook. Class k has colour `class_colour(k)` in every figure;
right and wrong differ in colour, in mark and in frame.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.textpath import TextPath

from mobilenet import BUILD, UserError
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
from mobilenet.training import History, Result, confusion, cross_entropy
from mobilenet.unseen import OwnPhotos, own_photos

# Handed on: notebooks call them from here.
__all__ = [
    "Photos",
    "class_colour",
    "clip_plot",
    "find_folder",
    "load_photos",
    "load_split",
    "losses_plot",
    "own_photos",
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
SCOREBOARD = BUILD / "scoreboard"


def describe(photos: Photos) -> str:
    """How many photos there are of each class, and which files were left out and why (ten of
    them by name).
    """
    counts = np.bincount(photos.labels, minlength=len(photos.class_names))
    each = ", ".join(f"{n} {name}" for n, name in zip(counts, photos.class_names, strict=True))
    lines = [f"{len(photos)} photos: {each}; {len(photos.left_out)} files left out."]
    lines += [f"  left out: {file} ({reason})" for file, reason in photos.left_out[:10]]
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


def _short(name: str, limit: int = 14) -> str:
    name = name if len(name) <= limit else name[: limit - 1] + "…"
    return name.replace("$", r"\$")  # else matplotlib takes what is between two for a formula


def photo_grid(photos: Photos, columns: int = 6, rows: int = 3, seed: int = 0) -> Figure:
    """Photos drawn by lot, the classes in turn, each framed in its class's colour."""
    rng = np.random.default_rng(seed)
    lots = [
        rng.permutation(np.flatnonzero(photos.labels == k)) for k in range(len(photos.class_names))
    ]
    turns = [lot[i] for i in range(columns * rows) for lot in lots if i < len(lot)]
    chosen = turns[: columns * rows]
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
    short = [_short(name, 30) for name in names]
    figure.legend(legend, short, loc="outside upper left", ncols=min(len(names), 4), frameon=False)
    return figure


# --- Your own photos ---

NAMED = 50  # files left out that are named, a sentence each


def own_words(own: OwnPhotos) -> str:
    """How many of your own photos were read, how many are unlike the known ones, and a sentence for
    each file that could not be read; where there is none, where to put some.
    """
    count, odd, shown = len(own.files), int(own.unseen.sum()), len(own.images)
    lines = [f"{own.place}: {count} photo{'' if count == 1 else 's'} read."]
    if count:
        if odd:
            lines.append(f"⚠ unlike the training photos: {odd} of {count}, believe no P of theirs.")
        if count > shown:
            lines.append(f"The first {shown} are shown, {count - shown} more are not.")
    else:
        lines = [
            f"There are no photos that can be read in {own.place}: put some there (a relative "
            "path starts beside README.md) and run this cell again."
        ]
    lines += [f"{name} could not be read: {why}." for name, why in own.left_out[:NAMED]]
    if len(own.left_out) > NAMED:
        lines.append(f"{len(own.left_out) - NAMED} more could not be read.")
    return "\n".join(lines)


def own_grid(own: OwnPhotos, class_names: Sequence[str]) -> Figure:
    """Your own photos, the first 24: the file's name, the predicted class and its P, framed in that
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
    figure, axes = _grid(count, 8 if count > 12 else 6, alt, title_lines=4)
    for one, image, file, p, strange in zip(
        axes, own.images, own.files, own.p, own.unseen, strict=False
    ):
        guess = int(p.argmax())
        one.imshow(image)
        one.set_title(
            f"{_file_name(file)}\n{_short(class_names[guess])} {p[guess]:.2f}", fontsize=9
        )
        _frame(one, class_colour(guess), 2.5)
        if strange:
            warning = "⚠ unlike the\ntraining photos"
            one.set_xlabel(warning, fontsize=9, color=RED, fontweight="bold")
            _frame(one, RED, 4, (0, (1, 1)))
    return figure


def _file_name(file: str) -> str:
    """A file's name as wide as a photo at most, without its middle if it is longer: what tells
    photos apart is often the end. □ stands for a letter that the figures' font lacks.
    """
    letters = get_font(findfont("DejaVu Sans")).get_charmap()
    whole = file.rsplit("/", 1)[-1]
    whole = "".join(letter if ord(letter) in letters else "□" for letter in whole)
    for start in range(12, -1, -1):
        cut = f"{whole[:start]}…{whole[-start - 2 :]}"
        name = _short(min(whole, cut, key=len), 40)
        if TextPath((0, 0), name, size=9).get_extents().width < 72 * PHOTO_INCHES:
            break
    return name


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
    photos: Photos, p: np.ndarray, columns: int = 6, rows: int = 3, order: str = "worst"
) -> Figure:
    """Photos with what the network says of them: predicted class, its probability, true class.

    p: (N, K) probabilities. order: "worst" (highest loss first) or "file". Right ones have a ✓ and
    a thin green frame; wrong ones a ✗, a thick dashed vermilion frame, and say what they are.
    """
    if order not in ("worst", "file"):
        raise UserError(f"There is no order {order!r}: use 'worst' or 'file'.")
    ranks = np.arange(len(photos))
    if order == "worst":
        ranks = np.argsort(-cross_entropy(p, photos.labels), kind="stable")
    chosen = ranks[: columns * rows]
    names, guesses = photos.class_names, p.argmax(axis=1)
    wrong = int((guesses[chosen] != photos.labels[chosen]).sum())
    alt = f"{len(chosen)} photos with predicted class and probability; {wrong} of them are wrong."
    figure, axes = _grid(len(chosen), columns, alt, title_lines=2)
    for one, i in zip(axes, chosen, strict=True):
        label, guess = photos.labels[i], guesses[i]
        right = label == guess
        one.imshow(photos.images[i])
        said = f"{'✓' if right else '✗'} {_short(names[guess])} {p[i, guess]:.2f}"
        one.set_title(
            f"{said}\nis {_short(names[label])}",
            fontsize=9,
            color=GREEN if right else RED,
            fontweight="normal" if right else "bold",
        )
        _frame(one, GREEN if right else RED, 1.5 if right else 4, "-" if right else (0, (2, 0.6)))
    return figure


def confusion_matrix(p: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Counts of true class (rows) against predicted class (columns), for p (N, K), labels (N,)."""
    count = len(class_names)
    table = confusion(p, labels)
    told = "; ".join(
        f"{name}: {', '.join(f'{n} as {as_}' for n, as_ in zip(row, class_names, strict=True))}"
        for name, row in zip(class_names, table, strict=True)
    )
    side = min(2.2 + 0.8 * count, 6.4)
    figure, axes = new_figure(side + 0.6, side, f"Confusion matrix. {told}.")
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greys", vmin=0, vmax=1.3)
    names = [_short(name) for name in class_names]
    axes.set_xticks(range(count), names, rotation=0 if count < 4 else 45)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), n in np.ndenumerate(table):
        mark = "✓" if row == column else "✗" if n else ""
        dark = shares[row, column] > 0.5
        axes.text(
            column, row, f"{n} {mark}", ha="center", va="center", fontsize=13,
            color="white" if dark else "black",
        )  # fmt: skip
    return figure


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
