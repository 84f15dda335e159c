"""Figures of both architectures and of their blocks, for draw.py.

V1: Howard et al. 2017, arXiv 1704.04861, table 1. V2: Sandler et al. 2018, arXiv 1801.04381,
tables 1 and 2. A feature map is a slab, the higher the more pixels, the wider the more channels.
Everything is for α 1.0 and photos of 224 pixels; positions are pixels from the top left corner.
"""

from collections import namedtuple

from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from mobilenet.networks import cost, mobilenets

BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"  # as in mobilenet/figures/canvas.py
PALE, LINE = "#fdf1d8", "#8c8c8c"  # what stays in the background; the grid
BROWN, PHOTO = "#9a6a00", "#e6efda"  # orange that can be read as text; the photo
GREY, DARK = "#b4bcc4", "#4d4d4d"  # maps where colours mean costs; remarks
# The first three as in notebook 01.
KINDS = {"standard": BLUE, "depthwise": ORANGE, "pointwise": GREEN, "dense": "#6b6b6b"}
DPI = 110
SIDE, STEM, LAST, CLASSES = 224, 32, 1280, 1000  # not in the tables of the bodies
# A block takes m channels to n, on maps of side to output pixels; in V2 it has t · m inside.
Block = namedtuple("Block", "side m output n t shortcut")


