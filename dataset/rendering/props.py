"""Trees, rocks, fences and a barn, about the animals and in front of them."""

import math

from dataset.rendering.bodies import mix_colour
from dataset.rendering.framing import Camera, seen
from dataset.rendering.herds import one
from dataset.rendering.shapes import Barn, Blobs, Dice, cos_sin

GREENS = ((0.27, 0.42, 0.14), (0.36, 0.48, 0.16), (0.46, 0.52, 0.18), (0.74, 0.50, 0.16))

# what stands before the animals, and how often
SCREENS = {"none": 0.66, "fence": 0.10, "trunk": 0.08, "bush": 0.09, "animal": 0.07}
# Of the first animal at least so much stays in sight, of its head at least so much; at most so
# much, or the screen hides nothing.
LEAST, LEAST_HEAD, MOST = 0.55, 0.85, 0.92


def scenery(dice: Dice, likely: dict, camera: Camera, back: float) -> list:
    """Trees, rocks, fences, a barn, behind what ends at z = back and beside it.

    likely: how likely each is.
    """
    props = []

    def beside(z: float, edge: float) -> float:
        """A place to the side, edge (0 middle, 1 rim) of what the camera sees at depth z."""
        depth = z + camera.distance
        return (dice.pick((-1, 1)) * edge - camera.shift[0]) * depth / camera.zoom

    for prop, share in likely.items():
        if not dice.chance(share):
            continue
        if prop == "barn":
            z = back + dice.between(11, 30)
            props.append(_barn(dice, beside(z, dice.between(0.2, 0.8)), z))
        elif prop == "fence":
            props += _fence(dice, camera, back + dice.between(0.6, 5))
        elif prop in ("tree", "fir", "cactus"):
            make = {"tree": tree, "fir": fir, "cactus": cactus}[prop]
            for _ in range(dice.pick((1, 2, 3))):
                z = back + dice.between(5, 30 if prop != "cactus" else 14)
                props.append(make(dice, beside(z, dice.between(0.15, 1.05)), z))
        else:
            make = {"rock": rock, "bush": bush, "tuft": _tuft}[prop]
            for _ in range(dice.pick((2, 3, 4))):
                z = back + dice.between(0.8, 9)
                props.append(make(dice, beside(z, dice.between(0.25, 1.05)), z))
    return props


def hide(dice: Dice, how: str, camera: Camera, herd: list[Blobs], kind: str) -> list:
    """What stands before the first of a herd and hides some of it; nothing if no place is found.

    how: a key of SCREENS; kind: which animal stands there, where one does.
    """
    first = herd[0]
    for attempt in range(60 if how != "none" else 0):
        screen = _screen(dice, how, camera, herd, kind, attempt)
        before = [*screen, *herd[1:]]
        if in_sight(camera, first, before) and seen(camera, first, before)[0] <= MOST:
            return screen
    return []


def in_sight(camera: Camera, animal: Blobs, before: list[Blobs]) -> bool:
    """Whether enough of an animal and of its head is seen to tell what it is."""
    body, head = seen(camera, animal, before)
    return body >= LEAST and head >= LEAST_HEAD


def _screen(dice: Dice, how: str, camera: Camera, herd: list, kind: str, attempt: int) -> list:
    first = herd[0]
    low, high = first.box()
    front = min(float(animal.box()[0][2]) for animal in herd)
    wide = float(high[0] - low[0])
    if how == "animal":
        animal = one(dice, kind, portrait=False)
        left, right = animal.box()
        x = float(low[0] + high[0]) / 2 + dice.between(-0.8, 0.8) * wide
        z = float(low[2]) - float(right[2]) - dice.between(0.05, 0.5)
        return [animal.place(x - float(left[0] + right[0]) / 2, z, 0.0)]
    if how == "fence":
        return _fence(dice, camera, front - dice.between(0.1, 0.45) * (front + camera.distance))
    # Aimed at a part of the animal and so broad that it hides a share of it; bushes grow with
    # each attempt, since one that is too low hides nothing.
    part = dice.pick([part for part in first.parts if part.tag == "body"])
    depth = camera.distance + float(low[2])
    z = dice.between(0.65 if how == "bush" else 0.4, 0.9) * depth - camera.distance
    nearer = (z + camera.distance) / (part.a[2] + camera.distance)
    if how == "trunk":
        thick = min(max(nearer * wide * dice.between(0.10, 0.22), 0.05), 0.4)
        tall = (camera.height + dice.between(0.3, 1.6)) / 0.36  # its crown above the camera
        return [tree(dice, part.a[0] * nearer, z, max(tall, 3.4), thick)]
    size = min(max(nearer * wide * dice.between(0.4, 0.75 + 0.03 * attempt), 0.5), 2.4)
    return [bush(dice, part.a[0] * nearer, z, size)]


