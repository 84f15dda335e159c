"""The head, the top blocks, and the best epoch.

Labels are positions in class_names, as Keras has them. With two classes the network ends in one
logit, and sigmoid(logit) is the probability of label 1, the positive class: what Keras's binary
cross-entropy makes of it. With more, it ends in one logit a class.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from mobilenet import BATCH, UserError
from mobilenet.networks.backbone import Backbone
from mobilenet.networks.cuts import split_at
from mobilenet.networks.folding import norms_behind
from mobilenet.system import cache
from mobilenet.system.engine import keras, tf
from mobilenet.system.progress import progress
from mobilenet.transfer.metrics import History, cross_entropy, probabilities

CHUNK = 8_000_000  # bytes of inputs for one call, copied out of a file that memory may not hold
GATHERED = 256  # inputs copied before memory is given back; the system maps 64 kB for each


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


@keras.saving.register_keras_serializable("mobilenet")
class StoredStatistics(keras.layers.BatchNormalization):
    """BatchNorm that always uses its stored mean and variance, so that γ and β alone can learn."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False)


def build_top(backbone: Backbone, cut: str, head: Any, dropout: float | None = None) -> Any:
    """A fresh network from activations at the cut to logits: the backbone's blocks above the cut,
    copied, then pooling, then a copy of the head. All of it trains but BatchNorm, which keeps the
    statistics, γ and β of its pretraining: a batch gives noisy ones, and moving averages would
    need more steps than fine-tuning takes to settle. dropout: the head's, if None.
    """
    _, above = split_at(backbone, cut)
    inputs = keras.Input(above.input_shape[1:], name="activations")
    blocks, last = keras.models.clone_model(above, inputs), keras.models.clone_model(head)
    blocks.set_weights(above.get_weights())
    last.set_weights(head.get_weights())
    for layer in blocks.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(blocks.output)
    if dropout is not None:
        last.get_layer("dropout").rate = dropout
    for layer in last.layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name="top")


def with_batchnorm(model: Any, kind: Any, inputs: Any = None) -> Any:
    """A copy of a network that trains its BatchNorm, too: layers of this kind with its weights.

    kind: keras.layers.BatchNormalization, or a class made of it, as StoredStatistics. inputs: a
    keras.Input in place of the network's own.
    """

    def renew(layer):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        config = layer.get_config()
        return (
            kind.from_config(config | {"trainable": True}) if is_norm else layer.from_config(config)
        )

    copy = keras.models.clone_model(model, inputs, clone_function=renew)
    copy.set_weights(model.get_weights())
    return copy


