"""P(class) of your own photos, by a model that the notebooks saved.

    python -m mobilenet.predict PATH… [--model FILE] [--json]

PATH is a photo or a folder of them. A photo that cannot be read is named on standard error, the
others still come, and the exit code is 1.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mobilenet import BUILD, UserError
from mobilenet.command import Parser, run
from mobilenet.photos import list_photos, read_photo

MODEL = BUILD / "fine_tuned.keras"
BATCH = 32


def find(paths: list[Path]) -> Iterator[Path]:
    """The photos that these files and folders mean, in their order."""
    for path in paths:
        if path.is_dir():
            yield from list_photos(path)
        else:
            yield path


def predict(paths: list[Path], model: Path) -> Iterator[tuple[Path, dict[str, float] | UserError]]:
    """For each photo its path and {class: P(class)}, or why it could not be read; a batch at a
    time, so that a folder of any size takes little memory. Raises UserError if there is no model.
    """
    from mobilenet import classifier  # TensorFlow takes seconds: only when it is needed

    network, names = classifier.load(model)
    compute, size = classifier.compiled(network), network.input_shape[1]

    def read(path: Path):
        try:
            return read_photo(path, size)
        except UserError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            photos = list(pool.map(read, batch))
            good = [photo for photo in photos if not isinstance(photo, UserError)]
            rows = iter(compute(np.stack(good)) if good else [])
            for path, photo in zip(batch, photos, strict=True):
                failed = isinstance(photo, UserError)
                yield (
                    path,
                    photo if failed else dict(zip(names, map(float, next(rows)), strict=True)),
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, or 1 if anything could not be read."""
    parser = Parser("mobilenet.predict", "P(class) of your own photos.")
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a photo or a folder")
    parser.add_argument(
        "--model", type=Path, default=MODEL, help="a saved model (default: the one fine-tuned last)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    paths = list(find(options.paths))
    if not paths:
        parser.error("no photos there: name JPEG, PNG, WebP, GIF or BMP files or their folder")
    return run(lambda: _tell(paths, options))


def _tell(paths: list[Path], options: argparse.Namespace) -> int:
    failed = False
    if sys.stderr.isatty():
        print("Loading the model …", end="\r", file=sys.stderr, flush=True)
    for path, p in predict(paths, options.model):
        if isinstance(p, UserError):
            print(f"error: {p}", file=sys.stderr)
            failed = True
        elif options.json:  # in ASCII, so that any name survives any terminal and pipe
            print(json.dumps({"path": str(path), "p": p}), flush=True)
        else:
            first, best = next(iter(p)), max(p, key=p.get)
            print(f"P({first}) = {p[first]:.3f}  {best:<12}  {path}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
