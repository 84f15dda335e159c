#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.4.6 and ml_dtypes 0.6.0: numpy arrays that are saved do not all
# load.
#
# Guess: what `save` of safetensors.numpy takes, its `load` gives back, and `load(save(x))` is the
# same as writing the file and `load_file`. What numpy cannot hold is refused on saving.
#
# Seen: bfloat16 is saved without a word, and `load_file` gives it back, but `load` of the very same
# bytes ends with KeyError: 'BF16'. The 8-bit floats are saved, too, and there is no way back to
# numpy at all: `load` ends with KeyError ('F8_E4M3', 'F8_E5M2'), `load_file` and `safe_open` with
# AttributeError (module 'numpy' has no attribute 'float8_e4m3fn'), though ml_dtypes, which has
# these types and made the arrays, is installed. Who tries out only saving, or only bfloat16 with
# files, finds out on the day of loading. A view as uint8, with the type's name in the metadata,
# comes back.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.6.0
cat > "$folder/kinds.py" << 'END'
import sys

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load, load_file, save, save_file

path = sys.argv[1] + "/weights.safetensors"


def opened():
    with safetensors.safe_open(path, "numpy") as file:
        return {"w": file.get_tensor("w")}


expected = {
    np.float16: ["equal", "equal", "equal"],
    ml_dtypes.bfloat16: ["KeyError", "equal", "equal"],
    ml_dtypes.float8_e4m3fn: ["KeyError", "AttributeError", "AttributeError"],
    ml_dtypes.float8_e5m2: ["KeyError", "AttributeError", "AttributeError"],
}
found = {}
for kind in expected:
    weights = np.array([1, -2, 0.5], np.float32).astype(kind)
    data = save({"w": weights})
    save_file({"w": weights}, path)
    assert open(path, "rb").read() == data
    found[kind] = []
    for way in (lambda: load(data), lambda: load_file(path), opened):
        try:
            again = way()["w"]
            same = again.dtype == weights.dtype and np.array_equal(again, weights)
            found[kind].append("equal" if same else "other")
        except (KeyError, AttributeError) as error:
            found[kind].append(type(error).__name__)
    print(np.dtype(kind), "saved; load, load_file, safe_open:", *found[kind])
sys.exit(found != expected)
END
"$folder/venv/bin/python" "$folder/kinds.py" "$folder"
