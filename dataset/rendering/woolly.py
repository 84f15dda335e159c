"""Alpacas, and those that come nearest to them: sheep, goats and dogs, in the same coats.

There are no llamas: people who know both take one for the other, so a label would be a guess.

Each function takes dice and a pose and returns Blobs that have not been placed yet, standing on
y = 0 and facing +x; lengths are metres (bodies.py says what the numbers of a Build mean).
"""

from dataclasses import replace

from dataset.rendering.bodies import EYE, Build, Pose, ears, mix_colour, quadruped
from dataset.rendering.shapes import Blobs, Dice

PINK = (0.80, 0.58, 0.55)

# name: (fleece, face and legs); all that is not patterned by nature wears these, so that colour
# says nothing of the animal
COATS = {
    "white": ((0.97, 0.94, 0.88), (0.96, 0.92, 0.86)),
    "cream": ((0.95, 0.88, 0.74), (0.95, 0.89, 0.78)),
    "fawn": ((0.85, 0.71, 0.54), (0.88, 0.77, 0.62)),
    "caramel": ((0.69, 0.51, 0.36), (0.76, 0.61, 0.47)),
    "brown": ((0.46, 0.34, 0.26), (0.43, 0.33, 0.27)),
    "black": ((0.29, 0.26, 0.26), (0.27, 0.24, 0.24)),
    "grey": ((0.66, 0.64, 0.64), (0.80, 0.78, 0.76)),
}
COAT_WEIGHTS = {"white": 2.2, **dict.fromkeys(list(COATS)[1:], 1)}
PATCHED = 0.2  # share of animals with patches of a second colour
SHORN, YOUNG = 0.12, 0.15  # shares of alpacas
BALD = 0.12  # share of sheep that are shorn
LOCKS = 0.45  # share of goats with long hair
HORNS = {"long": 0.25, "short": 0.35, "none": 0.4}
DOGS = {"smooth": 0.25, "poodle": 0.4, "shaggy": 0.35}


def dress(dice: Dice) -> tuple:
    """(Coat, face, the colour of patches or None) of an animal."""
    name = dice.pick(COAT_WEIGHTS)
    other = dice.pick([coat for coat in COATS if coat != name])
    return *COATS[name], COATS[other][0] if dice.chance(PATCHED) else None


def patch(solid: Blobs, second: tuple | None) -> None:
    """Put patches of the second colour, if there is one, on all that is large or woolly so far."""
    if second is not None:
        solid.pattern, solid.second = "patches", second
        solid.parts = [replace(p, pattern=float(p.fleece > 0 or p.ra > 0.1)) for p in solid.parts]


def alpaca(dice: Dice, pose: Pose) -> Blobs:
    """An alpaca: long woolly neck, top-knot, banana ears, slender feet.

    A shorn one keeps the wool of its head and its lower legs.
    """
    coat, face, second = dress(dice)
    shorn, young = dice.chance(SHORN), dice.chance(YOUNG)
    stout = dice.between(0.92, 1.08)
    build = Build(
        length=0.58, height=0.80, chest=0.215 * stout, belly=0.235 * stout, hip=0.215 * stout,
        legs=(0.105, 0.048, 0.030), neck=(dice.between(0.46, 0.60), 0.15, 0.098, 1.38, 0.0),
        skull=0.098, muzzle=(0.125, 0.076, 0.054, 0.045), coat=coat, face=face,
        feet=(0.20, 0.16, 0.15), fleece=dice.between(0.020, 0.032), boots=0.008, eye=0.030,
    )  # fmt: skip
    if young:
        build = replace(build, length=0.46, chest=0.18, belly=0.19, hip=0.18, fleece=0.035)
    if shorn:
        slim = {key: 0.82 * getattr(build, key) for key in ("chest", "belly", "hip")}
        neck = (build.neck[0], 0.11, 0.070, *build.neck[3:])
        legs = (0.088, 0.046, 0.032)
        build = replace(build, **slim, neck=neck, legs=legs, fleece=0.005, boots=0.022)
    solid, frame = quadruped(dice, build, pose, curl=dice.between(0.040, 0.055))
    patch(solid, second)
    more = {"tag": "head", "join": 0.03}
    top = dice.between(0.088, 0.12)
    solid.add(frame(-0.03, 0.09), frame(0.045, 0.105), top, 0.75 * top, coat, fleece=0.036, **more)
    for side in (1, -1):
        cheek = frame(-0.02, -0.055, side * 0.05)
        solid.add(cheek, cheek, 0.085, 0.085, coat, fleece=0.025, **more)
    long = dice.between(0.9, 1.15)
    ear = [
        (-0.04, 0.09, 0.075),
        (-0.05, 0.09 + 0.11 * long, 0.120),
        (-0.02, 0.09 + 0.23 * long, 0.095),
    ]
    ears(solid, frame, ear, (0.036, 0.040, 0.013), coat, inner=mix_colour(face, PINK, 0.5))
    back = -build.length / 2 - 0.8 * build.hip
    y = build.belly if pose.kind == "lie" else build.height
    solid.add((back + 0.05, y + 0.06, 0), (back - 0.06, y - 0.12, 0), 0.08, 0.06, coat, fleece=0.05)
    return solid


