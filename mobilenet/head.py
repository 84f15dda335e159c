"""The head solved on any number of photos: features in parts, read anew for each look at them.

    python -m mobilenet.head DIR [--out MODEL]

DIR holds what `mobilenet.extract` made of photos in class folders. What is solved is the problem of
`solver`, on all photos, in memory that their number does not change: of them only a sample is held,
those with the smallest sha256, a fair sample and the same in any order. On it the L2 penalty is
chosen and an estimate made. The objective is a sum over photos plus a penalty that does not grow
with them, so it means the same for a sample and for all. What `review.decide` wrote down is
applied. Saved is a whole model, photo to probabilities. Needs pyarrow (requirements-cluster.txt).

A pass over the photos takes time, arithmetic in between nearly none, so that what is bought dearly
in `solve` is few passes: curvature that is known roughly, and corrected by what the last passes saw
(L-BFGS: Nocedal and Wright 2006, algorithm 7.4).
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilenet import BUILD, UserError, parts, review
from mobilenet.command import Parser, run
from mobilenet.files import try_out
from mobilenet.folders import part_called
from mobilenet.photos import FEWEST, ordered
from mobilenet.progress import ahead, progress

MODEL = BUILD / "features_head.keras"
SAMPLE = 20_000_000  # bytes of float64 features: some minutes of folds with ten classes
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


# --- Photos in parts ---


class Labelled(NamedTuple):
    """What one pass says of the photos in parts: class names, how many photos, the mean of their
    features, float64 (channels,); and the sample: features, float32 (n, channels), labels, int64
    (n,), and sha256, (n,); and what `review` changes: sha256 → label, −1 to leave out.
    """

    class_names: tuple[str, ...]
    count: int
    centre: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    sums: np.ndarray
    decided: dict[str, int]


def survey(out: Path, channels: int) -> Labelled:
    """Look at all photos in a folder's parts once. Raises UserError unless each has a label and
    finite features of so many channels, and there are two classes or more, of FEWEST photos each.
    """
    names = _class_names(out)
    most = SAMPLE // ((channels + 1) * 8)
    count, total, decided = 0, np.zeros(channels), {}
    features, labels = np.empty((0, channels), np.float32), np.empty(0, np.int64)
    sums = np.empty(0, "S64")
    blocks = _blocks(out, names, channels, ["sha256"])
    for new, given, texts in progress(blocks, None, f"Sample: blocks of {ROWS:,} photos"):
        if not np.isfinite(new).all():
            raise UserError(
                f"Some features in {out} are not finite numbers: delete the folder and run "
                "`python -m mobilenet.extract` again."
            )
        own = review.apply(texts, given, names)
        decided |= {texts[i]: int(own[i]) for i in np.flatnonzero(own != given)}
        good = own >= 0
        count, total = count + int(good.sum()), total + new[good].sum(axis=0, dtype=np.float64)
        labels = np.concatenate([labels, own[good]])
        sums = np.concatenate([sums, np.array(texts, "S64")[good]])
        kept = _smallest(sums, labels, most)
        features = np.concatenate([features, new[good]])[kept]
        labels, sums = labels[kept], sums[kept]
    for k, name in enumerate(names):
        if (found := len(np.unique(sums[labels == k]))) < FEWEST:
            raise UserError(
                f"Class {name!r} has {found} different photos and five folds need {FEWEST}: add "
                "photos and run `python -m mobilenet.extract` again."
            )
    return Labelled(names, count, total / count, features, labels, sums, decided)


def _class_names(out: Path) -> tuple[str, ...]:
    """The labels of all photos in a folder's parts, as `photos.ordered` has them."""
    names = set()
    for batch in progress(parts.batches(out, ["label"]), None, "Labels: parts"):
        names.update(batch.column("label").unique().to_pylist())
    if None in names:
        raise UserError(
            f"{out} holds photos without a label: put each into a folder of its class, and run "
            "`python -m mobilenet.extract` again."
        )
    if all(map(part_called, names)) and len(names) > 1:
        raise UserError(
            f"{out} holds photos with the labels {', '.join(sorted(names))}, which are no classes: "
            "put the photos of each class into a folder of its name, and run "
            "`python -m mobilenet.extract` again."
        )
    if len(names) < 2:
        found = f"photos of one class, {min(names)!r}," if names else "no photos"
        raise UserError(f"{out} holds {found} and a head needs two classes or more: add photos.")
    return ordered(names)


