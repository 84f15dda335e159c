"""The head solved exactly: regularised logistic regression on cached features.

With the backbone frozen, the head alone is an old problem with one best answer (Hastie, Tibshirani
and Friedman, 2009, *The Elements of Statistical Learning*, section 4.4; Bishop, 2006, *Pattern
Recognition and Machine Learning*, section 4.3). For N photos with features x and logits
x·kernel + bias, it minimises

    Σ over photos of the cross-entropy, in nats  +  l2 / 2 · Σ kernel²

This is convex, so that Newton's method finds the minimum in a few steps. l2, above 0, is the
weight of the L2 penalty, in scikit-learn 1 / C; the bias is not penalised. The cross-entropy is a
sum, so the more photos, the less the penalty counts. The V views of a photo count 1 / V each, so
that it means the same for any number of views.

Features are float (N, channels), or (V, N, channels) of V views, the photo itself first. Labels
are int64 (N,), from 0 to classes - 1; two classes have one logit, which speaks for label 1, and
more have one each, as in `training`. Arithmetic is in float64. Many features are converted a few
rows at a time, so that a file of them need not fit into memory.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mobilenet import UserError, cache
from mobilenet.metrics import cross_entropy, probabilities
from mobilenet.progress import progress
from mobilenet.training import build_head, folds, smallest_class

L2_GRID = 10.0 ** np.arange(3, -2.5, -0.5)  # 1000 to 0.01, the strongest first
TOLERANCE = 1e-10  # of the gradient's length, as a share of the longest possible one
NEWTON_STEPS = 100  # five to ten are enough
CG_STEPS = 1000  # a hundred are enough
AT_ONCE = 400_000_000  # bytes of float64 features; more are converted anew for each product
ROWS = 1024  # converted or checked together, so that a processor's cache holds them

# Products of this size gain nothing from threads, and the threads wait for each other thousands of
# times: on a machine that is also doing something else, that takes many times as long.
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


@one_thread
def solve(
    features: np.ndarray, labels: np.ndarray, classes: int, l2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best head for these photos: kernel, float64 (channels, logits), and bias, float64
    (logits,).

    Raises UserError for an l2 that is not above 0, features that are not finite, and a class
    without a photo.
    """
    if not 0 < l2 < math.inf:
        raise UserError(f"The L2 penalty cannot be {l2}: use a number above 0.")
    rows, basis, centre = _rotate(_as_views(features, labels, classes))
    steps = progress(range(NEWTON_STEPS), None, "Newton steps")
    weights = np.zeros((rows.width, _logits(classes)))
    weights = _newton(rows, labels, l2, weights, steps)
    return _turn_back(weights, basis, centre)


def solved_head(kernel: np.ndarray, bias: np.ndarray) -> Any:
    """Return a Keras head, as `training.build_head` makes it, with these weights, in float32."""
    head = build_head(len(kernel), max(2, len(bias)), dropout=0.0, seed=0)
    head.get_layer("logits").set_weights([kernel, bias])
    return head


