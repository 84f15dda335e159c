"""Shared loading and plotting: what a notebook cell calls.

Every plot returns a matplotlib Figure that carries a sentence of alt text as its label;
`show(figure)` puts both into the notebook. Class k has colour `class_colour(k)` in every figure;
right and wrong differ in colour, in mark and in frame.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mobilenet.canvas  # noqa: F401, before matplotlib: it keeps interrupts off while it loads

# isort: split
import numpy as np
from matplotlib.figure import Figure

from mobilenet import BUILD, duplicates, folders, metrics, review, runs
from mobilenet.backbone import Backbone
from mobilenet.canvas import (
    CLASS_COLOURS,
    GREY,
    class_colour,
    ink,
    new_figure,
    percent,
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
from mobilenet.crowd_figures import confusion_photos, feature_map
from mobilenet.curve_figures import learning_curves, loss_by_rate_plot, run_curves, show_runs
from mobilenet.decoding import read_photo
from mobilenet.device_figures import (
    bits_plot,
    clarity_plot,
    kernels_plot,
    levels_plot,
    ranges_plot,
    size_time_plot,
    steps_plot,
)
from mobilenet.files import write_json
from mobilenet.layer_figures import channels_plot, separable_plot
from mobilenet.lettering import printable, short, spelled
from mobilenet.metrics import History, Result
from mobilenet.photo_figures import (
    changed_grid,
    grad_cam_rows,
    neighbour_grid,
    own_grid,
    photo_grid,
    prediction_grid,
    view_grid,
)
from mobilenet.photos import (
    Photos,
    find_folder,
    load_photos,
    split,
)
from mobilenet.scratch_figures import (
    accuracy_by_count_plot,
    runs_plot,
    staircase_plot,
    ways_plot,
)
from mobilenet.trust_figures import l2_plot, reliability_plot, threshold_plot
from mobilenet.unseen import OwnPhotos

# Handed on: notebooks call them from here.
__all__ = [
    "Photos",
    "accuracy_by_count_plot",
    "bits_plot",
    "changed_grid",
    "channels_plot",
    "clarity_plot",
    "class_colour",
    "clip_plot",
    "confusion_photos",
    "feature_map",
    "find_folder",
    "grad_cam_rows",
    "kernels_plot",
    "l2_plot",
    "learning_curves",
    "levels_plot",
    "load_photos",
    "loss_by_rate_plot",
    "losses_plot",
    "neighbour_grid",
    "own_grid",
    "passages_plot",
    "photo_grid",
    "prediction_grid",
    "ranges_plot",
    "ratio_plot",
    "read_photo",
    "reliability_plot",
    "run_curves",
    "runs_plot",
    "separable_plot",
    "shares_plot",
    "show",
    "show_runs",
    "show_table",
    "size_time_plot",
    "speed_against_intensity_plot",
    "split",
    "staircase_plot",
    "steps_plot",
    "threshold_plot",
    "time_against_multiply_adds_plot",
    "top1_plot",
    "view_grid",
    "ways_plot",
]

BARS = 36  # of classes, the most that fit a page
BOARD = BUILD / "scoreboard"
SCOREBOARD = ("baseline", "frozen", "fine_tuned", "folds", "solved_folds")


def describe(photos: Photos) -> str:
    """How many photos there are of each class, how the folder was read, which files were left out
    and why, which show the same picture (ten of each by name), and how many decisions of
    `mobilenet.review` were applied.
    """
    unused = [(printable(file), reason) for file, reason in photos.left_out]
    count = sum(folders.is_meant(reason) for _, reason in unused)
    lines = [f"{len(photos)} photos: {_counts(photos)}; {folders.files(count)} left out."]
    lines += [printable(said) for said in photos.said]
    if any(name.isdecimal() for name in photos.class_names) and len(photos.class_names) > 2:
        some = ", ".join(f"{k} is {name!r}" for k, name in enumerate(photos.class_names[:3]))
        lines.append(f"Labels count the names in the order of their letters, as in Keras: {some}.")
    lines += folders.in_words(unused, photos.hidden)
    counts = np.bincount(photos.labels, minlength=len(photos.class_names))
    if said := metrics.imbalance(photos.class_names, counts):
        weighted = 'With CLASS_WEIGHTS = "balanced" in notebooks 3 and 4 a rare class counts more.'
        lines.append(f"{said} {weighted}")
    lines += _unseen(photos.class_names)
    groups = photos.groups
    counts = np.bincount(groups)
    if alike := np.flatnonzero(counts > 1).tolist():
        kept = "the folds keep them together, the given split is as it is"
        lines.append(
            f"{counts[alike].sum()} photos show a picture that occurs more than once; "
            f"{kept if photos.given else 'the split and the folds keep them together'}."
        )
    for group in alike[:10]:
        some = np.flatnonzero(groups == group)
        files = ", ".join(printable(photos.files[i]) for i in some[:10])
        more = f" and {len(some) - 10} more" if len(some) > 10 else ""
        lines.append(f"  the same: {files}{more}{_of_two_classes(photos, some)}")
    lines += duplicates.words(sum(file in photos.frames for file in photos.files))
    decided = sum(reason == review.REASON for _, reason in photos.left_out)
    if photos.corrected or decided:
        lines.append(
            f"{review.NAME} changed {len(photos.corrected)} of the labels and left out {decided} "
            "of the photos; their files are as they were."
        )
    return "\n".join(lines)


def _counts(photos: Photos) -> str:
    """How many photos each class has: "3 alpaca", or "1: 6", if names are numbers, which are then
    in their natural order.
    """
    counts = np.bincount(photos.labels, minlength=len(photos.class_names)).tolist()
    each = list(zip(photos.class_names, counts, strict=True))
    if not any(name.isdecimal() for name in photos.class_names):
        return ", ".join(f"{n} {name}" for name, n in each)
    each.sort(key=lambda one: (not one[0].isdecimal(), int(one[0]) if one[0].isdecimal() else 0))
    return ", ".join(f"{name}: {n}" for name, n in each)


def _unseen(names: Sequence[str]) -> list[str]:
    """A sentence on names with letters that no font has, ten by name, if there are some."""
    odd = {name: spelled(name) for name in names if "\\u" in spelled(name).lower()}
    odd = {name: said for name, said in odd.items() if name != said}
    if not odd:
        return []
    told = ", ".join(f"{said} for {name}" for name, said in [*odd.items()][:10])
    more = f" and {len(odd) - 10} more" if len(odd) > 10 else ""
    return [
        f"No font of this machine has all letters of some class names: figures write {told}{more}. "
        "To have them drawn, install a font that has them (such as Noto Sans CJK)."
    ]


def _of_two_classes(photos: Photos, some: np.ndarray) -> str:
    """What to say of photos, by position, that show the same picture."""
    if len(set(photos.labels[some])) == 1:
        return ""
    sums = {(photos.sums.get(photos.files[i], i), int(photos.labels[i])) for i in some}
    sure = len({of for of, _ in sums}) < len(sums)
    return f" (of two classes: {'' if sure else 'look whether '}one is wrong)"


def begin(notebook: str, seed: int = 0) -> None:
    """Begin a notebook: seed all generators, have TensorFlow give the same bits at each run, and
    watch the cells from here on, as `lesson` does.

    A `history` of a training, with photos that validate, is noted in the memory of runs; a count
    that is called as one of SCOREBOARD is written where `make run` collects it, with `photos` and
    `network` of the notebook.
    """
    from IPython import get_ipython

    from mobilenet import lesson
    from mobilenet.engine import keras, tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    # A cell that builds a model and is run again is compiled again, which is no news.
    tf.get_logger().setLevel("ERROR")
    shell = get_ipython()
    if shell is None:
        return

    def made(name: str, value: Any, knobs: dict[str, Any], seconds: float) -> None:
        there = shell.user_ns
        if name == "history" and isinstance(value, History) and value.val_loss:
            log_run(notebook, knobs, there["photos"], there["val"], there["network"], value)
        if name in SCOREBOARD and isinstance(value, Result):
            publish(name, value, seconds, there["photos"], there["network"])

    lesson.watch(shell, made)


def publish(name: str, result: Result, seconds: float, photos: Photos, network: Backbone) -> None:
    """Write one entry of the scoreboard, `build/scoreboard/NAME.json`; `make run` collects them.

    seconds: from decoded photos to the result.
    """
    source = {"count": len(photos), "classes": list(photos.class_names)}
    if count := sum(folders.is_meant(reason) for _, reason in photos.left_out):
        source["left_out"] = count
    if photos.hidden:
        source["hidden"] = photos.hidden
    entry = {**result.entry(), "seconds": round(seconds, 2), "photos": source}
    write_json(BOARD / f"{name}.json", entry | {"backbone": network.card()})


# --- Counts and curves ---


def class_balance(photos: Photos, parts: dict[str, np.ndarray]) -> Figure:
    """Return bars: how many photos of each class each part holds; with more classes than there are
    colours a bar for each class, of more than BARS classes for those with the fewest photos.
    """
    names = photos.class_names
    counts = {
        part: np.bincount(photos.labels[i], minlength=len(names)) for part, i in parts.items()
    }
    told = "; ".join(f"{part} {', '.join(map(str, c))}" for part, c in counts.items())
    alt = f"Photos of each class ({', '.join(names)}) in each part: {told}."
    if len(names) > len(CLASS_COLOURS):
        return _bars_of_classes(names, counts, alt)
    said = [short(name, 32, names) for name in names]
    columns = max(1, min(len(names), 72 // (max(map(len, said)) + 6)))
    lines = -(-len(names) // columns)  # of the legend
    figure, axes = new_figure(7, 0.6 + 0.2 * lines + 0.7 * len(parts), alt)
    left, legend = np.zeros(len(parts)), []
    for k in range(len(names)):
        width = np.array([c[k] for c in counts.values()])
        bars = axes.barh(list(parts), width, left=left, color=class_colour(k))
        legend.append(bars)
        share = width / sum(counts.values()).sum()
        fits = [n if part > 0.02 else "" for n, part in zip(width, share, strict=True)]
        look = {"fontsize": 10, "color": ink(class_colour(k)), "fontweight": "bold"}
        axes.bar_label(bars, fits, label_type="center", **look)
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("photos")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(legend, said, loc="outside upper left", ncols=columns, frameon=False)
    return figure


def _bars_of_classes(names: Sequence[str], counts: dict[str, np.ndarray], alt: str) -> Figure:
    """A bar for each class, in the order of the labels, in it the parts, behind it their sum."""
    total = sum(counts.values())
    shown = np.sort(np.argsort(total, kind="stable")[:BARS])
    figure, axes = new_figure(7, 1 + 0.165 * len(shown), alt)
    left, rows = np.zeros(len(shown)), np.arange(len(shown))
    for (part, of), shade in zip(counts.items(), ("#404040", "#8c8c8c", "#cccccc"), strict=False):
        bars = axes.barh(rows, of[shown], left=left, color=shade, label=part)
        left += of[shown]
    axes.bar_label(bars, [f"{n:,}" for n in total[shown]], padding=3, fontsize=9)
    axes.set_yticks(rows, [short(names[k], 24, names) for k in shown], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * total[shown].max())
    axes.set_xlabel("photos")
    axes.spines[["top", "right"]].set_visible(False)
    if len(shown) < len(names):
        axes.set_title(f"the {BARS} of {len(names)} classes with the fewest photos", fontsize=11)
    figure.legend(loc="outside upper left", ncols=len(counts), frameon=False)
    return figure


def class_bars(shares: dict[str, float], title: str, alt: str) -> Figure:
    """Return horizontal bars of shares in [0, 1] by name, the largest on top."""
    ranked = sorted(shares.items(), key=lambda item: item[1])
    figure, axes = new_figure(7, 0.9 + 0.3 * len(ranked), alt)
    bars = axes.barh([name for name, _ in ranked], [share for _, share in ranked], color=GREY)
    axes.bar_label(bars, [percent(share) for _, share in ranked], padding=3, fontsize=10)
    axes.set_title(short(title, 62), fontsize=11)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
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
            lines.append(
                f"⚠ unlike the training photos: {odd} of {count}, do not trust their probabilities."
            )
        if count > shown:
            lines.append(f"The first {shown} are shown, {count - shown} more are not.")
    elif not any(folders.is_meant(why) for _, why in own.left_out):
        lines = [
            f"There are no photos that can be read in {own.place}: put some there, or name another "
            "place, and run this cell again."
        ]
    unread = [(name, why) for name, why in own.left_out if folders.is_meant(why)]
    lines += [f"{name} could not be read: {why}." for name, why in unread[:NAMED]]
    if len(unread) > NAMED:
        lines.append(f"{len(unread) - NAMED} more could not be read.")
    if said := folders.beside(own.left_out, own.hidden):
        lines.append(said)
    return "\n".join(lines)


# --- The memory of re-runs ---


def log_run(
    notebook: str,
    knobs: Mapping[str, Any],
    photos: Photos,
    val: Photos,
    network: Backbone,
    history: History,
) -> None:
    """Note what came of a training: the epoch that was kept, judged by the validation photos.

    knobs: those that decided it, by name. photos: all photos; val: those that validate. The same
    knobs, photos and backbone are the same run, brought up to date. Raises UserError if the disk
    does not take it.
    """
    right = round(history.val_accuracy[history.best] * len(val))
    about = knobs, runs.photos_of(photos, val), runs.backbone_of(network)
    loss = history.val_loss[history.best]
    runs.remember(notebook, *about, Result(right, len(val)), loss, history.seconds, history)
