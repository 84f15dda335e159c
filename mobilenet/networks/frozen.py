"""The frozen backbone without TensorFlow, which takes seconds and half a gigabyte to load.

Its weights are read from their file, its layers are listed here, named as in keras.applications,
and LiteRT computes it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from mobilenet.networks import backbone as backbones
from mobilenet.networks import flatbuffer, pretrained
from mobilenet.networks.flatbuffer import Layer
from mobilenet.system import interpreter
from mobilenet.system.files import DAMAGE
from mobilenet.system.untrusted import Refused, check_weights

# V2, table 2: expansion t, channels c, blocks n, stride s of the first of them.
V2_BODY = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
DEVICES = Path("/dev")  # where drivers show a GPU: NVIDIA's, in Windows' Linux, AMD's
GPUS = "nvidia[0-9]*", "dxg", "kfd"


# A batch of photos, from 0 to 255, to the results at each cut.
Pass = Callable[[np.ndarray], list[np.ndarray]]


@cache
def on_gpu() -> bool:
    """Whether TensorFlow has a GPU. It is asked where it is loaded already, where the machine shows
    one, and where TensorFlow has a plugin, such as Apple's; else it is not loaded for that.
    """
    shown = any(next(DEVICES.glob(name), None) for name in GPUS)
    plugin = find_spec("tensorflow-plugins") is not None
    return (shown or plugin or "tensorflow" in sys.modules) and sees_gpu()


def sees_gpu() -> bool:
    """Whether TensorFlow, which is asked, has a GPU."""
    from mobilenet.system.engine import tf

    return bool(tf.config.list_physical_devices("GPU"))


def make_divisible(channels: float, by: int = 8) -> int:
    """Channels rounded to a multiple of 8 that is at least 8 and loses at most a tenth."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded if rounded >= 0.9 * channels else rounded + by


class Stored(NamedTuple):
    """What stands for a network that Keras has not built: its weights and its layers."""

    weights: Sequence[np.ndarray]
    layers: Sequence[Layer]

    def get_weights(self) -> Sequence[np.ndarray]:
        return self.weights

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        return None, None, None, len(self.weights[-1])


def stored(size: int | None = None) -> backbones.Backbone:
    """The backbone as `backbone.load` finds it, by default at its own size, but of its network only
    the weights. Raises what `backbone.load` raises.
    """
    weights = pretrained.find_weights()
    alpha, default = pretrained.DEFAULTS[weights]
    size = size or default
    if size < 32:
        return backbones.load(size=size)  # which says it
    try:
        if weights == "bundled":
            with np.load(backbones.BUNDLED) as file:
                arrays = [file[name] for name in file.files]
        else:
            arrays = _published(pretrained.weights_file(alpha, size))
        backbone = of_weights(alpha, weights, size, arrays)
        frozen_file(backbone, (None,))  # whether they are those of this network
        return backbone
    except (*DAMAGE, Refused, flatbuffer.Unknown):  # not there yet, or damaged, which it says
        return backbones.load(size=size)


def of_weights(
    alpha: float, weights: str, size: int, arrays: Sequence[np.ndarray]
) -> backbones.Backbone:
    """A backbone that knows of its network only the weights: arrays, as Keras orders them.

    Raises flatbuffer.Unknown if they are none of this network.
    """
    network = Stored(arrays, list(_layers(alpha, size, arrays)))
    return backbones.Backbone("mobilenet_v2", alpha, weights, size, network)


def _published(path: Path) -> list[np.ndarray]:
    check_weights(path)
    with h5py.File(path) as file:
        layers = [file[name] for name in file.attrs["layer_names"]]
        return [layer[name][()] for layer in layers for name in layer.attrs["weight_names"]]


