"""Features in Parquet parts and their labels: surveyed once, then read block by block."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.photos import corrections
from mobilenet.photos.folders import part_called
from mobilenet.photos.loading import FEWEST
from mobilenet.photos.photos import ordered
from mobilenet.scale import parts
from mobilenet.scale.passes import ROWS
from mobilenet.system.progress import ahead, progress

SAMPLE = 20_000_000  # bytes of float64 features: some minutes of folds with ten classes


class Labelled(NamedTuple):
    """What one pass says of the photos in parts: class names, how many photos, the mean of their
    features, float64 (channels,); and the sample: features, float32 (n, channels), labels, int64
    (n,), and sha256, (n,); and what `corrections` changes: sha256 → label, −1 to leave out.
    """

    class_names: tuple[str, ...]
    count: int
    centre: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    sums: np.ndarray
    decided: dict[str, int]


def survey(out: Path, channels: int) -> Labelled:
    """Look at all photos in a folder's parts once. Raises UserError unless each has a label and
    finite features of so many channels, and there are two classes or more, of FEWEST photos each.
    """
    names = _class_names(out)
    most = SAMPLE // ((channels + 1) * 8)
    count, total, decided = 0, np.zeros(channels), {}
    features, labels = np.empty((0, channels), np.float32), np.empty(0, np.int64)
    sums = np.empty(0, "S64")
    blocks = _blocks(out, names, channels, ["sha256"])
    for new, given, texts in progress(blocks, None, f"Sample: blocks of {ROWS:,} photos"):
        if not np.isfinite(new).all():
            raise UserError(
                f"Some features in {out} are not finite numbers: delete the folder and run "
                "`python -m mobilenet.extract` again."
            )
        own = corrections.apply(texts, given, names)
        decided |= {texts[i]: int(own[i]) for i in np.flatnonzero(own != given)}
        good = own >= 0
        count, total = count + int(good.sum()), total + new[good].sum(axis=0, dtype=np.float64)
        labels = np.concatenate([labels, own[good]])
        sums = np.concatenate([sums, np.array(texts, "S64")[good]])
        kept = _smallest(sums, labels, most)
        features = np.concatenate([features, new[good]])[kept]
        labels, sums = labels[kept], sums[kept]
    for k, name in enumerate(names):
        if (found := len(np.unique(sums[labels == k]))) < FEWEST:
            raise UserError(
                f"Class {name!r} has {found} different photos and five folds need {FEWEST}: add "
                "photos and run `python -m mobilenet.extract` again."
            )
    return Labelled(names, count, total / count, features, labels, sums, decided)


def _class_names(out: Path) -> tuple[str, ...]:
    """The labels of all photos in a folder's parts, as `photos.ordered` has them."""
    names = set()
    for batch in progress(parts.batches(out, ["label"]), None, "Labels: parts"):
        names.update(batch.column("label").unique().to_pylist())
    if None in names:
        raise UserError(
            f"{out} holds photos without a label: put each into a folder of its class, and run "
            "`python -m mobilenet.extract` again."
        )
    if all(map(part_called, names)) and len(names) > 1:
        raise UserError(
            f"{out} holds photos with the labels {', '.join(sorted(names))}, which are no classes: "
            "put the photos of each class into a folder of its name, and run "
            "`python -m mobilenet.extract` again."
        )
    if len(names) < 2:
        found = f"photos of one class, {min(names)!r}," if names else "no photos"
        raise UserError(f"{out} holds {found} and a head needs two classes or more: add photos.")
    return ordered(names)


def _smallest(sums: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """Positions of the photos to sample, by sha256 and label: those with the smallest sha256, and
    FEWEST of each class.
    """
    order = np.lexsort((labels, sums))
    chosen = np.arange(len(order)) < most
    for k in np.unique(labels):
        mine = np.flatnonzero(labels[order] == k)
        different = np.unique(sums[order[mine]], return_index=True)[1]
        chosen[mine[different[:FEWEST]]] = True
    return order[chosen]


def read(out: Path, labelled: Labelled) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All photos in a folder's parts, as `solve` wants them, read ahead by a thread."""
    also = ["sha256"] if labelled.decided else []
    blocks = _blocks(out, labelled.class_names, len(labelled.centre), also)
    for features, labels, texts in blocks:
        for i, text in enumerate(texts):
            labels[i] = labelled.decided.get(text, labels[i])
        good = labels >= 0
        yield (features, labels) if good.all() else (features[good], labels[good])


def _blocks(
    out: Path, names: Sequence[str], channels: int, also: list[str]
) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """ROWS photos at a time: features, float32 (n, channels), labels by their folders, int64 (n,),
    and their sha256 if that is asked for.
    """
    index = {name: k for k, name in enumerate(names)}

    def made() -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
        waiting = []
        for batch in parts.batches(out, ["label", "features", *also]):
            waiting.append(batch)
            if sum(map(len, waiting)) >= ROWS:
                yield _block(out, waiting, index, channels, also)
                waiting = []
        if any(map(len, waiting)):
            yield _block(out, waiting, index, channels, also)

    blocks = made()
    for one in ahead(next, itertools.repeat((blocks, None)), 1):
        if one is None:
            return
        yield one


def _block(
    out: Path, batches: list[Any], index: dict[str, int], channels: int, also: list[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What `_blocks` yields, of these batches. index: of each class name its label."""
    pa = parts.arrow()
    kind = pa.list_(pa.float32(), channels)
    if any(not batch.schema.field("features").type.equals(kind) for batch in batches):
        raise UserError(f"{out} holds features of other backbones: {parts.AGAIN}.")
    features = np.concatenate([parts.array_of(batch) for batch in batches])
    texts = [batch.column("label").to_pylist() for batch in batches]
    labels = [index.get(text, -2) for text in itertools.chain(*texts)]
    if -2 in labels:
        raise UserError("The parts changed while they were read: run this again.")
    sums = [batch.column(name).to_pylist() for batch in batches for name in also]
    return features, np.array(labels, np.int64), list(itertools.chain(*sums))
