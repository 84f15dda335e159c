"""TensorFlow and Keras, imported once and without the chatter they print on the way.

    from mobilenet.engine import keras, tf

TensorFlow's C++ side writes to file descriptor 2 before its own log level counts, so the
descriptor is put aside while it loads; what it said is shown if the import fails. An interrupt
waits until both are loaded.
"""

import os
import sys
import tempfile

from mobilenet import from_root
from mobilenet.interrupts import held

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow 2.21 turns oneDNN on by itself with AVX-512 alone; with AVX2 it halves a frozen pass.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Keras reads this when it is imported; the networks here are written for TensorFlow.
os.environ["KERAS_BACKEND"] = "tensorflow"

if os.environ.get("KERAS_HOME"):
    os.environ["KERAS_HOME"] = str(from_root(os.environ["KERAS_HOME"]))

sys.stderr.flush()
_stderr = os.dup(2)
with held(), tempfile.TemporaryFile() as _said:
    os.dup2(_said.fileno(), 2)
    try:
        import keras
        import tensorflow as tf
    except BaseException:
        _said.seek(0)
        os.write(_stderr, _said.read())
        raise
    finally:
        os.dup2(_stderr, 2)
        os.close(_stderr)

# In a notebook it tells of every step, and of folders of this machine.
tf.get_logger().setLevel("WARNING")

__all__ = ["keras", "tf"]
