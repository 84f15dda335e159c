"""How a network learns from scratch: views of the photos, loss, optimizer, rate.

Much of it is from Jordan 2024, *94 % on CIFAR-10 in 3.29 Seconds on a Single GPU*, arXiv
2404.00498. docs/from-scratch.md shows what each step is worth.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenet.networks import mobilenets
from mobilenet.photos.photos import Photos
from mobilenet.scratch.plan import SMALL, Plan, usual_stride
from mobilenet.system.engine import keras, tf
from mobilenet.system.progress import ahead

BATCH = 64
DROPOUT = 0.1
WARM_UP = 200  # steps at the least: in fewer, 0.2 breaks a network down on a hundred photos
AREA = 0.16  # share of a photo that a closer crop shows at the least
STRETCH = 4 / 3  # its width to its height at the most, and the other way round
LIGHT = 0.3  # contrast, brightness and saturation differ by up to this share either way


class Recipe(NamedTuple):
    """What the ablation takes back step by step. rate: the highest; decay: of the weights, which in
    Keras does not pass through the momentum, so 2e-3 here is 2e-4 in PyTorch (Keras 3.15.1);
    warm_up: the share of the steps in which the rate rises, WARM_UP steps at the least; bias:
    BatchNorm's biases learn so many times as fast (section 3.4 of the paper takes 64); smoothing:
    of the labels; shift: photos below SMALL pixels, by up to so many pixels; alternating: an epoch
    mirrors the photos that the one before did not (section 3.6); small: the share of the epochs,
    the first ones, that see photos of less than SMALL pixels at three quarters of their size;
    centre: depthwise kernels start so many of their standard deviations higher in the middle.
    """

    optimizer: str = "sgd"
    rate: float = 0.2
    decay: float = 2e-3
    warm_up: float = 0.2
    bias: float = 8
    smoothing: float = 0.2
    shift: int = 2
    alternating: bool = True
    small: float = 0.5
    centre: float = 2


RECIPE = Recipe()


def mirrored(count: int, seed: int, epoch: int, alternating: bool = True) -> np.ndarray:
    """Which of so many photos are mirrored in an epoch: bool (count,), half of them by chance; if
    alternating, in the next epoch the others, so that two epochs show both views of each photo.
    """
    if not alternating:
        return np.random.default_rng((seed, epoch, 1)).random(count) < 0.5
    return (np.random.default_rng((seed, 0, 1)).random(count) < 0.5) ^ bool(epoch % 2)


def shifted(photos: np.ndarray, pad: int, rng: np.random.Generator) -> np.ndarray:
    """Photos, uint8 (B, S, S, 3), each shifted by up to pad pixels either way, edges mirrored
    outwards.
    """
    size = photos.shape[1]
    wide = np.pad(photos, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    places = enumerate(rng.integers(0, 2 * pad + 1, (len(photos), 2)))
    return np.stack([wide[i, top : top + size, left : left + size] for i, (top, left) in places])


def cropped(photos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of each of the photos, uint8 (B, S, S, 3), scaled to the whole, in another light; the
    crop is that of Szegedy et al. 2015, arXiv 1409.4842, section 6.
    """
    size, out = photos.shape[1], np.empty_like(photos)
    for i, photo in enumerate(photos):
        area, stretch = rng.uniform(AREA, 1), STRETCH ** rng.uniform(-1, 1)
        wide, tall = (size * min(1, math.sqrt(area * s)) for s in (stretch, 1 / stretch))
        x, y = rng.uniform(0, size - wide), rng.uniform(0, size - tall)
        box = (x, y, x + wide, y + tall)
        image = Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR, box)
        contrast, brightness, saturation = rng.uniform(1 - LIGHT, 1 + LIGHT, 3)
        mixed = saturation * np.eye(3) + (1 - saturation) / 3
        moved = (brightness - contrast) * mixed @ np.mean(image, axis=(0, 1))
        matrix = np.column_stack([contrast * mixed, moved])
        out[i] = image.convert("RGB", tuple(matrix.ravel()))
    return out


