"""A trained network in the form that LiteRT runs, written straight from Keras's description of it.

TensorFlow's converter takes 3 to 8 s for a network of this size, and needs TensorFlow; this takes a
tenth of a second and NumPy. BatchNorm is folded into the convolution before it, ReLU6 is computed
by the layer before it, and padding by the convolution after it. Only the layers of MobileNet and
its heads are known; for others `Unknown` is raised, and Keras computes.

The form is LiteRT's schema.fbs, version 3.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import flatbuffers
import numpy as np

MOST = 1 << 27  # numbers that a layer gives for one photo; MobileNetV2 of 224 pixels: 1.2 million
ALIGNED = 16  # bytes: where the schema wants weights to begin
CONVOLUTIONS = "Conv2D", "DepthwiseConv2D"
LINEAR = None, "linear"
NOTHING = "Dropout", "Identity", "InputLayer"  # they give what they take


# What a description raises that says other things than are asked of it here.
MALFORMED = KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError


class Unknown(Exception):
    """A network has a layer that is not known here; the text says which."""


class Layer(NamedTuple):
    """A layer: its name, with those of the networks around it, its kind and settings as Keras has
    them, the names of the layers whose results it takes, and its weights.
    """

    name: str
    kind: str
    config: dict[str, Any]
    inputs: tuple[str, ...]
    weights: Sequence[np.ndarray] = ()


# Those of a layer, by the names of the networks around it and its own.
Weights = Callable[[tuple[str, ...]], Sequence[np.ndarray]]


def layers_of(model: Any) -> list[Layer]:
    """The layers of a Keras network, each after those whose results it takes. Raises Unknown."""
    return described(model.get_config(), _weights_of(model))


def _weights_of(model: Any) -> Weights:
    def weights(path: tuple[str, ...]) -> list[np.ndarray]:
        layer = model
        for name in path:
            layer = layer.get_layer(name)
        return layer.get_weights()

    return weights


def described(config: dict[str, Any], weights: Weights) -> list[Layer]:
    """The layers of a network that Keras describes by this `config`, those of a network in it in
    the place of that.

    Raises Unknown unless each layer is called once, with nothing but tensors.
    """
    try:
        return list(_described(config, weights, (), ()))
    except MALFORMED as error:
        raise Unknown(f"a layer that is called as none here is ({error})") from error


def _described(
    config: dict[str, Any], weights: Weights, around: tuple[str, ...], taken: tuple[str, ...]
) -> Iterator[Layer]:
    """taken: what the network takes, where it lies in another."""
    starts = dict(zip(_ends(config["input_layers"]), taken, strict=False))
    for one in config["layers"]:
        path = (*around, one["config"]["name"])
        name, kind = "/".join(path), one["class_name"]
        inputs = tuple("/".join((*around, before)) for before in _inputs(one))
        if path[-1] in starts:
            yield Layer(name, "Identity", {}, (starts[path[-1]],))
        elif kind == "Functional":
            yield from _described(one["config"], weights, path, inputs)
            (last,) = _ends(one["config"]["output_layers"])
            yield Layer(name, "Identity", {}, ("/".join((*path, last)),))
        else:
            yield Layer(name, kind, one["config"], inputs, weights(path))


def _ends(ends: list[Any]) -> list[str]:
    """The names of a network's inputs or outputs; Keras writes a single one without a list."""
    return [end[0] for end in ([ends] if isinstance(ends[0], str) else ends)]


def _inputs(layer: dict[str, Any]) -> Iterator[str]:
    """The names of the layers whose results a layer takes."""
    arguments = [of for node in layer["inbound_nodes"] for of in node["args"]]
    while arguments:
        one = arguments.pop(0)
        if isinstance(one, (list, tuple)):
            arguments[:0] = one
        else:
            yield one["config"]["keras_history"][0]


