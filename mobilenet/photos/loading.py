"""Photos: reading a labelled set of them once and keeping it, and splitting it.

A labelled set of photos is a folder that holds one folder for each class, or what else `layouts`
knows.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL

from mobilenet import ROOT, UserError, cache, duplicates, folders, from_root, layouts, review
from mobilenet.decoding import NO_MEMORY, hash_and_read, read_content, reason_of
from mobilenet.files import DAMAGE
from mobilenet.layouts import PARTS
from mobilenet.progress import ahead, progress

SHARES = (0.64, 0.16, 0.20)
VAL_SHARE = 0.1  # of the training photos, where a split is given without val photos
AHEAD = 64  # photos decoded before they are written
TRIES = 3  # of a file that changes while it is read
DECODINGS = 3  # to be counted up when the same files come to give other pixels
FEWEST = 5  # photos in a class, so that each part and each of five folds gets one


@dataclass(frozen=True)
class Photos:
    """A labelled set of photos, decoded.

    files: N paths below the folder, as text with forward slashes, sorted folder by folder.
    images: uint8, (N, size, size, 3), RGB, 0 to 255: an array, or `cache.Rows` of the file that
    they are kept in, of which images[:] is an array.
    labels: int64, (N,), index into class_names: the folder's class, unless decided otherwise.
    class_names: K names, as `ordered` has them; class_names[1] is the positive class.
    left_out: (file, reason) for each file that is not used: photos that could not be read or are
    not wanted, then files that are no photos. hidden: how many hidden files there are beside.
    sums: sha256 of each file, in hexadecimal, if `load_photos` read it; of a subset those of all.
    duplicates: of each file that shows the same picture as others, the first of them, as
    `duplicates.find` has them; of a subset those of all.
    frames: the files that are alike since a camera does not move, as `duplicates.apart` finds them;
    of a subset those of all.
    folder_classes: of each file that `load_photos` read its class, as its folder or a table says.
    given: of each file its part, "train", "val" or "test", if the folder gives a split; else {}.
    said: sentences about how the folder was read, if it does not simply hold class folders.
    """

    files: tuple[str, ...]
    images: np.ndarray | cache.Rows
    labels: np.ndarray
    class_names: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    sums: dict[str, str] = field(default_factory=dict, repr=False)
    duplicates: dict[str, str] = field(default_factory=dict, repr=False)
    frames: frozenset[str] = field(default=frozenset(), repr=False)
    hidden: int = 0
    folder_classes: dict[str, str] = field(default_factory=dict, repr=False)
    given: dict[str, str] = field(default_factory=dict, repr=False)
    said: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, index: np.ndarray) -> "Photos":
        """The photos at these positions, in this order."""
        files = tuple(self.files[i] for i in index)
        kept = isinstance(self.images, cache.Rows)
        images = self.images.take(index) if kept else self.images[index]
        return replace(self, files=files, images=images, labels=self.labels[index])

    @property
    def groups(self) -> np.ndarray:
        """A number for each photo, int64 (N,): the same for photos that show the same picture."""
        firsts = [self.duplicates.get(file, file) for file in self.files]
        return np.unique(firsts, return_inverse=True)[1].astype(np.int64)

    @property
    def corrected(self) -> tuple[str, ...]:
        """The files whose label is not that of their folder, by a decision of `review`."""
        return tuple(
            file
            for file, label in zip(self.files, self.labels, strict=True)
            if file in self.sums and self.folder_classes[file] != self.class_names[label]
        )


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
            "Pictures: the bundled drawings in dataset/rendered/ (run `make photos` for 327 real "
            "photos, or set PHOTOS to a folder of your own).",
        ),
    ):
        folder = ROOT / "dataset" / name
        if folder.is_dir():
            return folder, line
    raise UserError(
        "There are no photos: fetch the 327 of the scoreboard with `make photos` "
        "(python dataset/fetch.py), or set PHOTOS to a folder that holds one folder for each class."
    )


def ordered(names: Iterable[str], positive: str | None = None) -> tuple[str, ...]:
    """The names of classes, sorted, but for the positive one, which comes second: it has label 1,
    and of that Keras's sigmoid(logit) is the probability.

    positive: its name; None: of two classes the first in alphabetical order, of more the second.
    Raises UserError if no class has that name.
    """
    found = sorted(names)
    if positive is None and len(found) == 2:
        positive = found[0]
    if positive is not None:
        if positive not in found:
            raise UserError(f"No class is called {positive!r}: choose one of {', '.join(found)}.")
        found.remove(positive)
        found.insert(1, positive)
    return tuple(found)


def load_photos(folder: Path, size: int, positive: str | None = None) -> Photos:
    """Read all photos of a folder that `layouts` knows, decoded once at size × size pixels, and
    kept: asked for again, only the files are read to see that they are the same.

    class_names are the classes' names as `ordered` has them, `positive` as there; the photos are in
    the order of `folders.walk`, whatever is positive.
    A file that cannot be read is left out and listed with its reason. What `review.decide` wrote
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
    labels = review.apply(sums, labels, names)
    good = np.flatnonzero(readable & (labels >= 0))
    for label, name in enumerate(names):
        if not (labels[good] == label).any():
            raise UserError(
                f"Class {name!r} has no photo left by {review.NAME}: decide for some, or add some."
            )
    reasons = dict.fromkeys(np.flatnonzero(labels < 0).tolist(), review.REASON) | reasons
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


