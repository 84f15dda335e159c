"""What every picture of the notebooks is drawn on: its colours, its size, its way to the page.

A figure carries a sentence of alt text as its label; `show(figure)` puts both into the notebook.
"""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image

from mobilenet.interrupts import held

with held():
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.textpath import TextPath

# Okabe and Ito's palette: told apart by colour-blind readers, legible on light and dark pages.
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#6b6b6b"
CLASS_COLOURS = (BLUE, ORANGE, "#cc79a7", "#56b4e9", "#8c6d00", GREY)
WIDEST = 8.8  # inches, what JupyterLab has beside its list of files in a window of 1280 × 800
LETTER = 6.4  # points, the width of a usual one of 9 points
BOLD = FontProperties(weight="bold")
DPI = 96  # a point is then the size that a browser gives it


def class_colour(label: int) -> str:
    """The colour of class number `label` in every figure; they repeat after six."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def new_figure(width: float, height: float, alt: str, rows: int = 1, columns: int = 1, **subplots):
    """A Figure of width × height inches with rows × columns axes; alt is its text for the blind.

    Returns (figure, axes), axes as matplotlib's `subplots` gives them. The figure belongs to no
    window and no global list, so that a cell run twice leaks nothing.
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # inches; thick frames are drawn whole
    figure.set_label(alt)
    return figure, figure.subplots(rows, columns, **subplots)


def show(figure: Figure) -> None:
    """Display a figure in the notebook with its label as alt text in the output's metadata.

    Drawings are shown as PNG, figures that hold photos as JPEG at a fifth of the size.
    """
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    kind = "image/png"
    if any(axes.get_gid() == "photo" for axes in figure.axes):
        picture, buffer = Image.open(buffer).convert("RGB"), io.BytesIO()
        picture.save(buffer, "JPEG", quality=85, subsampling=0)
        kind = "image/jpeg"
    alt = figure.get_label()
    data = {kind: base64.b64encode(buffer.getvalue()).decode(), "text/plain": alt}
    display(data, raw=True, metadata={kind: {"alt": alt}})


def show_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Display a table, with plain text for where no table can be shown. Cells are written as is."""
    from IPython.display import display

    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    plain = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    lines.insert(1, ["---"] * len(header))
    markdown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    display({"text/markdown": markdown, "text/plain": plain}, raw=True)


def short(name: str, limit: int = 14) -> str:
    """A name in one line of at most `limit` letters, and no wider than that many of usual width.

    □ stands for a letter that the figures' font lacks.
    """
    letters = _letters()
    name = "".join(letter if ord(letter) in letters else "□" for letter in printable(name))
    cut = limit
    while len(name) > cut or width(name[:cut]) > LETTER * limit:
        cut -= 1
        if width(name[:cut] + "…") <= LETTER * limit:
            name = name[:cut] + "…"
            break
    return name.replace("$", r"\$")  # else matplotlib takes what is between two for a formula


def printable(name: str) -> str:
    """A name as any terminal and notebook can show it, in one line."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


@lru_cache(maxsize=4096)
def width(text: str) -> float:
    """Of a line of bold letters of 9 points, in points."""
    return TextPath((0, 0), text.replace("$", r"\$"), size=9, prop=BOLD).get_extents().width


@lru_cache
def _letters() -> dict[int, int]:
    """The letters that the figures' font has."""
    return get_font(findfont("DejaVu Sans")).get_charmap()
