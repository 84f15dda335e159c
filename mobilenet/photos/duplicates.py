"""Photos that are there twice: the same bytes, or the same picture saved anew, smaller or lighter.

A photo on both sides of a split rewards memorising. Two photos are
taken for one if few bits of their difference hashes differ (dHash: whether each of 8 × 8 places is
lighter than its neighbour, to the right and below; Krawetz 2013) and, since unlike pictures with
much plain ground can hash alike, if small copies of them correlate, too.

A camera that does not move makes photos that are all alike by this measure. Of such photos two are
taken for one if what they have beyond what all of their class show is alike: someone who walks by,
or the noise of one exposure.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from mobilenet.system.progress import progress

BITS = 128
FARTHEST = 15  # bits that may differ
BANDS = FARTHEST + 1  # of so many stretches of bits at least one is then the same
ALIKE = 0.9  # correlation of the small copies from which on
SMALL = 16  # pixels a side
AT_ONCE = 1 << 20  # comparisons
FINE = 112  # pixels a side of the copies that are compared where all photos are alike
AROUND = 3  # so many of them on each side make the light of a place
BEYOND = 0.5  # correlation from which on: few frames of other moments reach it, most copies do
MOST = 2000  # photos of one place; among more, only those with the same pixels are found


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What tells a photo, uint8 (size, size, 3), from another: uint8 (16 × 16 + 16,), the levels
    of a small grey copy and the 128 bits of its difference hash.
    """
    grey = Image.fromarray(image).convert("L")
    small = np.asarray(grey.resize((SMALL, SMALL), Image.Resampling.BOX))
    nine = np.asarray(grey.resize((9, 9), Image.Resampling.BOX), np.int16)
    bits = np.concatenate([(np.diff(nine)[:8] > 0).ravel(), (np.diff(nine.T)[:8] > 0).ravel()])
    return np.concatenate([small.ravel(), np.packbits(bits)])


def find(files: Sequence[str], prints: np.ndarray) -> dict[str, str]:
    """Of each file that is there more than once: the first of its kind, by name.

    prints: uint8 (N, 272), the files' fingerprints. Sameness is handed on: what is like a photo
    that is like a third is of one kind with both.
    """
    kinds, inverse = np.unique(prints, axis=0, return_inverse=True)
    members = {}
    for file, kind in zip(files, _joined(kinds)[inverse.ravel()].tolist(), strict=True):
        members.setdefault(kind, []).append(file)
    return {file: min(some) for some in members.values() if len(some) > 1 for file in some}


def _joined(prints: np.ndarray) -> np.ndarray:
    """A number for each of some fingerprints, no two equal: the same for those of one picture."""
    bits = np.ascontiguousarray(prints[:, SMALL * SMALL :])
    words, number = bits.view(np.uint64).T.copy(), np.arange(len(prints))
    for band in progress(bits.T, BANDS, "Same pictures"):  # a byte, BITS / BANDS bits
        order = np.argsort(band, kind="stable")
        for some in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            step = max(1, AT_ONCE // len(some))
            for rows in np.split(some, range(step, len(some), step)):
                # A word at a time, since a sum over an axis of two takes most of the time.
                apart = sum(np.bitwise_count(word[rows, None] ^ word[some]) for word in words)
                near = apart <= FARTHEST
                for k in np.flatnonzero(near.sum(axis=1) > 1):
                    others = some[near[k]]
                    others = others[number[others] != number[rows[k]]]
                    copies = _normal(prints[[rows[k], *others], : SMALL * SMALL])
                    alike = others[copies[1:] @ copies[0] >= ALIKE * SMALL * SMALL]
                    if len(alike):
                        one = np.append(number[alike], number[rows[k]])
                        number[np.isin(number, one)] = one.min()
    return number


def _normal(copies: np.ndarray) -> np.ndarray:
    """Small copies (N, 256) with mean 0 and spread 1, but for one of a single colour, which is like
    its equals alone.
    """
    levels = copies - copies.mean(axis=1, keepdims=True, dtype=np.float32)
    spread = levels.std(axis=1, keepdims=True)
    return levels / np.where(spread < 1, np.inf, spread)


# --- Photos of a camera that does not move ---


def apart(
    found: dict[str, str],
    files: Sequence[str],
    labels: np.ndarray,
    images: Sequence[np.ndarray],
    fewest: int,
) -> tuple[dict[str, str], frozenset[str]]:
    """The duplicates without those that share no more than the place, and the files of such photos.

    found: as `find` finds them among all these files, with labels (N,) and images uint8 (size,
    size, 3). Photos that are alike are of one place if they are `fewest` or more and either more
    than half of all photos, or in a class that has fewer than `fewest` different ones.
    """
    firsts = [found.get(file, file) for file in files]
    if not found:
        return found, frozenset()
    _, group = np.unique(firsts, return_inverse=True)
    few = [k for k in np.unique(labels) if len(np.unique(group[labels == k])) < fewest]
    left, frames = dict(found), []
    for one in np.flatnonzero(np.bincount(group) >= fewest):
        some = np.flatnonzero(group == one)
        if 2 * len(some) <= len(files) and not np.isin(labels[some], few).any():
            continue
        number = _beyond_the_place(images, some, labels)
        if number.any():
            frames += [files[i] for i in some]
            for kind in np.unique(number):
                same = [files[i] for i in some[number == kind]]
                for file in same:
                    left.pop(file, None)
                left |= dict.fromkeys(same, min(same)) if len(same) > 1 else {}
    return left, frozenset(frames)


def words(count: int) -> list[str]:
    """What to say of so many photos of one place: a sentence, of none nothing."""
    if not count:
        return []
    return [
        f"{count} photos look alike, as from a camera that does not move: of these only those with "
        f"{'the same pixels' if count > MOST else 'hardly a difference'} count as the same "
        "picture, so photos of one moment may lie on both sides of the split, and the accuracy "
        "may be lower on another day or at another place."
    ]


def _beyond_the_place(
    images: Sequence[np.ndarray], some: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """A number for each of some photos of one place, by position, the same for copies of one
    picture; the first has 0.
    """
    sums = {}
    number = np.array(
        [sums.setdefault(hashlib.sha256(images[i]).digest(), k) for k, i in enumerate(some)]
    )
    first = np.unique(number)
    if len(first) == 1 or len(first) > MOST:
        return number
    rest = np.stack([_without_light(images[i]).ravel() for i in some[first]])
    for label in np.unique(labels[some[first]]):
        mine = labels[some[first]] == label
        rest[mine] -= np.median(rest[mine], axis=0)
    rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)
    copies = number.copy()
    for i, alike in zip(first, rest @ rest.T >= BEYOND, strict=True):
        same = np.isin(copies, copies[first[alike]])
        copies[same] = copies[same].min(initial=copies[i])
    # What most of them share is the place, too.
    return number if 2 * np.bincount(copies).max() > len(some) else copies


def _without_light(image: np.ndarray) -> np.ndarray:
    """A photo, grey, FINE × FINE, without what the light of the hour does to each place of it: the
    mean around it is 0, the spread 1.
    """
    small = Image.fromarray(image).convert("L").resize((FINE, FINE), Image.Resampling.BOX)
    levels = np.asarray(small, np.float32)
    levels = levels - _mean_around(levels)
    return levels / np.sqrt(_mean_around(levels**2) + 1)


def _mean_around(levels: np.ndarray) -> np.ndarray:
    padded, side = np.pad(levels, AROUND, mode="reflect"), 2 * AROUND + 1
    rows = sliding_window_view(padded, side, axis=0).mean(axis=-1)
    return sliding_window_view(rows, side, axis=1).mean(axis=-1)
