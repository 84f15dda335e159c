"""Train MobileNetV1 or V2 from scratch, or a head on the pretrained backbone, to compare.

    python -m mobilenet.train --model mobilenetv1 --epochs 40 --data cifar10

Every epoch from scratch ends with a checkpoint; a run that was stopped goes on with --resume, from
the epoch it was in, to the same weights. What is random depends on the seed and the epoch alone.
"""

import json
import math
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenet import BUILD, ROOT, UserError, cache, command, datasets
from mobilenet.files import DAMAGE, alone, read_arrays, replacing, write_json
from mobilenet.photos import Photos
from mobilenet.progress import ahead, progress

MODELS = ("mobilenetv1", "mobilenetv2", "head")
BATCH = 64
RATE, WARM_UP, DECAY = 2e-3, 0.05, 0.05  # AdamW's highest rate, share of the steps, weight decay
SMOOTHING = 0.1  # of the labels
DROPOUT = 0.1
SHIFT = 8  # a crop is shifted by up to size / 8 pixels either way
SMALL = 64  # px; photos from here on are cropped closer, too
SIDE = 0.6  # share of a photo's side that a closer crop has at the least
CHECKPOINT, RESULT = "checkpoint.npz", "result.json"  # of a run that goes on, that has ended
HISTORY = "history.jsonl"
KEPT = Path(__file__).parent / "results"  # the runs in git
HEAD = {"dropout": 0.2, "rate": 3e-3}  # as in the notebooks


class Plan(NamedTuple):
    """What makes two runs the same run. alpha and size are None for the backbone's own; files is
    the fingerprint of the photos' names and of their pixels, part by part.
    """

    model: str
    alpha: float | None
    size: int | None
    epochs: int
    data: str
    seed: int
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def command(self) -> str:
        """The command that makes this run, without folders of this machine."""
        data = shlex.quote(self.data)
        words = [f"python -m mobilenet.train --model {self.model} --data {data}"]
        words += [f"--alpha {self.alpha:g}"] if self.alpha else []
        words += [f"--size {self.size}"] if self.size else []
        return " ".join([*words, f"--epochs {self.epochs} --seed {self.seed}"])


def build(plan: Plan) -> Any:
    """The untrained network, float32 photos in [-1, 1] → logits, (B, 1) for two classes."""
    from mobilenet import networks
    from mobilenet.engine import keras, tf

    keras.utils.set_random_seed(plan.seed)
    tf.config.experimental.enable_op_determinism()
    make = {"mobilenetv1": networks.mobilenet_v1, "mobilenetv2": networks.mobilenet_v2}[plan.model]
    logits = 1 if len(plan.classes) == 2 else len(plan.classes)
    return make(plan.size, plan.alpha, logits, DROPOUT, total_stride(plan.size))


def set_momentum(network: Any, steps: int) -> None:
    """Lower the momentum of BatchNorm, in place, for a training of so few steps that the moving
    statistics would not get away from their start: a network that learned well then gives one
    answer to all photos. After a third of the steps a ten-thousandth of the start is left, and at
    the end 1e-12: traces add up from layer to layer.
    """
    from mobilenet.engine import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, 1e-4 ** (3 / steps))


def total_stride(size: int) -> int:
    """The total stride for photos of so many pixels: the paper's 32 leaves one position of 32."""
    return 32 if size >= SMALL else 16


