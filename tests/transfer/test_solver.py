"""The solved head: it is the best there is, obeys the laws of its objective, and fits in."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenet import UserError
from mobilenet.inference import classifier
from mobilenet.photos import splits
from mobilenet.system.engine import keras, tf
from mobilenet.transfer import features, metrics, solver, training
from tests.helpers.drawn import draw, one_sentence

SIZES = [(2, 40, 12), (2, 25, 60), (5, 60, 12), (5, 40, 70)]  # classes, photos, channels

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15)  # each is a solution or more


def some_photos(classes, count, channels, seed=0, views=1, apart=1.0):
    """Views (V, N, channels) and labels (N,) of classes `apart` in each feature's middle."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    middle = apart * rng.normal(size=(classes, channels))
    photos = middle[labels] + rng.normal(size=(count, channels))
    changed = rng.normal(0, 0.3, (views, count, channels))
    changed[0] = 0
    return 3 + photos + changed, labels


def predicted(kernel, bias, rows):
    return metrics.probabilities(rows @ kernel + bias)


def gradient(kernel, bias, rows, labels, l2):
    """Of the sum of cross-entropies and l2 / 2 · Σ kernel²: by kernel and by bias, where
    each logit speaks for a class.
    """
    p = metrics.probabilities(rows @ kernel + bias)
    off = (p - np.eye(p.shape[1])[labels])[:, -kernel.shape[1] :]
    return rows.T @ off + l2 * kernel, off.sum(axis=0)


def loss(kernel, bias, rows, labels, l2):
    p = predicted(kernel, bias, rows)
    return metrics.cross_entropy(p, labels).sum() + l2 / 2 * (kernel**2).sum()


# --- It is the best there is ---


@pytest.mark.parametrize(("classes", "count", "channels"), SIZES)
@pytest.mark.parametrize("l2", [1e-3, 1.0, 1e3])
def test_no_slope_is_left(classes, count, channels, l2):
    views, labels = some_photos(classes, count, channels)
    kernel, bias = solver.solve(views[0], labels, classes, l2)
    logits = 1 if classes == 2 else classes
    assert (kernel.shape, bias.shape) == ((channels, logits), (logits,))
    assert kernel.dtype == bias.dtype == np.float64
    by_kernel, by_bias = gradient(kernel, bias, views[0], labels, l2)
    start, _ = gradient(0 * kernel, 0 * bias, views[0], labels, l2)
    assert np.linalg.norm(by_kernel) < 1e-7 * np.linalg.norm(start)
    assert np.abs(by_bias).max() < 1e-7 * count


@few
@given(data=st.data(), seed=seeds)
def test_whatever_is_changed_is_worse(data, seed):
    classes, count, channels = data.draw(st.sampled_from(SIZES))
    views, labels = some_photos(classes, count, channels, seed)
    kernel, bias = solver.solve(views[0], labels, classes, 0.5)
    best = loss(kernel, bias, views[0], labels, 0.5)
    rng = np.random.default_rng(seed)
    for size in (1e-2, 1.0):
        other = kernel + rng.normal(0, size, kernel.shape), bias + rng.normal(0, size, bias.shape)
        assert loss(*other, views[0], labels, 0.5) > best


@pytest.mark.parametrize("classes", [2, 5])
def test_gradient_descent_comes_to_the_same_place(classes):
    """Keras's own loss and penalty, its own gradients, many steps of plain descent."""
    views, labels = some_photos(classes, 60, 8)
    l2, rows = 2.0, views[0] - views[0].mean(axis=(0, 1))
    head = training.build_head(8, classes, dropout=0.0, seed=0)
    dense, inputs = head.get_layer("logits"), tf.constant(rows.astype(np.float32))

    @tf.function
    def descend(rate):
        with tf.GradientTape() as tape:
            logits = head(inputs)
            if classes == 2:
                targets = labels.astype(np.float32)[:, None]
                entropy = keras.losses.binary_crossentropy(targets, logits, from_logits=True)
            else:
                entropy = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
            penalty = keras.regularizers.L2(l2 / 2)(dense.kernel)
            total = tf.reduce_sum(entropy) + penalty
        for weight, slope in zip(dense.weights, tape.gradient(total, dense.weights), strict=True):
            weight.assign_sub(rate * slope)

    for _ in range(1500):
        descend(tf.constant(0.01))
    kernel, bias = solver.solve(rows, labels, classes, l2)
    by_descent = metrics.probabilities(training.predict_logits(head, rows))
    assert by_descent == pytest.approx(predicted(kernel, bias, rows), abs=2e-5)
    assert dense.kernel.numpy() == pytest.approx(kernel, abs=2e-5)


