"""Labelled photos to train on from scratch: CIFAR-10 by name, or class folders, packed or not.

    folder/cat/1.jpg, folder/dog/2.jpg               one set, split here
    folder/train/cat/1.jpg, folder/test/cat/2.jpg    the test part is given

A .tar or .tar.gz file of either is read as it is, without unpacking it.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError, duplicates
from mobilenet.decoding import read_content, read_or_reason
from mobilenet.files import DAMAGE
from mobilenet.photos import FEWEST, Photos, is_hidden, is_photo, ordered, refuse_folder, split
from mobilenet.progress import progress

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PARTS = ("train", "val", "test")
# Photos hardly compress: a file that unpacks to more bytes than this was made to fill a memory.
UNPACKED, SLACK = 20, 100_000_000  # times its own size, and bytes more
PACKERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by the first two bytes
VAL_SHARE = 0.1  # of the training photos, where the test photos are given


def load(source: str, size: int, seed: int) -> dict[str, Photos]:
    """Photos as train, val and test parts, decoded at size × size pixels.

    source: "cifar10", or the path of a folder or tar file. Where the test part is given, a tenth of
    the rest is put aside as val, else all are split 64/16/20: stratified, by seed. Raises UserError
    if the source cannot be had, or a class is empty, or there is only one.
    """
    parts = _cifar10(size) if source == "cifar10" else _read(Path(source), size)
    if "test" not in parts:
        (photos,) = parts.values()
        return {part: photos.subset(index) for part, index in split(photos, seed).items()}
    if "val" not in parts:
        index = split(parts["train"], seed, (1 - VAL_SHARE, VAL_SHARE / 2, VAL_SHARE / 2))
        val = np.sort(np.concatenate([index["val"], index["test"]]))
        parts["val"] = parts["train"].subset(val)
        parts["train"] = parts["train"].subset(index["train"])
    return parts


def load_all(source: str, size: int, names: Sequence[str]) -> dict[str, Photos]:
    """Photos to ask a model about that knows classes of these names, by the part that the source
    gives them, or "all": whatever their number, and also those of classes that it lacks.

    Raises UserError if the source cannot be had or holds no class folder.
    """
    return _cifar10(size) if source == "cifar10" else _read(Path(source), size, names)


def joined(parts: dict[str, Photos]) -> Photos:
    """The photos of all parts in one set, the part before the name of each file."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    one = next(iter(parts.values()))
    named = [(f"{part}/{file}", part, file) for part in parts for file in parts[part].files]
    return Photos(
        tuple(name for name, _, _ in named),
        np.concatenate([photos.images for photos in parts.values()]),
        np.concatenate([photos.labels for photos in parts.values()]),
        one.class_names,
        tuple(item for photos in parts.values() for item in photos.left_out),
        {name: parts[part].sums[file] for name, part, file in named if file in parts[part].sums},
        {name: parts[part].twins[file] for name, part, file in named if file in parts[part].twins},
    )


def _cifar10(size: int) -> dict[str, Photos]:
    from PIL import Image

    from mobilenet.engine import keras

    try:
        both = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras raises no narrower one when a download fails
        raise UserError(
            "CIFAR-10 cannot be downloaded: connect to a network, or name a folder or tar file of "
            "class folders with --data."
        ) from error
    parts = {}
    for part, (images, labels) in zip(("train", "test"), both, strict=True):
        if size != images.shape[1]:
            scaled = [Image.fromarray(image).resize((size, size), 3) for image in images]
            images = np.stack([np.asarray(image) for image in scaled])
        files = tuple(f"{part}/{i:05}" for i in range(len(images)))
        parts[part] = Photos(files, images, labels[:, 0].astype(np.int64), tuple(CIFAR10))
    return parts


