#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: Equalization takes one histogram for the whole batch.
#
# Guess: the layer equalizes each channel of each photo, so that a photo comes out the same alone
# and in a batch, as with AutoContrast, and `map` may stand before or after `batch`.
#
# Seen: a dark photo of the levels 0 to 63 comes out from 0 to 255 alone. Beside a bright one of the
# levels 192 to 255 it comes out from 0 to 126, and the bright one from 129 to 255: the one stays
# dark, the other bright. AutoContrast stretches both over the whole range either way. So what the
# model sees of a photo depends on which others the shuffle put beside it, and a single photo to be
# judged is equalized otherwise than any was in training. `dataset.map(layer).batch(n)`, not the
# reverse.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
cat > "$folder/batch.py" << 'END'
import sys

import keras
import numpy as np
import tensorflow as tf

levels = np.tile(np.arange(64, dtype="float32").reshape(1, 8, 8, 1), (2, 1, 1, 3))
photos = levels + np.array([0, 192], "float32").reshape(2, 1, 1, 1)
data = tf.data.Dataset.from_tensor_slices(photos)


def ends(layer):
    """The lowest and highest level of both photos, by whether they are mapped before the batch."""
    ways = {"map, batch": data.map(layer).batch(2), "batch, map": data.batch(2).map(layer)}
    return {
        name: [(int(p.min()), int(p.max())) for p in next(iter(way)).numpy()]
        for name, way in ways.items()
    }


equalized, stretched = ends(keras.layers.Equalization()), ends(keras.layers.AutoContrast())
print(keras.__version__, tf.__version__)
print("Equalization:", equalized)
print("AutoContrast:", stretched)
alone, together = equalized.values()
sys.exit(
    alone != [(0, 255), (0, 255)]
    or together != [(0, 126), (129, 255)]
    or stretched["map, batch"] != stretched["batch, map"]
)
END
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/batch.py" 2> "$folder/log" ||
  { tail -5 "$folder/log"; exit 1; }
