"""How the bundled backbone was made: a small MobileNetV2 learns to see what a large one sees.

    python -m mobilenet.pretrain varied.tar varied2.tar cats-dogs.tar

No label is used. A run that was stopped goes on from what it saved last.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenet import BUILD
from mobilenet.scratch.distillation import pretrain
from mobilenet.system import command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: photos to learn from, and where the weights go."""
    parser = command.Parser("python -m mobilenet.pretrain", __doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path, help="folders or tar files of photos")
    out = BUILD / "pretrained.npz"
    parser.add_argument("--out", type=Path, default=out, help="file (build/pretrained.npz)")
    chosen = parser.parse_args(arguments)
    return command.run(lambda: pretrain(chosen.sources, chosen.out))


if __name__ == "__main__":
    sys.exit(main())
