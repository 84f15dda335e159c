#!/usr/bin/env bash
# pyarrow 26.0.1: photos that were turned from (height, width, channel) to (channel, height, width)
# without a copy do not come back from a tensor column as they went in.
#
# Guess: to_numpy_ndarray gives what from_numpy_ndarray took, whatever the memory's order; numpy
# says that a transposed view and its copy are equal, so both become the same column.
#
# Seen: a copy comes back right, and so does a view with two axes swapped. A view with three axes
# turned in a circle, which is what channels first and channels last differ by, does not: photos of
# 4 x 4 x 4 come back in the same shape with 8 of 128 numbers in their places and no word; of 3 x 4
# x 4 to channels last in the shape 4 x 3 x 4; of 4 x 4 x 3 to channels first not at all:
# ArrowInvalid, from the column that pyarrow itself made. from_numpy_ndarray keeps the memory as it
# lies and notes the order of the axes in the type's permutation, but the inverse of the order that
# to_numpy_ndarray reads; of a swap the inverse is itself. Who turns PyTorch's layout into Keras's
# or back copies first: np.ascontiguousarray.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 numpy==2.4.6
cat > "$folder/turned.py" << 'END'
import sys

import numpy as np
import pyarrow as pa

FIRST, LAST, SWAP = (0, 3, 1, 2), (0, 2, 3, 1), (0, 2, 1, 3)


def back(shape, axes, copy):
    """The shape that comes back, and how many numbers are in their places; or the error's name."""
    view = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape).transpose(axes)
    given = np.ascontiguousarray(view) if copy else view
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(given)
    try:
        found = column.to_numpy_ndarray()
    except pa.ArrowInvalid as error:
        return type(error).__name__
    return found.shape[1:], int((found == view).sum()) if found.shape == view.shape else None


trials = {
    "square, to channels first": ((4, 4, 4), FIRST),
    "to channels last": ((3, 4, 4), LAST),
    "to channels first": ((4, 4, 3), FIRST),
    "height and width swapped": ((4, 4, 3), SWAP),
}
views = {name: back(*trial, copy=False) for name, trial in trials.items()}
copies = {name: back(*trial, copy=True) for name, trial in trials.items()}
print("pyarrow", pa.__version__)
for name in trials:
    print(f"{name}: the view gives {views[name]}, its copy {copies[name]}")
sys.exit(
    list(views.values())
    != [((4, 4, 4), 8), ((4, 3, 4), None), "ArrowInvalid", ((4, 4, 3), 96)]
    or list(copies.values())
    != [((4, 4, 4), 128), ((4, 4, 3), 96), ((3, 4, 4), 96), ((4, 4, 3), 96)]
)
END
"$folder/venv/bin/python" "$folder/turned.py"
