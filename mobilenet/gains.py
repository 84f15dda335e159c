"""An ablation: what each step is worth, in five folds of the training and validation photos.

    python -m mobilenet.gains [--repeats 3] [--out build/gains.json]
    python -m mobilenet.gains --data cifar10 [--repeats 3] [--out build/gains_from_scratch.json]

--repeats: how often the photos are divided into folds anew. --data: instead, what each step of
training from scratch is worth on these photos; --repeats is then the number of seeds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenet import BUILD
from mobilenet.system import command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.gains", __doc__.splitlines()[0])
    parser.add_argument("--repeats", type=command.number(int, 1, 100), default=3)
    parser.add_argument("--data", help="train from scratch on: cifar10, or a folder or tar file")
    parser.add_argument("--out", type=Path, help="JSON file (build/gains….json)")
    chosen = parser.parse_args(arguments)
    out = chosen.out or BUILD / ("gains_from_scratch.json" if chosen.data else "gains.json")

    def work() -> int:
        # These load TensorFlow, which takes seconds.
        if chosen.data:
            from mobilenet.scratch import leave_one_out

            return leave_one_out.gains(chosen.data, chosen.repeats, out.resolve())
        from mobilenet.benchmarks.ablation import gains

        return gains(chosen.repeats, out.resolve())

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
