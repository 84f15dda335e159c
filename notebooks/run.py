"""Execute the notebooks headless, in order, with progress; end with the scoreboard.

    python notebooks/run.py [--keep] [NAME…]

Executed copies go to build/notebooks/, the scoreboard to build/scoreboard.json. NAME is a notebook,
07 or 07_to_a_phone: then these alone are executed, and there is no scoreboard. With --keep the
outputs are then put into the notebooks beside this file; that is for the drawn pictures alone,
since photos belong to those who took them, with the bundled backbone, which everyone has, and
with an empty memory of runs.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from mobilenet import BUILD, ROOT, UserError, from_root
from mobilenet.networks import backbone, pretrained
from mobilenet.photos import corrections, folders, loading
from mobilenet.system import command, measuring
from mobilenet.system.files import alone, replacing, write_json

HERE = ROOT / "notebooks"
ENTRIES = ("baseline", "frozen", "fine_tuned", "folds", "solved_folds")  # as notebooks call them
ON_CALL = ("07_to_a_phone",)  # need more than requirements.txt: executed only where they are named


def notebooks() -> list[Path]:
    """The notebooks in their order."""
    return sorted(HERE.glob("[0-9][0-9]_*.ipynb"))


def named(name: str) -> Path:
    """The notebook that is called so, or whose number it is. Raises ValueError if there is none."""
    for path in notebooks():
        if Path(name).stem in (path.stem, path.stem[:2]):
            return path
    raise ValueError(name)


def execute(path: Path, folder: Path, report: Callable[[int, int], None]) -> nbformat.NotebookNode:
    """Run a notebook in a fresh kernel that works in `folder`; returns it with its outputs.

    report(k, n) is told before the k-th of n code cells runs. Raises UserError that names the
    cell and the reason if one fails.
    """
    notebook = nbformat.read(path, as_version=4)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        shutdown_kernel="immediate",  # interrupted first, a kernel now and then aborts noisily
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    k = 0
    try:
        with client.setup_kernel():  # unlike client.execute(), it leaves Ctrl-C to Python
            for k, i in enumerate(code, start=1):
                report(k, len(code))
                client.execute_cell(notebook.cells[i], i, execution_count=k)
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}" if error.ename != "UserError" else error.evalue
        raise UserError(f"{path.name} stopped at code cell {k}: {reason}") from error
    except DeadKernelError as error:
        raise UserError(
            f"{path.name} stopped at code cell {k}: its kernel died, "
            "often for want of memory; close other programs and run this again."
        ) from error
    return tidy(notebook)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what a wiped progress bar leaves behind and what names this machine's Python."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("data") != {"text/plain": ""}]
            cell.metadata.pop("execution", None)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, atomically."""
    with replacing(path) as new:
        nbformat.write(notebook, new)


def collect(seconds: dict[str, float], source: str) -> dict:
    """The scoreboard, from what the notebooks published."""
    parts = {}
    for name in ENTRIES:
        path = BUILD / "scoreboard" / f"{name}.json"
        if not path.is_file():
            raise UserError(f"No notebook counted {name}: a cell should assign it.")
        parts[name] = json.loads(path.read_text(encoding="utf-8"))
    network = [part.pop("backbone") for part in parts.values()]
    shown = [part.pop("photos") for part in parts.values()]
    return {
        "date": date.today().isoformat(),
        "machine": measuring.machine(),
        "photos": {"source": source, **shown[0]},
        "backbone": network[0],
        **parts,
        "notebooks": seconds,
    }


def table(board: dict) -> str:
    """The scoreboard as lines of text."""
    network, shown = board["backbone"], board["photos"]
    lines = [
        f"photos    {shown['count']} ({', '.join(shown['classes'])}), from {shown['source']}",
        *unused(shown),
        f"backbone  {network['name']}, α {network['alpha']}, {network['size']} px, "
        f"weights: {network['weights']}",
        "",
        f"{'':<18}{'right':>12}{'share':>9}   {'95 % interval':<18}{'seconds':>8}",
    ]
    for name in ENTRIES:
        entry = board[name]
        right, total, (low, high) = entry["correct"], entry["total"], entry["interval"]
        lines.append(
            f"{name.replace('_', ' '):<18}{f'{right} of {total}':>12}{right / total:>9.1%}   "
            f"{f'{low:.1%} to {high:.1%}':<18}{entry['seconds']:>8.1f}"
        )
    return "\n".join(lines)


