"""Things that are no animals, for dataset/rendered_other/: solids of shapes.py, and flat patterns.

Each solid stands on y = 0 about the origin, as an animal does (bodies.py); lengths are metres.
"""

from itertools import pairwise

import numpy as np

from dataset.rendering.bodies import mix_colour
from dataset.rendering.shapes import Blobs, Dice, cloudy, cos_sin, flat_noise, linear, mix, ramp

PAINT = (
    (0.78, 0.15, 0.12), (0.13, 0.33, 0.66), (0.95, 0.75, 0.12), (0.16, 0.50, 0.30),
    (0.92, 0.91, 0.88), (0.90, 0.45, 0.10), (0.45, 0.20, 0.50), (0.20, 0.62, 0.65),
)  # fmt: skip
WOOD = ((0.48, 0.33, 0.20), (0.62, 0.46, 0.28), (0.36, 0.26, 0.19))
BLACK, STEEL, GLASS = (0.10, 0.10, 0.11), (0.62, 0.64, 0.67), (0.20, 0.26, 0.32)
LETTERS = {  # strokes on a grid 2 wide and 4 high
    "A": "00 14|14 20|0.5,1.6 1.5,1.6",
    "E": "00 04|04 24|02 1.7,2|00 20",
    "F": "00 04|04 24|02 1.7,2",
    "H": "00 04|20 24|02 22",
    "K": "00 04|02 24|02 20",
    "M": "00 04|04 1,1.6|1,1.6 24|24 20",
    "N": "00 04|04 20|20 24",
    "T": "10 14|04 24",
    "X": "00 24|04 20",
    "Z": "04 24|24 00|00 20",
}


def _ring(solid: Blobs, middle, r: float, thick: float, colour, plane: str, count=16, **more):
    """A hoop of short capsules about middle (3,); plane: "xy" upright, "xz" lying."""
    points = []
    for i in range(count + 1):
        c, s = cos_sin(6.2831853 * i / count)
        x, y, z = middle
        points.append((x + r * c, y + r * s, z) if plane == "xy" else (x + r * c, y, z + r * s))
    for one, two in pairwise(points):
        solid.add(one, two, thick, thick, colour, join=0.0, **more)


def house(dice: Dice) -> Blobs:
    """A log cabin: its gables look along x."""
    solid, log, roof = Blobs(), dice.pick((*WOOD, PAINT[0], PAINT[4])), dice.pick(PAINT)
    long, wide, rows = dice.between(1.0, 1.5), dice.between(0.7, 0.95), dice.pick((5, 6, 7))
    r = 0.13
    top = 2 * r * rows
    for i in range(rows):
        y = r + 2 * r * i
        for side in (-1, 1):
            solid.add((-long, y, side * wide), (long, y, side * wide), r, r, log, join=0.0)
            solid.add((side * long, y, -wide), (side * long, y, wide), r, r, log, join=0.0)
    for i in range(5):  # the gables
        half = wide * (1 - i / 5)
        y = top + r + 0.9 * wide * i / 5
        for side in (-1, 1):
            solid.add((side * long, y, -half), (side * long, y, half), r, r, log, join=0.0)
    for side in (-1, 1):  # the roof
        for i in range(8):
            down = i / 7 * 1.25
            y = top + 0.9 * wide * (1 - down) + 0.22
            z = side * wide * down
            ends = (-long - 0.25, y, z), (long + 0.25, y, z)
            solid.add(*ends, 0.11, 0.11, roof, join=0.02)
    for y in (0.25, 0.6, 0.95):
        solid.add((0.1, y, -wide - 0.1), (0.35, y, -wide - 0.1), 0.19, 0.19, BLACK, join=0.0)
    x, high = 0.5 * long, top + 1.5 * wide
    solid.add((x, top, 0.2), (x, high, 0.2), 0.17, 0.17, (0.50, 0.28, 0.22), join=0.0)
    return solid


