"""What every picture of the notebooks is drawn on: its colours, its size, its way to the page.

A figure carries a sentence of alt text as its label; `show(figure)` puts both into the notebook.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mobilenet.figures.lettering import families
from mobilenet.system.guards import held

with held():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's palette: told apart by colour-blind readers, legible on light and dark pages.
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#6b6b6b"
PURPLE, SKY, YELLOW, BROWN = "#cc79a7", "#56b4e9", "#f0e442", "#8c6d00"
# Green is right, vermilion is wrong and yellow is what was chosen, so no class has one of them.
CLASS_COLOURS = (PURPLE, BLUE, SKY, BROWN, "#222222", GREY)
CHOSEN = {"marker": "o", "ms": 9, "mfc": YELLOW, "mec": "black", "mew": 1.5, "ls": "none"}
WIDEST = 8.8  # inches, what JupyterLab has beside its list of files in a window of 1280 × 800
DPI = 96  # pixels of a page in an inch: a point is then the size that a browser gives it
SHARP = 2  # pixels of a picture for one of the page, as screens of high resolution have
COLOURS = 2048  # in a picture; with more it is kept as it is, with fewer in a palette of 256
QUALITIES = (80, 70, 60, 50, 40)  # of a JPEG, the first with which it has at most BYTES
BYTES = 160_000  # so that a notebook with seven pictures of photos stays below 1.5 MB


def class_colour(label: int) -> str:
    """Return the colour of class number `label` in every figure; they repeat after six."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def ink(colour: str) -> str:
    """Return the colour of letters that are legible on a colour, "#rrggbb": white or black."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 128 else "black"


def percent(share: float) -> str:
    """Return a probability in words: "84 %"; one that is nearly 0 or 1 as "< 1 %" or "> 99 %"."""
    whole = round(100 * share)
    if share not in (0, 1) and whole in (0, 100):
        return "> 99 %" if whole else "< 1 %"
    return f"{whole} %"


class Page(Figure):
    """A Figure whose texts are drawn in the fonts of `lettering`, whoever wrote them."""

    def draw(self, renderer) -> None:
        for text in self.findobj(Text):
            text.set_fontfamily(families(text.get_fontfamily()))
        super().draw(renderer)


def new_figure(width: float, height: float, alt: str, rows: int = 1, columns: int = 1, **subplots):
    """A Figure of width × height inches with rows × columns axes; alt is its text for the blind.

    Returns (figure, axes), axes as matplotlib's `subplots` gives them. The figure belongs to no
    window and no global list, so that a cell run twice leaks nothing.
    """
    figure = Page(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # inches; thick frames are drawn whole
    figure.set_label(alt)
    return figure, figure.subplots(rows, columns, **subplots)


def show(figure: Figure) -> None:
    """Display a figure in the notebook with its label as alt text in the output's metadata.

    It is drawn with SHARP × SHARP pixels for each of the page; the metadata holds the width and the
    height at which it is shown. Drawings are PNG, figures that hold photos are JPEG.
    """
    from IPython.display import display

    picture = drawn(figure)
    holds_photos = any(axes.get_gid() == "photo" for axes in figure.axes)
    kind, coded = ("image/jpeg", _jpeg(picture)) if holds_photos else ("image/png", png(picture))
    alt = figure.get_label()
    data = {kind: base64.b64encode(coded).decode(), "text/plain": alt}
    size = {"width": picture.width // SHARP, "height": picture.height // SHARP}
    display(data, raw=True, metadata={kind: {"alt": alt, **size}})


def drawn(figure: Figure) -> Image.Image:
    """Return a figure as an RGB picture, SHARP × DPI pixels an inch. Unlike `savefig`, this lays it
    out and draws it in one go.
    """
    figure.set_dpi(SHARP * DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _jpeg(picture: Image.Image) -> bytes:
    """A picture as JPEG of at most BYTES, or of the lowest quality."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= BYTES:
            break
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """Return a picture as PNG, with a palette if that is not seen: it takes half the bytes."""
    if picture.getcolors(COLOURS):
        picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def show_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Display a table of Markdown cells; as plain text, without bold, where none can be shown."""
    from IPython.display import display

    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    bare = [[cell.replace("**", "") for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*bare, strict=True)]
    plain = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in bare
    )
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    lines.insert(1, ["---"] * len(header))
    markdown = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    display({"text/markdown": markdown, "text/plain": plain}, raw=True)
