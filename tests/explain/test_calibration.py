"""Where a network looks, what photos resemble, how far to trust it: cases with a known answer."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet import UserError
from mobilenet.explain import calibration, neighbours
from mobilenet.explain.grad_cam import grad_cam
from mobilenet.inference import classifier
from mobilenet.system.engine import keras
from mobilenet.transfer import metrics, training
from tests.helpers.drawn import one_sentence

# --- Grad-CAM ---


def corner_network(logits):
    """64 px photos → an 8 × 8 map of mean redness and mean blueness → logits: for one logit red
    speaks for class 0, for two red for class 0 and blue for class 1. Nothing else decides.
    """
    photo = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(2, 8, strides=8, use_bias=False, name="colours")(photo)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(photo, keras.layers.Dense(logits, use_bias=False, name="logits")(x))
    kernel = np.zeros((8, 8, 3, 2), np.float32)
    kernel[:, :, 0, 0] = kernel[:, :, 2, 1] = 1 / 64
    model.get_layer("colours").set_weights([kernel])
    weights = np.float32([[-1], [1]]) if logits == 1 else np.eye(2, dtype=np.float32)
    model.get_layer("logits").set_weights([weights])
    return model


@pytest.mark.parametrize("logits", [1, 2])
def test_it_looks_at_the_region_that_decides(logits):
    photos = np.zeros((2, 64, 64, 3), np.uint8)
    photos[:, 8:16, 24:32, 0] = 200  # red in one place
    photos[:, 40:48, 0:8, 2] = 200  # blue in another
    heat = grad_cam(corner_network(logits), photos, np.array([0, 1]))
    assert heat.shape == (2, 8, 8)
    for one, place in zip(heat, ((1, 3), (5, 0)), strict=True):
        expected = np.zeros((8, 8))
        expected[place] = 1
        assert one == pytest.approx(expected, abs=1e-6)


def test_where_nothing_speaks_for_it_there_is_no_heat():
    photos = np.zeros((1, 64, 64, 3), np.uint8)
    photos[..., 2] = 9
    assert not grad_cam(corner_network(1), photos, np.array([0])).any()


def test_a_whole_classifier_nested_backbone_and_all(small):
    """A head that listens to one channel: the heat is that channel's map."""
    head = training.build_head(small.channels, 2, 0.0, 0)
    photos = np.random.default_rng(0).integers(0, 256, (3, small.size, small.size, 3), np.uint8)
    maps = small.model(photos / np.float32(127.5) - 1, training=False).numpy()
    channel = int(np.argmax(maps.max(axis=(0, 1, 2))))
    kernel = np.zeros((small.channels, 1), np.float32)
    kernel[channel] = 1
    head.get_layer("logits").set_weights([kernel, np.zeros(1, np.float32)])
    heat = grad_cam(classifier.assemble(small, head), photos, np.ones(3, int))
    own = maps[..., channel]
    assert heat == pytest.approx(own / own.max(axis=(1, 2), keepdims=True), abs=1e-4)


def test_a_model_without_a_map():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    with pytest.raises(UserError, match="no feature map") as raised:
        grad_cam(model, np.zeros((1, 8, 8, 3), np.uint8), np.array([0]))
    assert one_sentence(raised.value)


# --- Neighbours and the plane ---


def clusters(count=20, seed=0):
    """Three clusters of `count` features each, far from each other, and their numbers."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 10, (3, 30))
    numbers = np.repeat(np.arange(3), count)
    return centres[numbers] + rng.normal(0, 0.5, (3 * count, 30)), numbers


def test_neighbours_are_of_ones_own_cluster():
    features, numbers = clusters()
    order, near = neighbours.neighbours(features[::5], features, 5)
    assert (order[:, 0] == np.arange(0, 60, 5)).all(), "itself is the nearest"
    assert near[:, 0] == pytest.approx(np.ones(12))
    assert (np.diff(near, axis=1) <= 0).all()
    assert (numbers[order] == numbers[::5, None]).all()
    assert neighbours.neighbours(features[:2], features[:3], 5)[0].shape == (2, 3)


@given(st.integers(0, 99), st.floats(0.01, 100))
def test_similarity_is_of_directions(seed, scale):
    some = np.random.default_rng(seed).normal(size=(4, 6))
    near = neighbours.similarity(some, scale * some)
    assert np.diag(near) == pytest.approx(np.ones(4))
    assert near == pytest.approx(near.T)
    assert np.abs(near).max() <= 1 + 1e-9


def test_clusters_stay_apart_on_the_plane():
    features, numbers = clusters()
    points, share = neighbours.plane(features)
    assert points.shape == (60, 2)
    assert share > 0.9
    middles = np.stack([points[numbers == k].mean(axis=0) for k in range(3)])
    spread = max(np.linalg.norm(points[numbers == k] - middles[k], axis=1).max() for k in range(3))
    apart = min(np.linalg.norm(middles[i] - middles[i - 1]) for i in range(3))
    assert apart > 5 * spread
    again, _ = neighbours.plane(features + 7)
    assert again == pytest.approx(points), "where the features lie does not count"


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 99))
def test_the_plane_is_that_of_the_singular_values(count, channels, seed):
    features = np.random.default_rng(seed).normal(size=(count, channels))
    points, share = neighbours.plane(features)
    u, lengths, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    assert np.abs(points) == pytest.approx(np.abs(u[:, :2] * lengths[:2]), abs=1e-6)
    assert share == pytest.approx((lengths[:2] ** 2).sum() / (lengths**2).sum())
    assert (points[np.abs(points).argmax(axis=0), [0, 1]] >= 0).all()


@pytest.mark.parametrize("features", [np.ones((4, 3)), np.ones((1, 3)), np.arange(5.0)[:, None]])
def test_a_plane_of_too_little(features):
    points, share = neighbours.plane(features)
    assert points.shape == (len(features), 2)
    assert np.isfinite(points).all()
    assert 0 <= share <= 1 + 1e-9


# --- Trust ---


def answers(count, too_sure=1.0, seed=0):
    """Logits of a network that knows how sure to be, times too_sure, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 1))
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits[:, 0]))).astype(np.int64)
    return logits * too_sure, labels


