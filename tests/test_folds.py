"""Folds and cross-validation: each photo judged once, by a head that has not seen it."""

from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from conftest import LOW, draw, one_sentence
from hypothesis import assume, given
from hypothesis import strategies as st

from mobilenet import ROOT, UserError, features, metrics, training
from mobilenet.metrics import probabilities
from mobilenet.training import fit, predict_logits


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
    numbers = training.folds(labels, count, seed)
    assert set(numbers) == set(range(count))
    assert np.ptp(np.bincount(numbers)) <= 1
    for label in range(len(counts)):
        assert np.ptp(np.bincount(numbers[labels == label], minlength=count)) <= 1
    assert (training.folds(labels, count, seed) == numbers).all()


def test_folds_of_another_seed_are_others():
    labels = np.repeat([0, 1], 30)
    assert len({training.folds(labels, 5, seed).tobytes() for seed in range(20)}) == 20


def test_one_fold_is_no_cross_validation():
    with pytest.raises(UserError, match="2 or more") as raised:
        training.folds(np.arange(10) % 2, 1, seed=0)
    assert one_sentence(raised.value)


def test_fewer_photos_than_folds():
    with pytest.raises(UserError, match="A class has 4 photos") as raised:
        training.folds(np.repeat([0, 1], [9, 4]), 5, 0)
    assert one_sentence(raised.value)


def one_photo_one_feature(count=60):
    """Photos that share nothing: what is learnt of one says nothing of another."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1], count // 2))
    return np.eye(count, dtype=np.float32), labels


def test_no_photo_is_judged_by_a_head_that_saw_it():
    """Its own feature's weight must be as it was drawn; had the head seen it, it would know it."""
    own, labels = one_photo_one_feature()
    options = {"epochs": 30, "learning_rate": 0.1, "seed": 4, "dropout": 0.0}
    p = training.cross_validate(own, labels, 2, count=5, **options)
    drawn = training.build_head(len(own), 2, 0.0, 4).get_layer("logits").get_weights()[0][:, 0]
    bias = np.log(p[:, 1] / p[:, 0]) - drawn
    numbers = training.folds(labels, 5, 4)
    for k in range(5):
        assert np.ptp(bias[numbers == k]) < 1e-5
    seen = training.build_head(len(own), 2, 0.0, 4)
    fit(seen, own[None], labels, epochs=30, learning_rate=0.1, seed=4)
    assert metrics.count_right(probabilities(predict_logits(seen, own)), labels).correct == 60
    low, high = metrics.count_right(p, labels).interval
    assert low < 0.5 < high


def test_cross_validation_finds_what_there_is(pooled, photos):
    options = {"dropout": 0.2, "epochs": 8, "learning_rate": 0.2, "seed": 0}
    p = training.cross_validate(pooled[0], photos.labels, 2, **options)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(photos)))
    assert metrics.count_right(p, photos.labels).correct == len(photos)
    assert (training.cross_validate(pooled[0], photos.labels, 2, **options) == p).all()


def test_folds_train_on_views_and_ask_about_the_photos(pooled, photos):
    """Views that say the opposite teach the opposite; photos alone are what is asked about."""
    options = {"dropout": 0.0, "epochs": 8, "learning_rate": 0.2, "seed": 0}
    one = pooled[:1]
    alone = training.cross_validate(one, photos.labels, 2, **options)
    assert (training.cross_validate(one[0], photos.labels, 2, **options) == alone).all()
    swapped = np.stack([one[0], *[one[0][::-1]] * 9])  # classes are halves, so one for the other
    p = training.cross_validate(swapped, photos.labels, 2, **options)
    assert metrics.count_right(p, photos.labels).correct == 0


def test_cross_validation_of_three_classes(small):
    three = draw(10, classes=3)
    saved = features.activations(small, three.images, LOW).mean(axis=(1, 2), dtype=np.float32)
    options = {"dropout": 0.0, "epochs": 20, "learning_rate": 0.2, "seed": 0}
    p = training.cross_validate(saved, three.labels, 3, count=3, **options)
    assert p.shape == (30, 3)
    assert p.sum(axis=1) == pytest.approx(np.ones(30))
    assert metrics.count_right(p, three.labels).correct == 30


@pytest.mark.parametrize("classes", [2, 3])
def test_the_folds_on_the_page_are_those_of_the_code(classes):
    """Notebook 5 writes out the loop, for it also needs the logits."""
    notebook = nbformat.read(ROOT / "notebooks" / "05_how_far_to_trust_it.ipynb", as_version=4)
    (source,) = [cell.source for cell in notebook.cells if "def fold_logits" in cell.source]
    labels = np.arange(30) % classes
    views = np.random.default_rng(0).normal(size=(2, 30, 8)).astype(np.float32)
    there = vars(metrics) | {
        "np": np,
        "training": training,
        "classes": classes,
        "every_view": views,
        "network": SimpleNamespace(channels=8),
        "photos": SimpleNamespace(labels=labels, groups=np.arange(30)),
        "parts": {"test": np.arange(6)},
        "FOLDS": 3,
        "SEED": 4,
        "EPOCHS": 5,
        "DROPOUT": 0.3,
        "LEARNING_RATE": 0.01,
    }
    exec(compile(source, "cell", "exec"), there)
    options = {"dropout": 0.3, "epochs": 5, "learning_rate": 0.01, "seed": 4}
    p = training.cross_validate(views, labels, classes, count=3, groups=np.arange(30), **options)
    assert (there["p_folds"] == p).all()