def sheep(dice: Dice, pose: Pose) -> Blobs:
    """A sheep: a barrel of wool, a shorter neck that leans forward, ears to the sides."""
    coat, face, second = dress(dice)
    face = dice.pick({face: 3, (0.16, 0.14, 0.14): 1, (0.36, 0.27, 0.22): 1})
    build = Build(
        length=0.62, height=dice.between(0.58, 0.68), chest=0.26, belly=0.285, hip=0.27,
        legs=(0.10, 0.05, 0.034), neck=(dice.between(0.26, 0.44), 0.16, 0.112, 0.95, 0.0),
        skull=0.102, muzzle=(0.15, 0.082, 0.058, 0.07), coat=coat, face=face,
        fleece=dice.between(0.024, 0.036), boots=0.006, eye=0.025,
    )  # fmt: skip
    if dice.chance(BALD):
        build = replace(build, chest=0.21, belly=0.235, hip=0.22, fleece=0.006)
    solid, frame = quadruped(dice, build, pose, curl=0.050)
    patch(solid, second)
    tuft = dice.between(0.07, 0.10)
    solid.add(frame(-0.05, 0.08), frame(0.0, 0.09), tuft, 0.7 * tuft, coat, fleece=0.04, tag="head")
    rise = dice.between(-0.02, 0.06)
    ear = [(-0.02, 0.04, 0.09), (-0.02, 0.03 + 0.5 * rise, 0.16), (0.0, -0.02 + rise, 0.22)]
    ears(solid, frame, ear, (0.025, 0.034, 0.014), face, PINK)
    back = -build.length / 2 - build.hip
    y = build.height + 0.04 if pose.kind != "lie" else 0.3
    solid.add((back, y, 0), (back - 0.05, y - 0.18, 0), 0.07, 0.05, coat, fleece=0.04)
    return solid


def goat(dice: Dice, pose: Pose) -> Blobs:
    """A goat: a beard, a short upright tail, hanging ears; long horns, short ones or none."""
    coat, face, second = dress(dice)
    locks = dice.chance(LOCKS)
    build = Build(
        length=0.64, height=0.66, chest=0.19, belly=0.21, hip=0.185, legs=(0.085, 0.045, 0.03),
        neck=(dice.between(0.36, 0.50), 0.125, 0.085, 1.05, 0.0), skull=0.092,
        muzzle=(0.16, 0.075, 0.048, 0.07), coat=coat, face=face,
        fleece=dice.between(0.018, 0.028) if locks else 0.006, boots=0.008, eye=0.023,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.045 if locks else 0.035)
    patch(solid, second)
    horns, horn, long = dice.pick(HORNS), (0.46, 0.40, 0.33), dice.between(0.8, 1.2)
    if horns == "long":
        curve = [
            (0.0, 0.08, 0.04),
            (-0.05, 0.08 + 0.13 * long, 0.06),
            (-0.14, 0.08 + 0.20 * long, 0.09),
            (-0.25 * long, 0.08 + 0.20 * long, 0.13),
        ]
        ears(solid, frame, curve, (0.03, 0.026, 0.02, 0.008), horn)
    elif horns == "short":
        ears(solid, frame, [(0.0, 0.08, 0.04), (-0.05, 0.19, 0.055)], (0.024, 0.009), horn)
    if locks:
        solid.add(frame(-0.02, 0.08), frame(0.05, 0.07), 0.06, 0.04, coat, fleece=0.03, tag="head")
    ear = [(-0.03, 0.03, 0.08), (-0.02, 0.01, 0.15), (0.0, -0.05, 0.20)]
    ears(solid, frame, ear, (0.022, 0.03, 0.012), face, PINK)
    solid.add(frame(0.15, -0.13), frame(0.14, -0.25), 0.035, 0.010, coat, join=0.02, tag="head")
    back, y = -0.50, build.height + 0.1 if pose.kind != "lie" else 0.32
    solid.add((back, y, 0), (back - 0.10, y + 0.13, 0), 0.045, 0.025, coat, join=0.03)
    return solid


