#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: the first step of `fit` traces the whole network twice, since
# the optimizer's variables, and those of a metric given by its name, are made while it is traced.
#
# Guess: compile makes what the optimizer and the metrics need, as the model's weights are known by
# then, or the first trace is kept; so a step is traced once. A metric given as "accuracy" and the
# same as an object cost the same.
#
# Seen, by how often a layer of the network is called in the first `fit`: twice, with metrics and
# without. After `model.optimizer.build(model.trainable_variables)` once; but twice again with
# metrics=["accuracy"], whose object is made in the trace, and once with
# metrics=[keras.metrics.BinaryAccuracy()]. tf.function traces a function that made a variable a
# second time, to be sure that it makes no more. For a MobileNetV2 a trace takes some two seconds,
# which is most of a short epoch of fine-tuning on a laptop; each new `compile` costs it again.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat > "$folder/traced.py" << 'END'
import keras
import numpy as np

METRICS = {
    "no metric": lambda: None,
    "a name": lambda: ["accuracy"],
    "an object": lambda: [keras.metrics.BinaryAccuracy(threshold=0)],
}
EXPECTED = {  # calls of a layer in the first fit: as it is, and with the optimizer built before
    "no metric": (2, 1),
    "a name": (2, 2),
    "an object": (2, 1),
}


class Counted(keras.layers.Layer):
    calls = 0

    def call(self, x):
        Counted.calls += 1
        return x


def calls(metrics, build):
    photo = keras.Input((4,))
    model = keras.Model(photo, keras.layers.Dense(1)(Counted()(photo)))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, metrics=metrics)
    if build:
        model.optimizer.build(model.trainable_variables)
    Counted.calls = 0
    model.fit(np.zeros((96, 4), np.float32), np.zeros(96), epochs=2, verbose=0)
    return Counted.calls


found = {
    name: tuple(calls(make(), build) for build in (False, True)) for name, make in METRICS.items()
}
for name, (plain, built) in found.items():
    print(f"{name}: {plain} traces, {built} with the optimizer built before fit")
raise SystemExit(found != EXPECTED)
END
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/traced.py" 2> "$folder/log" || {
  tail -5 "$folder/log" >&2
  exit 1
}
