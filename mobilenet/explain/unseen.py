"""Whether a photo is unlike all known photos, so that its predicted probability means little.

A network that knows two classes calls a teapot one of them, often with a high probability. But no
known photo has features like the teapot's: the cosine distance to the nearest one is large. This is
the method of Sun et al. (2022), *Out-of-Distribution Detection with Deep Nearest Neighbors*,
https://arxiv.org/abs/2204.06507, with one neighbour. The limit comes from the known photos: about
5 % of them are farther than that from the nearest other one. It is the rank of conformal
prediction: a new photo like the known ones is marked with a probability of about 5 %.

Features are those of the frozen backbone, pooled, because the head and fine-tuning learned to tell
the classes apart and nothing else. The method was chosen on 300 photos of things and 53 validation
photos, by the area under the ROC curve (1 is best, 0.5 is a coin toss): nearest neighbour 0.997;
third and fifth nearest 0.998; Mahalanobis distance to the nearest class's mean 0.975 (Lee et al.,
2018, https://arxiv.org/abs/1807.03888); relative Mahalanobis distance 0.972 (Ren et al., 2021,
https://arxiv.org/abs/2106.09022); energy of the head's logits (Liu et al., 2020,
https://arxiv.org/abs/2010.03759) and the largest logit 0.53.

Measured once, on other photos, with ImageNet weights at 256 px and 262 known photos: 4 of 65 test
photos are marked, and of photos of neither class 45 of 46 things and places, but only 14 of 26
animals. An emu looks much like an ostrich, so a missing mark proves nothing.
"""

import math
from typing import NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.explain.neighbours import similarity
from mobilenet.transfer.metrics import Result

BLOCK = 512  # photos whose distances to all known ones are in memory at once
ALARMS = 0.05  # share of photos like the known ones that may be marked
# A photo nearer than this share of the usual distance to the tenth nearest (with fewer than 100
# photos: the N/10th) counts as a copy: mirrored, turned a little, saved again. If copies counted,
# known photos would seem nearer to each other than a new one can be. Few photos have ten copies.
SAME, TENTH = 0.5, 10
SAMPLE = 500  # photos that this usual distance is measured on
ROUNDING = 1e-9  # a smaller distance counts as none


class Known(NamedTuple):
    """The known photos. features: (N, C), of the frozen backbone. limit: a cosine distance, in
    [0, 2]; a photo farther than that from all of them is unlike them.
    """

    features: np.ndarray
    limit: float


def fit(photos: np.ndarray) -> Known:
    """Return training and validation photos, given as features (N, C), with the limit beyond which
    about ALARMS of new photos like them lie. With fewer than 39 photos it is the largest distance
    among them, and about one new photo in N + 1 lies beyond it.

    Raises UserError for fewer than two photos.
    """
    count = len(photos)
    if count < 2:
        raise UserError("One photo does not tell what others are like: use two or more.")
    some = photos[np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)]
    tenth = max(1, min(TENTH, count // 10))  # the nearest is the photo itself
    usual = np.median(np.partition(1 - similarity(some, photos), tenth, axis=1)[:, tenth])
    same = max(SAME * float(usual), ROUNDING)  # so that a photo itself is left out, too
    distances = np.sort(_nearest(photos, photos, same))
    rank = min(count, math.ceil((1 - ALARMS) * (count + 1)))
    return Known(photos, float(distances[rank - 1]))


def distance(known: Known, photos: np.ndarray) -> np.ndarray:
    """Return the cosine distance of photos, given as features (M, C), to the nearest known photo:
    float64 (M,), in [0, 2]. It works in blocks: 5,000 photos against 5,000 take tens of megabytes.
    """
    return _nearest(photos, known.features)


def unseen(known: Known, photos: np.ndarray) -> np.ndarray:
    """Return whether photos, given as features (M, C), are unlike all known ones: bool (M,)."""
    return distance(known, photos) > known.limit + ROUNDING


def told(flags: np.ndarray) -> str:
    """Return the count of flags, bool (N,), with its 95 % interval: "3 of 65 (4.6 %, …)"."""
    result = Result(int(flags.sum()), len(flags))
    share, interval = result.share(), result.percent()
    return f"{result.correct} of {result.total} ({share}, 95 % interval {interval})"


def _nearest(some: np.ndarray, others: np.ndarray, same: float = 0.0) -> np.ndarray:
    """Return the distance of each of some to the nearest of others that is at least `same` away, or
    2 if there is none: float64 (N,).
    """
    others = np.float64(others)
    found = [np.zeros(0)]
    for start in range(0, len(some), BLOCK):
        apart = np.maximum(1 - similarity(some[start : start + BLOCK], others), 0)
        apart[apart < same] = 2
        found.append(apart.min(axis=1))
    return np.concatenate(found)
