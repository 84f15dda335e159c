"""Frozen work: views, cuts and the activations that are remembered."""

import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet import UserError
from mobilenet.networks import cost, cuts, folding, frozen, mobilenets
from mobilenet.system import cache
from mobilenet.transfer import augmentation, features
from tests.helpers.drawn import LOW, SIZE, draw, one_sentence


@pytest.fixture(scope="module")
def photos():
    return draw(4)


# --- Views ---


def test_preprocessing_spans_minus_one_to_one():
    scaled = mobilenets.preprocess(np.array([0, 127.5, 255])).numpy()
    assert scaled.tolist() == [-1, 0, 1]
    assert scaled.dtype == np.float32
    assert mobilenets.preprocess(np.uint8([[255]])).numpy().tolist() == [[1]]


def drawn(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3))


@given(count=st.integers(1, 20), size=st.integers(1, 300), seed=st.integers(0, 1000))
def test_without_any_change_the_map_is_the_identity(count, size, seed):
    maps = augmentation.affine_maps(drawn(seed, count), size, False, 0.0, 0.0)
    assert maps.dtype == np.float32
    assert (maps == [1, 0, 0, 0, 1, 0, 0, 0]).all()


@given(size=st.integers(1, 300), seed=st.integers(0, 1000))
def test_a_flip_is_the_identity_or_the_mirror(size, seed):
    maps = augmentation.affine_maps(drawn(seed, 64), size, True, 0.0, 0.0)
    same, mirror = [1, 0, 0, 0, 1, 0, 0, 0], [-1, 0, size - 1, 0, 1, 0, 0, 0]
    kinds = (maps == same).all(axis=1), (maps == mirror).all(axis=1)
    assert (kinds[0] | kinds[1]).all()
    if size > 1:
        assert kinds[0].any()
        assert kinds[1].any()


@given(
    size=st.integers(2, 300),
    seed=st.integers(0, 1000),
    flip=st.booleans(),
    rotation=st.floats(0, 180),
    zoom=st.floats(0, 0.9),
)
def test_maps_turn_about_the_centre_within_their_limits(size, seed, flip, rotation, zoom):
    maps = augmentation.affine_maps(drawn(seed, 50), size, flip, rotation, zoom)
    a0, a1, a2, b0, b1, b2, c0, c1 = maps.astype(float).T
    centre = (size - 1) / 2
    assert a0 * centre + a1 * centre + a2 == pytest.approx(np.full(50, centre), abs=1e-3)
    assert b0 * centre + b1 * centre + b2 == pytest.approx(np.full(50, centre), abs=1e-3)
    scale = np.hypot(b0, b1)
    assert (np.abs(scale - 1) <= zoom + 1e-5).all()
    assert (np.abs(np.rad2deg(np.arctan2(b0, b1))) <= rotation + 1e-3).all()
    # Nothing is stretched: the two directions keep their angle and their scale.
    assert a0 * b0 + a1 * b1 == pytest.approx(np.zeros(50), abs=1e-4)
    assert np.hypot(a0, a1) == pytest.approx(scale, abs=1e-4)
    assert (c0 == 0).all()
    assert (c1 == 0).all()


def test_the_first_view_is_the_photo_and_more_begin_with_the_same(photos):
    change = {"flip": True, "rotation": 15.0, "zoom": 0.1}
    three = augmentation.make_views(photos.images, 3, seed=5, **change)
    five = augmentation.make_views(photos.images, 5, seed=5, **change)
    assert three.shape == (3, *photos.images.shape)
    assert three.dtype == np.uint8
    assert (three[0] == photos.images).all()
    assert (five[:3] == three).all()
    assert len({view.tobytes() for view in five}) == 5
    assert (augmentation.make_views(photos.images, 3, seed=5, **change) == three).all()
    assert (augmentation.make_views(photos.images, 3, seed=6, **change)[1:] != three[1:]).any()


def test_views_belong_to_their_photo_whatever_is_beside_it(photos):
    change = {"flip": True, "rotation": 15.0, "zoom": 0.1}
    every = augmentation.make_views(photos.images, 3, seed=5, **change)
    some = np.array([7, 2, 5])
    assert (
        augmentation.make_views(photos.images[some], 3, seed=5, **change) == every[:, some]
    ).all()
    twice = augmentation.view_maps(photos.images[[4, 4, 5]], 3, seed=5, **change)
    assert (twice[:, 0] == twice[:, 1]).all()
    assert (twice[1:, 0] != twice[1:, 2]).any()


