"""The file of a saved classifier, without TensorFlow: what it says of itself, and its answers.

A saved classifier is a `.keras` file with one member more, `classes.json`, which Keras passes over:
the card, with the names of the classes. So a file that is moved keeps them.
"""

import errno
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mobilenet import UserError
from mobilenet.inference.naming import named
from mobilenet.networks import flatbuffer
from mobilenet.networks.flatbuffer import Unknown
from mobilenet.photos.photos import Photos
from mobilenet.system import interpreter
from mobilenet.system.files import DAMAGE
from mobilenet.system.untrusted import CARD, WEIGHTS, Refused, check_classifier
from mobilenet.transfer.metrics import probabilities

DIGITS = 16  # of the sha256 of a photo's file that a card keeps
# What Keras calls the groups of weights in its file; they are counted from the second of a kind.
GROUPS = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "BatchNormalization": "batch_normalization",
    "Dense": "dense",
    "Functional": "functional",
}


def read_card(path: Path) -> dict[str, Any]:
    """What `classifier.save` wrote about a classifier; of a model of others, that it names no
    classes.
    """
    with zipfile.ZipFile(path) as archive:
        named = CARD in archive.namelist()
        return json.loads(archive.read(CARD)) if named else {"class_names": []}


def learned(card: dict[str, Any], photos: Photos) -> dict[str, np.ndarray] | None:
    """Of each part that a model learned from, by its card, which of these photos are in it, or show
    the same picture as one that is: bool (N,); None if the card does not say.
    """
    said = card.get("learned")
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        return None
    if not said or not all(file in photos.sums for file in photos.files):
        return None
    found = {}
    for part, text in said.items():
        known = {text[i : i + DIGITS] for i in range(0, len(text), DIGITS)}
        same = np.array([photos.sums[file][:DIGITS] in known for file in photos.files], bool)
        groups = photos.groups
        found[part] = np.isin(groups, groups[same])
    return found


def split_seed(card: dict[str, Any]) -> int | None:
    """The seed by which a model's photos were split, 0 if its card names none; None if what the
    card names is no seed.
    """
    seed = card.get("seed", 0)
    return seed if type(seed) is int and 0 <= seed < 2**32 else None


