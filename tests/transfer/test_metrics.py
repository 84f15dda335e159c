"""Probabilities, losses, intervals and the sign test, by their laws and by published figures."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet.photos import splits
from mobilenet.transfer import metrics
from mobilenet.transfer.metrics import probabilities
from tests.helpers.drawn import draw

# --- Probabilities and losses ---

logits = st.floats(-1e4, 1e4, width=32)


@given(st.lists(logits, min_size=1, max_size=20))
def test_one_logit_is_of_label_1_as_keras_has_it(values):
    p = probabilities(np.array(values)[:, None])
    assert p.shape == (len(values), 2)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(values)))
    for value, (other, positive) in zip(values, p, strict=True):
        assert (positive >= other) == (value >= 0) or abs(value) < 1e-15
        if abs(value) < 30:
            assert positive == pytest.approx(1 / (1 + math.exp(-value)), rel=1e-9)


@given(st.lists(st.lists(logits, min_size=3, max_size=3), min_size=1, max_size=20))
def test_several_logits_are_a_softmax(rows):
    p = probabilities(np.array(rows))
    assert p.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    assert ((p >= 0) & (p <= 1)).all()
    assert (p[np.arange(len(rows)), np.argmax(rows, axis=1)] == p.max(axis=1)).all()


def test_cross_entropy():
    p = np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    loss = metrics.cross_entropy(p, np.array([0, 1, 1]))
    assert loss[:2] == pytest.approx([math.log(2), -math.log(0.1)])
    assert np.isfinite(loss).all()


# --- How sure a count makes us ---


@given(data=st.data(), total=st.integers(1, 10_000))
def test_the_interval_contains_the_share(data, total):
    correct = data.draw(st.integers(0, total))
    low, high = metrics.wilson_interval(correct, total)
    assert 0 <= low <= correct / total <= high <= 1
    assert low < high
    # Right and wrong are alike.
    assert metrics.wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low))


@given(data=st.data(), total=st.integers(1, 1000), times=st.integers(2, 10))
def test_more_photos_narrow_the_interval(data, total, times):
    correct = data.draw(st.integers(0, total))
    low, high = metrics.wilson_interval(correct, total)
    lower, higher = metrics.wilson_interval(times * correct, times * total)
    assert higher - lower < high - low
    wide = metrics.wilson_interval(correct, total, z=2.58)
    assert wide[0] <= low <= high <= wide[1]


@pytest.mark.parametrize(
    ("correct", "total", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, table I, method 3
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (64, 65, (0.918, 0.997)),
    ],
)
def test_published_intervals(correct, total, interval):
    digits = len(str(interval[1])) - 2
    found = metrics.wilson_interval(correct, total, z=1.959964)
    assert tuple(round(share, digits) for share in found) == interval


@pytest.mark.parametrize(("correct", "total"), [(-1, 5), (6, 5), (0, 0), (0, -1)])
def test_counts_that_are_no_share(correct, total):
    with pytest.raises(ValueError, match="no share"):
        metrics.wilson_interval(correct, total)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (0, 5, 0.0625), (5, 0, 0.0625), (2, 10, 0.03857421875), (3, 3, 1)],
)
def test_the_sign_test(gained, lost, p):
    assert metrics.sign_test(gained, lost) == p


@given(gained=st.integers(0, 400), lost=st.integers(0, 400))
def test_the_sign_test_is_a_probability_alike_both_ways(gained, lost):
    p = metrics.sign_test(gained, lost)
    assert 0 <= p <= 1
    assert p == metrics.sign_test(lost, gained)


def test_results_in_words():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    result = metrics.count_right(p, np.array([0, 1, 1, 1]))
    assert (result.correct, result.total) == (3, 4)
    low, high = result.interval
    assert (
        str(result) == f"3 of 4 right (75.0 %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    )
    entry = result.entry("head_")
    assert (entry["head_correct"], entry["head_total"]) == (3, 4)
    assert entry["interval"] == [round(low, 4), round(high, 4)]


# --- By class ---


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_the_same_answer_for_all_has_one_in_k_of_balanced_accuracy(classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), rng.integers(1, 50, classes)))
    p = np.tile(np.eye(classes)[rng.integers(classes)], (len(labels), 1))
    assert metrics.balanced_accuracy(p, labels) == pytest.approx(1 / classes)
    assert metrics.balanced_accuracy(np.eye(classes)[labels], labels) == 1


def test_a_rare_class_that_is_not_found_is_told():
    photos = draw(1, classes=2)
    some = photos.subset(np.repeat([0, 1], [20, 1]))
    names = [photos.class_names[label] for label in photos.labels]
    p = np.tile(np.eye(2)[some.labels[0]], (21, 1))
    told = metrics.by_class(p, some)
    assert str(metrics.count_right(p, some.labels)).startswith("20 of 21 right (95.2 %")
    assert f"20 of 20 {names[0]}" in told
    assert f"0 of 1 {names[1]}" in told
    assert told.endswith("50.0 %")


def test_of_many_classes_those_least_found_are_named():
    some = draw(2, classes=8)
    p = np.eye(8)[some.labels]
    p[some.labels == 5] = np.eye(8)[0]
    told = metrics.by_class(p, some)
    assert told.startswith(f"right by class: 0 of 2 {some.class_names[5]}, 2 of 2 ")
    assert "and 2 classes with no lower share" in told


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
def test_unbalanced_classes_are_told_from_four_to_one_on(counts):
    names = [f"class {k}" for k in range(len(counts))]
    said = splits.imbalance(names, counts)
    assert bool(said) == (max(counts) >= 4 * min(counts))
    if said:
        assert f"{max(counts)} class" in said
        assert f"{min(counts)} class" in said
        assert f"{100 * max(counts) / sum(counts):.1f} %" in said


def test_numbers_as_names_do_not_run_into_counts():
    photos = SimpleNamespace(labels=np.array([0, 1, 1]), class_names=("1", "10"))
    told = metrics.by_class(np.eye(2)[[0, 0, 1]], photos)
    assert told.startswith("right by class: 1: 1 of 1, 10: 1 of 2;")
