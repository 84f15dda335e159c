"""P(class) of your own photos, by a model that the notebooks saved or `mobilenet.export` wrote.

    python -m mobilenet.predict PATH… [--model FILE] [--json] [--cluster ADDRESS]

PATH is a photo or a folder of them. A photo that cannot be read is named on standard error, the
others still come, and the exit code is 1. What else is in a folder is said there in a line.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mobilenet import BUILD, UserError, folders
from mobilenet.command import Parser, run
from mobilenet.decoding import REASONS, read_photo, why_not
from mobilenet.naming import CLASSES, read_names

MODEL = BUILD / "fine_tuned.keras"
BATCH = 32

T = TypeVar("T")


class Asked(NamedTuple):
    """What files and folders mean. photos: in their order; a folder without any stands for itself,
    so that it is named among what cannot be read. left_out: (file, reason) for what else is in the
    folders, but for hidden files, which are counted.
    """

    photos: list[Path]
    left_out: list[tuple[Path, str]]
    hidden: int


def find(paths: list[Path]) -> Asked:
    """What these files and folders mean. Raises UserError if a folder cannot be read."""
    photos, left_out, hidden = [], [], 0
    for path in paths:
        below = list(folders.walk(path)) if path.is_dir() else []
        photos += [path / one.path for one in below if not one.why]
        if not any(folders.is_meant(one.why) for one in below):
            photos.append(path)
        hidden += sum(one.why == folders.HIDDEN for one in below)
        kinds = ("", folders.HIDDEN, folders.FOLDER)
        left_out += [(path / one.path, one.why) for one in below if one.why not in kinds]
    return Asked(photos, left_out, hidden)


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
    from mobilenet import flatbuffer, saved

    with suppress(flatbuffer.Unknown):
        return saved.answers(model, classes)
    from mobilenet import classifier  # TensorFlow takes seconds: only when it is needed

    network, names = classifier.load(model, classes)
    return classifier.compiled(network), names, network.input_shape[1]


def read(path: Path | str, size: int) -> np.ndarray:
    """A photo, as `read_photo` has it. The UserError of a kind of file that is not read says so, as
    where it is found in a folder.
    """
    try:
        return read_photo(path, size)
    except UserError as error:
        system = getattr(error.__cause__, "errno", None) is not None  # it is not there, say
        if system or not why_not(str(path)) or not (why := REASONS.get(Path(path).suffix.lower())):
            raise
        raise UserError(f"{path} cannot be read as a photo: {why}.") from error.__cause__


def predict(
    paths: list[Path], model: Path, classes: Sequence[str] | None = None
) -> Iterator[tuple[Path, dict[str, float] | UserError]]:
    """For each photo its path and {class: P(class)}, or why it could not be read; a batch at a
    time, so that a folder of any size takes little memory. Raises UserError if there is no model.
    """
    compute, names, size = answers(model, classes)

    def read_or_error(path: Path):
        try:
            return read(path, size)
        except UserError as error:
            return error

    for batch, photos in read_batches(paths, read_or_error):
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
    parser.add_argument("--classes", metavar="NAMES", type=read_names, help=CLASSES)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="work on a Ray cluster: HOST:PORT, or auto"
    )
    options = parser.parse_args(arguments)

    def work() -> int:
        asked, names = find(options.paths), options.classes
        if options.cluster is None:
            return _tell(asked, predict(asked.photos, options.model, names), options.json)
        from mobilenet import cluster

        with cluster.connected(options.cluster):
            return _tell(asked, cluster.predict(asked.photos, options.model, names), options.json)

    return run(work)


def _tell(
    asked: Asked, answered: Iterator[tuple[Path, dict[str, float] | UserError]], as_json: bool
) -> int:
    """Say what was answered, photo by photo, then what is left out; the exit status."""
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
    for path, why in asked.left_out:
        if folders.is_meant(why):
            print(f"error: {_plain(path)} is left out: {why}.", file=sys.stderr)
            failed = True
    if said := folders.beside(asked.left_out, asked.hidden):
        print(_plain(said), file=sys.stderr)
    return int(failed)


def _plain(text: object) -> str:
    """In one line, and with no code in it that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


if __name__ == "__main__":
    sys.exit(main())
