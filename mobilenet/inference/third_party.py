"""Models that this project did not save: what is asked of them, in the form of its own classifiers.

A plain Keras model of `model.save` may hold augmentation, which some versions of Keras call in a
way that acts whenever the model answers; a softmax or sigmoid at its end; and no names of classes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.inference.third_party_litert import FEWEST_LEVELS
from mobilenet.system.engine import keras
from mobilenet.system.untrusted import AUGMENTATION, UnknownLayer

CHANGED = {*AUGMENTATION, "Sequential", "TrueDivide", "Subtract"}
ENDS = {1: "sigmoid"}  # by the number of outputs; else softmax
SHAPING = (  # layers after which numbers mean what they meant before
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
)


def adopted(path: Path, model: Any, named: bool) -> Any:
    """The same network from photos, RGB from 0 to 255, to logits: without augmentation, without
    the sigmoid or softmax at its end, and with no layer called as in training.

    Weights are shared. named: whether its card is of this project, whose models all scale photos.
    Raises UserError if it is not known what photos it takes or what its answers mean.
    """
    if not named and not any(map(_scales, _deep(model))):
        raise UserError(
            f"{path} does not scale its photos, so that it is not known whether it takes levels of "
            "0 to 255, 0 to 1 or -1 to 1: add the scale of its training as its first layer, as "
            "keras.layers.Rescaling(1 / 127.5, offset=-1) for Keras's MobileNetV2 or Rescaling"
            "(1 / 255) for levels of 0 to 1, and save it again."
        )
    end, classes = _end(model), model.output_shape[-1]
    if end and end != ENDS.get(classes, "softmax"):
        raise UserError(
            f"{path} ends in {end} with {classes} output{'' if classes == 1 else 's'}, which is no "
            "choice of one class: end it in softmax, or one output in sigmoid, and train it again."
        )
    if named and not end and not any(type(layer).__name__ in CHANGED for layer in _deep(model)):
        return model
    photo = keras.Input(model.input_shape[1:], name="photo")
    logits = _followed(model, photo, bool(end))
    if classes == 2:  # two logits say no more than how far the second is above the first
        difference = keras.layers.Dense(1, use_bias=False, name="difference")
        logits = difference(logits)
        difference.set_weights([np.float32([[-1], [1]])])
    return keras.Model(photo, logits, name="classifier")


def _deep(model: Any) -> list[Any]:
    """All layers, those of networks in the network in the place of these."""
    return [
        one
        for layer in getattr(model, "operations", model.layers)  # not all of them are layers
        for one in ([layer, *_deep(layer)] if isinstance(layer, keras.Model) else [layer])
    ]


def _constant(operation: Any) -> float:
    """The number that is taken from photos, or that they are divided by. Raises UnknownLayer if
    it is none.
    """
    arguments = operation._inbound_nodes[0].arguments
    _, *other = *arguments.args, *arguments.kwargs.values()
    if len(other) != 1 or not isinstance(other[0], (int, float)) or not other[0]:
        raise UnknownLayer("calculates with photos in a way that is not known")
    return other[0]


def _scales(layer: Any) -> bool:
    """Whether a layer takes levels of 0 to 255 to numbers about 1."""
    if type(layer).__name__ == "TrueDivide":
        return _constant(layer) >= FEWEST_LEVELS
    if isinstance(layer, keras.layers.Rescaling):
        return bool((np.abs(np.asarray(layer.scale)) <= 1 / FEWEST_LEVELS).all())
    return False


def _last(model: Any) -> Any:
    """The layer whose output is the network's."""
    return model.layers[-1] if isinstance(model, keras.Sequential) else _origin(model.output)


def _origin(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _end(model: Any) -> str:
    """What a model computes last, if it is no linear layer: "softmax", "sigmoid", "relu" …"""
    last, after = _last(model), ""
    while isinstance(last, SHAPING):
        after, last = f" before {type(last).__name__}{after}", _origin(last.input)
    if isinstance(last, keras.Model):
        name = _end(last)
    elif isinstance(last, (keras.layers.Softmax, keras.layers.ReLU)):
        name = type(last).__name__.lower()
    else:
        name = getattr(getattr(last, "activation", None), "__name__", "linear")
    return "" if name in ("", "linear") else name + after


def _followed(model: Any, value: Any, cut: bool) -> Any:
    """What a network makes of a tensor, layer by layer, less what `adopted` leaves out; cut:
    whether it ends in a sigmoid or softmax that is left out.
    """
    last = _last(model)

    def call(layer: Any, inputs: Any, *others: Any, **options: Any) -> Any:
        kind, cut_here = type(layer).__name__, cut and layer is last
        if kind in AUGMENTATION:
            return inputs
        if kind == "TrueDivide":
            return keras.layers.Rescaling(1 / _constant(layer))(inputs)
        if kind == "Subtract":
            return keras.layers.Rescaling(1, -_constant(layer))(inputs)
        if isinstance(layer, keras.Sequential) or (isinstance(layer, keras.Model) and cut_here):
            return _followed(layer, inputs, cut_here)
        if cut_here and kind in ("Activation", "Softmax"):
            return inputs
        if cut_here:
            layer.activation = keras.activations.linear
        return layer(inputs)

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            value = call(layer, value)
        return value
    return keras.models.clone_model(
        model, input_tensors=value, clone_function=lambda layer: layer, call_function=call
    ).output
