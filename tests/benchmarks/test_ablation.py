"""The table of gains: ways that start afresh each time, judged on photos they have not seen."""

import functools

import numpy as np
import pytest

from mobilenet import UserError, gains
from mobilenet.benchmarks import ablation
from mobilenet.transfer import augmentation, features, metrics
from tests.helpers.drawn import draw, one_sentence


@pytest.fixture(scope="module")
def photos():
    return draw(15)


@pytest.fixture(scope="module")
def maps(photos):
    return augmentation.view_maps(photos.images, 2, 0, **ablation.AUGMENTATION)


@pytest.fixture(scope="module")
def views(small, photos, maps):
    rows, seconds = ablation.pooled(small, photos.images, maps)
    assert rows.shape == (2, len(photos), 2 * small.channels)
    assert seconds > 0
    return rows


def test_means_and_maxima_of_the_map(small, photos, views):
    kept = features.activations(small, photos.images, None)
    means, maxima = np.split(views, 2, axis=2)
    assert np.allclose(means[0], kept, atol=1e-2)
    assert (maxima >= means - 1e-6).all()
    assert (maxima[0] > means[0]).any()


def test_a_mirrored_view_is_the_view_mirrored():
    photos = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    maps = augmentation.view_maps(photos, 3, 0, flip=True, rotation=15, zoom=0.15)
    for view in maps:
        straight = augmentation.change(photos, view).numpy()
        mirrored = augmentation.change(photos, ablation.mirror(view, 32)).numpy()
        assert np.abs(mirrored - straight[:, :, ::-1]).max() <= 1, "but for rounding"
    assert np.allclose(ablation.mirror(ablation.mirror(maps, 32), 32), maps, atol=1e-4)


@pytest.fixture(scope="module")
def tunings(small, photos, views):
    """Of each tuning a function of how often it is asked to P(class) of every third photo by a
    network that the others trained, kept once for all tests. Few blocks are tuned.
    """
    small.check_cut(ablation.CUT)
    means = views[..., : small.channels]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "CUT", "block_16_expand")
        change = ablation.AUGMENTATION
        at_cut = features.view_activations(small, photos.images, ablation.CUT, 2, 0, **change)

        @functools.cache
        def asked(kind: str) -> list[np.ndarray]:
            answer = ablation.tuned(small, means, at_cut, photos.labels, ablation.TUNINGS[kind])
            return [answer(*thirds(photos)) for _ in range(2)]

        yield asked


def thirds(photos) -> tuple[np.ndarray, np.ndarray, int]:
    own = np.arange(len(photos)) % 3 == 0
    return np.flatnonzero(~own), np.flatnonzero(own), 0


@pytest.mark.parametrize("kind", ["trained", "solved", "asked twice", *ablation.TUNINGS])
def test_every_way_tells_dark_from_bright_and_starts_afresh(kind, small, photos, views, tunings):
    labels, means = photos.labels, views[..., : small.channels]
    rest, own, seed = thirds(photos)
    if kind in ablation.TUNINGS:
        p, again = tunings(kind)
    else:
        if kind == "trained":
            answer = ablation.trained(means, labels)
        elif kind == "solved":
            answer = ablation.solved(means, labels)
        else:
            answer = ablation.solved(means, labels, (means[0], means[1]))
        p, again = (answer(rest, own, seed) for _ in range(2))
    assert p.shape == (len(own), 2)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(own)))
    assert metrics.count_right(p, labels[own]).correct >= 8, "of ten; the backbone is untrained"
    assert (again == p).all()


@pytest.mark.parametrize("way", [ablation.trained, ablation.solved])
def test_three_classes(way):
    labels = np.arange(30) % 3
    x = np.repeat(np.eye(3, dtype=np.float32), 99, axis=1)[None, labels]
    p = way(x, labels)(np.arange(24), np.arange(24, 30), 0)
    assert (p.argmax(axis=1) == labels[24:]).all()


def test_a_tuning_at_another_rate_is_another(tunings):
    one, other = (tunings(kind)[0] for kind in ablation.TUNINGS)
    assert (one != other).any()


def test_who_judges_has_not_been_seen():
    """Right about the first photo of each fold alone, whoever trains."""
    labels = np.arange(50) % 2

    def answer(rest, own, seed):
        assert set(rest) | set(own) == set(range(50)) and not set(rest) & set(own)
        hot = np.eye(2)[1 - labels[own]]
        hot[0] = np.eye(2)[labels[own[0]]]
        return hot * 0.8 + 0.1

    row = ablation.judge(ablation.Way("one of ten", answer, seconds=100.0), labels, repeats=3)
    assert (row["correct"], row["total"], row["repeats"]) == (5, 50, [5, 5, 5])
    assert row["loss"] == pytest.approx(-0.1 * np.log(0.9) - 0.9 * np.log(0.1))
    assert 100 <= row["seconds"] < 101
    once = ablation.judge(ablation.Way("once", answer, repeats=1), labels, repeats=3)
    assert once["repeats"] == [5]
    lines = ablation.table([row, once]).splitlines()
    assert lines[2].startswith("| one of ten | 5 of 50 | ") and " 5, 5 " in lines[2]
    assert len({line.count("|") for line in lines}) == 1


def test_too_few_photos(tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no folder") as raised:
        ablation.gains(1, tmp_path / "gains.json")
    assert one_sentence(raised.value)
    assert gains.main(["--out", str(tmp_path / "gains.json")]) == 1
    with pytest.raises(SystemExit) as left:
        gains.main(["--repeats", "0"])
    assert left.value.code == 2
