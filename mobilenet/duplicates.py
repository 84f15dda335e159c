"""Photos that are there twice: the same bytes, or the same picture saved anew, smaller or lighter.

A photo on both sides of a split rewards memorising. Two photos are
taken for one if few bits of their difference hashes differ (dHash: whether each of 8 × 8 places is
lighter than its neighbour, to the right and below; Krawetz 2013) and, since unlike pictures with
much plain ground can hash alike, if small copies of them correlate, too.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mobilenet.progress import progress

BITS = 128
FARTHEST = 15  # bits that may differ
BANDS = FARTHEST + 1  # of so many stretches of bits at least one is then the same
ALIKE = 0.9  # correlation of the small copies from which on
SMALL = 16  # pixels a side
AT_ONCE = 1 << 20  # comparisons


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What tells a photo, uint8 (size, size, 3), from another: uint8 (16 × 16 + 16,), the levels
    of a small grey copy and the 128 bits of its difference hash.
    """
    grey = Image.fromarray(image).convert("L")
    small = np.asarray(grey.resize((SMALL, SMALL), Image.Resampling.BOX))
    nine = np.asarray(grey.resize((9, 9), Image.Resampling.BOX), np.int16)
    bits = np.concatenate([(np.diff(nine)[:8] > 0).ravel(), (np.diff(nine.T)[:8] > 0).ravel()])
    return np.concatenate([small.ravel(), np.packbits(bits)])


def twins(files: Sequence[str], prints: np.ndarray) -> dict[str, str]:
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