def of_photos(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of a network that takes [-1, 1], behind one that brings photos from 0 to 255
    there, as `mobilenets.preprocess` does.
    """
    first, *others = layers
    photo, scale = {"batch_shape": first.config["batch_shape"]}, {"scale": 1 / 127.5, "offset": -1}
    return [
        Layer("photo", "InputLayer", photo, ()),
        Layer("photo/scaled", "Rescaling", scale, ("photo",)),
        Layer(first.name, "Identity", {}, ("photo/scaled",)),
        *others,
    ]


def pooled(name: str) -> Layer:
    """A layer that averages what the named one gives over the positions of its map."""
    return Layer(f"{name}/pooled", "GlobalAveragePooling2D", {"keepdims": False}, (name,))


def whole(config: dict[str, Any], weights: Weights) -> bytes:
    """The content of a `.tflite` file for a network of one input and one output that Keras
    describes by this `config`. Raises Unknown.
    """
    layers = described(config, weights)
    ends = _ends(config["output_layers"])
    if len(ends) != 1:
        raise Unknown("more than one output")
    return written(layers, ends)


def of_model(model: Any) -> bytes:
    """The content of a `.tflite` file for a Keras network, as `whole`."""
    return whole(model.get_config(), _weights_of(model))


def folded(
    kernel: np.ndarray,
    bias: np.ndarray | float,
    norm: Sequence[np.ndarray],
    epsilon: float,
    depthwise: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias, float64, of the convolution that does what this one and the BatchNorm after
    it do: y = γ (x − μ) / √(σ² + ε) + β is a factor and a shift for each channel.

    norm: γ, β, μ and σ². depthwise: the channels are the last two axes of the kernel.
    """
    gamma, beta, mean, variance = map(np.float64, norm)
    factor = gamma / np.sqrt(variance + epsilon)
    by_channel = factor.reshape(kernel.shape[2:]) if depthwise else factor
    return kernel * by_channel, beta + (bias - mean) * factor


def written(layers: Sequence[Layer], outputs: Sequence[str]) -> bytes:
    """The content of a `.tflite` file: float32 (1, size, size, 3) to the results of the layers that
    outputs names, float32, in this order. What they do not need is left out.

    Raises Unknown for a layer that is not known here, or that takes more memory than a photo may.
    """
    try:
        merged, stands = _merged(_needed(layers, outputs), outputs)
        file = _File()
        for layer in merged:
            file.add(layer)
        return file.packed([stands.get(name, name) for name in outputs])
    except MALFORMED as error:
        raise Unknown(f"a layer with other settings than are known here ({error})") from error


def _needed(layers: Sequence[Layer], outputs: Sequence[str]) -> list[Layer]:
    wanted, found = set(outputs), []
    for layer in reversed(layers):
        if layer.name in wanted:
            wanted.update(layer.inputs)
            found.append(layer)
    return found[::-1]


def _merged(layers: Sequence[Layer], outputs: Sequence[str]) -> tuple[list[Layer], dict[str, str]]:
    """The same network in fewer layers, and for each that is gone the one with its result."""
    made: dict[str, Layer] = {}
    stands: dict[str, str] = {}
    users = Counter(outputs) + Counter(name for layer in layers for name in layer.inputs)
    for layer in layers:
        layer = layer._replace(inputs=tuple(stands.get(name, name) for name in layer.inputs))
        before = made.get(layer.inputs[0]) if layer.inputs else None
        joined = before and _joined(before, layer, alone=users[before.name] == 1)
        if joined:
            made[before.name], stands[layer.name] = joined, before.name
            users[before.name] += users[layer.name] - 1
        else:
            made[layer.name] = layer
    return list(made.values()), stands


def _joined(before: Layer, layer: Layer, alone: bool) -> Layer | None:
    """Both in one, if that can be. alone: nothing else takes what the first gives."""
    if layer.kind in NOTHING:
        return before
    if not alone or "fused" in before.config or before.config.get("activation") not in LINEAR:
        return None
    if layer.kind == "ReLU" and before.kind in (*CONVOLUTIONS, "Add"):
        return before._replace(config=before.config | {"fused": _bounded(layer)})
    if layer.kind == "BatchNormalization" and before.kind in CONVOLUTIONS:
        kernel, *bias = before.weights
        depthwise, epsilon = before.kind == "DepthwiseConv2D", layer.config["epsilon"]
        channels = prod(kernel.shape[2:]) if depthwise else kernel.shape[-1]
        if [norm.shape for norm in layer.weights] != 4 * [(channels,)]:
            raise Unknown("a BatchNorm without scale or shift, or along another axis")
        weights = folded(kernel, sum(bias), layer.weights, epsilon, depthwise)
        return before._replace(weights=weights)
    return None


def _bounded(layer: Layer) -> str:
    """What LiteRT calls a ReLU. Raises Unknown for one that it has not."""
    config = layer.config
    bound = {None: "RELU", 6: "RELU6"}.get(config["max_value"])
    if not bound or config["negative_slope"] or config["threshold"]:
        raise Unknown("a ReLU that is neither bounded by 6 nor unbounded")
    return bound


class _File:
    """A file in the making: tensors by the name of the layer that gives them."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.graph = schema, schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs = [], [], []
        self.buffers, self.codes = [schema.BufferT()], []
        self.tensors: dict[str, tuple[int, tuple[int, ...]]] = {}  # index and shape
        self.padded: dict[str, Layer] = {}  # not written until something takes it

    def add(self, layer: Layer) -> None:
        """Write a layer. Raises Unknown for one that is not known."""
        make = MAKERS.get(layer.kind)
        if make is None or layer.config.get("activation") not in LINEAR:
            raise Unknown(f"a layer of the kind {layer.kind}")
        make(self, layer)

    def packed(self, outputs: Sequence[str]) -> bytes:
        """The whole file."""
        model = self.schema.ModelT()
        self.graph.outputs = [self._taken(name)[0] for name in outputs]
        model.version, model.subgraphs, model.buffers = 3, [self.graph], self.buffers
        model.operatorCodes = self.codes
        builder = Sharing()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, shape: Sequence[int], buffer: int = 0, kind: str = "FLOAT32") -> int:
        if min(shape, default=1) < 1 or prod(shape) > MOST:
            raise Unknown("a layer that gives nothing, or takes more memory than a photo may")
        tensor = self.schema.TensorT()
        tensor.shape, tensor.buffer = np.int32(shape), buffer
        tensor.type = getattr(self.schema.TensorType, kind)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _constant(self, values: Any, kind: type = np.float32) -> int:
        values = np.ascontiguousarray(values, kind)
        if not np.isfinite(values).all():
            raise Unknown("a layer with weights that are no numbers")
        buffer = self.schema.BufferT()
        buffer.data = values.reshape(-1).view(np.uint8)
        self.buffers.append(buffer)
        return self._tensor(values.shape, len(self.buffers) - 1, np.dtype(kind).name.upper())

    def _taken(self, name: str) -> tuple[int, tuple[int, ...]]:
        """The tensor of a layer's result, and its shape."""
        if name not in self.tensors and name in self.padded:
            layer = self.padded[name]
            before, (_, height, width, channels) = self._taken(layer.inputs[0])
            rows, columns = layer.config["padding"]
            if min(*rows, *columns) < 0:
                raise Unknown("a padding that takes away")
            shape = (1, height + sum(rows), width + sum(columns), channels)
            sides = self._constant([(0, 0), rows, columns, (0, 0)], np.int32)
            self._operate(layer.name, "PAD", [before, sides], shape, "Pad")
        return self.tensors[name]

    def _operate(
        self,
        name: str,
        operator: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        kind: str,
        **options: Any,
    ) -> None:
        """An operator that gives the tensor of this name; kind: of its options."""
        schema, made, code = self.schema, self.schema.OperatorT(), self.schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, operator)
        code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
        known = [one.builtinCode for one in self.codes]
        if code.builtinCode not in known:
            self.codes.append(code)
            known.append(code.builtinCode)
        made.opcodeIndex = known.index(code.builtinCode)
        made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
        made.builtinOptions = getattr(schema, f"{kind}OptionsT")()
        for option, value in options.items():
            setattr(made.builtinOptions, option, value)
        made.inputs, made.outputs = np.int32(inputs), np.int32([self._tensor(shape)])
        self.graph.operators.append(made)
        self.tensors[name] = int(made.outputs[0]), shape

    def _fused(self, layer: Layer) -> dict[str, int]:
        kind = self.schema.ActivationFunctionType
        return {"fusedActivationFunction": getattr(kind, layer.config.get("fused", "NONE"))}

    # --- By the kind of layer ---

    def _inputlayer(self, layer: Layer) -> None:
        shape = (1, *layer.config["batch_shape"][1:])
        if self.graph.inputs or None in shape:
            raise Unknown("an input of any size, or more than one")
        index = self._tensor(shape)
        self.graph.inputs, self.tensors[layer.name] = [index], (index, shape)

    def _zeropadding2d(self, layer: Layer) -> None:
        self.padded[layer.name] = layer

    def _conv2d(self, layer: Layer) -> None:
        channels, filters = self._shape(layer)[3], layer.config["filters"]
        kernel, bias = self._weights(layer, (*layer.config["kernel_size"], channels, filters))
        self._convolve(layer, kernel.transpose(3, 0, 1, 2), bias, "CONV_2D", "Conv2D")

    def _depthwiseconv2d(self, layer: Layer) -> None:
        channels, multiplier = self._shape(layer)[3], layer.config["depth_multiplier"]
        shape = (*layer.config["kernel_size"], channels, multiplier)
        kernel, bias = self._weights(layer, shape)
        kernel, kind = kernel.reshape(1, *shape[:2], -1), "DepthwiseConv2D"
        self._convolve(layer, kernel, bias, "DEPTHWISE_CONV_2D", kind, depthMultiplier=multiplier)

    def _weights(self, layer: Layer, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The kernel, of this shape, and the bias of a layer, zeros if it has none."""
        kernel, *bias = layer.weights or [np.empty(0)]
        channels = prod(shape[2:]) if layer.kind == "DepthwiseConv2D" else shape[-1]
        bias = bias[0] if bias else np.zeros(channels)
        if (kernel.shape, bias.shape) != (shape, (channels,)):
            raise Unknown("a layer with weights of another shape than it says")
        return kernel, bias

    def _shape(self, layer: Layer) -> tuple[int, ...]:
        """Of what a layer takes, before it is padded."""
        padding = self.padded.get(layer.inputs[0], layer)
        return self._taken(padding.inputs[0])[1]

    def _convolve(
        self,
        layer: Layer,
        kernel: np.ndarray,
        bias: np.ndarray,
        operator: str,
        kind: str,
        **options: Any,
    ) -> None:
        config, steps, sides = layer.config, layer.config["strides"], kernel.shape[1:3]
        plain = tuple(config["dilation_rate"]) == (1, 1) and config.get("groups", 1) == 1
        if not plain or config["data_format"] != "channels_last" or min(steps) < 1:
            raise Unknown("a convolution with gaps, in groups, or of another order of axes")
        same, source = config["padding"] == "same", layer.inputs[0]
        padding = self.padded.get(source)
        if padding and not same:  # then both are one, if they pad as "same" would
            lengths = zip(self._shape(layer)[1:3], sides, steps, strict=True)
            ends = [tuple(pair) for pair in padding.config["padding"]]
            same = ends == [_same(*three) for three in lengths]
            source = padding.inputs[0] if same else source
        before, (_, *lengths, _) = self._taken(source)
        lengths = [
            -(-length // step) if same else (length - side) // step + 1
            for length, side, step in zip(lengths, sides, steps, strict=True)
        ]
        options["padding"] = getattr(self.schema.Padding, "SAME" if same else "VALID")
        options |= {"strideH": steps[0], "strideW": steps[1], **self._fused(layer)}
        inputs = [before, self._constant(kernel), self._constant(bias)]
        self._operate(layer.name, operator, inputs, (1, *lengths, bias.size), kind, **options)

    def _add(self, layer: Layer) -> None:
        (first, shape), (second, other) = map(self._taken, layer.inputs)
        if shape != other:
            raise Unknown("a sum of tensors of different shapes")
        self._operate(layer.name, "ADD", [first, second], shape, "Add", **self._fused(layer))

    def _relu(self, layer: Layer) -> None:
        """One that no layer before it could take in: max(x, 0), and at most 6."""
        before, shape = self._taken(layer.inputs[0])
        kind = _bounded(layer)
        zero = self._constant([0.0])
        fused = {"fusedActivationFunction": getattr(self.schema.ActivationFunctionType, kind)}
        self._operate(layer.name, "ADD", [before, zero], shape, "Add", **fused)

    def _rescaling(self, layer: Layer) -> None:
        before, shape = self._taken(layer.inputs[0])
        scale, offset = (np.float32(layer.config[key]) for key in ("scale", "offset"))
        name, none = f"{layer.name}/scaled", self._fused(layer)
        self._operate(name, "MUL", [before, self._constant([scale])], shape, "Mul", **none)
        inputs = [self.tensors[name][0], self._constant([offset])]
        self._operate(layer.name, "ADD", inputs, shape, "Add", **none)

    def _globalaveragepooling2d(self, layer: Layer) -> None:
        if layer.config["keepdims"]:
            raise Unknown("an average that keeps its axes")
        before, shape = self._taken(layer.inputs[0])
        axes = self._constant([1, 2], np.int32)
        self._operate(layer.name, "MEAN", [before, axes], (1, shape[3]), "Reducer", keepDims=False)

    def _dense(self, layer: Layer) -> None:
        before, shape = self._taken(layer.inputs[0])
        if len(shape) != 2:
            raise Unknown("a dense layer on a map")
        kernel, bias = self._weights(layer, (shape[1], layer.config["units"]))
        inputs = [before, self._constant(kernel.T), self._constant(bias)]
        shape, none = (1, kernel.shape[1]), self._fused(layer)
        self._operate(layer.name, "FULLY_CONNECTED", inputs, shape, "FullyConnected", **none)


MAKERS = {
    "InputLayer": _File._inputlayer,
    "ZeroPadding2D": _File._zeropadding2d,
    "Conv2D": _File._conv2d,
    "DepthwiseConv2D": _File._depthwiseconv2d,
    "Add": _File._add,
    "ReLU": _File._relu,
    "Rescaling": _File._rescaling,
    "GlobalAveragePooling2D": _File._globalaveragepooling2d,
    "Dense": _File._dense,
}


def _same(length: int, side: int, step: int) -> tuple[int, int]:
    """How far padding "same" reaches at both ends of an axis."""
    whole = max(0, (-(-length // step) - 1) * step + side - length)
    return whole // 2, whole - whole // 2


class Sharing(flatbuffers.Builder):
    """Writes equal vectors of numbers once, such as biases of zeros, and weights where the schema
    wants them to begin, which Python's own Pack does not heed.
    """

    def __init__(self):
        super().__init__(1 << 20)
        self.written = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = x.dtype.str, x.tobytes()
        if key not in self.written:
            if x.dtype == np.uint8:
                self.Prep(ALIGNED, x.nbytes)
            self.written[key] = super().CreateNumpyVector(x)
        return self.written[key]