def augment(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photos, uint8 (B, S, S, 3), half of them mirrored, all shifted, edges mirrored outwards; from
    SMALL pixels on, a square of them is cut out and scaled back.
    """
    size = photos.shape[1]
    pad = size // SHIFT
    wide = np.pad(photos, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    out = np.empty_like(photos)
    tops, lefts = rng.integers(0, 2 * pad + 1, (2, len(photos)))
    mirror = rng.random(len(photos)) < 0.5
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop = wide[i, top : top + size, left : left + size]
        if size >= SMALL:
            side = size * rng.uniform(SIDE, 1)
            x, y = rng.uniform(0, size - side, 2)
            image = Image.fromarray(crop)
            box = (x, y, x + side, y + side)
            crop = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
        out[i] = crop[:, ::-1] if mirror[i] else crop
    return out


def batches(photos: Photos, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An epoch's photos and labels, augmented, in shuffled order, whole batches only; made by a
    thread while earlier ones are learned.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(photos))
    count = max(1, len(order) // BATCH)

    def make(i: int) -> tuple[np.ndarray, np.ndarray]:
        index = order[i * BATCH : (i + 1) * BATCH]
        return augment(photos.images[index], rng), photos.labels[index]

    return ahead(make, ((i,) for i in range(count)))


def rate(done: float) -> float:
    """The learning rate when this share of all steps is done: a linear warm-up, half a cosine."""
    from mobilenet import training

    if done < WARM_UP:
        return RATE * done / WARM_UP
    return RATE * training.half_cosine((done - WARM_UP) / (1 - WARM_UP))


def compile_step(network: Any, optimizer: Any) -> tuple[Any, Any]:
    """Two compiled functions: (photos, labels) → (sum of losses, count right) of a training step,
    and photos → logits.
    """
    from mobilenet.engine import tf

    one, classes = network.output_shape[-1] == 1, network.output_shape[-1]
    photos = tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)

    def scale(batch):
        return tf.cast(batch, tf.float32) / 127.5 - 1

    @tf.function(input_signature=[photos, tf.TensorSpec((None,), tf.int64)])
    def step(batch, labels):
        with tf.GradientTape() as tape:
            logits = network(scale(batch), training=True)
            if one:
                positive = (labels == 1)[:, None]
                targets = tf.cast(positive, tf.float32) * (1 - SMOOTHING) + SMOOTHING / 2
                losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
                right = (logits > 0) == positive
            else:
                targets = tf.one_hot(labels, classes) * (1 - SMOOTHING) + SMOOTHING / classes
                losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
                right = tf.argmax(logits, axis=1) == labels
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return tf.reduce_sum(losses), tf.math.count_nonzero(right)

    @tf.function(input_signature=[photos])
    def forward(batch):
        return network(scale(batch), training=False)

    # Traced here: who trains again and again in one process is not warned of tracing too often.
    return step.get_concrete_function(), forward.get_concrete_function()


def train(plan: Plan, parts: dict[str, Photos], out: Path) -> int:
    """Train from scratch, and leave in out: history.jsonl (a line an epoch) and curves.png from
    the first epoch on; model.keras, of the epoch with the lowest loss on the val photos, and
    result.json at the end; checkpoint.npz until then. Returns 0.

    A run that was stopped in out is gone on with. Raises UserError if it is another one, or
    damaged.
    """
    from mobilenet.engine import keras

    count = max(1, len(parts["train"]) // BATCH)
    network = build(plan)
    set_momentum(network, count * plan.epochs)
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(network.trainable_variables)
    state = [*network.variables, *optimizer.variables]
    checkpoint = out / CHECKPOINT
    history, best = [], network.get_weights()
    if checkpoint.exists():
        history, best = restore(checkpoint, plan, state, len(best))
        write_history(out, history)  # it may have been stopped before that
        print(f"Going on after epoch {len(history)}.", flush=True)
    step, forward = compile_step(network, optimizer)
    for epoch in range(len(history), plan.epochs):
        start, loss, right, seen = time.monotonic(), 0.0, 0, 0
        label = f"Epoch {epoch + 1} of {plan.epochs}"
        made = progress(batches(parts["train"], plan.seed, epoch), count, label)
        for i, (photos, labels) in enumerate(made):
            optimizer.learning_rate.assign(rate((epoch + i / count) / plan.epochs))
            sums = step(photos, labels)
            loss, right, seen = loss + float(sums[0]), right + int(sums[1]), seen + len(labels)
        val_loss, val_accuracy = measure(answers(forward, parts["val"], "Val"), parts["val"])
        if not math.isfinite(loss + val_loss):
            raise UserError(f"The loss is no number any more at epoch {epoch + 1}.")
        history.append(
            {
                "epoch": epoch + 1,
                "loss": round(loss / seen, 4),
                "accuracy": round(right / seen, 4),
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "seconds": round(time.monotonic() - start, 1),
            }
        )
        if best_epoch(history) == epoch + 1:
            best = network.get_weights()
        save(checkpoint, plan, state, history, best)
        write_history(out, history)
        print(json.dumps(history[-1]), flush=True)
    network.set_weights(best)
    inputs = keras.Input(network.input_shape[1:], name="photo")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(inputs)
    whole = keras.Model(inputs, network(scaled), name="classifier")
    kept = history[best_epoch(history) - 1]
    finish(
        plan,
        whole,
        answers(forward, parts["test"], "Test"),
        parts,
        out,
        weights="random",
        best_epoch=kept["epoch"],
        val_accuracy=kept["val_accuracy"],
        seconds=round(sum(row["seconds"] for row in history), 1),
    )
    checkpoint.unlink(missing_ok=True)
    return 0


def train_head(plan: Plan, network: Any, parts: dict[str, Photos], out: Path) -> int:
    """Train a head on a pretrained backbone's features of the photos, unaugmented, and leave in out
    what `train` leaves. It takes a minute or so, hence no checkpoint. Returns 0.
    """
    from mobilenet import classifier, features, metrics, training

    start = time.monotonic()
    pooled = {
        part: features.activations(network, photos.images, None) for part, photos in parts.items()
    }
    head = training.build_head(network.channels, len(plan.classes), HEAD["dropout"], plan.seed)
    happened = training.fit(
        head,
        pooled["train"][None],
        parts["train"].labels,
        pooled["val"],
        parts["val"].labels,
        epochs=plan.epochs,
        learning_rate=HEAD["rate"],
        seed=plan.seed,
    )
    seconds = time.monotonic() - start
    history = [
        {
            "epoch": epoch,
            "loss": round(happened.loss[epoch], 4),
            "accuracy": round(happened.accuracy[epoch], 4),
            "val_loss": round(happened.val_loss[epoch], 4),
            "val_accuracy": round(happened.val_accuracy[epoch], 4),
            "seconds": round(seconds / plan.epochs, 4),
        }
        for epoch in range(1, plan.epochs + 1)
    ]
    write_history(out, history)
    finish(
        plan,
        classifier.assemble(network, head),
        metrics.probabilities(training.predict_logits(head, pooled["test"])),
        parts,
        out,
        weights=network.weights,
        best_epoch=happened.best,
        val_accuracy=round(happened.val_accuracy[happened.best], 4),
        seconds=round(seconds, 1),
    )
    return 0


def best_epoch(history: list[dict]) -> int:
    """The epoch, from 1, with the lowest loss on the val photos; the first of equals."""
    return min(history, key=lambda row: row["val_loss"])["epoch"]


def answers(forward: Any, photos: Photos, label: str) -> np.ndarray:
    """Probabilities of the classes, float64 (N, K), in batches, with progress."""
    from mobilenet.metrics import probabilities

    starts = range(0, len(photos), 4 * BATCH)
    batches = (forward(photos.images[i : i + 4 * BATCH]).numpy() for i in starts)
    return probabilities(np.concatenate(list(progress(batches, len(starts), label))))


def measure(p: np.ndarray, photos: Photos) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy, to four digits."""
    from mobilenet.metrics import count_right, cross_entropy

    result = count_right(p, photos.labels)
    loss = float(cross_entropy(p, photos.labels).mean())
    return round(loss, 4), round(result.correct / result.total, 4)


def write_history(out: Path, history: list[dict]) -> None:
    """Write history.jsonl and curves.png, atomically each."""
    from mobilenet import canvas, curve_figures, metrics, runs  # matplotlib, which takes a second

    with replacing(out / HISTORY) as new:
        new.write_text("".join(json.dumps(row) + "\n" for row in history), encoding="utf-8")
    curves = {kind: [math.nan, *(row[kind] for row in history)] for kind in runs.CURVES}
    figure = curve_figures.learning_curves(metrics.History(**curves, best=best_epoch(history)))
    with replacing(out / "curves.png") as new:
        new.write_bytes(canvas.png(canvas.drawn(figure)))


def finish(
    plan: Plan, model: Any, p: np.ndarray, parts: dict[str, Photos], out: Path, **about: Any
) -> None:
    """Write model.keras and result.json, and say what p (N, K) makes of the test photos.

    about: what else the result tells, JSON values by name.
    """
    from mobilenet import classifier, cost
    from mobilenet.metrics import by_class, count_right

    result, total = count_right(p, parts["test"].labels), cost.totals(cost.count(model))
    test = datasets.fingerprint(parts["test"])
    about_photos = classifier.about(plan.seed, parts["train"], parts["val"])
    classifier.save(out / "model.keras", model, plan.classes, **about_photos, test=test)
    facts = {
        "command": plan.command(),
        **plan._asdict(),
        "photos": {part: len(photos) for part, photos in parts.items()},
        "multiply_adds": total.multiply_adds,
        "parameters": total.parameters,
        **about,
        **result.entry("test_"),
        "machine": command.machine(),
        "date": date.today().isoformat(),
    }
    write_json(out / RESULT, facts)
    file = out / "model.keras"
    file = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    print(f"Test photos, asked once: {result}.\n{by_class(p, parts['test'])}.")
    print(f"The model is {file}.", flush=True)


def kept_runs() -> dict[str, tuple[dict[str, Any], list[dict[str, float]]]]:
    """Return the runs in git by name: what result.json holds, and the lines of history.jsonl."""
    found = {}
    for folder in sorted(KEPT.glob("*/")):
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
        about = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        found[folder.name] = about, [json.loads(line) for line in lines]
    return found


def kept_table(runs: dict[str, tuple[dict[str, Any], Any]]) -> tuple[Any, list]:
    """Return the header and the rows, of text, of a table of what `kept_runs` found: those from
    scratch first, the most training photos first.
    """
    from mobilenet.metrics import Result

    names = dict(zip(MODELS, ("MobileNetV1", "MobileNetV2", "head on MobileNetV2"), strict=True))
    abouts = [about for about, _ in runs.values()]
    rows = []
    for one in sorted(abouts, key=lambda one: (one["model"] == "head", -one["photos"]["train"])):
        result = Result(one["test_correct"], one["test_total"])
        seconds = one["seconds"]
        rows.append(
            (
                f"{one['data'].split('.')[0]}, {len(one['classes'])} classes",
                f"{names[one['model']]}, α {one['alpha']:g}, {one['size']} px",
                one["weights"],
                f"{one['photos']['train']:,}",
                f"{result.correct / result.total:.1%} ({result.percent()})",
                f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s",
            )
        )
    header = ("data", "network", "first weights", "training photos")
    return (*header, "test accuracy (95 % interval)", "training, 2 cores"), rows


def save(path: Path, plan: Plan, state: list, history: list[dict], best: list) -> None:
    """Write a checkpoint, atomically: the last good one survives whatever happens."""
    about = json.dumps({"plan": plan._asdict(), "history": history})
    values = [variable.numpy() for variable in state]
    with replacing(path) as new:
        np.savez(new, np.array(about), *values, *best)


def restore(path: Path, plan: Plan, state: list, best: int) -> tuple[list[dict], list]:
    """Put a checkpoint's state back; returns its history and its best weights, `best` arrays.

    Raises UserError if it is damaged or of another run.
    """
    try:
        about, *values = read_arrays(path)
        about = json.loads(str(about))
        made = Plan(**{k: tuple(v) if isinstance(v, list) else v for k, v in about["plan"].items()})
        shapes = [tuple(variable.shape) for variable in state]
        if made == plan and [value.shape for value in values[:-best]] != shapes:
            raise ValueError
    except DAMAGE as error:
        raise UserError(f"{path} is damaged: delete it and start again.") from error
    if made != plan:
        pairs = zip(Plan._fields, made, plan, strict=True)
        other = [f"{name} {was!r}" for name, was, now in pairs if was != now and name != "files"]
        other = ", ".join(other or ["other photos"])
        raise UserError(f"{path} is of another run ({other}): name another folder by --out.")
    for variable, value in zip(state, values, strict=False):
        variable.assign(value)
    return about["history"], values[-best:]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.train", __doc__.splitlines()[0])
    parser.add_argument(
        "--model", choices=MODELS, required=True, help="head: on the frozen, pretrained backbone"
    )
    parser.add_argument("--data", required=True, help="cifar10, or a folder or tar file of classes")
    parser.add_argument("--epochs", type=command.number(int, 1, 10_000), default=40)
    parser.add_argument(
        "--alpha", type=command.number(float, 0.05, 4), help="width, α; 1, for head the backbone's"
    )
    parser.add_argument(
        "--size",
        type=command.number(int, 32, 1024),
        help="px, a multiple of 32; for cifar10 32, for others 160, for head the backbone's",
    )
    parser.add_argument("--seed", type=command.number(int, 0, 2**32 - 1), default=0)
    parser.add_argument("--out", type=Path, help="folder (build/runs/MODEL-DATA-…)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    chosen = parser.parse_args(arguments)
    alpha, size, data = chosen.alpha, chosen.size, Path(chosen.data).resolve().name
    if chosen.model != "head":
        alpha, size = alpha or 1.0, size or (32 if data.startswith("cifar10") else 160)
    if size and size % 32:
        parser.error(f"--size is {size}: take a multiple of 32")
    plan = Plan(chosen.model, alpha, size, chosen.epochs, data, chosen.seed)
    words = [plan.model, data.split(".")[0]]
    words += [f"alpha{alpha:g}"] if alpha else []
    words += [f"{size}px"] if size else []
    out = chosen.out or BUILD / "runs" / "-".join([*words, f"seed{plan.seed}"])
    return command.run(lambda: work(plan, chosen.data, out, chosen.resume))


def work(plan: Plan, data: str, out: Path, resume: bool) -> int:
    """Load, then train. Raises UserError if out holds a run, unless it is to be gone on with, or
    another process is at work there.
    """
    with alone(out, wait=False) as free:
        if not free:
            raise UserError(f"Another run is at work in {out}: name another folder by --out.")
        try:
            return _work(plan, data, out, resume)
        finally:
            with suppress(OSError):  # unless it is empty
                out.rmdir()


def _work(plan: Plan, data: str, out: Path, resume: bool) -> int:
    from mobilenet import backbone

    if (out / RESULT).exists():
        raise UserError(f"{out} holds a finished run: name another folder by --out.")
    if (out / CHECKPOINT).exists() and (not resume or plan.model == "head"):
        raise UserError(f"{out} holds a run: add --resume, or name another folder by --out.")
    network = backbone.load(plan.alpha, plan.size) if plan.model == "head" else None
    if network:
        print(network, flush=True)
        plan = plan._replace(alpha=network.alpha, size=network.size)
    parts = datasets.load(data, plan.size, plan.seed)
    some = [parts[part] for part in datasets.PARTS]
    files = tuple(f"{datasets.fingerprint(p)}-{cache.digest(p.images)[:12]}" for p in some)
    plan = plan._replace(classes=parts["train"].class_names, files=files)
    print(datasets.describe(parts), flush=True)
    return train_head(plan, network, parts, out) if network else train(plan, parts, out)


if __name__ == "__main__":
    sys.exit(main())
