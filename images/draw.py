"""Draws the figures of the notebooks into this folder.

    python images/draw.py

The overview shows the blocks of MobileNetV2 and the cut; bodies.py draws both networks and their
blocks. The convolutions read from left to right: the input, one sheet of D_F × D_F pixels a
channel; the kernels; the output, one sheet a channel. Blue is read, orange multiplies it, green is
the sum. The letters are those of Howard et al. 2017 (arXiv 1704.04861).
"""

import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Polygon, Rectangle
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from images import bodies  # noqa: E402 (found by the line above)
from images.bodies import BLUE, GREEN, LINE, ORANGE, PALE, arrow  # noqa: E402
from mobilenet import cost  # noqa: E402

D_K, D_F, M, N = 3, 5, 3, 5  # the layer that is drawn
PIXEL = (2, 2)  # column and row of the output value that is followed
COLUMN, ROW = (0.48, 0.0), (0.25, 0.25)  # one pixel to the right, one pixel to the back
STEP = 1.6  # from a sheet to the one above it
INPUT, KERNELS, OUTPUT = 1.3, 9.35, 14.0  # left end, middle, left end


def point(x, y, column, row):
    """Where a column and a row begin on the sheet whose near left corner is (x, y)."""
    return x + column * COLUMN[0] + row * ROW[0], y + column * COLUMN[1] + row * ROW[1]


def sheet(axes, x, y, side, filled, colour, rest="white"):
    """A sheet of side × side pixels: the filled ones (column, row) in colour, the rest not."""
    for row in range(side):
        for column in range(side):
            square = ((0, 0), (1, 0), (1, 1), (0, 1))
            corners = [point(x, y, column + right, row + back) for right, back in square]
            face = colour if (column, row) in filled else rest
            axes.add_patch(Polygon(corners, facecolor=face, edgecolor=LINE, linewidth=0.8))


def block(side, middle):
    """The side × side pixels round the middle one."""
    left, near = (at - side // 2 for at in middle)
    return [(left + i, near + j) for i in range(side) for j in range(side)]


def heights(count):
    """The near edge of each of count sheets, first on top, stacked about the height 0."""
    return [STEP * ((count - 1) / 2 - index) - D_F * ROW[1] / 2 for index in range(count)]


def bracket(axes, x, lines, text, tick):
    """A bracket at x along sheets with these near edges, its text on the side away from tick."""
    low, high = min(lines), max(lines) + D_F * ROW[1]
    axes.plot([x + tick, x, x, x + tick], [low, low, high, high], color="black", lw=1.2)
    side = "right" if tick > 0 else "left"
    axes.text(x - tick, (low + high) / 2, text, ha=side, va="center", size=16)


def sides(axes, x, y, side, text):
    """The length of a sheet's near edge and of its right edge."""
    axes.text(*point(x, y - 0.12, side / 2, 0), text, ha="center", va="top", size=14)
    axes.text(*point(x + 0.2, y - 0.05, side, side / 8), text, ha="left", va="center", size=14)


def picture(side, outputs, mixes, headings, texts):
    """One kind of convolution as a Figure: kernels of side × side, and outputs of them.

    mixes is True where a kernel spans all M channels, False where each sees its own. headings
    stand over input, kernels and output; texts are the two lines below.
    """
    below = -STEP * outputs / 2 - 0.75
    above = STEP * outputs / 2 + 0.75
    height = above - below + 1.5
    figure = Figure(figsize=(10, height / 1.85), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 18.8), ylim=(below - 1.5, above))
    axes.axis("off")
    before, after = heights(M), heights(outputs)
    spans = M if mixes else 1
    width = side * (COLUMN[0] + ROW[0])  # of one sheet of a kernel
    pitch = width + (0.15 if side > 1 else 0.4)
    left = KERNELS - (spans * pitch - pitch + width) / 2
    right = 2 * KERNELS - left
    lift = (D_F - side) * ROW[1] / 2  # puts a kernel at the height of its output
    for y in before:
        sheet(axes, INPUT, y, D_F, block(side, PIXEL), BLUE)
    for index, y in enumerate(after):
        shown = index == 0 or not mixes
        for span in range(spans):
            rest = ORANGE if shown else PALE
            sheet(axes, left + span * pitch, y + lift, side, (), ORANGE, rest)
        sheet(axes, OUTPUT, y, D_F, [PIXEL] if shown else (), GREEN)
        if shown:
            middle = y + D_F * ROW[1] / 2
            for source in before if mixes else [y]:
                start = point(INPUT, source, PIXEL[0] + side / 2 + 0.5, PIXEL[1] + 0.5)
                arrow(axes, start, (left - 0.1, middle), BLUE)
            end = point(OUTPUT, y, PIXEL[0], PIXEL[1] + 0.5)
            arrow(axes, (right + 0.05, middle), end, GREEN)
    sides(axes, INPUT, before[-1], D_F, "$D_F$")
    sides(axes, OUTPUT, after[-1], D_F, "$D_F$")
    sides(axes, left, after[-1] + lift, side, "$D_K$" if side > 1 else "$1$")
    bracket(axes, INPUT - 0.45, before, "$M$", 0.15)
    bracket(axes, OUTPUT + 4.0, after, "$N$" if mixes else "$M$", -0.15)
    for x, text in zip((INPUT + 1.8, KERNELS, OUTPUT + 1.8), headings, strict=True):
        axes.text(x, above - 0.4, text, ha="center", va="center", size=14)
    for y, text in zip((below - 0.2, below - 0.95), texts, strict=True):
        axes.text(9.4, y, text, ha="center", va="center", size=14.5)
    return figure


