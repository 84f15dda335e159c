"""Logistic regression in a few passes over more features than memory holds.

A pass over the photos takes time, arithmetic in between nearly none, so that what is bought dearly
in `solve` is few passes: curvature that is known roughly, and corrected by what the last passes saw
(L-BFGS: Nocedal and Wright 2006, algorithm 7.4).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.system.progress import progress

ROWS = 4096  # photos in a block; three or so are in memory at a time
PASSES = 200  # at the most; 10 to 80 are enough
CLOSE = 1e-5  # how far the kernel may be from the best, at the most
REFRESH = 8  # passes after which the curvature is looked at anew
MATRICES = 200_000_000  # bytes of curvature, a matrix a class; else one for all
ENOUGH = 16  # photos for each feature, that with more classes than two decide on a curvature
SIZES = np.array([1, 0.5, 0.25, 0.1, 0.03, 0.01, 0.003, 0.001])  # of a step, looked at together
ROUNDING = 1e-12  # of the objective
# Begins a pass: features, float (n, channels), and labels, int64 (n,), a block at a time.
Rows = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]


class Solved(NamedTuple):
    """A head: kernel, float64 (channels, logits), bias, (logits,), passes it took, and about how
    far the kernel is from the best at the most (√Σ of squared differences).
    """

    kernel: np.ndarray
    bias: np.ndarray
    passes: int
    distance: float


class _Look(NamedTuple):
    """What a pass sees: the objective at each of SIZES of a step, and after the whole step the
    gradient and, if asked for, the curvature: one matrix or one for each logit.
    """

    values: np.ndarray
    gradient: np.ndarray
    matrices: np.ndarray | None


def solve(
    rows: Rows,
    count: int,
    centre: np.ndarray,
    classes: int,
    l2: float,
    first: tuple[np.ndarray, np.ndarray],
) -> Solved:
    """The head that `solver.solve` finds, for photos that are read a pass at a time.

    rows gives all `count` photos each time it is called; centre: their mean, float64 (channels,);
    first: kernel and bias of a first guess. The objective bends at least by l2, so that
    the gradient's length over l2 bounds the distance to the best. It ends where that is
    below CLOSE, or after PASSES passes.
    """
    width, logits = len(centre) + 1, 1 if classes == 2 else classes
    look = _looking(rows, count, centre, classes, l2)
    weights, value = np.zeros((width, logits)), count * np.log(classes)
    step = _level(np.concatenate([first[0], (first[1] + centre @ first[0])[None]]))
    inverses, pairs, gradient, age, distance = None, [], None, 0, np.inf
    numbers = progress(range(1, PASSES + 1), None, f"Passes over {count:,} photos")
    for passes in numbers:
        curved = logits == 1 or inverses is None or age >= REFRESH
        seen = look(weights, step, curved, passes)
        gains, age = value - seen.values, age + 1
        if gains[0] < gains.max() / 10 - ROUNDING * abs(value):
            step = SIZES[gains.argmax()] * step
            continue
        if gradient is not None and (step * (seen.gradient - gradient)).sum() > 0:  # but rounding
            pairs.append((step, seen.gradient - gradient))
        weights, value, gradient = weights + step, seen.values[0], seen.gradient
        if (distance := np.linalg.norm(gradient) / l2) <= CLOSE:
            break
        if curved:
            inverses, pairs, age = [np.linalg.inv(one) for one in seen.matrices], [], 0
        step = -_downhill(gradient, pairs, inverses)
    numbers.close()
    kernel = weights[:-1]
    return Solved(kernel, weights[-1] - centre @ kernel, passes, float(distance))


def _looking(rows: Rows, count: int, centre: np.ndarray, classes: int, l2: float) -> Any:
    """A function that makes a pass: (weights, step, whether to see the curvature, number of the
    pass) → _Look.
    """
    width, logits = len(centre) + 1, 1 if classes == 2 else classes
    penalty = np.full((width, 1), float(l2))
    penalty[-1] = 0  # of the bias
    each = logits * width * width * 8 <= MATRICES

    def look(weights: np.ndarray, step: np.ndarray, curved: bool, number: int) -> _Look:
        values = np.array([(penalty * (weights + t * step) ** 2).sum() / 2 for t in SIZES])
        gradient, matrices, seen = penalty * (weights + step), None, 0
        if curved:
            floor = np.where(penalty > 0, penalty, 1e-6 * l2)  # no matrix is singular
            matrices = np.tile(np.diag(floor[:, 0]), (logits if each else 1, 1, 1))
            sums = np.zeros(len(matrices))
        blocks = progress(rows(), -(-count // ROWS), f"Pass {number} over {count:,} photos")
        for features, labels in blocks:
            x = np.ones((len(labels), width))
            np.subtract(features, centre, out=x[:, :-1])
            at, along = np.split(x @ np.concatenate([weights, step], axis=1), 2, axis=1)
            mine = np.arange(len(labels)), labels
            for i, t in reversed(list(enumerate(SIZES))):  # the whole step last: its p is kept
                z = np.zeros((len(labels), classes))  # the first of two classes' stays
                z[:, -logits:] = at + t * along
                z -= z.max(axis=1, keepdims=True)
                p = np.exp(z)
                whole = p.sum(axis=1, keepdims=True)
                values[i] += np.log(whole).sum() - z[mine].sum()
            p /= whole
            seen += len(labels)
            if curved:
                bent = (p * (1 - p))[:, -logits:]
                bent = bent if each else bent.mean(axis=1, keepdims=True)
                sums += bent.sum(axis=0)
                for k, matrix in enumerate(matrices):
                    least = sums[k] / seen * count / (ENOUGH * width)
                    weight = bent[:, k] if logits == 1 else _thinned(bent[:, k], least)
                    some = np.flatnonzero(weight)
                    y = np.sqrt(weight[some, None]) * x[some]
                    matrix += y.T @ y
            p[mine] -= 1
            gradient += x.T @ p[:, -logits:]
        if seen != count:
            raise UserError("The parts changed while they were read: run this again.")
        return _Look(values, gradient, matrices)

    return look


def _thinned(weights: np.ndarray, least: float) -> np.ndarray:
    """Weights (n,) of about the same sum, none of them between 0 and `least`: of those that are
    below it every so many-th gets `least`, by their running sum.
    """
    small = weights < least
    ticks = np.floor(np.cumsum(np.where(small, weights, 0)) / max(least, 1e-300) + 0.5)
    return np.where(small, least * np.diff(ticks, prepend=0), weights)


def _downhill(gradient: np.ndarray, pairs: Sequence, inverses: Sequence) -> np.ndarray:
    """The gradient over the curvature, as the inverses have it and the pairs correct it."""
    left, shares = gradient, []
    for step, change in reversed(pairs):
        shares.append((step * left).sum() / (step * change).sum())
        left = left - shares[-1] * change
    # A number added to all logits changes no answer, so nothing is to be done in that direction.
    left = _level(left)
    columns = [inverses[k % len(inverses)] @ column for k, column in enumerate(left.T)]
    direction = _level(np.stack(columns, axis=1))
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        rate = (change * direction).sum() / (step * change).sum()
        direction = direction + (share - rate) * step
    return direction


def _level(weights: np.ndarray) -> np.ndarray:
    """Weights (width, logits) less their mean over the logits, unless there is but one."""
    return weights if weights.shape[1] == 1 else weights - weights.mean(axis=1, keepdims=True)
