"""What a camera sees of a scene: rays, light, shadows, the ground and the sky.

From every pixel rays walk along the distance field until they meet a solid (sphere tracing, Hart
1996); there it is lit by the sun, through soft shadows, and by the sky.
"""

import numpy as np

from dataset.rendering.scenes import CLEAR, LAYERS, PLACES, TIMES, WEATHER, Scene
from dataset.rendering.shapes import cloudy, dot, flat_noise, linear, mix, ramp, unit

TILE = 256  # rays to a side that walk together: fewer cost more calls, more cost memory
STEPS, SHADOW_STEPS = 52, 16
CLOSE = 8e-4  # a ray has arrived when it is so near, as a share of the way it came
GRASS = {"grass": 0.075, "dry": 0.055, "snow": 0.05, "sand": 0.012, "dirt": 0.025}  # metres


def traced(scene: Scene, side: int) -> np.ndarray:
    """What all rays see, float32 (3, side, side), a tile after the other; see `trace`."""
    light = np.empty((3, side, side), np.float32)
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            rows = np.arange(top, min(top + TILE, side))
            columns = np.arange(left, min(left + TILE, side))
            light[:, top : top + TILE, left : left + TILE] = trace(scene, side, rows, columns)
    return light


def trace(scene: Scene, side: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What the rays of these rows and columns, of side × side, see: float32 (3, rows, columns).

    Colours are as screens show them, in [0, 1].
    """
    camera = scene.camera
    x, y = (
        (np.float32(2 / side) * (at.astype(np.float32) + np.float32(0.5)) - 1)
        for at in (columns, rows)
    )
    u = np.tile((x - camera.shift[0]) / camera.zoom, len(rows))
    v = np.repeat((-y - camera.shift[1]) / camera.zoom, len(columns))
    rays = unit(np.stack([u, v, np.ones_like(u)]))
    eye = np.array([[0], [camera.height], [-camera.distance]], np.float32)
    axis = unit(np.array([(u[0] + u[-1]) / 2, (v[0] + v[-1]) / 2, 1], np.float64)).tolist()
    spread = 0.75 * float(max(abs(u[0] - u[-1]), abs(v[0] - v[-1])))
    way = np.where(rays[1] < -1e-4, -camera.height / np.minimum(rays[1], -1e-4), np.inf)
    hit = np.full(len(u), -1)  # −1: the ground or, where the way is endless, the sky
    solids = [solid.along(eye[:, 0].tolist(), axis, 0.0, spread) for solid in scene.solids]
    for i, solid in enumerate(solids):
        if solid is not None:
            reached = walk(solid, eye, rays, way)
            nearer = reached < way
            way, hit = np.where(nearer, reached, way).astype(np.float32), np.where(nearer, i, hit)
    colour = backdrop(scene, rays, u, v)
    for i in range(-1, len(scene.solids)):
        seen = np.flatnonzero((hit == i) & np.isfinite(way))
        if len(seen):
            solid = solids[i] if i >= 0 else None
            colour[:, seen] = shade(scene, solid, eye, rays[:, seen], way[seen])
    if scene.weather == "snowfall":
        colour = flakes(scene, colour, u * camera.zoom, v * camera.zoom)
    colour = colour * 1.08 / (1 + 0.16 * colour)  # bright light is kept from clipping
    return np.sqrt(np.clip(colour, 0, 1)).reshape(3, len(rows), len(columns))


def walk(solid, start, rays, limit) -> np.ndarray:
    """How far each ray (3, N) goes from start (3, 1) until it meets the solid, (N,).

    Infinite where it misses the solid or would meet it beyond its limit (N,).
    """
    way = np.full(rays.shape[1], np.inf, np.float32)
    first, last = _span(solid, start, rays)
    last = np.minimum(last, limit)
    some = np.flatnonzero(last > first)
    t, end, ray = first[some], last[some], rays[:, some]
    for _ in range(STEPS):
        if not len(some):
            break
        d = solid.distance(start + t * ray)
        arrived = d < CLOSE * t
        way[some[arrived]] = t[arrived]
        t = t + (0.72 if solid.deepest else 0.95) * d
        keep = np.flatnonzero(~arrived & (t < end))
        some, t, end, ray, d = some[keep], t[keep], end[keep], ray[:, keep], d[keep]
    if len(some):  # still creeping along the surface: near enough
        close = d < 0.004 * t
        way[some[close]] = t[close]
    return way


def _span(solid, start, rays, margin: float = 0.0):
    """Where rays enter and leave the ball round a solid; leaving before 0 where they miss it."""
    centre = np.array(solid.centre, np.float32)[:, None]
    away = start - centre
    middle = -dot(away, rays)
    depth = middle * middle - dot(away, away) + np.float32((solid.radius + margin) ** 2)
    half = np.sqrt(np.maximum(depth, 0))
    return np.maximum(middle - half, 1e-3), np.where(depth > 0, middle + half, -1)


def sunlight(scene: Scene, p: np.ndarray) -> np.ndarray:
    """How much of the sun points (3, N) see, in [0, 1]; edges of shadows soften with the way."""
    light = np.ones(p.shape[1], np.float32)
    sun = np.repeat(scene.sun[:, None], p.shape[1], axis=1)
    low, high = p.min(axis=1).astype(np.float64), p.max(axis=1).astype(np.float64)
    middle, wide = ((low + high) / 2).tolist(), float(np.sqrt(dot(high - low, high - low))) / 2
    for whole in scene.solids:
        solid = whole.along(middle, scene.sun.tolist(), wide, 0.07)
        if solid is None:
            continue
        first, last = _span(solid, p, sun, margin=0.3)
        some = np.flatnonzero((last > first) & (light > 0.02))
        if not len(some):
            continue
        t, end, begin = np.maximum(first[some], 0.02), last[some], p[:, some]
        for _ in range(SHADOW_STEPS):
            d = solid.distance(begin + t * scene.sun[:, None], detail=False)
            light[some] = np.minimum(light[some], np.clip(0.5 + 7 * d / t, 0, 1))
            t = t + np.clip(d, 0.02, 1.5)
            keep = np.flatnonzero((t < end) & (light[some] > 0.02))
            if not len(keep):
                break
            some, t, end, begin = some[keep], t[keep], end[keep], begin[:, keep]
    light = light * light * (3 - 2 * light)
    return light if scene.shade is None else light * _leaves(scene, p)


def _leaves(scene: Scene, p: np.ndarray) -> np.ndarray:
    """How much of the sun comes through the leaves of a tree out of the picture, (N,)."""
    x, z, r = scene.shade
    fall = (p[1] - 0.8) / scene.sun[1]  # a leaf's shadow is where it falls 0.8 m above ground
    across, along = p[0] - fall * scene.sun[0], p[2] - fall * scene.sun[2]
    u, v = (across - x) / r, (along - z) / r
    rough = cloudy(across * 0.9 + scene.salt, along * 0.9, 2)
    under = ramp(u * u + v * v + 2.2 * (rough - 0.5), 1.2, 0.85)
    gaps = ramp(cloudy(across * 2.6 + 31, along * 2.6 + scene.salt, 2), 0.60, 0.72)
    return 1 - under * (1 - 0.85 * gaps)


def shade(scene: Scene, solid, eye, rays, way) -> np.ndarray:
    """Light (3, N) that comes to the eye from where the rays met a solid, or the ground if None."""
    p = eye + way * rays
    sun_colour, sun_strength, horizon, zenith, sky_strength = lights(scene)
    kind = scene.ground
    if solid is None:
        colour, gloss = ground(kind, p[0] + scene.salt, p[2], way), 0.0
        normal = np.zeros_like(p)
        normal[1] = 1
        open_sky = np.ones_like(way)
        for other in scene.solids:
            away = p - np.array(other.centre, np.float32)[:, None]
            some = np.flatnonzero(dot(away, away) < (other.radius + 0.4) ** 2)
            if len(some):
                lifted = p[:, some] + np.array([[0], [0.10], [0]], np.float32)
                d = other.distance(lifted, detail=False)
                open_sky[some] *= 0.45 + 0.55 * np.clip(0.25 + d / 0.4, 0, 1)
        wool = 0.0
    else:
        colour, fleece, gloss = solid.surface(p)
        normal = _normal(solid, p, way)
        wool = np.clip(fleece / 0.03, 0, 1)
        open_sky = np.ones_like(way)
        for reach in (0.06, 0.18):
            d = solid.distance(p + reach * normal, detail=False)
            open_sky = open_sky * (0.55 + 0.45 * np.clip(d / reach, 0, 1))
        open_sky = open_sky * (0.6 + 0.4 * np.clip(p[1] / 0.5, 0, 1))
        blades = GRASS[kind] * (1.5 * flat_noise(p[0] * 55, p[2] * 20) - 0.1)
        hidden = ramp(blades - p[1], -0.004, 0.012)
        colour = mix(colour, 0.9 * ground(kind, p[0] + scene.salt, p[2], way), hidden)
        normal = unit(mix(normal, np.array([[0], [1], [0]], np.float32), 0.7 * hidden))
    lifted = p + normal * (0.02 + 0.02 * wool)
    sunny = sunlight(scene, lifted)
    # Light creeps round a woolly edge; on anything else it stops at right angles.
    facing = np.clip((dot(normal, scene.sun) + 0.22 * wool) / (1 + 0.22 * wool), 0, 1)
    sky = mix(linear(zenith), linear(horizon), 0.45) * sky_strength
    up = 0.5 + 0.5 * normal[1]
    bounce = ground(kind, p[0], p[2], way * 0 + 99) * sun_strength * max(scene.sun[1], 0.25) * 0.30
    light = linear(sun_colour) * sun_strength * facing * sunny
    light = light + (sky * (0.25 + 0.75 * up) + bounce * (1 - up)) * open_sky
    rim = 1 + np.clip(dot(normal, rays), -1, 0)
    light = light + sky * rim * rim * rim * 0.5 * wool
    out = colour * light
    half = unit(scene.sun[:, None] - rays)
    shine = np.clip(dot(normal, half), 0, 1)
    for _ in range(7):
        shine = shine * shine
    out = out + gloss * (shine * (0.4 + sunny) * 2 + 0.06 * sky * ramp(normal[1], 0.3, 0.9))
    far = way / scene.haze
    haze = far * far / (1 + far * far)
    return mix(out, linear(horizon) * 0.92, (0.85 if scene.haze == CLEAR else 0.95) * haze)


def lights(scene: Scene) -> tuple:
    """The sun's colour and strength, the sky's colours at the horizon and overhead, its strength.

    Fog and falling snow take from the sun and grey the sky.
    """
    _, sun_colour, sun_strength, horizon, zenith, sky_strength = TIMES[scene.time]
    share = WEATHER[scene.weather][1]
    grey = (horizon[0] + horizon[1] + horizon[2]) / 3
    horizon, zenith = (
        tuple(mix(grey, c, share) * mix(0.97, 1, share) for c in horizon),
        tuple(mix(0.9 * grey, c, share) for c in zenith),
    )
    return sun_colour, sun_strength * share, horizon, zenith, sky_strength * mix(1.25, 1, share)


def flakes(scene: Scene, colour, x, y) -> np.ndarray:
    """Colour (3, N) with snowflakes in the air before it, at x, y (N,) in half-pictures."""
    for layer, often in enumerate((6, 10, 16)):
        u, v = x * often + scene.salt + 0.35 * y * often, y * often + 7.7 * layer + scene.salt
        i, j = np.floor(u), np.floor(v)
        # one flake a cell, its place and size from the noise at the cell's corner
        at, up, size = (flat_noise(i * 1.0 + k, j * 1.0 + 3 * k) for k in (0, 41, 83))
        du, dv = u - i - 0.25 - 0.5 * at, v - j - 0.25 - 0.5 * up
        r = 0.05 + 0.12 * size
        near = 1 - np.minimum((du * du + dv * dv) / (r * r), 1)
        light = linear((0.97, 0.97, 1.0)) * (0.6 if scene.time in ("night", "dusk") else 0.95)
        colour = mix(colour, light, 0.85 * near)
    return colour


def _normal(solid, p, way):
    """Directions (3, N) in which a surface looks, from four distances about each point."""
    normal, step = 0.0, 0.0025 + 0.0006 * way
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        corner = np.array(corner, np.float32)[:, None]
        normal = normal + corner * solid.distance(p + step * corner)
    return unit(normal)


def ground(kind: str, x, z, way) -> np.ndarray:
    """Colour (3, N) of the ground at x, z (N,), so far away (N,) that fine detail may blur."""
    near = 1 / (1 + (way / 14) * (way / 14))
    wide = cloudy(x * 0.30, z * 0.30, 3)
    blades = 0.6 * flat_noise(x * 34, z * 11) + 0.4 * flat_noise(x * 15, z * 6)
    # Drawn out towards the horizon it looks like grass; from close by, as if it were smeared.
    close = ramp(way, 6.0, 2.0)
    some = np.flatnonzero(close > 0)
    u, v = x[some], z[some]
    fine = 0.75 * flat_noise(u * 83, v * 51) + 0.25 * flat_noise(u * 30, v * 23)
    blades[some] = mix(blades[some], ramp(fine, 0.12, 0.88), close[some])
    blades = mix(0.5, blades, near)
    if kind == "grass":
        colour = mix(linear((0.34, 0.50, 0.17)), linear((0.58, 0.63, 0.26)), ramp(wide, 0.25, 0.75))
        colour = colour * (0.55 + 0.9 * blades)
        flower = ramp(flat_noise(x * 24, z * 18), 0.88, 0.92) * ramp(wide, 0.42, 0.60) * near
        yellow = flat_noise(x * 0.7 + 40, z * 0.7) > 0.5
        petal = np.where(yellow, linear((0.98, 0.85, 0.25)), linear((0.97, 0.95, 0.95)))
        return mix(colour, petal, 0.9 * flower)
    if kind == "dry":
        colour = mix(linear((0.80, 0.69, 0.44)), linear((0.62, 0.56, 0.33)), ramp(wide, 0.3, 0.7))
        earth = ramp(cloudy(x * 1.1 + 7, z * 0.8, 2), 0.58, 0.72)
        return mix(colour * (0.6 + 0.8 * blades), linear((0.66, 0.52, 0.40)), 0.7 * earth)
    if kind == "sand":
        ripple = np.abs(2 * flat_noise(x * 0.9 + 2 * wide, z * 3.5) - 1)
        colour = mix(linear((0.90, 0.75, 0.53)), linear((0.82, 0.62, 0.42)), ramp(wide, 0.3, 0.7))
        return colour * (0.86 + 0.2 * ripple) * (0.92 + 0.16 * blades)
    if kind == "snow":
        colour = mix(linear((0.90, 0.92, 0.95)), linear((0.80, 0.85, 0.93)), ramp(wide, 0.3, 0.7))
        straw = ramp(wide, 0.60, 0.75) * ramp(blades, 0.55, 0.75)
        return mix(colour, linear((0.58, 0.50, 0.34)), 0.8 * straw)
    colour = mix(linear((0.68, 0.55, 0.42)), linear((0.56, 0.44, 0.33)), ramp(wide, 0.3, 0.7))
    colour = colour * (0.80 + 0.4 * blades)
    green = linear((0.42, 0.52, 0.22)) * (0.6 + 0.8 * blades)
    return mix(colour, green, ramp(cloudy(x * 0.5 + 30, z * 0.5, 3), 0.50, 0.62))


def backdrop(scene: Scene, rays, u, v) -> np.ndarray:
    """Light (3, N) from sky, clouds, sun and hills, for the slopes u, v (N,) of the rays."""
    sun_colour, sun_strength, horizon, zenith, _ = lights(scene)
    horizon, zenith = linear(horizon), linear(zenith)
    sky = mix(horizon, zenith, ramp(v, -0.02, 0.75))
    deep = 1 / (np.maximum(v, 0) + 0.16)
    cover = cloudy(u * deep * 1.1 + scene.salt, deep * 1.7, 5)
    thick = ramp(cover, 0.80 - 0.5 * scene.clouds, 1.02 - 0.5 * scene.clouds)
    lit = cloudy(u * deep * 1.1 + scene.salt + 0.08, deep * 1.7 + 0.12, 3)
    white = mix(horizon, linear(sun_colour) * 1.1, 0.5) * (
        0.86 + 0.35 * ramp(cover - lit, -0.15, 0.25)
    )
    sky = mix(sky, white, 0.9 * thick)
    glow = np.clip(dot(rays, scene.sun), 0, 1)
    for _ in range(5):
        glow = glow * glow
    sky = sky + linear(sun_colour) * sun_strength * glow * 0.35
    for i, name in enumerate(PLACES[scene.place][1]):
        sky = _layer(scene, name, sky, u, v, scene.salt + 11.7 * i, horizon)
    if scene.weather != "clear":  # hills are far beyond the haze: only their outlines are left
        thin = ramp(v, 0.0, 0.5) if scene.weather == "fog" else 0.35 + 0.3 * ramp(v, 0.0, 0.3)
        sky = mix(sky, horizon * 0.92, 0.94 - 0.4 * thin)
    return sky


def _layer(scene, name, behind, u, v, salt, horizon):
    base, swing, often, colour, haze = LAYERS[name]
    rocky = "peaks" in name

    def height(x):
        if rocky:
            first = 1 - np.abs(2 * flat_noise(x, x * 0 + salt) - 1)
            second = 1 - np.abs(2 * flat_noise(x * 2.3 + 9, x * 0 + salt) - 1)
            return base + swing * (0.62 * first + 0.24 * second + 0.14 * cloudy(x * 5, x * 0, 3))
        if name == "mesas":
            return base + swing * ramp(cloudy(x, x * 0 + salt, 2), 0.44, 0.52)
        rough = 4 if name == "wood" else 2
        return base + swing * (2 * cloudy(x, x * 0 + salt, rough) - 0.5)

    x = u * often + salt
    top = height(x)
    side = 1.0 if scene.sun[0] > 0 else -1.0
    if rocky or name == "mesas":
        # A face looks to where the ridge falls; folds run down from it.
        deep = top - v
        fold = x + (cloudy(x * 1.9, v * 6, 3) - 0.5) * 0.7 + 1.2 * deep * side
        crag = cloudy(fold * 2.6, deep * 5 + salt, 3) - cloudy(
            fold * 2.6 + 0.12 * side, deep * 5 + salt, 3
        )
        slope = (height(x) - height(x + 0.05)) * side / swing * 4
        lit = 0.72 + 0.30 * np.clip(slope, -1, 1) + 0.45 * np.clip(crag * 7, -1, 1)
    else:
        lit = 0.75 + 0.5 * (cloudy(x * 1.7, v * 40 + x * 0.5, 3) - 0.5)
    tint = linear(colour)
    if name == "snow peaks":
        line = base + swing * (0.12 + 0.42 * cloudy(x * 3.7, v * 9, 3))
        tint = mix(tint, linear((0.96, 0.97, 1.0)), ramp(v - line, -0.01, 0.02))
    elif name == "mesas":
        band = flat_noise(v * 130, v * 0 + salt)
        tint = tint * (0.8 + 0.4 * band)
    elif "hills" in name:
        field = cloudy(x * 0.8, v * 26, 3)
        tint = tint * mix(0.8, 1.25, ramp(field, 0.35, 0.65))
        if name == "hills":
            copse = ramp(cloudy(x * 3.5, v * 60, 3), 0.60, 0.66)
            tint = mix(tint, linear((0.20, 0.33, 0.15)), 0.8 * copse)
    sun_colour, sun_strength, _, _, sky_strength = lights(scene)
    light = linear(sun_colour) * sun_strength * (0.25 + 0.5 * max(float(scene.sun[1]), 0.2))
    body = tint * lit * (light + 0.5 * sky_strength)
    body = mix(body, horizon, np.clip(haze + 0.25 * (1 - ramp(v, 0.0, 0.10)), 0, 0.9))
    return mix(behind, body, ramp(top - v, 0, 0.004))
