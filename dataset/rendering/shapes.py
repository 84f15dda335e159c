"""Solids as signed distance fields, and the noise that makes fleece, grass and clouds of them.

A distance field says how far a point is from a solid's surface, negative inside (Hart 1996,
"Sphere tracing"). Animals, trees, rocks and fences are all made of one primitive, a capsule whose
two ends may differ in radius, joined by a smooth minimum; a barn is bounded by planes.

Lengths are metres, y is up. Points and colours are float32 (3, N); a colour is linear RGB. Only
operations that IEEE 754 rounds one way (+ − × ÷ √, floor, minimum) touch pixels: no sin, exp, power
or sum over an axis, whose last digit depends on the processor. So every machine draws alike.
"""

import copy
import math
from dataclasses import dataclass, field

import numpy as np

_SIDE, _FLAT = 32, 128  # noise in space and on a plane repeats after so many cells
_table = np.random.default_rng(7).random(_SIDE**3, np.float32)
_moved = np.random.default_rng(9).random((3, _SIDE**3), np.float32) * np.float32(0.7) - np.float32(
    0.35
)
_flat_table = np.random.default_rng(8).random(_FLAT**2, np.float32)


class Dice:
    """Random choices from a name: the same name gives the same ones on every machine."""

    def __init__(self, *name: int | str):
        words = [part.encode() if isinstance(part, str) else bytes([part]) for part in name]
        self.rng = np.random.default_rng(list(b"/".join(words)))

    def between(self, low: float, high: float) -> float:
        """A number in [low, high), evenly."""
        return low + (high - low) * float(self.rng.random())

    def chance(self, share: float) -> bool:
        """True in this share of cases."""
        return float(self.rng.random()) < share

    def pick(self, options):
        """One of a sequence, or a key of a dict whose values are weights."""
        if isinstance(options, dict):
            at = self.between(0, float(sum(options.values())))
            for option, weight in options.items():
                at -= weight
                if at < 0:
                    return option
        options = list(options)
        return options[int(self.rng.random() * len(options))]


def cos_sin(angle: float) -> tuple[float, float]:
    """Cosine and sine of an angle in radians between −7 and 7, by their series."""
    angle, cosine, sine, term = float(angle) / 4, 0.0, 0.0, 1.0
    for i in range(0, 20, 2):
        cosine, term = cosine + term, term * angle / (i + 1)
        sine, term = sine + term, -term * angle / (i + 2)
    for _ in range(2):
        cosine, sine = cosine * cosine - sine * sine, 2 * sine * cosine
    return cosine, sine