def checked(
    path: Path, classes: Sequence[str] | None = None
) -> tuple[dict[str, Any], tuple[str, ...], bool]:
    """What describes the network of a `.keras` file, the names of its classes, and whether the file
    is of this project; nothing is built yet.

    classes: as in `classifier.load`. Raises UserError if it is no such file.
    """
    if (path / "saved_model.pb").is_file():
        raise UserError(
            f"{path} is a SavedModel of TensorFlow, whose code would be run as it is: save the "
            'Keras model it came from by model.save("model.keras"), and name that.'
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a .keras or .tflite file, perhaps one in it.")
    if not path.is_file():
        raise UserError(f"There is no model {path}: run `make run` first, or name another.")
    if path.name.endswith(".weights.h5"):
        raise UserError(
            f"{path} holds weights without their network: build that in Keras, "
            'model.load_weights(…), and save both by model.save("model.keras").'
        )
    if path.suffix in (".h5", ".hdf5"):  # Keras reads them in an older way, which checks less
        raise UserError(
            f"{path} is no .keras file: open it in Keras and save it again by "
            'model.save("model.keras").'
        )
    if path.suffix != ".keras":
        raise UserError(
            f"{path} is neither a .keras nor a .tflite file: convert it to .tflite, which predict "
            "and evaluate take, or name another."
        )
    with told(path):
        config, card = check_classifier(path), read_card(path)
        names = named(path, card["class_names"], classes)
        _check_names(path, names)
    ours = bool(card["class_names"])
    if ours and len(names) == 2 and card.get("positive") != names[1]:
        raise UserError(
            f"{path} is of an earlier version, in which the logit meant the other class: train "
            "it again."
        )
    return _single(config), tuple(names), ours


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Make of whatever a file raises that is no such model, or damaged, a UserError."""
    try:
        yield
    except (UserError, Unknown):
        raise
    except Refused as error:
        raise UserError(f"{path} {error}, and is not opened: {error.todo}.") from error
    except PermissionError as error:
        raise UserError(f"{path} may not be read: make it readable, or name another.") from error
    except Exception as error:  # what Keras raises over a stranger's file is no closed list
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise UserError(f"{path} cannot be unpacked to be read: free some space.") from error
        saver, here = _version(path), version("keras")
        if saver and saver != here:
            raise UserError(
                f"{path} was saved by Keras {saver} and cannot be opened by Keras {here}, or is "
                "damaged: install the version that saved it, or make it again with this one."
            ) from error
        raise UserError(f"{path} is no model, or damaged: make it again.") from error


def _version(path: Path) -> str:
    """The version of Keras that saved a file; nothing if the file is damaged besides."""
    try:
        check_classifier(path)
        with zipfile.ZipFile(path) as archive:
            said = str(json.loads(archive.read("metadata.json"))["keras_version"])
    except (Refused, RecursionError, *DAMAGE):
        return ""
    return said if re.fullmatch(r"[0-9a-z.]{1,20}", said) else ""


def _single(value: Any) -> Any:
    """What describes a network, with one input and one output of each as Keras writes it now:
    before 3.11 it wrote lists of one, of which it now makes networks with lists of outputs.
    """
    if isinstance(value, list):
        return [_single(one) for one in value]
    if not isinstance(value, dict):
        return value
    value = {key: _single(one) for key, one in value.items()}
    for key in ("input_layers", "output_layers"):
        ends = value.get(key)
        if isinstance(ends, list) and len(ends) == 1 and isinstance(ends[0], list):
            value[key] = ends[0]
    return value


def _check_names(path: Path, names: Any) -> None:
    """Raise UserError unless these are names of two or more classes."""
    strings = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    if not strings or len(set(names)) < max(2, len(names)):
        raise UserError(f"{path} does not name its classes: use a model that this project saved.")


def answers(
    path: Path, classes: Sequence[str] | None = None
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...], int]:
    """A classifier of this project, by LiteRT: a function of photos, the names of its classes and
    the photos' side in pixels.

    The function is that of `computing`. Raises UserError if it is no such file, and Unknown if only
    Keras can say, or compute, what is in it.
    """
    config, names, ours = checked(path, classes)
    with told(path):
        if not ours or config["class_name"] != "Functional":
            raise Unknown("a network that this project did not build")
        data = _written(path, config["config"])
    try:
        compute, shape, outputs = computing(data)
    except (ValueError, RuntimeError) as error:
        raise Unknown("layers that LiteRT cannot put together") from error
    if shape[1:] != (shape[1], shape[1], 3) or outputs != (1 if len(names) == 2 else len(names)):
        raise Unknown("another input than photos, or another number of outputs than of classes")
    return compute, names, shape[1]


def _written(path: Path, config: dict[str, Any]) -> bytes:
    """The content of a `.tflite` file, from what describes a network and the weights beside it."""
    groups = dict(_groups(config, (), "layers"))
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS))) as file:

        def weights(names: tuple[str, ...]) -> list[np.ndarray]:
            group = file.get(f"{groups[names]}/vars") if names in groups else None
            return [group[str(i)][()] for i in range(len(group))] if group else []

        return flatbuffer.whole(config, weights)


def _groups(
    config: dict[str, Any], around: tuple[str, ...], above: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Where the weights of each layer are, by the names of the networks around it and its own."""
    seen = Counter()
    for layer in config["layers"]:
        kind, path = GROUPS.get(layer["class_name"]), (*around, layer["config"]["name"])
        if kind:
            group = f"{above}/{kind}{f'_{seen[kind]}' if seen[kind] else ''}"
            seen[kind] += 1
            yield path, group
            if kind == "functional":
                yield from _groups(layer["config"], path, f"{group}/layers")


def computing(data: bytes) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, ...], int]:
    """A function of photos, from the content of a `.tflite` file that gives logits, the shape of
    what it takes and how many logits there are.

    The function takes uint8 (N, size, size, 3), any N, and gives probabilities, float64 (N, K). A
    photo's have the same bits whatever photos are beside it.
    """
    one, taken, (given,) = interpreter.opened(data)
    shape, outputs = tuple(map(int, taken["shape"])), int(given["shape"][-1])

    def compute(photos: np.ndarray) -> np.ndarray:
        return probabilities(interpreter.rows(one, photos, outputs))

    return compute, shape, outputs
