"""Your own photos: P(class) of each, and whether it is unlike the training photos."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobilenet import BATCH, from_root
from mobilenet.explain.unseen import Known, unseen
from mobilenet.inference import prediction
from mobilenet.networks.backbone import Backbone
from mobilenet.photos import folders
from mobilenet.photos.decoding import read_or_reason, why_not
from mobilenet.system.command import printable
from mobilenet.system.progress import progress
from mobilenet.transfer import features

SHOWN = 18  # of your own photos; of more only the predictions are kept


class OwnPhotos(NamedTuple):
    """Photos without labels, and a network's predictions.

    place: where they were looked for. files: N paths below it, as text. images: uint8 (min(N,
    SHOWN), size, size, 3), the first ones. p: float64 (N, K), predicted probabilities. unseen: bool
    (N,), whether a photo is unlike all known ones. left_out: (file, reason) for each that could not
    be read, or is no photo. hidden: how many hidden files there are beside.
    """

    place: str
    files: tuple[str, ...]
    images: np.ndarray
    p: np.ndarray
    unseen: np.ndarray
    left_out: tuple[tuple[str, str], ...]
    hidden: int = 0


def own_photos(
    path: str | Path,
    network: Backbone,
    known: Known,
    answer: Callable[[np.ndarray], np.ndarray],
) -> OwnPhotos:
    """Return predictions for a photo, or for all photos below a folder; none if there are none.

    path: a relative one is looked up from where this process works, then from the project's root.
    Hidden files are counted. known: from `fit`, of features of this backbone. answer: photos, uint8
    (B, size, size, 3) → probabilities, (B, K), as `classifier.compiled` makes it. In memory are one
    batch of photos and those to be shown.
    """
    place = from_root(str(path))
    found, hidden = _files(place)
    paths = sorted(found)
    files, left_out = [], []
    images, p, flags = [np.zeros((0, network.size, network.size, 3), np.uint8)], [], []
    batches = prediction.read_batches(
        paths, lambda one: found[one] or read_or_reason(one, network.size)
    )
    for batch, read in progress(batches, -(-len(paths) // BATCH), "Your photos"):
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
        hidden,
    )


def _files(place: Path) -> tuple[dict[Path, str], int]:
    """Return the file, or all files below the folder, each with nothing or the reason why it is
    left out, and how many are hidden; nothing if there is nothing. Raises UserError if a folder
    cannot be read.
    """
    if place.is_file():
        return {place: why_not(place.name)}, 0
    below = list(folders.walk(place)) if place.is_dir() else []
    no_files = (folders.HIDDEN, folders.FOLDER)
    found = {place / one.path: one.why for one in below if one.why not in no_files}
    return found, sum(one.why == folders.HIDDEN for one in below)
