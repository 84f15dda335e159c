"""Draws the figures of the notebooks into this folder.

    python images/draw.py

The overview shows the blocks of MobileNetV2 and the cut, frozen_once what goes through them how
often; architectures.py draws both networks and their blocks. The convolutions read from left to
right: the input, one sheet of D_F × D_F pixels a channel; the kernels; the output, one sheet a
channel. Blue is read, orange multiplies it, green is the sum. The letters are those of Howard et
al. 2017 (arXiv 1704.04861).
"""

import io
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon, Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from images import architectures  # noqa: E402 (found by the line above)
from images.architectures import (  # noqa: E402
    BLUE,
    BROWN,
    GREEN,
    LINE,
    ORANGE,
    PALE,
    arrow,
    slab,
    write,
)
from mobilenet.networks import cost  # noqa: E402

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


CUT = 14  # index of block 13 in architectures.v2_maps()


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
    axes.add_patch(Rectangle((1.5, -6.5), 13, 13, facecolor=architectures.PHOTO, edgecolor=LINE))
    alpaca(axes, 7, -1, 4.2)
    axes.text(8, -9, "a photo", ha="center", va="center", size=12)
    arrow(axes, (15.2, 0), (17.2, 0), LINE)
    left, edges = 18.0, []
    for index, (side, channels) in enumerate(architectures.v2_maps()):
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


ONCE, AGAIN = "#ecf4fa", "#fef9ec"  # behind what is done once, behind what every epoch does
# Columns of frozen_once, in pixels: two middles, the blocks' left ends, a middle, two left ends.
PHOTO_AT, VIEW_AT, BELOW_AT, KEPT_AT, ABOVE_AT, HEAD_AT, LOSS_AT = 76, 212, 312, 642, 756, 934, 1006
# Angle in degrees, zoom, and -1 where it is mirrored; the last one is the photo itself.
VIEWS = ((-14, 0.95, 1), (12, 1.1, -1), (14, 0.9, 1), (-10, 1.05, -1), (0, 1, 1))


def view(axes, x, y, side, angle=0, zoom=1, mirror=1):
    """A view of the photo, its middle at (x, y), on axes that count downwards."""
    frame = Rectangle((x - side / 2, y - side / 2), side, side, facecolor=architectures.PHOTO)
    frame.set(edgecolor=LINE, lw=1)
    axes.add_patch(frame)
    first, scale = len(axes.patches), 0.31 * zoom * side
    alpaca(axes, 0, 0, 1)
    move = Affine2D().translate(-0.24, -0.24).scale(mirror * scale, -scale)
    move = move.rotate_deg(angle).translate(x, y) + axes.transData
    for part in axes.patches[first:]:
        part.set_transform(move)
        part.set_clip_path(frame)


def passed(axes, y):
    """All blocks about the height y, the head, the loss and the gradients' way back; returns where
    the frozen blocks end.
    """
    left, ends = BELOW_AT, []
    for index, (side, channels) in enumerate(architectures.v2_maps()):
        left = ABOVE_AT if index == CUT else left
        width = 4.5 + channels**0.5 / 1.9
        slab(axes, left, y, width, 11.2 * side**0.5, ORANGE if index >= CUT else BLUE)
        ends.append(left + width)
        left += width + 8
    slab(axes, HEAD_AT, y, 16, 66, GREEN)
    write(axes, HEAD_AT + 8, y - 47, "head", "center", 11.5)
    write(axes, LOSS_AT, y, "loss", size=12.5)
    arrow(axes, (PHOTO_AT + 48, y), (VIEW_AT - 56, y), LINE)
    arrow(axes, (VIEW_AT + 56, y), (BELOW_AT - 8, y), LINE)
    arrow(axes, (ends[CUT - 1] + 8, y), (KEPT_AT - 38, y), LINE)
    arrow(axes, (KEPT_AT + 38, y), (ABOVE_AT - 8, y), LINE)
    arrow(axes, (ends[-1] + 8, y), (HEAD_AT - 8, y), LINE)
    arrow(axes, (HEAD_AT + 24, y), (LOSS_AT - 8, y), LINE)
    arrow(axes, (LOSS_AT + 22, y + 44), (ABOVE_AT, y + 44), BROWN)
    write(axes, LOSS_AT + 22, y + 60, "gradients", "right", 11.5, color=BROWN)
    write(axes, ABOVE_AT, y + 74, "blocks that learn", size=11.5, color=BROWN)
    return ends[CUT - 1]


