"""Shared loading and plotting: what a notebook cell calls.

Every plot returns a matplotlib Figure that carries a sentence of alt text as its label;
`show(figure)` puts both into the notebook.
"""

import base64
import io

from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers, legible on light and dark pages.
BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#6b6b6b"


def new_figure(width: float, height: float, alt: str, rows: int = 1, columns: int = 1, **subplots):
    """A Figure of width × height inches with rows × columns axes; alt is its text for the blind.

    Returns (figure, axes), axes as matplotlib's `subplots` gives them. The figure belongs to no
    window and no global list, so that a cell run twice leaks nothing.
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.set_label(alt)
    return figure, figure.subplots(rows, columns, **subplots)


def show(figure: Figure, dpi: int = 90) -> None:
    """Display a figure in the notebook as PNG, with its label as alt text in the metadata."""
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    png = base64.b64encode(buffer.getvalue()).decode()
    alt = figure.get_label()
    data = {"image/png": png, "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})