@few
@given(seed=seeds, l2=st.floats(0.01, 100))
def test_one_logit_is_two_at_twice_the_l2(seed, l2):
    """Two logits share the kernel, half of it each, with opposite signs: half the Σ kernel²."""
    views, labels = some_photos(2, 30, 10, seed)
    kernel, bias = solver.solve(views[0], labels, 2, l2)
    two = np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2
    by_kernel, by_bias = gradient(*two, views[0], labels, 2 * l2)
    assert np.abs(by_kernel).max() < 1e-5
    assert np.abs(by_bias).max() < 1e-5


@pytest.mark.parametrize("classes", [2, 3])
def test_what_the_features_do_not_tell_the_bias_knows(classes):
    """Features without a difference: the shares of the classes are all there is to say."""
    labels = np.repeat(np.arange(classes), [5, 15, 20][:classes])
    kernel, bias = solver.solve(np.ones((len(labels), 4)), labels, classes, 1.0)
    assert kernel == pytest.approx(np.zeros_like(kernel), abs=1e-9)
    share = np.bincount(labels) / len(labels)
    assert metrics.probabilities(bias[None])[0] == pytest.approx(share, abs=1e-8)


# --- Laws ---


@few
@given(data=st.data(), seed=seeds)
def test_the_order_of_photos_and_views_is_nothing(data, seed):
    classes, count, channels = data.draw(st.sampled_from(SIZES))
    views, labels = some_photos(classes, count, channels, seed, views=2)
    order = np.random.default_rng(seed).permutation(count)
    kernel, bias = solver.solve(views, labels, classes, 0.3)
    again, other = solver.solve(views[::-1, order], labels[order], classes, 0.3)
    assert again == pytest.approx(kernel, abs=1e-5)
    assert other == pytest.approx(bias, abs=1e-5)


@few
@given(data=st.data(), seed=seeds, times=st.integers(2, 3), l2=st.floats(0.01, 100))
def test_each_photo_twice_is_half_the_l2(data, seed, times, l2):
    classes, count, channels = data.draw(st.sampled_from(SIZES))
    views, labels = some_photos(classes, count, channels, seed)
    kernel, _ = solver.solve(views[0], labels, classes, l2)
    often = np.tile(views[0], (times, 1)), np.tile(labels, times)
    assert solver.solve(*often, classes, times * l2)[0] == pytest.approx(kernel, abs=1e-5)
    # The same rows as views of the same photos change nothing: a photo counts once.
    same = np.tile(views, (times, 1, 1))
    assert solver.solve(same, labels, classes, l2)[0] == pytest.approx(kernel, abs=1e-5)


@few
@given(data=st.data(), seed=seeds)
def test_turned_and_shifted_features_say_the_same(data, seed):
    classes, count, channels = data.draw(st.sampled_from(SIZES))
    views, labels = some_photos(classes, count, channels, seed)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(channels, channels)))
    p = predicted(*solver.solve(views[0], labels, classes, 0.3), views[0])
    turned = views[0] @ turn + rng.normal(0, 5, channels)
    assert predicted(*solver.solve(turned, labels, classes, 0.3), turned) == pytest.approx(p, 1e-4)


@few
@given(data=st.data(), seed=seeds)
def test_classes_may_be_named_in_another_order(data, seed):
    classes, count, channels = data.draw(st.sampled_from(SIZES))
    views, labels = some_photos(classes, count, channels, seed)
    other = np.random.default_rng(seed).permutation(classes)
    p = predicted(*solver.solve(views[0], labels, classes, 0.3), views[0])
    renamed = predicted(*solver.solve(views[0], other[labels], classes, 0.3), views[0])
    assert renamed[:, other] == pytest.approx(p, abs=1e-6)


@few
@given(data=st.data(), seed=seeds)
def test_a_stronger_penalty_makes_a_smaller_kernel(data, seed):
    classes, count, channels = data.draw(st.sampled_from(SIZES))
    views, labels = some_photos(classes, count, channels, seed)
    kernels = [solver.solve(views[0], labels, classes, s)[0] for s in (0.01, 1, 100, 1e4)]
    sizes = [np.linalg.norm(kernel) for kernel in kernels]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("l2", [1e-8, 1e-3])