def v1_blocks():
    """The 13 depthwise separable blocks of V1."""
    side, m, blocks = SIDE // 2, STEM, []
    for n, stride in mobilenets.V1_BODY:
        blocks.append(Block(side, m, side // stride, n, 1, False))
        side, m = side // stride, n
    return blocks


def v2_stages():
    """The inverted residuals of V2, a list for each line of its table 2."""
    side, m, stages = SIDE // 2, STEM, []
    for t, c, n, s in mobilenets.V2_BODY:
        blocks = []
        for stride in (s, *(n - 1) * (1,)):
            blocks.append(Block(side, m, side // stride, c, t, stride == 1 and m == c))
            side, m = side // stride, c
        stages.append(blocks)
    return stages


def v2_maps():
    """Side and channels of what V2 gives: the stem, each block, the last convolution."""
    blocks = [block for stage in v2_stages() for block in stage]
    maps = [(block.output, block.n) for block in blocks]
    return [(SIDE // 2, STEM), *maps, (maps[-1][0], LAST)]


def canvas(height):
    """A figure that is 1,100 pixels wide, and its axes in pixels."""
    figure = Figure(figsize=(10, height / DPI), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1100), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def arrow(axes, start, end, colour, width=1.6):
    style = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def write(axes, x, y, text, side="left", size=12, **style):
    axes.text(x, y, text, ha=side, va="center", size=size, **style)


def slab(axes, x, y, width, height, colour, **style):
    """A rectangle whose left edge is at x and whose middle is at the height y."""
    style = {"lw": 0} | style
    axes.add_patch(Rectangle((x, y - height / 2), width, height, facecolor=colour, **style))


def percent(share):
    return f"{share:.1%}".replace("%", " %")


# --- The body of V1 ---


def v1_rows():
    """Lines of V1's table 1: how often, layer, stride, input side, channels, multiply-adds.

    The multiply-adds are a dict by kind; equal blocks in a row are one line.
    """
    first = {"standard": cost.standard(3, 3, STEM, SIDE // 2).multiply_adds}
    rows = [(1, "3 × 3 convolution", 2, SIDE, 3, first)]
    for block in v1_blocks():
        works = {
            "depthwise": cost.depthwise(3, block.m, block.output).multiply_adds,
            "pointwise": cost.pointwise(block.m, block.n, block.output).multiply_adds,
        }
        row = ("depthwise separable", block.side // block.output, block.side, block.m, works)
        times = rows.pop()[0] + 1 if row == rows[-1][1:] else 1
        rows.append((times, *row))
    rows.append((1, "average pooling", 1, block.output, block.n, {}))
    dense = {"dense": cost.pointwise(block.n, CLASSES, 1).multiply_adds}
    return [*rows, (1, f"classifier, {CLASSES:,} classes", 1, 1, block.n, dense)]


def v1_body():
    """V1 from top to bottom, a line for each layer or block, and what each costs."""
    rows = v1_rows()
    total = sum(times * sum(works.values()) for times, *_, works in rows)
    most = max(times * sum(works.values()) for times, *_, works in rows)
    figure, axes = canvas(668)
    middle, inputs, names, strides, bars, pitch = 105, 215, 425, 622, 726, 48.5
    write(axes, middle, 20, "height: √side", "center", 11, color=DARK)
    write(axes, middle, 42, "width: √channels", "center", 11, color=DARK)
    write(axes, inputs, 20, "input", weight="bold")
    write(axes, inputs, 42, "side × side × channels", size=11, color=DARK)
    write(axes, names, 20, "layer or block", weight="bold")
    write(axes, bars, 20, f"share of {total / 1e6:.0f} million multiply-adds", weight="bold")
    axes.add_patch(Rectangle((870, 120), 215, 180, facecolor="white", edgecolor=LINE, zorder=3))
    write(axes, 977, 145, "the whole network", "center", 11.5, zorder=4)
    for i, (kind, colour) in enumerate(KINDS.items()):
        y = 178 + 32 * i
        work = sum(times * works.get(kind, 0) for times, *_, works in rows)
        slab(axes, 883, y, 14, 14, colour, zorder=4)
        write(axes, 905, y, kind, size=11.5, zorder=4)
        write(axes, 1074, y, percent(work / total), "right", 11.5, zorder=4)
    before = None
    for i, (times, name, stride, side, channels, works) in enumerate(rows):
        y = 90 + i * pitch
        if side != before:
            axes.plot([15, 1085], [y - pitch / 2] * 2, color="#dddddd", lw=1)
        before = side
        width, colour = 5.4 * channels**0.5, GREY if i else PHOTO
        edge = {} if i else {"lw": 1, "edgecolor": LINE}
        slab(axes, middle - width / 2, y, width, 2.8 * side**0.5, colour, **edge)
        write(axes, inputs, y, f"{side} × {side} × {channels:,}")
        write(axes, names, y, f"{times} × {name}" if times > 1 else name)
        if stride > 1:
            write(axes, strides, y, f"stride {stride}", weight="bold", color=BROWN)
        x, scale = bars, 270 / most
        for _ in range(times):
            for kind, work in works.items():
                slab(axes, x, y, work * scale, 24, KINDS[kind])
                x += work * scale
            if times > 1:
                axes.plot([x, x], [y - 12, y + 12], color="white", lw=1.5)
        share = times * sum(works.values()) / total
        write(axes, x + 8 if share else x, y, percent(share) if share else "none")
    return figure


# --- The block of V2 ---


def layer(axes, x, above, below, text, stride=1, linear=False):
    """A convolution between two maps (middle, width, height) about x, and its activation."""
    top, bottom = above[0] + above[2] / 2, below[0] - below[2] / 2
    left, right = above[1] / 2, below[1] / 2
    corners = ((x - left, top), (x + left, top), (x + right, bottom), (x - right, bottom))
    face = ORANGE if stride > 1 else PALE
    axes.add_patch(Polygon(corners, facecolor=face, edgecolor=ORANGE, lw=1.2))
    y = (top + bottom) / 2
    if left != right:  # the wider end has room for words
        y += (bottom - top) * (0.2 if right > left else -0.2)
    write(axes, x, y, text, "center", 11)
    y, x = (top + bottom) / 2, x + (max(left, right) + 9 if min(left, right) > 40 else 84)
    curve = [(0, 9), (30, -9)] if linear else [(0, 9), (9, 9), (21, -9), (30, -9)]
    axes.plot(*zip(*((x + i, y + j) for i, j in curve), strict=True), color="black", lw=2)
    if linear:
        write(axes, x + 38, y, "linear:\nno ReLU6", size=11.5, weight="bold", color=BROWN)
    else:
        write(axes, x + 38, y, "ReLU6", size=11.5)


def residual(axes, x, stride):
    """V2's block about x, its input on top."""
    low = 44 if stride == 1 else 26
    maps = [(86, 36, 44), (210, 216, 44), (334, 216, low), (458, 36 if stride == 1 else 48, low)]
    small = r"h\times w" if stride == 1 else r"h/s\times w/s"
    layer(axes, x, *maps[:2], "1 × 1 expand")
    words = "3 × 3 depthwise" if stride == 1 else "3 × 3 depthwise,\nstride 2"
    layer(axes, x, *maps[1:3], words, stride)
    layer(axes, x, *maps[2:], "1 × 1 project", linear=True)
    texts = (r"$h\times w\times k$", r"$h\times w\times tk$", rf"${small}\times tk$")
    texts = (*texts, rf"${small}\times k$" if stride == 1 else rf"${small}\times k'$")
    for i, ((y, width, height), text) in enumerate(zip(maps, texts, strict=True)):
        slab(axes, x - width / 2, y, width, height, GREEN if i == 3 and stride > 1 else BLUE)
        if width > 100:
            write(axes, x, y, text, "center", 12.5, color="white")
        else:
            write(axes, x + width / 2 + 10, y, text, size=12.5)
    if stride > 1:
        return
    far, add, end = x - 132, 508, 566
    axes.plot([x - 18, far, far], [maps[0][0], maps[0][0], add], color=GREEN, lw=2.5)
    arrow(axes, (far - 1, add), (x - 12, add), GREEN, 2.5)
    write(axes, far, maps[0][0] - 16, "shortcut", color=GREEN, weight="bold")
    arrow(axes, (x, 480), (x, add - 12), LINE)
    axes.plot([x], [add], "o", ms=16, mfc="white", mec="black", mew=1.4)
    axes.plot([x], [add], "+", ms=10, mec="black", mew=1.6)
    write(axes, x + 28, add, "add, no ReLU6 after it", size=11.5)
    arrow(axes, (x, add + 12), (x, end - 22), LINE)
    slab(axes, x - 18, end, 36, 44, GREEN)
    write(axes, x + 28, end, texts[0], size=12.5)


def v2_block():
    """V1's block and V2's, at stride 1 and at stride 2: thin, thick, thin."""
    figure, axes = canvas(604)
    headings = (
        (100, "V1, stride 1", "depthwise separable"),
        (462, "V2, stride 1, $k'=k$", "the input is added"),
        (866, "V2, stride 2", "the shapes differ: no shortcut"),
    )
    for x, text, below in headings:
        write(axes, x, 20, text, "center", 13.5, weight="bold")
        write(axes, x, 43, below, "center", 11.5, color=DARK)
    for x in (309, 716):
        axes.plot([x, x], [12, 592], color="#dddddd", lw=1)
    maps = ((86, 150, 44), (210, 150, 44), (334, 176, 44))
    layer(axes, 100, *maps[:2], "3 × 3 depthwise")
    layer(axes, 100, *maps[1:], "1 × 1 pointwise")
    for i, (y, width, height) in enumerate(maps):
        slab(axes, 100 - width / 2, y, width, height, GREEN if i == 2 else BLUE)
        text = r"$h\times w\times k'$" if i == 2 else r"$h\times w\times k$"
        write(axes, 100, y, text, "center", 12.5, color="white")
    notes = (
        "width of a slab: channels",
        "(drawn: expansion $t=6$)",
        "height of a slab: $h$, $h/s$",
        "green: the output",
        "BatchNorm follows",
        "each convolution",
    )
    for i, note in enumerate(notes):
        write(axes, 12, 424 + 27 * i + (10 if i > 3 else 0), note, color=DARK)
    residual(axes, 462, 1)
    residual(axes, 866, 2)
    return figure


# --- The body of V2 ---


def high(side):
    """Height of a slab in the strip."""
    return 19 * side**0.5


def wide(channels):
    """Width of a slab in the strip."""
    return 1.02 * channels**0.5


def length(block):
    """Width of a block in the strip: the map inside and the output, a gap before each."""
    return wide(block.t * block.m) + wide(block.n) + 4


def taper(axes, x, y, width, block):
    """The map inside a block, from the side of the input to that of the output."""
    before, after = high(block.side) / 2, high(block.output) / 2
    corners = ((x, y - before), (x + width, y - after), (x + width, y + after), (x, y + before))
    face = ORANGE if block.output < block.side else PALE
    axes.add_patch(Polygon(corners, facecolor=face, edgecolor=ORANGE, lw=0.8))


def bow(axes, start, end):
    """A shortcut over what it passes by."""
    style = {"arrowstyle": "-|>", "color": GREEN, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    style |= {"connectionstyle": "arc3,rad=-0.6", "mutation_scale": 9}
    axes.annotate("", end, start, arrowprops=style)


def residuals(axes, x, y, blocks):
    """A stage of V2 from x on: each block's inside, its output, and its shortcut if it has one."""
    for block in blocks:
        inside, output = wide(block.t * block.m), wide(block.n)
        taper(axes, x + 2, y, inside, block)
        slab(axes, x + inside + 4, y, output, high(block.output), BLUE)
        if block.shortcut:
            top = y - high(block.output) / 2 - 2
            bow(axes, (x - output / 2, top), (x + inside + 4 + output / 2, top))
        x += length(block)


def legend(axes):
    """What the slabs of the strip mean."""
    left, right, lines = 400, 775, (20, 50, 80)
    slab(axes, left + 4, lines[0], 9, 19, BLUE)
    taper(axes, left, lines[1], 18, Block(1, 1, 1, 1, 1, False))
    taper(axes, left, lines[2], 18, Block(2, 1, 1, 1, 1, False))
    bow(axes, (right - 5, lines[0] + 6), (right + 20, lines[0] + 6))
    slab(axes, right, lines[1], 16, 19, LINE)
    texts = "a block's output: c channels, linear", "inside it: t × input channels, ReLU6"
    for y, text in zip(lines, (*texts, "stride 2: the side is halved"), strict=True):
        write(axes, left + 28, y, text, size=11.5)
    texts = "shortcut: the input is added", "convolution with ReLU6"
    for y, text in zip(lines, texts, strict=False):
        write(axes, right + 28, y, text, size=11.5)
    write(axes, right, lines[2], "height: √side, width: √channels", size=11.5, color=DARK)


def v2_strip():
    """All of V2 from left to right, a line of its table 2 below each stage."""
    figure, axes = canvas(560)
    legend(axes)
    y, stages = 192, v2_stages()
    last = stages[-1][-1]
    stem = Block(SIDE, 3, SIDE // 2, STEM, 1, False)
    columns = [(wide(3), "", "", 3, "", "", SIDE)]
    columns.append((length(stem) + 6, "Conv1", "", STEM, "", 2, stem.output))
    first = 0
    for blocks, (t, c, n, s) in zip(stages, mobilenets.V2_BODY, strict=True):
        name = f"{first} – {first + n - 1}" if n > 1 else f"{first}"
        columns.append((sum(map(length, blocks)), name, t, c, n, s, blocks[-1].output))
        first += n
    columns.append((wide(LAST), "Conv_1", "", LAST, "", 1, last.output))
    names = ("block", "expansion t", "channels c", "blocks n", "stride s", "side, pixels")
    rows = [364 + 33 * i for i in range(len(names))]
    x = start = 114
    for i, (width, *values) in enumerate(columns):
        room = max(width, 44) + 16
        left, middle = x + (room - width) / 2, x + room / 2
        if i == 0:
            slab(axes, left, y, width, high(SIDE), PHOTO, lw=1, edgecolor=LINE)
            write(axes, middle, y - high(SIDE) / 2 - 16, "photo", "center", 11.5)
        elif i == 1:
            taper(axes, left, y, 8, stem)
            slab(axes, left + 10, y, wide(STEM), high(stem.output), LINE)
        elif i < len(columns) - 1:
            residuals(axes, left, y, stages[i - 2])
        else:
            slab(axes, left, y, width, high(last.output), LINE)
        for row, value in zip(rows, values, strict=True):
            text = f"{value:,}" if isinstance(value, int) else value
            write(axes, middle, row, text, "center", 11.5)
        x += room
    axes.plot([start + 30, x - 30], [y, y], color=LINE, lw=1, zorder=0)
    arrow(axes, (x - 5, y), (x + 17, y), LINE)
    write(axes, x + 23, y, f"pooling,\n{CLASSES:,}\nclasses", size=10.5)
    for row, name in zip(rows, names, strict=True):
        write(axes, 12, row, name, size=11.5)
        axes.plot([12, x], [row - 17, row - 17], color="#dddddd", lw=1)
    return figure