def trainable_count(model: Any) -> int:
    """How many numbers of a model training may change."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@dataclass
class _Compiled:
    """A private copy of a network with the two functions that TensorFlow compiled for it.

    Both take a chunk of inputs (N, ...) of the dtype and loop over its batches themselves: for a
    head, calls would take longer than arithmetic.
    """

    network: Any
    optimizer: Any
    dtype: Any
    train: Any
    forward: Any


@lru_cache(maxsize=8)  # so that a cell that is run again, or a fold, traces nothing anew
def _compile(architecture: str, dtype: Any) -> _Compiled:
    # As mobilenet.train does, or what it trained before in this process would change last bits.
    tf.config.experimental.enable_op_determinism()
    network = keras.models.model_from_json(architecture)
    optimizer = keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    one_logit = network.output_shape[-1] == 1
    learn, answer = _folding(network, training=True), _folding(network, training=False)

    def each_batch(step, inputs, *start):
        def body(i, *before):
            return i + BATCH, *step(i, tf.cast(inputs[i : i + BATCH], tf.float32), *before)

        return tf.while_loop(lambda i, *_: i < tf.shape(inputs)[0], body, (0, *start))[1:]

    def train(inputs, labels, weights):
        def step(i, batch, loss, right):
            wanted = labels[i : i + BATCH]
            with tf.GradientTape() as tape:
                logits = learn(batch)
                if one_logit:
                    targets = tf.cast(wanted, tf.float32)[:, None]
                    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
                    hits = (logits > 0) == (targets > 0)  # above 0 means yes, not above 0.5
                else:
                    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, logits)
                    hits = tf.argmax(logits, axis=1) == wanted
                losses *= tf.reshape(weights[i : i + BATCH], tf.shape(losses))
                mean = tf.reduce_mean(losses)
            gradients = tape.gradient(mean, network.trainable_variables)
            optimizer.apply(gradients, network.trainable_variables)
            loss += tf.cast(tf.reduce_sum(losses), tf.float64)
            return loss, right + tf.math.count_nonzero(hits)

        return each_batch(step, inputs, tf.constant(0, tf.float64), tf.constant(0, tf.int64))

    def forward(inputs):
        def step(i, batch, logits):
            return [logits.write(i // BATCH, answer(batch))]

        logits = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False)
        return each_batch(step, inputs, logits)[0].concat()

    inputs = tf.TensorSpec((None, *network.input_shape[1:]), dtype)
    labels, weights = tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.float32)
    return _Compiled(
        network,
        optimizer,
        dtype,
        tf.function(train, autograph=False).get_concrete_function(inputs, labels, weights),
        tf.function(forward, autograph=False).get_concrete_function(inputs),
    )


def _folding(network: Any, training: bool) -> Callable:
    """A call of the network, the same but for rounding: BatchNorm that uses stored statistics is
    folded into the convolution before it, as in `folding.fold`, but at each step. So the kernel
    still learns, and each step passes over the feature maps less often, forward and back.
    """

    def is_stored(norm):
        return not (training and norm.trainable) or isinstance(norm, StoredStatistics)

    norms = {
        name: norm
        for name, norm in norms_behind(network).items()
        if is_stored(norm) and not network.get_layer(name).use_bias
    }
    folded = {norm.name for norm in norms.values()}

    def convolve(layer, x):
        norm, depthwise = norms[layer.name], isinstance(layer, keras.layers.DepthwiseConv2D)
        scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
        kernel = layer.kernel * (tf.reshape(scale, layer.kernel.shape[2:]) if depthwise else scale)
        how = {key: getattr(layer, key) for key in ("strides", "padding", "dilation_rate")}
        result = (keras.ops.depthwise_conv if depthwise else keras.ops.conv)(x, kernel, **how)
        return tf.nn.bias_add(result, norm.beta - norm.moving_mean * scale)

    def call(batch):
        values = {id(network.input): batch}
        for layer in network.layers:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            x = keras.tree.map_structure(lambda tensor: values[id(tensor)], layer.input)
            if layer.name in norms:
                x = convolve(layer, x)
            elif layer.name not in folded:
                x = layer(x, training=training)
            values[id(layer.output)] = x
        return values[id(network.output)]

    return call if norms else partial(network, training=training)


def _compiled(model: Any, *inputs: np.ndarray | None) -> _Compiled:
    """The compiled copy of a model's architecture for such inputs, holding this model's weights."""
    architecture = re.sub(r'"seed": \d+', '"seed": 0', model.to_json())
    small = all(some is None or some.dtype == np.float16 for some in inputs)
    compiled = _compile(architecture, tf.float16 if small else tf.float32)
    compiled.network.set_weights(model.get_weights())
    return compiled


def _chunks(count: int, photo: np.ndarray) -> list[slice]:
    """Slices of `count` photos for one call each: whole batches, CHUNK bytes if that is a batch."""
    size = BATCH * max(1, CHUNK // (BATCH * photo.nbytes))
    return [slice(i, i + size) for i in range(0, count, size)]


def _gathered(views: np.ndarray, view: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """views[view, photo], a few at a time: of a mapped file each shows what lies around it, too."""
    inputs = np.empty((len(photo), *views.shape[2:]), views.dtype)
    for i in range(0, len(photo), GATHERED):
        some = slice(i, i + GATHERED)
        inputs[some] = views[view[some], photo[some]]
        cache.let_go(views)
    return inputs


def predict_logits(model: Any, inputs: np.ndarray) -> np.ndarray:
    """Logits of saved features or activations (N, ...), in batches: float32 (N, 1) or (N, K)."""
    return _predict(_compiled(model, inputs), inputs)


def _predict(compiled: _Compiled, inputs: np.ndarray) -> np.ndarray:
    chunks = (inputs[some] for some in _chunks(len(inputs), inputs[0]))
    return np.concatenate([compiled.forward(tf.constant(some, compiled.dtype)) for some in chunks])


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
    class_weight: Mapping[int, float] | None = None,
) -> History:
    """Train a model with Adam, in place, and leave it with the weights of its best epoch.

    views: (V, N, ...), the saved inputs of V views of N photos; each epoch takes one view of each
    photo, drawn at random, in shuffled order: the seed rules both, and dropout. labels: int64 (N,).
    val_inputs: (M, ...), val_labels: (M,); without them the last epoch is kept. The learning rate
    falls to zero along half a cosine. class_weight: what the loss of a photo counts by its label,
    1 without, as in Keras: it enters the training loss, and no validation figure. Training figures
    are taken while the weights move and with dropout on, so they lag behind the validation figures.
    Raises UserError if the rate is below 0, and if the loss stops being a number.
    """
    if not 0 <= learning_rate < math.inf:
        raise UserError(f"The learning rate cannot be {learning_rate}: use a number from 0 up.")
    start = time.perf_counter()
    compiled = _compiled(model, views, val_inputs)
    _reset(compiled, seed)
    rng = np.random.default_rng(seed)
    weights = np.ones(len(labels), np.float32)
    for label, weight in (class_weight or {}).items():
        weights[labels == label] = weight
    history = History(loss=[math.nan], accuracy=[math.nan])
    kept = None
    if val_inputs is not None and _validate(compiled, val_inputs, val_labels, history):
        kept = compiled.network.get_weights()
    for epoch in progress(range(1, epochs + 1), epochs, "Epochs"):
        rate = learning_rate * half_cosine((epoch - 1) / epochs)
        compiled.optimizer.learning_rate.assign(rate)
        loss, accuracy = _epoch(compiled, views, labels, weights, rng)
        if not math.isfinite(loss):
            raise UserError(f"The loss is no number any more at epoch {epoch}: lower the rate.")
        history.loss.append(loss)
        history.accuracy.append(accuracy)
        if val_inputs is None:
            history.best = epoch
        elif _validate(compiled, val_inputs, val_labels, history):
            history.best, kept = epoch, compiled.network.get_weights()
    if val_inputs is None:
        kept = compiled.network.get_weights()
    if kept is not None:
        model.set_weights(kept)
    history.seconds = time.perf_counter() - start
    return history


def _reset(compiled: _Compiled, seed: int) -> None:
    """Forget what Adam and dropout hold of an earlier training."""
    for variable in compiled.optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    for layer in compiled.network.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            layer.seed_generator.state.assign([seed, 0])


def _epoch(
    compiled: _Compiled,
    views: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Train on one view of each photo, drawn at random; the mean loss, each photo weighted, and the
    accuracy.
    """
    order = rng.permutation(len(labels))
    view = rng.integers(len(views), size=len(labels))
    loss = right = 0.0
    for chunk in _chunks(len(order), views[0, 0]):
        some = order[chunk]
        inputs = tf.constant(_gathered(views, view[some], some), compiled.dtype)
        wanted, weighted = tf.constant(labels[some], tf.int64), tf.constant(weights[some])
        sums = compiled.train(inputs, wanted, weighted)
        loss, right = loss + float(sums[0]), right + int(sums[1])
    return loss / len(order), right / len(order)