CUT = 14  # index of block 13 in bodies.v2_maps()


def alpaca(axes, x, y, scale):
    """An alpaca looking right; (x, y) is the middle of its body."""
    fleece, dark = "#c9b79c", "#3d352b"

    def oval(left, up, width, height, colour=fleece, angle=0):
        middle = (x + left * scale, y + up * scale)
        axes.add_patch(
            Ellipse(middle, width * scale, height * scale, angle=angle, facecolor=colour, lw=0)
        )

    for leg in (-0.55, -0.3, 0.25, 0.5):
        oval(leg, -0.75, 0.2, 0.9)
    oval(0, 0, 1.6, 0.95)  # body
    oval(-0.78, 0.15, 0.25, 0.4)  # tail
    oval(0.68, 0.65, 0.4, 1.3, angle=-12)  # neck
    for ear in (0.66, 0.88):
        oval(ear, 1.58, 0.11, 0.36, angle=-5)
    oval(0.85, 1.25, 0.5, 0.4)  # head
    oval(1.06, 1.17, 0.28, 0.24, "#e3d6c0")  # muzzle
    oval(0.77, 1.42, 0.36, 0.28)  # top-knot
    oval(0.9, 1.29, 0.07, 0.09, dark)  # eye
    oval(1.16, 1.19, 0.05, 0.05, dark)  # nose


def overview():
    """From a photo to an answer: what is computed once, what is trained, and where the cut is."""
    figure = Figure(figsize=(10, 3.7), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(-18.5, 18.5), aspect="equal")
    axes.axis("off")
    axes.add_patch(Rectangle((1.5, -6.5), 13, 13, facecolor=bodies.PHOTO, edgecolor=LINE))
    alpaca(axes, 7, -1, 4.2)
    axes.text(8, -9, "a photo", ha="center", va="center", size=12)
    arrow(axes, (15.2, 0), (17.2, 0), LINE)
    left, edges = 18.0, []
    for index, (side, channels) in enumerate(bodies.v2_maps()):
        height, width = 2.2 * side**0.5, 0.75 + channels**0.5 / 10
        colour = ORANGE if index >= CUT else BLUE
        edges.append(left)
        axes.add_patch(
            Rectangle((left, -height / 2), width, height, facecolor=colour, edgecolor="white", lw=0)
        )
        left += width + 1.4
    cut, end = edges[CUT] - 0.7, left - 1.4
    axes.plot([cut, cut], [-11, 12], color="black", lw=1.8, ls=(0, (4, 2)))
    axes.text(cut, 14, "the cut: block_13_expand", ha="center", va="center", size=12)
    for start, stop, text, colour in (
        (edges[0], cut - 0.5, "frozen: each view goes through\nonce, the result is kept", BLUE),
        (cut + 0.5, end, "fine-tuned: again\nin every epoch", "#9a6a00"),
    ):
        axes.plot([start, start, stop, stop], [-12.2, -13, -13, -12.2], color=colour, lw=1.6)
        axes.text((start + stop) / 2, -13.8, text, ha="center", va="top", size=12, color=colour)
    arrow(axes, (end + 0.8, 0), (end + 4.3, 0), LINE)
    head = end + 5
    axes.add_patch(Rectangle((head, -6), 2.4, 12, facecolor=GREEN, lw=0))
    axes.text(head + 1.2, -9, "new head", ha="center", va="center", size=12)
    arrow(axes, (head + 3.2, 0), (head + 6.2, 0), LINE)
    axes.text(head + 7, 0, "P(alpaca)", ha="left", va="center", size=14)
    return figure


def figures():
    """Each figure with its file's name."""
    yield "overview.png", overview()
    yield "v1_body.png", bodies.v1_body()
    yield "v2_block.png", bodies.v2_block()
    yield "v2_strip.png", bodies.v2_strip()

    reads = "an output value (green) = sum of {} (blue) × weights (orange)"
    takes = "multiply-adds:  {}      (as drawn: {:,})"
    whole = r"$D_K\cdot D_K\cdot M\cdot N\cdot D_F\cdot D_F$"
    headings = (
        "input: $M$ channels",
        r"$N$ kernels of $D_K\times D_K\times M$",
        "output: $N$ channels",
    )
    texts = (
        reads.format(r"$D_K\cdot D_K\cdot M$ inputs of all channels"),
        takes.format(whole, cost.standard(D_K, M, N, D_F).multiply_adds),
    )
    yield "standard_convolution.png", picture(D_K, N, True, headings, texts)

    headings = "input: $M$ channels", r"$M$ kernels of $D_K\times D_K$", "output: $M$ channels"
    texts = (
        reads.format(r"$D_K\cdot D_K$ inputs of its own channel"),
        takes.format(
            r"$D_K\cdot D_K\cdot M\cdot D_F\cdot D_F$", cost.depthwise(D_K, M, D_F).multiply_adds
        ),
    )
    yield "depthwise_convolution.png", picture(D_K, M, False, headings, texts)

    headings = "input: $M$ channels", r"$N$ kernels of $1\times 1\times M$", "output: $N$ channels"
    texts = (
        reads.format("the $M$ inputs of its pixel"),
        takes.format(r"$M\cdot N\cdot D_F\cdot D_F$", cost.pointwise(M, N, D_F).multiply_adds),
    )
    yield "pointwise_convolution.png", picture(1, N, True, headings, texts)


if __name__ == "__main__":
    for name, figure in figures():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=bodies.DPI)
        # A palette: a quarter of the bytes, and the same ones each time.
        Image.open(buffer).convert("RGB").quantize(128).save(HERE / name, optimize=True)
        print(f"images/{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")