def test_separable_classes_stay_finite(classes, l2):
    views, labels = some_photos(classes, 40, 60, apart=20.0)
    kernel, bias = solver.solve(views[0], labels, classes, l2)
    assert np.isfinite(kernel).all() and np.isfinite(bias).all()
    p = predicted(kernel, bias, views[0])
    assert (p.argmax(axis=1) == labels).all()
    # The softer of two answers that get all right: p is no 0 or 1 yet.
    assert 1 - p[np.arange(40), labels].max() > 0


def test_half_precision_is_taken_as_it_is():
    views, labels = some_photos(2, 40, 60)
    half = views.astype(np.float16)
    found = solver.solve(half, labels, 2, 1.0)
    assert (found[0] == solver.solve(half.astype(np.float64), labels, 2, 1.0)[0]).all()


# --- Bad input ---


@pytest.mark.parametrize("classes", [2, 3])
def test_step_by_step_is_the_same_head(monkeypatch, classes):
    views, labels = some_photos(classes, 40, 20)
    expected = solver.solve(views, labels, classes, 1.0)
    monkeypatch.setattr(solver, "LARGE", 0)
    for found, whole in zip(solver.solve(views, labels, classes, 1.0), expected, strict=True):
        assert np.allclose(found, whole, atol=1e-8)
    monkeypatch.setattr(solver, "NEWTON_STEPS", 2)
    with pytest.raises(UserError, match="does not settle") as error:
        solver.solve(views, labels, classes, 1.0)
    assert one_sentence(error.value)


@pytest.mark.parametrize("l2", [0, -1.0, math.nan, math.inf])
def test_an_l2_that_is_none(l2):
    views, labels = some_photos(2, 20, 5)
    with pytest.raises(UserError, match="use a number above 0") as raised:
        solver.solve(views, labels, 2, l2)
    assert one_sentence(raised.value)


