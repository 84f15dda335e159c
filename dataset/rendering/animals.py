"""Animals: alpacas, and those that one may take for one.

Each function takes dice and a pose and returns Blobs that have not been placed yet, standing on
y = 0 and facing +x; lengths are metres (bodies.py says what the numbers of a Build mean).
"""

import math
from dataclasses import replace

from dataset.rendering.bodies import DARK, EYE, Build, Frame, Pose, ears, mix_colour, quadruped
from dataset.rendering.shapes import Blobs, Dice, cos_sin

PINK = (0.80, 0.58, 0.55)

# name: (fleece, face and legs); the paler face is how one tells a brown alpaca's muzzle
ALPACA_COATS = {
    "white": ((0.97, 0.94, 0.88), (0.96, 0.92, 0.86)),
    "cream": ((0.95, 0.88, 0.74), (0.95, 0.89, 0.78)),
    "fawn": ((0.85, 0.71, 0.54), (0.88, 0.77, 0.62)),
    "caramel": ((0.69, 0.51, 0.36), (0.76, 0.61, 0.47)),
    "brown": ((0.46, 0.34, 0.26), (0.43, 0.33, 0.27)),
    "black": ((0.29, 0.26, 0.26), (0.27, 0.24, 0.24)),
    "grey": ((0.66, 0.64, 0.64), (0.80, 0.78, 0.76)),
}


def alpaca(dice: Dice, pose: Pose) -> Blobs:
    """An alpaca: long woolly neck, top-knot, banana ears, slender feet."""
    name = dice.pick({"white": 2.2, **dict.fromkeys(list(ALPACA_COATS)[1:], 1)})
    coat, face = ALPACA_COATS[name]
    young = dice.chance(0.12)
    wool = dice.between(0.020, 0.032)
    stout = dice.between(0.92, 1.08)
    build = Build(
        length=0.58, height=0.80, chest=0.215 * stout, belly=0.235 * stout, hip=0.215 * stout,
        legs=(0.105, 0.048, 0.030), neck=(dice.between(0.50, 0.60), 0.15, 0.098, 1.38, 0.0),
        skull=0.098, muzzle=(0.125, 0.076, 0.054, 0.045), coat=coat, face=face,
        feet=(0.20, 0.16, 0.15), fleece=wool, eye=0.030,
    )  # fmt: skip
    if young:
        build = replace(build, length=0.46, chest=0.18, belly=0.19, hip=0.18, fleece=0.035)
    solid, frame = quadruped(dice, build, pose, curl=dice.between(0.040, 0.055))
    if dice.chance(0.22):
        build = replace(build, pattern=1.0)
        other = dice.pick([c for c in ALPACA_COATS if c != name])
        solid.pattern, solid.second = "patches", ALPACA_COATS[other][0]
        solid.parts = [replace(p, pattern=float(p.fleece > 0)) for p in solid.parts]
    more = {"tag": "head", "join": 0.03}
    top = dice.between(0.095, 0.12)
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
    """A sheep: a ball of wool on short legs, a bare face, ears to the sides."""
    coat = dice.pick(
        [(0.95, 0.92, 0.86), (0.92, 0.86, 0.74), (0.30, 0.26, 0.25), (0.62, 0.52, 0.44)]
    )
    face = dice.pick([(0.16, 0.14, 0.14), (0.93, 0.88, 0.82), (0.36, 0.27, 0.22)])
    build = Build(
        length=0.62, height=0.58, chest=0.27, belly=0.30, hip=0.28, legs=(0.10, 0.05, 0.034),
        neck=(0.24, 0.17, 0.12, 0.75, 0.0), skull=0.105, muzzle=(0.15, 0.085, 0.06, 0.075),
        coat=coat, face=face, fleece=dice.between(0.026, 0.036), eye=0.024,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.052)
    solid.add(frame(-0.05, 0.08), frame(0.0, 0.09), 0.085, 0.06, coat, fleece=0.05, tag="head")
    ears(
        solid,
        frame,
        [(-0.02, 0.04, 0.09), (-0.02, 0.03, 0.16), (0.0, -0.02, 0.22)],
        (0.025, 0.034, 0.014),
        face,
        PINK,
    )
    back, y = -0.58, 0.62 if pose.kind != "lie" else 0.3
    solid.add((back, y, 0), (back - 0.05, y - 0.18, 0), 0.07, 0.05, coat, fleece=0.04)
    return solid


