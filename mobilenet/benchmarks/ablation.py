"""An ablation: what each step is worth, in five folds of the training and validation photos.

The photos are those of the notebooks, and so is their split; the test photos are not looked at, so
a choice made by this table was not made by them. Every way is judged on the same folds, divided
anew as often as `--repeats` says (the usual recipe once, as it takes longest), no epoch is
chosen on the photos that judge, and an L2 penalty only among those that train. Seconds count from
decoded photos to one network, trained on four fifths of the photos, passes through the frozen
blocks included.
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np

from mobilenet import BATCH, BUILD
from mobilenet.benchmarks import links, recipe
from mobilenet.networks import backbone, folding, mobilenets, pretrained
from mobilenet.photos import loading as photo_files
from mobilenet.photos import splits
from mobilenet.photos.photos import Photos
from mobilenet.system.engine import keras, tf
from mobilenet.system.files import write_json
from mobilenet.transfer import augmentation, features, metrics, solver, training

SEED = 0  # of the split and the views
FOLDS = 5
VIEWS = 5
AUGMENTATION = {"flip": True, "rotation": 15, "zoom": 0.15}
HEAD = {"epochs": 60, "learning_rate": 3e-3}
DROPOUT = 0.2
MAXIMUM = 0.3  # weight of the maxima beside the means, which are several times smaller
CUT = "block_13_expand"
EPOCHS, RATE = 4, 5e-5  # of fine-tuning
TUNINGS = {"fine-tuned": RATE, "fine-tuned, a tenth of the rate": RATE / 10}


class Way(NamedTuple):
    """A way to a network. answer: (positions of photos that train, of photos asked about, seed) →
    P(class) of the latter, float64 (N, K). seconds: what it takes before, for all photos.
    """

    name: str
    answer: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    seconds: float = 0.0
    repeats: int | None = None  # if fewer than the others


def judge(
    way: Way, labels: np.ndarray, repeats: int, groups: np.ndarray | None = None
) -> dict[str, Any]:
    """Right of how many with the interval, in the first folds; in each; mean loss; seconds."""
    right, losses, seconds = [], [], []
    for seed in range(way.repeats or repeats):
        fold = splits.folds(labels, FOLDS, seed, groups)
        p = np.empty((len(labels), labels.max() + 1))
        for k in range(FOLDS):
            start = time.perf_counter()
            p[fold == k] = way.answer(np.flatnonzero(fold != k), np.flatnonzero(fold == k), seed)
            seconds.append(time.perf_counter() - start)
        right.append(metrics.count_right(p, labels))
        losses.append(float(metrics.cross_entropy(p, labels).mean()))
    return {
        "way": way.name,
        **right[0].entry(),
        "repeats": [one.correct for one in right],
        "loss": mean(losses),
        "seconds": way.seconds + median(seconds),
    }


def pooled(network: Any, images: Any, maps: np.ndarray) -> tuple[np.ndarray, float]:
    """Views of photos through the whole backbone, which maps (V, N, 8) make: the means of each
    channel over the positions, then the maxima, float32 (V, N, 2 · channels); and the seconds.
    """
    folded = folding.fold(network.model)

    @tf.function
    def forward(photos, maps):
        result = folded(mobilenets.preprocess(augmentation.change(photos, maps)), training=False)
        return tf.concat([tf.reduce_mean(result, (1, 2)), tf.reduce_max(result, (1, 2))], axis=1)

    start, rows = time.perf_counter(), []
    for view in maps:
        for i in range(0, len(images), BATCH):
            batch = slice(i, i + BATCH)
            rows.append(forward(tf.constant(images[batch]), tf.constant(view[batch])))
    rows = np.concatenate(rows)
    return rows.reshape(*maps.shape[:2], -1), time.perf_counter() - start


def mirror(maps: np.ndarray, size: int) -> np.ndarray:
    """The maps (V, N, 8) of the views' mirror images."""
    mirrored = maps.copy()
    for row in (0, 3):  # a photo's column x comes from size - 1 - x
        mirrored[..., row + 2] += (size - 1) * maps[..., row]
        mirrored[..., row] = -maps[..., row]
    return mirrored


def trained(x: np.ndarray, labels: np.ndarray) -> Callable:
    """The head of notebook 3, trained on views x (V, N, C)."""

    def answer(rest: np.ndarray, own: np.ndarray, seed: int) -> np.ndarray:
        head = training.build_head(x.shape[2], int(labels.max()) + 1, DROPOUT, seed)
        training.fit(head, x[:, rest], labels[rest], **HEAD, seed=seed)
        return metrics.probabilities(training.predict_logits(head, x[0, own]))

    return answer


def solve(x: np.ndarray, labels: np.ndarray, rest: np.ndarray, seed: int) -> tuple:
    """Kernel and bias of the head solved on views x (V, N, C) of these photos."""
    some, classes = labels[rest], labels.max() + 1
    l2 = solver.choose_l2(x[0, rest], some, classes, seed=seed)
    return solver.solve(x[:, rest], some, classes, l2)


