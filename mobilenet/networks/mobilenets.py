"""MobileNetV1 and V2, built from their blocks.

V1: Howard et al. 2017, arXiv 1704.04861, table 1.
V2: Sandler et al. 2018, arXiv 1801.04381, tables 1 and 2.
Layers are named as in keras.applications, so weights go across by name or in order, both ways.
Photos are scaled to [-1, 1].
"""

from collections.abc import Callable
from typing import Any

from mobilenet import UserError
from mobilenet.networks.frozen import V2_BODY, make_divisible
from mobilenet.system.engine import keras, tf

layers = keras.layers

# V1, table 1: (channels, stride) of the depthwise separable blocks, after a convolution to 32.
V1_BODY = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *5 * ((512, 1),),
    (1024, 2),
    (1024, 1),
)
MOMENTUM = 0.9  # of BatchNorm; with Keras's 0.999 a short training ends on stale statistics


def mobilenet_v1(
    size: int = 224,
    alpha: float = 1.0,
    classes: int = 1000,
    dropout: float = 1e-3,
    total_stride: int = 32,
    block: Callable[[Any, int, int, int], Any] | None = None,
) -> Any:
    """MobileNetV1: float32 photos (B, size, size, 3) in [-1, 1] → logits (B, classes).

    alpha: width multiplier α, above 0. dropout: share of the pooled features put to zero while
    training, in [0, 1). total_stride: pixels to a position of the last feature map; the papers' 32
    leaves one position of a photo of 32 pixels, so take 16 or 8 there: the first strides become 1.
    block: what V1_BODY is built of, by default depthwise_separable; the paper's comparison takes
    full_convolution (its table 4).
    Raises UserError if size is no multiple of total_stride.
    """
    stride, block = _strides(size, total_stride), block or depthwise_separable
    x = inputs = keras.Input((size, size, 3), name="photo")
    x = _convolution(x, int(32 * alpha), 3, stride(2), ("conv1", "conv1_bn", "conv1_relu"))
    for i, (channels, s) in enumerate(V1_BODY, start=1):
        x = block(x, int(channels * alpha), stride(s), i)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="global_average_pooling2d")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Conv2D(classes, 1, name="conv_preds")(x)
    return keras.Model(inputs, layers.Reshape((classes,), name="reshape_2")(x), name="mobilenet_v1")


def mobilenet_v2(
    size: int = 224,
    alpha: float = 1.0,
    classes: int = 1000,
    dropout: float = 0.0,
    total_stride: int = 32,
) -> Any:
    """MobileNetV2: float32 photos (B, size, size, 3) in [-1, 1] → logits (B, classes).

    The arguments are those of mobilenet_v1. α widens the last convolution only above 1.
    """
    stride = _strides(size, total_stride)
    x = inputs = keras.Input((size, size, 3), name="photo")
    channels = make_divisible(32 * alpha)
    x = _convolution(x, channels, 3, stride(2), ("Conv1", "bn_Conv1", "Conv1_relu"))
    i = 0
    for t, c, n, s in V2_BODY:
        for k in range(n):
            channels = make_divisible(c * alpha)
            x = inverted_residual(x, t, channels, stride(s if k == 0 else 1), i)
            i += 1
    last = make_divisible(1280 * max(1.0, alpha))
    x = _convolution(x, last, 1, 1, ("Conv_1", "Conv_1_bn", "out_relu"))
    x = layers.GlobalAveragePooling2D(name="global_average_pooling2d")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(classes, name="predictions")(x)
    return keras.Model(inputs, x, name="mobilenet_v2")


def depthwise_separable(x: Any, channels: int, stride: int, i: int) -> Any:
    """V1's block: 3 × 3 depthwise, then 1 × 1 pointwise, each with BatchNorm and ReLU6."""
    x = _depthwise(x, stride, (f"conv_dw_{i}", f"conv_dw_{i}_bn", f"conv_dw_{i}_relu"))
    return _convolution(x, channels, 1, 1, (f"conv_pw_{i}", f"conv_pw_{i}_bn", f"conv_pw_{i}_relu"))


def full_convolution(x: Any, channels: int, stride: int, i: int) -> Any:
    """What V1's block stands for: one 3 × 3 convolution, with BatchNorm and ReLU6."""
    return _convolution(x, channels, 3, stride, (f"conv_{i}", f"conv_{i}_bn", f"conv_{i}_relu"))


def inverted_residual(
    x: Any, expansion: int, channels: int, stride: int, i: int, shortcut: bool = True
) -> Any:
    """V2's block (its table 1): 1 × 1 expansion, 3 × 3 depthwise, linear 1 × 1 projection.

    The input is added where its shape is the output's, unless shortcut is False.
    """
    name = f"block_{i}_" if i else "expanded_conv_"
    start = x
    if expansion > 1:
        names = (f"{name}expand", f"{name}expand_BN", f"{name}expand_relu")
        x = _convolution(x, expansion * x.shape[-1], 1, 1, names)
    names = (f"{name}depthwise", f"{name}depthwise_BN", f"{name}depthwise_relu")
    x = _depthwise(x, stride, names)
    x = _convolution(x, channels, 1, 1, (f"{name}project", f"{name}project_BN"))
    if shortcut and x.shape == start.shape:
        x = layers.Add(name=f"{name}add")([start, x])
    return x


def _convolution(x: Any, channels: int, kernel: int, stride: int, names: tuple[str, ...]) -> Any:
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=names[0])(x)
    return _normalise(x, names)


def _depthwise(x: Any, stride: int, names: tuple[str, ...]) -> Any:
    x = layers.DepthwiseConv2D(3, stride, "same", use_bias=False, name=names[0])(x)
    return _normalise(x, names)


def _normalise(x: Any, names: tuple[str, ...]) -> Any:
    """BatchNorm, then ReLU6 where a third name is given: without it the layer is linear."""
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-3, name=names[1])(x)
    return layers.ReLU(6.0, name=names[2])(x) if len(names) == 3 else x


def _strides(size: int, total_stride: int) -> Any:
    """A function from a stride of the paper to the one used: the first few become 1."""
    if total_stride not in (2, 4, 8, 16, 32) or size < total_stride or size % total_stride:
        raise UserError(
            f"{size} pixels with a total stride of {total_stride} will not do: the total stride is "
            "2, 4, 8, 16 or 32, and the size a multiple of it."
        )
    skip = (32 // total_stride).bit_length() - 1

    def used(stride: int) -> int:
        nonlocal skip
        if stride == 2 and skip:
            skip -= 1
            return 1
        return stride

    return used


def preprocess(images: Any) -> Any:
    """RGB from 0 to 255 to what MobileNet was trained on, float32 in [-1, 1]; any shape."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def scaling() -> Any:
    """`preprocess` as a Keras layer, for networks that take photos from 0 to 255."""
    return layers.Rescaling(1 / 127.5, offset=-1, name="scale")
