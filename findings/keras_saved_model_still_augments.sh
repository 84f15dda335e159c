#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: a SavedModel from `model.export` goes on augmenting.
#
# Guess: a RandomFlip inside a model is for training. `predict`, `model(photos)` and everything that
# `model.export` writes leave the photos as they are.
#
# Seen: of 200 photos `predict` flips none, and so does the .tflite of
# `model.export(format="litert")`. `model(photos)` flips 98, and the endpoint `serve` of the
# SavedModel, which is what export writes when no format is named, flips 98 of them, for good: a
# SavedModel takes no `training`. Two calls with the same photos give two answers. An augmentation
# layer's own default is training=True, other than Dropout's, and neither the call nor this export
# says otherwise; predict and the export to LiteRT do. Who serves such a model gets answers that
# differ from call to call and from `evaluate`.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
cat > "$folder/flips.py" << 'END'
import sys

import keras
import numpy as np
import tensorflow as tf

photos = np.tile(np.arange(16, dtype="float32")[None, None, :, None], (200, 16, 1, 3))
model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.RandomFlip("horizontal", seed=1)])
model.export(sys.argv[1] + "/saved", verbose=False)
model.export(sys.argv[1] + "/model.tflite", format="litert", verbose=False)
saved = tf.saved_model.load(sys.argv[1] + "/saved")
phone = tf.lite.Interpreter(sys.argv[1] + "/model.tflite")
phone.resize_tensor_input(phone.get_input_details()[0]["index"], photos.shape)
phone.allocate_tensors()
phone.set_tensor(phone.get_input_details()[0]["index"], photos)
phone.invoke()
answers = {
    "predict": model.predict(photos, verbose=0),
    "litert": phone.get_tensor(phone.get_output_details()[0]["index"]),
    "called": model(photos),
    "served": saved.serve(photos),
    "again": saved.serve(photos),
}
flipped = {name: int((np.asarray(a)[:, 0, 0, 0] > 0).sum()) for name, a in answers.items()}
differ = int((np.asarray(answers["served"]) != np.asarray(answers["again"])).any((1, 2, 3)).sum())
print(keras.__version__, tf.__version__, "flipped of 200:", flipped, "two calls differ in", differ)
quiet = flipped["predict"] == flipped["litert"] == 0
loud = all(60 <= flipped[name] <= 140 for name in ("called", "served", "again")) and differ > 60
sys.exit(not (quiet and loud))
END
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/flips.py" "$folder" 2> "$folder/log" ||
  { tail -5 "$folder/log"; exit 1; }