def solved(x: np.ndarray, labels: np.ndarray, asked: Sequence[np.ndarray] = ()) -> Callable:
    """The head solved on views x (V, N, C); it is asked about the first view, or about all of
    asked, each (N, C), whose logits are averaged.
    """

    def answer(rest: np.ndarray, own: np.ndarray, seed: int) -> np.ndarray:
        kernel, bias = solve(x, labels, rest, seed)
        logits = [one[own] @ kernel + bias for one in asked or x[:1]]
        return metrics.probabilities(np.mean(logits, axis=0))

    return answer


def tuned(
    network: Any, x: np.ndarray, at_cut: np.ndarray, labels: np.ndarray, rate: float
) -> Callable:
    """Blocks above the cut fine-tuned on at_cut (V, N, …), from the head solved on x (V, N, C)."""

    def answer(rest: np.ndarray, own: np.ndarray, seed: int) -> np.ndarray:
        head = solver.solved_head(*solve(x, labels, rest, seed))
        top = training.build_top(network, CUT, head, DROPOUT)
        about = {"epochs": EPOCHS, "learning_rate": rate, "seed": seed}
        training.fit(top, at_cut[:, rest], labels[rest], **about)
        return metrics.probabilities(training.predict_logits(top, at_cut[0, own]))

    return answer


def usual(folder: Path, photos: Photos) -> Callable:
    """The usual recipe, photos read anew for every epoch; those asked about choose nothing."""
    # What Keras and TensorFlow have to say of the recipe is known.
    tf.get_logger().setLevel("ERROR")
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")

    def answer(rest: np.ndarray, own: np.ndarray, seed: int) -> np.ndarray:
        keras.utils.set_random_seed(seed)
        with tempfile.TemporaryDirectory(prefix="gains-", dir=BUILD) as place:
            for part, index in (("train", rest), ("val", own)):
                for i in index:
                    old = folder / photos.files[i]
                    new = Path(place, part, photos.class_names[photos.labels[i]], f"{i:06}")
                    new.parent.mkdir(parents=True, exist_ok=True)
                    links.place(old, new)
            parts = {part: recipe.read(Path(place), part) for part in ("train", "val")}
            model, base = recipe.train_head(pretrained.find_weights(), parts)
            recipe.fine_tune(model, base, parts, recipe.FINE_TUNE_AT)
            logits = model.predict(parts["val"], verbose=0)
        return metrics.probabilities(-logits)  # it numbers the folders the other way round

    return answer


def ways(folder: Path, photos: Photos) -> Iterator[Way]:
    """The ways of the table. photos: those that are judged, of any size; they are read anew."""
    labels = photos.labels
    if len(photos.class_names) == 2:
        yield Way("the usual recipe, 160 px, squeezed", usual(folder, photos), repeats=1)
    for size in (160, 224, 256):
        network = backbone.load(size=size)
        every = photo_files.load_photos(folder, size)
        some = every.subset(np.flatnonzero(np.isin(every.files, photos.files)))
        maps = augmentation.view_maps(some.images, VIEWS, SEED, **AUGMENTATION)
        photo, seconds = pooled(network, some.images, maps[:1])
        means = photo[..., : network.channels]
        if size == 160:
            yield Way("cropped, the head of notebook 3", trained(means, labels), seconds)
        yield Way(f"the head solved, {size} px", solved(means, labels), seconds)
    views, seconds = pooled(network, some.images, maps)
    means = views[..., : network.channels]
    yield Way(f"{VIEWS} views", solved(means, labels), seconds)
    both = np.concatenate([means, MAXIMUM * views[..., network.channels :]], axis=2)
    yield Way("maxima beside the means", solved(both, labels), seconds)
    mirrored, more = pooled(network, some.images, mirror(maps[:1], size))
    asked = means[0], mirrored[0, :, : network.channels]
    yield Way("asked mirrored, too", solved(means, labels, asked), seconds + more)
    # Not timed: notebook 4 has what is at the cut out of the same pass.
    at_cut = features.view_activations(network, some.images, CUT, VIEWS, SEED, **AUGMENTATION)
    for name, rate in TUNINGS.items():
        yield Way(name, tuned(network, means, at_cut, labels, rate), seconds)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| | right | 95 % interval | other folds | loss | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (100 * share for share in row["interval"])
        lines.append(
            f"| {row['way']} | {row['correct']} of {row['total']} | {low:.1f} to {high:.1f} % | "
            f"{', '.join(map(str, row['repeats'][1:])) or '–'} | {row['loss']:.3f} | "
            f"{row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def gains(repeats: int, out: Path) -> int:
    """Judge all ways, print and write the table; returns the exit code."""
    folder, which = photo_files.find_folder()
    photos = photo_files.load_photos(folder, 32)  # small: only to divide them
    parts = splits.split(photos, SEED)
    photos = photos.subset(np.sort(np.concatenate([parts["train"], parts["val"]])))
    print(f"{which} {len(photos)} photos of training and validation.", flush=True)
    rows = []
    for way in ways(folder, photos):
        rows.append(judge(way, photos.labels, repeats, photos.groups))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
        write_json(out, {"photos": len(photos), "repeats": repeats, "rows": rows})
    print(f"\n{table(rows)}")
    return 0
