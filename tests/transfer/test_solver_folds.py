"""Folds and cross-validation: each photo judged once, by a head that has not seen it."""

from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import utils
from mobilenet import ROOT, UserError
from mobilenet.photos import splits
from mobilenet.transfer import features, metrics, training
from mobilenet.transfer.metrics import probabilities
from mobilenet.transfer.training import fit, predict_logits
from tests.helpers.drawn import LOW, draw, one_sentence


@pytest.fixture(scope="module")
def photos():
    return draw(24)


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=4),
    count=st.integers(2, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_folds_are_stratified_and_of_one_size(counts, count, seed):
    assume(min(counts) >= count)
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = splits.folds(labels, count, seed)
    assert set(numbers) == set(range(count))
    assert np.ptp(np.bincount(numbers)) <= 1
    for label in range(len(counts)):
        assert np.ptp(np.bincount(numbers[labels == label], minlength=count)) <= 1
    assert (splits.folds(labels, count, seed) == numbers).all()


def test_folds_of_another_seed_are_others():
    labels = np.repeat([0, 1], 30)
    assert len({splits.folds(labels, 5, seed).tobytes() for seed in range(20)}) == 20


def test_one_fold_is_no_cross_validation():
    with pytest.raises(UserError, match="2 or more") as raised:
        splits.folds(np.arange(10) % 2, 1, seed=0)
    assert one_sentence(raised.value)


def test_fewer_photos_than_folds():
    with pytest.raises(UserError, match="A class has 4 photos") as raised:
        splits.folds(np.repeat([0, 1], [9, 4]), 5, 0)
    assert one_sentence(raised.value)


def one_photo_one_feature(count=60):
    """Photos that share nothing: what is learnt of one says nothing of another."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], count // 2))
    return np.eye(count, dtype=np.float32), labels


def on_the_page(views: np.ndarray, labels: np.ndarray, **knobs) -> np.ndarray:
    """P(class) of each photo, float64 (N, K), by the cell of notebook 5 that trains on the folds.

    views: (V, N, channels), the photos themselves first. knobs: those of the notebook.
    """
    notebook = nbformat.read(ROOT / "notebooks" / "05_how_far_to_trust_it.ipynb", as_version=4)
    (source,) = [cell.source for cell in notebook.cells if "def fold_logits" in cell.source]
    there = {
        "np": np,
        "utils": utils,
        "metrics": metrics,
        "training": training,
        "classes": int(labels.max()) + 1,
        "every_view": views,
        "network": SimpleNamespace(channels=views.shape[2]),
        "photos": SimpleNamespace(labels=labels, groups=np.arange(len(labels))),
        "splits": {"test": np.arange(6)},
    }
    there |= {"FOLDS": 5, "DROPOUT": 0.0, "SEED": 0} | knobs
    exec(compile(source, "cell", "exec"), there)
    return there["p_folds"]


def test_no_photo_is_judged_by_a_head_that_saw_it():
    """Its own feature's weight must be as it was drawn; had the head seen it, it would know it."""
    own, labels = one_photo_one_feature()
    p = on_the_page(own[None], labels, EPOCHS=30, LEARNING_RATE=0.1, SEED=4)
    drawn = training.build_head(len(own), 2, 0.0, 4).get_layer("logits").get_weights()[0][:, 0]
    bias = np.log(p[:, 1] / p[:, 0]) - drawn
    numbers = splits.folds(labels, 5, 4)
    for k in range(5):
        assert np.ptp(bias[numbers == k]) < 1e-5
    seen = training.build_head(len(own), 2, 0.0, 4)
    fit(seen, own[None], labels, epochs=30, learning_rate=0.1, seed=4)
    assert metrics.count_right(probabilities(predict_logits(seen, own)), labels).correct == 60
    low, high = metrics.count_right(p, labels).interval
    assert low < 0.5 < high


def test_cross_validation_finds_what_there_is(pooled, photos):
    knobs = {"DROPOUT": 0.2, "EPOCHS": 8, "LEARNING_RATE": 0.2}
    p = on_the_page(pooled[:1], photos.labels, **knobs)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(photos)))
    assert metrics.count_right(p, photos.labels).correct == len(photos)
    assert (on_the_page(pooled[:1], photos.labels, **knobs) == p).all()


def test_folds_train_on_views_and_ask_about_the_photos(pooled, photos):
    """Views that say the opposite teach the opposite; photos alone are what is asked about."""
    swapped = np.stack([pooled[0], *[pooled[0][::-1]] * 9])  # classes are halves
    p = on_the_page(swapped, photos.labels, EPOCHS=8, LEARNING_RATE=0.2)
    assert metrics.count_right(p, photos.labels).correct == 0


def test_cross_validation_of_three_classes(small):
    three = draw(10, classes=3)
    saved = features.activations(small, three.images, LOW).mean(axis=(1, 2), dtype=np.float32)
    p = on_the_page(saved[None], three.labels, FOLDS=3, EPOCHS=20, LEARNING_RATE=0.2)
    assert p.shape == (30, 3)
    assert p.sum(axis=1) == pytest.approx(np.ones(30))
    assert metrics.count_right(p, three.labels).correct == 30
