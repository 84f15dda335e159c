"""One measured run, in a process of its own: what `mobilenet.bench` starts, times and compares.

    python -m mobilenet.benchmarks.one_run same FOLDER SEED

FOLDER holds train, val and test, each with the class folders. What is found is told in lines of
JSON on standard output: after the first run how many test photos were right, of how many, and the
peak memory in MB; then a re-run a line, in seconds, what running the notebook's cell again costs.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilenet import BATCH
from mobilenet.networks import cost
from mobilenet.system import command, measuring
from mobilenet.system.measuring import peak_memory

PRODUCT = 2048  # rows and columns of the matrices whose product shows the processor's peak
ANSWERS = 100  # photos asked about at once
MODEL = "model.keras"  # what commands are asked with, beside the photos
KEPT = "cache"  # the folder in which a run keeps photos and activations
STEPS = 4  # batches of 32 in an epoch of the training step that is timed
NEW_LAYER = 100  # the usual recipe's other cut; FINE_TUNE_AT is its first


class Knobs(NamedTuple):
    """The knobs of notebook 4. The cuts are the blocks that hold layers 120 and 100 of the usual
    recipe: a whole block is trained where it trains a part of one, and never less than it trains.
    """

    size: int = 256  # px
    cut: str = "block_13_expand"
    new_cut: str = "block_11_expand"
    epochs: int = 4
    learning_rate: float = 5e-5
    head_epochs: int = 60
    head_learning_rate: float = 3e-3
    dropout: float = 0.2
    views: int = 5
    flip: bool = True
    rotation: float = 15
    zoom: float = 0.15

    def augmentation(self) -> dict[str, Any]:
        """How a view may differ from its photo."""
        return {"flip": self.flip, "rotation": self.rotation, "zoom": self.zoom}


KNOBS = {"same": Knobs(size=160, epochs=5, learning_rate=1e-4, head_epochs=5), "defaults": Knobs()}
MANY = Knobs(size=96)  # of tens of thousands of photos


def report(**found: Any) -> None:
    """Tell the process that measures what was found, JSON values by name."""
    print(json.dumps(found), flush=True)


def again(stage: str, cell: Callable[[], Any]) -> None:
    """Run a cell once more and report the seconds."""
    start = time.perf_counter()
    cell()
    report(**{stage: time.perf_counter() - start})


def usual(folder: Path, seed: int) -> None:
    """The usual recipe."""
    from mobilenet.benchmarks import recipe
    from mobilenet.networks import pretrained
    from mobilenet.system.engine import keras

    keras.utils.set_random_seed(seed)
    weights = pretrained.find_weights()
    parts = {part: recipe.read(folder, part) for part in ("train", "val", "test")}
    model, base = recipe.train_head(weights, parts)
    recipe.fine_tune(model, base, parts, recipe.FINE_TUNE_AT)
    correct, total = recipe.count_right(model, parts["test"])
    report(correct=correct, total=total, peak_memory=peak_memory())
    again("rerun_fine_tuning", lambda: recipe.fine_tune(model, base, parts, recipe.FINE_TUNE_AT))
    again("rerun_new_cut", lambda: recipe.fine_tune(model, base, parts, NEW_LAYER))
    model, _ = recipe.build(weights)  # untimed: only its training is what is run again
    again("rerun_head", lambda: recipe.train(model, parts, recipe.LEARNING_RATE, 0, recipe.EPOCHS))
    report(peak_memory_all=peak_memory())


def project(folder: Path, seed: int, knobs: Knobs, again_too: bool = True) -> None:
    """This project, cell by cell as in notebook 4; what it keeps lies beside the photos,
    apart from the user's, so that the next such run with the same seed finds them.
    """
    from mobilenet.networks import backbone
    from mobilenet.photos import folders, loading
    from mobilenet.system import cache
    from mobilenet.system.engine import keras
    from mobilenet.transfer import features, metrics, training

    cache.FOLDER = folder.parent / KEPT
    keras.utils.set_random_seed(seed)
    network = backbone.load(size=knobs.size)
    train, val, test = (loading.load_photos(folder / part, knobs.size) for part in folders.SPLITS)

    def inputs(images: np.ndarray, views: int, cut: str | None, **change: Any) -> np.ndarray:
        """Activations, those at the cut of the notebook in the same pass as the head's."""
        also = (knobs.cut,) if cut is None else ()
        return features.view_activations(network, images, cut, views, seed, also, **change)

    def fit(model: Any, cut: str | None, epochs: int, rate: float) -> Any:
        views = inputs(train.images, knobs.views, cut, **knobs.augmentation())
        asked = inputs(val.images, 1, cut)[0]
        training.fit(
            model,
            views,
            train.labels,
            asked,
            val.labels,
            epochs=epochs,
            learning_rate=rate,
            seed=seed,
        )
        return model

    def head_cell() -> Any:
        head = training.build_head(network.channels, len(train.class_names), knobs.dropout, seed)
        return fit(head, None, knobs.head_epochs, knobs.head_learning_rate)

    def tuning_cell(cut: str) -> Any:
        top = training.build_top(network, cut, head, knobs.dropout)
        return fit(top, cut, knobs.epochs, knobs.learning_rate)

    head = head_cell()
    top = tuning_cell(knobs.cut)
    asked = inputs(test.images, 1, knobs.cut)[0]
    p = metrics.probabilities(training.predict_logits(top, asked))
    result = metrics.count_right(p, test.labels)
    report(correct=result.correct, total=result.total, peak_memory=peak_memory())
    if not again_too:
        return
    again("rerun_fine_tuning", lambda: tuning_cell(knobs.cut))
    again("rerun_new_cut", lambda: tuning_cell(knobs.new_cut))
    again("rerun_head", head_cell)
    report(peak_memory_all=peak_memory())


