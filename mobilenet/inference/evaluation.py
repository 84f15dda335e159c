"""What a classifier is worth: which photos it may be evaluated on, and its answers counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.inference import saved
from mobilenet.networks import cost
from mobilenet.photos import datasets, folders, tables
from mobilenet.photos.photos import Photos
from mobilenet.system import measuring
from mobilenet.transfer.metrics import balanced_accuracy, confusion, count_right

REPEATS = 7
UNKNOWN = "The model does not say which photos trained it: if some of these did, this is no test."


def answers(p: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> str:
    """Accuracy with its interval, then a line a class: recall, precision, what it is called.

    p: (N, K), labels: int64 (N,), names: K. Balanced accuracy is the mean of the recalls of the
    classes that have photos: what a rare class counts as much as a common one in.
    """
    counts = confusion(p, labels)
    width = max(map(len, names))
    mean = balanced_accuracy(p, labels)
    lines = [str(count_right(p, labels))]
    lines.append(f"balanced accuracy, the mean over the classes: {100 * mean:.1f} %")
    lines += ["", f"{'':<{width}}  {'recall':>12}  {'precision':>12}  called"]
    for k, name in enumerate(names):
        right, is_it, called = counts[k, k], counts[k].sum(), counts[:, k].sum()
        recall, precision = f"{right} of {is_it}", f"{right} of {called}"
        line = f"{name:<{width}}  {recall:>12}  {precision:>12}  {_called(counts[k], names)}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _called(counts: np.ndarray, names: Sequence[str]) -> str:
    """What photos are called, the most frequent first."""
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{names[k]} {counts[k]}" for k in order if counts[k])


def costs(total: cost.Cost | None, size: int, compute: Any, path: Path) -> str:
    """Multiply-adds, parameters, size on disk, time for one photo; compute: photos of size × size
    pixels to probabilities.
    """
    photo = np.zeros((1, size, size, 3), np.uint8)
    compute(photo)
    (seconds,) = measuring.median_seconds([lambda: compute(photo)], REPEATS)
    known = total and (
        f"{total.multiply_adds / 1e6:.1f} million multiply-adds, {total.parameters:,} parameters "
        "of convolution and dense layers, "
    )
    return (
        f"{known or ''}{path.stat().st_size / 1e6:.1f} MB on disk, "
        f"{1000 * seconds:.1f} ms for one photo"
    )


def evaluated(
    path: Path,
    card: dict[str, Any],
    data: str,
    size: int,
    names: Sequence[str],
    seed: int | None,
    everything: bool,
) -> tuple[Photos, str]:
    """The photos to evaluate a model on, and lines that say which they are.

    Those that did not train or validate it, if its card says which did; of data with a given split
    the test part alone. Else the test part of the split by the seed, by default that of the card.
    All photos if everything is wanted, and if a model of others is evaluated on data without a
    split. Raises UserError if there are none, or none of a class that it knows.
    """
    _check_is_more_than_a_class(data, names)
    if seed is None and (everything or "learned" in card or _is_of_others(card)):
        return _all_but_learned(path, card, data, size, names, everything)
    return _test_split(path, card, data, size, names, seed)


def _is_of_others(card: dict[str, Any]) -> bool:
    """Whether a model comes from elsewhere: then nobody knows how its photos were split."""
    return not {"seed", "test", "part"} & set(card)


def _all_but_learned(
    path: Path, card: dict[str, Any], data: str, size: int, names: Sequence[str], everything: bool
) -> tuple[Photos, str]:
    """`evaluated`, of photos that this model did not split: all, or all that it has not seen."""
    parts = datasets.load_all(data, size, names)
    photos = datasets.joined(parts)
    if not set(photos.class_names) & set(names):
        datasets.check_classes(photos, names)
    lines = [f"{_photos(len(photos))}.", *photos.said, *datasets.left_out_of([photos])]
    chosen = np.ones(len(photos), bool)
    if not everything and "test" in parts and len(parts) > 1:
        chosen = np.repeat([part == "test" for part in parts], list(map(len, parts.values())))
        lines.append(
            f"Counted: its test part alone, {_photos(chosen.sum())} (--all counts every one)."
        )
    found = saved.learned(card, photos)
    if found is None:
        lines.append(UNKNOWN)
    else:
        chosen, more = _unseen(found, chosen, everything)
        lines.append(more)
    if not chosen.any():
        raise UserError(
            f"All {_photos(len(photos))} in {data} that are to be counted trained or validated "
            f"{path}: name others, or count them by --all, which is no test."
        )
    return photos.subset(np.flatnonzero(chosen)), "\n".join(lines)


def _test_split(
    path: Path, card: dict[str, Any], data: str, size: int, names: Sequence[str], seed: int | None
) -> tuple[Photos, str]:
    """`evaluated`, of the test part of the split by a seed, by default the model's own."""
    seed = saved.split_seed(card) if seed is None else seed
    if seed is None:
        raise UserError(f"{path} does not say how its photos were split: give a --seed.")
    parts = datasets.load(data, size, seed)
    datasets.check_classes(parts["test"], names)
    photos, lines = parts["test"], [datasets.describe(parts)]
    if card.get("part") == "all":
        lines.append("This head was solved on all photos of its folder: for those, it is no test.")
    elif card.get("test", datasets.fingerprint(photos)) != datasets.fingerprint(photos):
        lines.append(
            "These are not the test photos of its training: it may have learned from some."
        )
    elif (found := saved.learned(card, photos)) is not None:
        chosen, more = _unseen(found, np.ones(len(photos), bool), False)
        photos = photos.subset(np.flatnonzero(chosen))
        lines.append(more)
    elif _is_of_others(card):
        lines.append(UNKNOWN)
    elif "test" not in card:
        lines.append(
            "The model says how its photos were split, not which they were: if these are others, "
            "count them by --all."
        )
    if not len(photos):
        raise UserError(f"All test photos of this split trained {path}: leave --seed out.")
    return photos, "\n".join(lines)


