"""Features of any number of photos as Parquet parts in a folder: what is in them, writing, reading.

The sorted listing of the photos is cut into *chunks*; a chunk comes into one part, written whole,
`features-<digits>-<photos>.parquet`. The digits are of all that decides what is in it: backbone,
versions, and path, bytes and time of change of each file. So what is there under its name need not
be computed again. What cannot be read is in `unreadable-<digits>-<photos>.parquet`, written before.

Needs pyarrow to write and read parts, and never TensorFlow.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from mobilenet import UserError
from mobilenet.photos.decoding import NO_MEMORY, read_content, why_not
from mobilenet.photos.loading import DECODINGS
from mobilenet.scale import chunking
from mobilenet.scale.chunking import Chunk, Found, read_file
from mobilenet.system.files import DAMAGE, replacing, write_json
from mobilenet.system.progress import progress

ABOUT = "about.json"
PASSES = 2  # to be counted up when `extraction.pooling` comes to give other features
NAME = re.compile(r"(features|unreadable)-[0-9a-f]{20}-\d+\.parquet")
AGAIN = "delete it and run `python -m mobilenet.extract` again"


def arrow() -> Any:
    """pyarrow, with `parquet`. Raises UserError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "pyarrow is not installed: install it with "
            "`.venv/bin/pip install -r requirements-cluster.txt`."
        ) from error
    return pyarrow


def about(folder: Path, backbone: Any, on_gpu: bool) -> dict[str, Any]:
    """What all parts of a folder have in common: photos, backbone, and the versions that decide
    pixels and features. on_gpu: whether TensorFlow computes them, on a GPU; else LiteRT does.
    """
    engine = f"LiteRT {version('ai-edge-litert')}"
    if on_gpu:
        engine = f"TensorFlow {version('tensorflow')} and Keras {version('keras')}"
    return {
        "photos": str(folder.resolve()),
        "backbone": backbone.card()
        | {"channels": backbone.channels, "fingerprint": backbone.fingerprint},
        "versions": {
            "decoding": DECODINGS,
            "pillow": PIL.__version__,
            "passes": PASSES,
            "engine": engine,
        },
    }


def read_about(out: Path) -> dict[str, Any]:
    """What `about` said when the parts in a folder were begun, and under "complete" whether they
    are all there. Raises UserError if there are none, or if the file is damaged.
    """
    try:
        read = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        backbone, versions = read["backbone"], read["versions"]
        if not (isinstance(read["photos"], str) and isinstance(versions, dict)):
            raise TypeError
        if not (isinstance(backbone["fingerprint"], str) and backbone["channels"] > 0):
            raise ValueError
        if not (backbone["alpha"] > 0 and backbone["size"] >= 32 and backbone["weights"]):
            raise ValueError
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{out} holds no features of photos: make them with `python -m mobilenet.extract "
            f"PHOTOS --out {out}`."
        ) from error
    except (*DAMAGE, RecursionError) as error:
        raise UserError(
            f"{out / ABOUT} cannot be read: restore it, or name another folder."
        ) from error
    return read


def begin(out: Path, described: dict[str, Any]) -> None:
    """Make a folder the one of these parts, not complete until `finish`. Raises UserError if it
    holds others.
    """
    if (out / ABOUT).exists():
        there = read_about(out)
        for what in ("photos", "backbone", "versions"):
            if there[what] != described[what]:
                raise UserError(
                    f"{out} holds features of {_difference(there[what], described[what])}: "
                    "name another folder with --out."
                )
    elif listed(out):
        raise UserError(f"{out} holds parts but no {ABOUT}: name another folder with --out.")
    write_json(out / ABOUT, described | {"complete": False})


def finish(out: Path, described: dict[str, Any]) -> None:
    """Note that all parts are there and no others."""
    write_json(out / ABOUT, described | {"complete": True})


def _difference(there: Any, now: Any) -> str:
    """What is other there, in a few words."""
    if isinstance(there, str):
        return f"the photos in {there}, not in {now}"
    names = [name for name in now if there.get(name) != now[name]]
    if names == ["fingerprint"]:
        return "a backbone with other weights"
    name = names[0] if names else "versions"
    return f"another backbone or version ({name} {there.get(name)}, not {now.get(name)})"


def read(
    folder: Path, chunk: Chunk, size: int, each: Callable = map
) -> tuple[list[Found], np.ndarray]:
    """The photos of a chunk: what each file is, and those that can be read, uint8 (N, size, size,
    3), in their order. each: the map of a pool of threads, to read several at once.
    """
    found, count = [], 0
    photos = np.empty((len(chunk.paths), size, size, 3), np.uint8)
    for one, photo in each(lambda path: read_file(folder, path, size), chunk.paths):
        found.append(one)
        if photo is not None:
            photos[count] = photo
            count += 1
    return found, photos[:count]


