"""BatchNorm folded into the convolution before it: the same network in fewer layers."""

from typing import Any

from mobilenet.networks import flatbuffer
from mobilenet.system.engine import keras


def norms_behind(model: Any) -> dict[str, Any]:
    """The BatchNorm layers that stand behind a convolution and nothing else, by its name."""
    convolutions = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center and layer.scale:
            before = layer.input._keras_history.operation
            if isinstance(before, convolutions) and before.activation is keras.activations.linear:
                found[before.name] = layer
    return found


def fold(model: Any) -> Any:
    """A copy of a network in which each BatchNorm is folded into the convolution before it.

    In use BatchNorm is y = γ (x − μ) / √(σ² + ε) + β: a factor and a shift for each channel. A
    convolution is linear, so the factor goes into its kernel and the shift becomes its bias:
    equal outputs but for rounding, and a pass over every feature map less. The copy is for use,
    not for training: its kernels have other scales than those that were trained. Networks inside
    the network are folded, too; a BatchNorm that follows no convolution stays.
    """
    norms = norms_behind(model)
    folded = {norm.name for norm in norms.values()}

    def without(layer):
        if isinstance(layer, keras.Model):
            return fold(layer)
        if layer.name in folded:
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        return type(layer).from_config(
            config | {"use_bias": True} if layer.name in norms else config
        )

    copy = keras.models.clone_model(
        model,
        clone_function=without,
        call_function=lambda layer, inputs, **options: layer(inputs),  # BatchNorm had a mask
    )
    for layer in model.layers:
        weights = layer.get_weights()
        if layer.name in norms:
            norm, (kernel, *bias) = norms[layer.name], weights
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            norm = norm.get_weights(), norm.epsilon
            weights = flatbuffer.folded(kernel, sum(bias), *norm, depthwise)
        if weights and layer.name not in folded and not isinstance(layer, keras.Model):
            copy.get_layer(layer.name).set_weights(weights)
    return copy
