"""Shared loading and plotting: what a notebook cell calls.

Every plot returns a matplotlib Figure that carries a sentence of alt text as its label;
`show(figure)` puts both into the notebook. A class has the same colour in every figure
(`canvas.class_colour`); right and wrong differ in colour, in mark and in frame.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mobilenet.figures.canvas  # first: it keeps interrupts off matplotlib

# isort: split
import numpy as np

from mobilenet import BUILD, ROOT, UserError, from_root
from mobilenet.explain.grad_cam import grad_cam
from mobilenet.explain.own_photos import OwnPhotos
from mobilenet.figures.bars import class_balance, class_bars
from mobilenet.figures.canvas import show, show_table
from mobilenet.figures.comparisons import (
    accuracy_by_count_plot,
    runs_plot,
    staircase_plot,
    ways_plot,
)
from mobilenet.figures.confusion import confusion_photos
from mobilenet.figures.costs import (
    clip_plot,
    losses_plot,
    passages_plot,
    ratio_plot,
    shares_plot,
    speed_against_intensity_plot,
    time_against_multiply_adds_plot,
    top1_plot,
)
from mobilenet.figures.curves import learning_curves, loss_by_rate_plot, show_runs
from mobilenet.figures.feature_map import feature_map
from mobilenet.figures.grids import (
    changed_grid,
    grad_cam_rows,
    neighbour_grid,
    own_grid,
    photo_grid,
    prediction_grid,
    view_grid,
)
from mobilenet.figures.layers import channels_plot, separable_plot
from mobilenet.figures.lettering import spelled
from mobilenet.figures.phone import (
    bits_plot,
    clarity_plot,
    kernels_plot,
    levels_plot,
    ranges_plot,
    size_time_plot,
    steps_plot,
)
from mobilenet.figures.trust import l2_plot, reliability_plot, threshold_plot
from mobilenet.networks.backbone import Backbone
from mobilenet.photos import corrections, duplicates, folders, splits
from mobilenet.photos.corrections import decide
from mobilenet.photos.decoding import read_photo
from mobilenet.photos.loading import find_folder, load_photos
from mobilenet.photos.photos import Photos
from mobilenet.photos.splits import folds, split
from mobilenet.system.command import printable
from mobilenet.system.engine import deterministic, tf
from mobilenet.system.files import write_json
from mobilenet.transfer import lesson, runs
from mobilenet.transfer.metrics import History, Result

BOARD = BUILD / "scoreboard"
SCOREBOARD = ("baseline", "frozen", "fine_tuned", "folds", "solved_folds")


def describe(photos: Photos) -> str:
    """How many photos there are of each class, how the folder was read, which files were left out
    and why, which show the same picture (ten of each by name), and how many decisions of
    `mobilenet.photos.corrections` were applied.
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
    if said := splits.imbalance(photos.class_names, counts):
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
    decided = sum(reason == corrections.REASON for _, reason in photos.left_out)
    if photos.corrected or decided:
        lines.append(
            f"{corrections.NAME} changed {len(photos.corrected)} of the labels and left out "
            f"{decided} of the photos; their files are as they were."
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

    _check_is_of_this_project(Path.cwd())
    deterministic(seed)
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


def _check_is_of_this_project(folder: Path) -> None:
    """Raise UserError if a notebook that works in this folder is of another copy of the project."""
    for place in (folder, folder.parent):
        if (place / "mobilenet" / "__init__.py").is_file() and place.resolve() != ROOT:
            raise UserError(
                f"This notebook is in {place}, but its kernel takes the code from {ROOT}: run "
                f"`make lab` in {place}, or `pip install -e .` there in another environment."
            )


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
