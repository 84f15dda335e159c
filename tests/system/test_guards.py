"""What C++ prints on the way."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mobilenet import ROOT
from mobilenet.networks import anatomy
from mobilenet.scratch import learning
from mobilenet.system.engine import keras, tf
from mobilenet.system.guards import quiet


def test_chatter_is_kept_unless_it_may_say_why(capfd):
    def chat():
        print("Python")
        os.write(1, b"C out\n")
        os.write(2, b"C err\n")

    with quiet():
        chat()
    with pytest.raises(KeyError), quiet(KeyError):
        chat()
        raise KeyError
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="why"), quiet(KeyError):
        chat()
        raise ValueError("why")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "Python\nC out\nC err\n")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes a stream")
@pytest.mark.parametrize("streams", ["", "streams=[2]"])
def test_a_process_without_standard_output(streams):
    program = f"from mobilenet.system.guards import quiet\nwith quiet({streams}): print(1)\n"
    shell = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program]
    done = subprocess.run(shell, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cell_that_trains_again_and_again_is_not_warned(monkeypatch):
    """TensorFlow warns of functions that are traced more than four times in a few calls."""
    said = []
    monkeypatch.setattr(tf.get_logger(), "warning", lambda *words: said.append(words))
    photos, labels = np.zeros((8, 4, 4, 3), np.uint8), np.arange(8) % 2
    for _ in range(6):
        dense = [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
        network, optimizer = keras.Sequential(dense), keras.optimizers.SGD(0.1)
        anatomy.losses(network, photos.astype(np.float32), labels, 1, 0.1, batch=8)
        optimizer.build(network.trainable_variables)
        step, forward = learning.compile_step(network, optimizer)
        step(photos, labels)
        assert forward(photos).shape == (8, 2)
    assert said == []
