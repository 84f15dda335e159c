"""The same seed on the same machine gives the same weights, bit for bit, in notebooks and commands.

Files are compared by the sha256 of each array, in runs that differ in all that must not count: the
order of the notebooks, what is kept from before, and the seed of Python's own hashes.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from mobilenet import ROOT
from mobilenet.transfer import augmentation, features
from tests.helpers import kernels
from tests.helpers.copies import copy_small
from tests.helpers.drawn import LOW, draw, write

TRAINING = ("03_alpaca_classifier", "04_fine_tuning", "06_from_scratch")


def run_in_order(project: Path, names, hash_seed: int) -> tuple[dict, dict]:
    """Run notebooks one after the other, each in a fresh kernel; what they showed and made."""
    shown = {}
    for name in names:
        with kernels.kernel(project, name, PYTHONHASHSEED=str(hash_seed)) as client:
            kernels.run(client)
            shown[name] = kernels.shown(client)
    return shown, kernels.made(project)


def forget(project: Path, also_what_is_kept: bool) -> None:
    """Remove what runs made, without or with build/cache/."""
    for path in (project / "build").iterdir():
        if path.name != "cache" or also_what_is_kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# --- Notebooks ---


@pytest.mark.faults
def test_the_order_of_notebooks_changes_no_bit(tmp_path):
    """Three full runs: cold; backwards, on what the first kept; mixed, cold again."""
    project, (a, b, c) = copy_small(tmp_path), TRAINING
    first = run_in_order(project, (a, b, c), 1)
    models = {name for name in first[1] if name.endswith(".keras")}
    assert models == {"head.keras", "fine_tuned.keras"}
    forget(project, also_what_is_kept=False)
    assert run_in_order(project, (c, b, a), 2) == first
    forget(project, also_what_is_kept=True)
    assert run_in_order(project, (b, a, c), 3) == first


def test_the_notebook_says_what_may_differ_between_machines():
    notebook = nbformat.read(ROOT / "notebooks" / f"{TRAINING[0]}.ipynb", as_version=4)
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "on the same machine gives the same" in prose
    assert "Another kind of processor" in prose


# --- What kept activations owe to the pass that made them ---


@pytest.mark.parametrize("low", [LOW, "block_13_expand"])
def test_what_else_a_pass_keeps_changes_no_bit(small, low):
    """Else the same knobs would give other weights after a notebook with another cut."""
    images = draw(20).images
    maps = augmentation.view_maps(images, 2, 0, rotation=15, zoom=0.15)

    def passed(*cuts):
        batches = features._stream(small, images, cuts, maps)
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    pooled, alone = passed(None)[0], passed(low)[0]
    for cuts in ((None, low), (low, None)):
        both = dict(zip(cuts, passed(*cuts), strict=True))
        assert np.array_equal(both[None], pooled)
        assert np.array_equal(both[low], alone)


# --- What was trained before ---

AGAIN = """
import numpy as np
from mobilenet.scratch import trainer
from mobilenet.transfer import training

x, labels = np.random.default_rng(0).normal(size=(1, 60, 8)), np.arange(60) % 3
found = []
for _ in range(2):
    head = training.build_head(8, 3, dropout=0.2, seed=0)
    training.fit(head, x, labels, epochs=20, learning_rate=0.1, seed=0)
    found.append(np.concatenate([weight.ravel() for weight in head.get_weights()]))
    trainer.build(trainer.Plan("mobilenetv1", 0.25, 32, 1, "data", 0, ("a", "b", "c")))
    training._compile.cache_clear()
print(np.array_equal(*found))
"""


def test_a_training_by_command_changes_no_bit_of_the_next_one():
    """In one process, a head of three classes."""
    done = subprocess.run(
        [sys.executable, "-c", AGAIN], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


# --- Commands ---

SCRATCH = ("--model", "mobilenetv1", "--alpha", "0.25", "--size", "32", "--epochs", "3")
HEAD = ("--model", "head", "--epochs", "5")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three classes that differ in brightness."""
    return write(tmp_path_factory.mktemp("data") / "photos", draw(60, classes=3, size=32))


def start(data: Path, out: Path, hash_seed: int, *options: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "mobilenet.train", *options]
    left_out = {"PHOTOS", "KERAS_HOME"}
    own = {key: value for key, value in os.environ.items() if key not in left_out}
    own |= {"WEIGHTS": "bundled", "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(
        [*line, "--data", str(data), "--out", str(out)],
        cwd=ROOT,
        env=own,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def trained(data: Path, out: Path, hash_seed: int, *options: str) -> dict:
    """What a run of mobilenet.train that nobody disturbs leaves: its history, result, weights."""
    with start(data, out, hash_seed, *options) as process:
        _, said = process.communicate()
    assert (process.returncode, said) == (0, "")
    return kernels.made(out.parent)


@pytest.mark.faults
def test_from_scratch_by_command(data, tmp_path):
    """Two full runs and one that is stopped by Ctrl-C after its first epoch and gone on with."""
    runs = [tmp_path / str(i) / "build" for i in range(3)]
    first, second = (trained(data, out, i, *SCRATCH) for i, out in enumerate(runs[:2]))
    with start(data, runs[2], 2, *SCRATCH) as process:
        for line in process.stdout:
            if line.startswith("{"):  # an epoch's figures
                break
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    resumed = trained(data, runs[2], 3, *SCRATCH, "--resume")
    assert len(first["model.keras"]) > 50
    assert first == second == resumed


@pytest.mark.faults
def test_a_head_by_command(data, tmp_path):
    first, *others = (trained(data, tmp_path / str(i) / "build", i, *HEAD) for i in range(3))
    assert "model.keras" in first
    assert others == [first, first]
