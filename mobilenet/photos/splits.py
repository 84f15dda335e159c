"""Which photos train, validate and test: a stratified split by seed, and folds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mobilenet import UserError
from mobilenet.photos import corrections
from mobilenet.photos.layouts import SPLITS
from mobilenet.photos.loading import FEWEST
from mobilenet.photos.photos import Photos

UNBALANCED = 4  # times as many photos in the largest class as in the smallest


def imbalance(names: Sequence[str], counts: Sequence[int]) -> str:
    """A sentence on classes of very different sizes; "" if they are not. counts: photos of each."""
    order = sorted(range(len(names)), key=lambda k: counts[k])
    least, most = order[0], next(k for k in order if counts[k] == counts[order[-1]])
    if counts[most] < UNBALANCED * counts[least]:
        return ""
    share = 100 * counts[most] / sum(counts)
    return (
        f"The classes are unbalanced: {counts[most]} {names[most]}, {counts[least]} "
        f"{names[least]}. Always answering {names[most]!r} is right for {share:.1f} %, so look at "
        "the accuracy of each class."
    )


SHARES = (0.64, 0.16, 0.20)
VAL_SHARE = 0.1  # of the training photos, where a split is given without val photos


def split(photos: Photos, seed: int, shares=SHARES) -> dict[str, np.ndarray]:
    """Stratified, disjoint train / val / test parts: positions into photos, int64, ascending; or
    the parts that the folder gives, where val is taken from train if it is not given.

    shares are the parts' shares of each class and sum to 1. The same files and seed give the same
    parts, in whatever order the photos and classes are, and whatever `decide` changed: a photo is
    assigned by its folder, so that a label mended moves no other photo. Duplicates come into the
    same part, if that is not given. Raises UserError if a class has fewer than five photos that
    differ, or none in a part.
    """
    if not (len(shares) == len(SPLITS) and min(shares) > 0 and abs(sum(shares) - 1) < 1e-6):
        raise UserError(f"The shares {shares} must be three positive numbers that sum to 1.")
    if photos.given:
        given = np.array([photos.given[file] for file in photos.files])
        found = {part: np.flatnonzero(given == part) for part in SPLITS}
        if not len(found["val"]):
            mine = tuple(one for one in photos.left_out if photos.given.get(one[0]) == "train")
            train = replace(photos.subset(found["train"]), given={}, left_out=mine)
            found |= {part: found["train"][i] for part, i in hold_out_val(train, seed).items()}
    else:
        assigned = _assigned(photos, seed, shares)
        parts = np.array([assigned[photos.duplicates.get(file, file)] for file in photos.files])
        found = {part: np.flatnonzero(parts == part) for part in SPLITS}
    for part in SPLITS:
        without = set(range(len(photos.class_names))) - set(photos.labels[found[part]])
        if without:
            name = photos.class_names[min(without)]
            raise UserError(
                f"Class {name!r} has no {part} photo: add some."
                if photos.given
                else f"Class {name!r} has no {part} photo left by {corrections.NAME}: decide for "
                "fewer, or add photos."
            )
    return found


def hold_out_val(train: Photos, seed: int) -> dict[str, np.ndarray]:
    """The train and val parts of training photos, of which VAL_SHARE goes to val as `split`
    does it: positions into them, int64, ascending.
    """
    parts = split(train, seed, (1 - VAL_SHARE, VAL_SHARE / 2, VAL_SHARE / 2))
    aside = np.sort(np.concatenate([parts["val"], parts["test"]]))
    return {"train": parts["train"], "val": aside}


def _assigned(photos: Photos, seed: int, shares: Sequence[float]) -> dict[str, str]:
    """The part of each photo, or of the first of a group of duplicates."""
    rng = np.random.default_rng(seed)
    if photos.sums:
        decided = [file for file, reason in photos.left_out if reason == corrections.REASON]
        of = {file: photos.folder_classes[file] for file in (*photos.files, *decided)}
    else:  # they come from no folder
        names = (photos.class_names[label] for label in photos.labels)
        of = dict(zip(photos.files, names, strict=True))
    assigned = {}
    for name in sorted(photos.class_names):
        mine = sorted(file for file, folder in of.items() if folder == name)
        mine = [photos.duplicates.get(mine[i], mine[i]) for i in rng.permutation(len(mine))]
        sizes = Counter(mine)
        if len(sizes) < FEWEST:
            kind = "photos" if len(sizes) == len(mine) else "different photos"
            raise UserError(
                f"Class {name!r} has {len(sizes)} {kind} and the split needs {FEWEST}: add photos."
            )
        _assign(sizes, shares, assigned)
    return assigned


def _assign(sizes: Counter, shares: Sequence[float], assigned: dict[str, str]) -> None:
    """Add the part of each group of a class to `assigned`, unless it is there, as one of
    duplicates in another class. sizes: how many photos a group has in this class, in their order.
    """
    total = sum(sizes.values())
    val, test = (max(1, round(share * total)) for share in shares[1:])
    test = min(test, total - 2)  # so that each part gets one
    val = min(val, total - test - 1)
    counts = Counter()
    for group, size in sizes.items():
        fits = (p for p, most in (("test", test), ("val", val)) if counts[p] + size / 2 <= most)
        counts[assigned.setdefault(group, next(fits, "train"))] += size
    for part in SPLITS:
        if not counts[part]:  # large groups left no room
            lists = [[g for g in sizes if assigned[g] == other] for other in SPLITS]
            assigned[max(lists, key=len)[-1]] = part


def folds(
    labels: np.ndarray, count: int, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """A fold number for each photo, int64 (N,), 0 to count - 1: stratified and shuffled by seed.

    groups: int64 (N,), `Photos.groups`; those with the same number come into the same fold. Raises
    UserError for fewer than two folds, and if a class has fewer different photos than folds.
    """
    if count < 2:
        raise UserError(f"Cross-validation cannot have {count} folds: use 2 or more.")
    first = _first(labels, groups)
    is_first = first == np.arange(len(labels))
    if (fewest := smallest_class(labels, groups)) < count:
        kind = "photos" if groups is None else "different photos"
        raise UserError(f"A class has {fewest} {kind}, too few for {count} folds: add photos.")
    rng = np.random.default_rng(seed)
    numbers = np.empty(len(labels), np.int64)
    taken = 0
    for label in dict.fromkeys(labels.tolist()):  # in their order in the photos
        mine = rng.permutation(np.flatnonzero(labels == label))
        mine = mine[is_first[mine]]
        numbers[mine] = (taken + np.arange(len(mine))) % count  # go on where the last class ended
        taken += len(mine)
    return numbers[first]


def smallest_class(labels: np.ndarray, groups: np.ndarray | None = None) -> int:
    """How many different photos the class that has the fewest has. Arguments as of `folds`."""
    is_first = _first(labels, groups) == np.arange(len(labels))
    return int(np.bincount(labels[is_first], minlength=labels.max() + 1).min())


def _first(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The position of the first photo of each photo's group, (N,)."""
    if groups is None:
        return np.arange(len(labels))
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first[inverse]
