"""What is looked at before Keras and HDF5 open a file that others may have made.

Keras builds whatever a `.keras` file describes, and has been talked into running code, reading
other files and taking all memory by it (CVE-2025-1550, -8747, -9905, -9906, -12058; CVE-2026-0897,
-1462, -1669). The classifiers here are made of a few layers, so nothing else is let through.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

CARD, WEIGHTS = "classes.json", "model.weights.h5"
MEMBERS = {"metadata.json", "config.json", WEIGHTS, CARD}
TEXT = 1_000_000  # bytes of JSON; the largest network here takes a fifth
AUGMENTATION = (
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation"),
    *("RandomContrast", "RandomBrightness"),
)
LAYERS = (
    "InputLayer Rescaling Conv2D DepthwiseConv2D BatchNormalization ReLU ZeroPadding2D Add "
    "GlobalAveragePooling2D Dropout Dense Reshape GlobalMaxPooling2D Flatten Activation Softmax"
)
# By module and class.
KINDS = {
    ("keras.src.models.functional", "Functional"),
    ("keras", "DTypePolicy"),
    (None, "__keras_tensor__"),
    ("keras", "Sequential"),
    # As Keras writes `mobilenet_v2.preprocess_input`.
    *(("keras.src.ops.numpy", name) for name in ("TrueDivide", "Subtract")),
    *(("keras.layers", name) for name in (*LAYERS.split(), *AUGMENTATION)),
    *(("keras.initializers", name) for name in ("GlorotUniform", "Zeros", "Ones")),
}
# The classifier and the backbone in it; augmentation, the top and both in a row.
MODELS = {"Functional": 2, "Sequential": 4}
WEIGHED = {"Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense"}


class Refused(Exception):
    """A file holds what none of this project does; the text says what and follows its name. todo:
    what its user can do.
    """

    todo = "take one that this project saved"


class UnknownLayer(Refused):
    """A network holds a layer that is not let through, perhaps of an honest model."""

    todo = (
        "of a .keras file, which can run code, only these layers are opened: "
        f"{', '.join(LAYERS.split())} and {', '.join(AUGMENTATION)}; convert others to .tflite, "
        "which predict and evaluate take (docs/commands.md says how)"
    )


def check_classifier(path: Path) -> dict[str, Any]:
    """Let a `.keras` file pass that holds what `classifier.save` writes, or a plain classifier that
    was made of the same layers, whatever its numbers; returns what describes the network.

    How it was trained is left out. Raises Refused if it holds anything else, and OSError,
    ValueError or one of their like if it is damaged. Nothing is unpacked but into memory, at most
    as much as the file is long.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        _check_end(file, length)
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if strange := sorted(set(names) - MEMBERS):
                raise Refused(f"holds {strange[0][:60]!a}")
            if len(set(names)) < len(names):
                raise Refused("holds a part twice")
            for info in infos:
                # Keras packs without compression, so that no part is larger than the file.
                most = length if info.filename == WEIGHTS else TEXT
                if not info.file_size == info.compress_size <= most or info.compress_type:
                    raise Refused(f"says that {info.filename} is larger than it can be")
            config = json.loads(archive.read("config.json"))
            config.pop("compile_config", None)
            promised = check_config(config)
            weights = io.BytesIO(archive.read(WEIGHTS))
    check_weights(weights)
    if not promised <= 2 * length + TEXT:  # as is what is no number
        raise Refused("describes a network larger than its weights")
    return config


def _check_end(file: BinaryIO, length: int) -> None:
    """Raise ValueError unless a small list of members ends the archive: a long one takes zipfile
    memory and minutes before any of it is seen.
    """
    file.seek(max(0, length - 42))
    end = file.read()
    if (
        end[-22:-18] != b"PK\5\6"
        or end[:4] == b"PK\6\7"
        or int.from_bytes(end[-10:-6], "little") > 4096
    ):
        raise ValueError("no archive that Keras wrote")
    file.seek(0)


def check_config(config: Any) -> int:
    """Raise Refused unless a network is described with known layers alone; returns how many
    bytes its weights take, at the most.
    """
    dicts = list(_dicts(config))
    objects = [one for one in dicts if "class_name" in one]
    for one in objects:
        kind = (one.get("module"), one["class_name"])
        if kind not in KINDS or one.get("registered_name") not in (None, one["class_name"]):
            raise UnknownLayer(f"holds a layer or function of the kind {str(kind[1])[:60]!a}")
    kinds = [one["class_name"] for one in objects]
    if any(kinds.count(kind) > most for kind, most in MODELS.items()) or any(
        len(one.get("inbound_nodes", ())) > 1 or one.get("lora_rank") for one in dicts
    ):
        raise Refused("describes a network that is wound up in itself")
    weighed = [one for one in objects if one["class_name"] in WEIGHED]
    return sum(4 * _values(one["config"], one["build_config"]["input_shape"]) for one in weighed)


def _dicts(value: Any) -> Iterator[dict]:
    """All dicts in a JSON value. One that is nested too deeply was not parsed."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _dicts(part)


def _values(config: dict, shape: list) -> int:
    """How many weights a layer has, at the most: its channels are one of these lengths."""
    outputs = config.get("filters") or config.get("units") or config.get("depth_multiplier") or 4
    kernel = config.get("kernel_size") or [1]
    return prod(map(abs, [max(abs(length) for length in shape if length), outputs, *kernel]))


def check_weights(file: Path | BinaryIO) -> None:
    """Raise Refused if an HDF5 file leads to other files or says that it is larger than it is.

    Raises OSError, ValueError or one of their like if it is damaged.
    """
    import h5py

    with h5py.File(file, "r") as opened:
        left, seen, waiting = opened.id.get_filesize(), set(), [opened]
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise Refused("holds a link in the place of weights")
                one = group[name]
                address = h5py.h5o.get_info(one.id).addr
                if address in seen:
                    raise Refused("holds the same weights twice")
                seen.add(address)
                if isinstance(one, h5py.Group):
                    waiting.append(one)
                    continue
                if not isinstance(one, h5py.Dataset) or one.external or one.is_virtual:
                    raise Refused("takes weights from another file")
                # What is in chunks may be compressed, which Keras never does.
                if one.chunks or one.dtype.kind not in "fiu":
                    raise Refused("holds something else than plain weights")
                left -= one.nbytes
                if left < 0:
                    raise Refused("says that its weights are larger than the file")