def goat(dice: Dice, pose: Pose) -> Blobs:
    """A goat: swept horns, a beard, a short upright tail."""
    coat = dice.pick(
        [
            (0.93, 0.90, 0.85),
            (0.55, 0.38, 0.26),
            (0.25, 0.22, 0.21),
            (0.70, 0.62, 0.54),
            (0.82, 0.66, 0.46),
        ]
    )
    face = dice.pick([coat, mix_colour(coat, (1, 0.97, 0.92), 0.5)])
    build = Build(
        length=0.64, height=0.62, chest=0.19, belly=0.21, hip=0.185, legs=(0.085, 0.045, 0.03),
        neck=(0.36, 0.125, 0.085, 0.95, 0.0), skull=0.092, muzzle=(0.17, 0.075, 0.048, 0.075),
        coat=coat, face=face, fleece=0.006, eye=0.021,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.035)
    if dice.chance(0.4):
        solid.pattern, solid.second = "patches", dice.pick([(0.95, 0.93, 0.9), (0.3, 0.2, 0.15)])
        solid.parts = [replace(p, pattern=float(p.fleece > 0)) for p in solid.parts]
    horn, long = (0.46, 0.40, 0.33), dice.between(0.8, 1.25)
    curve = [
        (0.0, 0.08, 0.04),
        (-0.05, 0.08 + 0.13 * long, 0.06),
        (-0.14, 0.08 + 0.20 * long, 0.09),
        (-0.25 * long, 0.08 + 0.20 * long, 0.13),
    ]
    ears(solid, frame, curve, (0.03, 0.026, 0.02, 0.008), horn)
    ears(
        solid,
        frame,
        [(-0.03, 0.03, 0.08), (-0.02, 0.01, 0.15), (0.0, -0.05, 0.20)],
        (0.022, 0.03, 0.012),
        face,
        PINK,
    )
    solid.add(frame(0.16, -0.13), frame(0.15, -0.25), 0.035, 0.010, coat, join=0.02, tag="head")
    back, y = -0.50, 0.72 if pose.kind != "lie" else 0.32
    solid.add((back, y, 0), (back - 0.10, y + 0.13, 0), 0.045, 0.025, coat, join=0.03)
    return solid


def camel(dice: Dice, pose: Pose) -> Blobs:
    """A camel: one hump or two, a neck that sags before it rises."""
    coat = dice.pick(
        [(0.80, 0.61, 0.40), (0.70, 0.50, 0.32), (0.88, 0.76, 0.58), (0.52, 0.36, 0.25)]
    )
    build = Build(
        length=1.15, height=1.35, chest=0.36, belly=0.37, hip=0.32, legs=(0.15, 0.085, 0.062),
        neck=(0.95, 0.21, 0.125, 1.0, 0.42), skull=0.14, muzzle=(0.27, 0.115, 0.085, 0.10),
        coat=coat, face=mix_colour(coat, (0.9, 0.8, 0.65), 0.25), feet=(0.40, 0.30, 0.24),
        fleece=0.010, eye=0.03,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.07)
    y = build.belly if pose.kind == "lie" else build.height
    dark = mix_colour(coat, (0.35, 0.22, 0.14), 0.35)
    for x in dice.pick([(-0.05,), (-0.38, 0.34)]):
        solid.add(
            (x, y + 0.28, 0), (x - 0.02, y + 0.58, 0), 0.24, 0.10, coat, join=0.22, fleece=0.03
        )
        solid.add(
            (x - 0.02, y + 0.62, 0),
            (x - 0.02, y + 0.66, 0),
            0.075,
            0.05,
            dark,
            join=0.06,
            fleece=0.05,
        )
    ears(solid, frame, [(-0.09, 0.10, 0.09), (-0.11, 0.18, 0.13)], (0.04, 0.022), coat)
    solid.add(
        frame(-0.06, 0.11), frame(0.03, 0.12), 0.075, 0.05, dark, join=0.04, fleece=0.04, tag="head"
    )
    if pose.kind != "lie":
        solid.add((-0.85, y, 0), (-0.95, y - 0.5, 0), 0.045, 0.03, coat)
        solid.add((-0.95, y - 0.5, 0), (-0.95, y - 0.62, 0), 0.05, 0.02, dark, fleece=0.02)
    return solid


