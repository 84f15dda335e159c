"""The pretrained backbone: where its weights come from, its size and α, and its cuts by name.

MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) without its classifier, as published with
Keras. A *cut* is the name of the first layer of a block: what lies below stays frozen, what lies
above may be fine-tuned. Layer numbers change from version to version, names do not.
"""

import hashlib
import os
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError, from_root
from mobilenet.files import replacing

ALPHA = 1.0
SIZE = 224
BUNDLED_ALPHA = 0.35
PUBLISHED_SIZES = (96, 128, 160, 192, 224)  # any other size takes the weights of 224
DOWNLOADS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
ANSWER_SECONDS = 5


@dataclass(frozen=True)
class Backbone:
    """A frozen network from photos to a feature map, and what must be known to use it.

    model: float32 (B, size, size, 3) in [-1, 1] → float32 (B, size/32, size/32, channels).
    weights: "imagenet", or "random" (for tests and comparisons).
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

    def fingerprint(self) -> str:
        """The sha256 of shape and weights, in hexadecimal: the same when loaded anew."""
        digest = hashlib.sha256(f"{self.name} {self.alpha} {self.size}".encode())
        for weight in self.model.get_weights():
            digest.update(np.ascontiguousarray(weight))
        return digest.hexdigest()

    def __str__(self) -> str:
        weights = {"imagenet": "ImageNet weights from Keras"}.get(self.weights, self.weights)
        return f"Backbone: MobileNetV2, α {self.alpha}, {self.size} px, {weights}."

    def card(self) -> dict[str, Any]:
        """What a scoreboard says of it: name, alpha, weights, size."""
        return {
            "name": self.name,
            "alpha": self.alpha,
            "weights": self.weights,
            "size": self.size,
        }


def cache_folder() -> Path:
    """Where Keras keeps downloaded weights: `models` below KERAS_HOME, by default ~/.keras."""
    return from_root(os.environ.get("KERAS_HOME") or "~/.keras") / "models"


def weights_file(alpha: float = ALPHA, size: int = SIZE, top: bool = False) -> Path:
    """The file in Keras's cache that holds these ImageNet weights, there or not."""
    size = size if size in PUBLISHED_SIZES else 224
    tail = "" if top else "_no_top"
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}{tail}.h5"
    return cache_folder() / name


@cache
def _network() -> bool:
    """Whether Keras's downloads answer within a few seconds; asked once a process."""
    request = urllib.request.Request(DOWNLOADS + weights_file().name, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def check_weights(alpha: float = ALPHA, size: int = SIZE) -> None:
    """Raises UserError unless Keras's cache holds the weights or its downloads can be reached."""
    if not weights_file(alpha, size).is_file() and not _network():
        raise UserError(
            "There are no ImageNet weights in Keras's cache and Keras's downloads cannot be "
            f"reached: connect to a network, or put {weights_file(alpha, size).name} "
            "into the folder models of KERAS_HOME."
        )


def load(alpha: float = ALPHA, size: int = SIZE, weights: str = "imagenet") -> Backbone:
    """The backbone, frozen: no weight of it is trainable.

    weights="random" gives an untrained network of the same shape. Raises UserError if ImageNet
    weights can neither be found nor downloaded, or are damaged, or if size is below 32.
    """
    if size < 32:
        raise UserError(f"Photos of {size} pixels are too small: use 32 or more.")
    if weights == "imagenet":
        check_weights(alpha, size)
    model = _build(alpha, size, weights, top=False)
    model.trainable = False
    return Backbone("mobilenet_v2", alpha, weights, size, model)


def load_imagenet_head(backbone: Backbone) -> Any | None:
    """The layer that tells ImageNet's 1000 classes apart, as a Keras model: the backbone's pooled
    features, float32 (B, channels), to probabilities, float32 (B, 1000). None where there is none
    for this backbone or it can neither be found nor downloaded.
    """
    if backbone.weights != "imagenet" or backbone.size not in PUBLISHED_SIZES:
        return None
    index = cache_folder() / "imagenet_class_index.json"
    here = weights_file(backbone.alpha, backbone.size, top=True).is_file() and index.is_file()
    if not here and not _network():
        return None
    from mobilenet.engine import keras

    whole = _build(backbone.alpha, backbone.size, "imagenet", top=True)
    return keras.Sequential([keras.Input((backbone.channels,)), whole.layers[-1]])


def _build(alpha: float, size: int, weights: str, top: bool) -> Any:
    from mobilenet.engine import keras  # here, so that looking for weights does not wait for it

    random = weights == "random"
    try:
        return keras.applications.MobileNetV2(
            input_shape=(size, size, 3),
            alpha=alpha,
            include_top=top,
            weights=None if random else "imagenet",
        )
    except Exception as error:  # Keras raises no narrower one when a download breaks off
        file = weights_file(alpha, size, top)
        if "URL fetch failure" in str(error):
            raise UserError("The download of the weights broke off: run this again.") from error
        if random or not file.is_file():
            raise
        raise UserError(
            f"The weights in {file.name} are damaged: delete it from Keras's cache."
        ) from error


def save_bundled(model: Any, path: Path) -> None:
    """Write a network's weights, float32 arrays named layer/variable, to an .npz file."""
    arrays = {_key(variable): variable.numpy() for variable in model.weights}
    with replacing(path) as new:
        np.savez_compressed(new, **arrays)


def _key(variable: Any) -> str:
    return "/".join(variable.path.split("/")[-2:])
