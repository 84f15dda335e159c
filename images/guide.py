"""Takes the pictures of the README's guide out of notebook 4, as it runs on the drawn photos.

    python images/guide.py

The cells are run, but not those that save what was trained; then a knob is turned and what trains
is run again, twice, as a reader does it. The pictures are those that the notebook then shows.
"""

import base64
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from mobilenet import ROOT  # noqa: E402 (found by the line above)
from mobilenet.files import replacing  # noqa: E402
from mobilenet.progress import progress  # noqa: E402

NOTEBOOK = ROOT / "notebooks" / "04_fine_tuning.ipynb"
TURNS = (("LEARNING_RATE = 5e-5", "LEARNING_RATE = 1e-3"), ('block_13_expand"', 'block_16_expand"'))
# The picture that a cell with this in it shows, and what it is called here.
PICTURES = {
    "utils.prediction_grid(": "guide_predictions.jpg",
    "utils.grad_cam_rows(": "guide_grad_cam.jpg",
    "utils.show_runs(": "guide_runs.png",
}


def pictures() -> dict[str, bytes]:
    """Each picture by its name in this folder, after the notebook was run and the knobs turned."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    saves = next(i for i, cell in enumerate(code) if "classifier.save(" in cell.source)
    code = code[:saves]
    knobs, shown = code[1], {}
    first = next(i for i, cell in enumerate(code) if "utils.log_run(" in cell.source)
    steps = [(cell, None) for cell in code]
    for turn in TURNS:
        steps += [(knobs, turn), *((cell, None) for cell in code[first:])]
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        shutdown_kernel="immediate",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    with client.setup_kernel():
        for cell, turn in progress(steps, len(steps), "Cells"):
            if turn:
                cell.source = cell.source.replace(*turn)
            client.execute_cell(cell, notebook.cells.index(cell))
    for cell in code:
        for call, name in PICTURES.items():
            if call in cell.source:
                data = [output.get("data", {}) for output in cell.outputs]
                kind = "image/jpeg" if name.endswith(".jpg") else "image/png"
                (shown[name],) = [base64.b64decode(one[kind]) for one in data if kind in one]
    return shown


def main() -> None:
    """Write the pictures into this folder."""
    os.environ["PHOTOS"] = str(ROOT / "dataset" / "rendered")
    os.environ["WEIGHTS"] = "bundled"
    with tempfile.TemporaryDirectory() as log:
        os.environ["MOBILENET_LOG"] = log  # no runs of others among these
        for name, picture in pictures().items():
            with replacing(HERE / name) as new:
                new.write_bytes(picture)


if __name__ == "__main__":
    main()