def horse(dice: Dice, pose: Pose) -> Blobs:
    """A horse: a glossy coat, a mane down the neck, a long tail."""
    coat = dice.pick(
        [
            (0.47, 0.27, 0.16),
            (0.62, 0.40, 0.22),
            (0.22, 0.17, 0.15),
            (0.93, 0.90, 0.86),
            (0.60, 0.58, 0.57),
            (0.83, 0.64, 0.40),
        ]
    )
    hair = dice.pick([(0.12, 0.09, 0.08), (0.92, 0.85, 0.70), mix_colour(coat, (0, 0, 0), 0.5)])
    build = Build(
        length=1.05, height=1.15, chest=0.33, belly=0.335, hip=0.325, legs=(0.16, 0.075, 0.05),
        neck=(0.74, 0.25, 0.135, 0.90, -0.04), skull=0.15, muzzle=(0.43, 0.12, 0.085, 0.21),
        coat=coat, face=coat, feet=(0.22, 0.18, 0.16), eye=0.03,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose)
    if dice.chance(0.2):
        solid.pattern, solid.second, solid.patch = "patches", (0.95, 0.93, 0.9), 0.55
        solid.parts = [replace(p, pattern=1.0 if p.ra > 0.1 else 0.0) for p in solid.parts]
    necks = [p for p in solid.parts if p.tag == "head"][:4]
    for part in necks:
        # behind the neck: at right angles to its line, away from the face
        dx, dy = part.b[0] - part.a[0], part.b[1] - part.a[1]
        size = math.sqrt(dx * dx + dy * dy) or 1.0
        ends = [
            (p[0] - 0.9 * r * dy / size, p[1] + 0.9 * r * dx / size, p[2])
            for p, r in ((part.a, part.ra), (part.b, part.rb))
        ]
        solid.add(*ends, 0.075, 0.07, hair, join=0.03, fleece=0.05, tag="head")
    solid.add(
        frame(-0.08, 0.15), frame(0.12, 0.12), 0.065, 0.04, hair, join=0.03, fleece=0.04, tag="head"
    )
    ears(
        solid,
        frame,
        [(-0.05, 0.13, 0.08), (-0.03, 0.23, 0.09), (0.0, 0.30, 0.08)],
        (0.04, 0.038, 0.01),
        coat,
        DARK,
    )
    y = build.belly if pose.kind == "lie" else build.height
    solid.add((-0.82, y + 0.15, 0), (-0.98, y - 0.08, 0), 0.07, 0.085, hair, join=0.05, fleece=0.04)
    solid.add(
        (-0.98, y - 0.08, 0),
        (-0.98, max(y - 0.72, 0.12), 0),
        0.085,
        0.04,
        hair,
        join=0.05,
        fleece=0.05,
    )
    return solid


