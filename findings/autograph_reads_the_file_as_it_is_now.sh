#!/usr/bin/env bash
# TensorFlow 2.21.0: a tf.function that is first called after its file was edited runs the text that
# now stands on its lines, be it another function.
#
# Guess: Python runs what it read when it started, so an edit of a file matters from the next start
# on. Who edits a script while it trains for an hour expects no more.
#
# Seen: AutoGraph rewrites a function when it is traced, which is at its first call, from the text of
# the file at that time and the line numbers of before. A file with `first` and, below, `second` gets
# as many lines above them as one function has. `second`, called for the first time after that,
# returns what `first` returns, without an error. A plain function of the same file does as written
# before, and so does a tf.function that was traced before the edit, or has autograph=False.
#
# Ends with 0 as long as this holds, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6
cat > "$folder/work.py" << 'END'
import tensorflow as tf


@tf.function
def first(x):
    return x + 1


@tf.function
def second(x):
    return x * 100


@tf.function(autograph=False)
def as_it_is(x):
    return x * 100


def plain(x):
    return x * 100
END
cat > "$folder/edit.py" << 'END'
from pathlib import Path

import work

early = int(work.first(5))
file = Path(work.__file__)
lines = file.read_text().splitlines()
above = ["# a note"] * 5  # `first` now stands where `second` stood
file.write_text("\n".join([*lines[:3], *above, *lines[3:]]) + "\n")
seen = {"first, traced before": early, "again": int(work.first(5))}
seen |= {"second": int(work.second(5)), "autograph=False": int(work.as_it_is(5))}
seen |= {"plain": work.plain(5)}
print(seen)
expected = {"first, traced before": 6, "again": 6}
expected |= {"second": 6, "autograph=False": 500, "plain": 500}
raise SystemExit(seen != expected)
END
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= "$folder/venv/bin/python" edit.py 2> "$folder/errors" || { tail -3 "$folder/errors"; exit 1; }
