"""Losses, probabilities, counts of right answers, and how sure a count makes us.

Nothing here needs TensorFlow. Labels are positions in class_names.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mobilenet.photos.photos import Photos

NAMED = 6  # classes in a line


@dataclass
class History:
    """What happened at each epoch; entry 0 is the network before training (no training loss yet).

    loss: mean cross-entropy in nats. accuracy: share in [0, 1]. best: the epoch whose weights the
    network has now, the one with the lowest loss on the validation photos.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    best: int = 0
    seconds: float = 0.0


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, float64 (N, 2) or (N, K), from logits (N, 1) or (N, K); of one
    logit, column 1 is its sigmoid.
    """
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Loss of each photo in nats, (N,): −ln of the probability (N, K) of its label (N,)."""
    return -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-15))


def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Interval for a share, from a count of successes (Wilson 1927); z = 1.96 gives 95 %.

    Returns (low, high), both in [0, 1]. Raises ValueError unless 0 <= correct <= total and
    total > 0.
    """
    if not 0 <= correct <= total or total <= 0:
        raise ValueError(f"{correct} of {total} is no share")
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return min(low, share), max(high, share)  # at 0 and 1 rounding would leave the share outside


def sign_test(gained: int, lost: int) -> float:
    """Two-sided p of the sign test (McNemar's exact test for paired answers), in (0, 1].

    gained, lost: photos that only the second, only the first of two classifiers got right.
    """
    total = gained + lost
    tail = sum(math.comb(total, i) for i in range(min(gained, lost) + 1)) / 2**total
    return min(1.0, 2 * tail)


@dataclass(frozen=True)
class Result:
    """How many photos were classified right, of how many, and the 95 % interval of the share."""

    correct: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval, as shares in [0, 1]."""
        return wilson_interval(self.correct, self.total)

    def entry(self, prefix: str = "") -> dict[str, Any]:
        """For a scoreboard: {prefix}correct, {prefix}total and interval."""
        interval = [round(share, 4) for share in self.interval]
        return {
            f"{prefix}correct": self.correct,
            f"{prefix}total": self.total,
            "interval": interval,
        }

    def share(self) -> str:
        """The share that is right, in words: "96.0 %"."""
        return f"{100 * self.correct / self.total:.1f} %"

    def percent(self) -> str:
        """The interval in words: "89.5 to 98.9 %"."""
        low, high = (100 * share for share in self.interval)
        return f"{low:.1f} to {high:.1f} %"

    def __str__(self) -> str:
        share, interval = self.share(), self.percent()
        return f"{self.correct} of {self.total} right ({share}, 95 % interval {interval})"


def count_right(p: np.ndarray, labels: np.ndarray) -> Result:
    """Count the photos whose likeliest class, by p (N, K), is their label (N,)."""
    return Result(int((p.argmax(axis=1) == labels).sum()), len(labels))


def balanced_accuracy(p: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the classes' recalls, in [0, 1]: the share of each class's photos whose likeliest
    class, by p (N, K), it is. Classes without photos do not count.
    """
    counts = confusion(p, labels)
    there = counts.sum(axis=1) > 0
    return float((counts.diagonal()[there] / counts.sum(axis=1)[there]).mean())


def by_class(p: np.ndarray, photos: Photos) -> str:
    """How many photos of each class are right, by p (N, K), and the balanced accuracy, in a line;
    of more than NAMED classes those with the lowest recall.
    """
    counts, names = confusion(p, photos.labels), photos.class_names
    right, of = counts.diagonal(), counts.sum(axis=1)
    there = np.flatnonzero(of)
    some = there
    if len(there) > NAMED:
        some = there[np.argsort(right[there] / of[there], kind="stable")][:NAMED]
    told = ", ".join(_of(f"{right[k]} of {of[k]}", names[k]) for k in some)
    more = f", and {len(there) - len(some)} classes with no lower share" * (len(some) < len(there))
    mean = f"{100 * balanced_accuracy(p, photos.labels):.1f} %"
    return f"right by class: {told}{more}; balanced accuracy, their mean: {mean}"


def _of(count: str, name: str) -> str:
    """A count of a class: "3 of 4 cat", or "7: 3 of 4" where the name is a number."""
    return f"{name}: {count}" if name.isdecimal() else f"{count} {name}"


def confusion(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts, int64 (K, K): rows what the photos are, columns what p (N, K) calls them."""
    counts = np.zeros((p.shape[1], p.shape[1]), np.int64)
    np.add.at(counts, (labels, p.argmax(axis=1)), 1)
    return counts


def doubts(p: np.ndarray, labels: np.ndarray, count: int = 18) -> np.ndarray:
    """Return the positions of the `count` photos whose label is doubted most, the most doubted
    first: int64 (count,), fewer if there are fewer photos.

    p: (N, K), predicted probabilities by a network that has not learned from the photo, as
    `solver.cross_validate` gives them; labels: int64 (N,). Photos are sorted by the probability of
    their label, the lowest first, which is the order of the loss, the highest first. It is the
    "self-confidence" of Northcutt, Jiang and Chuang (2021), *Confident Learning: Estimating
    Uncertainty in Dataset Labels*, https://arxiv.org/abs/1911.00068.
    """
    return np.argsort(p[np.arange(len(labels)), labels], kind="stable")[:count]