def dog(dice: Dice, pose: Pose) -> Blobs:
    """A dog: a tail in the air, hanging or pricked ears, a tongue if it likes you."""
    coat = dice.pick(
        [
            (0.86, 0.66, 0.38),
            (0.28, 0.21, 0.18),
            (0.95, 0.92, 0.86),
            (0.60, 0.36, 0.20),
            (0.55, 0.53, 0.53),
        ]
    )
    pale = mix_colour(coat, (1, 0.96, 0.90), 0.6)
    build = Build(
        length=0.52, height=0.46, chest=0.165, belly=0.145, hip=0.14, legs=(0.085, 0.045, 0.038),
        neck=(0.22, 0.115, 0.09, 0.95, 0.0), skull=0.118, muzzle=(0.12, 0.07, 0.052, 0.045),
        coat=coat, face=dice.pick([coat, pale]), feet=pale,
        fleece=dice.pick([0.003, 0.014]), eye=0.022,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.045)
    ear = mix_colour(coat, (0.2, 0.12, 0.08), 0.45)
    if dice.chance(0.65):
        ears(
            solid,
            frame,
            [(-0.02, 0.09, 0.09), (-0.01, 0.03, 0.145), (0.01, -0.09, 0.15)],
            (0.03, 0.045, 0.03),
            ear,
        )
    else:
        ears(
            solid,
            frame,
            [(-0.03, 0.08, 0.065), (-0.03, 0.15, 0.08), (-0.02, 0.20, 0.08)],
            (0.04, 0.03, 0.008),
            ear,
            PINK,
        )
    solid.add(
        frame(0.245, -0.015),
        frame(0.245, -0.015),
        0.03,
        0.03,
        EYE,
        join=0.01,
        gloss=0.6,
        tag="head",
    )
    if dice.chance(0.6) and pose.kind != "graze":
        solid.add(
            frame(0.19, -0.10),
            frame(0.215, -0.165),
            0.024,
            0.02,
            (0.88, 0.42, 0.45),
            join=0.01,
            tag="head",
        )
    y = 0.15 if pose.kind == "lie" else 0.50
    solid.add((-0.36, y + 0.05, 0), (-0.50, y + 0.20, 0), 0.04, 0.045, coat, fleece=0.01)
    solid.add((-0.50, y + 0.20, 0), (-0.46, y + 0.36, 0), 0.045, 0.02, pale, fleece=0.01)
    return solid


def giraffe(dice: Dice, pose: Pose) -> Blobs:
    """A giraffe: legs and neck that go on and on, patches, two knobs on the head."""
    coat = dice.pick([(0.94, 0.84, 0.62), (0.92, 0.80, 0.55)])
    patch = dice.pick([(0.62, 0.36, 0.16), (0.48, 0.27, 0.14), (0.70, 0.43, 0.18)])
    build = Build(
        length=1.15, height=1.95, chest=0.40, belly=0.38, hip=0.33, legs=(0.20, 0.10, 0.068),
        neck=(1.75, 0.28, 0.13, 1.18, 0.05), skull=0.155, muzzle=(0.30, 0.12, 0.085, 0.12),
        coat=coat, face=coat, feet=(0.30, 0.22, 0.18), pattern=1.0, eye=0.038,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose)
    solid.pattern, solid.second = "giraffe", patch
    ears(solid, frame, [(0.0, 0.12, 0.055), (-0.03, 0.27, 0.07)], (0.03, 0.03), coat)
    ears(solid, frame, [(-0.03, 0.265, 0.07), (-0.035, 0.29, 0.07)], (0.045, 0.045), DARK)
    ears(
        solid,
        frame,
        [(-0.06, 0.08, 0.12), (-0.06, 0.12, 0.22), (-0.05, 0.13, 0.28)],
        (0.03, 0.05, 0.012),
        coat,
        PINK,
    )
    if pose.kind != "lie":
        solid.add((-0.85, 2.0, 0), (-1.0, 1.35, 0), 0.04, 0.03, coat)
        solid.add((-1.0, 1.35, 0), (-1.0, 1.15, 0), 0.06, 0.03, DARK)
    return solid


