"""The pretrained backbone: where its weights come from, its size and α, and its cuts by name.

MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) without its classifier: with ImageNet weights as
published with Keras, or, where these cannot be had, the small one that pretrain.py made and that
lies in weights/. A *cut* is the name of the first layer of a block: what lies below stays frozen,
what lies above may be fine-tuned. Layer numbers change from version to version, names do not.
"""

import hashlib
import os
import threading
import urllib.request
from dataclasses import dataclass
from functools import cache, cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from mobilenet import UserError, from_root
from mobilenet.files import DAMAGE, replacing
from mobilenet.progress import progress
from mobilenet.untrusted import Refused, check_weights

PUBLISHED_SIZES = (96, 128, 160, 192, 224)  # any other size takes the weights of 224
DOWNLOADS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
CLASS_INDEX = (
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
)
ANSWER_SECONDS = 5
CHUNK = 65536  # bytes
LARGEST = 100_000_000  # bytes of a download; the largest published network takes a quarter
HDF5 = b"\x89HDF"  # what a file of weights begins with
BUNDLED = Path(__file__).parent / "weights" / "mobilenet_v2_0.35.npz"
# α and size in pixels where nobody says otherwise.
DEFAULTS = {"imagenet": (1.0, 256), "bundled": (0.35, 224), "random": (1.0, 224)}
SAID = {
    "imagenet": "ImageNet weights from Keras",
    "bundled": "bundled weights, learned without labels from 6,792 photos and 336 drawings of the "
    "bundled kind (ImageNet's are used when they can be downloaded)",
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


def cache_folder() -> Path:
    """Where Keras keeps downloaded weights: `models` below KERAS_HOME, by default ~/.keras."""
    return from_root(os.environ.get("KERAS_HOME") or "~/.keras") / "models"


def weights_file(alpha: float, size: int, top: bool = False) -> Path:
    """The file in Keras's cache that holds these ImageNet weights, there or not."""
    size = size if size in PUBLISHED_SIZES else 224
    tail = "" if top else "_no_top"
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}{tail}.h5"
    return cache_folder() / name


@cache
def _network() -> bool:
    """Whether Keras's downloads answer within a few seconds; asked once a process."""
    url = DOWNLOADS + weights_file(*DEFAULTS["imagenet"]).name
    answers = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                # The login page of a hotel is shorter than any weights.
                answers.append(int(answer.headers["Content-Length"]) > 1e6)
        except (OSError, HTTPException, ValueError, TypeError):
            answers.append(False)

    # In a thread, since looking up the site's name heeds no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return answers == [True]


def _obtain(file: Path, url: str = "") -> None:
    """Have this file in Keras's cache, downloaded if need be. Raises UserError if that fails."""
    if file.is_file():
        return
    if not _network():
        raise UserError(
            "There are no ImageNet weights in Keras's cache and Keras's downloads cannot be "
            f"reached: connect to a network, or put {file.name} into the folder models of "
            "KERAS_HOME."
        )
    url = url or DOWNLOADS + file.name
    try:
        with (
            urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer,
            replacing(file) as new,
        ):
            total = int(answer.headers["Content-Length"])
            if total > LARGEST or urlsplit(answer.url).scheme != urlsplit(url).scheme:
                raise HTTPException
            chunks = iter(lambda: _received(answer), b"")
            with new.open("wb") as out:
                for chunk in progress(chunks, -(-total // CHUNK), file.name):
                    out.write(chunk)
            whole = new.stat().st_size == total
            if not whole or (file.suffix == ".h5" and not new.read_bytes().startswith(HDF5)):
                raise HTTPException
    except (OSError, HTTPException, ValueError, TypeError) as error:
        raise UserError(f"The download of {file.name} broke off: run this again.") from error


def _received(answer: Any) -> bytes:
    """The next bytes of a download. A network that fails is no disk that does."""
    try:
        return answer.read(CHUNK)
    except OSError as error:
        raise HTTPException from error


@cache
def find_weights() -> str:
    """Which weights are used, "imagenet" or "bundled"; decided once a process.

    ImageNet's if Keras's cache holds them or they can be downloaded, which is then done, else the
    bundled ones. The environment variable WEIGHTS, set to one of the two, decides instead. Raises
    UserError if it names another, or ImageNet's and they cannot be had.
    """
    named = os.environ.get("WEIGHTS")
    if named not in (None, "", "imagenet", "bundled"):
        raise UserError(f"WEIGHTS is {named!r}: set it to imagenet or bundled, or unset it.")
    if named == "bundled":
        return "bundled"
    try:
        _obtain(weights_file(*DEFAULTS["imagenet"]))
    except UserError:
        if named:
            raise
        return "bundled"
    return "imagenet"


def load(alpha: float | None = None, size: int | None = None, weights: str = "") -> Backbone:
    """The backbone, frozen: no weight of it is trainable.

    weights: "imagenet", "bundled", "random" for an untrained network, by default what
    `find_weights` finds. alpha and size: by default those of DEFAULTS. Raises UserError if the
    weights can neither be found nor downloaded, or are damaged, if size is below 32, or if the
    bundled ones are wanted for another α.
    """
    weights = weights or find_weights()
    alpha, size = alpha or DEFAULTS[weights][0], size or DEFAULTS[weights][1]
    if size < 32:
        raise UserError(f"Photos of {size} pixels are too small: use 32 or more.")
    if weights == "bundled" and alpha != DEFAULTS["bundled"][0]:
        raise UserError(f"The bundled backbone has α {DEFAULTS['bundled'][0]}, not {alpha}.")
    file = weights_file(alpha, size)
    if weights == "imagenet":
        _obtain(file)
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
    file = weights_file(backbone.alpha, backbone.size, top=True)
    try:
        _obtain(file)
        _obtain(cache_folder() / CLASS_INDEX.rsplit("/", 1)[1], CLASS_INDEX)
    except UserError:
        return None
    from mobilenet.engine import keras

    whole = _build(backbone.alpha, 224, file, top=True)  # the layer is the same at any size
    return keras.Sequential([keras.Input((backbone.channels,)), whole.layers[-1]])


def _build(alpha: float, size: int, file: Path | None, top: bool) -> Any:
    from mobilenet.engine import keras  # here, so that looking for weights does not wait for it

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
