"""Pretrained weights: which are used, where their files are, and how they are downloaded.

ImageNet's, as published with Keras, or the bundled ones where these cannot be had.
"""

import os
import threading
import urllib.request
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mobilenet import UserError, from_root
from mobilenet.system.files import replacing
from mobilenet.system.progress import progress

PUBLISHED_SIZES = (96, 128, 160, 192, 224)  # any other size takes the weights of 224
DOWNLOADS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
CLASS_INDEX = (
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
)
ANSWER_SECONDS = 5
CHUNK = 65536  # bytes
LARGEST = 100_000_000  # bytes of a download; the largest published network takes a quarter
HDF5 = b"\x89HDF"  # what a file of weights begins with
# α and size in pixels where nobody says otherwise.
DEFAULTS = {"imagenet": (1.0, 256), "bundled": (0.35, 224), "random": (1.0, 224)}


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


def obtain(file: Path, url: str = "") -> None:
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
        obtain(weights_file(*DEFAULTS["imagenet"]))
    except UserError:
        if named:
            raise
        return "bundled"
    return "imagenet"
