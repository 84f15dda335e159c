"""Head, top blocks and best epoch: what training promises, kept bit for bit."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mobilenet import UserError
from mobilenet.networks import backbone
from mobilenet.system.engine import keras, tf
from mobilenet.transfer import features, metrics, training
from mobilenet.transfer.metrics import History, probabilities
from mobilenet.transfer.training import fit, predict_logits
from tests.helpers.drawn import LOW, draw, one_sentence

CUT = "block_16_expand"


def equal(some, others):
    return all((a == b).all() for a, b in zip(some, others, strict=True))


# --- The head ---


@pytest.fixture(scope="module")
def photos():
    return draw(24)


@pytest.fixture(scope="module")
def saved(small, photos):
    """A function of a cut to the activations there of two views, all of one pass."""
    cuts = LOW, CUT, "block_13_expand", "Conv_1", None
    features.view_activations(small, photos.images, CUT, 2, 0, cuts)
    return lambda cut: features.view_activations(small, photos.images, cut, 2, 0)


@pytest.fixture(scope="module")
def pooled(saved):
    """Features low in the network, as conftest.py has them."""
    return saved(LOW).mean(axis=(2, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def at_cut(saved):
    return saved(CUT)


def trained_head(pooled, photos, seed=0, epochs=8, learning_rate=0.2, val=True):
    """A head trained on every other photo, validated on the rest."""
    head = training.build_head(pooled.shape[-1], 2, dropout=0.2, seed=seed)
    some = pooled[:, ::2], photos.labels[::2]
    rest = (pooled[0, 1::2], photos.labels[1::2]) if val else (None, None)
    return head, fit(head, *some, *rest, epochs=epochs, learning_rate=learning_rate, seed=seed)


def test_a_head_is_one_logit_for_two_classes():
    assert training.build_head(1280, 2, 0.2, 0).count_params() == 1281
    assert training.build_head(1280, 2, 0.2, 0).output_shape == (None, 1)
    assert training.build_head(1280, 5, 0.2, 0).output_shape == (None, 5)


def test_a_fresh_head_is_what_its_seed_says():
    heads = [training.build_head(50, 2, 0.2, seed).get_weights() for seed in (3, 3, 4)]
    assert equal(heads[0], heads[1])
    assert not equal(heads[0], heads[2])


@pytest.mark.parametrize("turned", [False, True])
def test_bright_is_told_from_dark(pooled, photos, turned):
    """All 24 held-out photos, whichever class is the first; the probability is not upside down."""
    if turned:
        photos = replace(photos, labels=1 - photos.labels)
    head, history = trained_head(pooled, photos)
    assert history.best > 0
    assert history.val_loss[history.best] < history.val_loss[0]
    values = predict_logits(head, pooled[0, 1::2])
    assert values.dtype == np.float32
    assert ((values[:, 0] > 0) == (photos.labels[1::2] == 1)).all()
    p = probabilities(values)
    assert (p.argmax(axis=1) == photos.labels[1::2]).all()
    assert history.val_accuracy[history.best] == 1


def test_the_same_seed_gives_the_same_weights_bit_for_bit(pooled, photos):
    first, second, other = (trained_head(pooled, photos, seed)[0] for seed in (0, 0, 1))
    assert equal(first.get_weights(), second.get_weights())
    assert not equal(first.get_weights(), other.get_weights())


def test_only_the_seed_rules_whatever_was_trained_before(pooled, photos):
    """Order, views and dropout each follow the seed; the optimizer starts afresh."""
    expected, _ = trained_head(pooled, photos, seed=5)
    trained_head(pooled, photos, seed=9, learning_rate=0.5, epochs=2)
    keras.utils.set_random_seed(123)
    again, _ = trained_head(pooled, photos, seed=5)
    assert equal(again.get_weights(), expected.get_weights())


def test_the_seed_of_fit_counts_too(pooled, photos):
    weights = []
    for seed in (0, 1):
        head = training.build_head(pooled.shape[-1], 2, dropout=0.2, seed=0)
        fit(head, pooled, photos.labels, epochs=1, learning_rate=1e-3, seed=seed)
        weights.append(head.get_weights())
    assert not equal(*weights)


def test_the_weights_are_those_of_the_best_epoch(pooled, photos):
    head, history = trained_head(pooled, photos, learning_rate=20.0, epochs=12)
    lengths = {len(history.loss), len(history.accuracy)}
    assert lengths | {len(history.val_loss), len(history.val_accuracy)} == {13}
    p = probabilities(predict_logits(head, pooled[0, 1::2]))
    loss = metrics.cross_entropy(p, photos.labels[1::2]).mean()
    assert loss == min(history.val_loss) == history.val_loss[history.best]
    assert math.isnan(history.loss[0])
    assert history.seconds > 0


@pytest.mark.parametrize("learning_rate", [1e4, 1e30])
def test_the_start_is_kept_where_training_makes_it_worse(pooled, learning_rate):
    """No label follows from these photos, so a huge rate can only do harm, up to NaN."""
    labels = np.arange(pooled.shape[1]) % 2
    head = training.build_head(pooled.shape[-1], 2, dropout=0.0, seed=0)
    head.get_layer("logits").set_weights([np.zeros((pooled.shape[-1], 1)), np.zeros(1)])
    before = head.get_weights()
    history = fit(
        head, pooled, labels, pooled[0], 1 - labels, epochs=2, learning_rate=learning_rate, seed=0
    )
    assert history.best == 0
    assert equal(head.get_weights(), before)


@pytest.mark.parametrize("learning_rate", [-1e-3, math.nan, math.inf])
def test_a_rate_that_is_none(pooled, photos, learning_rate):
    with pytest.raises(UserError, match="learning rate cannot be") as raised:
        trained_head(pooled, photos, learning_rate=learning_rate)
    assert one_sentence(raised.value)


def test_without_validation_the_last_epoch_is_kept(pooled, photos):
    head, history = trained_head(pooled, photos, val=False, epochs=3)
    assert (history.best, history.val_loss) == (3, [])
    again, longer = trained_head(pooled, photos, val=False, epochs=4)
    assert longer.best == 4
    assert not equal(head.get_weights(), again.get_weights())


def test_no_epochs_change_nothing(pooled, photos):
    head, history = trained_head(pooled, photos, epochs=0)
    fresh = training.build_head(pooled.shape[-1], 2, dropout=0.2, seed=0)
    assert equal(head.get_weights(), fresh.get_weights())
    assert (history.best, len(history.val_loss)) == (0, 1)


@pytest.mark.parametrize("classes", [2, 3])
def test_weights_of_classes_are_those_of_keras(classes):
    """One epoch in the same order, without dropout: the loss and the head of Keras's own fit."""
    rng, weights = np.random.default_rng(0), dict(enumerate((0.25, 4.0, 1.5)[:classes]))
    labels, inputs = np.arange(80) % classes, rng.normal(size=(80, 6)).astype(np.float32)
    heads = [training.build_head(6, classes, dropout=0.0, seed=0) for _ in range(3)]
    plain, ours, alike = heads
    how = {"epochs": 1, "learning_rate": 0.1, "seed": 0}
    history = fit(ours, inputs[None], labels, **how, class_weight=weights)
    kinds = keras.losses.BinaryCrossentropy, keras.losses.SparseCategoricalCrossentropy
    plain.compile(keras.optimizers.Adam(0.1), kinds[classes > 2](from_logits=True))
    order = np.random.default_rng(0).permutation(len(labels))
    told = plain.fit(inputs[order], labels[order], 32, 1, 0, shuffle=False, class_weight=weights)
    assert history.loss[1] == pytest.approx(told.history["loss"][0], rel=1e-5)
    for own, of_keras in zip(ours.get_weights(), plain.get_weights(), strict=True):
        assert own == pytest.approx(of_keras, abs=1e-4)
    fit(alike, inputs[None], labels, **how)
    assert not equal(alike.get_weights(), ours.get_weights())


