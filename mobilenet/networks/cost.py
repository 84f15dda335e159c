"""What convolution costs, in multiply-adds and parameters: by closed forms and by Keras models.

The papers' convention: one multiply and one add count one; convolution and dense layers count,
BatchNorm, bias additions, activations and pooling do not; a product with padding counts.
Parameters are the kernels and biases of those same layers. Everything is for one photo.

Letters are those of Howard et al. 2017 (MobileNets, arXiv 1704.04861): a D_K × D_K kernel
takes M channels to N channels on a map of D_F × D_F pixels, stride 1, padded.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

from mobilenet import UserError

MODELS = {"mobilenet_v1": "MobileNet", "mobilenet_v2": "MobileNetV2"}  # names in Keras
KINDS = ("standard", "depthwise", "pointwise", "grouped", "transposed", "dense")


class Cost(NamedTuple):
    """What one layer of the paper costs; its layers have no bias."""

    multiply_adds: int
    parameters: int


class Row(NamedTuple):
    """What one call of one layer costs; shapes are without the batch axis."""

    name: str
    kind: str  # one of KINDS
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    multiply_adds: int
    parameters: int  # 0 where an earlier row has counted the layer's weights


# --- Closed forms ---


def thin(d_k: int, m: int, n: int, d_f: int, alpha: float, rho: float) -> tuple[int, int, int]:
    """(αM, αN, ρD_F), each rounded to a whole number of at least 1.

    alpha is the width multiplier, rho the resolution multiplier: finite and above 0. Raises
    UserError for others, and for a D_K, M, N or D_F that is not a whole number from 1 up.
    """
    if not all(isinstance(number, Integral) and number >= 1 for number in (d_k, m, n, d_f)):
        raise UserError(
            f"D_K, M, N and D_F are whole numbers from 1 up, not {d_k}, {m}, {n} and {d_f}."
        )
    if not all(0 < factor < math.inf for factor in (alpha, rho)):
        raise UserError(f"Alpha and rho are finite numbers above 0, not {alpha} and {rho}.")
    return max(1, round(alpha * m)), max(1, round(alpha * n)), max(1, round(rho * d_f))


def standard(d_k: int, m: int, n: int, d_f: int, alpha: float = 1.0, rho: float = 1.0) -> Cost:
    """Standard convolution: D_K·D_K·M·N·D_F·D_F multiply-adds (V1 paper, equation 2).

    alpha and rho put αM, αN and ρD_F for M, N and D_F. Raises UserError as `thin` does.
    """
    m, n, d_f = thin(d_k, m, n, d_f, alpha, rho)
    return Cost(d_k * d_k * m * n * d_f * d_f, d_k * d_k * m * n)


def depthwise(d_k: int, m: int, d_f: int, alpha: float = 1.0, rho: float = 1.0) -> Cost:
    """Depthwise convolution, one kernel a channel: D_K·D_K·M·D_F·D_F (V1 paper, equation 4)."""
    m, _, d_f = thin(d_k, m, m, d_f, alpha, rho)
    return Cost(d_k * d_k * m * d_f * d_f, d_k * d_k * m)


def pointwise(m: int, n: int, d_f: int, alpha: float = 1.0, rho: float = 1.0) -> Cost:
    """Pointwise convolution, 1 × 1 over all channels: M·N·D_F·D_F multiply-adds."""
    return standard(1, m, n, d_f, alpha, rho)


def separable(d_k: int, m: int, n: int, d_f: int, alpha: float = 1.0, rho: float = 1.0) -> Cost:
    """Depthwise, then pointwise: D_K·D_K·M·D_F·D_F + M·N·D_F·D_F (V1 paper, equations 5 to 7)."""
    first = depthwise(d_k, m, d_f, alpha, rho)
    second = pointwise(m, n, d_f, alpha, rho)
    return Cost(first.multiply_adds + second.multiply_adds, first.parameters + second.parameters)


# --- Keras models ---


def count(model) -> list[Row]:
    """What each convolution and dense layer of a Keras model costs, in the order of the calls.

    The model is not run: its layers are counted where they stand, and so are those of models in
    it. A layer that is called twice gives two rows, the second without parameters; a separable
    convolution gives a depthwise and a pointwise row.

    Raises UserError for an input size that is not defined, and for any other layer that has a
    weight of two axes or more (recurrent, attention, layers inside layers, your own kernels).
    """
    return _count(model, set())


def _count(model, seen: set[int]) -> list[Row]:
    """As `count`; seen: the ids of layers that have been counted, to which it adds its own."""
    from mobilenet.system.engine import keras

    inputs = getattr(model, "inputs", None)
    if not inputs or any(None in tensor.shape[1:] for tensor in inputs):
        raise UserError(
            f"{model.name} has no defined input size: build it with one, such as (224, 224, 3)."
        )
    rows = []
    # Not `layer.output`: a layer may have been called in other models, too.
    by_depth = getattr(model, "_functional", model)._nodes_by_depth
    for node in (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]):
        layer = node.operation
        if isinstance(layer, keras.Model):
            rows += _count(layer, seen)
        elif costs := _rows(node):
            rows += [row._replace(parameters=0) for row in costs] if id(layer) in seen else costs
            seen.add(id(layer))
        elif any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ())):
            raise UserError(
                f"Cannot count the multiply-adds of {layer.name}, which is neither a convolution "
                "nor a dense layer: count a model without it."
            )
    return rows


def _rows(node) -> list[Row]:
    """The costs of a node, one call of a layer: none, one, or two for a separable convolution."""
    from mobilenet.system.engine import keras

    layer, kl = node.operation, keras.layers
    convolutions = (kl.Conv1D, kl.Conv2D, kl.Conv3D)
    depthwises = (kl.DepthwiseConv1D, kl.DepthwiseConv2D)
    separables = (kl.SeparableConv1D, kl.SeparableConv2D)
    transposeds = (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose)
    if not isinstance(layer, (kl.Dense, *convolutions, *depthwises, *separables, *transposeds)):
        return []
    before, after = (tuple(x.shape[1:]) for x in (node.input_tensors[0], node.output_tensors[0]))
    axis = 0 if getattr(layer, "data_format", "") == "channels_first" else -1
    biases = after[axis] if layer.use_bias else 0

    def pixels(shape: tuple) -> int:
        return math.prod(shape) // shape[axis]

    def row(kind: str, kernel, before: tuple, after: tuple, biases: int) -> Row:
        # A transposed kernel is laid on every input pixel, any other on every output pixel.
        times = pixels(before if kind == "transposed" else after)
        weights = math.prod(kernel.shape)
        return Row(layer.name, kind, before, after, weights * times, weights + biases)

    if isinstance(layer, separables):
        middle = list(after)
        middle[axis] = layer.pointwise_kernel.shape[-2]
        middle = tuple(middle)
        return [
            row("depthwise", layer.depthwise_kernel, before, middle, 0),
            row("pointwise", layer.pointwise_kernel, middle, after, biases),
        ]
    if isinstance(layer, depthwises) or getattr(layer, "groups", 1) == before[axis] > 1:
        kind = "depthwise"
    elif isinstance(layer, transposeds):
        kind = "transposed"
    elif isinstance(layer, kl.Dense):
        kind = "dense"
    else:
        kind = _kind(layer, pixels(before))
    return [row(kind, layer.kernel, before, after, biases)]


def _kind(convolution: Any, pixels: int) -> str:
    """Which of KINDS a plain convolution is that takes so many pixels."""
    if convolution.groups > 1:
        return "grouped"
    if set(convolution.kernel_size) != {1}:
        return "standard"
    # V1's classifier is a convolution of a single pixel, with biases.
    return "dense" if pixels == 1 and convolution.use_bias else "pointwise"


def totals(rows: Sequence[Row]) -> Cost:
    """Multiply-adds and parameters of all rows together."""
    return Cost(sum(row.multiply_adds for row in rows), sum(row.parameters for row in rows))


def by_kind(rows: Sequence[Row]) -> dict[str, Cost]:
    """The totals of each of KINDS that occurs, in that order."""
    found = {kind: [row for row in rows if row.kind == kind] for kind in KINDS}
    return {kind: totals(some) for kind, some in found.items() if some}


def build(model: str, alpha: float = 1.0, size: int = 224):
    """One of MODELS with its classifier of 1,000 classes and random weights, for size² photos.

    Raises UserError if there is no such network.
    """
    from mobilenet.system.engine import keras

    network = getattr(keras.applications, MODELS[model])
    try:
        return network(input_shape=(size, size, 3), alpha=alpha, weights=None)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"No {model} with alpha {alpha} at {size} pixels: {reason}") from None


# --- What a multiply-add does not tell ---


def bytes_moved(row: Row, photos: int = 1) -> int:
    """Bytes that a layer must move at the least, for a batch of photos of 32-bit floats.

    Inputs read once, weights read once, outputs written once, nothing kept from layer to layer.
    """
    values = math.prod(row.input_shape) + math.prod(row.output_shape)
    return 4 * (photos * values + row.parameters)
