"""BatchNorm in one kernel, for networks that train from scratch.

Keras writes BatchNorm as some ten operations, and each of them, and of their gradients, passes over
the whole feature map (Keras 3.15.1). On a CPU that was a third of a training step. TensorFlow still
has the kernel that does it in one.

It is for training: `training.with_batchnorm` makes a copy of a network with it. What is saved is
the network itself, given the copy's weights: to load it takes no layer but Keras's.
"""

from typing import Any

from mobilenet.system.engine import keras, tf


class FusedBatchNorm(keras.layers.BatchNormalization):
    """Keras's BatchNorm for feature maps (B, H, W, C): equal but for rounding, and faster while it
    trains (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma.value, self.beta.value, epsilon=self.epsilon, is_training=True
        )
        # The kernel's variance is the unbiased one, over n - 1; Keras averages that over n.
        n = tf.cast(tf.size(inputs) // tf.size(mean), variance.dtype)
        variance *= tf.maximum(n - 1, 1) / n
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return y
