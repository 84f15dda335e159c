"""The experiments with MobileNet's parts: each measures what it says."""

import numpy as np
import pytest

from mobilenet.networks import anatomy, cost, mobilenets
from mobilenet.system.engine import keras
from tests.helpers.drawn import draw

SEEDS = range(5)


# --- Linear bottlenecks ---


def test_the_spiral_lies_in_its_square():
    points = anatomy.spiral(50)
    assert points.shape == (50, 2)
    assert np.abs(points).max() <= 1
    assert (np.diff(np.linalg.norm(points, axis=1)) > 0).all()


@pytest.mark.parametrize("n", [2, 3, 5, 15, 30])
def test_without_relu_all_comes_back(n):
    points = anatomy.spiral(50)
    for seed in SEEDS:
        through = anatomy.passage(points, n, seed, relu=False)
        assert np.allclose(through.back, points)
        assert through.intact.all()
        assert through.kept == pytest.approx(1)


def test_relu_destroys_much_in_few_dimensions():
    points = anatomy.spiral(200)
    for seed in SEEDS:
        draws = {n: [anatomy.passage(points, n, [seed, k]) for k in range(50)] for n in (2, 5, 30)}
        intact = {n: np.mean([one.intact.mean() for one in ds]) for n, ds in draws.items()}
        kept = {n: np.mean([one.kept for one in ds]) for n, ds in draws.items()}
        for n, share in intact.items():
            assert share == pytest.approx(anatomy.share_intact(n), abs=0.15)
        assert kept[2] < kept[5] < kept[30]
        assert kept[2] < 0.8
        assert kept[30] > 0.99


def test_a_point_with_one_number_left_is_not_intact():
    through = anatomy.passage(np.array([[1.0, 0.5], [-1.0, -0.5]]), 1, 0)
    assert not through.intact.any()


def test_the_same_seed_gives_the_same_passage():
    first, second = (anatomy.passage(anatomy.spiral(), 3, [0, 3]) for _ in range(2))
    assert np.array_equal(first.back, second.back)
    assert anatomy.share_intact(2) == 0.25
    assert anatomy.share_intact(3) == 0.5


# --- Shortcuts ---


def test_gratings():
    photos, labels = anatomy.gratings(40, 0)
    assert (photos.shape, photos.dtype) == ((40, 12, 12, 1), np.float32)
    assert set(labels) == {0, 1, 2, 3}
    again, _ = anatomy.gratings(40, 0)
    assert np.array_equal(photos, again)


def test_a_stack_with_and_without_shortcuts():
    stacks = []
    for shortcut in (True, False):
        keras.utils.set_random_seed(0)
        stacks.append(anatomy.stack(3, shortcut))
    joined, plain = stacks
    assert all(map(np.array_equal, joined.get_weights(), plain.get_weights()))
    assert joined.count_params() == plain.count_params()
    assert sum(isinstance(one, keras.layers.Add) for one in joined.layers) == 3
    assert cost.totals(cost.count(joined)) == cost.totals(cost.count(plain))
    assert not any(isinstance(one, keras.layers.Add) for one in plain.layers)


def test_losses_fall_and_repeat():
    photos, labels = anatomy.gratings(100, 0)
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        runs.append(anatomy.losses(anatomy.stack(1, True), photos, labels, 12, 5e-3, batch=32))
    assert runs[0].shape == (12,)
    assert np.array_equal(*runs)
    assert runs[0][-1] < runs[0][0]


# --- ReLU6 ---


def test_the_clip_and_the_rounding(small):
    photos = mobilenets.preprocess(draw(4, size=small.size).images)
    model = small.model
    largest = anatomy.largest_before_clip(model, photos)
    assert list(largest) == [layer.name for layer in anatomy.relus(model)]
    assert len(largest) == 35
    name = "block_5_expand_relu"
    before = keras.Model(model.input, model.get_layer(name).input)(photos).numpy()
    assert largest[name] == pytest.approx(before.max(), rel=1e-5)

    exact = model(photos).numpy()
    fine, coarse = (
        anatomy.with_activations(model, dict.fromkeys(largest, anatomy.rounded_relu6(6 / levels)))
        for levels in (2**16 - 1, 2**4 - 1)
    )
    errors = [anatomy.relative_error(one(photos).numpy(), exact) for one in (fine, coarse)]
    assert errors[0] < 0.01 < errors[1]
    assert np.array_equal(model(photos).numpy(), exact), "the original has changed"


def test_a_relu_behind_each_projection(small):
    photos = mobilenets.preprocess(draw(2, size=small.size).images)
    name = "block_1_project_BN"
    spoiled = anatomy.with_relu_behind(small.model, "project_BN")
    start = keras.Model(small.model.input, small.model.get_layer(name).output)
    before, behind = start(photos), anatomy.with_relu_behind(start, name)(photos)
    assert np.min(before) < 0
    assert np.array_equal(behind, np.maximum(before, 0))
    exact = small.model(photos).numpy()
    assert anatomy.relative_error(spoiled(photos).numpy(), exact) > 0.1
    assert all(map(np.array_equal, spoiled.get_weights(), small.model.get_weights()))


def test_rounded_relu6_has_so_many_values():
    x = np.linspace(-3, 9, 5000).astype(np.float32)
    values = np.unique(np.array(anatomy.rounded_relu6(6 / 15)(x)))
    assert np.allclose(values, np.arange(16) * 6 / 15)
    assert anatomy.relative_error([3.0, 4.0], [3.0, 5.0]) == pytest.approx(1 / np.sqrt(34))


# --- Time ---


@pytest.fixture(scope="module")
def thin():
    """Both networks, thin."""
    return mobilenets.mobilenet_v1(32, 0.25, 10), mobilenets.mobilenet_v2(32, 0.35, 10)


def test_seconds_of_every_kind(thin):
    for seconds in anatomy.seconds_by_kind(thin, repeats=5):
        assert list(seconds) == [
            *("standard", "depthwise", "pointwise", "dense"),
            *("BatchNorm", "ReLU6", "other"),
        ]
        assert all(value >= 0 for value in seconds.values())


def test_a_compiled_layer_takes_several_inputs():
    add = keras.layers.Add()
    assert anatomy.compiled(add, [(2, 2, 1), (2, 2, 1)], batch=3)().shape == ()


def test_shares_of_work_and_of_time(thin):
    rows = cost.count(thin[1])
    kinds = ("standard", "depthwise", "pointwise", "dense", "BatchNorm", "ReLU6", "other")
    shares = anatomy.shares(rows, dict.fromkeys(kinds, 0.5))
    assert list(shares) == list(kinds)
    assert [time for _, time in shares.values()] == pytest.approx(7 * [1 / 7])
    assert sum(work for work, _ in shares.values()) == pytest.approx(1)
    assert shares["BatchNorm"][0] == 0
    assert shares["pointwise"][0] > shares["depthwise"][0] > 0