def test_what_is_not_turned_leaves_the_rest_of_a_view_as_it_was(photos):
    some, change = photos.images[:4], {"rotation": 15.0, "zoom": 0.1}
    plain, mirrored = (augmentation.view_maps(some, 9, 5, flip, **change) for flip in (False, True))
    sides = np.sign(mirrored[..., 0] / plain[..., 0])
    assert np.allclose(mirrored[..., :2], plain[..., :2] * sides[..., None])
    assert np.allclose(mirrored[..., 3:], plain[..., 3:], atol=1e-3)
    assert set(sides[1:].ravel()) == {-1, 1}


def test_views_without_change_are_the_photo(photos):
    views = augmentation.make_views(photos.images, 3, seed=0, flip=False)
    assert (views == photos.images).all()


def test_a_flipped_view_is_the_exact_mirror(photos):
    views = augmentation.make_views(photos.images, 12, seed=0, flip=True)
    same = (views == photos.images).all(axis=(2, 3, 4))
    mirrored = (views == photos.images[:, :, ::-1]).all(axis=(2, 3, 4))
    assert (same ^ mirrored).all()
    assert mirrored[1:].any()
    assert same[1:].any()


def test_a_quarter_turn(monkeypatch, photos):
    """Turned by the angle asked for, about the centre, and nothing lost of a square."""
    size = photos.images.shape[1]
    turn = np.float32([[0, -1, size - 1, 1, 0, 0, 0, 0]])
    monkeypatch.setattr(
        augmentation,
        "affine_maps",
        lambda draws, *_: np.broadcast_to(turn, (*draws.shape[:2], 8)).copy(),
    )
    views = augmentation.make_views(photos.images, 2, seed=0)
    assert (views[1] == np.rot90(photos.images, 1, axes=(1, 2))).all()


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_views_than_one(photos, count):
    with pytest.raises(UserError, match="use 1 or more") as raised:
        augmentation.make_views(photos.images, count, seed=0)
    assert one_sentence(raised.value)


# --- Cuts ---


@pytest.fixture(scope="module")
def halves(small):
    """Below and above of every cut."""
    return {cut: cuts.split_at(small, cut) for cut in small.cuts}


def test_below_and_above_are_the_whole_at_every_cut(small, photos, halves):
    inputs = mobilenets.preprocess(photos.images[::4])
    whole = small.model(inputs, training=False).numpy()
    assert whole.std() > 0.1
    for cut, (below, above) in halves.items():
        result = above(below(inputs, training=False), training=False).numpy()
        assert np.abs(result - whole).max() <= 1e-5, cut


@pytest.mark.parametrize("cut", ["block_99_expand", "", "block_13_project", "120"])
def test_an_unknown_cut(small, cut):
    with pytest.raises(UserError, match="block_13_expand") as raised:
        cuts.split_at(small, cut)
    assert one_sentence(raised.value)
    assert repr(cut) in str(raised.value)


def test_the_table_of_cuts(small, halves):
    rows = cuts.cut_table(small)
    assert [row.cut for row in rows] == list(small.cuts)
    assert rows[-1].shape == (SIZE, SIZE, 3)
    assert rows[-1].share == pytest.approx(1)
    assert rows[-1].weights == cost.totals(cost.count(small.model)).parameters
    for higher, lower in pairwise(rows):
        assert higher.share < lower.share
        assert higher.weights < lower.weights
        below = halves[lower.cut][0]
        assert below.output_shape[1:] == lower.shape


# --- Activations ---


def test_activations_at_a_cut_and_of_the_whole(small, photos, halves):
    inputs = mobilenets.preprocess(photos.images)
    below, above = halves["block_13_expand"]
    saved = features.activations(small, photos.images, "block_13_expand")
    assert saved.dtype == np.float16
    expected = below(inputs, training=False).numpy()
    assert np.abs(saved - expected).max() <= 1e-3 * np.abs(expected).max()  # float16
    pooled = features.activations(small, photos.images, None)
    assert pooled.shape == (len(photos), small.channels)
    expected = above(expected, training=False).numpy().mean(axis=(1, 2))
    assert np.abs(pooled - expected).max() <= 1e-3 * np.abs(expected).max()