def _validate(
    compiled: _Compiled, inputs: np.ndarray, labels: np.ndarray, history: History
) -> bool:
    """Append the validation figures; whether this epoch is the best so far."""
    p = probabilities(_predict(compiled, inputs))
    history.val_loss.append(float(cross_entropy(p, labels).mean()))
    history.val_accuracy.append(float((p.argmax(axis=1) == labels).mean()))
    return history.val_loss[-1] < min(history.val_loss[:-1], default=math.inf)


def class_weights(labels: np.ndarray, classes: int, how: str | None) -> dict[int, float] | None:
    """What the loss of a photo counts by its label, for the class_weight of `fit` and Keras.

    labels: int64 (N,), of the photos that train. how: None for no weights, or "balanced": N / (K ·
    photos of the class), as in scikit-learn, so that all classes count alike and the mean weight of
    a photo is 1. Raises UserError for anything else.
    """
    if how is None:
        return None
    if how != "balanced":
        raise UserError(f'The class weights cannot be {how!r}: use None or "balanced".')
    counts = np.bincount(labels, minlength=classes)
    return {k: len(labels) / (classes * int(n)) for k, n in enumerate(counts) if n}


def half_cosine(done: float) -> float:
    """The share of the learning rate when this share of the steps is done, from 1 down to 0."""
    return (1 + math.cos(math.pi * done)) / 2
