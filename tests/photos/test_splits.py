"""The split: disjoint, complete, stratified, the same for the same files and seed, and saved."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet import UserError
from mobilenet.photos import splits
from mobilenet.photos.folders import SPLITS
from mobilenet.photos.photos import Photos
from tests.helpers.drawn import one_sentence


def named(counts):
    """Photos without pictures: this many of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    files = tuple(f"{label}/{i}.jpg" for i, label in enumerate(labels))
    names = tuple(str(k) for k in range(len(counts)))
    return Photos(files, np.zeros((len(labels), 1, 1, 3), np.uint8), labels, names)


class_counts = st.lists(st.integers(5, 60), min_size=2, max_size=4)
seeds = st.integers(0, 2**32 - 1)


def as_files(some, parts):
    return {part: {some.files[i] for i in index} for part, index in parts.items()}


@given(counts=class_counts, seed=seeds)
def test_the_parts_are_disjoint_complete_and_stratified(counts, seed):
    some = named(counts)
    parts = splits.split(some, seed)
    assert tuple(parts) == SPLITS
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(some)))
    for (part, index), share in zip(parts.items(), splits.SHARES, strict=True):
        assert index.dtype == np.int64
        assert (np.diff(index) > 0).all()
        have = np.bincount(some.labels[index], minlength=len(counts))
        assert (have >= 1).all()
        assert (
            np.abs(have - share * np.array(counts)) <= (1.01 if part == "train" else 0.81)
        ).all()


@given(
    counts=class_counts,
    weights=st.tuples(*[st.floats(0.01, 1)] * 3),
)
def test_any_shares_leave_a_photo_of_each_class_in_each_part(counts, weights):
    some = named(counts)
    shares = tuple(weight / sum(weights) for weight in weights)
    parts = splits.split(some, 0, shares)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(some)))
    for index in parts.values():
        assert set(some.labels[index]) == set(range(len(counts)))


@given(counts=class_counts, seed=seeds, shuffle=seeds)
def test_the_seed_and_the_files_alone_decide(counts, seed, shuffle):
    some = named(counts)
    expected = as_files(some, splits.split(some, seed))
    assert as_files(some, splits.split(some, seed)) == expected
    moved = some.subset(np.random.default_rng(shuffle).permutation(len(some)))
    assert as_files(moved, splits.split(moved, seed)) == expected
    turned = replace(some, class_names=some.class_names[::-1], labels=len(counts) - 1 - some.labels)
    assert as_files(turned, splits.split(turned, seed)) == expected


def test_another_seed_gives_another_split():
    some = named([50, 50])
    found = {tuple(splits.split(some, seed)["test"]) for seed in range(20)}
    assert len(found) == 20


def test_too_few_photos_for_a_split():
    with pytest.raises(UserError, match="Class '1' has 4 photos") as raised:
        splits.split(named([9, 4]), 0)
    assert one_sentence(raised.value)


@pytest.mark.parametrize(
    "shares", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (1, 0, 0), (float("nan"),) * 3]
)
def test_shares_that_are_none(shares):
    with pytest.raises(UserError, match="sum to 1") as raised:
        splits.split(named([9, 9]), 0, shares)
    assert one_sentence(raised.value)
