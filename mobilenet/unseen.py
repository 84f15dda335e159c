"""Whether a photo looks like nothing the network has seen, so that its P(class) means little.

A network that knows two classes calls a teapot one of them, often surely. What gives the teapot
away is that no photo the network knows has features like it: the cosine distance to the nearest of
them is large (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors", arXiv
2204.06507, with k = 1). How large is too large, the known photos say themselves: each is asked with
itself left out, and the limit is where about 5 % of them would warn. That is the rank of conformal
prediction (Vovk et al. 2005): a new photo like them is beyond it with probability of about 5 %.

Features are the frozen backbone's, pooled: what fine-tuning and head make of them was trained to
tell the classes apart and nothing else. Chosen on 300 photos of things and 53 validation photos
(area under the curve, 1 is best): nearest neighbour 0.997, third and fifth nearest 0.998, the
Mahalanobis distance to the nearest class's mean (Lee et al. 2018, arXiv 1807.03888) 0.975, relative
to that of all photos (Ren et al. 2021, arXiv 2106.09022) 0.972, the energy of the head's logits
(Liu et al. 2020, arXiv 2010.03759) and the largest logit 0.53, hardly more than tossing a coin. The
Mahalanobis distance of photos that it was fitted to is too small to set a limit by.

Measured once, on other photos, with ImageNet weights at 256 px and 262 known photos: 4 of 65 test
photos warn, and of photos of neither class 45 of 46 things and places, but 14 of 26 animals: an
emu is much like an ostrich, and a warning that is not given is no proof.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobilenet import UserError, features, from_root, predict
from mobilenet.backbone import Backbone
from mobilenet.canvas import printable
from mobilenet.decoding import read_or_reason
from mobilenet.explain import similarity
from mobilenet.photos import is_hidden, is_photo, walk
from mobilenet.progress import progress
from mobilenet.training import Result

BLOCK = 512  # photos whose distances to all known ones are in memory at once
ALARMS = 0.05  # share of photos like the known ones that may warn
# Nearer than this share of the usual distance to the tenth nearest (of fewer than 100 photos: the
# N/10th) is the same photo again: mirrored, turned a little, saved anew. If such counted, known
# photos would look closer than new ones can be, and of copies few sets have ten.
SAME, TENTH = 0.5, 10
SAMPLE = 500  # photos that this distance is taken from
ROUNDING = 1e-9  # is no distance
SHOWN = 18  # of your own photos; of any more only the answers are kept


# --- What is near ---


class Known(NamedTuple):
    """The photos a network knows. features: (N, C), the frozen backbone's. limit: a cosine
    distance, from 0 to 2; a photo farther than that from all of them is unlike them.
    """

    features: np.ndarray
    limit: float


def fit(photos: np.ndarray) -> Known:
    """What training and validation photos, given as features (N, C), say is near. With fewer than
    39 photos the limit is the largest distance, and about one new photo in N + 1 is beyond it.

    Raises UserError for fewer than two photos.
    """
    count = len(photos)
    if count < 2:
        raise UserError("One photo says nothing of what others are like: use two or more.")
    some = photos[np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)]
    tenth = max(1, min(TENTH, count // 10))  # the nearest is the photo itself
    usual = np.median(np.partition(1 - similarity(some, photos), tenth, axis=1)[:, tenth])
    same = max(SAME * float(usual), ROUNDING)  # so that a photo itself is left out, too
    distances = np.sort(_nearest(photos, photos, same))
    rank = min(count, math.ceil((1 - ALARMS) * (count + 1)))
    return Known(photos, float(distances[rank - 1]))


def distance(known: Known, photos: np.ndarray) -> np.ndarray:
    """Cosine distance of photos, given as features (M, C), to the nearest known one: float64 (M,),
    0 to 2. In blocks, so that 5,000 photos against 5,000 take tens of megabytes.
    """
    return _nearest(photos, known.features)


def unseen(known: Known, photos: np.ndarray) -> np.ndarray:
    """Whether photos, given as features (M, C), look like none of the known ones: bool (M,)."""
    return distance(known, photos) > known.limit + ROUNDING


def told(flags: np.ndarray) -> str:
    """A share with its 95 % interval, of flags, bool (N,): "3 of 65 (4.6 %, … to … %)"."""
    result = Result(int(flags.sum()), len(flags))
    share = 100 * result.correct / result.total
    return f"{result.correct} of {result.total} ({share:.1f} %, 95 % interval {result.percent()})"


def _nearest(some: np.ndarray, others: np.ndarray, same: float = 0.0) -> np.ndarray:
    """Distance of each of some to the nearest of others that is no nearer than same; 2 if none."""
    others = np.float64(others)
    found = [np.zeros(0)]
    for start in range(0, len(some), BLOCK):
        apart = np.maximum(1 - similarity(some[start : start + BLOCK], others), 0)
        apart[apart < same] = 2
        found.append(apart.min(axis=1))
    return np.concatenate(found)


# --- Your own photos ---


class OwnPhotos(NamedTuple):
    """Photos without labels, and what a network says of them.

    place: where they were looked for. files: N paths below it, as text. images: uint8 (min(N,
    SHOWN), size, size, 3), the first ones. p: float64 (N, K), P(class). unseen: bool (N,), whether
    a photo looks like none of the known ones. left_out: (file, reason) for each that could not be
    read.
    """

    place: str
    files: tuple[str, ...]
    images: np.ndarray
    p: np.ndarray
    unseen: np.ndarray
    left_out: tuple[tuple[str, str], ...]


def own_photos(
    path: str | Path,
    network: Backbone,
    known: Known,
    answer: Callable[[np.ndarray], np.ndarray],
) -> OwnPhotos:
    """Ask about a photo, or about all below a folder. A relative path is looked up from where this
    process works, then from the project's root. Hidden files are passed over; where there is
    nothing, nothing comes back.

    known: what `fit` makes of the features of this backbone. answer: uint8 (B, size, size, 3) to
    P(class), (B, K), as `classifier.compiled` makes it. A batch of photos is in memory at a time,
    and those to be shown.
    """
    place = from_root(str(path))
    paths = _files(place)
    files, left_out = [], []
    images, p, flags = [np.zeros((0, network.size, network.size, 3), np.uint8)], [], []
    batches = predict.read_batches(paths, lambda one: _read(one, network.size))
    for batch, read in progress(batches, -(-len(paths) // predict.BATCH), "Your photos"):
        good = []
        for one, photo in zip(batch, read, strict=True):
            name = printable(place.name if one == place else one.relative_to(place).as_posix())
            if isinstance(photo, str):
                left_out.append((name, photo))
            else:
                good.append(photo)
                files.append(name)
        if good:
            some = np.stack(good)
            # A copy: even an empty view would keep the batch.
            images.append(some[: max(0, SHOWN - (len(files) - len(good)))].copy())
            p.append(answer(some))
            flags.append(unseen(known, features.activations(network, some, None)))
    return OwnPhotos(
        printable(str(path)),
        tuple(files),
        np.concatenate(images),
        np.concatenate(p) if p else np.zeros((0, 0)),
        np.concatenate(flags) if flags else np.zeros(0, bool),
        tuple(left_out),
    )


def _files(place: Path) -> list[Path]:
    """The file, or all files below the folder, sorted; none if nothing is there. Raises UserError
    if a folder cannot be read.
    """
    if place.is_file():
        return [place]
    found = walk(place) if place.is_dir() else ()
    below = (Path(path) / name for path, _, names in found for name in names if not is_hidden(name))
    # A link to nowhere is named, a pipe would wait.
    return sorted(path for path in below if path.is_file() or not path.exists())


def _read(path: Path, size: int) -> np.ndarray | str:
    """A photo, or the reason why it cannot be read; what is none by its name is not opened."""
    if not is_photo([path.name]):
        return "it is no JPEG, PNG, WebP, GIF or BMP by its name"
    return read_or_reason(path, size)
