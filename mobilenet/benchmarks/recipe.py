"""The usual recipe, as dozens of notebooks publish it: what `mobilenet.bench` measures against.

Put into Keras 3's words and otherwise left as it is: photos squeezed to 160 × 160 pixels and
decoded anew for every epoch, augmentation inside the model, turns of up to 72° (a rotation of 0.2),
a layer *number* to fine-tune from, BatchNorm's γ and β trained with the other weights, an accuracy
that takes a logit above 0.5 for a yes. `training=False` is meant to keep BatchNorm's statistics
still, and does while the base is frozen; once it is trainable, `fit` overrides it in Keras 3
(measured with 3.15.1), so what is measured here is fine-tuning with statistics that move. One thing
is mended: `initial_epoch` is 5, so that fine-tuning lasts the five epochs it speaks of, not six.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mobilenet.networks import backbone, pretrained
from mobilenet.system.engine import keras, tf

SIZE, BATCH = 160, 32
EPOCHS, FINE_EPOCHS = 5, 5
LEARNING_RATE = 1e-3
FINE_TUNE_AT = 120  # layers below this number stay frozen


def read(folder: Path, part: str) -> Any:
    """The photos of folder/part/CLASS/ as batches of (B, 160, 160, 3), 0 to 255, and labels (B,):
    the first class in alphabetical order has label 0.

    Keras reads by TensorFlow, whose JPEG decoder takes the fast cosine transform by default: a
    photo is another than `decoding.read_photo` gives, by 1 of 255 on average. The accurate one
    (`tf.io.decode_jpeg(..., dct_method="INTEGER_ACCURATE")`) gives Pillow's bits. The recipe is
    measured as it is published, so this stays.
    """
    data = keras.utils.image_dataset_from_directory(
        folder / part,
        shuffle=part == "train",
        batch_size=BATCH,
        image_size=(SIZE, SIZE),
        verbose=False,
    )
    return data.prefetch(tf.data.AUTOTUNE)


def build(weights: str) -> tuple[Any, Any]:
    """The model, photos → one logit (B, 1), and the frozen base inside it. weights: "imagenet", or
    "bundled" for the project's own.
    """
    shape = (SIZE, SIZE, 3)
    if weights == "imagenet":
        base = keras.applications.MobileNetV2(shape, include_top=False, weights="imagenet")
    else:
        alpha = pretrained.DEFAULTS[weights][0]
        base = keras.applications.MobileNetV2(shape, alpha, include_top=False, weights=None)
        backbone.read_weights(base, backbone.BUNDLED)
    base.trainable = False
    augmentation = keras.Sequential(
        [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.2)]
    )
    inputs = keras.Input(shape)
    x = augmentation(inputs)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x)), base


def train(model: Any, parts: dict[str, Any], rate: float, first: int, epochs: int) -> None:
    """Compile, then fit from epoch `first` on, asking the validation photos after each epoch."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        parts["train"],
        validation_data=parts["val"],
        initial_epoch=first,
        epochs=first + epochs,
        verbose=0,
    )


def train_head(weights: str, parts: dict[str, Any]) -> tuple[Any, Any]:
    """The model and its base, the head trained."""
    model, base = build(weights)
    train(model, parts, LEARNING_RATE, 0, EPOCHS)
    return model, base


def fine_tune(model: Any, base: Any, parts: dict[str, Any], layer: int) -> None:
    """Train on, the base's layers from this number up included; run again, it goes on from where
    it was.
    """
    base.trainable = True
    for frozen in base.layers[:layer]:
        frozen.trainable = False
    train(model, parts, LEARNING_RATE / 10, EPOCHS, FINE_EPOCHS)


def count_right(model: Any, photos: Any) -> tuple[int, int]:
    """How many photos get a logit on the right side of 0, of how many."""
    logits = model.predict(photos, verbose=0)[:, 0]
    labels = np.concatenate([labels for _, labels in photos])
    return int(((logits > 0) == (labels == 1)).sum()), len(labels)
