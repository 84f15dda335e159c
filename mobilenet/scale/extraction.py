"""Pooled features of many photos, as Parquet parts; an interrupted run goes on from them."""

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError
from mobilenet.networks import backbone as backbones
from mobilenet.networks import frozen
from mobilenet.networks.frozen import by_litert
from mobilenet.scale import chunking, parts
from mobilenet.scale.chunking import Chunk
from mobilenet.system.files import alone
from mobilenet.system.progress import progress

LARGEST = 512  # pixels; the photos of a chunk then take 400 MB
# Computes and writes chunks: (backbone, photos' folder, folder of parts, chunks, whether on a GPU)
# → one item for each photo that is done with.
Compute = Callable[[Any, Path, Path, Iterator[Chunk], bool], Generator[Any, None, None]]


class Summary(NamedTuple):
    """What a folder of parts holds after a run: rows, unreadable photos, parts; and of the parts,
    how many were computed now, how many removed, since their photos are changed or gone. said: what
    `chunking.survey` says of the folder.
    """

    rows: int
    unreadable: int
    parts: int
    computed: int
    removed: int
    said: tuple[str, ...]


def here(
    backbone: Any, folder: Path, out: Path, chunks: Iterator[Chunk], on_gpu: bool
) -> Iterator[None]:
    """Compute and write chunks in this process: threads read a chunk, then they compute it."""
    pooled = pooling(backbone, on_gpu)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk in chunks:
            found, photos = parts.read(folder, chunk, backbone.size, pool.map)
            parts.write(out, chunk, found, pooled(photos))
            yield from [None] * len(chunk.paths)


def extract(
    folder: Path,
    out: Path,
    size: int | None = None,
    compute: Compute = here,
    on_gpu: bool | None = None,
) -> Summary:
    """Have the features of all photos below a folder as parts in `out`; only what is not there is
    computed.

    size: pixels a side, by default the backbone's. on_gpu: whether `compute` does it on a GPU, by
    default as `frozen.on_gpu` says. Raises UserError if there are no photos, if `out` is another
    run's or holds other features, and if it cannot be written.
    """
    parts.arrow()  # before anything takes time
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name a folder of photos.")
    found = chunking.survey(folder)
    if not found.photos:
        raise UserError(f"There are no photos below {folder}: name a folder that holds some.")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is no folder: name another --out.")
    with alone(out, wait=False) as free:
        if not free:
            raise UserError(f"Another run is writing to {out}: wait for it, or name another --out.")
        backbone, gpu = frozen.stored(size), frozen.on_gpu() if on_gpu is None else on_gpu
        described = parts.about(folder, backbone, gpu)
        parts.begin(out, described)
        old, computed = set(parts.listed(out)), 0
        there = sum(map(parts.photos_in, parts.listed(out, "features")))
        left = max(1, found.photos - there)

        def missing() -> Iterator[Chunk]:
            nonlocal computed
            chunks = chunking.chunks(folder, described, found.depth)
            while True:
                # A bar of its own, which only shows where many are there one after the other.
                for chunk in progress(chunks, None, "Chunks that are there"):
                    old.difference_update({chunk.part(), chunk.part("unreadable")})
                    if not parts.done(out, folder, chunk):
                        break
                else:
                    return
                computed += 1
                yield chunk

        with closing(compute(backbone, folder, out, missing(), gpu)) as computing:
            for _ in progress(computing, left, "Photos"):
                pass
        parts.remove(out, old)
        parts.finish(out, described)
        return Summary(
            rows=parts.count(out),
            unreadable=parts.count(out, "unreadable"),
            parts=len(parts.listed(out, "features")),
            computed=computed,
            removed=len(old),
            said=found.said,
        )


def pooling(backbone: backbones.Backbone, on_gpu: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A function of photos, uint8 (N, size, size, 3), that gives their pooled features, float32
    (N, channels). on_gpu: by TensorFlow, else by LiteRT.
    """
    if not on_gpu:
        forward = by_litert(backbone, (None,))
        return lambda photos: forward(photos)[0]
    from mobilenet.transfer.features import pooled

    whole = backbones.load(backbone.alpha, backbone.size, "random")
    whole.model.set_weights(backbone.model.get_weights())
    return partial(pooled, whole)
