"""Kernels that run notebooks in a copy of the project and are interrupted and killed on the way.

An attack is a signal after a drawn delay: nothing waits for the kernel to be at a certain place.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from test_notebooks import seen

from mobilenet import ROOT

PHOTOS = 24  # drawn pictures of each class
FOLDERS = ("mobilenet", "notebooks", "images")
LOST = 90  # seconds without a word, after which a user would take another kernel


def copy_project(folder: Path) -> Path:
    """A copy of the project without build/, with some of the drawn pictures in `few_photos`."""
    copy = folder / "project"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "utils.py", copy)
    (copy / "dataset").mkdir()
    (copy / "dataset" / "rendered_other").symlink_to(ROOT / "dataset" / "rendered_other")
    for of in sorted((ROOT / "dataset" / "rendered").iterdir()):
        (copy / "few_photos" / of.name).mkdir(parents=True)
        for file in sorted(of.iterdir())[:PHOTOS]:
            shutil.copy(file, copy / "few_photos" / of.name)
    return copy


@contextmanager
def kernel(project: Path, name: str, **environment: str) -> Iterator[NotebookClient]:
    """A fresh kernel in the copy for a notebook of it, whose memory of runs is the copy's own.

    environment: further variables; KERAS_HOME and PHOTOS of whoever runs the tests do not count.
    """
    notebook = nbformat.read(project / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        shutdown_kernel="immediate",
        coalesce_streams=True,
        resources={"metadata": {"path": str(project)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    own = {"PHOTOS": "few_photos", "WEIGHTS": "bundled", "JUPYTER_PREFER_ENV_PATH": "1"}
    left_out = {"MOBILENET_LOG", "KERAS_HOME"}
    others = {key: value for key, value in os.environ.items() if key not in left_out}
    with client.setup_kernel(env=others | own | environment):
        yield client


def run(client: NotebookClient, first: int = 0, last: int | None = None) -> list[float]:
    """Run the code cells from the first to before the last, counted from 0; the seconds of each."""
    cells = [(i, c) for i, c in enumerate(client.nb.cells) if c.cell_type == "code"]
    seconds = []
    for i, cell in cells[first:last]:
        start = time.monotonic()
        client.execute_cell(cell, i)
        seconds.append(time.monotonic() - start)
    return seconds


def shown(client: NotebookClient, last: int | None = None) -> list[list]:
    """What the code cells show, without seconds and without how often a run was run."""
    cells = [cell for cell in client.nb.cells if cell.cell_type == "code"][:last]
    found = []
    for cell in cells:
        outputs = [(kind, _timeless(value)) for kind, value in seen(cell)]
        if "log" in cell.metadata.get("tags", []):
            outputs = [(kind, _uncounted(kind, value)) for kind, value in outputs]
        found.append(outputs)
    return found


def _timeless(value: Any) -> Any:
    """Without the seconds in the lines that mobilenet.train prints."""
    return re.sub(r'("seconds": )[\d.]+', r"\1#", value) if isinstance(value, str) else value


def _uncounted(kind: str, value: str) -> str:
    """A table of runs without its last column, which grows with each run that came so far."""
    return re.sub(r"# (\| )?\d+\b", "# ", value) if kind.startswith("text/") else value


def made(project: Path) -> dict[str, Any]:
    """What running left in build/, without seconds: the split, the scoreboard, the histories, the
    answers of runs, and the sha256 of each array of each model that was saved, by file.
    """
    build, found = project / "build", {}
    for file in sorted(build.rglob("*")):
        name = file.relative_to(build).as_posix()
        if file.name.startswith(".") or name.startswith("cache/") or file.is_dir():
            continue
        if file.suffix == ".json":
            found[name] = _settled(json.loads(file.read_text(encoding="utf-8")))
        elif file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8").splitlines()
            found[name] = [_settled(json.loads(line)) for line in lines]
        elif file.suffix == ".keras":
            found[name] = weights(file)
    return found


def _settled(values: Any) -> Any:
    """JSON values without what tells of the clock or of how often."""
    if not isinstance(values, dict):
        return values
    clock = ("seconds", "when", "times", "date", "sha256")  # a run's sha256 is of these, too
    return {k: v for k, v in values.items() if k not in clock}


def weights(file: Path) -> dict[str, str]:
    """The sha256 of each array in a .keras file, by its place in it."""
    found = {}

    def add(name: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            array = np.asarray(part)
            about = f"{array.dtype} {array.shape} ".encode()
            found[name] = hashlib.sha256(about + array.tobytes()).hexdigest()

    with zipfile.ZipFile(file) as whole, whole.open("model.weights.h5") as part:
        h5py.File(part, "r").visititems(add)
    assert found, f"{file.name} holds no weights"
    return found


def draw_point(
    rng: np.random.Generator, seconds: Sequence[float], cell: int | None = None
) -> tuple[int, float]:
    """A cell and the seconds after its start, drawn by lot: half of the time all cells are as
    likely, half of the time all moments of an undisturbed run, of so many seconds a cell.
    """
    if cell is None:
        share = np.array(seconds) / sum(seconds) if rng.random() < 0.5 else None
        cell = int(rng.choice(len(seconds), p=share))
    return cell, float(rng.uniform(0, seconds[cell]))


def attack(
    client: NotebookClient, how: signal.Signals, cell: int, delay: float, last: int | None = None
) -> str:
    """Run a notebook's cells and send its kernel a signal `delay` seconds after a cell's start.

    Returns what came of it: "interrupted", "killed", "missed" where a signal came between two cells
    or after all, or "lost" where it hit Jupyter's own code, which then never tells that the cell
    ended. Raises the cell's error if an interrupt became any other.
    """
    pid = client.km.provisioner.pid
    run(client, 0, cell)
    timer = threading.Timer(delay, os.kill, (pid, how))
    timer.start()
    client.timeout = LOST
    try:
        run(client, cell, last)
    except CellExecutionError as error:
        # TensorFlow's C++ makes a SystemError of it, with the interrupt as its cause.
        if "KeyboardInterrupt" not in str(error):
            raise
        return "interrupted"
    except CellTimeoutError:
        return "lost"
    except DeadKernelError:
        return "killed"
    finally:
        timer.join()
        client.timeout = None
    return "missed"


def leftovers(project: Path) -> list[str]:
    """Unfinished files that writers who were killed left in build/."""
    return sorted(str(file.relative_to(project)) for file in project.rglob(".new-*"))