def ostrich(dice: Dice, pose: Pose) -> Blobs:
    """An ostrich: two legs, a feather duster, a bare neck, big eyes."""
    male = dice.chance(0.65)
    coat = (0.13, 0.12, 0.13) if male else (0.47, 0.38, 0.31)
    skin = dice.pick([(0.86, 0.63, 0.56), (0.72, 0.62, 0.58)])
    plume = (0.95, 0.93, 0.90) if male else (0.72, 0.64, 0.55)
    solid = Blobs(curl=0.11)
    y = 1.10 if pose.kind != "lie" else 0.36
    wool = {"fleece": 0.06}
    solid.add((-0.30, y + 0.02, 0), (0.28, y + 0.05, 0), 0.27, 0.24, coat, **wool)
    solid.add((-0.05, y - 0.06, 0), (0.15, y - 0.06, 0), 0.30, 0.28, coat, join=0.1, **wool)
    for side in (1, -1):
        solid.add(
            (0.10, y + 0.04, side * 0.24),
            (-0.35, y - 0.06, side * 0.22),
            0.14,
            0.10,
            coat,
            join=0.05,
            **wool,
        )
        solid.add(
            (-0.30, y - 0.10, side * 0.22),
            (-0.45, y - 0.14, side * 0.2),
            0.09,
            0.07,
            plume,
            join=0.03,
            **wool,
        )
    solid.add((-0.50, y + 0.12, 0), (-0.74, y + 0.20, 0), 0.16, 0.11, plume, join=0.06, **wool)
    if pose.kind != "lie":
        step = 0.32 if pose.kind == "walk" else 0.04
        for side in (1, -1):
            knee = (-0.04 + 0.45 * side * step, 0.58, side * 0.13)
            foot = (side * step, 0.05, side * 0.12)
            solid.add((0.0, y - 0.15, side * 0.13), knee, 0.15, 0.06, skin, join=0.05)
            solid.add(knee, foot, 0.052, 0.036, skin, join=0.03)
            solid.add(
                foot,
                (foot[0] + 0.16, 0.035, foot[2]),
                0.042,
                0.03,
                mix_colour(skin, DARK, 0.4),
                join=0.02,
            )
    if pose.kind == "graze":
        line = [(0.42, y + 0.10, 0), (0.68, y + 0.0, 0), (0.86, y - 0.40, 0), (0.93, 0.22, 0.0)]
        frame = Frame(line[-1], 0.5 * pose.look, -0.8)
    else:
        c, s = cos_sin(0.4 * pose.look)
        line = [
            (0.42, y + 0.08, 0),
            (0.60, y + 0.25, 0),
            (0.58, y + 0.62, 0),
            (0.56 + 0.1 * c, y + 1.0, 0.1 * s),
        ]
        frame = Frame(line[-1], pose.look, pose.nod)
    for i, (wide, narrow) in enumerate(((0.11, 0.075), (0.075, 0.056), (0.056, 0.05))):
        solid.add(line[i], line[i + 1], wide, narrow, skin, join=0.06, tag="head")
    solid.add(frame(-0.03, 0.01), frame(0.05, 0.0), 0.088, 0.07, skin, join=0.03, tag="head")
    solid.add(
        frame(-0.05, 0.07),
        frame(-0.01, 0.085),
        0.05,
        0.04,
        coat,
        join=0.02,
        fleece=0.03,
        tag="head",
    )
    solid.add(
        frame(0.09, -0.02),
        frame(0.22, -0.045),
        0.048,
        0.022,
        (0.78, 0.58, 0.36),
        join=0.015,
        tag="head",
    )
    for side in (1, -1):
        eye = frame(0.05, 0.03, side * 0.066)
        solid.add(eye, eye, 0.034, 0.034, EYE, join=0, gloss=1.0, tag="head")
    return solid


LOOKALIKES = {
    "sheep": sheep, "goat": goat, "camel": camel, "horse": horse,
    "dog": dog, "giraffe": giraffe, "ostrich": ostrich,
}  # fmt: skip
SPECIES = {"alpaca": alpaca, **LOOKALIKES}
