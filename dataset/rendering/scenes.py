"""Where the animals stand: times of day, places, hills, trees, fences, and the camera.

A scene is drawn from dice: the same dice give the same scene. Whether there is an alpaca, a
look-alike or nobody in it, place, light, props and framing are drawn alike, so that a background
says nothing of the class.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dataset.rendering.animals import SPECIES
from dataset.rendering.bodies import Pose, mix_colour
from dataset.rendering.shapes import Barn, Blobs, Dice, cos_sin

# sun: height in radians, its colour and strength; sky: at the horizon and overhead; its strength
TIMES = {
    "noon": ((0.85, 1.15), (1.0, 0.96, 0.90), 1.45, (0.80, 0.89, 0.96), (0.25, 0.50, 0.84), 0.62),
    "morning": ((0.45, 0.70), (1.0, 0.91, 0.78), 1.5, (0.88, 0.91, 0.92), (0.38, 0.60, 0.86), 0.58),
    "golden": ((0.22, 0.36), (1.0, 0.86, 0.66), 1.65, (0.98, 0.87, 0.70), (0.42, 0.58, 0.80), 0.60),
    "overcast": (
        (0.80, 1.10),
        (0.95, 0.96, 1.0),
        0.45,
        (0.86, 0.88, 0.90),
        (0.66, 0.71, 0.78),
        1.0,
    ),
    "dusk": ((0.16, 0.26), (1.0, 0.85, 0.76), 1.45, (0.97, 0.79, 0.72), (0.44, 0.50, 0.76), 0.82),
}
TIME_WEIGHTS = {"noon": 4, "morning": 4, "golden": 3, "overcast": 2, "dusk": 1.5}

# place: the ground, the layers behind it from far to near, the props and how likely each is
PLACES = {
    "meadow": ("grass", ("far hills", "hills", "wood"), {"tree": 0.6, "fence": 0.4, "bush": 0.4}),
    "farm": ("grass", ("hills", "wood"), {"barn": 0.85, "fence": 0.65, "tree": 0.4}),
    "hills": ("grass", ("peaks", "far hills", "hills"), {"tree": 0.35, "rock": 0.5, "fir": 0.5}),
    "altiplano": ("dry", ("snow peaks", "far hills", "dry hills"), {"rock": 0.7, "tuft": 0.9}),
    "desert": ("sand", ("mesas", "dry hills"), {"rock": 0.6, "cactus": 0.6, "tuft": 0.4}),
    "snow": ("snow", ("snow peaks", "snow hills"), {"fir": 0.9, "fence": 0.35, "rock": 0.2}),
    "paddock": ("dirt", ("hills", "wood"), {"fence": 0.95, "barn": 0.4, "tree": 0.4, "bush": 0.3}),
}
PLACE_WEIGHTS = {
    "meadow": 3, "farm": 2.5, "hills": 3, "altiplano": 3.5,
    "desert": 1.5, "snow": 1.5, "paddock": 2,
}  # fmt: skip

# layer: height above the horizon and height of its ups and downs (slopes), ups and downs to a
# unit of slope, colour, share of haze
LAYERS = {
    "snow peaks": (0.09, 0.27, 3.4, (0.40, 0.40, 0.47), 0.26),
    "peaks": (0.06, 0.22, 3.8, (0.42, 0.47, 0.54), 0.38),
    "mesas": (0.03, 0.13, 3.0, (0.74, 0.46, 0.33), 0.35),
    "far hills": (0.05, 0.09, 4.0, (0.36, 0.48, 0.42), 0.52),
    "hills": (0.02, 0.08, 4.5, (0.42, 0.56, 0.26), 0.22),
    "dry hills": (0.015, 0.07, 4.0, (0.66, 0.56, 0.36), 0.22),
    "snow hills": (0.02, 0.08, 4.0, (0.90, 0.92, 0.96), 0.15),
    "wood": (0.022, 0.025, 16.0, (0.20, 0.34, 0.16), 0.12),
}
GREENS = ((0.27, 0.42, 0.14), (0.36, 0.48, 0.16), (0.46, 0.52, 0.18), (0.74, 0.50, 0.16))
GROUP = {1: 0.55, 2: 0.27, 3: 0.18}


@dataclass(frozen=True)
class Camera:
    """Looks along +z from (0, height, −distance); zoom is the focal length in half-pictures.

    shift: where the horizon's point straight ahead is in the picture, in half-pictures from its
    middle, rightwards and upwards.
    """

    height: float
    distance: float
    zoom: float
    shift: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """All that a picture is made of; `sun` (3,) points to it, the other words are keys above."""

    solids: tuple
    camera: Camera
    time: str
    place: str
    sun: np.ndarray
    clouds: float
    salt: float


def compose(dice: Dice, species: str | None) -> Scene:
    """A scene with one to three animals of a species, or with none."""
    kind = species or dice.pick(("alpaca", "sheep", "horse"))
    portrait = dice.chance(0.16)
    herd = _herd(dice, kind, 1 if portrait else dice.pick(GROUP), portrait)
    return _scene(dice, herd, portrait, shown=bool(species))


def compose_thing(dice: Dice, thing: Callable[[Dice], Blobs]) -> Scene:
    """A scene like those of the animals with a thing where an animal would be."""
    return _scene(dice, [thing(dice).place(0, 0, dice.between(-0.7, 0.7))], False, shown=True)


def _scene(dice: Dice, herd: list[Blobs], portrait: bool, shown: bool) -> Scene:
    """Place, light, props and camera for a herd, which is itself left out unless shown."""
    camera = _frame(dice, herd, portrait)
    time, place = dice.pick(TIME_WEIGHTS), dice.pick(PLACE_WEIGHTS)
    low, high = TIMES[time][0]
    across, up = cos_sin(dice.between(low, high))
    # The sun is behind the camera or to its side, now and then ahead.
    side, ahead = cos_sin(
        dice.between(-2.9, -0.25) if dice.chance(0.85) else dice.between(0.3, 2.8)
    )
    sun = np.array([across * side, up, across * ahead], np.float32)
    solids = [*_props(dice, place, camera, herd), *(herd if shown else [])]
    if not shown:  # nobody there: more of what stands about, some of it where they would be
        solids += _props(dice, place, camera, herd)
        things = {"desert": (_rock, _cactus), "snow": (_fir, _rock)}
        for _ in range(dice.pick((1, 2))):
            thing = dice.pick(things.get(place, (_rock, _bush, _tree)))
            solids.append(thing(dice, dice.between(-1.5, 1.5), dice.between(0, 4)))
    clouds = 0.95 if time == "overcast" else dice.between(0.15, 0.62)
    return Scene(tuple(solids), camera, time, place, sun, clouds, dice.between(0, 90))


def pose(dice: Dice, heading: float, head_up: bool) -> Pose:
    """What an animal that is turned by heading does; about half look into the camera."""
    kind = dice.pick({"stand": 5, "walk": 2, "graze": 0.0 if head_up else 1.7, "lie": 1.7})
    camera = -math.pi / 2 - heading
    camera -= 2 * math.pi * math.floor(camera / (2 * math.pi) + 0.5)
    if dice.chance(0.55):
        look = min(max(camera + dice.between(-0.35, 0.35), -1.35), 1.35)
    else:
        look = dice.between(-0.5, 0.5)
    return Pose(kind, look, dice.between(-0.12, 0.22))


def _herd(dice: Dice, species: str, count: int, portrait: bool) -> list[Blobs]:
    """Up to so many animals, placed; the first at the origin. For a portrait its head is up."""
    herd, taken = [], []
    for _ in range(count):
        view = dice.pick({"side": 4, "quarter": 5, "front": 1.4, "back": 0.0 if portrait else 0.5})
        heading = {
            "side": dice.between(-0.45, 0.2),
            "quarter": dice.between(-1.25, -0.45),
            "front": dice.between(-1.75, -1.4),
            "back": dice.between(0.3, 0.9),
        }[view]
        if dice.chance(0.5):
            heading = -math.pi - heading
        animal = SPECIES[species](dice, pose(dice, heading, portrait or view in ("front", "back")))
        size = dice.between(0.90, 1.08)
        if herd and dice.chance(0.2):
            size *= 0.62  # a young one
        animal.place(0, 0, heading, size)
        low, high = animal.box()
        half = float(high[0] - low[0]) / 2, float(high[2] - low[2]) / 2
        x = z = 0.0
        for attempt in range(40):
            reach = 0.5 + 0.12 * attempt
            x = dice.between(-reach, reach) * 2.2 * half[0] if taken else 0.0
            z = dice.between(-0.3, reach) * 2.2 * half[1] if taken else 0.0
            if all(
                abs(x - u) > 0.72 * (half[0] + a) or abs(z - v) > 1.05 * (half[1] + b)
                for u, v, a, b in taken
            ):
                break
        else:
            continue
        taken.append((x, z, *half))
        herd.append(animal.place(x - float(low[0] + high[0]) / 2, z, 0.0))
    return herd


def _frame(dice: Dice, herd: list[Blobs], portrait: bool) -> Camera:
    """A camera from which the herd, or the first one's head and neck, fills the picture nicely."""
    top = max(float(animal.box()[1][1]) for animal in herd)
    height = top * dice.pick(
        {dice.between(0.45, 0.8): 3, dice.between(0.8, 1.3): 2, 0.3 * top: 0.7}
    )
    zoom = dice.between(1.9, 3.6)
    fill = dice.between(0.72, 0.98) if portrait else dice.between(0.50, 0.93)
    near, far = 0.3 * top, 60.0 * top
    tag = "head" if portrait else None
    balls = np.array(
        [
            (*end, r + part.fleece / 2)
            for animal in herd
            for part in animal.parts
            if tag in (None, part.tag)
            for end, r in ((part.a, part.ra), (part.b, part.rb))
        ]
    ).T
    front = -min(float(animal.box()[0][2]) for animal in herd)
    for _ in range(30):
        distance = (near + far) / 2
        sides = _project(balls, height, max(distance, front + 0.4))
        extent = max(sides[1] - sides[0], sides[3] - sides[2]) * zoom / 2
        near, far = (distance, far) if extent > fill else (near, distance)
    distance = max(distance, front + 0.4)
    left, right, bottom, above = (zoom * side for side in _project(balls, height, distance))
    room = max(0.0, 0.92 - (right - left) / 2), max(0.0, 0.92 - (above - bottom) / 2)
    x = -(left + right) / 2 + 0.75 * room[0] * dice.between(-1, 1)
    y = -(bottom + above) / 2 + room[1] * dice.between(-0.75, 0.3)
    return Camera(height, distance, zoom, (x, y))


