"""The pretrained backbone: its network, its size and α, and its cuts by name.

MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) without its classifier: with ImageNet weights as
published with Keras, or, where these cannot be had, the small one that pretrain.py made and that
lies in weights/. A *cut* is the name of the first layer of a block: what lies below stays frozen,
what lies above may be fine-tuned. Layer numbers change from version to version, names do not.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.networks import pretrained
from mobilenet.networks.pretrained import DEFAULTS
from mobilenet.system.files import DAMAGE, replacing
from mobilenet.system.untrusted import Refused, check_weights

BUNDLED = Path(__file__).parent / "weights" / "mobilenet_v2_0.35.npz"
SAID = {
    "imagenet": "ImageNet weights from Keras",
    "bundled": "bundled weights, learned without labels from 32,991 photos (ImageNet's are used "
    "when they can be downloaded)",
    "random": "random weights",
}


@dataclass(frozen=True)
class Backbone:
    """A frozen network from photos to a feature map, and what must be known to use it.

    model: float32 (B, size, size, 3) in [-1, 1] → float32 (B, size/32, size/32, channels). What is
    trained is a copy: its weights stay as they were loaded.
    weights: "imagenet", "bundled", or "random" (for tests and comparisons).
    """

    name: str
    alpha: float
    weights: str
    size: int
    model: Any

    @property
    def channels(self) -> int:
        """Channels of the feature map; 1280 for α up to 1."""
        return self.model.output_shape[-1]

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names a cut may have, from the shallowest fine-tuning to the deepest: the blocks'
        first layers, top block first, then the stem ("Conv1": the whole network is tuned).
        """
        names = [layer.name for layer in self.model.layers]
        starts = ["Conv1", "expanded_conv_depthwise"]
        starts += [name for name in names if name.startswith("block_") and name.endswith("expand")]
        starts += ["Conv_1"]
        return tuple(reversed(starts))

    def check_cut(self, cut: str) -> None:
        """Raises UserError unless cut is one of `cuts`."""
        if cut not in self.cuts:
            raise UserError(f"There is no cut called {cut!r}: take one of {', '.join(self.cuts)}.")

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of shape and weights, in hexadecimal: the same when loaded anew."""
        digest = hashlib.sha256(f"{self.name} {self.alpha} {self.size}".encode())
        for weight in self.model.get_weights():
            digest.update(np.ascontiguousarray(weight))
        return digest.hexdigest()

    def __str__(self) -> str:
        return f"Backbone: MobileNetV2 (α = {self.alpha}, {self.size} px), {SAID[self.weights]}."

    def card(self) -> dict[str, Any]:
        """What a scoreboard says of it: name, alpha, weights, size."""
        return {
            "name": self.name,
            "alpha": self.alpha,
            "weights": self.weights,
            "size": self.size,
        }


def load(alpha: float | None = None, size: int | None = None, weights: str = "") -> Backbone:
    """The backbone, frozen: no weight of it is trainable.

    weights: "imagenet", "bundled", "random" for an untrained network, by default what
    `pretrained.find_weights` finds. alpha and size: by default those of DEFAULTS. Raises UserError
    if the weights can neither be found nor downloaded, or are damaged, if size is below 32, or if
    the bundled ones are wanted for another α.
    """
    weights = weights or pretrained.find_weights()
    alpha, size = alpha or DEFAULTS[weights][0], size or DEFAULTS[weights][1]
    if size < 32:
        raise UserError(f"Photos of {size} pixels are too small: use 32 or more.")
    if weights == "bundled" and alpha != DEFAULTS["bundled"][0]:
        raise UserError(f"The bundled backbone has α {DEFAULTS['bundled'][0]}, not {alpha}.")
    file = pretrained.weights_file(alpha, size)
    if weights == "imagenet":
        pretrained.obtain(file)
    model = _build(alpha, size, file if weights == "imagenet" else None, top=False)
    if weights == "bundled":
        read_weights(model, BUNDLED)
    model.trainable = False
    return Backbone("mobilenet_v2", alpha, weights, size, model)


def load_imagenet_head(backbone: Backbone) -> Any | None:
    """The layer that tells ImageNet's 1000 classes apart, as a Keras model: the backbone's pooled
    features, float32 (B, channels), to probabilities, float32 (B, 1000). None where there is none
    for this backbone or it can neither be found nor downloaded.
    """
    if backbone.weights != "imagenet":
        return None
    file = pretrained.weights_file(backbone.alpha, backbone.size, top=True)
    try:
        pretrained.obtain(file)
        index = pretrained.CLASS_INDEX
        pretrained.obtain(pretrained.cache_folder() / index.rsplit("/", 1)[1], index)
    except UserError:
        return None
    from mobilenet.system.engine import keras

    whole = _build(backbone.alpha, 224, file, top=True)  # the layer is the same at any size
    return keras.Sequential([keras.Input((backbone.channels,)), whole.layers[-1]])


def _build(alpha: float, size: int, file: Path | None, top: bool) -> Any:
    from mobilenet.system.engine import (
        keras,  # here, so that looking for weights does not wait for it
    )

    model = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), alpha=alpha, include_top=top, weights=None
    )
    try:
        if file:
            check_weights(file)
            model.load_weights(file)
    except Refused as error:
        raise UserError(
            f"{file.name} {error}, and is not opened: delete it from Keras's cache."
        ) from error
    except DAMAGE as error:
        raise UserError(
            f"The weights in {file.name} are damaged: delete it from Keras's cache."
        ) from error
    return model


def _key(variable: Any) -> str:
    return "/".join(variable.path.split("/")[-2:])


def read_weights(model: Any, path: Path) -> None:
    """Put the weights that `write_weights` wrote into a network of the same shape.

    Raises UserError if the file is damaged or is another network's.
    """
    try:
        with np.load(path) as arrays:
            values = [arrays[_key(variable)] for variable in model.weights]
        if [value.shape for value in values] != [variable.shape for variable in model.weights]:
            raise ValueError
        model.set_weights(values)
    except DAMAGE as error:
        raise UserError(
            f"The weights in {path.name} are missing or damaged: restore the file, which is part "
            "of this project."
        ) from error


def write_weights(model: Any, path: Path) -> None:
    """Write a network's weights, float32 arrays named layer/variable, to an .npz file."""
    arrays = {_key(variable): variable.numpy() for variable in model.weights}
    with replacing(path) as new, new.open("wb") as file:  # given a name, NumPy might add a suffix
        np.savez_compressed(file, **arrays)