def ground(axes, left, right, y, colour, text):
    """What happens once, or in every epoch: a coloured ground about the height y, and its name."""
    ink, edge = (BLUE, BLUE) if colour == ONCE else (BROWN, ORANGE)
    style = {"boxstyle": "round,pad=0,rounding_size=10", "facecolor": colour, "edgecolor": edge}
    axes.add_patch(FancyBboxPatch((left, y - 96), right - left, 190, **style))
    write(axes, left + 14, y - 76, text, size=12.5, weight="bold", color=ink)


def disk(axes, x, y, width, height):
    """What is kept: a cylinder whose middle is at (x, y)."""
    style = {"facecolor": "white", "edgecolor": BLUE, "lw": 1.8}
    top, bottom = y - height / 2, y + height / 2
    axes.add_patch(Ellipse((x, bottom), width, 20, **style))
    axes.add_patch(Rectangle((x - width / 2, top), width, height, facecolor="white", lw=0))
    for side in (x - width / 2, x + width / 2):
        axes.plot([side, side], [top, bottom], color=BLUE, lw=1.8)
    axes.add_patch(Ellipse((x, top), width, 20, **style))


def frozen_once():
    """The usual way, and the frozen work done once: what is passed again in every epoch."""
    figure, axes = architectures.canvas(594)
    usual, here = 142, 382
    write(axes, 16, 22, "The usual way", size=13.5, weight="bold")
    ground(axes, 12, 1088, usual, AGAIN, "in every epoch: all of this, for every photo")
    write(axes, 16, 262, "In this project", size=13.5, weight="bold")
    ground(axes, 12, 712, here, ONCE, "once: every view of every photo")
    ground(axes, 722, 1088, here, AGAIN, "in every epoch: only this")
    for y in (usual, here):
        cut = passed(axes, y) + 15
        axes.plot([cut, cut], [y - 66, y + 84], color="black", lw=1.8, ls=(0, (4, 2)))
        write(axes, cut, y - 78, "the cut", "center", 11.5)
        view(axes, PHOTO_AT, y, 84)
        write(axes, PHOTO_AT, y + 60, "decoded", "center", 11.5)
        if y == here:
            disk(axes, KEPT_AT, y, 66, 58)
        for i in range(3):
            slab(axes, KEPT_AT - 19 + 14 * i, y + 4, 10, 36, ONCE, lw=1.4, edgecolor=BLUE)
        write(axes, KEPT_AT, y - (56 if y == here else 32), "activations", "center", 11.5)

    view(axes, VIEW_AT, usual, 84, *VIEWS[1])
    write(axes, VIEW_AT, usual + 60, "augmented", "center", 11.5)
    write(axes, 444, usual + 74, "frozen blocks", "center", 11.5, color=BLUE)
    write(axes, KEPT_AT, usual + 53, "used once,\nthrown away", "center", 11.5)

    for i, change in enumerate(VIEWS):
        view(axes, VIEW_AT + 16 - 8 * i, here - 16 + 8 * i, 58, *change)
    write(axes, VIEW_AT, here + 69, "augmented:\nV views", "center", 11.5)
    write(axes, 444, here + 69, "frozen blocks,\nBatchNorm folded", "center", 11.5, color=BLUE)
    write(axes, KEPT_AT, here + 65, "kept on disk,\nfloat16", "center", 11.5)

    named = (
        "a file in build/cache/ is named by the",
        "cut and a hash of all else that goes in",
    )
    edges = (12, 324), (356, 668), (700, 1088)
    texts = (
        ("Nothing is passed again after", "another learning rate,", "other epochs or dropout"),
        ("One pass after", "another cut, other views,", "other photos or weights"),
        ("A changed photo is noticed", *named),
    )
    for (start, end), (heading, *lines) in zip(edges, texts, strict=True):
        axes.plot([start, end], [498, 498], color=LINE, lw=1)
        write(axes, start + 4, 522, heading, size=12, weight="bold")
        for y, line in zip((548, 570), lines, strict=True):
            write(axes, start + 4, y, line)
    return figure


def figures():
    """Each figure with its file's name."""
    yield "overview.png", overview()
    yield "frozen_once.png", frozen_once()
    yield "v1_body.png", architectures.v1_body()
    yield "v2_block.png", architectures.v2_block()
    yield "v2_strip.png", architectures.v2_strip()

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
        figure.savefig(buffer, format="png", dpi=architectures.DPI)
        # A palette: a quarter of the bytes, and the same ones each time.
        Image.open(buffer).convert("RGB").quantize(128).save(HERE / name, optimize=True)
        print(f"images/{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")
