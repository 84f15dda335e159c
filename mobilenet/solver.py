"""The head found to the end: logistic regression on cached features, solved instead of trained.

With the backbone frozen, the head alone is an old problem with one best answer (Hastie, Tibshirani
and Friedman 2009, section 4.4; Bishop 2006, section 4.3). Of N photos with features x and logits
x·kernel + bias it is the least of

    Σ over photos of the cross-entropy, in nats  +  strength / 2 · Σ kernel²

which is convex, so that whoever goes downhill for long enough gets there, and Newton's method in a
few steps. strength, above 0, is the weight of the L2 penalty (scikit-learn's 1 / C); the bias is
not penalised. The cross-entropy is a sum: more photos outweigh the penalty. The V views of a photo
count 1 / V each, so a strength means the same for any number of views.

Features are float (N, channels), or (V, N, channels) of V views, the photo itself first. Labels
are int64 (N,), from 0 to classes - 1; two classes have one logit, which speaks for class 0, and
more have one each, as in `training`. All is computed in float64.
"""

import math
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mobilenet import UserError
from mobilenet.training import build_head, cross_entropy, folds, probabilities, smallest_class

STRENGTHS = 10.0 ** np.arange(3, -2.5, -0.5)  # 1000 to 0.01, the strongest first
TOLERANCE = 1e-10  # of the gradient's length, as a share of the longest that it could have
NEWTON_STEPS = 100  # five to ten are enough
CG_STEPS = 1000  # a hundred are enough

# Products of this size gain nothing by threads, and thousands of times one waits for the other:
# on a machine that does something else, too, that takes many times as long.
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