def by_litert(backbone: backbones.Backbone, cuts: Sequence[str | None]) -> Pass:
    """The backbone from photos to each cut, float32, by LiteRT: a photo has the same bits whatever
    is beside it, and however many threads compute.
    """
    one, _, given = interpreter.opened(frozen_file(backbone, cuts))

    def forward(photos: np.ndarray) -> list[np.ndarray]:
        results = [np.empty((len(photos), *to["shape"][1:]), np.float32) for to in given]
        for i, rows in enumerate(interpreter.each(one, photos)):
            for result, row in zip(results, rows, strict=True):
                result[i] = row
        return results

    return forward


def frozen_file(backbone: backbones.Backbone, cuts: Sequence[str | None]) -> bytes:
    """The content of a `.tflite` file that takes a photo, float32 (1, size, size, 3) from 0 to 255,
    and gives its activations at each cut, with cut None the pooled features (1, channels).

    Raises flatbuffer.Unknown for layers or weights that are none of MobileNetV2.
    """
    model = backbone.model
    layers = model.layers if isinstance(model, Stored) else flatbuffer.layers_of(model)
    layers = flatbuffer.of_photos(layers)
    inputs = {layer.name: layer.inputs[0] for layer in layers if layer.inputs}
    pooled = flatbuffer.pooled(layers[-1].name)
    return flatbuffer.written([*layers, pooled], [inputs.get(c, pooled.name) for c in cuts])


def _layers(alpha: float, size: int, weights: Sequence[np.ndarray]) -> Iterator[Layer]:
    """MobileNetV2 without its classifier. weights: of all layers, in their order."""
    left, x = iter(weights), "input"

    def convolved(x: str, names: Sequence[str], filters: int, side: int, stride: int):
        """A convolution, depthwise with no filters, BatchNorm, and ReLU6 with a third name."""
        kind = "Conv2D" if filters else "DepthwiseConv2D"
        config = PLAIN | {"filters": filters, "kernel_size": (side,) * 2, "strides": (stride,) * 2}
        yield Layer(names[0], kind, config, (x,), [next(left, EMPTY)])
        norm = [next(left, EMPTY) for _ in range(4)]
        yield Layer(names[1], "BatchNormalization", {"epsilon": 1e-3}, (names[0],), norm)
        for name in names[2:]:
            yield Layer(name, "ReLU", RELU6, (names[1],))
        return names[-1]

    yield Layer(x, "InputLayer", {"batch_shape": (None, size, size, 3)}, ())
    channels = make_divisible(32 * alpha)
    x = yield from convolved(x, ("Conv1", "bn_Conv1", "Conv1_relu"), channels, 3, 2)
    blocks = [(t, c, s if k == 0 else 1) for t, c, n, s in V2_BODY for k in range(n)]
    for i, (t, c, stride) in enumerate(blocks):
        name, start, before = f"block_{i}_" if i else "expanded_conv_", x, channels
        channels = make_divisible(c * alpha)
        if t > 1:
            names = f"{name}expand", f"{name}expand_BN", f"{name}expand_relu"
            x = yield from convolved(x, names, t * before, 1, 1)
        names = f"{name}depthwise", f"{name}depthwise_BN", f"{name}depthwise_relu"
        x = yield from convolved(x, names, 0, 3, stride)
        x = yield from convolved(x, (f"{name}project", f"{name}project_BN"), channels, 1, 1)
        if (stride, before) == (1, channels):
            yield Layer(f"{name}add", "Add", {}, (start, x))
            x = f"{name}add"
    last = make_divisible(1280 * max(1.0, alpha))
    yield from convolved(x, ("Conv_1", "Conv_1_bn", "out_relu"), last, 1, 1)
    if next(left, None) is not None:
        raise flatbuffer.Unknown("more weights than layers")


PLAIN = {
    "padding": "same",
    "dilation_rate": (1, 1),
    "data_format": "channels_last",
    "depth_multiplier": 1,
}
RELU6 = {"max_value": 6, "negative_slope": 0, "threshold": 0}
EMPTY = np.empty(0)  # where there are too few