def many(folder: Path, seed: int) -> None:
    """A folder of class folders of very many photos, from the scan to a trained head on the bundled
    backbone: after each stage its seconds by the clock and of the processor, then peak memory.
    """
    from mobilenet.networks import backbone
    from mobilenet.photos import folders, loading, splits
    from mobilenet.photos.photos import Photos
    from mobilenet.system import cache
    from mobilenet.system.engine import keras
    from mobilenet.transfer import features, metrics, training

    cache.FOLDER = folder.parent / KEPT
    keras.utils.set_random_seed(seed)
    network = backbone.load(size=MANY.size, weights="bundled")
    last = [time.perf_counter(), time.process_time()]

    def done(stage: str) -> None:
        now = [time.perf_counter(), time.process_time()]
        report(**{stage: [b - a for a, b in zip(last, now, strict=True)]})
        last[:] = now

    def inputs(part: Photos, views: int, **change: Any) -> np.ndarray:
        return features.view_activations(network, part.images, None, views, seed, **change)

    everything = loading.load_photos(folder, MANY.size)
    done("scan")
    parts = splits.split(everything, seed)
    train, val, test = (everything.subset(parts[part]) for part in folders.SPLITS)
    done("split")
    views = inputs(train, MANY.views, **MANY.augmentation())
    asked, judged = (inputs(part, 1)[0] for part in (val, test))
    done("views")
    head = training.build_head(network.channels, len(train.class_names), MANY.dropout, seed)
    knobs = {"epochs": MANY.head_epochs, "learning_rate": MANY.head_learning_rate, "seed": seed}
    training.fit(head, views, train.labels, asked, val.labels, **knobs)
    p = metrics.probabilities(training.predict_logits(head, judged))
    result = metrics.count_right(p, test.labels)
    done("fit")
    report(correct=result.correct, total=result.total, peak_memory=peak_memory())


def answers(folder: Path, seed: int) -> None:
    """Seconds for one photo and for 100, decoded already: `model.predict` of the usual recipe's
    model, and the compiled function of this project's. Then the share of the peak arithmetic.
    """
    import keras
    import tensorflow

    from mobilenet.benchmarks import recipe
    from mobilenet.inference import classifier
    from mobilenet.networks import backbone, pretrained
    from mobilenet.photos import loading
    from mobilenet.transfer import training

    model, _ = recipe.build(pretrained.find_weights())
    works, networks = [("usual", lambda images: model.predict(images, verbose=0))], []
    for variant, knobs in KNOBS.items():
        network = backbone.load(size=knobs.size)
        head = training.build_head(network.channels, 2, knobs.dropout, seed)
        works.append((variant, classifier.compiled(classifier.assemble(network, head))))
        networks.append((variant, network))
    images = {}
    for size in {recipe.SIZE, *(knobs.size for knobs in KNOBS.values())}:
        some = loading.load_photos(folder / "train", size).images[:ANSWERS]
        images[size] = np.resize(some, (ANSWERS, *some.shape[1:]))
    sizes = {"usual": recipe.SIZE, **{variant: knobs.size for variant, knobs in KNOBS.items()}}
    for stage, count in (("one_photo", 1), ("hundred_photos", ANSWERS)):
        asked = {variant: images[size][:count] for variant, size in sizes.items()}
        asked["usual"] = asked["usual"].astype(np.float32)  # as Keras's loader gives it
        seconds = measuring.median_seconds(
            [lambda work=work, photo=asked[name]: work(photo) for name, work in works]
        )
        report(**{stage: dict(zip(sizes, seconds, strict=True))})
    report(arithmetic={name: arithmetic(net, images[net.size]) for name, net in networks})
    report(versions={"tensorflow": tensorflow.__version__, "keras": keras.__version__})


