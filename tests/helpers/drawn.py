"""Drawn photos, a saved classifier without training, and what a message has to be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenet import UserError
from mobilenet.networks import backbone as backbones
from mobilenet.photos.photos import Photos, ordered

SIZE = 96
ALPHA = 0.35
LOW = "block_3_expand"  # a cut at which a few drawn photos differ
SHORT_END = "block_3_expand_relu"  # the last layer of the short backbone


def draw(count: int, classes: int = 2, size: int = SIZE, seed: int = 0) -> Photos:
    """`count` photos of each class, evenly grey but for a little noise: the last are brightest.

    Their order and labels are those of `load_photos`: of two classes "class a" has label 1.
    """
    rng = np.random.default_rng(seed)
    folders = np.repeat(np.arange(classes), count)
    middle = 40 + 170 * folders / (classes - 1) + rng.normal(0, 8, len(folders))
    images = rng.normal(middle[:, None, None, None], 2, (len(folders), size, size, 3))
    names = [f"class {'abcdefgh'[k]}" for k in range(classes)]
    files = tuple(f"{names[k]}/{i:03}.png" for i, k in enumerate(folders))
    found = ordered(names)
    labels = np.array([found.index(names[k]) for k in folders], np.int64)
    return Photos(files, images.clip(0, 255).astype(np.uint8), labels, found)


def write(folder: Path, photos: Photos) -> Path:
    """Write drawn photos as files into a folder of class folders."""
    for file, image in zip(photos.files, photos.images, strict=True):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / file)
    return folder


def one_sentence(text: object) -> bool:
    """Whether a message is one line that ends as a sentence does."""
    text = str(text)
    return text.endswith(".") and "\n" not in text and text == text.strip()


def save_untrained(backbone: backbones.Backbone, path: Path) -> Path:
    """Save a classifier of two classes, "dark" and "light", with an untrained head."""
    from mobilenet.inference import classifier
    from mobilenet.transfer import training

    head = training.build_head(backbone.channels, 2, dropout=0.2, seed=0)
    classifier.save(path, classifier.assemble(backbone, head), ("dark", "light"))
    return path


def refusal(work, *arguments) -> str:
    """The one sentence that a call is refused with."""
    with pytest.raises(UserError) as error:
        work(*arguments)
    assert one_sentence(error.value)
    return str(error.value)
