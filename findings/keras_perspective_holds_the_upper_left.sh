#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: RandomPerspective leaves half of the photos alone, and of the
# rest it holds the upper left corner.
#
# Guess: RandomPerspective(factor=1.0) changes every photo, since the factor is the probability of a
# change and 1.0 means always, as the documentation says; all four corners are moved alike.
#
# Seen: of 1,000 photos 490 are changed. One number is the upper end of a range, and each photo
# draws its own probability from 0 to 1 first; (1.0, 1.0) changes all 1,000. RandomErasing does the
# same with its factor (493). Of the 1,000, the upper left pixel is what it was in each. A corner
# moves by a share of its own coordinates, and those are (0, 0): the upper right moves only
# sideways, the lower left only up and down, so what was the photo's upper or left edge stays on
# that edge, and the inside never gets there (of the right and the lower edge it does in two of
# three photos). Flip before and after for perspectives from every side.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
cat > "$folder/corners.py" << 'END'
import sys

import keras
import numpy as np
import tensorflow as tf

photos = np.random.default_rng(0).uniform(1, 255, (1000, 16, 16, 1)).astype("float32")
EDGES = {
    "upper": np.s_[:, 0],
    "left": np.s_[:, :, 0],
    "lower": np.s_[:, -1],
    "right": np.s_[:, :, -1],
}


def changed(layer):
    return int((np.asarray(layer(photos, training=True)) != photos).any((1, 2, 3)).sum())


def turned(photos):
    layer = keras.layers.RandomPerspective((1.0, 1.0), 0.5, "nearest", fill_value=-1, seed=1)
    return np.asarray(layer(photos, training=True))[..., 0]


def inside_at(edge):
    """In how many photos the edge of the result shows what lay off that edge before."""
    drawn = np.zeros_like(photos)
    drawn[edge] = 1
    return int((turned(drawn)[edge] == 0).any(axis=1).sum())


counts = {
    "perspective 1.0": changed(keras.layers.RandomPerspective(1.0, seed=1)),
    "perspective (1.0, 1.0)": changed(keras.layers.RandomPerspective((1.0, 1.0), seed=1)),
    "erasing 1.0": changed(keras.layers.RandomErasing(1.0, seed=1)),
}
kept = int((turned(photos)[:, 0, 0] == photos[:, 0, 0, 0]).sum())
inside = {name: inside_at(edge) for name, edge in EDGES.items()}
print(keras.__version__, tf.__version__, "changed of 1,000:", counts)
print("upper left pixel as it was:", kept, "edges that show the inside:", inside)
half = all(400 < counts[name] < 600 for name in ("perspective 1.0", "erasing 1.0"))
still = kept == 1000 and inside["upper"] == inside["left"] == 0
moving = inside["lower"] > 500 and inside["right"] > 500
sys.exit(not (half and counts["perspective (1.0, 1.0)"] == 1000 and still and moving))
END
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/corners.py" 2> "$folder/log" ||
  { tail -5 "$folder/log"; exit 1; }
