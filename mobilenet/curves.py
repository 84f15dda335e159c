"""The curves of a training run as a picture, for the commands, which do not need matplotlib."""

import itertools
import math

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, SCALE = 460, 300, 3  # px of a panel; drawn so many times larger, then smoothed
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 40  # px around the axes
GREY, LIGHT, RED = "#6b6b6b", "#dddddd", "#d55e00"  # as in the notebooks


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, from low to high: at most `most`."""
    power = 10 ** math.floor(math.log10((high - low) / most))
    step = next(m * power for m in (1, 2, 5, 10, 20) if (high - low) / (m * power) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def draw(history: list[dict], best: int) -> Image.Image:
    """Loss and accuracy of training (dashed) and val photos (solid) by epoch, as an RGB picture.

    history: what mobilenet.train writes a line of an epoch. best: the epoch whose weights are
    kept, counted from 1; it is ringed.
    """
    picture = Image.new("RGB", (2 * WIDTH * SCALE, HEIGHT * SCALE), "white")
    pen = ImageDraw.Draw(picture)
    panels = (("loss", "loss, nats"), ("accuracy", "accuracy"))
    for number, (name, title) in enumerate(panels):
        train, val = [[row[part + name] for row in history] for part in ("", "val_")]
        top = max(train + val) if name == "loss" else 1.0
        _panel(pen, number * WIDTH, title, train, val, best, top)
    return picture.resize((2 * WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _panel(pen, start: int, title: str, train: list, val: list, best: int, top: float) -> None:
    font, small = (ImageFont.load_default(size * SCALE) for size in (14, 12))
    epochs = len(train)

    def place(epoch: float, value: float) -> tuple[float, float]:
        across = (epoch - 1) / max(1, epochs - 1) * (WIDTH - LEFT - RIGHT)
        up = value / top * (HEIGHT - TOP - BOTTOM)
        return (start + LEFT + across) * SCALE, (HEIGHT - BOTTOM - up) * SCALE

    middle = (start + LEFT + (WIDTH - LEFT - RIGHT) / 2) * SCALE
    pen.text((middle, 8 * SCALE), f"{title}  (dashed: training)", "black", font, anchor="ma")
    pen.text((middle, (HEIGHT - 4) * SCALE), "epoch", "black", small, anchor="md")
    for value in ticks(0, top):
        pen.line([place(1, value), place(max(epochs, 2), value)], LIGHT, SCALE)
        x, y = place(1, value)
        pen.text((x - 6 * SCALE, y), f"{value:g}", "black", small, anchor="rm")
    for epoch in ticks(1, epochs) if epochs > 1 else [1]:
        if epoch == int(epoch):
            x, y = place(epoch, 0)
            pen.text((x, y + 5 * SCALE), f"{epoch:g}", "black", small, anchor="ma")
    points = [place(i, value) for i, value in enumerate(val, start=1)]
    pen.line(points, "black", 2 * SCALE, joint="curve")
    _dashed(pen, [place(i, value) for i, value in enumerate(train, start=1)])
    (x, y), r = points[best - 1], 5 * SCALE
    pen.ellipse((x - r, y - r, x + r, y + r), outline=RED, width=2 * SCALE)


def _dashed(pen, points: list[tuple[float, float]]) -> None:
    """A dashed line; the dashes run on round the corners."""
    done, dash = 0.0, 6 * SCALE
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        at = 0.0
        while at < length:
            end = min(length, at + dash - done % dash)
            if int(done / dash) % 2 == 0:
                a, b = at / length, end / length
                line = [(x0 + t * (x1 - x0), y0 + t * (y1 - y0)) for t in (a, b)]
                pen.line(line, GREY, 2 * SCALE)
            done, at = done + end - at + 1e-9, end