def _check_is_more_than_a_class(data: str, names: Sequence[str]) -> None:
    """Raise UserError if data is the class folder of one of these names."""
    folder = Path(data).absolute()
    if folder.name not in names or not folder.is_dir():
        return
    found = [one for one in folders.walk(folder) if one.why not in (folders.HIDDEN, folders.FOLDER)]
    is_table = any(one.path.lower().endswith(tables.SUFFIXES) for one in found)
    if found and not is_table and not any("/" in one.path for one in found):
        raise UserError(
            f"{data} is the folder of one class, {folder.name!r}: name the folder above it, "
            f"{folder.parent}."
        )


def _unseen(
    found: dict[str, np.ndarray], chosen: np.ndarray, everything: bool
) -> tuple[np.ndarray, str]:
    """Which of the chosen photos are counted, bool (N,), and lines that say so."""
    seen = np.any(list(found.values()), axis=0)
    if not seen.any():
        return chosen, (
            "None of these files trained or validated it. A training photo that was saved again, "
            "in another size or format, cannot be recognized."
        )
    counts = " and ".join(
        f"{(mask & chosen).sum()} that {'trained' if part == 'train' else 'validated'} it"
        for part, mask in found.items()
    )
    if everything:
        return chosen, f"All are counted, also {counts}: for those, it is no test."
    if not (seen & chosen).any():
        return chosen, "None of them trained or validated it."
    left = chosen & ~seen
    return left, f"Left out: {counts}. Counted: {_photos(left.sum())}."


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def counted(p: np.ndarray, photos: Photos, names: Sequence[str]) -> str:
    """What a model's answers p (N, K) are worth; photos of classes that it lacks apart."""
    labels = np.array([_position(name, names) for name in photos.class_names])[photos.labels]
    known = labels >= 0
    lines = []
    if not known.any():
        lines.append("None of these photos is of a class that the model knows.")
    else:
        lines.append(answers(p[known], labels[known], names))
        absent = [name for k, name in enumerate(names) if not (labels == k).any()]
        if absent:
            lines.append(f"No photo is of {', '.join(map(repr, absent))}: it is not measured.")
    for k, name in enumerate(photos.class_names):
        mine = (photos.labels == k) & ~known
        if mine.any():
            called = _called(np.bincount(p[mine].argmax(axis=1), minlength=len(names)), names)
            lines.append(
                f"Counted apart: {_photos(mine.sum())} of {name!r}, a class that the model lacks, "
                f"called {called}."
            )
    return "\n".join(lines)


def _position(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else -1