def _smallest(sums: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Positions of the photos to sample, by sha256 and label: those with the smallest sha256, and
    FEWEST of each class.
    """
    order = np.lexsort((labels, sums))
    chosen = np.arange(len(order)) < most
    for k in np.unique(labels):
        mine = np.flatnonzero(labels[order] == k)
        different = np.unique(sums[order[mine]], return_index=True)[1]
        chosen[mine[different[:FEWEST]]] = True
    return order[chosen]


def read(out: Path, labelled: Labelled) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All photos in a folder's parts, as `solve` wants them, read ahead by a thread."""
    also = ["sha256"] if labelled.decided else []
    blocks = _blocks(out, labelled.class_names, len(labelled.centre), also)
    for features, labels, texts in blocks:
        for i, text in enumerate(texts):
            labels[i] = labelled.decided.get(text, labels[i])
        good = labels >= 0
        yield (features, labels) if good.all() else (features[good], labels[good])


def _blocks(
    out: Path, names: Sequence[str], channels: int, also: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """ROWS photos at a time: features, float32 (n, channels), labels by their folders, int64 (n,),
    and their sha256 if that is asked for.
    """
    pa = parts.arrow()
    index = {name: k for k, name in enumerate(names)}

    def made() -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
        waiting, number = [], 0
        for batch in itertools.chain(parts.batches(out, ["label", "features", *also]), [None]):
            if batch is not None and len(batch):
                waiting.append(batch)
                number += len(batch)
            if waiting and (batch is None or number >= ROWS):
                yield block(waiting)
                waiting, number = [], 0

    def block(batches: list[Any]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        kind = pa.list_(pa.float32(), channels)
        if any(not batch.schema.field("features").type.equals(kind) for batch in batches):
            raise UserError(f"{out} holds features of other backbones: {parts.AGAIN}.")
        features = np.concatenate([parts.array_of(batch) for batch in batches])
        texts = [batch.column("label").to_pylist() for batch in batches]
        labels = [index.get(text, -2) for text in itertools.chain(*texts)]
        if -2 in labels:
            raise UserError("The parts changed while they were read: run this again.")
        sums = [batch.column(name).to_pylist() for batch in batches for name in also]
        return features, np.array(labels, np.int64), list(itertools.chain(*sums))

    blocks = made()
    for one in ahead(next, itertools.repeat((blocks, None)), 1):
        if one is None:
            return
        yield one


# --- The command ---


def head(out: Path, model: Path) -> Iterator[str]:
    """Solve the head on a folder's parts and save it with its backbone; yields lines that say what
    came out. Raises UserError if there are no such parts or the backbone is not the same.
    """
    if model.suffix != ".keras":
        raise UserError(f"{model} is no name for a model: let it end in .keras.")
    parts.arrow()
    said = parts.read_about(out)
    if not said.get("complete"):  # what an ended run left may be there twice
        raise UserError(
            f"{out} does not hold all features: let `python -m mobilenet.extract` run to its end."
        )
    about = said["backbone"]
    try_out(model)  # now, not after hours
    from mobilenet import backbone as backbones  # TensorFlow takes seconds: not to refuse
    from mobilenet import classifier, solver
    from mobilenet.metrics import count_right

    backbone = backbones.load(about["alpha"], about["size"], about["weights"])
    if backbone.fingerprint != about["fingerprint"]:
        raise UserError(
            f"The backbone that made {out} is not here: run `python -m mobilenet.extract` again, "
            "into another folder."
        )
    labelled = survey(out, backbone.channels)
    classes, sample = len(labelled.class_names), (labelled.features, labelled.labels)
    groups = np.unique(labelled.sums, return_inverse=True)[1]
    l2 = solver.choose_l2(*sample, classes, seed=0, groups=groups)
    p = solver.cross_validate(*sample, classes, seed=0, groups=groups)
    right = count_right(p, labelled.labels)
    first = solver.solve(*sample, classes, l2)
    solved = solve(lambda: read(out, labelled), labelled.count, labelled.centre, classes, l2, first)
    whole = classifier.assemble(backbone, solver.solved_head(solved.kernel, solved.bias))
    facts = {"photos": labelled.count, "l2": l2, "passes": solved.passes, "part": "all"}
    whole_sample = (
        len(labelled.labels) == labelled.count
    )  # else the digests of a sample alone are known
    if whole_sample and (said := classifier.digests([one.decode() for one in labelled.sums])):
        facts["learned"] = {"train": said}
    classifier.save(model, whole, labelled.class_names, **facts, **right.entry("folds_"))
    photos = f"{labelled.count:,} photos of {classes} classes"
    yield f"{photos}, L2 penalty {l2:g}; passes over them to solve the head: {solved.passes}."
    if solved.distance > CLOSE:
        yield (
            f"The head did not settle: its kernel may be {solved.distance:.1g} from the best, and "
            f"{CLOSE:g} was to be reached."
        )
    of = (
        ""
        if len(labelled.labels) == labelled.count
        else " of a sample, each by a head that it alone made"
    )
    yield f"In five folds{of}: {right}."
    yield f"Saved: {model}."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser("python -m mobilenet.head", "Solve the head on features that extract made.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="what mobilenet.extract made")
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, default=MODEL, help=f"default: build/{MODEL.name}"
    )
    options = parser.parse_args(arguments)
    return run(lambda: _tell(options.folder, options.out))


def _tell(folder: Path, model: Path) -> int:
    for line in head(folder, model):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
