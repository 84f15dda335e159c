"""Pooled features of any number of photos, as Parquet parts that an interrupted run goes on from.

    python -m mobilenet.extract PHOTOS --out DIR [--size PIXELS] [--cluster ADDRESS]

PHOTOS is a folder, with a folder for each class or without; these may lie in train/, val/ and
test/. A part has columns path, label (the class folder), sha256 and features; photos that cannot be
read are in parts of their own, with the reason, and the exit code is 1. What is there already is
not computed again. Needs pyarrow, and --cluster Ray (requirements-cluster.txt).
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mobilenet import UserError, frozen, parts
from mobilenet.command import Parser, number, run
from mobilenet.files import alone
from mobilenet.parts import Chunk
from mobilenet.progress import progress

LARGEST = 512  # pixels; the photos of a chunk then take 400 MB

# Computes and writes chunks: (backbone, photos' folder, folder of parts, chunks, whether on a GPU)
# → one item for each photo that is done with.
Compute = Callable[[Any, Path, Path, Iterator[Chunk], bool], Iterator[Any]]


class Summary(NamedTuple):
    """What a folder of parts holds after a run: rows, unreadable photos, parts; and of the parts,
    how many were computed now, how many removed, since their photos are changed or gone. said: what
    `parts.survey` says of the folder.
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
    pooled = frozen.pooling(backbone, on_gpu)
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
    found = parts.survey(folder)
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
            chunks = parts.chunks(folder, described, found.depth)
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

        for _ in progress(compute(backbone, folder, out, missing(), gpu), left, "Photos"):
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, or 1 if anything could not be read."""
    parser = Parser("python -m mobilenet.extract", "Pooled features of photos as Parquet parts.")
    parser.add_argument("photos", metavar="PHOTOS", type=Path, help="a folder of photos")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where parts go")
    parser.add_argument(
        "--size",
        metavar="PIXELS",
        type=number(int, 32, LARGEST),
        help="pixels a side (default: the backbone's)",
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="work on a Ray cluster: HOST:PORT, or auto"
    )
    options = parser.parse_args(arguments)

    def work() -> int:
        asked = options.photos, options.out, options.size
        if options.cluster is not None:
            from mobilenet import cluster

            with cluster.connected(options.cluster):
                summary = extract(*asked, compute=cluster.compute, on_gpu=cluster.on_gpus())
        else:
            if sys.stderr.isatty():
                print("Loading the backbone …", end="\r", file=sys.stderr, flush=True)
            summary = extract(*asked)
        return _tell(summary, options.out)

    return run(work)


def _tell(summary: Summary, out: Path) -> int:
    """Say what there is; the exit status."""
    already = summary.parts - summary.computed
    print(
        f"Rows: {summary.rows}, in {summary.parts} parts in {out} ({summary.computed} computed "
        f"now, {already} there already, {summary.removed} removed, since their photos are changed "
        f"or gone). Photos that cannot be read: {summary.unreadable}"
        + (", with the reason in unreadable-*.parquet." if summary.unreadable else "."),
        *summary.said,
        sep="\n",
    )
    return int(summary.unreadable > 0)


if __name__ == "__main__":
    sys.exit(main())