def arithmetic(network: Any, images: np.ndarray) -> dict[str, float]:
    """GFLOP/s of a large matrix product, of the frozen pass over a batch and of a training step of
    the top blocks, and their shares of the first. A multiply-add is two operations, a step's
    backward pass twice the forward one; what else is done (BatchNorm, Adam) is not counted.

    images: uint8 (N, size, size, 3), N at least 32.
    """
    from mobilenet.system.engine import tf
    from mobilenet.transfer import features, training

    cut, batch = Knobs().cut, images[:BATCH]
    matrix = tf.random.normal((PRODUCT, PRODUCT), seed=0)
    head = training.build_head(network.channels, 2, 0.2, 0)
    top = training.build_top(network, cut, head)
    photos = np.resize(batch, (STEPS * len(batch), *batch.shape[1:]))
    views = features.activations(network, photos, cut)[None]
    labels = np.arange(len(photos)) % 2

    def epochs(count: int) -> None:
        training.fit(top, views, labels, epochs=count, learning_rate=1e-6, seed=0)

    product, forward, short, long = measuring.median_seconds(
        [
            lambda: tf.matmul(matrix, matrix),
            lambda: features.activations(network, batch, None),
            lambda: epochs(1),
            lambda: epochs(5),
        ]
    )
    step = max(long - short, 1e-9) / 4 / STEPS  # what comes before the first step drops out
    whole, part = (cost.totals(cost.count(model)) for model in (network.model, top))
    peak = 2 * PRODUCT**3 / product / 1e9
    forward = 2 * whole.multiply_adds * len(batch) / forward / 1e9
    step = 3 * 2 * part.multiply_adds * len(batch) / step / 1e9
    return {
        "peak_gflops": peak,
        "forward_gflops": forward,
        "forward_share": forward / peak,
        "step_gflops": step,
        "step_share": step / peak,
    }


def model(folder: Path, seed: int) -> None:
    """Save a classifier beside the photos, its head untrained."""
    from mobilenet.inference import classifier
    from mobilenet.networks import backbone
    from mobilenet.transfer import training

    network = backbone.load()
    head = training.build_head(network.channels, 2, 0.2, seed)
    names = sorted(path.name for path in (folder / "train").iterdir())
    classifier.save(folder.parent / MODEL, classifier.assemble(network, head), names)


def weights(folder: Path, seed: int) -> None:
    """Have all weights loaded once: whatever has to be downloaded is there afterwards."""
    from mobilenet.networks import backbone

    for knobs in KNOBS.values():
        backbone.load(size=knobs.size)


RUNS = {
    "weights": weights,
    "model": model,
    "answers": answers,
    "usual": usual,
    "many": many,
    "same": lambda folder, seed: project(folder, seed, KNOBS["same"]),
    "defaults": lambda folder, seed: project(folder, seed, KNOBS["defaults"]),
    "same_warm": lambda folder, seed: project(folder, seed, KNOBS["same"], False),
    "defaults_warm": lambda folder, seed: project(folder, seed, KNOBS["defaults"], False),
}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.benchmarks.one_run", __doc__.splitlines()[0])
    parser.add_argument("run", choices=RUNS)
    parser.add_argument("folder", type=Path, help="holds train, val and test")
    parser.add_argument("seed", type=command.number(int, 0, 2**32 - 1))
    chosen = parser.parse_args(arguments)

    def work() -> int:
        RUNS[chosen.run](chosen.folder, chosen.seed)
        return 0

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
