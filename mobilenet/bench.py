"""Measure this project against the usual recipe, interleaved, on the same photos and weights.

    python -m mobilenet.bench [--pairs 5] [--photos-times 10] [--many 50000]
                              [--against FOLDER] [--out build/bench.json]

The photos are those that PHOTOS names, else dataset/photos/, else the drawn ones. Each run is a
process of its own, so that importing and peak memory count. Ratios are taken pair by pair, the
usual recipe's figure divided by this project's: above 1, this project is faster or smaller. So is
another build of this project, whose checkout --against names (`benchmarks.peers`). In the end this
project alone is measured on very many photos, made up (`benchmarks.made_photos`).
"""

import sys
from pathlib import Path

from mobilenet import BUILD
from mobilenet.benchmarks.comparison import bench, many
from mobilenet.system import command


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.bench", __doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", type=command.number(int, 0, 100), default=5, help="0: only the made photos"
    )
    parser.add_argument(
        "--photos-times",
        type=command.number(int, 1, 100),
        default=10,
        help="then run once more with so many times the photos; 1: do not",
    )
    parser.add_argument(
        "--many",
        type=command.number(int, 0, 1_000_000),
        default=50_000,
        help="in the end, half so many made photos and so many; 0: none",
    )
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="a checkout of another build of this project"
    )
    parser.add_argument("--out", type=Path, default=BUILD / "bench.json")
    chosen = parser.parse_args(arguments)
    out = chosen.out.resolve()

    def work() -> int:
        if chosen.pairs:
            bench(chosen.pairs, chosen.photos_times, out, chosen.against)
        return many(chosen.many, out) if chosen.many else 0

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
