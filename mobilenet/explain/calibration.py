"""How far to trust predicted probabilities: reliability, temperature, thresholds.

Calibration and temperature: Guo et al. (2017), *On Calibration of Modern Neural Networks*,
https://arxiv.org/abs/1706.04599.
"""

from typing import NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.transfer.metrics import cross_entropy, probabilities

TEMPERATURES = np.geomspace(0.05, 20, 241)
USUAL = np.log(2)  # the standard deviation of ln T, as expected before any photo is judged


class Reliability(NamedTuple):
    """Predictions in bins by the probability of their likeliest class. counts: int64 (B,). sure:
    the mean of that probability, right: the accuracy, both float64 (B,) in [0, 1], nan where a bin
    is empty.
    """

    counts: np.ndarray
    sure: np.ndarray
    right: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, in [0, 1]: the mean distance of sure from right, each bin
        weighted by its count.
        """
        some = self.counts > 0
        gap = np.abs(self.sure[some] - self.right[some])
        return float((gap * self.counts[some]).sum() / self.counts.sum())


def reliability(p: np.ndarray, labels: np.ndarray, bins: int = 10) -> Reliability:
    """Return accuracy by predicted probability, in bins of equal width.

    p: (N, K), predicted probabilities; labels: int64 (N,), of photos that were not trained on.
    """
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            counts,
            np.bincount(place, sure, bins) / counts,
            np.bincount(place, right, bins) / counts,
        )


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the number T that logits are to be divided by so that their cross-entropy is lowest,
    one of TEMPERATURES. Above 1, the network was overconfident.

    logits: (N, 1) or (N, K); labels: int64 (N,), of photos that were not trained on. Minimised is
    the sum of the losses plus (ln T / USUAL)² / 2. Without the second term, a few photos, all
    classified correctly, would ask for T = 0; the more photos, the less it counts.
    """
    losses = [cross_entropy(probabilities(logits / t), labels).sum() for t in TEMPERATURES]
    return float(TEMPERATURES[np.argmin(losses + (np.log(TEMPERATURES) / USUAL) ** 2 / 2)])


class Thresholds(NamedTuple):
    """Precision and recall at each threshold, the highest threshold first: all float64 (T,), in
    [0, 1].
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def thresholds(p: np.ndarray, positive: np.ndarray) -> Thresholds:
    """Return precision and recall at each threshold that tells photos apart: a photo is called
    positive if its probability is at least the threshold.

    p: (N,), predicted probabilities of the positive class; positive: bool (N,), the truth. Raises
    UserError if no photo is positive.
    """
    if not positive.any():
        raise UserError("None of these photos is positive: recall needs one, so add some.")
    order = np.argsort(-p, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # of equal p all or none
    hits = np.cumsum(positive[order])[last]
    return Thresholds(p[order][last], hits / (last + 1), hits / positive.sum())


def choose_threshold(p: np.ndarray, positive: np.ndarray, recall: float) -> float:
    """Return the threshold, in [0, 1], at which these photos reach the recall with the highest
    precision; of several, the one with the highest recall.

    p, positive: (N,), as in `thresholds`, of photos that were not trained on. recall: above 0, at
    most 1, which can always be reached. The threshold lies midway to the next lower probability,
    since all thresholds between are the same to these photos. Raises UserError if recall is out of
    range or no photo is positive.
    """
    if not 0 < recall <= 1:
        raise UserError(f"A recall of {recall} cannot be had: take one above 0 and at most 1.")
    found = thresholds(p, positive)
    reached = np.flatnonzero(found.recall >= recall)
    order = np.lexsort((found.recall[reached], found.precision[reached]))
    best = reached[order[-1]]
    at, below = found.thresholds[best], np.append(found.thresholds, 0.0)[best + 1]
    middle = (at + below) / 2
    return float(middle if middle > below else at)  # neighbours among the numbers have no middle
