"""How a network learns from scratch: views of the photos, loss, optimizer, rate.

Much of it is from Jordan 2024, *94 % on CIFAR-10 in 3.29 Seconds on a Single GPU*, arXiv
2404.00498. docs/from-scratch.md shows what each step is worth.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenet.networks import mobilenets
from mobilenet.photos.photos import Photos
from mobilenet.scratch.plan import SMALL
from mobilenet.system.engine import keras, tf
from mobilenet.system.progress import ahead

BATCH = 64
DROPOUT = 0.1
SIDE = 0.6  # share of a photo's side that a closer crop has at the least


class Recipe(NamedTuple):
    """What the ablation takes back step by step. rate: the highest; at 0.2 CIFAR-10 is learned
    faster, but a hundred photos not at all; decay: of the weights, which in Keras does not pass
    through the momentum, so 5e-3 here is 5e-4 where it does (Keras 3.15.1); warm_up: the share of
    the steps in which the rate rises; bias: BatchNorm's biases learn so many times as fast (section
    3.4 of the paper takes 64); smoothing: of the labels; shift: by up to size / shift pixels either
    way; alternating: an epoch mirrors the photos that the one before did not (section 3.6).
    """

    optimizer: str = "sgd"
    rate: float = 0.05
    decay: float = 5e-3
    warm_up: float = 0.2
    bias: float = 8
    smoothing: float = 0.2
    shift: int = 16
    alternating: bool = True


RECIPE = Recipe()


def mirrored(count: int, seed: int, epoch: int, alternating: bool = True) -> np.ndarray:
    """Which of so many photos are mirrored in an epoch: bool (count,), half of them by chance; if
    alternating, in the next epoch the others, so that two epochs show both views of each photo.
    """
    if not alternating:
        return np.random.default_rng((seed, epoch, 1)).random(count) < 0.5
    return (np.random.default_rng((seed, 0, 1)).random(count) < 0.5) ^ bool(epoch % 2)


def augment(
    photos: np.ndarray, mirror: np.ndarray, pad: int, rng: np.random.Generator
) -> np.ndarray:
    """Photos, uint8 (B, S, S, 3), those in mirror (B,) mirrored, all shifted by up to pad pixels,
    edges mirrored outwards; from SMALL pixels on, a square of them is cut out and scaled back.
    """
    size = photos.shape[1]
    wide = np.pad(photos, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    out = np.empty_like(photos)
    tops, lefts = rng.integers(0, 2 * pad + 1, (2, len(photos)))
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        crop = wide[i, top : top + size, left : left + size]
        if size >= SMALL:
            side = size * rng.uniform(SIDE, 1)
            x, y = rng.uniform(0, size - side, 2)
            image = Image.fromarray(crop)
            box = (x, y, x + side, y + side)
            crop = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
        out[i] = crop[:, ::-1] if mirror[i] else crop
    return out


def batches(
    photos: Photos, seed: int, epoch: int, recipe: Recipe = RECIPE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An epoch's photos and labels, augmented, in shuffled order, whole batches only; made by a
    thread while earlier ones are learned.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(photos))
    mirror = mirrored(len(photos), seed, epoch, recipe.alternating)
    pad = photos.images.shape[1] // recipe.shift

    def make(i: int) -> tuple[np.ndarray, np.ndarray]:
        index = order[i * BATCH : (i + 1) * BATCH]
        return augment(photos.images[index], mirror[index], pad, rng), photos.labels[index]

    return ahead(make, ((i,) for i in range(steps(photos))))


def steps(photos: Photos) -> int:
    """How many steps an epoch has."""
    return max(1, len(photos) // BATCH)


def rate(done: float, recipe: Recipe = RECIPE) -> float:
    """The learning rate when this share of all steps is done: a triangle, up and then down to 0."""
    return recipe.rate * min(done / recipe.warm_up, (1 - done) / (1 - recipe.warm_up))


def optimizer(network: Any, recipe: Recipe = RECIPE) -> Any:
    """SGD with Nesterov's momentum, or AdamW, built for a network; only kernels decay."""
    if recipe.optimizer == "sgd":
        made = keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=recipe.decay)
    else:
        made = keras.optimizers.AdamW(weight_decay=recipe.decay)
    made.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    made.build(network.trainable_variables)
    return made


def compile_step(network: Any, optimizer: Any, recipe: Recipe = RECIPE) -> tuple[Any, Any]:
    """Two compiled functions: (photos, labels) → (sum of losses, count right) of a training step,
    and photos → logits.
    """
    one, classes = network.output_shape[-1] == 1, network.output_shape[-1]
    photos = tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)
    variables, smoothing = network.trainable_variables, recipe.smoothing
    times = [recipe.bias if variable.name == "beta" else 1 for variable in variables]

    @tf.function(input_signature=[photos, tf.TensorSpec((None,), tf.int64)])
    def step(batch, labels):
        with tf.GradientTape() as tape:
            logits = network(mobilenets.preprocess(batch), training=True)
            if one:
                positive = (labels == 1)[:, None]
                targets = tf.cast(positive, tf.float32) * (1 - smoothing) + smoothing / 2
                losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
                right = (logits > 0) == positive
            else:
                targets = tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
                losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
                right = tf.argmax(logits, axis=1) == labels
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        # To SGD, a gradient taken so many times is a rate so many times as high.
        optimizer.apply([n * g for n, g in zip(times, gradients, strict=True)], variables)
        return tf.reduce_sum(losses), tf.math.count_nonzero(right)

    @tf.function(input_signature=[photos])
    def forward(batch):
        return network(mobilenets.preprocess(batch), training=False)

    # Traced here: who trains again and again in one process is not warned of tracing too often.
    return step.get_concrete_function(), forward.get_concrete_function()