@one_thread
def solve(
    features: np.ndarray, labels: np.ndarray, classes: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """The best head for these photos: kernel, float64 (channels, logits), and bias, (logits,).

    Raises UserError for a strength that is not above 0, features that are not finite, and a class
    without a photo.
    """
    if not 0 < strength < math.inf:
        raise UserError(f"The strength cannot be {strength}: use a number above 0.")
    views = _as_views(features, labels, classes)
    rows, basis, centre = _rotate(views)
    weights = _newton(rows, labels, strength, np.zeros((rows.shape[2], _logits(classes))))
    return _turn_back(weights, basis, centre)


@one_thread
def descend(
    features: np.ndarray, labels: np.ndarray, classes: int, strength: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The head after so many steps of gradient descent from 0 on what `solve` solves, all photos at
    every step: kernel and bias, as `solve`. It has momentum, and lets go of it where that leads
    uphill (Nesterov 1983; O'Donoghue and Candès 2015, "Adaptive restart").
    """
    views = _as_views(features, labels, classes)
    rows, basis, centre = _rotate(views)
    x, share = rows.reshape(-1, rows.shape[2]).copy(), 1 / len(rows)
    hot = np.tile(np.eye(classes)[labels], (len(rows), 1))
    # Its column made as long as the others together, the bias is not what is waited for.
    stretch = max(1.0, np.linalg.norm(x[:, :-1], 2) / math.sqrt(len(x)))
    x[:, -1] = stretch
    # No direction bends more than this: p (1 − p) is 1/4 at the most, with more classes 1/2.
    steepest = strength + share * np.linalg.norm(x, 2) ** 2 / (4 if classes == 2 else 2)
    weights = ahead = np.zeros((x.shape[1], _logits(classes)))
    penalty = np.full((len(weights), 1), float(strength))
    penalty[-1] = 0  # of the bias
    age = 0
    for _ in range(steps):
        wrong = (probabilities(x @ ahead) - hot)[:, : weights.shape[1]]
        gradient = share * (x.T @ wrong) + penalty * ahead
        new = ahead - gradient / steepest
        age = 0 if (gradient * (new - weights)).sum() > 0 else age + 1
        weights, ahead = new, new + age / (age + 3) * (new - weights)
    weights[-1] *= stretch
    return _turn_back(weights, basis, centre)


def objective(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    strength: float,
    head: tuple[np.ndarray, np.ndarray],
) -> float:
    """What `solve` makes least, in nats, at a head: its kernel and bias."""
    views, (kernel, bias) = _as_views(features, labels, classes), head
    losses = [cross_entropy(probabilities(view @ kernel + bias), labels).sum() for view in views]
    return float(np.mean(losses) + strength / 2 * (kernel**2).sum())


def solved_head(kernel: np.ndarray, bias: np.ndarray) -> Any:
    """A Keras head, as of `training.build_head`, that holds what `solve` found, in float32."""
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
    """Mean cross-entropy in nats of photos held out, float64 (11,): one for each of STRENGTHS.

    Each of `count` folds (as many as the smallest class has photos, if that is fewer) is judged, by
    the photos as they are, with heads solved on all views of the others. groups: as in
    `training.folds`. Raises UserError for fewer than two folds or photos in a class, and as `solve`
    does.
    """
    views = _as_views(features, labels, classes)
    fold = folds(labels, min(count, max(2, smallest_class(labels, groups))), seed, groups)
    rows, _, _ = _rotate(views)  # blind to labels and changes no answer, so once for all folds
    losses = np.empty((len(STRENGTHS), len(labels)))
    for k in np.unique(fold):
        rest = fold != k
        train, own = rows[:, rest], rows[0, ~rest]
        weights = np.zeros((rows.shape[2], _logits(classes)))
        for i, strength in enumerate(STRENGTHS):  # each starts from the stronger one's answer
            weights = _newton(train, labels[rest], strength, weights)
            losses[i, ~rest] = cross_entropy(probabilities(own @ weights), labels[~rest])
    return losses.mean(axis=1)


def choose_strength(
    features: np.ndarray, labels: np.ndarray, classes: int, **dealing: Any
) -> float:
    """The one of STRENGTHS with the lowest of `held_out_losses`, of equals the strongest.

    dealing: count, seed and groups, as there.
    """
    losses = held_out_losses(features, labels, classes, **dealing)
    return float(STRENGTHS[losses.argmin()])


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
    """P(class) of each photo by a head solved on all views of the other folds: float64 (N, K).

    As `training.cross_validate`, on the same folds. The strength is chosen anew for each fold,
    among the photos that its head is solved on, as they are: the photos that judge have no say.
    """
    views = _as_views(features, labels, classes)
    fold = folds(labels, count, seed, groups)
    groups = np.arange(len(labels)) if groups is None else groups
    p = np.empty((len(labels), classes))
    for k in range(count):
        rest = fold != k
        dealing = {"count": count, "seed": seed, "groups": groups[rest]}
        strength = choose_strength(views[0, rest], labels[rest], classes, **dealing)
        kernel, bias = solve(views[:, rest], labels[rest], classes, strength)
        p[~rest] = probabilities(views[0, ~rest] @ kernel + bias)
    return p


def _logits(classes: int) -> int:
    return 1 if classes == 2 else classes


def _as_views(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Features float64 (V, N, channels), once it is sure that a head can be solved on them."""
    views = np.asarray(features, np.float64)
    views = views if views.ndim == 3 else views[None]
    if not np.isfinite(views).all():
        raise UserError("Some features are not finite numbers: compute them from the photos again.")
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise UserError(f"Class {counts.argmin()} has no photo: add some, or leave the class out.")
    return views


def _rotate(views: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The same photos in fewer numbers: (rows, basis, centre), views = rows · basisᵀ + centre.

    N photos span at most N of the channels' directions. The best kernel lies among these, and a
    rotation leaves Σ kernel² as it was, so that nothing is lost by solving there (Hastie and
    Tibshirani 2004, "Efficient quadratic regularization for expression arrays"). The bias takes up
    the centre. rows: (V, N, min(V·N, channels) + 1), the last a column of ones for the bias;
    basis: None where it would save nothing.
    """
    flat = views.reshape(-1, views.shape[2])
    centre, basis = flat.mean(axis=0), None
    flat = flat - centre
    if len(flat) < flat.shape[1]:
        basis, triangle = np.linalg.qr(flat.T)
        flat = triangle.T
    rows = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
    return rows.reshape(*views.shape[:2], -1), basis, centre


def _turn_back(
    weights: np.ndarray, basis: np.ndarray | None, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias for the features as they were before `_rotate`."""
    kernel = weights[:-1] if basis is None else basis @ weights[:-1]
    return kernel, weights[-1] - centre @ kernel


def _newton(
    rows: np.ndarray, labels: np.ndarray, strength: float, weights: np.ndarray
) -> np.ndarray:
    """The best weights (width, logits) for rows (V, N, width), from a first guess: Newton steps by
    conjugate gradients, halved until the objective falls (Nocedal and Wright 2006, algorithm 7.1).
    """
    share, x, logits = 1 / len(rows), rows.reshape(-1, rows.shape[2]), weights.shape[1]
    hot = np.tile(np.eye(max(2, logits), dtype=bool)[labels], (len(rows), 1))
    constant = np.zeros((len(x), int(logits == 1)))  # the second of two classes'
    penalty = np.full((len(weights), 1), float(strength))
    penalty[-1] = 0  # of the bias

    def objective(z: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective at logits z, and the probabilities that the logits stand for."""
        every = np.concatenate([z, constant], axis=1)
        whole = np.logaddexp.reduce(every, axis=1, keepdims=True)
        loss = share * (whole[:, 0] - every[hot]).sum() + (penalty * weights**2).sum() / 2
        return loss, np.exp(every - whole)[:, :logits]

    z = x @ weights
    value, p = objective(z, weights)
    longest = share * np.linalg.norm(x, axis=1).sum()
    for _ in range(NEWTON_STEPS):
        gradient = share * (x.T @ (p - hot[:, :logits])) + penalty * weights
        length = np.linalg.norm(gradient)
        if length <= TOLERANCE * longest:
            return weights

        def curvature(direction: np.ndarray, p: np.ndarray = p) -> np.ndarray:
            """The Hessian's product with a direction, never written out (Bishop 2006, 4.110)."""
            u = p * (x @ direction)
            u = u - p * u.sum(axis=1, keepdims=True)
            return share * (x.T @ u) + penalty * direction

        rough = min(0.1, math.sqrt(length / longest))  # far from the end, a rough step does
        step = _conjugate_gradients(curvature, -gradient, rough * length)
        along, slope = x @ step, (gradient * step).sum()
        for size in 0.5 ** np.arange(30):
            new, p = objective(z + size * along, weights + size * step)
            # At the very end all that is left to gain is less than rounding.
            if new <= value + 1e-4 * size * slope + 1e-12 * value:
                break
        z, weights, value = z + size * along, weights + size * step, new
    raise UserError(f"The head does not settle at strength {strength:g}: use a larger one.")


def _conjugate_gradients(product: Any, right: np.ndarray, tolerance: float) -> np.ndarray:
    """Solves product(answer) = right until no more than tolerance is left (Hestenes, Stiefel)."""
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