def dot(a, b):
    """Scalar products of vectors (3, N) or (3,), always added in the same order."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(v):
    """Vectors (3, N) or (3,) scaled to length 1."""
    return v / np.sqrt(np.maximum(dot(v, v), 1e-12))


def mix(a, b, share):
    """From a (share 0) to b (share 1)."""
    return a + (b - a) * share


def ramp(x, low: float, high: float):
    """0 up to low, 1 from high on, smooth between; with low > high it falls instead."""
    x = np.clip((x - low) / (high - low), 0, 1)
    return x * x * (3 - 2 * x)


def linear(colour) -> np.ndarray:
    """A colour as screens show it, three numbers in 0 to 1, as linear light, (3, 1)."""
    return (np.asarray(colour, np.float32) ** 2)[:, None]


def noise(p):
    """Smooth noise in [0, 1] at points (3, N), about one bump a metre."""
    cell = np.floor(p)
    u = p - cell
    u = u * u * (3 - 2 * u)
    x, y, z = cell.astype(np.int32) & (_SIDE - 1)
    corners = []
    for i in ((x * _SIDE), ((x + 1) & (_SIDE - 1)) * _SIDE):
        for j in ((i + y) * _SIDE, (i + ((y + 1) & (_SIDE - 1))) * _SIDE):
            near, far = _table[j + z], _table[j + ((z + 1) & (_SIDE - 1))]
            corners.append(near + (far - near) * u[2])
    low = mix(corners[0], corners[1], u[1])
    return mix(low, mix(corners[2], corners[3], u[1]), u[0])


def flat_noise(x, y):
    """Smooth noise in [0, 1] at points of a plane, each (N,)."""
    i, j = np.floor(x), np.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    i, j = i.astype(np.int32) & (_FLAT - 1), j.astype(np.int32) & (_FLAT - 1)
    i, k = i * _FLAT, ((i + 1) & (_FLAT - 1)) * _FLAT
    l = (j + 1) & (_FLAT - 1)  # noqa: E741
    near = mix(_flat_table[i + j], _flat_table[k + j], u)
    return mix(near, mix(_flat_table[i + l], _flat_table[k + l], u), v)


def cloudy(x, y, octaves: int):
    """Noise of several sizes added up, in [0, 1]: large shapes with finer and finer edges."""
    total, weight, norm = 0.0, 0.5, 0.0
    for octave in range(octaves):
        total = total + weight * flat_noise(x + 17.3 * octave, y + 5.1 * octave)
        norm, weight, x, y = norm + weight, weight / 2, x * 2.03, y * 2.03
    return total / norm


def curls(p, size: float):
    """Puffs of fleece in [0, 1] at points (3, N), so many metres wide, creased where they meet.

    Each cell's corner, moved a little, is the middle of a puff (as in Worley 1996); space is bent
    beforehand, which draws the puffs out into locks.
    """
    p = p / size
    bent, fuzz = 1.5 * noise(p * 0.83 + 5.3), noise(p * 3.7)
    p = np.stack([p[0] + bent, p[1] * 0.85 - 0.7 * bent, p[2] + 0.6 * bent])
    cell = np.floor(p)
    x, y, z = cell.astype(np.int32) & (_SIDE - 1)
    u, v, w = p - cell
    nearest = None
    for i in (0, 1):
        across = ((x + i) & (_SIDE - 1)) * _SIDE
        for j in (0, 1):
            row = (across + ((y + j) & (_SIDE - 1))) * _SIDE
            for k in (0, 1):
                index = row + ((z + k) & (_SIDE - 1))
                a = u - i - _moved[0][index]
                b = v - j - _moved[1][index]
                c = w - k - _moved[2][index]
                squared = a * a + b * b + c * c
                nearest = squared if nearest is None else np.minimum(nearest, squared)
    return 0.76 * (1 - np.minimum(nearest * 1.5, 1)) + 0.24 * fuzz


def cell_edges(p):
    """How near points (3, N) are to the border of their cell (Worley 1996): 0 there, up to 1."""
    cell = np.floor(p)
    first = np.full(p.shape[1], 9.0, np.float32)
    second = first.copy()
    for i in range(27):
        corner = cell + np.array([[i // 9 - 1], [i // 3 % 3 - 1], [i % 3 - 1]], np.float32)
        x, y, z = corner.astype(np.int32) & (_SIDE - 1)
        index = (x * _SIDE + y) * _SIDE + z
        seed = np.stack([_table[index], _table[index - 1], _table[index - 2]])
        away = corner + seed - p
        squared = dot(away, away)
        second = np.minimum(second, np.maximum(first, squared))
        first = np.minimum(first, squared)
    return np.sqrt(second) - np.sqrt(first)


@dataclass(frozen=True)
class Part:
    """A capsule from a to b (metres), of radius ra at a and rb at b.

    join: metres over which it melts into what was added before. fleece: height of its curls in
    metres. gloss: 0 dull to 1 wet. pattern: how much of the solid's pattern shows on it, 0 to 1.
    """

    a: tuple
    b: tuple
    ra: float
    rb: float
    colour: tuple
    join: float = 0.04
    fleece: float = 0.0
    gloss: float = 0.0
    pattern: float = 0.0
    tag: str = "body"


@dataclass
class Blobs:
    """Parts melted together: an animal, a tree, a fence.

    curl: metres, the width of a puff of fleece. pattern: None, "patches" (patch metres wide) or
    "giraffe", in the second colour. centre (3,) and radius bound the solid once it is placed, and
    deepest is the height of its deepest fleece.
    """

    curl: float = 0.08
    pattern: str | None = None
    second: tuple = (1, 1, 1)
    patch: float = 0.32
    parts: list = field(default_factory=list)

    def add(self, a, b, ra, rb, colour, **more) -> None:
        """Add a Part; see there."""
        self.parts.append(Part(tuple(a), tuple(b), ra, rb, tuple(colour), **more))

    def place(self, x: float, z: float, heading: float, scale: float = 1.0) -> "Blobs":
        """Scale and turn about the upright axis by heading (radians), then move; returns self.

        A solid faces +x before it is turned; heading 0 keeps it so, π/2 faces it to +z.
        """
        cosine, sine = cos_sin(heading)

        def moved(p):
            u, v, w = (scale * c for c in p)
            return (x + cosine * u - sine * w, v, z + sine * u + cosine * w)

        self.parts = [
            Part(
                *(moved(part.a), moved(part.b), scale * part.ra, scale * part.rb, part.colour),
                *(scale * part.join, scale * part.fleece, part.gloss, part.pattern, part.tag),
            )
            for part in self.parts
        ]
        self.curl *= scale
        self.patch *= scale
        low, high = self.box()
        self.centre = (low + high) / 2
        self.radius = max(
            float(np.sqrt(dot(end - self.centre, end - self.centre))) + r + part.fleece
            for part in self.parts
            for end, r in ((np.array(part.a), part.ra), (np.array(part.b), part.rb))
        )
        self.deepest = max(part.fleece for part in self.parts)
        return self

    def along(self, start, axis, wide: float, spread: float) -> "Blobs | None":
        """The parts that matter to rays from within `wide` metres of start (3,) along axis (3,).

        The rays part from the axis by `spread` metres a metre. None if no part matters.
        """
        kept = []
        for part in self.parts:
            middle = [(a + b) / 2 - s for a, b, s in zip(part.a, part.b, start, strict=True)]
            along = [(b - a) / 2 for a, b in zip(part.a, part.b, strict=True)]
            size = math.sqrt(dot(along, along)) + max(part.ra, part.rb) + part.fleece + part.join
            ahead = dot(middle, axis)
            aside = math.sqrt(max(dot(middle, middle) - ahead * ahead, 0.0))
            if ahead > -wide - size and aside < wide + spread * max(ahead, 0.0) + size + 0.2:
                kept.append(part)
        if not kept:
            return None
        solid = copy.copy(self)
        solid.parts = kept
        return solid

    def box(self, tag: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner, each (3,), of all parts or of those with a tag."""
        ends = [
            (np.array(end), r + part.fleece / 2)
            for part in self.parts
            if tag in (None, part.tag)
            for end, r in ((part.a, part.ra), (part.b, part.rb))
        ]
        low = np.array([end - r for end, r in ends]).min(axis=0)
        return low, np.array([end + r for end, r in ends]).max(axis=0)

    def _capsules(self, p):
        px, py, pz = p
        for part in self.parts:
            ax, ay, az = part.a
            x, y, z = px - ax, py - ay, pz - az
            u, v, w = part.b[0] - ax, part.b[1] - ay, part.b[2] - az
            squared = u * u + v * v + w * w
            r = part.ra
            if squared > 1e-9:
                h = x * (u / squared) + y * (v / squared) + z * (w / squared)
                np.maximum(h, 0, out=h)
                np.minimum(h, 1, out=h)
                x -= h * u
                y -= h * v
                z -= h * w
                r = h * (part.rb - r) + r
            x *= x
            y *= y
            z *= z
            x += y
            x += z
            np.sqrt(x, out=x)
            x -= r
            yield part, x

    def distance(self, p, detail: bool = True):
        """Distance of points (3, N) from the surface, (N,); without detail the fleece is shorn."""
        d = height = None
        woolly = detail and self.deepest
        for part, near in self._capsules(p):
            if d is None:
                d, height = near, np.full_like(near, part.fleece)
                continue
            join = max(part.join, 1e-3)
            apart = d - near
            np.minimum(d, near, out=d)
            if woolly:
                share = np.minimum(np.maximum(apart * (0.5 / join) + 0.5, 0), 1)
                height += share * (part.fleece - height)
            bulge = join - np.abs(apart, out=apart)
            np.maximum(bulge, 0, out=bulge)
            bulge *= bulge
            bulge *= 0.25 / join
            d -= bulge
        if woolly:
            close = np.flatnonzero(d < 2 * self.deepest)
            if len(close):
                d[close] -= height[close] * curls(p[:, close], self.curl)
        return d

    def surface(self, p):
        """What the surface is like at points (3, N) of it: colour (3, N), fleece (N,), gloss (N,).

        fleece is the height of the curls in metres.
        """
        d = look = None
        for part, near in self._capsules(p):
            mine = np.array(
                [*linear(part.colour)[:, 0], part.fleece, part.gloss, part.pattern], np.float32
            )[:, None]
            if d is None:
                d, look = near, np.repeat(mine, p.shape[1], axis=1)
                continue
            share = np.clip((d - near) * (0.5 / max(part.join * 0.6, 4e-3)) + 0.5, 0, 1)
            look = look + share * (mine - look)
            d = np.minimum(d, near)
        colour, fleece, gloss, shows = look[:3], look[3], look[4], look[5]
        if self.pattern == "patches":
            large, fine = noise(p / self.patch + 3.3), noise(p * (5 / self.patch))
            share = ramp(large + 0.12 * fine, 0.52, 0.60) * shows
            colour = mix(colour, linear(self.second), share)
        elif self.pattern == "giraffe":
            share = ramp(cell_edges(p / 0.30), 0.10, 0.16) * shows
            colour = mix(colour, linear(self.second), share)
        if self.deepest:
            woolly = np.clip(fleece / 0.03, 0, 1)
            strands = noise(p * (4.1 / self.curl)) + noise(p * (9.3 / self.curl) + 4)
            colour = colour * (0.74 + 0.26 * strands)
            colour = colour * (1 - woolly * 0.5 * (1 - ramp(curls(p, self.curl), 0.1, 0.7)))
        return colour, fleece, gloss


