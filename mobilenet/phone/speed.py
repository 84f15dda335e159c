"""Milliseconds that saved classifiers take for one photo, each on a given number of threads.

Every one answers in a process of its own, since TensorFlow's threads are settled when it starts;
they answer in turns, so that whatever else the machine does meets all alike.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mobilenet import ROOT, UserError
from mobilenet.system.command import run
from mobilenet.system.progress import progress

TF = ("INTRA", "INTER")  # TensorFlow's threads within an operation, and between operations
WARM = 3  # photos that are answered before any is timed


def milliseconds(ways: Sequence[tuple[Path, int]], rounds: int) -> np.ndarray:
    """Return the time of one photo for each (model, threads): float64 (ways, rounds), from uint8 to
    probabilities, in batches of 1.

    A model is a `.keras` or a `.tflite` file of this project. Raises UserError if one does not
    answer, and for fewer than one round.
    """
    if rounds < 1:
        raise UserError(f"Nothing can be timed in {rounds} rounds: use 1 or more.")
    with ExitStack() as stack:
        workers = []
        for model, threads in ways:
            worker = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", __spec__.name, str(model.resolve()), str(threads)],
                    cwd=ROOT,
                    env=os.environ | {f"TF_NUM_{part}OP_THREADS": str(threads) for part in TF},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(worker.communicate)  # closes its input, even of one that has ended
            workers.append(worker)
        turns = [(k, i) for k in range(WARM + rounds) for i in range(len(workers))]
        seconds = np.empty((len(workers), WARM + rounds))
        for k, i in progress(turns, len(turns), "One photo each"):
            try:
                print(file=workers[i].stdin, flush=True)
                seconds[i, k] = float(workers[i].stdout.readline())
            except (OSError, ValueError) as error:
                raise UserError(f"{ways[i][0]} cannot be timed: it does not answer.") from error
    return 1000 * seconds[:, WARM:]


def answer(path: Path, threads: int) -> int:
    """Say how many seconds one photo takes, each time that a line comes in; returns 0 at the end.

    Raises UserError if the model cannot be loaded.
    """
    if path.suffix == ".keras":
        from mobilenet.inference import classifier

        model, _ = classifier.load(path)
        compute, size = classifier.traced(model), model.input_shape[1]
    else:
        from mobilenet.inference import litert

        compute, _, size = litert.load(path, threads)
    photo = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    for _ in sys.stdin:
        start = time.perf_counter()
        compute(photo)
        print(time.perf_counter() - start, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda: answer(Path(sys.argv[1]), int(sys.argv[2]))))
