"""Numbers behind the pictures: where a network looks, what photos resemble, how far to trust it.

Grad-CAM: Selvaraju et al. (2017), *Grad-CAM: Visual Explanations from Deep Networks via
Gradient-Based Localization*, https://arxiv.org/abs/1610.02391. Calibration and temperature: Guo et
al. (2017), *On Calibration of Modern Neural Networks*, https://arxiv.org/abs/1706.04599.
"""

from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.engine import keras, tf
from mobilenet.metrics import cross_entropy, probabilities

TEMPERATURES = np.geomspace(0.05, 20, 241)
USUAL = np.log(2)  # the standard deviation of ln T, as expected before any photo is judged


# --- Where it looks ---


def grad_cam(model: Any, photos: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return how much each position of the last feature map speaks for a class (the paper's
    equations 1 and 2): float32 (N, height, width), the largest of each photo 1, the smallest 0 or
    more; all 0 if nothing speaks for the class.

    model: photos → logits, (B, 1) or (B, K), as `classifier.assemble` makes it. photos: uint8 (N,
    size, size, 3). classes: int64 (N,), the class to explain for each photo. Raises UserError if no
    layer takes a feature map.
    """
    maps = [layer.input for layer in model.layers if len(getattr(layer.input, "shape", ())) == 4]
    if len(maps) < 2:  # the first is the photo
        raise UserError("This model has no feature map to look at: take one with convolutions.")
    below, above = keras.Model(model.input, maps[-1]), keras.Model(maps[-1], model.output)
    heats = []
    for photo, label in zip(photos, classes, strict=True):
        activations = below(tf.constant(photo[None], tf.float32), training=False)
        with tf.GradientTape() as tape:
            tape.watch(activations)
            logits = above(activations, training=False)
            one_logit = logits.shape[1] == 1  # it speaks for label 1, and against label 0
            score = logits[0, 0] * (2 * label - 1) if one_logit else logits[0, label]
        weights = tf.reduce_mean(tape.gradient(score, activations), (1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))[0].numpy()
        heats.append(heat / heat.max() if heat.max() > 0 else heat)
    return np.stack(heats)


# --- What it resembles ---


def similarity(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between features (N, C) and others (M, C): float64 (N, M), in
    [-1, 1].
    """
    one, two = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for x in (np.float64(some), np.float64(others))
    )
    return one @ two.T


def neighbours(some: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most similar of others (M, C) for each of some (N, C), the nearest first:
    positions, int64 (N, count), and cosines, float64 (N, count). Fewer columns if M is below count.
    """
    near = similarity(some, others)
    order = np.argsort(-near, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(near, order, axis=1)


def plane(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Features (N, C) on the plane along which they vary most (principal components, Pearson 1901):
    float64 (N, 2), and the share of the variance that the plane shows, in [0, 1].

    Which way is up is nobody's: an axis points to where its largest entry is above 0.
    """
    centred = np.float64(features) - np.float64(features).mean(axis=0)
    wide = centred.shape[1] > len(centred)
    # The smaller of the two products has all that is asked for: seconds less than the SVD.
    squares, axes = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    lengths, axes = np.sqrt(np.maximum(squares[:-3:-1], 0)), axes[:, :-3:-1]
    points = np.zeros((len(features), 2))
    points[:, : len(lengths)] = axes * lengths if wide else centred @ axes
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    variance = (centred**2).sum()
    share = min(1.0, float((lengths**2).sum() / variance)) if variance > 0 else 1.0
    return points * np.where(largest < 0, -1, 1), share


# --- How far to trust it ---


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