def split(photos: Photos, seed: int, shares=SHARES) -> dict[str, np.ndarray]:
    """Stratified, disjoint train / val / test parts: positions into photos, int64, ascending; or
    the parts that the folder gives, where val is taken from train if it is not given.

    shares are the parts' shares of each class and sum to 1. The same files and seed give the same
    parts, in whatever order the photos and classes are, and whatever `review` decided: a photo is
    assigned by its folder, so that a label mended moves no other photo. Duplicates come into the
    same part, if that is not given. Raises UserError if a class has fewer than five photos that
    differ, or none in a part.
    """
    if not (len(shares) == len(PARTS) and min(shares) > 0 and abs(sum(shares) - 1) < 1e-6):
        raise UserError(f"The shares {shares} must be three positive numbers that sum to 1.")
    if photos.given:
        given = np.array([photos.given[file] for file in photos.files])
        found = {part: np.flatnonzero(given == part) for part in PARTS}
        if not len(found["val"]):
            mine = tuple(one for one in photos.left_out if photos.given.get(one[0]) == "train")
            train = replace(photos.subset(found["train"]), given={}, left_out=mine)
            found |= {part: found["train"][i] for part, i in hold_out_val(train, seed).items()}
    else:
        assigned = _assigned(photos, seed, shares)
        parts = np.array([assigned[photos.duplicates.get(file, file)] for file in photos.files])
        found = {part: np.flatnonzero(parts == part) for part in PARTS}
    for part in PARTS:
        without = set(range(len(photos.class_names))) - set(photos.labels[found[part]])
        if without:
            name = photos.class_names[min(without)]
            raise UserError(
                f"Class {name!r} has no {part} photo: add some."
                if photos.given
                else f"Class {name!r} has no {part} photo left by {review.NAME}: decide for fewer, "
                "or add photos."
            )
    return found


def hold_out_val(train: Photos, seed: int) -> dict[str, np.ndarray]:
    """The train and val parts of training photos, of which VAL_SHARE goes to val as `split`
    does it: positions into them, int64, ascending.
    """
    parts = split(train, seed, (1 - VAL_SHARE, VAL_SHARE / 2, VAL_SHARE / 2))
    aside = np.sort(np.concatenate([parts["val"], parts["test"]]))
    return {"train": parts["train"], "val": aside}


def _assigned(photos: Photos, seed: int, shares: Sequence[float]) -> dict[str, str]:
    """The part of each photo, or of the first of a group of duplicates."""
    rng = np.random.default_rng(seed)
    if photos.sums:
        decided = [file for file, reason in photos.left_out if reason == review.REASON]
        of = {file: photos.folder_classes[file] for file in (*photos.files, *decided)}
    else:  # they come from no folder
        names = (photos.class_names[label] for label in photos.labels)
        of = dict(zip(photos.files, names, strict=True))
    assigned = {}
    for name in sorted(photos.class_names):
        mine = sorted(file for file, folder in of.items() if folder == name)
        mine = [photos.duplicates.get(mine[i], mine[i]) for i in rng.permutation(len(mine))]
        sizes = Counter(mine)
        if len(sizes) < FEWEST:
            kind = "photos" if len(sizes) == len(mine) else "different photos"
            raise UserError(
                f"Class {name!r} has {len(sizes)} {kind} and the split needs {FEWEST}: add photos."
            )
        _assign(sizes, shares, assigned)
    return assigned


def _assign(sizes: Counter, shares: Sequence[float], assigned: dict[str, str]) -> None:
    """Add the part of each group of a class to `assigned`, unless it is there, as one of
    duplicates in another class. sizes: how many photos a group has in this class, in their order.
    """
    total = sum(sizes.values())
    val, test = (max(1, round(share * total)) for share in shares[1:])
    test = min(test, total - 2)  # so that each part gets one
    val = min(val, total - test - 1)
    counts = Counter()
    for group, size in sizes.items():
        fits = (p for p, most in (("test", test), ("val", val)) if counts[p] + size / 2 <= most)
        counts[assigned.setdefault(group, next(fits, "train"))] += size
    for part in PARTS:
        if not counts[part]:  # large groups left no room
            lists = [[g for g in sizes if assigned[g] == other] for other in PARTS]
            assigned[max(lists, key=len)[-1]] = part