def test_weights_of_one_change_not_a_bit(pooled, photos):
    some = pooled, photos.labels, pooled[0], photos.labels
    heads = [training.build_head(pooled.shape[-1], 2, dropout=0.2, seed=0) for _ in range(2)]
    how = {"epochs": 3, "learning_rate": 0.1, "seed": 0}
    histories = [
        fit(head, *some, **how, class_weight=weights)
        for head, weights in zip(heads, (None, {0: 1.0, 1: 1.0}), strict=True)
    ]
    assert equal(heads[0].get_weights(), heads[1].get_weights())
    assert histories[0].val_loss == histories[1].val_loss


def test_balanced_weights_make_classes_count_alike():
    labels = np.repeat([0, 1, 3], [100, 5, 20])
    weights = training.class_weights(labels, 4, "balanced")
    assert weights == {0: 125 / 400, 1: 125 / 20, 3: 125 / 80}
    assert training.class_weights(labels, 4, None) is None
    with pytest.raises(UserError) as raised:
        training.class_weights(labels, 4, "equal")
    assert one_sentence(raised.value)


def test_each_view_takes_part(pooled, photos):
    """Half of the epochs' photos come from the second view, so its content matters."""
    other = pooled.copy()
    other[1] += 1
    heads = [trained_head(views, photos, val=False)[0].get_weights() for views in (pooled, other)]
    assert not equal(*heads)