@one_thread
def held_out_losses(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    count: int = 5,
    seed: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mean loss of held-out photos for each of L2_GRID: cross-entropy in nats, float64
    (11,).

    Each of `count` folds is judged by heads that were solved on all views of the other folds; of
    the judged photos, view 0 counts. If the smallest class has fewer photos than `count`, there are
    as many folds as it has. groups: as in `training.folds`. Raises UserError for fewer than two
    folds or photos in a class, and as `solve` does.
    """
    views = _as_views(features, labels, classes)
    fold = folds(labels, min(count, max(2, smallest_class(labels, groups))), seed, groups)
    rows, _, _ = _rotate(views)  # it ignores labels and changes no result: once for all folds
    losses = np.empty((len(L2_GRID), len(labels)))
    turns = [(k, i) for k in np.unique(fold) for i in range(len(L2_GRID))]
    for k, i in progress(turns, len(turns), "L2 penalties"):
        rest = fold != k
        if i == 0:
            train, own = rows.take(np.flatnonzero(rest)), rows.take(np.flatnonzero(~rest), 1)
            weights = np.zeros((rows.width, _logits(classes)))
        weights = _newton(train, labels[rest], L2_GRID[i], weights)  # from the stronger's
        losses[i, ~rest] = cross_entropy(probabilities(own.times(weights)), labels[~rest])
    return losses.mean(axis=1)


def choose_l2(features: np.ndarray, labels: np.ndarray, classes: int, **division: Any) -> float:
    """Return the one of L2_GRID with the lowest of `held_out_losses`, of equals the strongest.

    division: count, seed and groups, as there.
    """
    losses = held_out_losses(features, labels, classes, **division)
    return float(L2_GRID[losses.argmin()])


@one_thread
def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    *,
    count: int = 5,
    seed: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return predicted probabilities of each photo by a head that was solved on all views of the
    other folds: float64 (N, K).

    The folds are those of `training.folds`. l2 is chosen anew for each fold, on view 0 of
    the photos that its head is solved on: the photos that judge have no say in it.
    """
    views = _as_views(features, labels, classes)
    fold = folds(labels, count, seed, groups)
    groups = np.arange(len(labels)) if groups is None else groups
    p = np.empty((len(labels), classes))
    for k in range(count):
        rest = fold != k
        division = {"count": count, "seed": seed, "groups": groups[rest]}
        l2 = choose_l2(views[0, rest], labels[rest], classes, **division)
        kernel, bias = solve(views[:, rest], labels[rest], classes, l2)
        p[~rest] = probabilities(views[0, ~rest] @ kernel + bias)
    return p


def _logits(classes: int) -> int:
    return 1 if classes == 2 else classes


class _Rows:
    """Photos as rows of float64, minus the centre and with a one at the end for the bias.

    views: float (V, N, channels), index: positions of the photos to use. Each row is one view of
    one photo, view by view. Rows are made once if AT_ONCE holds them, else for each product.
    """

    def __init__(self, views: np.ndarray, index: np.ndarray, centre: np.ndarray):
        self.views, self.index, self.centre = views, index, centre
        self.count, self.width = len(views), views.shape[2] + 1
        self.made = None
        if self.count * len(index) * self.width * 8 <= AT_ONCE:
            self.made = np.concatenate([block for _, block in self.blocks()])

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield stretches of the rows: their places, and they, float64 (…, channels + 1)."""
        if self.made is not None:
            yield slice(None), self.made
            return
        for v in range(self.count):
            for i in range(0, len(self.index), ROWS):
                some = self.views[v, self.index[i : i + ROWS]]
                cache.let_go(self.views)
                block = np.ones((len(some), self.width))
                np.subtract(some, self.centre, out=block[:, :-1])
                start = v * len(self.index) + i
                yield slice(start, start + len(some)), block

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Return rows · weights: float64 (rows, logits)."""
        return np.concatenate([block @ weights for _, block in self.blocks()])

    def take(self, index: np.ndarray, count: int | None = None) -> "_Rows":
        """Return the photos at these positions, with all their views or the first `count`."""
        return _Rows(self.views[:count], self.index[index], self.centre)


def _as_views(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return features (V, N, channels), after checking that a head can be solved on them."""
    features = np.asanyarray(features)  # what is mapped stays mapped
    views = features if features.ndim == 3 else features[None]
    for view in views:
        for i in range(0, len(view), ROWS):
            if not np.isfinite(view[i : i + ROWS]).all():
                raise UserError(
                    "Some features are not finite numbers: compute them from the photos again."
                )
        cache.let_go(views)
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise UserError(f"Class {counts.argmin()} has no photo: add some, or leave the class out.")
    return views


def _rotate(views: np.ndarray) -> tuple[_Rows, np.ndarray | None, np.ndarray]:
    """Return the same photos in fewer numbers: (rows, basis, centre), so that
    views = rows · basisᵀ + centre.

    N photos span at most N of the channels' directions. The best kernel lies among these, and a
    rotation leaves Σ kernel² as it was, so that nothing is lost by solving there (Hastie and
    Tibshirani, 2004, *Efficient quadratic regularization for expression arrays*). The bias absorbs
    the centre. rows: of min(V·N, channels) numbers; basis: None where it would save nothing.
    """
    count, number, channels = views.shape
    everyone = np.arange(number)
    rows = _Rows(views, everyone, np.zeros(channels))
    centre = sum(block.sum(axis=0) for _, block in rows.blocks())[:-1] / (count * number)
    if count * number >= channels:
        return _Rows(views, everyone, centre), None, centre
    flat = views.reshape(-1, channels) - centre
    basis, triangle = np.linalg.qr(flat.T)
    flat = triangle.T.reshape(count, number, -1)
    return _Rows(flat, everyone, np.zeros(flat.shape[2])), basis, centre


def _turn_back(
    weights: np.ndarray, basis: np.ndarray | None, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias for the features as they were before `_rotate`."""
    kernel = weights[:-1] if basis is None else basis @ weights[:-1]
    return kernel, weights[-1] - centre @ kernel


def _newton(
    rows: _Rows,
    labels: np.ndarray,
    l2: float,
    weights: np.ndarray,
    steps: Iterable[int] = range(NEWTON_STEPS),
) -> np.ndarray:
    """Return the best weights (width, logits) for rows, from a first guess: Newton steps by
    conjugate gradients, halved until the objective falls (Nocedal and Wright, 2006, *Numerical
    Optimization*, algorithm 7.1).
    """
    share, logits = 1 / rows.count, weights.shape[1]
    hot = np.tile(np.eye(max(2, logits), dtype=bool)[labels], (rows.count, 1))
    constant = np.zeros((len(hot), int(logits == 1)))  # the first of two classes'
    penalty = np.full((len(weights), 1), float(l2))
    penalty[-1] = 0  # of the bias

    def objective(z: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective at logits z, and their probabilities."""
        every = np.concatenate([constant, z], axis=1)
        whole = np.logaddexp.reduce(every, axis=1, keepdims=True)
        loss = share * (whole[:, 0] - every[hot]).sum() + (penalty * weights**2).sum() / 2
        return loss, np.exp(every - whole)[:, -logits:]

    z = rows.times(weights)
    value, p = objective(z, weights)
    longest = share * sum(np.linalg.norm(x, axis=1).sum() for _, x in rows.blocks())
    for _ in steps:
        wrong = p - hot[:, -logits:]
        gradient = share * sum(x.T @ wrong[some] for some, x in rows.blocks()) + penalty * weights
        length = np.linalg.norm(gradient)
        if length <= TOLERANCE * longest:
            return weights

        def curvature(direction: np.ndarray, p: np.ndarray = p) -> np.ndarray:
            """Return Hessian · direction; the Hessian is never built (Bishop, 2006, 4.110)."""
            turned = np.zeros_like(direction)
            for some, x in rows.blocks():  # converted once for both products
                u = p[some] * (x @ direction)
                turned += x.T @ (u - p[some] * u.sum(axis=1, keepdims=True))
            return share * turned + penalty * direction

        rough = min(0.1, math.sqrt(length / longest))  # far from the minimum, a rough step will do
        step = _conjugate_gradients(curvature, -gradient, rough * length)
        along, slope = rows.times(step), (gradient * step).sum()
        for size in 0.5 ** np.arange(30):
            new, p = objective(z + size * along, weights + size * step)
            # At the very end, the remaining gain is smaller than rounding.
            if new <= value + 1e-4 * size * slope + 1e-12 * value:
                break
        z, weights, value = z + size * along, weights + size * step, new
    raise UserError(f"The head does not settle with an L2 penalty of {l2:g}: use a larger one.")


def _conjugate_gradients(product: Any, right: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the answer of product(answer) = right, up to a residual of length tolerance."""
    answer, left = np.zeros_like(right), right
    direction, square = left, (left**2).sum()
    for _ in range(CG_STEPS):
        turned = product(direction)
        size = square / (direction * turned).sum()
        answer, left = answer + size * direction, left - size * turned
        square, before = (left**2).sum(), square
        if square <= tolerance**2:
            break
        direction = left + square / before * direction
    return answer
