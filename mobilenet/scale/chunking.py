"""Any number of photos in chunks of about equal work."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilenet.photos import folders, layouts
from mobilenet.photos.decoding import NO_PHOTO, hash_and_read, read_content, why_not
from mobilenet.system.progress import progress

MOST = 512  # photos in a chunk
CUT = 256  # photos from one cut to the next, on average


class File(NamedTuple):
    """A photo's file: path below the folder, with forward slashes, bytes and nanoseconds of its
    last change; both −1 if it cannot be looked at.
    """

    path: str
    size: int
    changed: int


class Chunk(NamedTuple):
    """Photos that come into one part: 20 hexadecimal digits of what is in it, their paths, and how
    many folders are above the class folder.
    """

    digits: str
    paths: tuple[str, ...]
    depth: int = 0

    def part(self, kind: str = "features") -> str:
        """The name of its part; kind: "features" or "unreadable"."""
        return f"{kind}-{self.digits}-{len(self.paths)}.parquet"


class Found(NamedTuple):
    """What a file turned out to be: the sha256 of its bytes in hexadecimal, None if they cannot be
    read, and the reason why it cannot be read as a photo, else "".
    """

    sha256: str | None
    reason: str


def listing(folder: Path) -> Iterator[File]:
    """The photos below a folder in the order of `folders.walk`, each looked at once, also those
    that cannot be read by their names. Raises UserError if a folder cannot be read.
    """
    return (_look(found) for found in folders.walk(folder) if folders.is_meant(found.why))


def _look(found: folders.Found) -> File:
    try:
        about = os.stat(found.at)
    except OSError:
        return File(found.path, -1, -1)
    return File(found.path, about.st_size, about.st_mtime_ns)


class Survey(NamedTuple):
    """What the names below a folder tell. photos: about how many there are. depth: how many folders
    are above a class folder. said: sentences about how it is read, and what lies beside photos.
    """

    photos: int
    depth: int
    said: tuple[str, ...]


def survey(folder: Path) -> Survey:
    """What is below a folder, in a fraction of the time that `listing` takes: no photo is looked
    at. Raises UserError if a folder cannot be read, and what `layouts.lay_out` raises.
    """
    count, hidden, beside = 0, 0, []

    def found() -> Iterator[folders.Found]:
        nonlocal count, hidden
        for one in progress(folders.walk(folder), None, "Names"):
            count += folders.is_meant(one.why)
            hidden += one.why == folders.HIDDEN
            if one.why.startswith(NO_PHOTO):
                beside.append((one.path, one.why))
            yield one

    layout = layouts.lay_out(f"The folder {folder.name!r}", layouts.folders_in(found()))
    about = folders.beside(beside, hidden)
    return Survey(count, layout.depth, (*layout.said(), *([about] if about else [])))


def cut(files: Iterable[File]) -> Iterator[list[File]]:
    """Cut a listing into runs of at most MOST: after a file whose path has a certain hash.

    So a photo that is added or removed changes the chunk that it is in and, where that was full,
    those up to the next such path, but not all that follow, as cutting by number would.
    """
    run = []
    for file in files:
        run.append(file)
        if len(run) == MOST or _hash(file.path) % CUT == 0:
            yield run
            run = []
    if run:
        yield run


def _hash(path: str) -> int:
    digest = hashlib.blake2b(path.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def chunks(folder: Path, described: dict[str, Any], depth: int = 0) -> Iterator[Chunk]:
    """The chunks of a folder of photos, as they are listed. depth: as `survey` found it. Raises
    what `listing` raises.
    """
    of = [described["backbone"]["fingerprint"], described["versions"], *([depth] if depth else [])]
    for run in cut(listing(folder)):
        digest = hashlib.sha256(json.dumps([of, run]).encode()).hexdigest()
        yield Chunk(digest[:20], tuple(file.path for file in run), depth)


def read_file(folder: Path, path: str, size: int) -> tuple[Found, np.ndarray | None]:
    """One photo, uint8 (size, size, 3), None if it cannot be read; and what its file is. Hash and
    photo are of the same bytes.
    """
    if why := why_not(path):
        return Found(None, why), None
    sha256, photo = hash_and_read(partial(read_content, folder / path), size)
    if isinstance(photo, str):
        return Found(sha256 or None, photo), None
    return Found(sha256, ""), photo
