"""What the animals have in common: how they stand, and a body on four legs.

An animal stands on y = 0 and faces +x, z is to its side; lengths are metres. Parts of the head and
neck carry the tag "head", so that a portrait can be framed.
"""

from dataclasses import dataclass

from dataset.rendering.shapes import Blobs, Dice, cos_sin, mix

DARK = (0.13, 0.10, 0.10)
EYE = (0.03, 0.025, 0.03)


def mix_colour(a, b, share: float) -> tuple:
    """Between two colours."""
    return tuple(mix(x, y, share) for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class Pose:
    """What an animal does: "stand", "walk", "graze" or "lie"; and where it looks.

    look: radians from straight ahead to the side, nod: radians upwards.
    """

    kind: str = "stand"
    look: float = 0.0
    nod: float = 0.0


@dataclass(frozen=True)
class Build:
    """Proportions of a four-legged animal, in metres.

    height: of the body's middle line above ground. chest, belly, hip: radii. legs: radii of thigh,
    knee and ankle. neck: its length, its radii at both ends, its angle above the horizontal in
    radians, and how far it sags (in lengths). skull: radius. muzzle: length, radii at both ends,
    and how far its tip hangs. fleece: of body, neck and thighs; boots: that of the lower legs.
    coat, face, feet: colours.
    """

    length: float
    height: float
    chest: float
    belly: float
    hip: float
    legs: tuple
    neck: tuple
    skull: float
    muzzle: tuple
    coat: tuple
    face: tuple
    feet: tuple = DARK
    fleece: float = 0.0
    boots: float = 0.0
    pattern: float = 0.0
    eye: float = 0.022


class Frame:
    """A place and three directions: forward, up, side; turns a head's own lengths into points."""

    def __init__(self, at, yaw: float, nod: float):
        c, s = cos_sin(yaw)
        u, v = cos_sin(nod)
        self.at = at
        self.axes = (u * c, v, u * s), (-v * c, u, -v * s), (-s, 0.0, c)

    def __call__(self, forward: float, up: float, side: float = 0.0) -> tuple:
        f, u, s = self.axes
        return tuple(self.at[i] + forward * f[i] + up * u[i] + side * s[i] for i in range(3))


def quadruped(dice: Dice, build: Build, pose: Pose, curl: float = 0.08) -> tuple[Blobs, Frame]:
    """Body, legs, neck and a head without ears: (the solid, the head's frame)."""
    solid = Blobs(curl=curl)
    half, y = build.length / 2, build.height
    wool = {"fleece": build.fleece, "pattern": build.pattern}
    if pose.kind == "lie":
        y = build.belly * 1.02
    rise = 0.0 if pose.kind != "graze" else -0.05 * build.height
    solid.add(
        *((-half, y, 0), (half, y + rise, 0), build.hip, build.chest, build.coat), join=0.1, **wool
    )
    sag = y - 0.12 * build.belly
    solid.add(
        (-0.5 * half, sag, 0), (0.5 * half, sag, 0), build.belly, build.belly, build.coat,
        join=0.12, **wool,
    )  # fmt: skip
    (_lie if pose.kind == "lie" else _legs)(dice, solid, build, pose, y)
    length, wide, narrow, angle, hang = build.neck
    base = (half + 0.2 * build.chest, y + rise + 0.45 * build.chest, 0.0)
    if pose.kind == "graze":
        reach = max(base[1] - 0.30 * length, 0.1)
        long, _, tip, drop = build.muzzle  # the head, bent by 0.85, just touches the grass
        nose = 0.75 * (0.5 * build.skull + long) + 0.66 * drop + tip + 0.01
        c, s = cos_sin(0.5 * pose.look)
        forward = 0.45 * length + 0.25 * reach
        top = (base[0] + forward * c, nose, forward * s)
        control = mix(base[0], top[0], 0.75), 0.62 * base[1], 0.6 * top[2]
        frame = Frame(top, 0.6 * pose.look, -0.85)
    else:
        c, s = cos_sin(angle)
        turn, side = cos_sin(0.45 * pose.look)
        top = (
            base[0] + length * c * turn,
            base[1] + length * s,
            length * c * side,
        )
        control = base[0] + length * (0.55 * c + 0.12), base[1] + length * (0.4 * s - hang), 0.0
        frame = Frame(top, pose.look, pose.nod)
    points = [
        tuple(
            (1 - t) * (1 - t) * base[i] + 2 * t * (1 - t) * control[i] + t * t * top[i]
            for i in range(3)
        )
        for t in (0, 0.25, 0.5, 0.75, 1)
    ]
    for i in range(4):
        solid.add(
            *(points[i], points[i + 1], mix(wide, narrow, i / 4), mix(wide, narrow, (i + 1) / 4)),
            build.coat, join=0.1 * (1 + wide) if i == 0 else 0.05, **wool,
            tag="neck" if length > 1 and i < 2 else "head",
        )  # fmt: skip
    _face(solid, build, frame)
    return solid, frame


def _legs(dice: Dice, solid: Blobs, build: Build, pose: Pose, y: float) -> None:
    thigh, knee, ankle = build.legs
    half, spread = build.length / 2, 0.52 * build.chest
    swing = (0.30 if pose.kind == "walk" else 0.05) * build.height
    phase = dice.pick((-1, 1))
    for i, (x, z) in enumerate(((half, 1), (half, -1), (-half, 1), (-half, -1))):
        forward = phase * (1 if i in (0, 3) else -1) * swing * dice.between(0.7, 1.0)
        lift = 0.10 * build.height if pose.kind == "walk" and forward > 0 and i % 2 else 0.0
        bend = 0.03 * build.height if x > 0 else -0.06 * build.height
        hip = (x - 0.1 * (x > 0), y - 0.25 * build.hip, z * spread)
        middle = (x + 0.45 * forward + bend + 0.5 * lift, 0.46 * y + lift / 2, z * spread)
        foot = (x + forward, 1.1 * ankle + lift, z * spread * 0.95)
        more = {"fleece": 0.8 * build.fleece, "pattern": build.pattern}
        solid.add(hip, middle, thigh, knee, build.coat, join=0.08, **more)
        more = {"fleece": build.boots, "pattern": 0.6 * build.pattern}
        solid.add(middle, foot, 0.85 * knee, ankle, build.face, join=0.04, **more)
        toe = (foot[0] + 1.1 * ankle, foot[1] - 0.2 * ankle, foot[2])
        solid.add(foot, toe, 0.9 * ankle, 0.75 * ankle, build.feet, join=0.01)


def _lie(dice: Dice, solid: Blobs, build: Build, pose: Pose, y: float) -> None:
    thigh, knee, ankle = build.legs
    half, spread = build.length / 2, 0.7 * build.chest
    more = {"fleece": 0.8 * build.fleece, "pattern": build.pattern}
    for z in (1, -1):
        knee_at = (half + 0.20 * build.height, 1.2 * knee, z * spread * 0.8)
        solid.add((half - 0.1, 0.5 * y, z * spread), knee_at, thigh, knee, build.coat, **more)
        back = (half - 0.10 * build.height, ankle, z * spread * 0.9)
        solid.add(knee_at, back, 0.9 * knee, ankle, build.face, join=0.02)
        haunch = (-0.75 * half, 0.55 * y, z * spread)
        stifle = (-0.1 * half, 1.3 * knee, z * 1.15 * spread)
        solid.add(haunch, stifle, 1.5 * thigh, 1.2 * knee, build.coat, join=0.08, **more)


def _face(solid: Blobs, build: Build, frame: Frame) -> None:
    r, (long, wide, narrow, hang) = build.skull, build.muzzle
    head = {"tag": "head", "pattern": 0.3 * build.pattern}
    solid.add(frame(-0.2 * r, 0), frame(0.3 * r, 0), r, 0.92 * r, build.face, join=0.05, **head)
    tip = frame(0.5 * r + long, -hang)
    solid.add(frame(0.4 * r, -0.25 * r), tip, wide, narrow, build.face, join=0.04, **head)
    nose = mix_colour(build.face, (0.12, 0.08, 0.08), 0.72)
    end = 0.5 * r + long + 0.72 * narrow
    for side in (1, -1):
        at = frame(end - 0.1 * narrow, 0.35 * narrow - hang, side * 0.42 * narrow)
        solid.add(at, at, 0.24 * narrow, 0.24 * narrow, nose, join=0.008, tag="head")
        lip = frame(end - 0.62 * narrow, -0.42 * narrow - hang, side * 0.86 * narrow)
        mouth = frame(end + 0.02 * narrow, -0.40 * narrow - hang, 0)
        solid.add(mouth, lip, 0.1 * narrow, 0.1 * narrow, (0.2, 0.14, 0.13), join=0, tag="head")
        eye = frame(0.62 * r, 0.30 * r, side * 0.80 * r)
        solid.add(eye, eye, build.eye, build.eye, EYE, join=0, gloss=1.0, tag="head")


def ears(solid: Blobs, frame: Frame, points, radii, colour, inner=None, fleece=0.0) -> None:
    """Two ears along points (forward, up, side), mirrored."""
    for side in (1, -1):
        line = [frame(f, u, side * s) for f, u, s in points]
        for i in range(len(line) - 1):
            solid.add(
                *(line[i], line[i + 1], radii[i], radii[i + 1], colour),
                join=0.015, tag="head", fleece=fleece,
            )  # fmt: skip
        if inner is not None:
            front = [
                frame(f + 0.6 * r, u, side * s) for (f, u, s), r in zip(points, radii, strict=True)
            ]
            solid.add(
                front[0], front[1], 0.5 * radii[0], 0.55 * radii[1], inner, join=0.006, tag="head"
            )
