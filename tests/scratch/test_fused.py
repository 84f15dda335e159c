"""Fused BatchNorm is Keras's, and trains the same network."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenet.networks import mobilenets
from mobilenet.scratch.fused import FusedBatchNorm
from mobilenet.system.engine import keras, tf
from mobilenet.transfer import training


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), *[st.integers(1, 4)] * 3),
    momentum=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_keras_s(shape, momentum, seed):
    rng = np.random.default_rng(seed)
    photos = rng.normal(1, 2, shape).astype(np.float32)
    weights = rng.uniform(0.5, 2, (4, shape[-1])).astype(np.float32)
    weight = rng.normal(0, 1, shape).astype(np.float32)
    found = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNorm):
        norm = kind(momentum=momentum)
        norm.build(shape)
        norm.set_weights(list(weights))
        x = tf.constant(photos)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x, training=True)
            loss = tf.reduce_sum(y * weight)
        gradients = tape.gradient(loss, [x, norm.gamma.value, norm.beta.value])
        in_use = norm(x, training=False)
        norm.trainable = False
        frozen = norm(x, training=True)
        found.append([y, in_use, frozen, *gradients, *norm.get_weights()])
    for plain, one in zip(*found, strict=True):
        assert np.asarray(one) == pytest.approx(np.asarray(plain), rel=1e-3, abs=1e-3)


def test_a_network_and_its_fused_copy_train_alike(monkeypatch):
    """Of few blocks: in many, the rounding of the last digit grows from layer to layer."""
    monkeypatch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:3])
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    plain = mobilenets.mobilenet_v1(32, 0.25, classes=3, dropout=0)
    copy = training.with_batchnorm(plain, FusedBatchNorm)
    assert sum(isinstance(layer, FusedBatchNorm) for layer in copy.layers) == 7
    assert [v.path for v in copy.variables] == [v.path for v in plain.variables]
    photos, labels = rng.uniform(-1, 1, (16, 32, 32, 3)), rng.integers(0, 3, 16)
    losses = []
    for network in (plain, copy):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.SGD(1e-2), loss)
        happened = network.fit(photos, labels, 16, epochs=3, shuffle=False, verbose=0)
        losses.append(happened.history["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    for one, other in zip(copy.get_weights(), plain.get_weights(), strict=True):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3)
