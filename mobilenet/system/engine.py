"""TensorFlow and Keras, imported once and without the chatter they print on the way.

    from mobilenet.system.engine import keras, tf

TensorFlow's C++ side writes to file descriptor 2 before its own log level counts, so the
descriptor is put aside while it loads; what it said is shown if the import fails. An interrupt
waits until both are loaded.
"""

import os

from mobilenet import from_root
from mobilenet.system.guards import held, quiet

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow 2.21 turns oneDNN on by itself with AVX-512 alone; with AVX2 it halves a frozen pass.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Keras reads this when it is imported; the networks here are written for TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"

if os.environ.get("KERAS_HOME"):
    os.environ["KERAS_HOME"] = str(from_root(os.environ["KERAS_HOME"]))

with held(), quiet(streams=[2]):
    import keras
    import tensorflow as tf

# In a notebook it tells of every step, and of folders of this machine.
tf.get_logger().setLevel("WARNING")


def deterministic(seed: int) -> None:
    """Seed all generators, and have TensorFlow give the same bits at each run from here on."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