def car(dice: Dice) -> Blobs:
    """Faces +x."""
    solid, paint = Blobs(), dice.pick(PAINT)
    long, roof, back = dice.between(1.5, 1.9), dice.between(1.15, 1.4), dice.between(0.8, 1.3)
    shine = {"gloss": 0.7}
    for z in (-0.55, -0.2, 0.2, 0.55):
        solid.add((-long, 0.62, z), (long, 0.58, z), 0.33, 0.28, paint, join=0.05, **shine)
        cabin = (-back, roof - 0.2, 0.85 * z), (0.35, roof - 0.2, 0.85 * z)
        solid.add(*cabin, 0.24, 0.24, paint, join=0.10, **shine)
    for x, y in ((0.62, roof - 0.26), (-back - 0.18, roof - 0.26)):
        solid.add((x, y, -0.4), (x, y, 0.4), 0.17, 0.17, GLASS, join=0.01, **shine)
    for side in (-1, 1):
        z = 0.63 * side
        window = (-0.8 * back, roof - 0.22, z), (0.25, roof - 0.22, z)
        solid.add(*window, 0.14, 0.14, GLASS, join=0.01, **shine)
        light = (long + 0.14, 0.64, 0.45 * side)
        solid.add(light, light, 0.14, 0.14, (0.98, 0.95, 0.80), join=0.0, **shine)
        for x in (-0.62 * long, 0.62 * long):
            _ring(solid, (x, 0.34, 0.84 * side), 0.22, 0.12, BLACK, "xy", 10)
            hub = (x, 0.34, 0.84 * side)
            solid.add(hub, hub, 0.16, 0.16, STEEL, join=0.0, **shine)
    return solid


def boat(dice: Dice) -> Blobs:
    """A sailing boat ashore."""
    solid, paint = Blobs(), dice.pick(PAINT)
    tall, sail = dice.between(2.6, 3.4), dice.pick((*PAINT[:5], (0.95, 0.93, 0.88)))
    for y, half, wide in ((0.16, 1.0, 0.0), (0.34, 1.3, 0.22), (0.54, 1.55, 0.34)):
        shade = paint if y < 0.5 else mix_colour(paint, (1, 1, 1), 0.6)
        for side in (-1, 1):
            stern, bow = (-half, y, side * wide), (0.4 * half, y, side * wide)
            solid.add(stern, bow, 0.16, 0.16, shade, join=0.06)
            solid.add(bow, (half + 0.25, y + 0.08, 0), 0.16, 0.10, shade, join=0.06)
    solid.add((-1.4, 0.52, -0.3), (-1.4, 0.52, 0.3), 0.15, 0.15, paint, join=0.05)
    solid.add((0.2, 0.3, 0), (0.2, tall, 0), 0.06, 0.04, WOOD[1], join=0.0)
    for i in range(14):
        y = 0.95 + (tall - 1.05) * i / 13
        reach = 1.35 * (1 - i / 13.5)
        belly = 0.16 * i * (13 - i) / 42
        solid.add((0.14, y, 0), (0.14 - reach, y, belly), 0.07, 0.07, sail, join=0.03)
    return solid


def cup(dice: Dice) -> Blobs:
    """A mug with a handle, and what is in it."""
    solid, paint, band = Blobs(), dice.pick(PAINT), dice.pick(PAINT)
    high, r, lip = dice.between(0.7, 1.0), dice.between(0.36, 0.46), dice.between(1.0, 1.2)
    for i in range(24):
        c, s = cos_sin(6.2831853 * i / 24)
        foot, rim = (r * c, 0.06, r * s), (lip * r * c, high, lip * r * s)
        solid.add(foot, rim, 0.09, 0.08, paint, join=0.12, gloss=0.8)
    _ring(solid, (0, 0.45 * high, 0), 1.06 * r, 0.11, band, "xz", 24, gloss=0.8)
    drink = dice.pick(((0.22, 0.12, 0.07), (0.60, 0.38, 0.20), (0.93, 0.90, 0.84)))
    for i in range(-4, 5):
        half = 0.9 * r * (1 - (i / 4.6) * (i / 4.6))
        at = 0.22 * r * i
        solid.add((-half, 0.8 * high, at), (half, 0.8 * high, at), 0.05, 0.05, drink, join=0.05)
    at = (-1.45 * r, 0.52 * high, 0)
    _ring(solid, at, 0.28 * high, 0.06, paint, "xy", 14, gloss=0.8)
    return solid


