"""What the parts of MobileNet are for: small experiments with each of them.

Linear bottlenecks: Sandler et al. 2018, arXiv 1801.04381, section 3.2 and figure 1. Shortcuts:
its section 3.3. ReLU6 under rounding: its section 3.2, after Howard et al. 2017. Then the time
that each kind of layer takes, to lie beside its multiply-adds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mobilenet.networks import cost, mobilenets
from mobilenet.system import measuring
from mobilenet.system.engine import keras, tf

layers = keras.layers


# --- Linear bottlenecks ---


class Passage(NamedTuple):
    """What became of N points on the plane that went through n dimensions.

    back: (N, 2), brought back by the pseudo-inverse of the way there. intact: (N,), whether two or
    more of the n numbers came through, so that the point's neighbourhood is still a plane; with
    one it is a line, with none a point. kept: share of the points' variance, in [0, 1], that the
    best linear layer finds in what came through.
    """

    back: np.ndarray
    intact: np.ndarray
    kept: float


def spiral(count: int = 300) -> np.ndarray:
    """Points along two turns of a spiral about the origin, float64 (count, 2) in [-1, 1]."""
    t = np.linspace(0.1, 1, count)
    return t[:, None] * np.stack([np.cos(4 * np.pi * t), np.sin(4 * np.pi * t)], axis=1)


def passage(points: np.ndarray, dimensions: int, seed: Any, relu: bool = True) -> Passage:
    """Points (N, 2) through a random matrix to `dimensions` numbers, ReLU, and back to the plane.

    Figure 1 of the V2 paper. seed: any that NumPy takes; the matrix's numbers are normal. relu:
    False leaves the ReLU out.
    """
    there = np.random.default_rng(seed).normal(size=(2, dimensions))
    through = points @ there
    if relu:
        through = np.maximum(through, 0)
    known = np.column_stack([through, np.ones(len(points))])
    best = known @ np.linalg.lstsq(known, points, rcond=None)[0]
    lost = ((points - best) ** 2).sum() / ((points - points.mean(axis=0)) ** 2).sum()
    intact = (through != 0).sum(axis=1) >= 2
    return Passage(through @ np.linalg.pinv(there), intact, float(1 - lost))


def share_intact(dimensions: int) -> float:
    """How much of the plane keeps two or more of n numbers through ReLU, on average over matrices.

    Each number is positive with probability 1/2, independently: 1 - (1 + n) / 2ⁿ, in [0, 1].
    """
    return 1 - (1 + dimensions) / 2**dimensions


# --- Shortcuts ---


def gratings(count: int, seed: int, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Stripes in four directions, in noise as strong as they are: a task that needs seconds.

    Returns (photos, labels): float32 (count, size, size, 1), int64 (count,) from 0 to 3.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    angle, phase = labels * np.pi / 4, rng.uniform(0, 2 * np.pi, count)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    across = np.multiply.outer(np.cos(angle), x) + np.multiply.outer(np.sin(angle), y)
    photos = np.sin(1.2 * across + phase[:, None, None]) + rng.normal(size=(count, size, size))
    return photos[..., None].astype(np.float32), labels


def stack(depth: int, shortcut: bool, size: int = 12, channels: int = 16) -> Any:
    """A network of `depth` inverted residual blocks of equal shape, t = 3, with or without their
    shortcuts: float32 (B, size, size, 1) → logits (B, 4).
    """
    inputs = keras.Input((size, size, 1))
    x = layers.Conv2D(channels, 3, padding="same", name="stem")(inputs)
    for i in range(1, depth + 1):
        x = mobilenets.inverted_residual(x, 3, channels, 1, i, shortcut)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def losses(
    model: Any,
    photos: np.ndarray,
    labels: np.ndarray,
    steps: int,
    learning_rate: float,
    batch: int = 32,
) -> np.ndarray:
    """Cross-entropy of each training step, in nats: float64 (steps,). Trains `model` by
    gradient descent with momentum 0.9.

    Batches are taken in order and begin anew when the photos are used up.
    """
    optimizer = keras.optimizers.SGD(learning_rate, momentum=0.9)
    weights = model.trainable_variables
    optimizer.build(weights)
    measure = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(some, their_labels):
        with tf.GradientTape() as tape:
            loss = measure(their_labels, model(some, training=True))
        optimizer.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)
        return loss

    chosen = [np.arange(k * batch, (k + 1) * batch) % len(photos) for k in range(steps)]
    # Traced here: a cell that is run again and again would be warned of tracing too often.
    first = photos[chosen[0]], labels[chosen[0]]
    step = tf.function(step, autograph=False).get_concrete_function(*first)
    return np.array([float(step(photos[i], labels[i])) for i in chosen])


# --- ReLU6 and rounding ---


def relus(model: Any) -> list[Any]:
    """The ReLU6 layers of a model, from front to back."""
    return [layer for layer in model.layers if isinstance(layer, layers.ReLU)]


def largest_before_clip(model: Any, photos: Any) -> dict[str, float]:
    """The largest number that comes to each ReLU6, by the layer's name; photos as the model's
    input wants them, float32 (B, size, size, 3) in [-1, 1].
    """
    clips = relus(model)
    largest = keras.Model(model.input, [keras.ops.max(layer.input) for layer in clips])(photos)
    return {layer.name: float(value) for layer, value in zip(clips, largest, strict=True)}


def with_activations(model: Any, activations: Mapping[str, Callable]) -> Any:
    """A copy of a model, with the same weights, in which other functions, by the layer's name,
    stand for the ReLU6 layers.
    """

    def copy(layer):
        if layer.name in activations:
            return layers.Lambda(activations[layer.name], name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    changed = keras.models.clone_model(model, clone_function=copy)
    changed.set_weights(model.get_weights())
    return changed


def with_relu_behind(model: Any, ending: str) -> Any:
    """Return a copy of a model, with the same weights, in which a ReLU stands behind each layer
    whose name ends with `ending`.
    """

    def call(layer, inputs, **_):
        outputs = layer(inputs)
        return keras.ops.relu(outputs) if layer.name.endswith(ending) else outputs

    changed = keras.models.clone_model(model, call_function=call)
    changed.set_weights(model.get_weights())
    return changed


def rounded_relu6(step: float) -> Callable:
    """ReLU6, then the nearest multiple of `step`, which is above 0."""
    return lambda x: keras.ops.round(keras.ops.clip(x, 0.0, 6.0) / step) * step


def relative_error(values: Any, exact: Any) -> float:
    """Length of the difference over the length of what is exact; arrays of one shape."""
    return float(np.linalg.norm(np.subtract(values, exact)) / np.linalg.norm(exact))


# --- Time ---


def compiled(layer: Any, shapes: Sequence[tuple[int, ...]], batch: int = 1) -> Callable:
    """One run of a layer or model, compiled by TensorFlow, on random inputs of these shapes
    (without the batch axis). Only one number of the output is fetched: the run has then ended.
    """
    # Without a seed it is refused once a training has made TensorFlow deterministic.
    inputs = [tf.random.normal((batch, *shape), seed=0) for shape in shapes]

    @tf.function(autograph=False)
    def once():
        outputs = layer(inputs if len(inputs) > 1 else inputs[0], training=False)
        return tf.reshape(outputs, [-1])[0]

    once = once.get_concrete_function()
    return lambda: once().numpy()


def kind_of(layer: Any, counted: Mapping[str, cost.Row]) -> str:
    """Its kind in `counted`, rows by layer name, else "BatchNorm", "ReLU6" or "other"."""
    if layer.name in counted:
        return counted[layer.name].kind
    names = {layers.BatchNormalization: "BatchNorm", layers.ReLU: "ReLU6"}
    return names.get(type(layer), "other")


def seconds_by_kind(
    models: Sequence[Any], batch: int = 1, repeats: int = 7
) -> list[dict[str, float]]:
    """Seconds that the layers of each kind take, each layer run alone, for each model.

    What calling a layer costs is measured with one number to work on, and taken off each layer,
    down to 0 at the least. Layers alike are timed once; the medians of `measuring.median_seconds`.
    Raises UserError as that does. The kinds come in the order of `cost.KINDS`, the others last.
    """
    works, all_keys = {}, []
    for model in models:
        counted = {row.name: row for row in cost.count(model)}
        keys = []
        for layer in model.layers:
            if isinstance(layer, layers.InputLayer):
                continue
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            shapes = tuple(tensor.shape[1:] for tensor in inputs)
            form = getattr(layer, "kernel_size", None), getattr(layer, "strides", None)
            alike = (type(layer), shapes, layer.output.shape, form)
            if alike not in works:
                works[alike] = compiled(layer, shapes, batch)
            keys.append((kind_of(layer, counted), alike))
        all_keys.append(keys)
    nothing = compiled(layers.ReLU(6.0), [(1,)])
    call, *times = measuring.median_seconds([nothing, *works.values()], repeats)
    seconds = {key: max(0.0, time - call) for key, time in zip(works, times, strict=True)}
    order = (*cost.KINDS, "BatchNorm", "ReLU6", "other")
    found = [sorted({kind for kind, _ in keys}, key=order.index) for keys in all_keys]
    return [
        {kind: math.fsum(seconds[key] for k, key in keys if k == kind) for kind in kinds}
        for kinds, keys in zip(found, all_keys, strict=True)
    ]


def shares(rows: Sequence[cost.Row], seconds: Mapping[str, float]) -> dict:
    """Return the share of multiply-adds and of time that each kind of layer has, both in [0, 1].

    rows: what `cost.count` says of a network; seconds: what `seconds_by_kind` says, whose kinds
    these are. {kind: (share of multiply-adds, share of time)}; BatchNorm's and ReLU6's first is 0.
    """
    work, whole, clock = cost.by_kind(rows), cost.totals(rows), sum(seconds.values())
    adds = {kind: part.multiply_adds / whole.multiply_adds for kind, part in work.items()}
    return {kind: (adds.get(kind, 0.0), taken / clock) for kind, taken in seconds.items()}
