"""Kernels interrupted (SIGINT) and killed (SIGKILL) at any point: then all cells run, to the same
numbers, on whatever was left in build/.
"""

import os
import shutil
import signal

import kernels
import numpy as np
import pytest

from notebooks import run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")

ATTACKS = 20  # on each notebook
NAMES = [path.stem for path in run.notebooks()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function of a notebook: a copy of the project in which it ran once and was left alone, what
    its cells showed, what it made, and the seconds of each cell.
    """
    known = {}

    def ran(name: str, last: int | None = None):
        if name not in known:
            project = kernels.copy_project(tmp_path_factory.mktemp(name))
            with kernels.kernel(project, name) as client:
                seconds = kernels.run(client, 0, last)
                shown = kernels.shown(client, last)
            known[name] = project, shown, kernels.made(project), seconds
        return known[name]

    return ran


def check(name: str, number: int, how: signal.Signals, ran, last: int | None = None) -> str:
    """Attack a notebook on what earlier attacks left, run all cells, compare with `ran`."""
    project, shown, made, seconds = ran
    rng = np.random.default_rng([NAMES.index(name), number])
    if rng.random() < 0.5:  # so that files are being written when it strikes
        shutil.rmtree(project / "build" / "cache", ignore_errors=True)
    cell, delay = kernels.draw_point(rng, seconds)
    with kernels.kernel(project, name) as client:
        came = kernels.attack(client, how, cell, delay, last)
        said = f"{how.name} {delay:.2f} s after the start of code cell {cell + 1}: {came}"
        print(said, kernels.leftovers(project))
        again = came in ("interrupted", "missed") and rng.random() < 0.8
        if again:  # what a user does who interrupted
            kernels.run(client, 0, last)
            assert kernels.shown(client, last) == shown, said
    if not again:
        with kernels.kernel(project, name) as client:
            kernels.run(client, 0, last)
            assert kernels.shown(client, last) == shown, said
    assert kernels.made(project) == made, said
    return came


@pytest.mark.faults
@pytest.mark.parametrize("number", range(ATTACKS))
@pytest.mark.parametrize("name", NAMES)
def test_attacked_anywhere_a_notebook_then_completes_alike(name, number, undisturbed):
    how = (signal.SIGINT, signal.SIGKILL)[number % 2]
    check(name, number, how, undisturbed(name))
