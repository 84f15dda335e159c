"""P(class) of photos by any saved model, of Keras or of LiteRT, a batch at a time."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from mobilenet import BATCH, UserError
from mobilenet.photos.decoding import REASONS, read_photo, why_not

T = TypeVar("T")


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
        from mobilenet.inference import litert

        return litert.load(model, classes=classes)
    from mobilenet.inference import saved
    from mobilenet.networks import flatbuffer

    with suppress(flatbuffer.Unknown):
        return saved.answers(model, classes)
    from mobilenet.inference import classifier  # TensorFlow takes seconds: only when it is needed

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
