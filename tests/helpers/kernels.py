"""Kernels that run notebooks in a copy of the project and are interrupted and killed on the way.

An attack is a signal after a drawn delay: nothing waits for the kernel to be at a certain place.
"""

import hashlib
import json
import os
import re
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
from nbformat import NotebookNode

from tests.helpers.copies import code_cells

LOST = 90  # seconds without a word, after which a user would take another kernel


@contextmanager
def kernel(
    project: Path, name: str, work: str = "", **environment: str
) -> Iterator[NotebookClient]:
    """A fresh kernel for a notebook of a small copy, whose memory of runs is the copy's own.

    work: the folder in the copy that it works in, by default its root. environment: further
    variables; KERAS_HOME, PHOTOS and WEIGHTS of whoever runs the tests do not count.
    """
    notebook = nbformat.read(project / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in code_cells(notebook):
        cell.outputs = []
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        shutdown_kernel="immediate",
        coalesce_streams=True,
        resources={"metadata": {"path": str(project / work)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    own = {"PHOTOS": "", "WEIGHTS": "bundled", "JUPYTER_PREFER_ENV_PATH": "1"}
    own["PYTHONPATH"] = str(project)
    left_out = {"MOBILENET_LOG", "KERAS_HOME"}
    others = {key: value for key, value in os.environ.items() if key not in left_out}
    with client.setup_kernel(env=others | own | environment):
        yield client


def run(client: NotebookClient, first: int = 0, last: int | None = None) -> list[float]:
    """Run the code cells from the first to before the last, counted from 0; the seconds of each."""
    seconds = []
    for number in range(len(code_cells(client.nb)))[first:last]:
        start = time.monotonic()
        run_cell(client, number)
        seconds.append(time.monotonic() - start)
    return seconds


def run_cell(client: NotebookClient, number: int) -> NotebookNode:
    """Run a code cell, counted from 0, as it now stands; returns it with its outputs."""
    cell = code_cells(client.nb)[number]
    return client.execute_cell(cell, client.nb.cells.index(cell))


def tell(client: NotebookClient, code: str) -> None:
    """Run code in a kernel that is in no cell of its notebook."""
    cells = client.nb.cells
    cells.append(nbformat.v4.new_code_cell(code))
    client.execute_cell(cells[-1], len(cells) - 1)
    del cells[-1]


def seen(cell: NotebookNode) -> list[tuple[str, Any]]:
    """What a cell shows, (kind, content) of each output, with measured times taken out."""
    timed = "seconds" in cell.metadata.get("tags", [])
    shown = []
    for output in cell.outputs:
        data = dict(output.get("data", {})) or {"text": output.get("text", "")}
        if data == {"text/plain": ""}:  # a progress bar that was wiped
            continue
        for kind, value in data.items():
            if kind.startswith("image/"):
                shown.append((kind, None if timed else value))
            else:
                pattern = r"[\d.]+" if timed else r"[\d.]+ ?m?s\b"
                # A table is padded to its widest cell, and the times are in it.
                shown.append((kind, re.sub(r"\s+", " ", re.sub(pattern, "#", value))))
    return shown


def shown(client: NotebookClient) -> list[list]:
    """What the code cells show, without seconds and without how often a run was run."""
    found = []
    for cell in code_cells(client.nb):
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


def attack(client: NotebookClient, how: signal.Signals, cell: int, delay: float) -> str:
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
        run(client, cell)
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