def bicycle(dice: Dice) -> Blobs:
    """Faces +x."""
    solid, paint = Blobs(), dice.pick(PAINT)
    r, apart = 0.36, dice.between(0.52, 0.58)
    for x in (-apart, apart):
        _ring(solid, (x, r, 0), r - 0.03, 0.028, BLACK, "xy", 20)
        for i in range(6):
            c, s = cos_sin(0.3 + 3.1415927 * i / 6)
            c, s = c * (r - 0.03), s * (r - 0.03)
            solid.add((x - c, r - s, 0), (x + c, r + s, 0), 0.006, 0.006, STEEL, join=0.0)
    crank, seat, head = (-0.06, 0.30, 0), (-0.20, 0.86, 0), (0.36, 0.84, 0)
    tubes = [(crank, seat), (crank, head), ((-0.17, 0.78, 0), (0.37, 0.78, 0))]
    tubes += [(crank, (-apart, r, 0)), ((-0.17, 0.78, 0), (-apart, r, 0))]
    tubes += [((apart, r, 0), (0.34, 0.96, 0))]
    for a, b in tubes:
        solid.add(a, b, 0.026, 0.026, paint, join=0.01, gloss=0.6)
    solid.add((-0.30, 0.90, 0), (-0.10, 0.91, 0), 0.06, 0.035, BLACK, join=0.0)
    solid.add((0.34, 0.97, -0.26), (0.34, 0.97, 0.26), 0.022, 0.022, BLACK, join=0.0)
    _ring(solid, (-0.06, 0.30, 0.04), 0.09, 0.014, STEEL, "xy", 10)
    return solid


def letters(dice: Dice) -> Blobs:
    """Two or three block letters that stand in a row."""
    solid, size = Blobs(), 0.4
    count = dice.pick((2, 3))
    for i in range(count):
        paint, left = dice.pick(PAINT), (2.9 * i - 1.45 * count) * size
        for stroke in LETTERS[dice.pick(list(LETTERS))].split("|"):
            ends = []
            for point in stroke.split():
                x, y = point.split(",") if "," in point else point
                ends.append((left + size * float(x), 0.14 + size * float(y), 0.0))
            solid.add(*ends, 0.15, 0.15, paint, join=0.0)
    return solid


def fruit(dice: Dice) -> Blobs:
    """A heap of apples and oranges, a banana or a pear or both beside it."""
    solid = Blobs()
    skins = ((0.75, 0.12, 0.10), (0.55, 0.68, 0.15), (0.95, 0.55, 0.08), (0.85, 0.30, 0.12))
    for x, y, z in ((0, 0, 0), (0.44, 0, 0.1), (0.2, 0, 0.46), (0.22, 0.33, 0.2)):
        r, at = dice.between(0.20, 0.24), (x - 0.2, y + 0.22, z - 0.2)
        solid.add(at, at, r, r, dice.pick(skins), join=0.0, gloss=0.5)
        top = (at[0] + 0.02, at[1] + r + 0.06, at[2])
        solid.add((at[0], at[1] + r - 0.03, at[2]), top, 0.014, 0.012, WOOD[2], join=0.0)
    if dice.chance(0.7):
        points = [(-0.9, 0.34), (-0.82, 0.18), (-0.66, 0.10), (-0.48, 0.10), (-0.32, 0.17)]
        for i, (one, two) in enumerate(pairwise(points)):
            a, b = ((x - 0.1, y, -0.42) for x, y in (one, two))
            ends = (0.04, 0.09, 0.10, 0.09, 0.04)
            solid.add(a, b, ends[i], ends[i + 1], (0.95, 0.80, 0.15), join=0.02, gloss=0.3)
    if dice.chance(0.6):
        pear = (0.75, 0.20, -0.25), (0.80, 0.52, -0.25)
        solid.add(*pear, 0.20, 0.09, (0.72, 0.74, 0.22), join=0.0, gloss=0.3)
        solid.add(pear[1], (0.84, 0.70, -0.25), 0.014, 0.014, WOOD[2], join=0.0)
    return solid


def chair(dice: Dice) -> Blobs:
    """A wooden chair; it faces +x."""
    solid, wood = Blobs(), dice.pick((*WOOD, *PAINT[:3]))
    tall, bars = dice.between(0.95, 1.25), dice.pick((2, 3, 4))
    for x in (-0.24, 0.24):
        for z in (-0.24, 0.24):
            high = tall if x < 0 else 0.46
            lean = -0.08 if x < 0 else 0.0
            solid.add((x, 0, z), (x + lean, high, z), 0.03, 0.028, wood, join=0.0)
    for i in range(7):
        z = -0.24 + 0.08 * i
        solid.add((-0.25, 0.47, z), (0.27, 0.47, z), 0.035, 0.035, wood, join=0.01)
    for i in range(bars):
        y = 0.62 + (tall - 0.66) * i / max(bars - 1, 1)
        solid.add((-0.28, y, -0.24), (-0.28, y, 0.24), 0.032, 0.032, wood, join=0.0)
    return solid


