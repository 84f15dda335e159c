"""Draws the pictures of dataset/rendered/, alpacas, animals like them, and nobody at all, and those
of dataset/rendered_other/, things that are no animals.

    python dataset/render.py        (make rendered)

Each picture is a small scene of solids, but for a few flat patterns, and is traced with four rays a
pixel (rendering/). All that is random comes from the picture's name, so each is drawn alike on
every machine and in any order. The pixels are equal to the last bit; the JPEG files are so where
Pillow brings the same libjpeg.
"""

import io
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from dataset.rendering.scenes import compose, compose_thing  # noqa: E402 (found by the line above)
from dataset.rendering.shapes import Dice  # noqa: E402
from dataset.rendering.things import PATTERNS, SOLIDS, pattern  # noqa: E402
from dataset.rendering.tracing import traced  # noqa: E402
from mobilenet.system import command, files  # noqa: E402
from mobilenet.system.progress import progress  # noqa: E402

SEED = 6  # of 1 to 8 that which shares place, light and framing most evenly
SIZE = 256  # pixels
ALPACAS = 240
# pictures that are not alpaca; of two kinds together ("mixed") as many as among the alpacas
OTHERS = {
    "sheep": 38, "goat": 32, "dog": 30, "deer": 24, "camel": 26, "horse": 20, "giraffe": 5,
    "ostrich": 5, "mixed": 20, "nobody": 40,
}  # fmt: skip
THINGS = 3  # pictures of each thing that is no animal
QUALITY = 84


def names() -> list[str]:
    """The pictures' names, below dataset/rendered/."""
    alpacas = [f"alpaca/{i:03}.jpg" for i in range(1, 1 + ALPACAS)]
    others = [f"{kind}-{i:02}" for kind, n in OTHERS.items() for i in range(1, 1 + n)]
    return alpacas + [f"not alpaca/{name}.jpg" for name in others]


def other_names() -> list[str]:
    """The names of the pictures of no animals, in dataset/rendered_other/."""
    return [f"{kind}-{i}.jpg" for kind in (*SOLIDS, *PATTERNS) for i in range(1, 1 + THINGS)]


def species(name: str) -> str | None:
    """Which animal a picture of this name shows, "mixed" for several, None for nobody."""
    if name.startswith("alpaca/"):
        return "alpaca"
    kind = name.split("/")[1].split("-")[0]
    return None if kind == "nobody" else kind


def picture(name: str, size: int = SIZE, grid: int = 2) -> np.ndarray:
    """The picture of this name, uint8 (size, size, 3) RGB, from grid × grid rays a pixel."""
    dice, side, kind = Dice(SEED, name), size * grid, name.split("-")[0]
    if kind in PATTERNS:
        light = pattern(kind, dice, side)
    elif kind in SOLIDS:
        light = traced(compose_thing(dice, SOLIDS[kind]), side)
    else:
        light = traced(compose(dice, species(name)), side)
    total = 0.0
    for i in range(grid):
        for j in range(grid):
            total = total + light[:, i::grid, j::grid]
    return np.rint(255 * total / (grid * grid)).astype(np.uint8).transpose(1, 2, 0)


def encode(pixels: np.ndarray) -> bytes:
    """Pixels, uint8 (height, width, 3), as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def draw_file(job: tuple[str, str, int]) -> str:
    """Draw one picture, (folder, name, size), into folder/name; returns the name."""
    folder, name, size = job
    data = encode(picture(name, size))
    with files.replacing(Path(folder) / name) as new:
        new.write_bytes(data)
    return name


def draw_all(folder: Path, wanted: list[str], size: int = SIZE, processes: int | None = None):
    """Draw the wanted pictures into a folder, several at a time, with a progress bar.

    Files of other names stay. Raises UserError if the disk does not take one.
    """
    jobs = [(str(folder), name, size) for name in wanted]
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    if processes < 2:
        for _ in progress(map(draw_file, jobs), len(jobs), "Pictures"):
            pass
        return
    # Fresh processes, as Windows and macOS start them.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in progress(pool.imap_unordered(draw_file, jobs), len(jobs), "Pictures"):
            pass


def main(folder: Path, wanted: list[str], size: int = SIZE) -> int:
    """Draw the wanted pictures and say what was made."""
    draw_all(folder, wanted, size)
    weight = sum((folder / name).stat().st_size for name in wanted) / 1e6
    many = f"{len(wanted)} picture{'' if len(wanted) == 1 else 's'}"
    print(f"{many} drawn into {folder.name}/, {weight:.1f} MB.")
    return 0


def draw_both() -> int:
    """Draw all that lies in dataset/rendered/ and dataset/rendered_other/."""
    main(HERE / "rendered", names())
    return main(HERE / "rendered_other", other_names())


if __name__ == "__main__":
    parser = command.Parser(
        "python dataset/render.py", "Draw the pictures of dataset/rendered/ and rendered_other/."
    )
    parser.parse_args()
    sys.exit(command.run(draw_both))
