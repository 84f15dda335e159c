"""The head solved on any number of photos: features in parts, read anew for each look at them.

    python -m mobilenet.head DIR [--out MODEL]

DIR holds what `mobilenet.extract` made of photos in class folders. What is solved is the problem of
`solver`, on all photos. What `utils.decide` wrote down is applied. Saved is a whole model, photo to
probabilities. Needs pyarrow (requirements-cluster.txt).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenet import BUILD
from mobilenet.scale.whole_head import head
from mobilenet.system.command import Parser, run

MODEL = BUILD / "features_head.keras"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser("python -m mobilenet.head", "Solve the head on features that extract made.")
    parser.add_argument("folder", metavar="DIR", type=Path, help="what mobilenet.extract made")
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, default=MODEL, help=f"default: build/{MODEL.name}"
    )
    options = parser.parse_args(arguments)
    return run(lambda: _tell(options.folder, options.out))


def _tell(folder: Path, model: Path) -> int:
    for line in head(folder, model):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
