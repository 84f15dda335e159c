"""Views of photos: mirrored, turned and zoomed (augmentation), by one affine map each."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mobilenet import BATCH, UserError
from mobilenet.system import cache
from mobilenet.system.engine import keras, tf
from mobilenet.system.progress import progress


def affine_maps(
    draws: np.ndarray, size: int, flip: bool, rotation: float, zoom: float
) -> np.ndarray:
    """Changes of a square photo that leave its class alone, float32 (..., 8), from draws (..., 3),
    uniform in [0, 1): of the mirroring, the turn and the zoom.

    flip: mirror half of them, left to right. rotation: turn by up to so many degrees either way.
    zoom: in or out by up to this share. All in one affine map about the photo's centre, from where
    a pixel goes to where it comes from (`keras.ops.image.affine_transform`).
    """
    mirrored, turn, closer = np.moveaxis(draws, -1, 0)
    mirror = np.where(mirrored < 0.5, -1.0, 1.0) if flip else np.ones_like(mirrored)
    angle = np.deg2rad(rotation * (2 * turn - 1))
    scale = 1 + zoom * (2 * closer - 1)
    cosine, sine, centre = scale * np.cos(angle), scale * np.sin(angle), (size - 1) / 2
    a0, a1, b0, b1 = mirror * cosine, -mirror * sine, sine, cosine
    a2, b2 = centre * (1 - a0 - a1), centre * (1 - b0 - b1)
    zero = np.zeros_like(a0)
    return np.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=-1).astype(np.float32)


def make_views(
    images: np.ndarray,
    count: int,
    seed: int,
    flip: bool = True,
    rotation: float = 0.0,
    zoom: float = 0.0,
) -> np.ndarray:
    """`count` views of each photo, uint8 (count, N, size, size, 3): the photo, then changed ones.

    images: uint8 (N, size, size, 3). flip, rotation (degrees), zoom (share): as in `affine_maps`;
    what is turned into view is mirrored from the edge. Views belong to their photo: the same photo
    and seed give the same views, whatever photos are beside it, and more of them begin with the
    same. Raises UserError for fewer than one view, a rotation below 0 and a zoom outside [0, 1).
    """
    maps = view_maps(images, count, seed, flip, rotation, zoom)
    views = np.empty((count, *images.shape), np.uint8)
    views[0] = images
    starts = [(v, i) for v in range(1, count) for i in range(0, len(images), BATCH)]
    for v, i in progress(starts, len(starts), "Augmenting"):
        views[v, i : i + BATCH] = change(images[i : i + BATCH], maps[v, i : i + BATCH])
    return views


def view_maps(
    images: np.ndarray | cache.Rows,
    count: int,
    seed: int,
    flip: bool = True,
    rotation: float = 0.0,
    zoom: float = 0.0,
) -> np.ndarray:
    """The maps of the views that `make_views` makes of photos: float32 (count, N, 8), the first of
    them the identity. Raises what `make_views` raises.
    """
    _check_views(count, rotation, zoom)
    draws = np.zeros((count, len(images), 3))  # the first view stays as it is
    for i, digest in enumerate(_digests(images)):
        draws[1:, i] = np.random.default_rng([seed, digest]).random((count - 1, 3))
    maps = affine_maps(draws, images.shape[1], flip, rotation, zoom)
    maps[0] = [1, 0, 0, 0, 1, 0, 0, 0]
    return maps


def _digests(images: np.ndarray | cache.Rows) -> Iterator[int]:
    """A number for each photo that depends on its pixels alone, below 2^64."""
    starts = range(0, len(images), BATCH)
    for i in progress(starts, len(starts), "Digests of photos"):
        for photo in np.ascontiguousarray(images[i : i + BATCH]):
            yield int.from_bytes(hashlib.blake2b(photo, digest_size=8).digest(), "little")


def _check_views(count: int, rotation: float, zoom: float) -> None:
    """Raise UserError if there can be no such views."""
    if count < 1:
        raise UserError(f"There cannot be {count} views of a photo: use 1 or more.")
    if rotation < 0 or not 0 <= zoom < 1:
        raise UserError(
            f"Views cannot be turned by {rotation} degrees and zoomed by {zoom}: use a rotation "
            "of 0 or more and a zoom from 0 to below 1."
        )


def change(photos: Any, maps: Any) -> Any:
    """Photos (B, size, size, 3) from 0 to 255, moved by their maps (B, 8): float32, whole numbers.

    What is turned into view is mirrored from the edge.
    """
    photos = tf.cast(photos, tf.float32)
    return tf.round(keras.ops.image.affine_transform(photos, maps, "bilinear", "reflect"))
