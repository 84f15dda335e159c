"""A classifier in a `.tflite` file: photos in, P(class) out, by LiteRT, the engine of phones.

The runtime is C++ and believes what it reads, so the sha256 that `export` put into a file is looked
at before. That is against damage, not against malice: run files of those whom you trust.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.inference import third_party_litert
from mobilenet.inference.naming import named
from mobilenet.system.guards import quiet
from mobilenet.system.interpreter import opened, rows, runtime, whose_kernels

NAME = "mobilenet"  # of the entry in the file's metadata
SUM = '"sha256": "{}"'  # in it: of the file with zeros in the place of these digits
NO_SUM = 64 * "0"
KINDS = np.uint8, np.float32  # of what a model takes and gives
NUMBERS = "size", "multiply_adds", "parameters"
UNREADABLE = (
    struct.error,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    RecursionError,
)


def load(
    path: Path,
    threads: int | None = None,
    classes: Sequence[str] | None = None,
    own_kernels: bool = False,
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...], int]:
    """A function of photos, the names of the classes, and the photos' side in pixels.

    The function takes uint8 (N, size, size, 3), any N, and gives probabilities, float64 (N, K); in
    8 bits they are steps of 1/256, 255/256 at the most, and may sum to a little less than 1.
    threads: of one photo after the other; None: one photo on each core. own_kernels: without
    XNNPACK, which else computes where it can. Raises UserError if LiteRT is not installed or the
    file cannot be run. classes: their names, for a file that others made without names.
    """
    runtime()
    data, card = _read(path, classes)
    names, size = tuple(card["class_names"]), card["size"]
    try:
        one, taken, (given,) = opened(data, threads or 1, own_kernels)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path} cannot be run by LiteRT: export it again.") from error
    kinds = taken["dtype"], given["dtype"]
    shapes = tuple(taken["shape"]), tuple(given["shape"])
    ours = (kinds, shapes) == (KINDS, ((1, size, size, 3), (1, len(names))))
    if not ours and "gives" not in card:  # of others, `third_party_litert` has looked at it
        raise UserError(f"{path} takes or gives other than it says: export it again.")

    def answer(photo: np.ndarray) -> list[np.ndarray]:
        (row,) = one(photo)
        if "gives" in card:
            return [third_party_litert.probabilities(row, card["gives"], given)]
        return [row.astype(np.float64)]

    def compute(photos: np.ndarray) -> np.ndarray:
        return rows(answer, photos, len(names), 1 if threads else None)

    return compute, names, size


def read_card(path: Path, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """What `mobilenet.export` wrote about a model, of JSON values: class_names, size, geometry,
    quantize, multiply_adds, parameters, and what the card of the Keras model says. Of a model of
    others: class_names, size, and what it gives. Raises UserError as `load` does.
    """
    return _read(path, classes)[1]


def told_kernels(path: Path, photos: np.ndarray) -> str:
    """A sentence: whose kernels answer for a file here, and how far its answers for these photos,
    uint8 (N, size, size, 3), are from those of LiteRT's own kernels.
    """
    with quiet(ValueError, RuntimeError):
        one = runtime()(model_content=_read(path)[0])
        one.allocate_tensors()
    p, own = load(path)[0](photos), load(path, own_kernels=True)[0](photos)
    moved, changed = np.abs(p - own).max(axis=1), p.argmax(axis=1) != own.argmax(axis=1)
    return (
        f"{path.name} was measured with {whose_kernels(one)} kernels; LiteRT's own give another "
        f"probability for {(moved > 1e-4).sum()} of {len(p)} photos (by up to {moved.max():.3f}) "
        f"and another class for {changed.sum()}."
    )


def _read(path: Path, classes: Sequence[str] | None = None) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a model and its card, both as they were written; a card of `third_party_litert`
    for a model of others.
    """
    runtime()
    from ai_edge_litert import schema_py_generated as schema

    if not path.is_file():
        raise UserError(f"There is no model {path}: make it with python -m mobilenet.export.")
    try:
        data = path.read_bytes()
    except PermissionError as error:
        raise UserError(f"{path} may not be read: make it readable, or name another.") from error
    if data[4:8] != b"TFL3":
        raise UserError(f"{path} is no LiteRT model: make one with python -m mobilenet.export.")
    try:
        model = schema.Model.GetRootAs(data, 0)
        entries = [model.Metadata(i) for i in range(model.MetadataLength())]
        found = [one.Buffer() for one in entries if one.Name() == NAME.encode()]
        if not found:
            return data, third_party_litert.card(path, data, model, classes)
        card = json.loads(model.Buffers(found[0]).DataAsNumpy().tobytes())
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged: export it again.") from error
    if not _is_card(card) or sha256(data, card["sha256"]) != card["sha256"]:
        raise UserError(f"{path} is damaged: export it again.")
    named(path, card["class_names"], classes)
    card.pop("gives", None)  # that is said of files of others alone
    return data, card


def _is_card(card: Any) -> bool:
    """Whether a JSON value says all that is read here, and by those who ask for it."""
    if not isinstance(card, dict):
        return False
    names, numbers = card.get("class_names"), [card.get(key) for key in NUMBERS]
    return (
        re.fullmatch("[0-9a-f]{64}", str(card.get("sha256"))) is not None
        and all(type(number) is int and number > 0 for number in numbers)
        and isinstance(names, list)
        and all(isinstance(name, str) and name for name in names)
        and len(set(names)) == len(names) > 1
    )


def sha256(data: bytes, digits: str) -> str:
    """Of a model, in hexadecimal, with zeros in the place where it says these digits."""
    said, zeros = (SUM.format(some).encode() for some in (digits, NO_SUM))
    return hashlib.sha256(data.replace(said, zeros)).hexdigest()