@pytest.mark.parametrize(("chunk", "calls"), [(1, 5), (70_000, 3)])
def test_inputs_go_over_in_whole_batches(small, at_cut, photos, monkeypatch, chunk, calls):
    """One batch a chunk or several: neither the weights nor the figures know, nor who predicts."""
    some = np.resize(at_cut, (2, 150, *at_cut.shape[2:]))
    labels = np.resize(photos.labels, 150)

    def tuned():
        top = training.build_top(small, CUT, training.build_head(small.channels, 2, 0.2, seed=0))
        options = {"epochs": 2, "learning_rate": 1e-3, "seed": 0}
        history = fit(top, some, labels, some[0], labels, **options)
        figures = [history.loss[1:], history.accuracy[1:], history.val_loss, history.val_accuracy]
        return [*top.get_weights(), *map(np.array, figures), predict_logits(top, some[0])]

    assert some[0].nbytes < training.CHUNK
    whole = tuned()
    monkeypatch.setattr(training, "CHUNK", chunk)
    assert len(training._chunks(150, some[0, 0])) == calls
    assert equal(whole, tuned())


@pytest.mark.parametrize("kept", [np.float16, np.float64])
def test_inputs_of_any_kind_are_taken_as_float32(pooled, photos, kept):
    """Photos and validation photos need not be of one kind."""
    views = pooled.astype(np.float16).astype(np.float32)
    expected, history = trained_head(views, photos)
    head = training.build_head(pooled.shape[-1], 2, dropout=0.2, seed=0)
    some = views[:, ::2].astype(kept), photos.labels[::2], views[0, 1::2], photos.labels[1::2]
    found = fit(head, *some, epochs=8, learning_rate=0.2, seed=0)
    assert equal(head.get_weights(), expected.get_weights())
    assert found.val_loss == history.val_loss
    logits = predict_logits(head, views[0].astype(kept))
    assert (logits == predict_logits(head, views[0])).all()


@pytest.fixture
def traces(monkeypatch):
    """The names of the project's functions, each time that TensorFlow traces one of them."""
    seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(tf, name)

        def function(self, function, *arguments, **options):
            def traced(*inputs):
                seen.append(function.__name__)
                return function(*inputs)

            return tf.function(traced, *arguments, **options)

    monkeypatch.setattr(training, "tf", Watched())
    return seen


def test_training_again_traces_nothing(pooled, photos, traces):
    def train_and_predict(first, seed, epochs):
        some = draw(24).subset(np.arange(first, 48))
        head, _ = trained_head(pooled[:, first:], some, seed=seed, epochs=epochs)
        predict_logits(head, pooled[0, :3])

    training._compile.cache_clear()
    train_and_predict(first=0, seed=0, epochs=3)
    assert sorted(traces) == ["forward", "train"]
    train_and_predict(first=0, seed=0, epochs=3)
    train_and_predict(first=5, seed=8, epochs=2)
    assert sorted(traces) == ["forward", "train"]


def test_a_model_that_was_compiled_before_is_not_changed_by_the_next(pooled, photos):
    """Heads share compiled functions, not weights."""
    first, _ = trained_head(pooled, photos, seed=0)
    before = first.get_weights(), predict_logits(first, pooled[0])
    trained_head(pooled, photos, seed=1)
    assert equal(first.get_weights(), before[0])
    assert (predict_logits(first, pooled[0]) == before[1]).all()


def test_three_classes(small):
    three = draw(20, classes=3)
    saved = features.activations(small, three.images, LOW).mean(axis=(1, 2), dtype=np.float32)
    head = training.build_head(saved.shape[1], 3, dropout=0.1, seed=0)
    train, val = np.arange(0, 60, 2), np.arange(1, 60, 2)
    history = fit(
        head,
        saved[None, train],
        three.labels[train],
        saved[val],
        three.labels[val],
        epochs=20,
        learning_rate=0.2,
        seed=0,
    )
    p = probabilities(predict_logits(head, saved[val]))
    assert p.shape == (30, 3)
    assert (p.argmax(axis=1) == three.labels[val]).all()
    assert history.val_accuracy[history.best] == 1
    assert math.log(3) > history.val_loss[history.best]


# --- The top blocks ---


def tune(small, at_cut, photos, seed=0, learning_rate=1e-3, epochs=2):
    """The blocks above the cut, fine-tuned; and the network they were before."""
    head = training.build_head(small.channels, 2, dropout=0.2, seed=0)
    top = training.build_top(small, CUT, head)
    before = {layer.name: layer.get_weights() for layer in top.layers}
    history = fit(
        top,
        at_cut[:, ::2],
        photos.labels[::2],
        at_cut[0, 1::2],
        photos.labels[1::2],
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
    )
    return top, before, history


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def test_trainable_weights_of_the_default_cut():
    """1,663,360 in the blocks without BatchNorm, 1,281 in the head."""
    full = backbone.load(alpha=1.0, size=224, weights="random")
    head = training.build_head(full.channels, 2, dropout=0.2, seed=0)
    top = training.build_top(full, "block_13_expand", head)
    assert trainable(top) == 1_663_360 + 1_281
    assert trainable(head) == 1_281
    assert top.count_params() - 1_281 - 1_663_360 == 2 * 17_984  # BatchNorm: γ, β, mean, variance


