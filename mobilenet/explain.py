"""Numbers behind the pictures: where a network looks, what photos resemble, how far to trust P.

Grad-CAM is Selvaraju et al. 2017 (arXiv 1610.02391); reliability diagram and temperature are those
of Guo et al. 2017 (arXiv 1706.04599); the Brier score is Brier 1950.
"""

from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.engine import keras, tf
from mobilenet.training import cross_entropy, probabilities

TEMPERATURES = np.geomspace(0.05, 20, 241)
USUAL = np.log(2)  # how far ln T may be expected from 0 before any photo was seen


# --- Where it looks ---


def grad_cam(model: Any, photos: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How much each place of the last feature map speaks for a class (equations 1 and 2).

    model: photos → logits, (B, 1) or (B, K), as `classifier.assemble` makes it. photos: uint8 (N,
    size, size, 3). classes: int64 (N,), the class asked about. Returns float32 (N, height, width),
    the size of the map, each from 0 to 1, all 0 where nothing speaks for the class. Raises
    UserError if no layer takes a feature map.
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
    """Cosine of the angle between features (N, C) and others (M, C): float64 (N, M), -1 to 1."""
    one, two = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for x in (np.float64(some), np.float64(others))
    )
    return one @ two.T


def neighbours(some: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar of others (M, C) for each of some (N, C), the nearest first: positions,
    int64 (N, count), and similarities, float64 (N, count). Fewer columns if others are fewer.
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


# --- How far to trust P ---


class Reliability(NamedTuple):
    """Photos sorted into bins by the P of their likeliest class. counts: int64 (B,). sure: the
    mean P, right: the share right, both float64 (B,), nan where a bin is empty.
    """

    counts: np.ndarray
    sure: np.ndarray
    right: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: how far sure and right are apart, by count, in [0, 1]."""
        some = self.counts > 0
        gap = np.abs(self.sure[some] - self.right[some])
        return float((gap * self.counts[some]).sum() / self.counts.sum())


def reliability(p: np.ndarray, labels: np.ndarray, bins: int = 10) -> Reliability:
    """How often a network is right, by how sure it is. p: P(class), (N, K); labels: (N,)."""
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            counts,
            np.bincount(place, sure, bins) / counts,
            np.bincount(place, right, bins) / counts,
        )


def brier(p: np.ndarray, labels: np.ndarray) -> float:
    """Brier's score: the mean squared distance of P, (N, K), from the truth; 0 is best, 2 worst."""
    return float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1).mean())


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number T to divide logits (N, 1) or (N, K) by, so that these photos, labels (N,), have
    little cross-entropy: above 1, the network was too sure. One of TEMPERATURES.

    Least is the sum of the losses plus (ln T / USUAL)² / 2. Without the second term a few photos
    that all are right would call for T = 0; the more photos, the less it counts.
    """
    losses = [cross_entropy(probabilities(logits / t), labels).sum() for t in TEMPERATURES]
    return float(TEMPERATURES[np.argmin(losses + (np.log(TEMPERATURES) / USUAL) ** 2 / 2)])


class Thresholds(NamedTuple):
    """What comes of calling a photo positive from a threshold on, from the highest to the lowest:
    thresholds, precision, recall, all float64 (T,).
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def thresholds(p: np.ndarray, positive: np.ndarray) -> Thresholds:
    """Precision and recall at each P, (N,), that occurs. positive: bool (N,), whether a photo is.

    Raises UserError if none is.
    """
    if not positive.any():
        raise UserError("None of these photos is positive: recall needs one, so add some.")
    order = np.argsort(-p, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # of equal P all or none
    hits = np.cumsum(positive[order])[last]
    return Thresholds(p[order][last], hits / (last + 1), hits / positive.sum())


def choose_threshold(p: np.ndarray, positive: np.ndarray, recall: float) -> float:
    """The P, in [0, 1], from which on to call a photo positive so that these photos reach at least
    this recall, above 0 and at most 1: with the highest precision, of equals the highest recall.

    p, positive: (N,), of validation photos. It lies midway to the next lower P, since all between
    are the same to these photos. Recall 1 can always be reached. Raises UserError if recall is out
    of range or none of the photos is positive.
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
