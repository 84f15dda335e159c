"""Labelled photos to train on from scratch: CIFAR-10 by name, or any folder that `layouts` knows.

It is split here, unless it gives a split. A .tar or .tar.gz file of one is read as it is,
without unpacking it.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mobilenet import UserError
from mobilenet.photos import duplicates, folders, layouts, splits, tables
from mobilenet.photos.decoding import hash_and_read, read_content, why_not
from mobilenet.photos.folders import FOLDER, HIDDEN, NO_FILE, Found, is_hidden
from mobilenet.photos.layouts import SPLITS, Labelled, Photo
from mobilenet.photos.loading import FEWEST, why_few
from mobilenet.photos.photos import Photos, ordered
from mobilenet.photos.splits import hold_out_val, split
from mobilenet.system.files import DAMAGE
from mobilenet.system.progress import progress

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# Photos hardly compress: a file that unpacks to more bytes than this was made to fill a memory.
UNPACKED, SLACK = 20, 100_000_000  # times its own size, and bytes more
PACKERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by the first two bytes


def load(source: str, size: int, seed: int) -> dict[str, Photos]:
    """Photos as train, val and test parts, decoded at size × size pixels.

    source: "cifar10", or the path of a folder or tar file. Where the test part is given and val is
    not, a tenth of the rest is put aside as val, else all are split 64/16/20: stratified, by seed.
    Raises UserError if the source cannot be had, or a class is empty, or there is only one.
    """
    parts = _cifar10(size) if source == "cifar10" else _read(Path(source), size)
    if "test" not in parts:
        (photos,) = parts.values()
        return {part: photos.subset(index) for part, index in split(photos, seed).items()}
    if "val" not in parts:
        train = parts["train"]
        parts |= {part: train.subset(index) for part, index in hold_out_val(train, seed).items()}
    return parts


def load_all(source: str, size: int, names: Sequence[str]) -> dict[str, Photos]:
    """Photos to ask a model about that knows classes of these names, by the part that the source
    gives them, or "all": whatever their number, and also those of classes that it lacks.

    Raises UserError if the source cannot be had or holds no class folder.
    """
    return _cifar10(size) if source == "cifar10" else _read(Path(source), size, names)


def joined(parts: dict[str, Photos]) -> Photos:
    """The photos of all parts in one set, the part before the name of each file."""
    one = next(iter(parts.values()))
    if len(parts) == 1:
        return one
    named = [(f"{part}/{file}", parts[part], file) for part in parts for file in parts[part].files]

    def each(field: str) -> dict[str, str]:
        of = ((name, getattr(photos, field), file) for name, photos, file in named)
        return {name: values[file] for name, values, file in of if file in values}

    return Photos(
        tuple(name for name, _, _ in named),
        np.concatenate([photos.images for photos in parts.values()]),
        np.concatenate([photos.labels for photos in parts.values()]),
        one.class_names,
        tuple(dict.fromkeys(item for photos in parts.values() for item in photos.left_out)),
        each("sums"),
        each("duplicates"),
        folder_classes=each("folder_classes"),
        hidden=one.hidden,
        said=one.said,
    )


def _cifar10(size: int) -> dict[str, Photos]:
    from PIL import Image

    from mobilenet.system.engine import keras

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


def _found(source: Path) -> list[Found]:
    """All that is in a folder, or in a tar file, sorted."""
    if source.is_dir():
        found = folders.walk(source)
    elif source.is_file():
        found = members(source)
    else:
        raise ValueError("neither folder nor file")
    return sorted(found, key=lambda one: one.path.split("/"))


def members(source: Path) -> Iterator[Found]:
    """What is in a tar file, one after the other; photos and tables as io.BytesIO. Raises UserError
    if it unpacks to far more than photos do, one of `files.DAMAGE` or tarfile.TarError if damaged.
    """
    left = _room(source)
    with tarfile.open(source) as tar:
        for member in tar:
            parts = Path(member.name.lstrip("/")).parts
            path, at = "/".join(parts), None
            if any(map(is_hidden, parts)):
                why = HIDDEN
            elif member.isdir():
                why = FOLDER
            elif not (member.isfile() or member.islnk()):
                why = NO_FILE
            else:
                why = why_not(path)
            if not why or path.lower().endswith(tables.SUFFIXES):
                # A file with holes may be longer than what is there, and linked to many times.
                data = tar.extractfile(member).read() if member.size <= left else None
                left -= member.size if data is None else len(data)
                _check_room(source, left)
                at = io.BytesIO(data)
            if parts and not (why == HIDDEN and member.isdir()):
                yield Found(path, why, at)


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
    what = f"The data {source.name!r}"
    try:
        found = _found(source)
    except (*DAMAGE, tarfile.TarError, lzma.LZMAError, MemoryError) as error:
        raise UserError(
            f"The data {str(source)!r} is no folder or whole tar file of photos: name another."
        ) from error
    labelled = layouts.labelled(what, found, _content, known)
    parts = [part for part in ("", *SPLITS) if any(photo.part == part for photo in labelled.photos)]
    least = 0 if known else FEWEST
    decoded = {part or "all": _decode(part, labelled, size, least) for part in parts}
    return _with_duplicates({part: photos for part, photos in decoded.items() if len(photos)})


def _content(one: Found | Photo) -> bytes:
    return one.at.getvalue() if isinstance(one.at, io.BytesIO) else read_content(Path(one.at))


def _with_duplicates(parts: dict[str, Photos]) -> dict[str, Photos]:
    """The same photos, and which of them show the same picture, in whatever part."""
    files = [f"{part}/{file}" for part, photos in parts.items() for file in photos.files]
    images = [image for photos in parts.values() for image in photos.images]
    labels = np.concatenate([photos.labels for photos in parts.values()])
    found = duplicates.find(files, np.stack([duplicates.fingerprint(image) for image in images]))
    found, frames = duplicates.apart(found, files, labels, images, FEWEST)
    return {
        part: replace(
            photos,
            duplicates={f: found[f"{part}/{f}"] for f in photos.files if f"{part}/{f}" in found},
            frames=frozenset(f for f in photos.files if f"{part}/{f}" in frames),
        )
        for part, photos in parts.items()
    }


def _decode(part: str, labelled: Labelled, size: int, least: int) -> Photos:
    """The photos of a part, whose files are named from the class folder on; least: of a class."""
    photos = [photo for photo in labelled.photos if photo.part == part]
    names = ordered(labelled.names)
    kept, images, left_out, sums = [], [], [], {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda photo: hash_and_read(partial(_content, photo), size), photos)
        shown = progress(decoded, len(photos), f"Photos: {part or 'all'}")
        for photo, (sha256, image) in zip(photos, shown, strict=True):
            file = "/".join(photo.path.split("/")[labelled.depth :])
            if isinstance(image, str):
                left_out.append((file, image))
            else:
                kept.append((file, names.index(photo.name)))
                images.append(image)
                sums[file] = sha256
    labels = np.array([label for _, label in kept], np.int64)
    counts = np.bincount(labels, minlength=len(names))
    for name, count in zip(names, counts, strict=True):
        if count < (min(1, least) if part in ("val", "test") else least):
            where = f" in {part}/" if part else ""
            why = why_few(name, (*left_out, *labelled.left_out))
            raise UserError(f"Class {name!r} has {count} readable photos{where}{why}: add some.")
    return Photos(
        tuple(file for file, _ in kept),
        np.stack(images) if images else np.empty((0, size, size, 3), np.uint8),
        labels,
        names,
        (*left_out, *labelled.left_out),
        sums,
        hidden=labelled.hidden,
        said=labelled.said,
        folder_classes={file: names[label] for file, label in kept},
    )


def describe(parts: dict[str, Photos]) -> str:
    """How many photos each part holds, how the folder was read, which files were left out and why,
    and which test photos show the same picture as one of the others (ten by name).
    """
    lines = [", ".join(f"{part} {len(parts[part])}" for part in SPLITS) + " photos."]
    lines += parts["test"].said
    counts = sum(np.bincount(of.labels, minlength=len(of.class_names)) for of in parts.values())
    if said := splits.imbalance(parts["test"].class_names, counts):
        lines.append(said)
    lines += left_out_of(parts[part] for part in SPLITS)
    lines += duplicates.words(
        sum(file in parts[part].frames for part in SPLITS for file in parts[part].files)
    )
    learned = {
        parts[part].duplicates.get(file) for part in SPLITS[:2] for file in parts[part].files
    }
    test = parts["test"]
    known = [file for file in test.files if test.duplicates.get(file, "") in learned]
    if known:
        lines.append(
            f"{len(known)} test photos show the same picture as photos that are learned from "
            f"({', '.join(known[:10])}): take them out of one of the two."
        )
    return "\n".join(lines)


def left_out_of(parts: Iterable[Photos]) -> list[str]:
    """Lines that say which files were left out and why, some by name, and how many are hidden."""
    parts = list(parts)
    found = list(dict.fromkeys(item for photos in parts for item in photos.left_out))
    count = sum(folders.is_meant(why) for _, why in found)
    lines = folders.in_words(found, parts[0].hidden)
    return [f"{folders.files(count)} left out:", *lines] if count else lines


def fingerprint(photos: Photos) -> str:
    """Twelve hexadecimal digits that change with the names of the files and their classes."""
    return hashlib.sha256("\n".join(photos.files).encode("utf-8", "replace")).hexdigest()[:12]


def check_classes(photos: Photos, names: tuple[str, ...]) -> None:
    """Raises UserError unless the photos' classes are these, in whatever order."""
    if set(photos.class_names) != set(names):
        ours, theirs = (", ".join(map(repr, some)) for some in (names, photos.class_names))
        raise UserError(f"The model knows {ours}, the data has {theirs}: take data of its classes.")
