"""What every picture of the notebooks is drawn on: its colours, its size, its way to the page.

A figure carries a sentence of alt text as its label; `show(figure)` puts both into the notebook.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette: told apart by colour-blind readers, legible on light and dark pages.
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#6b6b6b"
CLASS_COLOURS = (BLUE, ORANGE, "#cc79a7", "#56b4e9", "#8c6d00", GREY)
WIDEST = 8.8  # inches, what JupyterLab has beside its list of files in a window of 1280 × 800
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
        picture.save(buffer, "JPEG", quality=88, subsampling=0)
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


def short(name: str, limit: int = 14, end: int = 0) -> str:
    """A name of at most `limit` characters, of which, if some are left out, `end` are its last."""
    if len(name) > limit:
        name = name[: limit - 1 - end] + "…" + name[len(name) - end :]
    return name.replace("$", r"\$")  # else matplotlib takes what is between two for a formula
