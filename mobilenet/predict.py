"""P(class) of your own photos, by a model that the notebooks saved or `mobilenet.export` wrote.

    python -m mobilenet.predict PATH… [--model FILE] [--json] [--cluster ADDRESS]

PATH is a photo or a folder of them. A photo that cannot be read is named on standard error, the
others still come, and the exit code is 1.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from mobilenet import BUILD, UserError
from mobilenet.command import Parser, run
from mobilenet.decoding import read_photo
from mobilenet.naming import CLASSES, read_names
from mobilenet.photos import list_photos

MODEL = BUILD / "fine_tuned.keras"
BATCH = 32

T = TypeVar("T")


def find(paths: list[Path]) -> Iterator[Path]:
    """The photos that these files and folders mean, in their order; a folder without any stands
    for itself, so that it is named among what cannot be read.
    """
    for path in paths:
        found = list(list_photos(path)) if path.is_dir() else []
        yield from found or [path]


def read_batches(
    paths: Sequence[Path], read: Callable[[Path], T]
) -> Iterator[tuple[Sequence[Path], list[T]]]:
    """What `read` makes of each path, a batch of them at a time, several files at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            yield batch, list(pool.map(read, batch))


def answers(
    model: Path, classes: Sequence[str] | None = None
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[str, ...], int]:
    """A saved model, of Keras or of LiteRT: a function of photos, the names of its classes and the
    photos' side in pixels.

    The function takes uint8 (N, size, size, 3), any N, and gives probabilities, float64 (N, K).
    classes: the names of the classes, for a model that has none. Raises UserError if there is no
    such model, or it cannot be read safely.
    """
    if model.suffix == ".tflite":
        from mobilenet import litert

        return litert.load(model, classes=classes)
    from mobilenet import classifier  # TensorFlow takes seconds: only when it is needed

    network, names = classifier.load(model, classes)
    return classifier.compiled(network), names, network.input_shape[1]


def predict(
    paths: list[Path], model: Path, classes: Sequence[str] | None = None
) -> Iterator[tuple[Path, dict[str, float] | UserError]]:
    """For each photo its path and {class: P(class)}, or why it could not be read; a batch at a
    time, so that a folder of any size takes little memory. Raises UserError if there is no model.
    """
    compute, names, size = answers(model, classes)

    def read(path: Path):
        try:
            return read_photo(path, size)
        except UserError as error:
            return error

    for batch, photos in read_batches(paths, read):
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
    parser = Parser("python -m mobilenet.predict", "P(class) of your own photos.")
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a photo or a folder")
    parser.add_argument(
        "--model",
        type=Path,
        default=MODEL,
        help="a .keras or .tflite file (default: the one fine-tuned last)",
    )
    parser.add_argument("--classes", metavar="NAMES", help=CLASSES)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="work on a Ray cluster: HOST:PORT, or auto"
    )
    options = parser.parse_args(arguments)

    def work() -> int:
        names = read_names(options.classes)
        asked = list(find(options.paths)), options.model, names
        if options.cluster is None:
            return _tell(predict(*asked), options.json)
        from mobilenet import cluster

        with cluster.connected(options.cluster):
            return _tell(cluster.predict(*asked), options.json)

    return run(work)


def _tell(answered: Iterator[tuple[Path, dict[str, float] | UserError]], as_json: bool) -> int:
    """Say what was answered, photo by photo; the exit status."""
    failed = False
    if sys.stderr.isatty():
        print("Loading the model …", end="\r", file=sys.stderr, flush=True)
    for path, p in answered:
        if isinstance(p, UserError):
            print(f"error: {_plain(p)}", file=sys.stderr)
            failed = True
        elif as_json:  # in ASCII, so that any name survives any terminal and pipe
            print(json.dumps({"path": str(path), "p": p}), flush=True)
        else:
            best = max(p, key=p.get)
            about = list(p)[1] if len(p) == 2 else best  # of two classes the positive one
            said = f"P({_plain(about)}) = {p[about]:.3f}  {_plain(best):<12}  {_plain(path)}"
            print(said, flush=True)
    return int(failed)


def _plain(text: object) -> str:
    """In one line, and with no code in it that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


if __name__ == "__main__":
    sys.exit(main())
