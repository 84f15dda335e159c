"""The animals that are less like alpacas: camels, horses, deer, giraffes, ostriches; and the list.

Functions as in woolly.py.
"""

import math

from dataset.rendering.bodies import DARK, EYE, Build, Frame, Pose, ears, mix_colour, quadruped
from dataset.rendering.shapes import Blobs, Dice, cos_sin
from dataset.rendering.woolly import PINK, alpaca, dog, dress, goat, patch, sheep


def camel(dice: Dice, pose: Pose) -> Blobs:
    """A camel: one hump or two, a neck that sags before it rises."""
    coat, face, _ = dress(dice)
    build = Build(
        length=1.15, height=1.35, chest=0.36, belly=0.37, hip=0.32, legs=(0.15, 0.085, 0.062),
        neck=(0.95, 0.20, 0.120, 0.84, 0.38), skull=0.14, muzzle=(0.27, 0.115, 0.085, 0.10),
        coat=coat, face=face, feet=(0.40, 0.30, 0.24), fleece=dice.between(0.008, 0.022), eye=0.034,
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
        frame(-0.06, 0.11), frame(0.03, 0.12), 0.085, 0.06, dark, join=0.04, fleece=0.05, tag="head"
    )
    if pose.kind != "lie":
        solid.add((-0.85, y, 0), (-0.95, y - 0.5, 0), 0.045, 0.03, coat)
        solid.add((-0.95, y - 0.5, 0), (-0.95, y - 0.62, 0), 0.05, 0.02, dark, fleece=0.02)
    return solid


def horse(dice: Dice, pose: Pose) -> Blobs:
    """A horse: a glossy coat, a mane down the neck, a long tail."""
    coat, _, second = dress(dice)
    hair = dice.pick([(0.12, 0.09, 0.08), (0.92, 0.85, 0.70), mix_colour(coat, (0, 0, 0), 0.5)])
    build = Build(
        length=1.05, height=1.15, chest=0.33, belly=0.335, hip=0.325, legs=(0.16, 0.075, 0.05),
        neck=(0.74, 0.25, 0.135, 0.90, -0.04), skull=0.15, muzzle=(0.43, 0.12, 0.085, 0.21),
        coat=coat, face=coat, feet=(0.22, 0.18, 0.16), eye=0.03,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose)
    patch(solid, second)
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


def deer(dice: Dice, pose: Pose) -> Blobs:
    """A hind, a deer without antlers: slim, a long neck, large upright ears, a pale rump."""
    coat, face, _ = dress(dice)
    build = Build(
        length=0.70, height=0.84, chest=0.19, belly=0.185, hip=0.175, legs=(0.095, 0.040, 0.026),
        neck=(dice.between(0.46, 0.58), 0.125, 0.074, dice.between(1.05, 1.25), 0.0), skull=0.092,
        muzzle=(0.19, 0.072, 0.044, 0.075), coat=coat, face=face, feet=(0.18, 0.15, 0.14),
        fleece=dice.pick((0.0, 0.006)), eye=0.028,
    )  # fmt: skip
    solid, frame = quadruped(dice, build, pose, curl=0.04)
    long = dice.between(0.9, 1.15)
    ear = [
        (-0.04, 0.06, 0.07),
        (-0.05, 0.06 + 0.10 * long, 0.14),
        (-0.04, 0.06 + 0.20 * long, 0.18),
    ]
    ears(solid, frame, ear, (0.028, 0.046, 0.010), coat, inner=mix_colour(face, PINK, 0.5))
    nose = frame(0.27, -0.06)
    solid.add(nose, nose, 0.026, 0.026, EYE, join=0.01, gloss=0.5, tag="head")
    y = build.belly if pose.kind == "lie" else build.height
    pale = mix_colour(coat, (1.0, 0.97, 0.90), 0.7)
    solid.add((-0.45, y - 0.02, 0), (-0.47, y - 0.10, 0), 0.09, 0.07, pale, join=0.02)
    solid.add((-0.52, y + 0.10, 0), (-0.57, y - 0.04, 0), 0.035, 0.02, coat, join=0.02)
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


SPECIES = {
    "alpaca": alpaca, "sheep": sheep, "goat": goat, "camel": camel, "horse": horse,
    "dog": dog, "deer": deer, "giraffe": giraffe, "ostrich": ostrich,
}  # fmt: skip