CALLS = [
    lambda *photos: solver.solve(*photos, 1.0),
    lambda *photos: solver.choose_l2(*photos, seed=0),
    lambda *photos: solver.cross_validate(*photos, seed=0),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_features_that_are_no_numbers(call, bad):
    views, labels = some_photos(2, 20, 5, views=2)
    views[1, 3, 2] = bad
    with pytest.raises(UserError, match="not finite") as raised:
        call(views, labels, 2)
    assert one_sentence(raised.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("classes", "lacks"), [(2, 1), (5, 4), (5, 2)])
def test_a_class_without_a_photo(call, classes, lacks):
    views, labels = some_photos(classes, 40, 5)
    labels[labels == lacks] = 0
    with pytest.raises(UserError, match=f"Class {lacks} has no photo") as raised:
        call(views, labels, classes)
    assert one_sentence(raised.value)


def test_a_class_of_one_photo_cannot_be_held_out():
    views, _ = some_photos(2, 20, 5)
    with pytest.raises(UserError, match="A class has 1 photos") as raised:
        solver.choose_l2(views, np.repeat([0, 1], [19, 1]), 2, seed=0)
    assert one_sentence(raised.value)
    with pytest.raises(UserError, match="2 or more"):
        solver.choose_l2(views, np.arange(20) % 2, 2, count=1, seed=0)


# --- The choice of the L2 penalty ---


def held_out_by_hand(views, labels, classes, fold):
    """Mean loss of view 0 of each photo by heads solved on all views of the other folds."""
    losses = np.empty((len(solver.L2_GRID), len(labels)))
    for i, l2 in enumerate(solver.L2_GRID):
        for k in np.unique(fold):
            rest = fold != k
            head = solver.solve(views[:, rest], labels[rest], classes, l2)
            p = predicted(*head, views[0, ~rest])
            losses[i, ~rest] = metrics.cross_entropy(p, labels[~rest])
    return losses.mean(axis=1)


@pytest.mark.parametrize(("classes", "count", "channels"), [(2, 30, 50), (5, 40, 6)])
def test_no_view_of_a_photo_is_seen_before_it_judges(classes, count, channels):
    """Short cuts and warm starts change nothing against whole photos held out one fold a time."""
    views, labels = some_photos(classes, count, channels, views=3, apart=0.5)
    fold = splits.folds(labels, 4, seed=6)
    expected = held_out_by_hand(views, labels, classes, fold)
    losses = solver.held_out_losses(views, labels, classes, count=4, seed=6)
    assert losses == pytest.approx(expected, rel=1e-5)
    chosen = solver.choose_l2(views, labels, classes, count=4, seed=6)
    assert chosen == solver.L2_GRID[expected.argmin()]


def test_photos_that_share_nothing_cannot_be_foretold():
    """Each photo has a feature of its own, the same in all its views. Had a view of it been
    learnt from, the others would be known; a coin loses ln 2.
    """
    labels = np.arange(40) % 2
    own = np.tile(np.eye(40), (3, 1, 1))
    assert solver.held_out_losses(own, labels, 2, seed=0).min() > 0.99 * math.log(2)
    p = solver.cross_validate(own, labels, 2, seed=0)
    assert metrics.cross_entropy(p, labels).mean() > 0.99 * math.log(2)


def test_of_equals_the_strongest():
    """Features that say nothing make all penalties alike."""
    labels = np.arange(40) % 2
    assert (np.diff(solver.L2_GRID) < 0).all()
    chosen = solver.choose_l2(np.zeros((40, 3)), labels, 2, seed=0)
    assert chosen == solver.L2_GRID.max()


def test_noise_wants_a_stronger_penalty_than_a_clear_case():
    noise, labels = some_photos(2, 60, 40, apart=0.0)
    clear, same = some_photos(2, 60, 40, apart=3.0)
    strong, weak = (
        solver.choose_l2(views, given, 2, seed=0)
        for views, given in ((noise, labels), (clear, same))
    )
    assert strong > weak


def test_a_class_of_two_photos_has_two_folds():
    views, _ = some_photos(2, 30, 6)
    labels = np.repeat([0, 1], [28, 2])
    losses = solver.held_out_losses(views, labels, 2, seed=3)
    expected = held_out_by_hand(views, labels, 2, splits.folds(labels, 2, 3))
    assert losses == pytest.approx(expected, rel=1e-5)


# --- Cross-validation ---


@pytest.mark.parametrize("classes", [2, 3])
def test_the_judged_have_no_say_in_the_l2(classes):
    """Each fold's answers are what follows from the other folds' photos and labels alone."""
    views, labels = some_photos(classes, 45, 30, views=2, apart=0.4)
    p = solver.cross_validate(views, labels, classes, count=3, seed=2)
    assert p.shape == (45, classes) and p.dtype == np.float64
    assert p.sum(axis=1) == pytest.approx(np.ones(45))
    fold = splits.folds(labels, 3, 2)
    for k in range(3):
        rest = np.flatnonzero(fold != k)
        others = labels[rest], classes
        l2 = solver.choose_l2(views[0, rest], *others, count=3, seed=2)
        solved = solver.solve(views[:, rest], *others, l2)
        expected = predicted(*solved, views[0, fold == k])
        assert p[fold == k] == pytest.approx(expected, abs=1e-9)


def test_cross_validation_finds_what_there_is():
    views, labels = some_photos(3, 45, 30, apart=3.0)
    p = solver.cross_validate(views[0], labels, 3, seed=0)
    assert metrics.count_right(p, labels).correct == 45
    assert (solver.cross_validate(views, labels, 3, seed=0) == p).all()


# --- In place of a trained head ---


@few
@given(classes=st.sampled_from([2, 3, 5]), seed=seeds)
def test_a_solved_head_says_what_was_solved(classes, seed):
    views, labels = some_photos(classes, 40, 20, seed)
    kernel, bias = solver.solve(views, labels, classes, 1.0)
    head = solver.solved_head(kernel, bias)
    fresh = training.build_head(20, classes, 0.0, 0)
    assert head.output_shape == fresh.output_shape
    assert [layer.name for layer in head.layers] == [layer.name for layer in fresh.layers]
    logits = training.predict_logits(head, views[0])
    assert logits == pytest.approx(views[0] @ kernel + bias, abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_solved_head_is_assembled_and_tuned_like_a_trained_one(small, classes):
    photos = draw(8, classes)
    pooled = features.view_activations(small, photos.images, None, 1, 0)
    kernel, bias = solver.solve(pooled, photos.labels, classes, 0.01)
    head = solver.solved_head(kernel, bias)
    logits = training.predict_logits(head, pooled[0])
    whole = classifier.assemble(small, head)(photos.images.astype(np.float32)).numpy()
    assert np.abs(whole - logits).max() <= 2e-2 * np.abs(logits).max()  # features are float16
    top = training.build_top(small, "block_16_expand", head, dropout=0.2)
    for found, solved in zip(top.get_layer("logits").get_weights(), (kernel, bias), strict=True):
        assert (found == solved.astype(np.float32)).all()


def test_the_probability_is_not_upside_down():
    rows = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    kernel, bias = solver.solve(rows, np.array([0, 0, 0, 1, 1, 1]), 2, 0.1)
    p = predicted(kernel, bias, rows)
    assert (p[:3, 0] > 0.9).all() and (p[3:, 0] < 0.1).all()
