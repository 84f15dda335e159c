"""The whole classifier: photo in, logits out, with the names of its classes.

What needs no TensorFlow is in `mobilenet.inference.saved`.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import BATCH, UserError
from mobilenet.inference import saved
from mobilenet.inference.saved import DIGITS
from mobilenet.inference.third_party import adopted
from mobilenet.networks import flatbuffer
from mobilenet.networks.backbone import Backbone
from mobilenet.networks.folding import fold
from mobilenet.networks.mobilenets import scaling
from mobilenet.photos.photos import Photos
from mobilenet.system.engine import keras, tf
from mobilenet.system.files import replacing
from mobilenet.system.progress import progress
from mobilenet.system.untrusted import CARD
from mobilenet.transfer.metrics import probabilities

MOST_SUMS = 50_000  # photos whose digests a card holds: 0.8 MB

Compute = Callable[[np.ndarray], np.ndarray]


def assemble(backbone: Backbone, trained: Any) -> Any:
    """One Keras model, photos to logits, from a backbone and a trained head or trained top.

    Takes RGB (B, size, size, 3) from 0 to 255, gives (B, 1) or (B, K) logits. Inside: scaling to
    [-1, 1], a copy of the backbone that holds the trained blocks, pooling, the head. Nothing is
    shared with what it was made from, so that later training does not change it.
    """
    copy = keras.models.clone_model(backbone.model)
    copy.set_weights(backbone.model.get_weights())
    own = {layer.name for layer in copy.layers}
    for layer in trained.layers:
        if layer.name in own and layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    copy.trainable = False
    photo = keras.Input((backbone.size, backbone.size, 3), name="photo")
    outputs = scaling()(photo)
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(copy(outputs, training=False))
    dropout, logits = (trained.get_layer(name) for name in ("dropout", "logits"))
    outputs = keras.layers.Dropout(dropout.rate, name="dropout")(outputs)
    last = keras.layers.Dense(logits.units, name="logits")
    outputs = last(outputs)
    last.set_weights(logits.get_weights())
    return keras.Model(photo, outputs, name="classifier")


def save(path: Path, model: Any, class_names: Sequence[str], **about: Any) -> None:
    """Write a classifier and its class names to a `.keras` file, atomically.

    The card says which class is positive, so that the one logit of two is never read upside down.
    about: more for the card, JSON values by name.
    """
    card = {"class_names": list(class_names), "positive": class_names[1], **about}
    with replacing(path) as new:
        model.save(new)
        with zipfile.ZipFile(new, "a") as archive:
            archive.writestr(CARD, json.dumps(card, ensure_ascii=False))


def about(seed: int, train: Photos, val: Photos) -> dict[str, Any]:
    """What a model's card says of its training: the seed of the split, and the digests of the
    photos that it learned from; JSON values by name.

    train, val: the photos that trained and validated it, with their `sums`.
    """
    said = {
        part: digests([photos.sums.get(file, "") for file in photos.files])
        for part, photos in (("train", train), ("val", val))
    }
    return {"seed": seed, "learned": said} if all(said.values()) else {"seed": seed}


def digests(sums: Sequence[str]) -> str:
    """The first DIGITS digits of each sha256, in a row; nothing if one lacks, or if they are more
    than MOST_SUMS, as the card must stay small.
    """
    return "".join(one[:DIGITS] for one in sums) if all(sums) and len(sums) <= MOST_SUMS else ""


def load(path: Path, classes: Sequence[str] | None = None) -> tuple[Any, tuple[str, ...]]:
    """Read a classifier: (model, class names); the model takes photos, RGB from 0 to 255, and gives
    logits.

    classes: the names, in the order of its outputs, of a file that has none. A file that others
    made may be named: `untrusted` says what is looked at first, `third_party` what is made of it.
    Raises UserError if it is no such model.
    """
    config, names, ours = saved.checked(path, classes)
    with saved.told(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that lack, which it then raises
            model = keras.saving.deserialize_keras_object(config, safe_mode=True)
            model.load_weights(path)
        _check_inputs(path, model)
        model = adopted(path, model, ours)
        _check_outputs(path, model, len(names))
    return model, names


def _check_inputs(path: Path, model: Any) -> None:
    """Raise UserError unless a model takes square photos, gives one answer, and leaves room in
    memory.
    """
    if (len(model.inputs), len(model.outputs)) != (1, 1):
        raise UserError(
            f"{path} has {len(model.inputs)} and {len(model.outputs)} as its numbers of inputs and "
            "outputs: name a classifier, which takes photos and gives a row of numbers for each."
        )
    shape = model.input_shape
    if len(shape) != 4:
        raise UserError(f"{path} takes no photos: name a classifier of photos.")
    if shape[3] != 3:
        raise UserError(
            f"{path} takes photos with {shape[3]} channel{'' if shape[3] == 1 else 's'}, and here "
            "they have three, RGB: name a model that takes these."
        )
    if None in shape[1:3]:
        raise UserError(
            f"{path} takes photos of any size: build it with that of its training, as "
            "keras.Input((224, 224, 3)), and save it again."
        )
    if shape != (None, shape[1], shape[1], 3):
        raise UserError(
            f"{path} takes photos of {shape[2]} × {shape[1]} pixels, and here they are cut square: "
            "name a model of square photos, any number at once."
        )
    if max(prod(layer.output.shape[1:]) for layer in _layers(model)) > flatbuffer.MOST:
        raise UserError(f"{path} takes more memory than a photo may: use a smaller model.")


def _check_outputs(path: Path, model: Any, classes: int) -> None:
    """Raise UserError unless a model gives finite logits of so many classes."""
    if model.output_shape != (None, 1 if classes == 2 else classes):
        raise UserError(
            f"{path} gives a row of {model.output_shape[-1]} for a photo, and {classes} classes "
            "are named: name one class for each number, or two for a single one."
        )
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise UserError(f"{path} holds weights that are no numbers: train it again.")


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if isinstance(layer, keras.Model) else ()


def compiled(model: Any) -> Compute:
    """A function that takes uint8 photos (N, size, size, 3), any N, and gives probabilities of
    the classes, float64 (N, K); by LiteRT, many times faster than `model.predict` on few.

    A photo's have the same bits whatever photos are beside it.
    """
    try:
        return saved.computing(flatbuffer.of_model(model))[0]
    except flatbuffer.Unknown:  # of others
        return traced(model)


def traced(model: Any) -> Compute:
    """As `compiled`, but folded, compiled and computed by TensorFlow."""
    any_number = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    folded = fold(model)
    forward = tf.function(
        lambda photos: folded(tf.cast(photos, tf.float32), training=False)
    ).get_concrete_function(any_number)

    def predict(photos: np.ndarray) -> np.ndarray:
        starts = range(0, len(photos), BATCH)
        shown = progress(starts, len(starts), "Answers")
        return probabilities(
            np.concatenate([forward(tf.constant(photos[i : i + BATCH])) for i in shown])
        )

    return predict
