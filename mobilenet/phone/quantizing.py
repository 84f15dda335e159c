"""What rounding to a few bits does: the arithmetic of 8-bit numbers, on weights and on networks.

A rounded number is a whole one, the level q, that stands for scale · (q − zero point). Levels of
weights lie about 0, their zero point is 0. One scale may serve a whole kernel ("per tensor") or
there may be one for each output channel ("per channel"). Jacob et al. 2018 (arXiv 1712.05877),
Krishnamoorthi 2018 (arXiv 1806.08342), Nagel et al. 2019 (arXiv 1906.04721); the levels are those
of LiteRT's specification of 8 bits.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mobilenet import BATCH, UserError
from mobilenet.networks.folding import fold
from mobilenet.system.engine import keras, tf
from mobilenet.system.progress import progress

KINDS = ("depthwise", "pointwise", "other")  # of the layers whose weights are rounded

layers = keras.layers


# --- Numbers ---


def limits(bits: int) -> tuple[int, int]:
    """Return the lowest and the highest level of so many bits, −128 and 127 of 8.

    Raises UserError for fewer than 2 and more than 16 bits.
    """
    if not 2 <= bits <= 16:
        raise UserError(f"Numbers cannot be rounded to {bits} bits: use 2 to 16.")
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def grid(low: float, high: float, bits: int = 8) -> tuple[float, int]:
    """Return (scale, zero point) of levels from `low` to `high`, one of which is 0.

    The range is widened to hold 0; where it is nothing but 0, the scale is 1. Raises UserError as
    `limits` does, and for bounds that are no numbers or in the wrong order.
    """
    if not (np.isfinite([low, high]).all() and low <= high):
        raise UserError(f"There are no levels from {low} to {high}: name the lower bound first.")
    lowest, highest = limits(bits)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(high - low) / (highest - lowest) or 1.0
    return scale, int(np.rint(lowest - low / scale))


def quantize(values: Any, scale: float, zero_point: int, bits: int = 8) -> np.ndarray:
    """Return the nearest levels, int32, of an array's shape; what lies beyond the last is clipped.

    Within the range that `grid` was made for, no value is farther than scale / 2 from its level.
    """
    nearest = np.rint(np.asarray(values, np.float64) / scale) + zero_point
    return np.clip(nearest, *limits(bits)).astype(np.int32)


def dequantize(levels: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return what levels stand for: scale · (level − zero point), float64."""
    return scale * (levels.astype(np.float64) - zero_point)


# --- Kernels ---