def sizes(plan: Plan, recipe: Recipe = RECIPE) -> list[int]:
    """The side of the photos in each epoch, in pixels, a multiple of the total stride: smaller
    photos cost less, and the last epochs get the network used to the size that it will see.
    """
    stride = plan.stride or usual_stride(plan.size)
    small = 3 * plan.size // 4 // stride * stride if plan.size < SMALL else 0
    count = int(recipe.small * plan.epochs) if small else 0
    return [small] * count + [plan.size] * (plan.epochs - count)


def resized(photos: np.ndarray, size: int) -> np.ndarray:
    """Photos, uint8 (B, S, S, 3), of so many pixels a side: each is the mean of those that have
    their centres in it.
    """
    box = Image.Resampling.BOX
    return np.stack([Image.fromarray(photo).resize((size, size), box) for photo in photos])


def batches(
    photos: Photos, seed: int, epoch: int, side: int, recipe: Recipe = RECIPE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An epoch's batches in shuffled order: photos, uint8 (B, side, side, 3), and their labels,
    int64 (B,). B is BATCH, or all photos where there are fewer; a smaller last batch is left out.
    A thread makes them while earlier ones are learned. Small photos are shifted, others cropped
    closer.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(photos))
    mirror = mirrored(len(photos), seed, epoch, recipe.alternating)
    size = photos.images.shape[1]

    def make(i: int) -> tuple[np.ndarray, np.ndarray]:
        index = order[i * BATCH : (i + 1) * BATCH]
        some = photos.images[index]
        some = shifted(some, recipe.shift, rng) if size < SMALL else cropped(some, rng)
        some[mirror[index]] = some[mirror[index], :, ::-1]
        some = some if side == size else resized(some, side)
        return some, photos.labels[index]

    return ahead(make, ((i,) for i in range(steps(photos))))


def steps(photos: Photos) -> int:
    """How many steps an epoch has."""
    return max(1, len(photos) // BATCH)


def too_few(total: int, recipe: Recipe = RECIPE) -> str:
    """A sentence on a training of so many steps in which the rate never gets to its highest, or
    nothing.
    """
    needed = round(WARM_UP / recipe.warm_up)
    if total >= needed:
        return ""
    return (
        f"This training has {total:,} steps of up to {BATCH} photos, and the learning rate takes "
        f"{needed:,} to reach its highest: take {-(-needed // total)} times as many --epochs, or "
        "more photos."
    )


def rate(step: int, total: int, recipe: Recipe = RECIPE) -> float:
    """The learning rate of a step, from 0, of so many: a triangle, up and then down to 0. In fewer
    steps than `too_few` asks for it falls before it was at its highest.
    """
    rise = max(WARM_UP, recipe.warm_up * total)
    return recipe.rate * min(step / rise, (1 - step / total) / (1 - recipe.warm_up))


def raise_centres(network: Any, recipe: Recipe = RECIPE) -> None:
    """Change a new network in place so that each depthwise layer hands on more of what it sees: a
    mild form, for these layers alone, of section 3.3 of the paper, where layers start as
    identities.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = layer.kernel.numpy()
            middle = tuple(side // 2 for side in layer.kernel_size)
            kernel[middle] += recipe.centre * kernel.std()
            layer.kernel.assign(kernel)


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
    and photos → logits. The losses are cross-entropies in nats of the labels as they are, as with
    validation photos; what is learned is that of the smoothed labels.
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
                plain, answers = tf.cast(positive, tf.float32), 2
                losses = tf.nn.sigmoid_cross_entropy_with_logits
                right = (logits > 0) == positive
            else:
                plain, answers = tf.one_hot(labels, classes), classes
                losses = tf.nn.softmax_cross_entropy_with_logits
                right = tf.argmax(logits, axis=1) == labels
            smoothed = plain * (1 - smoothing) + smoothing / answers
            loss = tf.reduce_mean(losses(smoothed, logits))
        gradients = tape.gradient(loss, variables)
        # To SGD, a gradient taken so many times is a rate so many times as high.
        optimizer.apply([n * g for n, g in zip(times, gradients, strict=True)], variables)
        return tf.reduce_sum(losses(plain, logits)), tf.math.count_nonzero(right)

    @tf.function(input_signature=[photos])
    def forward(batch):
        return network(mobilenets.preprocess(batch), training=False)

    # Traced here: who trains again and again in one process is not warned of tracing too often.
    return step.get_concrete_function(), forward.get_concrete_function()