def unused(shown: dict) -> list[str]:
    """Lines that say how many files of the photos' folder were not used, and where they are named;
    none if all were. shown: the scoreboard's entry about photos.
    """
    counts = {"left out": shown.get("left_out", 0), "hidden": shown.get("hidden", 0)}
    if not any(counts.values()):
        return []
    said = ", ".join(f"{folders.files(n)} {what}" for what, n in counts.items() if n)
    return [
        f"unused    {said}",
        "          (named in build/notebooks/03_alpaca_classifier.ipynb, all in photos.left_out)",
    ]


def run(keep: bool, chosen: Sequence[Path] = ()) -> int:
    """Execute all but those ON_CALL, write the copies and the scoreboard, print it; or execute the
    chosen ones and write their copies. Returns the exit code, 0.
    """
    with alone(BUILD, wait=False) as free:
        if not free:
            raise UserError("Another run of the notebooks is at work in build/: let it end first.")
        if not keep:
            return _run(keep, chosen)
        with tempfile.TemporaryDirectory() as log:  # outputs tell of one clean run
            os.environ["MOBILENET_LOG"] = log
            return _run(keep, chosen)


def _run(keep: bool, chosen: Sequence[Path]) -> int:
    folder, line = _prepared(keep)
    print(line, flush=True)
    if not chosen:
        shutil.rmtree(BUILD / "scoreboard", ignore_errors=True)
    seconds, done = {}, {}
    for path in chosen or [path for path in notebooks() if path.stem not in ON_CALL]:
        start = time.monotonic()

        def report(k: int, n: int, path=path, start=start) -> None:
            text = f"{path.stem:<24} cell {k:>2} of {n}  {time.monotonic() - start:5.0f} s"
            print(text, end="\r" if sys.stdout.isatty() else "\n", flush=True)

        done[path] = execute(path, HERE, report)
        seconds[path.stem] = round(time.monotonic() - start, 1)
        write(done[path], BUILD / "notebooks" / path.name)
        print(f"{path.stem:<24} done          {seconds[path.stem]:5.0f} s", flush=True)
    if not chosen:
        source = "PHOTOS" if os.environ.get("PHOTOS") else folder.relative_to(ROOT).as_posix()
        board = collect(seconds, source)
        write_json(BUILD / "scoreboard.json", board)
        print(f"\n{table(board)}\n\nThis is build/scoreboard.json.")
    print("What ran is in build/notebooks/.")
    if keep:
        for path, notebook in done.items():
            write(notebook, path)
    return 0


def _prepared(keep: bool) -> tuple[Path, str]:
    """Put into the environment what all kernels are to use; the folder of photos, and lines that
    say what is used. Raises UserError if outputs could not be kept.
    """
    for name in ("PHOTOS", "KERAS_HOME"):  # kernels work in another folder
        if os.environ.get(name):
            os.environ[name] = str(from_root(os.environ[name]))
    found = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(found)  # kernels take this project, installed or not
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this Python's kernel, no other's
    folder, line = loading.find_folder()
    if keep:
        if folder != ROOT / "dataset" / "rendered":
            raise UserError(
                "Only outputs with drawn pictures are kept: unset PHOTOS and move dataset/photos/ "
                "away."
            )
        if corrections.FILE.exists():
            raise UserError(
                f"Only outputs with the folders' own labels are kept: move {corrections.NAME} away."
            )
        os.environ["WEIGHTS"] = "bundled"
    # Decided here for all notebooks, so that a network that hangs is waited for once.
    os.environ["WEIGHTS"] = weights = pretrained.find_weights()
    return folder, f"{line}\nBackbone: MobileNetV2, {backbone.SAID[weights]}."


def main() -> int:
    """Run the command; returns its exit code."""
    parser = command.Parser(
        "python notebooks/run.py", "Execute the notebooks and print the scoreboard."
    )
    parser.add_argument("--keep", action="store_true", help="put the outputs into notebooks/")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="these alone, without a scoreboard (07, say)"
    )
    options = parser.parse_args()
    try:
        chosen = sorted({named(name) for name in options.names})
    except ValueError as error:
        there = ", ".join(path.stem for path in notebooks())
        parser.error(f"there is no notebook {error}: use one of {there}")
    return command.run(lambda: run(options.keep, chosen))


if __name__ == "__main__":
    sys.exit(main())
