"""Photos: reading a labelled set of them once, and keeping it.

A labelled set of photos is a folder that holds one folder for each class, or what else `layouts`
knows.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import PIL

from mobilenet import ROOT, UserError, from_root
from mobilenet.photos import corrections, duplicates, folders, layouts
from mobilenet.photos.decoding import NO_MEMORY, hash_and_read, read_content, reason_of
from mobilenet.photos.photos import Photos, ordered
from mobilenet.system import cache
from mobilenet.system.files import DAMAGE
from mobilenet.system.progress import ahead, progress

AHEAD = 64  # photos decoded before they are written
TRIES = 3  # of a file that changes while it is read
DECODINGS = 3  # to be counted up when the same files come to give other pixels
FEWEST = 5  # photos in a class, so that each part and each of five folds gets one


def find_folder() -> tuple[Path, str]:
    """Which photos are used: (folder, one plain line that says so and how to get others).

    The first that exists: the folder in the environment variable PHOTOS, `dataset/photos/`, the
    drawn pictures in `dataset/rendered/`. Raises UserError if there is none of them.
    """
    named = os.environ.get("PHOTOS")
    if named:
        folder = from_root(named)
        if not folder.is_dir():
            raise UserError(
                f"PHOTOS names {named}, which is no folder: set it to a folder of class folders."
            )
        return folder, "Photos: the folder named by PHOTOS."
    for name, line in (
        ("photos", "Photos: dataset/photos/ (to use your own, set PHOTOS to their folder)."),
        (
            "rendered",
            "Pictures: the bundled drawings in dataset/rendered/. What is learned from them is "
            "worth little for photos: run `make photos` for 327 real ones, or set PHOTOS to a "
            "folder of your own.",
        ),
    ):
        folder = ROOT / "dataset" / name
        if folder.is_dir():
            return folder, line
    raise UserError(
        "There are no photos: fetch the 327 of the scoreboard with `make photos` "
        "(python dataset/fetch.py), or set PHOTOS to a folder that holds one folder for each class."
    )


def load_photos(folder: Path, size: int, positive: str | None = None) -> Photos:
    """Read all photos of a folder that `layouts` knows, decoded once at size × size pixels, and
    kept: asked for again, only the files are read to see that they are the same.

    class_names are the classes' names as `ordered` has them, `positive` as there; the photos are in
    the order of `folders.walk`, whatever is positive.
    A file that cannot be read is left out and listed with its reason. What `utils.decide` wrote
    down is applied: a photo gets another label, in its place among the others, or is left out.
    Raises UserError if there is no class, only one, one without a photo, or none called `positive`,
    if a folder cannot be read, and if the decisions cannot be or are for a class that is not there.
    """
    found = list(folders.walk(folder))
    what = f"The photo folder {folder.name!r}"
    labelled = layouts.labelled(what, found, lambda one: read_content(Path(one.at)))
    names = ordered(labelled.names, positive)
    images, prints, reasons, sums = _decoded([Path(photo.at) for photo in labelled.photos], size)
    files = [photo.path for photo in labelled.photos]
    labels = np.array([names.index(photo.name) for photo in labelled.photos], np.int64)
    readable = np.array([i not in reasons for i in range(len(files))], bool)
    left_out = (*((files[i], reasons[i]) for i in sorted(reasons)), *labelled.left_out)
    for label, name in enumerate(names):
        if not (labels[readable] == label).any():
            raise UserError(
                f"Class {name!r} has no readable photo{why_few(name, left_out)}: put photos into "
                "its folder or remove it."
            )
    there = np.flatnonzero(readable)
    seen = [files[i] for i in there]
    same = duplicates.find(seen, prints[there])
    same, frames = duplicates.apart(same, seen, labels[there], images.take(there), FEWEST)
    labels = corrections.apply(sums, labels, names)
    good = np.flatnonzero(readable & (labels >= 0))
    for label, name in enumerate(names):
        if not (labels[good] == label).any():
            raise UserError(
                f"Class {name!r} has no photo left by {corrections.NAME}: decide for some, or add "
                "some."
            )
    reasons = dict.fromkeys(np.flatnonzero(labels < 0).tolist(), corrections.REASON) | reasons
    return Photos(
        files=tuple(files[i] for i in good),
        images=images.take(good),
        labels=labels[good],
        class_names=names,
        left_out=(*((files[i], reasons[i]) for i in sorted(reasons)), *labelled.left_out),
        sums={files[i]: sums[i] for i in there},
        duplicates=same,
        frames=frames,
        hidden=labelled.hidden,
        folder_classes={files[i]: labelled.photos[i].name for i in there},
        given={files[i]: part for i in there if (part := labelled.photos[i].part)},
        said=labelled.said,
    )


def why_few(name: str, left_out: Iterable[tuple[str, str]]) -> str:
    """In brackets, the reason why most of the files of a class are left out; "" if none is."""
    whys = [why for file, why in left_out if name in file.split("/") and folders.is_meant(why)]
    if not whys:
        return ""
    ((why, count),) = Counter(whys).most_common(1)
    return f" ({count} of its files left out: {why})"


def _decoded(
    paths: Sequence[Path], size: int
) -> tuple[cache.Rows, np.ndarray, dict[int, str], list[str]]:
    """All photos, decoded once and kept by the content of their files: rows uint8 (N, size, size,
    3), one for each path, their fingerprints, the reason for each position whose file cannot be
    read, and N sums.
    """
    workers = os.cpu_count() or 1
    read = ahead(_sha256, ((path,) for path in paths), AHEAD, workers)
    sums, tries = list(progress(read, len(paths), "Files")), Counter()
    while paths:
        of = f"{DECODINGS} {PIL.__version__} {size} {sums}"
        name = f"{hashlib.sha256(of.encode()).hexdigest()[:32]}-photos"
        with suppress(*DAMAGE):  # not there, or damaged: made anew
            return *_kept(name, len(paths)), [sha256 for sha256, _ in sums]
        calls = ((path, *known, size) for path, known in zip(paths, sums, strict=True))
        decoded = ahead(_decode, calls, AHEAD, workers)
        rows = _rows(progress(decoded, len(paths), "Photos"), size, reasons := {})
        try:
            cache.write([name, f"{name}-prints"], (len(paths),), rows, reasons)
        except _Passing as passing:
            # What is kept under a name must be what was hashed: hash anew, or do without.
            i = paths.index(passing.path)
            tries[i] += 1
            sums[i] = _sha256(passing.path) if tries[i] < TRIES else ("", passing.reason)
    return cache.Rows(np.empty((0, size, size, 3), np.uint8), np.arange(0), ""), np.empty(0), {}, []


def _kept(name: str, count: int) -> tuple[cache.Rows, np.ndarray, dict[int, str]]:
    (array, reasons), (prints, _) = cache.read(name), cache.read(f"{name}-prints")
    reasons = {int(i): reason for i, reason in reasons.items()}
    return cache.Rows(array, np.arange(count), name), prints, reasons


class _Passing(Exception):
    """A file cannot be read for a reason that may pass, and must not be kept with what was."""

    def __init__(self, path: Path, reason: str):
        super().__init__(path)
        self.path, self.reason = path, reason


def _decode(path: Path, sha256: str, reason: str, size: int) -> np.ndarray | str:
    """What `read_or_reason` reads, of the very bytes that were hashed, or why they were not."""
    if reason:
        return reason
    now, result = hash_and_read(partial(read_content, path), size)
    if now != sha256:
        raise _Passing(path, "it changed while it was read")
    if isinstance(result, str) and result == NO_MEMORY:
        raise _Passing(path, result)
    return result


def _rows(decoded: Iterable[np.ndarray | str], size: int, reasons: dict) -> Iterator[list]:
    """A batch of one for each photo, black where there is a reason instead, which is noted; and of
    its fingerprint.
    """
    for i, image in enumerate(decoded):
        if isinstance(image, str):
            reasons[i], image = image, np.zeros((size, size, 3), np.uint8)
        yield [image[None], duplicates.fingerprint(image)[None]]


def _sha256(path: Path) -> tuple[str, str]:
    """Of what is in a file, in hexadecimal, and nothing; or nothing and why it cannot be read."""
    try:
        return hashlib.sha256(read_content(path)).hexdigest(), ""
    except (OSError, MemoryError) as error:
        return "", reason_of(error)
