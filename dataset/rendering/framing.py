"""Where the camera stands, and how much of an animal it sees."""

from dataclasses import dataclass

import numpy as np

from dataset.rendering.shapes import Blobs, Dice, dot

# framing: how often, and how much of the picture it fills: all animals (near), the first one's
# larger side (wide), or its head and neck (portrait)
FRAMINGS = {"near": 0.66, "wide": 0.20, "portrait": 0.14}
FILL = {"near": (0.50, 0.93), "wide": (0.24, 0.42), "portrait": (0.72, 0.98)}


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


def frame(dice: Dice, herd: list[Blobs], framing: str) -> Camera:
    """A camera that sees a herd, or the first of it, as large as the framing says."""
    top = max(float(animal.box()[1][1]) for animal in herd)
    height = top * dice.pick(
        {dice.between(0.45, 0.8): 3, dice.between(0.8, 1.3): 2, 0.3 * top: 0.7}
    )
    zoom, fill = dice.between(1.9, 3.6), dice.between(*FILL[framing])
    if framing == "wide":  # from higher up, so that the ground between is seen
        height = top * dice.between(0.7, 2.2)
    first = _balls(herd[:1], "head" if framing == "portrait" else None)
    balls = first if framing != "near" else _balls(herd)
    front = -min(float(animal.box()[0][2]) for animal in herd)
    near, far = 0.3 * top, 60.0 * top
    for _ in range(30):
        distance = (near + far) / 2
        sides = _project(balls, height, max(distance, front + 0.4))
        extent = max(sides[1] - sides[0], sides[3] - sides[2]) * zoom / 2
        near, far = (distance, far) if extent > fill else (near, distance)
    distance = max(distance, front + 0.4)
    left, right, bottom, above = (zoom * side for side in _project(balls, height, distance))
    room = max(0.0, 0.92 - (right - left) / 2), max(0.0, 0.92 - (above - bottom) / 2)
    aside = 0.75 * room[0] * dice.between(-1, 1)
    up = room[1] * dice.between(-0.75, 0.3)
    if framing == "wide":  # as much of the others as can be, with all of the first
        all_left, all_right, _, _ = (zoom * s for s in _project(_balls(herd), height, distance))
        off = (left + right - all_left - all_right) / 2
        aside = min(max(off + 0.4 * aside, -room[0]), room[0])
    return Camera(height, distance, zoom, (aside - (left + right) / 2, up - (bottom + above) / 2))


def _balls(herd: list[Blobs], tag: str | None = None) -> np.ndarray:
    """(4, N): x, y, z and radius of the ends of all parts, or of those with a tag."""
    return np.array(
        [
            (*end, r + part.fleece / 2)
            for animal in herd
            for part in animal.parts
            if tag in (None, part.tag)
            for end, r in ((part.a, part.ra), (part.b, part.rb))
        ]
    ).T


def _project(balls: np.ndarray, height: float, distance: float) -> tuple[float, ...]:
    """Lowest and highest slope to the side, then up, at which the camera sees balls (4, N)."""
    x, y, z, r = balls
    depth = np.maximum(z + distance, 0.2)
    sides = (x - r) / depth, (x + r) / depth, (y - r - height) / depth, (y + r - height) / depth
    return tuple(float(pick(side)) for pick, side in zip((np.min, np.max) * 2, sides, strict=True))


def seen(camera: Camera, animal: Blobs, screens: list) -> tuple[float, float]:
    """Which shares of an animal, and of its head and neck, the camera sees past the screens.

    Counted over the ends and middles of the animal's parts; screens are Blobs.
    """
    eye = np.array([0.0, camera.height, -camera.distance])
    points, heads = [], []
    for part in animal.parts:
        for share in (0.0, 0.5, 1.0):
            points.append([a + share * (b - a) for a, b in zip(part.a, part.b, strict=True)])
            heads.append(part.tag == "head")
    rays, heads = np.array(points).T - eye[:, None], np.array(heads)
    free = (np.abs(rays[0] / rays[2] * camera.zoom + camera.shift[0]) < 1) & (
        np.abs(rays[1] / rays[2] * camera.zoom + camera.shift[1]) < 1
    )
    squared = dot(rays, rays)
    for part in (part for screen in screens for part in screen.parts):
        a, b = np.array(part.a) - eye, np.array(part.b) - eye
        # where on the line from a to b the ray comes nearest
        along, ahead = b - a, dot(b - a, rays)
        cross = np.maximum(squared * dot(along, along) - ahead * ahead, 1e-9)
        share = (ahead * dot(a, rays) - squared * dot(a, along)) / cross
        share = np.minimum(np.maximum(share, 0), 1)
        middle = a[:, None] + share * along[:, None]
        way = dot(middle, rays) / squared
        r = part.ra + share * (part.rb - part.ra) + part.fleece + part.join / 4
        away = middle - way * rays
        free = free & ((dot(away, away) > r * r) | (way < 0) | (way > 1))
    return float(free.mean()), float(free[heads].mean())