def _barn(dice: Dice, x: float, z: float) -> Barn:
    size = dice.between(0.8, 1.25)
    walls = ((0.62, 0.18, 0.14), (0.55, 0.22, 0.16), (0.80, 0.76, 0.68), (0.50, 0.40, 0.32))
    roofs = ((0.42, 0.40, 0.42), (0.36, 0.26, 0.22), (0.55, 0.50, 0.46))
    wall, roof, turn = dice.pick(walls), dice.pick(roofs), dice.between(-0.9, 0.9)
    return Barn(x, z, turn, 9 * size, 6 * size, 3.0 * size, wall, roof)


def tree(dice: Dice, x: float, z: float, tall: float = 0.0, thick: float = 0.0) -> Blobs:
    """A leafy tree, so tall and its trunk so thick at the foot (radius), in metres, or randomly."""
    tree, tall = Blobs(curl=0.42), tall or dice.between(2.6, 4.6)
    bark, leaf = (0.36, 0.27, 0.20), dice.pick(GREENS)
    thick, top = thick or 0.06 * tall, (dice.between(-0.2, 0.2), 0.6 * tall, 0)
    tree.add((0, -0.1, 0), top, thick, 0.6 * thick, bark)
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


def fir(dice: Dice, x: float, z: float) -> Blobs:
    """A fir."""
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


def bush(dice: Dice, x: float, z: float, wide: float | None = None) -> Blobs:
    """A bush, about so many metres wide, or of a random size."""
    bush, leaf = Blobs(curl=0.22), dice.pick(GREENS[:3])
    for _ in range(4):
        r = dice.between(0.22, 0.42)
        at = (dice.between(-0.5, 0.5), 0.6 * r, dice.between(-0.3, 0.3))
        bush.add(at, at, r, r, leaf, join=0.06, fleece=0.13)
    return bush.place(x, z, dice.between(0, 3), wide / 1.3 if wide else dice.between(0.8, 1.5))


def rock(dice: Dice, x: float, z: float) -> Blobs:
    """A rock, three stones melted together."""
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


def cactus(dice: Dice, x: float, z: float) -> Blobs:
    """A cactus with one arm or two."""
    cactus, green = Blobs(), dice.pick([(0.30, 0.45, 0.24), (0.36, 0.47, 0.30)])
    tall = dice.between(1.6, 2.8)
    cactus.add((0, 0, 0), (0, tall, 0), 0.20, 0.17, green)
    for side in dice.pick([(1,), (-1,), (1, -1)]):
        at, out, up = tall * dice.between(0.35, 0.55), side * 0.5, tall * dice.between(0.2, 0.35)
        cactus.add((0, at, 0), (out, at + 0.05, 0), 0.12, 0.12, green)
        cactus.add((out, at + 0.05, 0), (out, at + up, 0), 0.12, 0.10, green)
    return cactus.place(x, z, dice.between(-0.5, 0.5))


def _fence(dice: Dice, camera: Camera, z: float) -> list[Blobs]:
    """Stretches of fence across the picture at depth z, side by side, each bounded by itself."""
    span = (z + camera.distance) * 1.25 / camera.zoom
    middle = -camera.shift[0] * (z + camera.distance) / camera.zoom
    colour = dice.pick(
        [(0.48, 0.36, 0.25), (0.92, 0.90, 0.86), (0.58, 0.52, 0.46), (0.36, 0.26, 0.19)]
    )
    gap, rails = dice.between(1.5, 2.2), dice.pick([(0.45, 0.95), (0.35, 0.70, 1.05)])
    count, start = math.ceil(2 * span / gap), dice.between(0, 1)
    stretches = []
    for i in range(min(count, 14) + 1):
        piece = Blobs()
        tilt = dice.between(-0.03, 0.03)
        piece.add((0, -0.1, 0), (tilt, 1.2, 0), 0.065, 0.06, colour, join=0.0)
        for y in rails:
            ends = y + dice.between(-0.02, 0.02), y + dice.between(-0.02, 0.02)
            rail = (0, ends[0], -0.06), (gap, ends[1], -0.06)
            piece.add(*rail, 0.042, 0.042, colour, join=0.0)
        stretches.append(piece.place(middle - span + (i - start) * gap, z, 0.0))
    return stretches
