"""How a network learns from scratch: views, rate, and what learns faster."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet.networks import mobilenets
from mobilenet.scratch import learning
from mobilenet.scratch.plan import Plan
from mobilenet.system.engine import keras
from tests.helpers.drawn import draw, one_sentence

SEEDS = st.integers(0, 2**32)
PAD = 2


@given(seed=SEEDS, size=st.sampled_from([32, 48]))
def test_small_photos_are_shifted(seed, size):
    photos = np.random.default_rng(seed).integers(0, 256, (3, size, size, 3), np.uint8)
    shown = learning.shifted(photos, PAD, np.random.default_rng(seed))
    assert shown.shape == photos.shape
    assert shown.dtype == np.uint8
    inner = slice(PAD, size - PAD)
    for one, other in zip(photos, shown, strict=True):
        places = [(i, j) for i in range(2 * PAD + 1) for j in range(2 * PAD + 1)]
        middles = (one[i : i + size - 2 * PAD, j : j + size - 2 * PAD] for i, j in places)
        assert any(np.array_equal(other[inner, inner], middle) for middle in middles)


@given(seed=SEEDS)
def test_larger_photos_are_cropped_closer_in_another_light(seed):
    """A gray ramp stays gray and a ramp, from no less steep than the closest crop in the least
    contrast makes it to the contrast's most.
    """
    ramp = np.broadcast_to(np.arange(80, 176)[None, :, None], (4, 96, 96, 3)).astype(np.uint8)
    shown = learning.cropped(ramp, np.random.default_rng(seed)).astype(int)
    assert (np.ptp(shown, axis=-1) <= 1).all(), "gray"
    assert (shown == shown[:, :1]).all(), "rows are alike"
    steep = (shown[:, 0, 79, 0] - shown[:, 0, 16, 0]) / 63
    least = (1 - learning.LIGHT) * (learning.AREA / learning.STRETCH) ** 0.5
    assert (least - 0.04 <= steep).all()
    assert (steep <= 1 + learning.LIGHT + 0.04).all()


@given(seed=SEEDS, level=st.integers(0, 255))
def test_light_changes_by_as_much_as_is_said(seed, level):
    shown = learning.cropped(np.full((2, 64, 64, 3), level, np.uint8), np.random.default_rng(seed))
    assert (np.ptp(shown, axis=(1, 2, 3)) == 0).all(), "one gray"
    assert (shown >= int(level * (1 - learning.LIGHT))).all()
    assert (shown <= level * (1 + learning.LIGHT) + 1).all()


@pytest.mark.parametrize("size", [32, 64])
def test_an_epoch_shows_each_photo_once_half_of_them_mirrored(size):
    """Photos that are dark on the left: mirrored, they are dark on the right."""
    count, ramp = 2 * learning.BATCH, np.linspace(40, 200, size).astype(np.uint8)
    images = np.broadcast_to(ramp[None, None, :, None], (count, size, size, 3))
    photos = replace(draw(learning.BATCH, size=size), images=images, labels=np.arange(count))
    side = size * 3 // 4
    epochs = [list(learning.batches(photos, 0, epoch, side)) for epoch in (0, 1)]
    turned = []
    for made in epochs:
        order = np.concatenate([labels for _, labels in made])
        assert sorted(order) == list(range(count))
        shown = np.concatenate([photos for photos, _ in made])
        assert shown.shape == (count, side, side, 3)
        shown = shown.mean(axis=(1, 3))
        turned.append(dict(zip(order.tolist(), shown[:, 0] > shown[:, -1], strict=True)))
    assert 0.3 * count < sum(turned[0].values()) < 0.7 * count
    assert all(turned[0][i] != turned[1][i] for i in range(count))


@given(
    size=st.integers(1, 7).map(lambda n: 32 * n),
    stride=st.sampled_from([2, 4, 8, 16, 32]),
    epochs=st.integers(1, 60),
)
def test_sizes_grow_to_the_whole_photo(size, stride, epochs):
    plan = Plan("mobilenetv1", 0.5, size, epochs, "data", 0, stride=stride)
    sizes = learning.sizes(plan)
    assert len(sizes) == epochs
    assert sizes == sorted(sizes)
    assert sizes[-1] == size, "the network ends with what it will see"
    assert all(side % stride == 0 < side for side in sizes)
    smaller = size == 32 and stride < 32
    assert sum(side < size for side in sizes) == smaller * (epochs // 2)


def test_sizes_of_cifar10():
    plan = Plan("mobilenetv1", 0.5, 32, 10, "cifar10", 0)
    assert learning.sizes(plan) == [24] * 5 + [32] * 5
    assert learning.sizes(plan, learning.RECIPE._replace(small=0)) == [32] * 10
    assert learning.sizes(plan._replace(stride=16)) == [16] * 5 + [32] * 5


@given(seed=SEEDS)
def test_a_pixel_of_a_smaller_photo_is_a_mean(seed):
    photos = np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3), np.uint8)
    means = photos.reshape(3, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(learning.resized(photos, 16) - means).max() <= 1, "rounded along both sides"
    shown = learning.resized(photos, 24)
    assert (shown[:, ::3, ::3] == photos[:, ::4, ::4]).all(), "of four, the outer ones stay"
    middle = photos[:, ::4, 1::4] / 2 + photos[:, ::4, 2::4] / 2
    assert np.abs(shown[:, ::3, 1::3] - middle).max() <= 0.5


@given(seed=SEEDS, epoch=st.integers(0, 1000))
def test_two_epochs_show_both_views_of_each_photo(seed, epoch):
    now, then = (learning.mirrored(400, seed, e) for e in (epoch, epoch + 1))
    assert (now ^ then).all()
    assert 120 < now.sum() < 280, "about half"
    assert np.array_equal(now, learning.mirrored(400, seed, epoch + 2))


@given(seed=SEEDS, epoch=st.integers(0, 1000))
def test_flips_at_random_know_nothing_of_the_epoch_before(seed, epoch):
    now, then = (learning.mirrored(400, seed, e, alternating=False) for e in (epoch, epoch + 1))
    for some in (now, then, now ^ then):
        assert 120 < some.sum() < 280, "about half"


def test_a_training_of_too_few_steps_is_told_how_many_it_takes():
    """As many times its steps as the sentence says, and the rate gets to its highest."""
    said = learning.too_few(200)
    times = int(re.search(r"take (\d+) times as many", said)[1])
    assert "200 steps" in said and one_sentence(said)
    for total, reached in ((200, False), (200 * times, True)):
        top = max(learning.rate(step, total) for step in range(total + 1))
        assert (top == pytest.approx(learning.RECIPE.rate)) == reached
    assert learning.too_few(200 * times) == ""


def test_the_rate_rises_then_falls():
    rates = [learning.rate(step, 2000) for step in range(2001)]
    top = int(np.argmax(rates))
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert max(rates) == pytest.approx(learning.RECIPE.rate)
    assert top == 2000 * learning.RECIPE.warm_up
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(total=st.integers(1, 10_000), step=st.integers(0, 10_000))
def test_the_rate_never_rises_faster_than_in_so_many_steps(total, step):
    """Whatever the number of steps: a short training does not get to the highest rate."""
    step = min(step, total)
    assert 0 <= learning.rate(step, total) <= learning.RECIPE.rate * step / learning.WARM_UP


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


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_that_is_shown_is_that_of_the_labels_as_they_are(classes, monkeypatch):
    """Of a network that gives all answers the same logit, whatever the smoothing: ln 2 or ln 3. Of
    one that is sure and right, next to nothing.
    """
    photos = draw(8, classes=classes, size=32)
    monkeypatch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:2])
    network = mobilenets.mobilenet_v1(32, 0.25, 1 if classes == 2 else classes, 0.0, 16)
    step, _ = learning.compile_step(network, learning.optimizer(network))
    images, labels = photos.images[photos.labels == 1], photos.labels[photos.labels == 1]
    for high, loss in ((0.0, np.log(classes)), (30.0, 0.0)):
        kernel, bias = network.trainable_variables[-2:]
        kernel.assign(np.zeros(kernel.shape))
        bias.assign([high] if classes == 2 else [0, high, 0])
        shown, right = step(images, labels)
        assert float(shown) == pytest.approx(loss * len(labels), abs=1e-4)
    assert right == len(labels)


@pytest.mark.parametrize("build", [mobilenets.mobilenet_v1, mobilenets.mobilenet_v2])
def test_depthwise_kernels_start_higher_in_the_middle(build):
    keras.utils.set_random_seed(0)
    network = build(32, 0.25, 3)
    before = [layer.get_weights() for layer in network.layers]
    learning.raise_centres(network)
    raised = 0
    for layer, start in zip(network.layers, before, strict=True):
        for then, now in zip(start, layer.get_weights(), strict=True):
            higher = np.zeros_like(then)
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                higher[1, 1] = learning.RECIPE.centre * then.std()
                raised += 1
            assert np.allclose(now - then, higher, atol=1e-6), layer.name
    assert raised >= 13
