"""Photos that are there twice: the same bytes, or the same picture saved anew, smaller or lighter.

A photo on both sides of a split is a question whose answer was learned by heart. Two photos are
taken for one if few bits of their difference hashes differ (dHash: whether each of 8 × 8 places is
lighter than its neighbour, to the right and below; Krawetz 2013) and, since flat pictures all hash
alike, if they also look alike as pictures of 16 × 16.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image

BITS = 128
FARTHEST = 15  # bits that may differ
BANDS = FARTHEST + 1  # of so many stretches of bits at least one is then the same
APART = 20.0  # levels of 255, the root of the mean square, by which small pictures may differ
SMALL = 16


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What tells a photo, uint8 (size, size, 3), from another: uint8 (16 × 16 + 16,), the levels
    of a small grey picture and the 128 bits of its difference hash.
    """
    grey = Image.fromarray(image).convert("L")
    small = np.asarray(grey.resize((SMALL, SMALL), Image.Resampling.BOX))
    nine = np.asarray(grey.resize((9, 9), Image.Resampling.BOX), np.int16)
    bits = np.concatenate([(np.diff(nine)[:8] > 0).ravel(), (np.diff(nine.T)[:8] > 0).ravel()])
    return np.concatenate([small.ravel(), np.packbits(bits)])


def groups(sums: Sequence[str], prints: np.ndarray) -> np.ndarray:
    """A number for each photo, int64 (N,): the position of the first that it is the same as.

    sums: the sha256 of each file, "" if not known. prints: uint8 (N, 272), their fingerprints.
    Sameness is handed on: what is like a photo that is like a third is in its group.
    """
    first = list(range(len(prints)))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    def join(i: int, j: int) -> None:
        one, two = sorted((root(i), root(j)))
        first[two] = one

    seen: dict[str, int] = {}
    for i, sum_ in enumerate(sums):
        if sum_:
            join(seen.setdefault(sum_, i), i)
    small = prints[:, : SMALL * SMALL].astype(np.float32)
    bits = np.unpackbits(prints[:, SMALL * SMALL :], axis=1)
    for band in np.array_split(np.arange(BITS), BANDS):
        alike = defaultdict(list)
        for i, key in enumerate(map(bytes, np.packbits(bits[:, band], axis=1))):
            alike[key].append(i)
        for some in alike.values():
            for k, i in enumerate(some[:-1]):
                others = np.array(some[k + 1 :])
                near = (bits[others] != bits[i]).sum(axis=1) <= FARTHEST
                others = others[near]
                apart = np.sqrt(((small[others] - small[i]) ** 2).mean(axis=1))
                for j in others[apart <= APART]:
                    join(i, int(j))
    return np.array([root(i) for i in range(len(first))], np.int64)