def _project(balls: np.ndarray, height: float, distance: float) -> tuple[float, ...]:
    """Lowest and highest slope to the side, then up, at which the camera sees balls (4, N).

    A ball is x, y, z of its middle and its radius.
    """
    x, y, z, r = balls
    depth = np.maximum(z + distance, 0.2)
    sides = (x - r) / depth, (x + r) / depth, (y - r - height) / depth, (y + r - height) / depth
    return tuple(float(pick(side)) for pick, side in zip((np.min, np.max) * 2, sides, strict=True))


def _props(dice: Dice, place: str, camera: Camera, herd: list[Blobs]) -> list:
    """Trees, rocks, fences, a barn, behind the herd and beside it."""
    back = max(float(animal.box()[1][2]) for animal in herd)
    props = []

    def beside(z: float, edge: float) -> float:
        """A place to the side, edge (0 middle, 1 rim) of what the camera sees at depth z."""
        depth = z + camera.distance
        return (dice.pick((-1, 1)) * edge - camera.shift[0]) * depth / camera.zoom

    for prop, share in PLACES[place][2].items():
        if not dice.chance(share):
            continue
        if prop == "barn":
            z = back + dice.between(11, 30)
            size = dice.between(0.8, 1.25)
            wall = dice.pick(
                [(0.62, 0.18, 0.14), (0.55, 0.22, 0.16), (0.80, 0.76, 0.68), (0.50, 0.40, 0.32)]
            )
            roof = dice.pick([(0.42, 0.40, 0.42), (0.36, 0.26, 0.22), (0.55, 0.50, 0.46)])
            turn = dice.between(-0.9, 0.9)
            props.append(
                Barn(
                    beside(z, dice.between(0.2, 0.8)),
                    z,
                    turn,
                    9 * size,
                    6 * size,
                    3.0 * size,
                    wall,
                    roof,
                )
            )
        elif prop == "fence":
            z = back + dice.between(0.6, 5)
            span = (z + camera.distance) * 1.25 / camera.zoom
            middle = -camera.shift[0] * (z + camera.distance) / camera.zoom
            props += _fence(dice, middle, z, span)
        elif prop in ("tree", "fir", "cactus"):
            make = {"tree": _tree, "fir": _fir, "cactus": _cactus}[prop]
            for _ in range(dice.pick((1, 2, 3))):
                z = back + dice.between(5, 30 if prop != "cactus" else 14)
                props.append(make(dice, beside(z, dice.between(0.15, 1.05)), z))
        else:
            make = {"rock": _rock, "bush": _bush, "tuft": _tuft}[prop]
            for _ in range(dice.pick((2, 3, 4))):
                z = back + dice.between(0.8, 9)
                props.append(make(dice, beside(z, dice.between(0.25, 1.05)), z))
    return props


