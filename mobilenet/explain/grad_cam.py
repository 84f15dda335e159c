"""Grad-CAM: where in a photo a network looks.

Selvaraju et al. (2017), *Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based
Localization*, https://arxiv.org/abs/1610.02391.
"""

from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.system.engine import keras, tf


def grad_cam(model: Any, photos: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return how much each position of the last feature map speaks for a class (the paper's
    equations 1 and 2): float32 (N, height, width), the largest of each photo 1, the smallest 0 or
    more; all 0 if nothing speaks for the class.

    model: photos → logits, (B, 1) or (B, K), as `classifier.assemble` makes it. photos: uint8 (N,
    size, size, 3). classes: int64 (N,), the class to explain for each photo. Raises UserError if no
    layer takes a feature map.
    """
    maps = [layer.input for layer in model.layers if len(getattr(layer.input, "shape", ())) == 4]
    if len(maps) < 2:  # the first is the photo
        raise UserError("This model has no feature map to look at: take one with convolutions.")
    below, above = keras.Model(model.input, maps[-1]), keras.Model(maps[-1], model.output)
    heats = []
    for photo, label in zip(photos, classes, strict=True):
        activations = below(tf.constant(photo[None], tf.float32), training=False)
        with tf.GradientTape() as tape:
            tape.watch(activations)
            logits = above(activations, training=False)
            one_logit = logits.shape[1] == 1  # it speaks for label 1, and against label 0
            score = logits[0, 0] * (2 * label - 1) if one_logit else logits[0, label]
        weights = tf.reduce_mean(tape.gradient(score, activations), (1, 2), keepdims=True)
        heat = tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))[0].numpy()
        heats.append(heat / heat.max() if heat.max() > 0 else heat)
    return np.stack(heats)
