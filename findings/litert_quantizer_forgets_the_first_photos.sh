#!/usr/bin/env bash
# litert-quantizer 0.11.0: the int8 ranges are moving averages, so the order of the samples decides.
#
# Guess: as with TensorFlow 2.21.0's converter, a static int8 model's ranges hold whatever the
# calibration samples reached, and the order of the samples does not matter.
#
# Seen: one logit, from 2 to 6 for 100 samples of one class, from -6 to -2 for 100 of the other.
# What TensorFlow's converter makes of it is right for 200 of 200, in any order. litert-quantizer
# takes 0.95 of the old minimum and maximum and 0.05 of the new sample's, so that with samples in
# the order of their classes, as folders give them, the range is that of the last some twenty: the
# first class's logits are all rounded to 0, and only the last class is ever the answer, which is
# right for 100 of 200. At random order the range is about the mean of all and again holds but one
# sign. Nothing warns. Wide layers hardly show it, since each sample spans their range; the one
# number at the end does. Way out: calibrate sample by sample, and take the minimum and maximum of
# the results.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check litert-quantizer==0.11.0 \
  ai-edge-litert==2.3.0 keras==3.15.1 tensorflow-cpu==2.21.0 numpy==2.4.6
cat > "$folder/order.py" << 'END'
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe

random = np.random.default_rng(0)
logits = np.concatenate([random.uniform(2, 6, 100), -random.uniform(2, 6, 100)])
samples = np.zeros((200, 8), np.float32)
samples[:, 0] = logits
samples[:, 1], samples[:, 2] = 8, -8  # each spans the input's whole range
model = keras.Sequential([keras.Input((8,), batch_size=1), keras.layers.Dense(1, use_bias=False)])
model.layers[0].set_weights([np.eye(8, 1, dtype=np.float32)])
path = sys.argv[1] + "/model.tflite"
model.export(path, format="litert", verbose=False)
model.export(sys.argv[1] + "/saved", verbose=False)


def tensorflow(order):
    converter = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + "/saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([samples[i : i + 1]] for i in order)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def calibrated(order, one_by_one):
    made = quantizer.Quantizer(path, recipe.static_wi8_ai8())
    (key, names), *_ = Interpreter(path).get_signature_list().items()
    some = [{names["inputs"][0]: samples[i : i + 1]} for i in order]
    found = {}
    for part in [[sample] for sample in some] if one_by_one else [some]:
        for name, ends in made.calibrate({key: part}, num_threads=1).items():
            old = found.get(name, ends)
            least, most = np.minimum(ends["min"], old["min"]), np.maximum(ends["max"], old["max"])
            found[name] = {**ends, "min": least, "max": most}
    return bytes(made.quantize(found, enable_progress_report=False).quantized_model)


def judge(data):  # the output's range, and how many signs are right
    phone = Interpreter(model_content=data)
    phone.allocate_tensors()
    (taken,), (given,) = phone.get_input_details(), phone.get_output_details()
    (scale, zero), right = taken["quantization"], 0
    (step, origin) = given["quantization"]
    for sample, logit in zip(samples, logits):
        levels = np.clip(np.rint(sample / scale) + zero, -128, 127).astype(np.int8)
        phone.set_tensor(taken["index"], levels[None])
        phone.invoke()
        answer = step * (int(phone.get_tensor(given["index"])[0, 0]) - origin)
        right += bool(answer * logit > 0)
    return [round(float(step * (end - origin)), 1) for end in (-128, 127)], right


straight = np.arange(200)
orders = {"as classes": straight, "turned": straight[::-1], "random": random.permutation(200)}
good = True
for name, order in orders.items():
    ways = tensorflow(order), calibrated(order, False), calibrated(order, True)
    theirs, found, mended = map(judge, ways)
    print(f"{name}: TensorFlow {theirs}, litert-quantizer {found}, one by one {mended}")
    good &= theirs[1] == mended[1] == 200 and found[1] == 100
sys.exit(not good)
END
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/order.py" "$folder" 2> "$folder/log" ||
  { tail -5 "$folder/log"; exit 1; }