def _tree(dice: Dice, x: float, z: float) -> Blobs:
    tree, tall = Blobs(curl=0.42), dice.between(2.6, 4.6)
    bark, leaf = (0.36, 0.27, 0.20), dice.pick(GREENS)
    tree.add(
        (0, -0.1, 0), (dice.between(-0.2, 0.2), 0.6 * tall, 0), 0.06 * tall, 0.035 * tall, bark
    )
    for _ in range(dice.pick((5, 6, 7))):
        r = tall * dice.between(0.15, 0.23)
        at = (
            dice.between(-0.24, 0.24) * tall,
            tall * dice.between(0.56, 0.9),
            dice.between(-0.2, 0.2) * tall,
        )
        shade = mix_colour(leaf, (0.75, 0.75, 0.30), dice.between(0, 0.22))
        tree.add(at, at, r, r, shade, join=0.1, fleece=0.24)
    return tree.place(x, z, dice.between(0, 3))


def _fir(dice: Dice, x: float, z: float) -> Blobs:
    tree, tall = Blobs(curl=0.36), dice.between(2.8, 5.5)
    leaf = dice.pick([(0.15, 0.30, 0.17), (0.18, 0.34, 0.22), (0.13, 0.26, 0.18)])
    tree.add((0, -0.1, 0), (0, 0.4 * tall, 0), 0.04 * tall, 0.03 * tall, (0.33, 0.24, 0.18))
    for i in range(4):
        low = tall * (0.2 + 0.2 * i)
        wide = 0.19 * tall * (1 - 0.21 * i)
        tree.add(
            (0, low, 0), (0, low + 0.25 * tall, 0), wide, 0.02 * tall, leaf, join=0.02, fleece=0.16
        )
    return tree.place(x, z, dice.between(0, 3))