def lamp(dice: Dice) -> Blobs:
    """A street lamp with one or two lights."""
    solid, tall = Blobs(), dice.between(2.4, 3.2)
    paint = dice.pick((BLACK, PAINT[3], STEEL))
    solid.add((0, 0, 0), (0, 0.35, 0), 0.16, 0.10, paint, join=0.03)
    solid.add((0, 0.2, 0), (0, tall, 0), 0.07, 0.05, paint, join=0.02)
    for side in dice.pick(((1,), (-1, 1))):
        arm = (0.55 * side, tall + 0.12, 0)
        solid.add((0, tall, 0), arm, 0.045, 0.045, paint, join=0.02)
        solid.add(arm, (arm[0], tall - 0.08, 0), 0.16, 0.20, (1.0, 0.95, 0.78), join=0.0, gloss=1.0)
        solid.add(arm, (arm[0], tall + 0.2, 0), 0.17, 0.04, paint, join=0.0)
    return solid


def umbrella(dice: Dice) -> Blobs:
    """A sunshade over a round table."""
    solid, one, two = Blobs(), dice.pick(PAINT), dice.pick(PAINT)
    tall, reach = dice.between(1.9, 2.3), dice.between(1.0, 1.3)
    solid.add((0, 0, 0), (0, tall + 0.15, 0), 0.05, 0.03, WOOD[1], join=0.0)
    for i in range(24):
        c, s = cos_sin(6.2831853 * i / 24)
        cloth, tip = (one, two)[i // 3 % 2], (reach * c, tall - 0.5, reach * s)
        solid.add((0.05 * c, tall, 0.05 * s), tip, 0.05, 0.13, cloth, join=0.02)
    for i in range(-4, 5):
        half = 0.55 * (1 - (i / 4.8) * (i / 4.8))
        ends = (-half, 0.75, 0.12 * i), (half, 0.75, 0.12 * i)
        solid.add(*ends, 0.08, 0.08, (0.93, 0.92, 0.88), join=0.08)
    return solid


SOLIDS = {
    "house": house, "car": car, "boat": boat, "cup": cup, "bicycle": bicycle, "letters": letters,
    "fruit": fruit, "chair": chair, "lamp": lamp, "umbrella": umbrella,
}  # fmt: skip


def _stripes(dice: Dice, x, y):
    c, s = cos_sin(dice.between(0, 3.1))
    along = (c * x + s * y) * dice.between(3, 8) + dice.between(0.0, 0.5) * cloudy(x * 2, y * 2, 2)
    return np.floor(along)


def _checks(dice: Dice, x, y):
    c, s = cos_sin(dice.between(0, 1.5))
    often = dice.between(2, 5)
    return np.floor((c * x + s * y) * often) + np.floor((c * y - s * x) * often)


def _dots(dice: Dice, x, y):
    often, r = dice.between(2.5, 5), dice.between(0.25, 0.42)
    row = np.floor(y * often)
    u, v = x * often + 0.5 * row, y * often - row - 0.5
    column = np.floor(u)
    u = u - column - 0.5
    kind = column * 2 + row
    return np.where(u * u + v * v < r * r, 1 + kind - 2 * np.floor(kind / 2), 0)


PATTERNS = {"stripes": _stripes, "checks": _checks, "dots": _dots}


def pattern(kind: str, dice: Dice, side: int) -> np.ndarray:
    """A flat pattern as a cloth in even light: float32 (3, side, side), as screens show it."""
    at = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / side) - 1
    x, y = np.tile(at, side), np.repeat(at, side)
    number = PATTERNS[kind](dice, x, y)
    paints = list(PAINT)
    colours = [linear(paints.pop(int(dice.between(0, len(paints))))) for _ in range(3)]
    number = number - 3 * np.floor(number / 3)
    colour = np.where(number < 0.5, colours[0], np.where(number < 1.5, colours[1], colours[2]))
    weave = 0.85 + 0.3 * flat_noise(x * 60, y * 9) * flat_noise(x * 9 + 5, y * 60)
    lit = mix(0.6, 1.0, ramp(x * dice.between(-0.5, 0.5) + y * dice.between(-0.5, 0.5), -0.7, 0.7))
    return np.sqrt(np.clip(colour * weave * lit, 0, 1)).astype(np.float32).reshape(3, side, side)
