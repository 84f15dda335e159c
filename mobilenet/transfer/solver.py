"""The head solved exactly: regularised logistic regression on cached features.

With the backbone frozen, the head alone is an old problem with one best answer (Hastie, Tibshirani
and Friedman, 2009, *The Elements of Statistical Learning*, section 4.4; Bishop, 2006, *Pattern
Recognition and Machine Learning*, section 4.3). For N photos with features x and logits
x·kernel + bias, it minimises

    Σ over photos of the cross-entropy, in nats  +  l2 / 2 · Σ kernel²

This is convex, so that Newton's method, in scikit-learn's `LogisticRegression`, finds the minimum
in a few steps. l2, above 0, is the weight of the L2 penalty, in scikit-learn 1 / C; the bias is not
penalised. The cross-entropy is a sum, so the more photos, the less the penalty counts. The V views
of a photo count 1 / V each, so that it means the same for any number of views.

Features are float (N, channels), or (V, N, channels) of V views, the photo itself first. Labels
are int64 (N,), from 0 to classes - 1; two classes have one logit, which speaks for label 1, and
more have one each, as in `training`. Arithmetic is in float64, all features in memory at once: more
photos than that are for `mobilenet.head`.
"""

import math
import warnings
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mobilenet import UserError
from mobilenet.photos.splits import folds, smallest_class
from mobilenet.system import cache
from mobilenet.system.progress import progress
from mobilenet.transfer.metrics import cross_entropy, probabilities
from mobilenet.transfer.training import build_head

L2_GRID = 10.0 ** np.arange(3, -2.5, -0.5)  # 1000 to 0.01, the strongest first
TOLERANCE = 1e-9  # of the largest entry of the gradient of the mean loss, features scaled to 1
NEWTON_STEPS = 200  # five to ten are enough
LARGE = 5_000_000  # numbers; from here on a bar shows each step

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
    rows, basis, centre, scale = _rotate(_as_views(features, labels, classes))
    weights, bias = _fit(_regression(), rows, labels, l2, scale)
    kernel = weights if basis is None else basis @ weights
    return kernel, bias - centre @ kernel


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
    as many folds as it has. groups: as in `splits.folds`. Raises UserError for fewer than two
    folds or photos in a class, and as `solve` does.
    """
    views = _as_views(features, labels, classes)
    fold = folds(labels, min(count, max(2, smallest_class(labels, groups))), seed, groups)
    rows, _, _, scale = _rotate(views)  # without labels, it is the same for all folds
    losses = np.empty((len(L2_GRID), len(labels)))
    turns = [(k, i) for k in np.unique(fold) for i in range(len(L2_GRID))]
    for k, i in progress(turns, len(turns), "L2 penalties"):
        rest = fold != k
        if i == 0:
            regression = _regression()  # it goes on from the head of the stronger penalty
        weights, bias = _fit(regression, rows[:, rest], labels[rest], L2_GRID[i], scale)
        p = probabilities(scale * rows[0, ~rest] @ weights + bias)
        losses[i, ~rest] = cross_entropy(p, labels[~rest])
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

    The folds are those of `splits.folds`. l2 is chosen anew for each fold, on view 0 of
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


def _as_views(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return features (V, N, channels), after checking that a head can be solved on them."""
    features = np.asanyarray(features)  # what is mapped stays mapped
    views = features if features.ndim == 3 else features[None]
    for view in views:
        if not np.isfinite(view).all():
            raise UserError(
                "Some features are not finite numbers: compute them from the photos again."
            )
        cache.let_go(views)
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise UserError(f"Class {counts.argmin()} has no photo: add some, or leave the class out.")
    return views


def _rotate(views: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, float]:
    """Return the same photos in fewer numbers: (rows, basis, centre, scale), so that
    views = scale · rows · basisᵀ + centre.

    N photos span at most N of the channels' directions. The best kernel lies among these, and a
    rotation leaves Σ kernel² as it was, so that nothing is lost by solving there (Hastie and
    Tibshirani, 2004, *Efficient quadratic regularization for expression arrays*). The bias absorbs
    the centre; with the largest entry 1, one tolerance is for all features. rows: float64 (V, N,
    the smaller of V·N and channels); basis: None where it would save nothing.
    """
    rows = np.array(views, np.float64)
    cache.let_go(views)
    centre = rows.mean(axis=(0, 1))
    rows -= centre
    count, number, channels = rows.shape
    basis = None
    if count * number < channels:
        basis, triangle = np.linalg.qr(rows.reshape(-1, channels).T)
        rows = triangle.T.reshape(count, number, -1)
    scale = np.abs(rows).max(initial=0) or 1.0
    rows /= scale
    return rows, basis, centre, scale


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression  # here, as it takes a second to load

    return LogisticRegression(solver="newton-cg", tol=TOLERANCE, warm_start=True)


def _fit(
    regression: Any, rows: np.ndarray, labels: np.ndarray, l2: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best weights (width, logits) and bias (logits,) for scale · rows (V, N, width),
    from those that the regression found before.
    """
    count, number, width = rows.shape
    photos = rows.reshape(-1, width), np.tile(labels, count), np.full(count * number, 1 / count)
    together = NEWTON_STEPS if rows.size < LARGE else 1
    regression.set_params(C=scale**2 / l2, max_iter=together)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not settled yet
        for _ in progress(range(NEWTON_STEPS // together), None, "Newton steps"):
            regression.fit(*photos)
            if regression.n_iter_.max() < together:
                return regression.coef_.T / scale, regression.intercept_
    raise UserError(f"The head does not settle with an L2 penalty of {l2:g}: use a larger one.")
