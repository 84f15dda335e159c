"""Kernels interrupted (SIGINT) and killed (SIGKILL) at any point: then all cells run, to the same
numbers, on whatever was left in build/. And what an interrupt must not break off.
"""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mobilenet import ROOT
from mobilenet.system.guards import held
from notebooks import run
from tests.helpers import kernels
from tests.helpers.copies import DEEP, copy_small, keep_code_cells, set_knobs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")

ATTACKS = 20  # on each notebook
FROZEN = "03_alpaca_classifier"
# Its code cells up to the memory of runs, without those whose results no later one of them needs.
NEEDED = (0, 1, 2, 3, 8, 9, 10)
NAMES = [path.stem for path in run.notebooks() if path.stem not in run.ON_CALL]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function of a notebook: a copy of the project in which it, or these code cells of it, ran
    once and was left alone, what its cells showed, what it made, and the seconds of each cell.
    """
    known = {}

    def ran(name: str, numbers: tuple[int, ...] | None = None):
        if (name, numbers) not in known:
            project = copy_small(tmp_path_factory.mktemp(name), deep=name in DEEP)
            if name == FROZEN:  # its pass is then what takes the time, not what is compiled first
                set_knobs(project, name, {"VIEWS": "30"})
            if numbers:
                keep_code_cells(project, name, numbers)
            with kernels.kernel(project, name) as client:
                seconds = kernels.run(client)
                shown = kernels.shown(client)
            known[name, numbers] = project, shown, kernels.made(project), seconds
        return known[name, numbers]

    return ran


def check(
    name: str,
    number: int,
    how: signal.Signals,
    ran: tuple,
    cell: int | None = None,
) -> None:
    """Attack a notebook on what earlier attacks left, in any cell or in this one, then run all
    cells and compare with `ran`.
    """
    project, shown, made, seconds = ran
    rng = np.random.default_rng([NAMES.index(name), number])
    if cell is not None or rng.random() < 0.5:  # so that files are being written when it strikes
        shutil.rmtree(project / "build" / "cache", ignore_errors=True)
    cell, delay = kernels.draw_point(rng, seconds, cell)
    with kernels.kernel(project, name) as client:
        came = kernels.attack(client, how, cell, delay)
        said = f"{how.name} {delay:.2f} s after the start of code cell {cell + 1}: {came}"
        print(said, *kernels.leftovers(project))  # shown if the test fails
        again = came in ("interrupted", "missed") and rng.random() < 0.8
        if again:  # what a user does who interrupted
            kernels.run(client)
            assert kernels.shown(client) == shown, said
    if not again:
        with kernels.kernel(project, name) as client:
            kernels.run(client)
            assert kernels.shown(client) == shown, said
    assert kernels.made(project) == made, said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_attacked_while_files_are_kept(how, undisturbed):
    """In the cell of notebook 3 that does the frozen work; then up to the memory of runs."""
    check(FROZEN, ATTACKS, how, undisturbed(FROZEN, NEEDED), NEEDED.index(8))


@pytest.mark.faults
@pytest.mark.parametrize("number", range(ATTACKS))
@pytest.mark.parametrize("name", NAMES)
def test_attacked_anywhere_a_notebook_then_completes_alike(name, number, undisturbed):
    how = (signal.SIGINT, signal.SIGKILL)[number % 2]
    check(name, number, how, undisturbed(name))


# --- An interrupt that comes while libraries are loaded ---

LOADING = """
import os, signal, threading
threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    import mobilenet.system.engine
    signal.pause()
except KeyboardInterrupt:
    pass
from mobilenet.system.engine import keras, tf
print(tf.constant(1).numpy())
"""


@pytest.mark.parametrize("delay", [0.3, 1.1])
def test_an_interrupt_while_tensorflow_loads(delay):
    """What was interrupted can be imported again in the same process."""
    line = [sys.executable, "-c", LOADING.format(delay=delay)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)


def test_a_held_interrupt_comes_when_the_block_is_done():
    done = []
    with pytest.raises(KeyboardInterrupt), held():
        with held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_a_block_that_is_held_is_told():
    with pytest.raises(ZeroDivisionError), held():
        signal.raise_signal(signal.SIGINT)
        1 / 0  # noqa: B018


def test_nothing_is_held_in_a_thread():
    with ThreadPoolExecutor(1) as thread:
        handler = thread.submit(lambda: held().__enter__() or signal.getsignal(signal.SIGINT))
    assert handler.result() is signal.default_int_handler
