"""Scenes: times of day, weather, places, hills, and what stands in them.

A scene is drawn from dice: the same dice give the same scene. Whether there are alpacas, others
or nobody in it, place, light, weather, framing, what stands before them and how many there are
are drawn alike, so that none of it says anything of the class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dataset.rendering import herds, props
from dataset.rendering.framing import FRAMINGS, Camera, frame
from dataset.rendering.shapes import Blobs, Dice, cos_sin

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
    "night": ((0.50, 0.90), (0.80, 0.86, 1.0), 0.75, (0.52, 0.58, 0.72), (0.20, 0.25, 0.44), 1.10),
}
TIME_WEIGHTS = {
    "noon": 3.2, "morning": 3.2, "golden": 2.6, "overcast": 1.8, "dusk": 1.5, "night": 0.8,
}  # fmt: skip
BACKLIT = 0.22  # share of pictures with the sun ahead of the camera
SHADE = 0.25  # share of pictures in clear weather with the animals in the shade of a tree

# weather: how often, the strength of the sun, and the way after which haze hides half, from and to,
# in distances between the camera and the first animal (None: 60 m)
WEATHER = {
    "clear": (0.85, 1.0, None),
    "fog": (0.08, 0.4, (1.6, 2.6)),
    "snowfall": (0.07, 0.5, (2.0, 3.2)),
}
CLEAR = 60.0  # metres

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


@dataclass(frozen=True)
class Scene:
    """All that a picture is made of; time, place, weather, framing, screen are keys of tables.

    ground: what one stands on. haze: metres after which half is hidden. sun: (3,) points to it.
    shade: x, z and radius in metres of the shade of a tree out of the picture, or None. count: of
    animals. salt: moves noise, so that no two pictures have the same clouds.
    """

    solids: tuple
    camera: Camera
    time: str
    place: str
    weather: str
    ground: str
    haze: float
    sun: np.ndarray
    shade: tuple | None
    clouds: float
    framing: str
    screen: str
    count: int
    salt: float


def compose(dice: Dice, species: str | None) -> Scene:
    """A scene with one to five animals: of a species, of two ("mixed"), or with none (None).

    Of the scenes of alpacas a share, herds.MIXED, shows companions among them.
    """
    kind = species or dice.pick(("alpaca", "sheep", "horse"))
    mixed = dice.chance(herds.MIXED) if kind == "alpaca" else kind == "mixed"
    kinds = herds.kinds(dice, kind, mixed)
    framing = dice.pick(
        {key: share for key, share in FRAMINGS.items() if not mixed or key != "portrait"}
    )
    screen = dice.pick(props.SCREENS)
    if framing == "portrait":
        kinds = kinds[:1]
    if screen == "animal" and len(kinds) == 1:
        screen = "none"
    if screen == "animal" and not species:
        screen = dice.pick(("fence", "trunk", "bush"))
    before = kinds.pop() if screen == "animal" else ""
    herd = herds.gather(dice, kinds, framing == "portrait", 1.5 if framing == "wide" else 1.0)
    return _scene(dice, herd, framing, screen, before, shown=bool(species))


def compose_thing(dice: Dice, thing: Callable[[Dice], Blobs]) -> Scene:
    """A scene like those of the animals with a thing where an animal would be."""
    placed = thing(dice).place(0, 0, dice.between(-0.7, 0.7))
    return _scene(dice, [placed], "near", "none", "", shown=True)


def _scene(
    dice: Dice, herd: list[Blobs], framing: str, screen: str, before: str, shown: bool
) -> Scene:
    """Place, light, weather, props and camera for a herd, which is left out unless shown.

    before: the kind of the animal that stands before it, if the screen is one.
    """
    camera = frame(dice, herd, framing)
    while len(herd) > 1 and not props.in_sight(camera, herd[0], herd[1:]):
        herd.pop()
    time, place = dice.pick(TIME_WEIGHTS), dice.pick(PLACE_WEIGHTS)
    weather = dice.pick({key: share for key, (share, *_) in WEATHER.items()})
    if weather == "snowfall" and place == "desert":
        place = "snow"
    _, _, reach = WEATHER[weather]
    haze = min(dice.between(*reach) * camera.distance, CLEAR) if reach else CLEAR
    hidden_by = props.hide(dice, screen, camera, herd, before)
    back = max(float(animal.box()[1][2]) for animal in herd)
    likely = PLACES[place][2]
    solids = props.scenery(dice, likely, camera, back)
    screen = screen if hidden_by else "none"
    count = len(herd) + (screen == "animal") if shown else 0
    if shown:
        solids += [*herd, *hidden_by]
    else:  # nobody there: more of what stands about, some of it where they would be
        solids += props.scenery(dice, likely, camera, back)
        solids += hidden_by
        things = {"desert": (props.rock, props.cactus), "snow": (props.fir, props.rock)}
        for _ in range(dice.pick((1, 2))):
            thing = dice.pick(things.get(place, (props.rock, props.bush, props.tree)))
            solids.append(thing(dice, dice.between(-1.5, 1.5), dice.between(0, 4)))
    ground = "snow" if weather == "snowfall" else PLACES[place][0]
    clouds = 0.95 if time == "overcast" or weather != "clear" else dice.between(0.15, 0.62)
    sun, shade = _sun(dice, time), None
    if dice.chance(SHADE) and weather == "clear":  # else light comes from all sides
        r = dice.between(1.6, 3.0) * max(float(animal.radius) for animal in herd)
        shade = dice.between(-0.5, 0.5) * r, dice.between(-0.3, 0.5) * r, r
    return Scene(
        tuple(solids), camera, time, place, weather, ground, haze, sun, shade, clouds,
        framing, screen, count, dice.between(0, 90),
    )  # fmt: skip


def _sun(dice: Dice, time: str) -> np.ndarray:
    """Direction (3,) of the sun: behind the camera or to its side, or ahead of it."""
    across, up = cos_sin(dice.between(*TIMES[time][0]))
    ahead = dice.chance(BACKLIT)
    side, forward = cos_sin(dice.between(0.3, 2.8) if ahead else dice.between(-2.9, -0.25))
    return np.array([across * side, up, across * forward], np.float32)