def test_batches_do_not_matter(small, photos):
    many = np.tile(photos.images, (15, 1, 1, 1))
    saved = features.activations(small, many, None)
    assert saved.shape == (120, small.channels)
    alone = features.activations(small, photos.images, None)
    assert np.abs(saved[8:16] - alone).max() <= 1e-3 * np.abs(alone).max()


@pytest.fixture
def passes(monkeypatch, tmp_path):
    """The passes through the frozen blocks, each as the cuts it was for; nothing kept at first."""
    seen, real = [], features._stream

    def counting(backbone, images, cuts, maps=None):
        if maps is not None:
            seen.append(cuts)
        return real(backbone, images, cuts, maps)

    monkeypatch.setattr(features, "_stream", counting)
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    return seen


def test_what_was_computed_is_remembered_by_its_content(small, photos, passes):
    def ask(images=photos.images, cut=LOW, count=2, seed=0, **change):
        saved = features.view_activations(small, images, cut, count, seed, **change)
        return saved, len(passes)

    first, _ = ask()
    assert first.shape[:2] == (2, len(photos))
    again, done = ask(photos.images.copy())
    assert done == 1
    assert (again == first).all()
    changed = photos.images.copy()
    changed[3, 50, 50] ^= 255
    other, done = ask(changed)
    assert done == 2
    assert (other[0, 3] != first[0, 3]).any()
    for number, question in enumerate(
        [
            {"images": photos.images[::-1]},
            {"cut": "block_1_expand"},
            {"cut": None},
            {"count": 3},
            {"seed": 1},
            {"rotation": 5.0},
            {"flip": False},
        ],
        start=3,
    ):
        assert ask(**question)[1] == number, question
        assert ask(**question)[1] == number, question


def test_views_then_activations(small, photos, passes):
    change = {"rotation": 10.0, "zoom": 0.1}
    views = augmentation.make_views(photos.images, 3, 7, **change)
    for cut in (None, "block_13_expand"):
        saved = features.view_activations(small, photos.images, cut, 3, 7, **change)
        for view, kept in zip(views, saved, strict=True):
            assert (kept == features.activations(small, view, cut)).all()


def test_one_pass_for_two_questions(small, photos, passes):
    def ask(cut, also=()):
        return features.view_activations(small, photos.images, cut, 2, 0, also=also)

    pooled = ask(None, also=("block_13_expand",))
    assert passes == [(None, "block_13_expand")]
    at_cut = ask("block_13_expand", also=(None,))
    assert len(passes) == 1
    ask("Conv_1", also=(None,))
    assert passes[1:] == [("Conv_1",)], "what is there is not computed again"
    assert np.allclose(pooled[0], features.activations(small, photos.images, None), atol=1e-3)
    assert (at_cut[0] == features.activations(small, photos.images, "block_13_expand")).all()


@pytest.mark.parametrize("also", [(), ("block_99_expand",)])
def test_activations_at_an_unknown_cut(small, photos, passes, also):
    with pytest.raises(UserError, match="block_13_expand"):
        features.view_activations(small, photos.images, None if also else "120", 1, 0, also=also)
    assert passes == []


def test_another_backbone_is_not_taken_for_this_one(small, photos, passes):
    from mobilenet.networks import backbone

    first = features.view_activations(small, photos.images, LOW, 1, 0)
    other = backbone.load(alpha=small.alpha, size=small.size, weights="random")
    second = features.view_activations(other, photos.images, LOW, 1, 0)
    assert len(passes) == 2
    assert (first != second).any()


@pytest.mark.parametrize("damage", [b"", b"no numbers", None])
def test_a_damaged_file_is_made_anew(small, photos, passes, tmp_path, damage):
    first = np.array(features.view_activations(small, photos.images, None, 1, 0))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    assert (features.view_activations(small, photos.images, None, 1, 0) == first).all()
    assert len(passes) == 2


def test_an_interrupted_pass_leaves_nothing(small, photos, passes, tmp_path, monkeypatch):
    def broken(*arguments):
        yield [np.zeros((1, 3), np.float16)]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(features, "_stream", broken)
        with pytest.raises(KeyboardInterrupt):
            features.view_activations(small, photos.images, None, 1, 0)
    assert list(tmp_path.iterdir()) == []
    features.view_activations(small, photos.images, None, 1, 0)