class Barn:
    """A house with a gabled roof: length along x, width along z, in metres; heading in radians."""

    deepest = 0.0
    white, dark = linear((0.93, 0.91, 0.86)), linear((0.16, 0.12, 0.10))

    def __init__(self, x, z, heading, length, width, height, wall, roof):
        self.at, self.turn = (x, z), cos_sin(heading)
        self.size = length / 2, width / 2, height
        self.wall, self.roof = linear(wall), linear(roof)
        self.rise = 0.75 * width / 2  # of the ridge above the walls
        self.centre = np.array([x, height / 2, z])
        self.radius = float(np.sqrt(length**2 / 4 + width**2 / 4 + height**2)) + self.rise

    def along(self, start, axis, wide: float, spread: float) -> "Barn":
        """All of it; see Blobs."""
        return self

    def _local(self, p):
        x, z = p[0] - self.at[0], p[2] - self.at[1]
        cosine, sine = self.turn
        return cosine * x + sine * z, p[1], cosine * z - sine * x

    def _two(self, p):
        x, y, z = (np.abs(c) if i != 1 else c for i, c in enumerate(self._local(p)))
        half, side, height = self.size
        under = (y - height) * 0.8 + (z - side) * 0.6  # slope 3 : 4
        walls = np.maximum(np.maximum(x - half, z - side), under)
        outer = np.maximum(x - half - 0.35, z - side - 0.45)
        roof = np.maximum(np.maximum(under - 0.22, -under + 0.02), np.maximum(outer, -y))
        return walls, roof

    def distance(self, p, detail: bool = True):
        """Distance of points (3, N) from the surface, (N,), never too long."""
        return np.minimum(*self._two(p))

    def surface(self, p):
        """Colour (3, N), fleece (N,) and gloss (N,), the last two 0, at points (3, N)."""
        walls, roof = self._two(p)
        x, y, z = self._local(p)
        half, side, height = self.size
        gable = np.abs(x) > half - 0.03
        across = np.where(gable, z, x)
        board = np.abs(across * 3 - np.floor(across * 3) - 0.5)
        colour = self.wall * (0.82 + 0.18 * ramp(board, 0.45, 0.38))
        colour = colour * (0.85 + 0.3 * flat_noise(across * 9, y * 0.7))
        end = np.where(gable, side, half)
        trim = (np.abs(across) > end - 0.16) | (np.abs(y - height) < 0.09)
        door = gable & (np.abs(z) < 0.32 * side) & (y < 0.72 * height)
        frame = gable & (np.abs(z) < 0.40 * side) & (y < 0.78 * height)
        rung = np.abs(across / half * 2 - np.floor(across / half * 2) - 0.5)
        window = ~gable & (rung < 0.13) & (np.abs(y - 0.55 * height) < 0.17 * height)
        rim = ~gable & (rung < 0.17) & (np.abs(y - 0.55 * height) < 0.21 * height)
        colour = np.where(trim | frame | rim, self.white, colour)
        colour = np.where(door | window, self.dark, colour)
        tiles = np.abs(y * 4 - np.floor(y * 4) - 0.5)
        tiled = self.roof * (0.75 + 0.25 * ramp(tiles, 0.5, 0.3)) * (0.8 + 0.4 * noise(p * 2.1))
        colour = np.where(roof < walls, tiled, colour).astype(np.float32)
        zero = np.zeros(p.shape[1], np.float32)
        return colour, zero, zero
