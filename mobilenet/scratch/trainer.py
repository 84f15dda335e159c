"""Training from scratch, epoch by epoch, with checkpoints.

Every epoch ends with one; a run that was stopped goes on from the epoch it was in, to the same
weights. What is random depends on the seed and the epoch alone.

Not by Keras's `fit` with BackupAndRestore: the state of a Dropout layer's generator is no weight,
so that a run that goes on draws the masks of its first epochs again and ends elsewhere (Keras
3.15.1).
"""

import json
import math
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import ROOT, UserError
from mobilenet.figures import canvas, curves
from mobilenet.inference import classifier
from mobilenet.networks import cost, mobilenets
from mobilenet.photos import datasets
from mobilenet.photos.photos import Photos
from mobilenet.scratch import learning
from mobilenet.scratch.fused import FusedBatchNorm
from mobilenet.scratch.learning import RECIPE, Recipe
from mobilenet.scratch.plan import CHECKPOINT, HISTORY, RESULT, Plan, usual_stride
from mobilenet.system import measuring
from mobilenet.system.engine import deterministic, keras
from mobilenet.system.files import DAMAGE, read_arrays, replacing, write_json
from mobilenet.system.progress import progress
from mobilenet.transfer import features, metrics, runs, training
from mobilenet.transfer.metrics import by_class, count_right, cross_entropy, probabilities

HEAD = {"dropout": 0.2, "rate": 3e-3}  # as in the notebooks


def build(plan: Plan) -> Any:
    """The untrained network, float32 photos in [-1, 1] → logits, (B, 1) for two classes."""
    deterministic(plan.seed)
    networks = {"mobilenetv1": mobilenets.mobilenet_v1, "mobilenetv2": mobilenets.mobilenet_v2}
    logits = 1 if len(plan.classes) == 2 else len(plan.classes)
    stride = plan.stride or usual_stride(plan.size)
    return networks[plan.model](plan.size, plan.alpha, logits, learning.DROPOUT, stride)


def set_momentum(network: Any, steps: int) -> None:
    """Lower the momentum of BatchNorm, in place, for a training of so few steps that the moving
    statistics would not get away from their start: a network that learned well then gives one
    answer to all photos. After a third of the steps a ten-thousandth of the start is left, and at
    the end 1e-12: traces add up from layer to layer.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, 1e-4 ** (3 / steps))


def train(plan: Plan, parts: dict[str, Photos], out: Path) -> int:
    """Train from scratch, and leave in out: history.jsonl (a line an epoch) and curves.png from
    the first epoch on; model.keras, of the epoch with the lowest loss on the val photos, and
    result.json at the end; checkpoint.npz until then. Returns 0.

    A run that was stopped in out is gone on with. Raises UserError if it is another one, or
    damaged.
    """
    network, forward, history = learn(plan, parts, out)
    inputs = keras.Input(network.input_shape[1:], name="photo")
    whole = keras.Model(inputs, network(mobilenets.scaling()(inputs)), name="classifier")
    kept, test = history[best_epoch(history) - 1], parts["test"]
    p = answers(forward, test, "Test")
    both = (p + answers(forward, test, "Test, mirrored", mirror=True)) / 2
    two_views = count_right(both, test.labels)
    finish(
        plan,
        whole,
        p,
        parts,
        out,
        two_views=two_views.entry(),
        weights="random",
        best_epoch=kept["epoch"],
        val_accuracy=kept["val_accuracy"],
        seconds=round(sum(row["seconds"] for row in history), 1),
    )
    print(f"Averaged with the answers for their mirror images: {two_views}.", flush=True)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return 0


def learn(
    plan: Plan, parts: dict[str, Photos], out: Path, recipe: Recipe = RECIPE
) -> tuple[Any, Any, list[dict]]:
    """The network trained on the train photos, with the weights of its best epoch; compiled,
    photos, uint8 (B, S, S, 3) → logits; and the history, a row an epoch, losses in nats. The test
    photos are not looked at. What out and UserError are is said at `train`.
    """
    count = learning.steps(parts["train"])
    sizes = learning.sizes(plan, recipe)
    plain = build(plan)
    learning.raise_centres(plain, recipe)
    set_momentum(plain, count * plan.epochs)
    any_size = keras.Input((None, None, 3), name="photo")
    network = training.with_batchnorm(plain, FusedBatchNorm, any_size)
    optimizer = learning.optimizer(network, recipe)
    state = [*network.variables, *optimizer.variables]
    checkpoint = out / CHECKPOINT
    history, best = [], network.get_weights()
    if checkpoint.exists():
        history, best = restore(checkpoint, plan, recipe, state, len(best))
        write_history(out, history)  # it may have been stopped before that
        print(f"Going on after epoch {len(history)}.", flush=True)
    step, forward = learning.compile_step(network, optimizer, recipe)
    first = len(history)
    for epoch in range(first, plan.epochs):
        start, loss, right, seen = time.monotonic(), 0.0, 0, 0
        label = f"Epoch {epoch + 1} of {plan.epochs}"
        made = learning.batches(parts["train"], plan.seed, epoch, sizes[epoch], recipe)
        for i, (photos, labels) in enumerate(progress(made, count, label)):
            rate = learning.rate(epoch * count + i, plan.epochs * count, recipe)
            optimizer.learning_rate.assign(rate)
            sums = step(photos, labels)
            loss, right, seen = loss + float(sums[0]), right + int(sums[1]), seen + len(labels)
        val_loss, val_accuracy = measure(answers(forward, parts["val"], "Val"), parts["val"])
        if not math.isfinite(loss + val_loss):
            raise UserError(
                f"The loss is no number any more at epoch {epoch + 1}: train in another folder "
                "(--out) with another --seed or a larger --alpha."
            )
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
        save(checkpoint, plan, recipe, state, history, best)
        write_history(out, history)
        lines = [json.dumps(history[-1])]
        if epoch == first and (left := sizes[epoch + 1 :]):
            lines.append(time_left(left, sizes[epoch], history[-1]["seconds"]))
        print(*lines, sep="\n", flush=True)
    for one in (network, plain):
        one.set_weights(best)
    return plain, forward, history


def train_head(plan: Plan, network: Any, parts: dict[str, Photos], out: Path) -> int:
    """Train a head on a pretrained backbone's features of the photos, unaugmented, and leave in out
    what `train` leaves, but for the second view. It takes a minute or so, hence no checkpoint.
    Returns 0.
    """
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


def time_left(sizes: list[int], size: int, seconds: float) -> str:
    """A line that says how long epochs with photos of these sizes take, if one took so many
    seconds: as many times as long as there are pixels.
    """
    minutes = round(sum((s / size) ** 2 for s in sizes) * seconds / 60)
    words = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
    return f"Epochs left: {len(sizes)}, about {words}."


def best_epoch(history: list[dict]) -> int:
    """The epoch, from 1, with the lowest loss on the val photos; the first of equals."""
    return min(history, key=lambda row: row["val_loss"])["epoch"]


def answers(forward: Any, photos: Photos, label: str, mirror: bool = False) -> np.ndarray:
    """Probabilities of the classes of the photos, or of their mirror images: float64 (N, K), in
    batches, with progress.
    """
    size = 4 * learning.BATCH
    starts = range(0, len(photos), size)
    step = -1 if mirror else 1
    batches = (forward(photos.images[i : i + size][:, :, ::step]).numpy() for i in starts)
    return probabilities(np.concatenate(list(progress(batches, len(starts), label))))


def measure(p: np.ndarray, photos: Photos) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy, to four digits."""
    result = count_right(p, photos.labels)
    loss = float(cross_entropy(p, photos.labels).mean())
    return round(loss, 4), round(result.correct / result.total, 4)


