"""Pooled features of any number of photos, as Parquet parts that an interrupted run goes on from.

    python -m mobilenet.extract PHOTOS --out DIR [--size PIXELS] [--cluster ADDRESS]

PHOTOS is a folder, with a folder for each class or without; these may lie in train/, val/ and
test/. A part has columns path, label (the class folder), sha256 and features; photos that cannot be
read are in parts of their own, with the reason, and the exit code is 1. What is there already is
not computed again. Needs pyarrow, and --cluster Ray (requirements-cluster.txt).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenet.scale.extraction import LARGEST, Summary, extract
from mobilenet.system.command import Parser, number, run


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
            from mobilenet.scale import cluster

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
