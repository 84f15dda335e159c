"""Which animals stand together, what they do, and where."""

import math

from dataset.rendering.animals import SPECIES
from dataset.rendering.bodies import Pose
from dataset.rendering.shapes import Blobs, Dice

GROUP = {1: 0.54, 2: 0.22, 3: 0.13, 4: 0.07, 5: 0.04}  # animals in a picture
MIXED = 0.1  # share of pictures with two kinds; render.py draws as many that are not alpaca
COMPANIONS = ("sheep", "goat", "dog", "horse", "deer", "camel")
VIEWS = {"side": 3.2, "quarter": 4.0, "front": 1.6, "back": 1.0}
POSES = {"stand": 4.5, "walk": 2.0, "graze": 2.2, "lie": 2.0}
YOUNG = 0.2  # share of all but the first that are small


def kinds(dice: Dice, species: str, mixed: bool) -> list[str]:
    """The kind of each animal; the first is the species, or any of the companions if "mixed"."""
    count = dice.pick({n: share for n, share in GROUP.items() if n > 1 or not mixed})
    first = dice.pick(COMPANIONS) if species == "mixed" else species
    if not mixed:
        return [first] * count
    second = dice.pick([kind for kind in COMPANIONS if kind != first])
    return [first, second, *(dice.pick((first, second)) for _ in range(count - 2))]


def gather(dice: Dice, wanted: list[str], portrait: bool, spread: float) -> list[Blobs]:
    """Animals of the wanted kinds, placed, the first at the origin; a few if they find no room.

    For a portrait heads are up. spread: how far apart they stand, 1 is close.
    """
    herd, taken = [], []
    for kind in wanted:
        animal = one(dice, kind, portrait, small=bool(herd) and dice.chance(YOUNG))
        low, high = animal.box()
        half = float(high[0] - low[0]) / 2, float(high[2] - low[2]) / 2
        x = z = 0.0
        for attempt in range(40):
            reach = spread * (0.5 + 0.12 * attempt)
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


def one(dice: Dice, kind: str, portrait: bool, small: bool = False) -> Blobs:
    """An animal at the origin, seen from some side, in some pose."""
    shares = {**VIEWS, "back": 0.0} if portrait else VIEWS
    view = dice.pick({**shares, "front": 5.0} if kind == "camel" else shares)
    heading = {
        "side": dice.between(-0.45, 0.3),
        "quarter": dice.between(-1.25, -0.45),
        "front": dice.between(-1.75, -1.4),
        "back": dice.between(0.3, 1.5),
    }[view]
    if dice.chance(0.5):
        heading = -math.pi - heading
    animal = SPECIES[kind](dice, pose(dice, heading, portrait or view == "front"))
    return animal.place(0, 0, heading, dice.between(0.90, 1.08) * (0.62 if small else 1.0))


def pose(dice: Dice, heading: float, head_up: bool) -> Pose:
    """What an animal that is turned by heading does; about half look into the camera."""
    kind = dice.pick({**POSES, "graze": 0.0} if head_up else POSES)
    camera = -math.pi / 2 - heading
    camera -= 2 * math.pi * math.floor(camera / (2 * math.pi) + 0.5)
    if dice.chance(0.5):
        look = min(max(camera + dice.between(-0.35, 0.35), -1.35), 1.35)
    else:
        look = dice.between(-0.5, 0.5)
    return Pose(kind, look, dice.between(-0.12, 0.22))