def test_the_top_starts_as_the_backbone_and_the_head(small, saved):
    head = training.build_head(small.channels, 2, dropout=0.2, seed=0)
    whole = predict_logits(head, saved(None)[0])
    for cut in (CUT, "block_13_expand", "Conv_1"):
        top = training.build_top(small, cut, head)
        found = predict_logits(top, saved(cut)[0])
        assert np.abs(found - whole).max() <= 1e-2 * np.abs(whole).max(), cut  # float16 twice


def test_tuning_moves_convolutions_and_leaves_batchnorm_bit_equal(small, photos, at_cut):
    base = small.model.get_weights()
    top, before, history = tune(small, at_cut, photos)
    assert history.best > 0
    kinds = {"moved": 0, "kept": 0}
    for layer in top.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert equal(layer.get_weights(), before[layer.name]), layer.name
            kinds["kept"] += 1
        elif layer.weights:
            assert not equal(layer.get_weights()[:1], before[layer.name][:1]), layer.name
            kinds["moved"] += 1
    assert kinds == {"moved": 3 + 1 + 1, "kept": 3 + 1}  # block 16, the last convolution, the head
    assert equal(small.model.get_weights(), base)
    assert small.model.trainable_weights == []


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        (training.StoredStatistics, [True, True, False, False]),
        (keras.layers.BatchNormalization, [True, True, True, True]),
    ],
)
def test_batchnorm_that_is_trained_moves_what_its_kind_says(small, photos, at_cut, kind, moves):
    """γ and β; of Keras's own layer the mean and the variance, too."""
    head = training.build_head(small.channels, 2, 0.2, 0)
    top = training.build_top(small, CUT, head)
    model = training.with_batchnorm(top, kind)
    assert np.array_equal(predict_logits(model, at_cut[0]), predict_logits(top, at_cut[0]))
    fit(model, at_cut, photos.labels, epochs=1, learning_rate=1e-3, seed=0)
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    for norm in norms:
        pairs = zip(norm.get_weights(), top.get_layer(norm.name).get_weights(), strict=True)
        assert [not np.array_equal(*pair) for pair in pairs] == moves
    assert norms


def test_tuning_again_gives_the_same_bits(small, photos, at_cut):
    first, second, other = (tune(small, at_cut, photos, seed)[0] for seed in (0, 0, 1))
    assert equal(first.get_weights(), second.get_weights())
    assert not equal(first.get_weights(), other.get_weights())


def test_tuning_again_traces_nothing(small, photos, at_cut, traces):
    training._compile.cache_clear()
    tune(small, at_cut, photos, epochs=1)
    assert sorted(traces) == ["forward", "train"]
    tune(small, at_cut, photos, epochs=1)
    tune(small, at_cut, photos, seed=3, learning_rate=2e-3, epochs=1)
    assert sorted(traces) == ["forward", "train"]


def test_a_top_leaves_the_head_it_was_made_from(small, photos, at_cut):
    head = training.build_head(small.channels, 2, dropout=0.2, seed=0)
    before = head.get_weights()
    top = training.build_top(small, CUT, head)
    fit(top, at_cut, photos.labels, epochs=1, learning_rate=1e-2, seed=0)
    assert equal(head.get_weights(), before)
    assert not equal(top.get_layer("logits").get_weights(), before)


def test_a_top_at_an_unknown_cut(small):
    with pytest.raises(UserError, match="take one of") as raised:
        training.build_top(small, "block_13", training.build_head(small.channels, 2, 0.2, 0))
    assert one_sentence(raised.value)


def test_a_history_starts_empty_each_time():
    History().loss.append(1.0)
    assert History().loss == []


def test_folding_heeds_dilation_and_several_kernels_a_channel():
    """Whatever convolution BatchNorm follows, logits are those of the network as it is called."""
    keras.utils.set_random_seed(0)
    rng, layers = np.random.default_rng(0), keras.layers
    x = photo = keras.Input((12, 12, 3))
    for convolution in (
        layers.Conv2D(8, 3, dilation_rate=2, padding="same", use_bias=False),
        layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, use_bias=False),
    ):
        norm = layers.BatchNormalization(trainable=False)
        x = norm(convolution(x))
        norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    model = keras.Model(photo, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    some = rng.normal(size=(5, 12, 12, 3)).astype(np.float32)
    assert training.predict_logits(model, some) == pytest.approx(model(some).numpy(), abs=1e-5)
