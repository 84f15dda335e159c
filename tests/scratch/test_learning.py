"""How a network learns from scratch: views, rate, and what learns faster."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet.networks import mobilenets
from mobilenet.scratch import learning
from mobilenet.system.engine import keras
from tests.helpers.drawn import draw

SEEDS = st.integers(0, 2**32)
PAD = 2


def augmented(photos: np.ndarray, seed: int) -> np.ndarray:
    mirror = learning.mirrored(len(photos), seed, 0)
    return learning.augment(photos, mirror, PAD, np.random.default_rng(seed))


@given(seed=SEEDS, size=st.sampled_from([32, 48]))
def test_augmented_photos_are_the_photos_shifted_or_mirrored(seed, size):
    photos = np.random.default_rng(seed).integers(0, 256, (3, size, size, 3), np.uint8)
    shown = augmented(photos, seed)
    assert shown.shape == photos.shape
    assert shown.dtype == np.uint8
    inner = size // 2
    mirror = learning.mirrored(3, seed, 0)
    for one, other, turned in zip(photos, shown, mirror, strict=True):
        middle = other[size // 4 : size // 4 + inner, size // 4 : size // 4 + inner]
        side = one[:, ::-1] if turned else one
        found = any(
            np.array_equal(
                middle,
                side[size // 4 + i : size // 4 + i + inner, size // 4 + j : size // 4 + j + inner],
            )
            for i in range(-PAD, PAD + 1)
            for j in range(-PAD, PAD + 1)
        )
        assert found
    assert np.array_equal(shown, augmented(photos, seed))


@given(seed=SEEDS)
def test_larger_photos_are_cropped_closer(seed):
    """A ramp stays a ramp: as steep as before, or up to 1 / SIDE times less, or mirrored."""
    ramp = np.broadcast_to(np.arange(96)[None, :, None], (4, 96, 96, 3)).astype(np.uint8)
    middle = augmented(ramp, seed).astype(int)[:, 40:56, 40:56]
    steep = (middle[:, :, -1] - middle[:, :, 0]) / 15
    assert (np.abs(steep) <= 1.1).all()
    assert (np.abs(steep) >= learning.SIDE - 0.1).all()
    assert (middle == middle[:, :1]).all(), "rows are alike"


@given(seed=SEEDS, epoch=st.integers(0, 1000))
def test_two_epochs_show_both_views_of_each_photo(seed, epoch):
    now, then = (learning.mirrored(400, seed, e) for e in (epoch, epoch + 1))
    assert (now ^ then).all()
    assert 120 < now.sum() < 280, "about half"
    assert np.array_equal(now, learning.mirrored(400, seed, epoch + 2))


def test_the_rate_rises_then_falls():
    rates = [learning.rate(done) for done in np.linspace(0, 1, 101)]
    top = int(np.argmax(rates))
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert max(rates) == pytest.approx(learning.RECIPE.rate)
    assert top == 100 * learning.RECIPE.warm_up
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_biases_of_batchnorm_learn_faster(monkeypatch):
    """In a first step `bias` times as far as without; all else as far."""
    photos = draw(8, classes=3, size=32)
    monkeypatch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:2])

    def moved(recipe: learning.Recipe) -> dict[str, np.ndarray]:
        keras.utils.set_random_seed(0)
        network = mobilenets.mobilenet_v1(32, 0.25, 3, 0.0, 16)
        before = network.get_weights()
        optimizer = learning.optimizer(network, recipe)
        step, _ = learning.compile_step(network, optimizer, recipe)
        step(photos.images, photos.labels)
        names = [variable.path for variable in network.weights]
        rows = zip(names, before, network.get_weights(), strict=True)
        return {name: after - start for name, start, after in rows}

    once, fast = moved(learning.RECIPE._replace(bias=1)), moved(learning.RECIPE)
    for name, way in once.items():
        times = learning.RECIPE.bias if name.endswith("beta") else 1
        assert np.allclose(fast[name], times * way, atol=1e-5), name
    assert any(way.any() for name, way in once.items() if name.endswith("beta"))