def write(out: Path, chunk: Chunk, found: Sequence[Found], features: np.ndarray) -> None:
    """Write a chunk's parts, each whole; that of the features comes last and says it is done.

    found: of each of its photos. features: float32 (N, channels), of those that can be read.
    Raises UserError if the disk does not take them.
    """
    pa = arrow()
    rows = list(zip(chunk.paths, found, strict=True))
    bad = [(path, one) for path, one in rows if one.reason]
    unreadable = out / chunk.part("unreadable")
    if bad:
        reasons = [one.reason.encode(errors="backslashreplace").decode() for _, one in bad]
        _write(unreadable, bad, chunk.depth, "reason", pa.array(reasons, pa.string()))
    else:
        unreadable.unlink(missing_ok=True)  # of a run that could not read what this one could
    features = np.ascontiguousarray(features, np.float32)
    flat = pa.array(features.reshape(-1), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    good = [row for row in rows if not row[1].reason]
    _write(out / chunk.part(), good, chunk.depth, "features", column)


def _write(
    path: Path, rows: Sequence[tuple[str, Found]], depth: int, name: str, column: Any
) -> None:
    pa = arrow()
    text = pa.string()
    columns = {
        "path": pa.array([to_text(path) for path, _ in rows], text),
        "label": pa.array([label_of(path, depth) for path, _ in rows], text),
        "sha256": pa.array([one.sha256 for _, one in rows], text),
        name: column,
    }
    # Floats with like bytes side by side: a fourth to a third less to keep and to read.
    split = ["features.list.element"] if name == "features" else False
    with replacing(path, sweep=False) as new:  # `begin` swept
        pa.parquet.write_table(
            pa.table(columns),
            new,
            compression="zstd",
            use_dictionary=["label"],
            use_byte_stream_split=split,
            write_statistics=False,
            write_page_checksum=True,
        )


def label_of(path: str, depth: int = 0) -> str | None:
    """The class folder of a path below the photos' folder, as text; None if it lies in none."""
    inside = path.split("/")[:-1]
    return to_text(inside[depth]) if len(inside) > depth else None


def to_text(path: str) -> str:
    """A path as a part holds it: a name that is no UTF-8, which Parquet refuses, in ASCII escapes
    after "./", with which no path below a folder begins.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return "./" + path.encode("unicode_escape").decode("ascii")
    return path


def to_path(text: str) -> str:
    """The path that `to_text` made a text of."""
    return text[2:].encode("ascii").decode("unicode_escape") if text.startswith("./") else text


def done(out: Path, folder: Path, chunk: Chunk) -> bool:
    """Whether a chunk's parts are there, as far as their last bytes tell, and nothing that could
    not be read may be read now.
    """
    unreadable = out / chunk.part("unreadable")
    try:
        missing = len(chunk.paths) - _count(out / chunk.part())
        if not missing:
            return not unreadable.exists()  # of two that computed it at once, one could read more
        read = _rows(unreadable, ["path", "sha256", "reason"], chunking.MOST)
        bad = [row for batch in read for row in batch.to_pylist()]
    except UserError:  # not there, or damaged: made anew
        return False
    return len(bad) == missing and not any(
        row["reason"] == NO_MEMORY or (row["sha256"] is None and _opens(folder, row["path"]))
        for row in bad
    )


def _opens(folder: Path, text: str) -> bool:
    path = to_path(text)
    if why_not(path):
        return False
    try:
        read_content(folder / path)
    except (OSError, MemoryError):
        return False
    return True


def listed(out: Path, kind: str = "") -> list[str]:
    """The names of the parts in a folder, sorted; kind: "features", "unreadable", or "" for all."""
    names = (name for name in os.listdir(out) if NAME.fullmatch(name))
    return sorted(name for name in names if name.startswith(kind))


def photos_in(part: str) -> int:
    """How many photos a part is of, by its name."""
    return int(part.rsplit("-", 1)[1].split(".")[0])


def remove(out: Path, names: Iterable[str]) -> None:
    """Remove these parts, what could not be read last, so that no chunk is half there."""
    for name in sorted(names):
        (out / name).unlink(missing_ok=True)


def batches(out: Path, columns: Sequence[str], rows: int = chunking.MOST) -> Iterator[Any]:
    """These columns of all rows of features, in the parts' order, which stays: pyarrow
    RecordBatches of at most so many rows.

    columns: of "path", "label", "sha256", "features"; as an array the last is float32 (N,
    channels) by `array_of`. Raises UserError if a part is damaged.
    """
    names = listed(out, "features")
    for name in names:
        yield from _rows(out / name, columns, rows)


def array_of(batch: Any) -> np.ndarray:
    """The features of a RecordBatch, float32 (N, channels)."""
    column = batch.column("features")
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def count(out: Path, kind: str = "features") -> int:
    """How many rows the parts of a kind hold. Raises UserError if one is damaged."""
    names = listed(out, kind)
    return sum(_count(out / name) for name in progress(names, len(names), "Parts"))


def _count(part: Path) -> int:
    pa = arrow()
    try:
        return pa.parquet.read_metadata(part).num_rows
    except (*DAMAGE, pa.ArrowException) as error:
        raise UserError(f"{part} is damaged: {AGAIN}.") from error


def _rows(part: Path, columns: Sequence[str], rows: int) -> Iterator[Any]:
    pa = arrow()
    try:
        with pa.parquet.ParquetFile(part, page_checksum_verification=True) as file:
            missing = set(columns) - set(file.schema_arrow.names)
            if missing:
                raise KeyError(*missing)
            yield from file.iter_batches(rows, columns=list(columns))
    except (*DAMAGE, pa.ArrowException) as error:
        raise UserError(f"{part} is damaged: {AGAIN}.") from error
