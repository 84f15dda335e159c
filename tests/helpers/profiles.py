"""Colour profiles of the kinds that phones and cameras write, made from their published numbers."""

import struct

import numpy as np

D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
WHITE = np.array([0.9642, 1.0, 0.8249])  # D50, which all profiles speak of
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def _tag(kind: bytes, data: bytes) -> bytes:
    return kind + bytes(4) + data + bytes(-len(data) % 4)


def _numbers(values) -> bytes:
    return np.round(np.float64(values) * 65536).astype(">i4").tobytes()


def _curve(gamma: float | None) -> bytes:
    """value ** gamma, or sRGB's curve in 1,024 steps."""
    if gamma:
        return _tag(b"curv", struct.pack(">IH", 1, round(gamma * 256)))
    x = np.arange(1024) / 1023
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return _tag(b"curv", struct.pack(">I", 1024) + np.round(light * 65535).astype(">u2").tobytes())


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {
        b"desc": _tag(b"desc", struct.pack(">I", 2) + b"x\0" + bytes(78)),
        b"cprt": _tag(b"text", b"none\0"),
        b"wtpt": _tag(b"XYZ ", _numbers(WHITE)),
    } | tags
    start, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    head = struct.pack(">I4sI", start + len(data), b"none", 0x02400000) + b"mntr" + space + b"XYZ "
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _numbers(WHITE)
    return head.ljust(128, b"\0") + table + data


def rgb(primaries, white=D65, gamma: float | None = None) -> bytes:
    """A profile of three colours (x, y), a white and a curve."""
    colours = np.stack([_xyz(*one) for one in primaries], 1)
    colours = colours * np.linalg.solve(colours, _xyz(*white))
    adapt = BRADFORD @ WHITE / (BRADFORD @ _xyz(*white))
    colours = np.linalg.inv(BRADFORD) @ np.diag(adapt) @ BRADFORD @ colours
    named = {
        b"%cXYZ" % letter: _tag(b"XYZ ", _numbers(colour))
        for letter, colour in zip(b"rgb", colours.T, strict=True)
    }
    return _profile(b"RGB ", named | {b"%cTRC" % letter: _curve(gamma) for letter in b"rgb"})


def grey(gamma: float) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


SRGB = rgb([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)])
WIDE = {
    "Display P3": rgb([(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]),
    "Adobe RGB": rgb([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], gamma=563 / 256),
    "ProPhoto": rgb([(0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)], D50, 1.8),
}