def dog(dice: Dice, pose: Pose) -> Blobs:
    """A dog: a tail in the air, a black nose; smooth, a poodle or shaggy like a sheepdog."""
    (coat, face, second), kind = dress(dice), dice.pick(DOGS)
    wool = {"smooth": 0.0, "poodle": dice.between(0.018, 0.026), "shaggy": 0.034}[kind]
    tall = 1.0 if kind == "smooth" else dice.between(1.1, 1.35)
    build = Build(
        length=0.52, height=0.46 * tall, chest=0.165, belly=0.145, hip=0.14,
        legs=(0.085, 0.045, 0.038), neck=(0.22 * tall, 0.115, 0.09, 1.0, 0.0), skull=0.114,
        muzzle=(0.14 if kind == "poodle" else 0.12, 0.068, 0.050, 0.045), coat=coat, face=face,
        feet=face, fleece=wool, boots=0.8 * wool, eye=0.024,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.045 if kind != "shaggy" else 0.065)
    patch(solid, second)
    head = {"tag": "head", "join": 0.03}
    if wool:
        knot = 0.105 if kind == "poodle" else 0.085
        top = frame(-0.04, 0.10), frame(0.04, 0.09)
        solid.add(*top, knot, 0.8 * knot, coat, fleece=1.3 * wool, **head)
    dark = mix_colour(coat, (0.2, 0.12, 0.08), 0.3)
    if wool or dice.chance(0.5):
        ear = [(-0.02, 0.09, 0.09), (-0.01, 0.03, 0.145), (0.01, -0.09, 0.15)]
        wide = (0.03, 0.045, 0.03) if not wool else (0.035, 0.05, 0.05)
        ears(solid, frame, ear, wide, dark, fleece=wool)
    else:
        ear = [(-0.03, 0.08, 0.065), (-0.03, 0.15, 0.08), (-0.02, 0.20, 0.08)]
        ears(solid, frame, ear, (0.04, 0.03, 0.008), dark, PINK)
    nose = frame(0.225 + (0.02 if kind == "poodle" else 0), -0.015)
    solid.add(nose, nose, 0.03, 0.03, EYE, join=0.01, gloss=0.6, tag="head")
    if dice.chance(0.4) and pose.kind != "graze":
        tongue = frame(0.19, -0.10), frame(0.215, -0.165)
        solid.add(*tongue, 0.024, 0.02, (0.88, 0.42, 0.45), join=0.01, tag="head")
    y = 0.15 if pose.kind == "lie" else build.height + 0.04
    tip = (-0.46, y + 0.33, 0)
    solid.add((-0.36, y + 0.05, 0), (-0.50, y + 0.20, 0), 0.035, 0.035, coat, fleece=0.6 * wool)
    if kind == "poodle":
        solid.add((-0.50, y + 0.20, 0), (-0.50, y + 0.26, 0), 0.07, 0.06, coat, fleece=wool)
    else:
        solid.add((-0.50, y + 0.20, 0), tip, 0.042, 0.02, coat, fleece=wool)
    return solid
