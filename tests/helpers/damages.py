"""What may become of a file."""

import numpy as np


def damages(whole: bytes, places: int):
    """What may become of a file: what happened to it, and what is in it then.

    places: of how many bytes, spread evenly and crowded at both ends, one bit each is flipped.
    """
    spread = np.linspace(0, len(whole) - 1, places).astype(int)
    ends = np.arange(0, min(places, len(whole)))
    for k, place in enumerate(np.unique([*spread, *ends, *(len(whole) - 1 - ends)])):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (k % 8)
        yield f"bit {k % 8} of byte {place}", bytes(flipped)
    for tenth in range(10):
        yield f"cut at {tenth}0 %", whole[: len(whole) * tenth // 10]
    yield "one byte short", whole[:-1]
    yield "bytes behind it", whole + bytes(100)
    yield "itself behind it", whole * 2
    yield "text", b"this is something else\n" * 100
    yield "zeros", bytes(len(whole))