def test_room_is_bounded_and_what_is_kept_cannot_be_spoilt(small, photos, passes, monkeypatch):
    """With room for two results the one not asked for longest goes: it costs a pass again."""

    def ask(i):
        saved = features.view_activations(small, photos.images[i : i + 1], None, 1, 0)
        file = max(cache.FOLDER.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        asked.append(file)
        for age, path in enumerate(dict.fromkeys(reversed(asked))):  # clocks may be coarse
            if path.exists():
                os.utime(path, (1e9 - age, 1e9 - age))
        return saved

    asked = []
    room = ask(0).nbytes + 300
    monkeypatch.setattr(cache, "LIMIT", 2 * room)
    ask(1), ask(0)
    assert len(passes) == 2
    ask(2), ask(0)  # 1 goes
    assert len(passes) == 3
    saved = ask(1)
    assert len(passes) == 4
    with pytest.raises(ValueError, match="read-only"):
        saved[0] = 0


# --- Folding ---


def test_folded_networks_give_the_same_outputs(small, photos):
    """In float64 but for the last digits; in float32 it is no further off than unfolded."""
    from mobilenet.system.engine import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        options = {"alpha": small.alpha, "include_top": False, "weights": None}
        exact = keras.applications.MobileNetV2((SIZE, SIZE, 3), **options)
        exact.set_weights(small.model.get_weights())
        folded = folding.fold(exact)
    finally:
        keras.config.set_dtype_policy(policy)
    inputs = mobilenets.preprocess(photos.images).numpy()
    truth = exact(inputs.astype(np.float64), training=False).numpy()
    assert truth.std() > 0.1
    result = folded(inputs.astype(np.float64), training=False).numpy()
    assert result.dtype == np.float64
    assert np.abs(result - truth).max() < 1e-10
    rounding = np.abs(small.model(inputs, training=False) - truth).max()
    in_single = folding.fold(small.model)(inputs, training=False)
    assert np.abs(in_single - truth).max() < 2 * rounding
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert kinds.count("Identity") == 52
    assert "BatchNormalization" not in kinds


def test_folding_v1_a_nested_network_and_a_norm_without_a_convolution(photos):
    from mobilenet.networks import mobilenets
    from mobilenet.system.engine import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inner = mobilenets.mobilenet_v1(SIZE, 0.25, 5)
    photo = keras.Input((SIZE, SIZE, 3))
    x = layers.BatchNormalization(name="first")(photo)
    x = layers.Conv2D(3, 1, activation="relu", name="active")(x)
    x = layers.BatchNormalization(name="after_relu")(x)
    x = layers.Conv2D(3, 1, name="with_bias")(x)
    x = layers.BatchNormalization(name="last")(x)
    model = keras.Model(photo, inner(x))
    rng = np.random.default_rng(0)
    for weight in model.weights:  # variances, too, so above 0
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) * rng.choice([0.3, 0.5], weight.shape))
    inputs = photos.images[:2] / np.float32(127.5) - 1
    expected = model(inputs, training=False).numpy()
    folded = folding.fold(model)
    assert np.allclose(folded(inputs, training=False), expected, rtol=1e-4)
    kept = {one.name for one in folded.layers if isinstance(one, layers.BatchNormalization)}
    assert kept == {"first", "after_relu"}
    inside = folded.get_layer(inner.name).layers
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in inside)


def test_asking_again_writes_no_file(small, photos, monkeypatch):
    seen, real = [], frozen.frozen_file
    monkeypatch.setattr(frozen, "frozen_file", lambda *of: seen.append(of) or real(*of))
    features._frozen_pass.cache_clear()
    for count in (8, 8, 3):
        features.activations(small, photos.images[:count], None)
    assert len(seen) == 1


def test_the_backbone_stays_as_it_is(small, photos):
    before = small.model.get_weights()
    features.activations(small, photos.images, "block_13_expand")
    for old, new in zip(before, small.model.get_weights(), strict=True):
        assert (old == new).all()


@pytest.mark.parametrize("odd", [{"rotation": -1}, {"zoom": 1}, {"zoom": -0.1}])
def test_impossible_changes_are_refused(photos, odd):
    with pytest.raises(UserError) as raised:
        augmentation.make_views(photos.images, 2, 0, **odd)
    assert one_sentence(raised.value)
