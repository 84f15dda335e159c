"""Many photos: how seconds and memory grow from half of them to all, stage by stage.

The photos are made up, coarse noise of 96 to 160 px: class "a" changes from side to side, "b" from
top to bottom, and a tenth lie in the wrong folder, so that a head has something to learn and
something to miss. `mobilenet.bench` measures them, a process for each of the two sizes.
"""

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilenet import UserError
from mobilenet.benchmarks.one_run import KEPT, MANY
from mobilenet.system.progress import progress

CLASSES = {"a": (12, 4), "b": (4, 12)}  # the places of the noise across and down
WRONG = 0.1  # share of the photos that are drawn as of the other class
SIDES = (96, 160)  # px
AT_ONCE = 500  # photos that a thread writes before it is asked for more
STAGES = {"scan": "scan and decode", "split": "split", "views": "frozen pass", "fit": "head"}


def photo(i: int, seed: int) -> Image.Image:
    """The photo at position i, of class "ab"[i % 2]: the same for the same seed, no two alike."""
    rng = np.random.default_rng([seed, i])
    across, down = list(CLASSES.values())[(i + (rng.random() < WRONG)) % 2]
    noise = rng.integers(0, 256, (down, across, 3), np.uint8)
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def make_photos(folder: Path, first: int, last: int, seed: int = 0) -> None:
    """Write the photos at positions first to last - 1 into folder/a and folder/b, as JPEG."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)

    def put(start: int) -> None:
        for i in range(start, min(start + AT_ONCE, last)):
            photo(i, seed).save(folder / "ab"[i % 2] / f"{i:06}.jpg", quality=85)

    starts = range(first, last, AT_ONCE)
    with ThreadPoolExecutor(2) as pool:
        list(progress(pool.map(put, starts), len(starts), "Made photos"))


def grow(count: int, place: Path, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Measure half of `count` made photos, then all, in a folder below place that is removed again.

    measure: what the run "many" of `one_run` finds with the photos in a folder. Returns
    both, and how many times as much the second is. Raises UserError if the disk is full.
    """
    runs = []
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as inside:
            folder = Path(inside) / "photos"
            for first, last in ((0, count // 2), (count // 2, count)):
                make_photos(folder, first, last)
                found = measure(folder)
                stages = [found[stage] for stage in STAGES]
                runs.append({"photos": last, **found, "whole": np.sum(stages, axis=0).tolist()})
                shutil.rmtree(folder.parent / KEPT)  # all of it is done anew
    except OSError as error:
        raise UserError(
            f"{count:,} photos could not be made ({error.strerror or error}): free some space."
        ) from error
    small, large = runs
    times = {
        stage: (np.array(large[stage]) / np.maximum(small[stage], 1e-9)).tolist()
        for stage in (*STAGES, "whole")
    }
    if small["peak_memory"]:
        times["peak_memory"] = large["peak_memory"] / small["peak_memory"]
    return {"knobs": MANY._asdict(), "runs": runs, "times": times}


def table(found: dict[str, Any]) -> str:
    """What `grow` found, in plain text."""
    knobs, runs, times = found["knobs"], found["runs"], found["times"]
    lines = [
        f"Made photos, {knobs['size']} px, {knobs['views']} views, {knobs['head_epochs']} epochs: "
        "seconds by the clock (of the processor).",
        f"{'photos':<18}" + "".join(f"{run['photos']:>20,}" for run in runs) + f"{'times':>16}",
    ]
    for stage, name in {**STAGES, "whole": "together"}.items():
        cells = ["{:,.1f} s ({:,.1f} s)".format(*run[stage]) for run in runs]
        factors = "{:.2f} ({:.2f})".format(*times[stage])
        lines.append(f"{name:<18}{cells[0]:>20}{cells[1]:>20}{factors:>16}")
    if "peak_memory" in times:
        cells = [f"{run['peak_memory']:,.0f} MB" for run in runs]
        lines.append(f"{'peak memory':<18}{cells[0]:>20}{cells[1]:>20}{times['peak_memory']:>9.2f}")
    right = ", ".join(f"{run['correct']:,} of {run['total']:,}" for run in runs)
    lines.append(f"Test accuracy: {right} (a tenth lie in the wrong folder).")
    return "\n".join(lines)