def _bush(dice: Dice, x: float, z: float) -> Blobs:
    bush, leaf = Blobs(curl=0.22), dice.pick(GREENS[:3])
    for _ in range(4):
        r = dice.between(0.22, 0.42)
        at = (dice.between(-0.5, 0.5), 0.6 * r, dice.between(-0.3, 0.3))
        bush.add(at, at, r, r, leaf, join=0.06, fleece=0.13)
    return bush.place(x, z, dice.between(0, 3), dice.between(0.8, 1.5))


def _rock(dice: Dice, x: float, z: float) -> Blobs:
    rock = Blobs(curl=0.5)
    colour = dice.pick([(0.52, 0.50, 0.48), (0.60, 0.53, 0.46), (0.44, 0.44, 0.46)])
    for _ in range(3):
        r = dice.between(0.18, 0.36)
        a = (dice.between(-0.4, 0.4), 0.3 * r, dice.between(-0.25, 0.25))
        b = (a[0] + dice.between(-0.25, 0.25), a[1] + dice.between(0, 0.15), a[2])
        rock.add(a, b, r, 0.7 * r, colour, join=0.03, fleece=0.16)
    return rock.place(x, z, dice.between(0, 3), dice.between(0.6, 1.4))


def _tuft(dice: Dice, x: float, z: float) -> Blobs:
    """A clump of ichu, the grass of the Altiplano."""
    tuft = Blobs(curl=0.12)
    for _ in range(13):
        c, s = cos_sin(dice.between(0, 6.2))
        lean, tall = dice.between(0.05, 0.28), dice.between(0.25, 0.5)
        colour = mix_colour((0.80, 0.70, 0.40), (0.60, 0.55, 0.28), dice.between(0, 1))
        root, tip = (0.06 * c, 0, 0.06 * s), (lean * c, tall, lean * s)
        tuft.add(root, tip, 0.035, 0.006, colour, join=0.01)
    return tuft.place(x, z, 0.0, dice.between(0.8, 1.3))


def _cactus(dice: Dice, x: float, z: float) -> Blobs:
    cactus, green = Blobs(), dice.pick([(0.30, 0.45, 0.24), (0.36, 0.47, 0.30)])
    tall = dice.between(1.6, 2.8)
    cactus.add((0, 0, 0), (0, tall, 0), 0.20, 0.17, green)
    for side in dice.pick([(1,), (-1,), (1, -1)]):
        at, out, up = tall * dice.between(0.35, 0.55), side * 0.5, tall * dice.between(0.2, 0.35)
        cactus.add((0, at, 0), (out, at + 0.05, 0), 0.12, 0.12, green)
        cactus.add((out, at + 0.05, 0), (out, at + up, 0), 0.12, 0.10, green)
    return cactus.place(x, z, dice.between(-0.5, 0.5))


def _fence(dice: Dice, middle: float, z: float, span: float) -> list[Blobs]:
    """Stretches of fence, side by side, each bounded by itself."""
    colour = dice.pick(
        [(0.48, 0.36, 0.25), (0.92, 0.90, 0.86), (0.58, 0.52, 0.46), (0.36, 0.26, 0.19)]
    )
    gap, rails = dice.between(1.5, 2.2), dice.pick([(0.45, 0.95), (0.35, 0.70, 1.05)])
    count, start = math.ceil(2 * span / gap), dice.between(0, 1)
    stretches = []
    for i in range(min(count, 14) + 1):
        one = Blobs()
        tilt = dice.between(-0.03, 0.03)
        one.add((0, -0.1, 0), (tilt, 1.2, 0), 0.065, 0.06, colour, join=0.0)
        for y in rails:
            ends = y + dice.between(-0.02, 0.02), y + dice.between(-0.02, 0.02)
            one.add((0, ends[0], -0.06), (gap, ends[1], -0.06), 0.042, 0.042, colour, join=0.0)
        stretches.append(one.place(middle - span + (i - start) * gap, z, 0.0))
    return stretches