def _items(source: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(parts of the name below source, what Pillow can open) of every photo; None for a folder.
    Nothing hidden; links to folders are followed, once.
    """
    if source.is_dir():
        seen = set()
        for path, folders, names in os.walk(source, onerror=refuse_folder, followlinks=True):
            real = os.path.realpath(path)
            folders[:] = [] if real in seen else [name for name in folders if not is_hidden(name)]
            if real not in seen:
                inside = Path(path).relative_to(source).parts
                yield from (((*inside, name), None) for name in folders)
                for name, file in ((n, Path(path) / n) for n in names if is_photo((n,))):
                    # A pipe may never answer; what is not there is named when it is read.
                    if os.path.isfile(file) or not os.path.exists(file):
                        yield (*inside, name), file
            seen.add(real)
        return
    if not source.is_file():
        raise ValueError("neither folder nor file")
    left = _room(source)
    with tarfile.open(source) as tar:
        for member in tar:
            parts = Path(member.name.lstrip("/")).parts
            if member.isdir() and not any(map(is_hidden, parts)):
                yield parts, None
            elif (member.isfile() or member.islnk()) and is_photo(parts):
                # A file with holes may be longer than what is there, and linked to many times.
                data = tar.extractfile(member).read() if member.size <= left else None
                left -= member.size if data is None else len(data)
                _check_room(source, left)
                yield parts, io.BytesIO(data)


def _room(source: Path) -> int:
    """How many bytes of photos are believed to be in a tar file. Raises UserError if it unpacks to
    more, before anything that it says of itself is acted on.
    """
    with source.open("rb") as file:
        room = left = UNPACKED * os.fstat(file.fileno()).st_size + SLACK
        unpack = PACKERS.get(file.read(2))
    if unpack:
        with unpack(source) as file:
            while left >= 0 and (chunk := file.read(1 << 20)):
                left -= len(chunk)
    _check_room(source, left)
    return room


def _check_room(source: Path, left: int) -> None:
    if left < 0:
        raise UserError(
            f"The data {source.name!r} unpacks to far more than photos do: name another."
        )


def _read(source: Path, size: int, known: Sequence[str] = ()) -> dict[str, Photos]:
    """known: classes that are asked for; then one of them is enough, and so is one photo."""
    try:
        items = sorted(_items(source), key=lambda item: item[0])
    except (*DAMAGE, tarfile.TarError, lzma.LZMAError, MemoryError) as error:
        raise UserError(
            f"The data {str(source)!r} is no folder or whole tar file of photos: name another."
        ) from error
    items = [item for item in items if item[0]]
    # A tar file may hold everything in one folder.
    while items and len(first := {parts[0] for parts, _ in items}) == 1 and not first & {*known}:
        items = [(parts[1:], file) for parts, file in items if len(parts) > 1]
    photos = [parts for parts, file in items if file is not None]
    given = any(parts[0] == "train" and len(parts) > 2 for parts in photos)
    if given:
        # Photos that lie beside the parts belong to nobody, a folder of them may be meant as one.
        others = sorted({parts[0] for parts in photos if len(parts) > 1} - set(PARTS))
        if others:
            raise UserError(
                f"The data {source.name!r} holds {others[0]!r} beside train/: name it val or test, "
                "or move it away."
            )
        items = [item for item in items if item[0][0] in PARTS]
    else:
        items = [(("all", *parts), file) for parts, file in items]
    grouped, names = defaultdict(list), set()
    for (part, *rest), file in items:
        if file is None and len(rest) == 1:
            names.add(rest[0])  # a class even if it is empty
        elif file is not None and len(rest) > 1:
            names.add(rest[0])
            grouped[part].append((rest, file))
    if len(names) < (1 if known else 2):
        raise UserError(f"The data {source.name!r} needs two or more class folders: add them.")
    if given and not known and not {"train", "test"} <= set(grouped):
        raise UserError(f"The data {source.name!r} lacks photos in test/: give both, or neither.")
    names = ordered(names)
    least = 0 if known else FEWEST
    decoded = {part: _decode(part, some, names, size, least) for part, some in grouped.items()}
    return _with_twins({part: photos for part, photos in decoded.items() if len(photos)})


def _with_twins(parts: dict[str, Photos]) -> dict[str, Photos]:
    """The same photos, and which of them show the same picture, in whatever part."""
    files = [f"{part}/{file}" for part, photos in parts.items() for file in photos.files]
    images = [image for photos in parts.values() for image in photos.images]
    labels = np.concatenate([photos.labels for photos in parts.values()])
    found = duplicates.twins(files, np.stack([duplicates.fingerprint(image) for image in images]))
    found, frames = duplicates.apart(found, files, labels, images, FEWEST)
    return {
        part: replace(
            photos,
            twins={f: found[f"{part}/{f}"] for f in photos.files if f"{part}/{f}" in found},
            frames=frozenset(f for f in photos.files if f"{part}/{f}" in frames),
        )
        for part, photos in parts.items()
    }


def _decode(part: str, items: list, names: tuple[str, ...], size: int, least: int) -> Photos:
    kept, images, left_out, sums = [], [], [], {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda item: (_sha256(item[1]), read_or_reason(item[1], size)), items)
        shown = progress(decoded, len(items), f"Photos: {part}")
        for (rest, _), (sum_, image) in zip(items, shown, strict=True):
            if isinstance(image, str):
                left_out.append(("/".join(rest), image))
            else:
                kept.append(rest)
                images.append(image)
                sums["/".join(rest)] = sum_
    labels = np.array([names.index(rest[0]) for rest in kept], np.int64)
    counts = np.bincount(labels, minlength=len(names))
    for name, count in zip(names, counts, strict=True):
        if count < (min(1, least) if part in ("val", "test") else least):
            where = "" if part == "all" else f" in {part}/"
            raise UserError(f"Class {name!r} has {count} readable photos{where}: add some.")
    files = tuple("/".join(rest) for rest in kept)
    images = np.stack(images) if images else np.empty((0, size, size, 3), np.uint8)
    return Photos(files, images, labels, names, tuple(left_out), sums)


def _sha256(file: Path | io.BytesIO) -> str:
    """Of what is in a file, in hexadecimal; nothing if it cannot be read, as is said elsewhere."""
    with suppress(OSError):
        content = file.getvalue() if isinstance(file, io.BytesIO) else read_content(file)
        return hashlib.sha256(content).hexdigest()
    return ""


def describe(parts: dict[str, Photos]) -> str:
    """How many photos each part holds, which files were left out and why, and which test photos
    show the same picture as one of the others (ten by name).
    """
    lines = [", ".join(f"{part} {len(parts[part])}" for part in PARTS) + " photos."]
    lines += left_out_of(parts[part] for part in PARTS)
    lines += duplicates.words(
        sum(file in parts[part].frames for part in PARTS for file in parts[part].files)
    )
    learned = {parts[part].twins.get(file) for part in PARTS[:2] for file in parts[part].files}
    known = [file for file in parts["test"].files if parts["test"].twins.get(file, "") in learned]
    if known:
        lines.append(
            f"{len(known)} test photos show the same picture as photos that are learned from "
            f"({', '.join(known[:10])}): take them out of one of the two."
        )
    return "\n".join(lines)


def left_out_of(parts: Iterable[Photos]) -> list[str]:
    """Lines that say how many files were left out and why, ten by name."""
    found = list(dict.fromkeys(item for photos in parts for item in photos.left_out))
    lines = [f"  {file} ({reason})" for file, reason in found[:10]]
    return [f"{len(found)} files left out:", *lines] if found else []


def fingerprint(photos: Photos) -> str:
    """Twelve hexadecimal digits that change with the names of the files and their classes."""
    return hashlib.sha256("\n".join(photos.files).encode("utf-8", "replace")).hexdigest()[:12]


def check_classes(photos: Photos, names: tuple[str, ...]) -> None:
    """Raises UserError unless the photos' classes are these, in whatever order."""
    if set(photos.class_names) != set(names):
        ours, theirs = (", ".join(map(repr, some)) for some in (names, photos.class_names))
        raise UserError(f"The model knows {ours}, the data has {theirs}: take data of its classes.")