def write_history(out: Path, history: list[dict]) -> None:
    """Write history.jsonl and curves.png, atomically each."""
    with replacing(out / HISTORY) as new:
        new.write_text("".join(json.dumps(row) + "\n" for row in history), encoding="utf-8")
    shown = {kind: [math.nan, *(row[kind] for row in history)] for kind in runs.CURVES}
    figure = curves.learning_curves(metrics.History(**shown, best=best_epoch(history)))
    with replacing(out / "curves.png") as new:
        new.write_bytes(canvas.png(canvas.drawn(figure)))


def finish(
    plan: Plan, model: Any, p: np.ndarray, parts: dict[str, Photos], out: Path, **about: Any
) -> None:
    """Write model.keras and result.json, and say what p (N, K) makes of the test photos.

    about: what else the result tells, JSON values by name.
    """
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
        "machine": measuring.machine(),
        "date": date.today().isoformat(),
    }
    write_json(out / RESULT, facts)
    file = out / "model.keras"
    file = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    print(f"Test photos, asked once: {result}.\n{by_class(p, parts['test'])}.")
    print(f"The model is {file}.", flush=True)


def _run(plan: Plan, recipe: Recipe) -> dict[str, Any]:
    """What makes two runs the same run, by name, as JSON gives it back."""
    return json.loads(json.dumps({**plan._asdict(), **recipe._asdict()}))


def save(
    path: Path, plan: Plan, recipe: Recipe, state: list, history: list[dict], best: list
) -> None:
    """Write a checkpoint, atomically: the last good one survives whatever happens."""
    about = json.dumps({"run": _run(plan, recipe), "history": history})
    values = [variable.numpy() for variable in state]
    with replacing(path) as new:
        np.savez(new, np.array(about), *values, *best)


def restore(
    path: Path, plan: Plan, recipe: Recipe, state: list, best: int
) -> tuple[list[dict], list]:
    """Put a checkpoint's state back; returns its history and its best weights, `best` arrays.

    Raises UserError if it is damaged or of another run.
    """
    run = _run(plan, recipe)
    try:
        about, *values = read_arrays(path)
        about = json.loads(str(about))
        then = dict(about["run"])
        made = {name: then.get(name) for name in run}  # None: the recipe of then lacked it
        shapes = [tuple(variable.shape) for variable in state]
        if made == run and [value.shape for value in values[:-best]] != shapes:
            raise ValueError
    except DAMAGE as error:
        raise UserError(f"{path} is damaged: delete it and start again.") from error
    if made != run:
        changed = [name for name in run if made[name] != run[name] and name != "files"]
        pairs = [f"{name} {made[name]!r}, not {run[name]!r}" for name in changed]
        other = "; ".join(pairs) or "other photos"
        raise UserError(f"{path} is of another run ({other}): name another folder by --out.")
    for variable, value in zip(state, values, strict=False):
        variable.assign(value)
    return about["history"], values[-best:]