def test_a_calibrated_network_is_as_often_right_as_it_is_sure():
    logits, labels = answers(100_000)
    found = calibration.reliability(metrics.probabilities(logits), labels)
    some = found.counts > 0
    assert found.counts.sum() == 100_000
    assert not some[:5].any(), "of two classes, the likelier has at least a half"
    assert found.sure[some] == pytest.approx(found.right[some], abs=0.02)
    assert found.error < 0.01
    doubled = metrics.probabilities(answers(100_000, too_sure=3)[0])
    assert calibration.reliability(doubled, labels).error > 0.05


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 2.0, 5.0])
def test_the_temperature_takes_back_what_was_too_sure(too_sure):
    logits, labels = answers(50_000, too_sure)
    found = calibration.temperature(logits, labels)
    assert found == pytest.approx(too_sure, rel=0.06)
    before, after = (metrics.probabilities(z) for z in (logits, logits / found))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all(), "no answer changes"
    losses = [metrics.cross_entropy(p, labels).mean() for p in (before, after)]
    assert losses[1] <= losses[0]


def test_nothing_to_go_by_leaves_the_temperature_alone():
    assert calibration.temperature(np.zeros((4, 1)), np.array([0, 1, 0, 1])) == pytest.approx(1)


def test_a_few_photos_that_all_are_right_move_the_temperature_little():
    """Their cross-entropy alone would be least at the lowest temperature there is."""
    logits = np.array([[-3.0], [2.5], [-4.0], [3.0]])
    few, labels = calibration.temperature(logits, np.array([0, 1, 0, 1])), np.array([0, 1] * 200)
    assert 0.5 < few < 1
    many = calibration.temperature(np.tile(logits, (100, 1)), labels)
    assert 0.05 < many < few, "the more are right, the surer it may be"


@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=30))
def test_precision_and_recall_are_those_of_counting(rows):
    p = np.array([value / 10 for value, _ in rows])
    positive = np.array([one for _, one in rows])
    if not positive.any():
        with pytest.raises(UserError, match="positive") as raised:
            calibration.thresholds(p, positive)
        assert one_sentence(raised.value)
        return
    found = calibration.thresholds(p, positive)
    assert list(found.thresholds) == sorted(set(p), reverse=True)
    for threshold, precision, recall in zip(*found, strict=True):
        called = p >= threshold
        assert precision == pytest.approx(positive[called].mean())
        assert recall == pytest.approx((positive & called).sum() / positive.sum())
    assert math.isclose(found.recall[-1], 1)


def test_the_threshold_is_the_most_precise_that_finds_enough():
    p = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.1])
    positive = np.array([1, 1, 0, 1, 0, 1, 0, 0], bool)
    for recall, threshold in ((0.5, 0.85), (0.51, 0.65), (0.75, 0.65), (0.76, 0.35), (1, 0.35)):
        found = calibration.choose_threshold(p, positive, recall)
        assert found == pytest.approx(threshold)
    apart = np.array([0.9, 0.8, 0.2])
    half = calibration.choose_threshold(apart, apart > 0.5, 0.5)
    assert half == pytest.approx(0.5), "finding all costs nothing here"
    assert calibration.choose_threshold(np.zeros(2), np.ones(2, bool), 1) == 0
    close = np.array([np.nextafter(0.5, 1), 0.5])
    assert calibration.choose_threshold(close, np.array([True, False]), 1) == close[0]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    st.floats(0.01, 1),
)
def test_the_wanted_recall_is_always_reached(rows, recall):
    p, positive = np.array([one for one, _ in rows]), np.array([one for _, one in rows])
    if positive.any():
        called = p >= calibration.choose_threshold(p, positive, recall)
        assert (positive & called).sum() >= recall * positive.sum() - 1e-9
        found = calibration.thresholds(p, positive)
        enough = found.recall >= recall
        assert positive[called].mean() == pytest.approx(found.precision[enough].max())


@pytest.mark.parametrize(
    ("recall", "positive"), [(0, True), (1.01, True), (math.nan, True), (0.9, False)]
)
def test_a_threshold_that_cannot_be(recall, positive):
    with pytest.raises(UserError) as raised:
        calibration.choose_threshold(np.array([0.5]), np.array([positive]), recall)
    assert one_sentence(raised.value)
