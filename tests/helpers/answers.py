"""Photos with odd names and probabilities for them, for figures."""

from dataclasses import replace

import numpy as np

from mobilenet.transfer import metrics
from tests.helpers.drawn import draw

NAMES = [
    "alpaca",
    "not alpaca",
    "a class with a long name",
    "été",
    "$5 to $6",
    "Arabian camel",
    "llama",
    "goat",
]


def some_photos(classes=2, count=12, size=16):
    """Photos whose class names are short, long and odd."""
    photos = draw(count, classes=classes, size=size)
    return replace(photos, class_names=tuple(NAMES[:classes]))


def some_answers(photos, wrong=3, seed=0):
    """Probabilities for photos, of which `wrong` ones, drawn at random, are for another class."""
    rng = np.random.default_rng(seed)
    classes, count = len(photos.class_names), len(photos)
    guesses = photos.labels.copy()
    missed = rng.permutation(count)[:wrong]
    guesses[missed] = (guesses[missed] + 1) % classes
    p = np.full((count, classes), 0.1 / (classes - 1))
    p[np.arange(count), guesses] = 0.9
    return p, np.sort(missed)


def any_answers(photos, seed=0, strength=2.0):
    """Probabilities of every size, often right."""
    logits = np.random.default_rng(seed).normal(0, 1, (len(photos), len(photos.class_names)))
    logits[np.arange(len(photos)), photos.labels] += strength
    return metrics.probabilities(logits)


def boxes(axes):
    return np.array([one.get_extent() for one in axes.get_images()])
