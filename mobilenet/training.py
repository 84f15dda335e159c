"""The head, the top blocks, the best epoch, cross-validation, and how sure a count makes us.

With two classes the network ends in one logit, and a positive logit speaks for class_names[0]:
sigmoid(logit) = P(class_names[0]). With more, it ends in one logit a class. Labels are positions
in class_names, so with two classes the target of the logit is 1 for label 0: said here, once.
"""

import math
import re
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from mobilenet.backbone import Backbone
from mobilenet.engine import keras, tf
from mobilenet.features import split_at
from mobilenet.progress import progress

BATCH = 32


@dataclass
class History:
    """What happened at each epoch; entry 0 is the network before training (no training loss yet).

    loss: mean cross-entropy in nats. accuracy: share in [0, 1]. best: the epoch whose weights the
    network has now, the one with the lowest loss on the validation photos.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    best: int = 0
    seconds: float = 0.0


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits (N, 1) or (N, K) to probabilities of the classes, float64 (N, 2) or (N, K)."""
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Loss of each photo in nats, (N,): −ln of the probability (N, K) of its label (N,)."""
    return -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-15))


def wilson_interval(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Interval for a share, from a count of successes (Wilson 1927); z = 1.96 gives 95 %.

    Returns (low, high), both in [0, 1]. Raises ValueError unless 0 <= correct <= total and
    total > 0.
    """
    if not 0 <= correct <= total or total <= 0:
        raise ValueError(f"{correct} of {total} is no share")
    share, spread = correct / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def build_head(features: int, classes: int, dropout: float, seed: int) -> Any:
    """A fresh head: pooled features (B, features) → logits, (B, 1) for two classes or (B, K).

    dropout: share of the features put to zero while training, in [0, 1).
    """
    return keras.Sequential(
        [
            keras.Input((features,), name="features"),
            keras.layers.Dropout(dropout, seed=seed, name="dropout"),
            keras.layers.Dense(
                1 if classes == 2 else classes,
                kernel_initializer=keras.initializers.GlorotUniform(seed),
                name="logits",
            ),
        ],
        name="head",
    )


def build_top(backbone: Backbone, cut: str, head: Any) -> Any:
    """A fresh network from activations at the cut to logits: the backbone's blocks above the cut,
    copied, then pooling, then a copy of the head. All of it trains but BatchNorm, which keeps the
    statistics, γ and β of its pretraining: some hundred photos are too few to estimate them anew.
    """
    _, above = split_at(backbone, cut)
    inputs = keras.Input(above.input_shape[1:], name="activations")
    blocks, last = keras.models.clone_model(above, inputs), keras.models.clone_model(head)
    blocks.set_weights(above.get_weights())
    last.set_weights(head.get_weights())
    for layer in blocks.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(blocks.output)
    for layer in last.layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name="top")


@dataclass
class _Compiled:
    """A private copy of a network with the two functions that TensorFlow compiled for it."""

    network: Any
    optimizer: Any
    step: Any
    forward: Any


@cache  # so that a cell that is run again, or a fold, traces nothing anew
def _compile(architecture: str) -> _Compiled:
    network = keras.models.model_from_json(architecture)
    optimizer = keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    one_logit = network.output_shape[-1] == 1
    inputs = tf.TensorSpec((None, *network.input_shape[1:]))

    @tf.function(input_signature=[inputs, tf.TensorSpec((None,), tf.int64)])
    def step(batch, labels):
        with tf.GradientTape() as tape:
            logits = network(batch, training=True)
            if one_logit:
                targets = tf.cast(labels == 0, tf.float32)[:, None]
                losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
                right = (logits > 0) == (targets > 0)  # above 0 means yes, not above 0.5
            else:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                right = tf.argmax(logits, axis=1) == labels
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return tf.reduce_sum(losses), tf.math.count_nonzero(right)

    @tf.function(input_signature=[inputs])
    def forward(batch):
        return network(batch, training=False)

    return _Compiled(network, optimizer, step, forward)


def _compiled(model: Any) -> _Compiled:
    """The compiled copy of a model's architecture, holding this model's weights."""
    architecture = re.sub(r'"seed": \d+', '"seed": 0', model.to_json())
    compiled = _compile(architecture)
    compiled.network.set_weights(model.get_weights())
    return compiled


def predict_logits(model: Any, inputs: np.ndarray) -> np.ndarray:
    """Logits of saved features or activations (N, ...), in batches: float32 (N, 1) or (N, K)."""
    return _predict(_compiled(model), inputs)


def _predict(compiled: _Compiled, inputs: np.ndarray) -> np.ndarray:
    starts = range(0, len(inputs), BATCH)
    batches = [inputs[i : i + BATCH].astype(np.float32) for i in starts]
    return np.concatenate([compiled.forward(batch) for batch in batches])


def fit(
    model: Any,
    views: np.ndarray,
    labels: np.ndarray,
    val_inputs: np.ndarray | None = None,
    val_labels: np.ndarray | None = None,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
) -> History:
    """Train a model with Adam, in place, and leave it with the weights of its best epoch.

    views: (V, N, ...), the saved inputs of V views of N photos; epoch e trains on view e mod V, in
    an order shuffled by the seed, which also rules dropout. labels: int64 (N,). val_inputs:
    (M, ...), val_labels: (M,); without them the last epoch is kept. The learning rate falls to
    zero along half a cosine. Training figures are taken while the weights move and with dropout
    on, so they lag behind the validation figures.
    """
    start = time.perf_counter()
    compiled = _compiled(model)
    network, optimizer = compiled.network, compiled.optimizer
    for variable in optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([seed, 0])
    rng = np.random.default_rng(seed)
    history = History(loss=[math.nan], accuracy=[math.nan])
    best_weights = None

    def validate() -> bool:
        """Append the validation figures; whether this epoch is the best so far."""
        p = probabilities(_predict(compiled, val_inputs))
        history.val_loss.append(float(cross_entropy(p, val_labels).mean()))
        history.val_accuracy.append(float((p.argmax(axis=1) == val_labels).mean()))
        return history.val_loss[-1] <= min(history.val_loss)

    if val_inputs is not None and validate():
        best_weights = network.get_weights()
    for epoch in progress(range(1, epochs + 1), epochs, "Epochs"):
        view = views[(epoch - 1) % len(views)]
        order = rng.permutation(len(labels))
        optimizer.learning_rate.assign(learning_rate * _cosine((epoch - 1) / epochs))
        loss = right = 0.0
        for i in range(0, len(order), BATCH):
            batch = order[i : i + BATCH]
            sums = compiled.step(view[batch].astype(np.float32), labels[batch])
            loss, right = loss + float(sums[0]), right + int(sums[1])
        history.loss.append(loss / len(order))
        history.accuracy.append(right / len(order))
        if val_inputs is None or validate():
            history.best, best_weights = epoch, network.get_weights()
    if best_weights is not None:
        model.set_weights(best_weights)
    history.seconds = time.perf_counter() - start
    return history


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2
