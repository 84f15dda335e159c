"""The photos that trained a classifier, from which int8 takes the ranges of activations."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.inference import saved
from mobilenet.photos import datasets
from mobilenet.photos.loading import find_folder, load_photos
from mobilenet.photos.splits import split


def training_photos(size: int, class_names: Sequence[str], card: dict[str, Any]) -> np.ndarray:
    """Return the photos in use that a classifier was trained on, uint8 (N, size, size, 3).

    They are split by the seed on its card, or by seed 0. Raises UserError if they are photos of
    other classes, or not those of the training.
    """
    seed = saved.split_seed(card)
    if seed is None:
        raise UserError("The model does not say how its photos were split: take float16.")
    if "test" in card:  # of mobilenet.train
        parts = datasets.load(source(class_names, card), size, seed)
        _check_classes(parts["train"].class_names, class_names)
        if datasets.fingerprint(parts["test"]) != card["test"]:
            raise UserError(
                "The photos are not those that the model was trained on, from which int8 takes its "
                "ranges: set PHOTOS to their folder, or take float16."
            )
        return parts["train"].images
    everything = load_photos(Path(source(class_names, card)), size)
    _check_classes(everything.class_names, class_names)
    if card.get("part") == "all":  # of mobilenet.head
        return everything.images[:]
    return everything.images[split(everything, seed)["train"]]


def source(class_names: Sequence[str], card: dict[str, Any]) -> str:
    """Return where `training_photos` are looked for: a folder, or "cifar10"."""
    downloaded = list(class_names) == datasets.CIFAR10 and not os.environ.get("PHOTOS")
    return "cifar10" if "test" in card and downloaded else str(find_folder()[0])


def _check_classes(found: Sequence[str], wanted: Sequence[str]) -> None:
    if set(found) != set(wanted):
        raise UserError(
            f"The model knows {', '.join(map(repr, wanted))}, the photos show "
            f"{', '.join(map(repr, found))}: set PHOTOS to the folder that it was trained on."
        )