def kind_of(layer: Any) -> str | None:
    """Return one of KINDS, or None if the layer has no kernel."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return "depthwise"
    if isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1):
        return "pointwise"
    return "other" if isinstance(layer, layers.Conv2D | layers.Dense) else None


def by_channel(layer: Any) -> np.ndarray:
    """Return a layer's kernel, a row for each output channel: float32 (channels, weights of each).

    A depthwise kernel holds its channels in the last axis but one, every other in the last.
    """
    kernel = layer.kernel.numpy()
    axis = -2 if kind_of(layer) == "depthwise" else -1
    return np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)


def scales(rows: np.ndarray, per_channel: bool, bits: int = 8) -> np.ndarray:
    """Return the scale for each channel, float64 (channels,), so that its largest weight is the
    last level; per tensor, that of the kernel's largest. Where all weights are 0, it is 1.

    rows: as `by_channel` gives them.
    """
    largest = np.abs(rows).max(axis=1).astype(np.float64)
    if not per_channel:
        largest[:] = largest.max()
    return np.where(largest > 0, largest / limits(bits)[1], 1.0)


def weight_levels(rows: np.ndarray, per_channel: bool, bits: int = 8) -> np.ndarray:
    """Return the nearest level of each weight, int32 (channels, weights): −127 to 127 with 8 bits,
    so that weights and their negatives are rounded alike.
    """
    return np.rint(rows / scales(rows, per_channel, bits)[:, None]).astype(np.int32)


def rounded(rows: np.ndarray, per_channel: bool, bits: int = 8) -> np.ndarray:
    """Return what the levels of weights stand for: float64 (channels, weights)."""
    step = scales(rows, per_channel, bits)[:, None]
    return weight_levels(rows, per_channel, bits) * step


def signal_to_noise(exact: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the signal-to-noise ratio by row, float64 (rows,), in decibels: 6 more for each bit.

    0 where all numbers of a row became 0, infinite where none is wrong.
    """
    exact = exact.astype(np.float64)
    noise = ((exact - found) ** 2).sum(axis=1)
    power = (exact**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(noise > 0, 10 * np.log10(power / noise), np.inf)


def kernels(model: Any) -> dict[str, Any]:
    """Return the layers of a network that have a kernel, by name, front to back; also those of
    networks inside it.
    """
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= kernels(layer)
        elif kind_of(layer):
            found[layer.name] = layer
    return found


def worst(model: Any, kind: str, bits: int = 8) -> Any:
    """Return the layer of a kind to which one scale for its whole kernel does most harm: the lowest
    median over its channels of `signal_to_noise`.
    """
    of_kind = [layer for layer in kernels(model).values() if kind_of(layer) == kind]

    def clear(layer):
        rows = by_channel(layer)
        return np.median(signal_to_noise(rows, rounded(rows, False, bits)))

    return min(of_kind, key=clear)


def rounded_weights(
    model: Any, per_channel: bool, bits: int = 8, kinds: Sequence[str] = KINDS
) -> list[np.ndarray]:
    """Return the weights of a network, as its `set_weights` takes them, with the kernels of the
    named kinds rounded. Biases stay as they are: a device keeps them in 32 bits.
    """
    new = {}
    for layer in kernels(model).values():
        if kind_of(layer) in kinds:
            kernel, rows = layer.kernel.numpy(), by_channel(layer)
            axis = -2 if kind_of(layer) == "depthwise" else -1
            shape = (kernel.shape[axis], *np.delete(kernel.shape, axis))
            found = rounded(rows, per_channel, bits).reshape(shape)
            new[id(layer.kernel)] = np.moveaxis(found, 0, axis).astype(kernel.dtype)
    return [new.get(id(w), w.numpy()) for w in model.weights]


def corrected(model: Any, photos: np.ndarray) -> Any:
    """Return a copy of a folded network with its kernels rounded to 8 bits per channel, and biases
    that make up for it: each channel's mean over these photos is what it was (Nagel et al. 2019,
    section 4.2, by photos as in appendix D).

    A channel sums few rounded weights again and again, so their errors do not cancel, they move
    its mean. photos: as the model takes them, float32 (N, size, size, 3); some dozens will do.
    """
    copy = fold(model)
    copy.set_weights(rounded_weights(model, per_channel=True))
    _correct(model, copy, photos, photos)
    return copy


def _correct(exact: Any, copy: Any, wanted: Any, found: Any) -> tuple[Any, Any]:
    """Return both networks' outputs, each of its inputs; correct the copy's biases on the way."""
    tensors = {id(exact.input): (wanted, found)}
    # Of a network in a network, .input is its own; the node tells what it is given here.
    nodes = {layer.name: layer._inbound_nodes[0] for layer in exact.layers}
    inputs = {name: node.input_tensors for name, node in nodes.items()}
    left = Counter(id(tensor) for some in inputs.values() for tensor in some)
    for layer in exact.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        other = copy.get_layer(layer.name)
        taken = zip(*(tensors[id(tensor)] for tensor in inputs[layer.name]), strict=True)
        one, two = (list(some) if len(some) > 1 else some[0] for some in taken)
        if isinstance(layer, keras.Model):
            one, two = _correct(layer, other, one, two)
        else:
            one, two = layer(one), other(two)
            if kind_of(layer) and layer.use_bias:
                shift = tf.reduce_mean(two - one, range(len(two.shape) - 1))
                other.bias.assign_sub(shift)
                two -= shift
        tensors[id(nodes[layer.name].outputs[0])] = one, two
        for tensor in inputs[layer.name]:  # no longer needed
            left[id(tensor)] -= 1
            if not left[id(tensor)]:
                del tensors[id(tensor)]
    return tensors[id(exact.output)]


class Trial(NamedTuple):
    """What came of rounding: relative error of the features; logits, (N, 1) or (N, K)."""

    error: float
    logits: np.ndarray


def trials(
    model: Any, photos: np.ndarray, bits: Sequence[int], groups: Mapping[str, Sequence[str]]
) -> dict[tuple[str, bool, int], Trial]:
    """Return what a classifier answers with its kernels rounded: a Trial by (group, per channel,
    bits). Activations and biases are exact.

    model: as `classifier.assemble` and then `folding.fold` give it; it stays as it is. photos:
    uint8 (N, size, size, 3). groups: which of KINDS are rounded together, by a name.
    """
    copy = fold(model)
    both = keras.Model(copy.input, [copy.get_layer("pool").output, copy.output])
    forward = tf.function(lambda some: both(tf.cast(some, tf.float32), training=False))
    forward = forward.get_concrete_function(tf.TensorSpec((None, *photos.shape[1:]), tf.uint8))
    parts = [tf.constant(photos[i : i + BATCH]) for i in range(0, len(photos), BATCH)]

    def predict() -> list[np.ndarray]:
        return [np.concatenate(outputs) for outputs in zip(*map(forward, parts), strict=True)]

    exact, _ = predict()
    found = {}
    ways = [(group, whole, n) for n in bits for group in groups for whole in (False, True)]
    for group, per_channel, n in progress(ways, len(ways), "Rounded networks"):
        copy.set_weights(rounded_weights(model, per_channel, n, groups[group]))
        pooled, logits = predict()
        error = float(np.linalg.norm(pooled - exact) / np.linalg.norm(exact))
        found[group, per_channel, n] = Trial(error, logits)
    return found


# --- Activations ---


def activation_ranges(model: Any, photos: np.ndarray) -> dict[str, np.ndarray]:
    """Return the lowest and highest number at each layer of a MobileNetV2: float64 (layers, 2), by
    where: "before ReLU6", "after ReLU6" and "bottleneck" (behind a block's linear projection).

    photos: as the model takes them, float32 (N, size, size, 3) in [-1, 1].
    """
    clips = [layer for layer in model.layers if isinstance(layer, layers.ReLU)]
    linear = [layer for layer in model.layers if layer.name.endswith("project_BN")]
    tensors = {
        "before ReLU6": [layer.input for layer in clips],
        "after ReLU6": [layer.output for layer in clips],
        "bottleneck": [layer.output for layer in linear],
    }
    every = [tensor for some in tensors.values() for tensor in some]
    ends = [end(tensor) for end in (keras.ops.min, keras.ops.max) for tensor in every]
    ask, parts = keras.Model(model.input, ends), []
    for i in progress(range(0, len(photos), BATCH), -(-len(photos) // BATCH), "Ranges"):
        part = ask(photos[i : i + BATCH], training=False)
        parts.append(np.reshape([float(end) for end in part], (2, len(every))))
    low, high = np.min(parts, axis=0)[0], np.max(parts, axis=0)[1]
    bounds = np.cumsum([len(some) for some in tensors.values()])[:-1]
    both = np.split(np.stack([low, high], axis=1), bounds)
    return dict(zip(tensors, both, strict=True))
