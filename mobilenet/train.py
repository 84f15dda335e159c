"""Train MobileNetV1 or V2 from scratch.

    python -m mobilenet.train --model mobilenetv1 --epochs 40 --data cifar10

Every epoch ends with a checkpoint; a run that was stopped goes on with --resume, from the epoch it
was in, to the same weights. What is random depends on the seed and the epoch alone.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilenet import BUILD, UserError, command, datasets
from mobilenet.files import DAMAGE, replacing, write_json
from mobilenet.photos import Photos
from mobilenet.progress import ahead, progress

MODELS = ("mobilenetv1", "mobilenetv2")
BATCH = 64
RATE, WARM_UP, DECAY = 2e-3, 0.05, 0.05  # AdamW's highest rate, share of the steps, weight decay
SMOOTHING = 0.1  # of the labels, with more than two classes
DROPOUT = 0.1
SHIFT = 8  # a crop is shifted by up to size / 8 pixels either way


class Plan(NamedTuple):
    """What makes two runs the same run."""

    model: str
    alpha: float
    size: int
    epochs: int
    data: str
    seed: int
    classes: tuple[str, ...]


def build(plan: Plan) -> Any:
    """The untrained network, float32 photos in [-1, 1] → logits, (B, 1) for two classes."""
    from mobilenet import networks
    from mobilenet.engine import keras, tf

    keras.utils.set_random_seed(plan.seed)
    tf.config.experimental.enable_op_determinism()
    make = {"mobilenetv1": networks.mobilenet_v1, "mobilenetv2": networks.mobilenet_v2}[plan.model]
    logits = 1 if len(plan.classes) == 2 else len(plan.classes)
    stride = 32 if plan.size >= 96 else 16 if plan.size >= 64 else 8
    return make(plan.size, plan.alpha, logits, DROPOUT, stride)


def augment(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photos, uint8 (B, S, S, 3), half of them mirrored, all shifted, edges mirrored outwards."""
    size = photos.shape[1]
    pad = size // SHIFT
    wide = np.pad(photos, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    out = np.empty_like(photos)
    tops, lefts = rng.integers(0, 2 * pad + 1, (2, len(photos)))
    mirror = rng.random(len(photos)) < 0.5
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop = wide[i, top : top + size, left : left + size]
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
    if done < WARM_UP:
        return RATE * done / WARM_UP
    return RATE * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


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
                targets = tf.cast(labels == 0, tf.float32)[:, None]
                losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
                right = (logits > 0) == (targets > 0)
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

    return step, forward


def train(plan: Plan, parts: dict[str, Photos], out: Path, resume: bool) -> int:
    """Train, and leave in out: model.keras (the epoch with the lowest loss on the val photos),
    history.jsonl (a line an epoch), run.json, and checkpoint.npz until it is done. Returns 0.

    With resume, a run in out is gone on with. Raises UserError if out holds one and resume is
    false, or if it is another one, or finished, or damaged.
    """
    from mobilenet import classifier
    from mobilenet.engine import keras

    network = build(plan)
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(network.trainable_variables)
    state = [*network.variables, *optimizer.variables]
    checkpoint = out / "checkpoint.npz"
    history, best = [], network.get_weights()
    if (out / "model.keras").exists():
        raise UserError(f"{out} holds a finished run: name another folder by --out.")
    if checkpoint.exists():
        if not resume:
            raise UserError(f"{out} holds a run: add --resume, or name another folder by --out.")
        history, best = restore(checkpoint, plan, state, len(best))
    write_json(out / "run.json", plan._asdict())
    step, forward = compile_step(network, optimizer)
    count = max(1, len(parts["train"]) // BATCH)
    for epoch in range(len(history), plan.epochs):
        start, loss, right, seen = time.monotonic(), 0.0, 0, 0
        label = f"Epoch {epoch + 1} of {plan.epochs}"
        made = progress(batches(parts["train"], plan.seed, epoch), count, label)
        for i, (photos, labels) in enumerate(made):
            optimizer.learning_rate.assign(rate((epoch + i / count) / plan.epochs))
            sums = step(photos, labels)
            loss, right, seen = loss + float(sums[0]), right + int(sums[1]), seen + len(labels)
        if not math.isfinite(loss):
            raise UserError(f"The loss is no number any more at epoch {epoch + 1}.")
        val_loss, val_right = measure(forward, parts["val"])
        history.append(
            {
                "epoch": epoch + 1,
                "loss": round(loss / seen, 4),
                "accuracy": round(right / seen, 4),
                "val_loss": round(val_loss, 4),
                "val_accuracy": round(val_right / len(parts["val"]), 4),
                "seconds": round(time.monotonic() - start, 1),
            }
        )
        if val_loss_is_best(history):
            best = network.get_weights()
        save(checkpoint, plan, state, history, best)
        lines = "".join(json.dumps(row) + "\n" for row in history)
        with replacing(out / "history.jsonl") as new:
            new.write_text(lines, encoding="utf-8")
        print(lines.splitlines()[-1], flush=True)
    network.set_weights(best)
    inputs = keras.Input(network.input_shape[1:], name="photo")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(inputs)
    whole = keras.Model(inputs, network(scaled), name="classifier")
    classifier.save(out / "model.keras", whole, plan.classes)
    checkpoint.unlink(missing_ok=True)
    print(f"The model is {out / 'model.keras'}.")
    return 0


def val_loss_is_best(history: list[dict]) -> bool:
    """Whether the last epoch has the lowest loss on the val photos."""
    return history[-1]["val_loss"] <= min(row["val_loss"] for row in history)


def measure(forward: Any, photos: Photos) -> tuple[float, int]:
    """Mean cross-entropy in nats and count right of these photos."""
    from mobilenet.training import cross_entropy, probabilities

    starts = range(0, len(photos), 4 * BATCH)
    logits = [forward(photos.images[i : i + 4 * BATCH]).numpy() for i in starts]
    p = probabilities(np.concatenate(logits))
    right = int((p.argmax(axis=1) == photos.labels).sum())
    return float(cross_entropy(p, photos.labels).mean()), right


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
        with np.load(path) as arrays:
            about, *values = (arrays[name] for name in arrays.files)
        about = json.loads(str(about))
        made = Plan(**about["plan"])._replace(classes=tuple(about["plan"]["classes"]))
        shapes = [tuple(variable.shape) for variable in state]
        if made == plan and [value.shape for value in values[:-best]] != shapes:
            raise ValueError
    except DAMAGE as error:
        raise UserError(f"{path} is damaged: delete it and start again.") from error
    if made != plan:
        pairs = zip(Plan._fields, made, plan, strict=True)
        other = ", ".join(f"{name} {was!r}" for name, was, now in pairs if was != now)
        raise UserError(f"{path} is of another run ({other}): name another folder by --out.")
    for variable, value in zip(state, values, strict=False):
        variable.assign(value)
    return about["history"], values[-best:]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.train", __doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--data", required=True, help="cifar10, or a folder or tar file of classes")
    parser.add_argument("--epochs", type=command.number(int, 1), default=40)
    parser.add_argument("--alpha", type=command.number(float, 0.05), default=1.0, help="width, α")
    parser.add_argument("--size", type=command.number(int, 32), help="px; 32 for cifar10, else 160")
    parser.add_argument("--seed", type=command.number(int, 0), default=0)
    parser.add_argument("--out", type=Path, help="folder (build/runs/MODEL-DATA-…)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    chosen = parser.parse_args(arguments)
    size = chosen.size or (32 if "cifar10" in chosen.data else 160)
    if size % 32:
        parser.error(f"--size is {size}: take a multiple of 32")
    name = Path(chosen.data).name.split(".")[0]
    out = chosen.out or BUILD / "runs" / (
        f"{chosen.model}-{name}-alpha{chosen.alpha:g}-{size}px-seed{chosen.seed}"
    )

    def work() -> int:
        parts = datasets.load(chosen.data, size, chosen.seed)
        about = {part: len(photos) for part, photos in parts.items()}
        print(f"{', '.join(f'{part} {count}' for part, count in about.items())} photos, {size} px.")
        classes = parts["train"].class_names
        plan = Plan(chosen.model, chosen.alpha, size, chosen.epochs, name, chosen.seed, classes)
        return train(plan, parts, out, chosen.resume)

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
