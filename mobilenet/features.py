"""Frozen work done once: photos, augmented or not, through the blocks that are not trained.

What lies below the cut never changes, so each view of a photo goes through it once, and the
activations at the cut (float16) are what the layers above train on, epoch after epoch.
"""

import hashlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError, cost
from mobilenet.backbone import Backbone
from mobilenet.engine import keras, tf
from mobilenet.progress import progress

BATCH = 32
SAVED_BYTES = 1_000_000_000  # of activations remembered in this process


def preprocess(images: Any) -> Any:
    """RGB from 0 to 255 to what MobileNet was trained on, float32 in [-1, 1]; any shape."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def random_maps(
    rng: np.random.Generator, count: int, size: int, flip: bool, rotation: float, zoom: float
) -> np.ndarray:
    """`count` random changes of a square photo that leave its class alone: float32 (count, 8).

    flip: mirror half of them, drawn by lot, left to right. rotation: turn by up to so many degrees
    either way. zoom: in or out by up to this share. All in one affine map about the photo's centre,
    from where a pixel goes to where it comes from (`keras.ops.image.affine_transform`).
    """
    angle = np.deg2rad(rng.uniform(-rotation, rotation, count))
    scale = rng.uniform(1 - zoom, 1 + zoom, count)
    mirror = rng.choice([-1.0, 1.0], count) if flip else np.ones(count)
    cosine, sine, centre = scale * np.cos(angle), scale * np.sin(angle), (size - 1) / 2
    a0, a1, b0, b1 = mirror * cosine, -mirror * sine, sine, cosine
    a2, b2 = centre * (1 - a0 - a1), centre * (1 - b0 - b1)
    zero = np.zeros(count)
    return np.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1).astype(np.float32)


def make_views(
    images: np.ndarray,
    count: int,
    seed: int,
    flip: bool = True,
    rotation: float = 0.0,
    zoom: float = 0.0,
) -> np.ndarray:
    """`count` views of each photo, uint8 (count, N, size, size, 3): the photo, then changed ones.

    images: uint8 (N, size, size, 3). flip, rotation (degrees), zoom (share): as in `random_maps`;
    what is turned into view is mirrored from the edge. The same seed gives the same views, and
    more of them begin with the same. Raises UserError for fewer than one view, a rotation below 0
    and a zoom outside [0, 1).
    """
    if count < 1:
        raise UserError(f"There cannot be {count} views of a photo: use 1 or more.")
    if rotation < 0 or not 0 <= zoom < 1:
        raise UserError(
            f"Views cannot be turned by {rotation} degrees and zoomed by {zoom}: use a rotation "
            "of 0 or more and a zoom from 0 to below 1."
        )
    rng = np.random.default_rng(seed)
    size = images.shape[1]
    maps = [random_maps(rng, len(images), size, flip, rotation, zoom) for _ in range(1, count)]
    views = np.empty((count, *images.shape), np.uint8)
    views[0] = images
    starts = [(v, i) for v in range(1, count) for i in range(0, len(images), BATCH)]
    for v, i in progress(starts, len(starts), "Augmenting"):
        changed = keras.ops.image.affine_transform(
            images[i : i + BATCH].astype(np.float32),
            maps[v - 1][i : i + BATCH],
            "bilinear",
            "reflect",
        )
        views[v, i : i + BATCH] = np.rint(changed)
    return views


def split_at(backbone: Backbone, cut: str) -> tuple[Any, Any]:
    """The backbone in two: (below, above), Keras models that share its layers and weights.

    below: (B, size, size, 3) in [-1, 1] → activations at the cut's input. above: these → feature
    map (B, size/32, size/32, channels). Raises UserError unless cut is one of backbone.cuts.
    """
    backbone.check_cut(cut)
    model = backbone.model
    edge = model.get_layer(cut).input
    return keras.Model(model.input, edge), keras.Model(edge, model.output)


class CutRow(NamedTuple):
    """A possible cut: activations there, weights above it (without BatchNorm), and the share of
    the backbone's multiply-adds above it, in [0, 1].
    """

    cut: str
    shape: tuple[int, int, int]
    weights: int
    share: float


def cut_table(backbone: Backbone) -> list[CutRow]:
    """All cuts of a backbone, the shallowest fine-tuning first."""
    costs = {row.name: row for row in cost.count(backbone.model)}
    whole = sum(row.multiply_adds for row in costs.values())
    names = [layer.name for layer in backbone.model.layers]
    rows = []
    for cut in backbone.cuts:
        above = [costs[name] for name in names[names.index(cut) :] if name in costs]
        rows.append(
            CutRow(
                cut,
                tuple(backbone.model.get_layer(cut).input.shape[1:]),
                sum(row.parameters for row in above),
                sum(row.multiply_adds for row in above) / whole,
            )
        )
    return rows


@lru_cache(maxsize=8)  # so that nothing is traced twice
def _frozen_pass(backbone: Backbone, cut: str | None) -> Any:
    model = backbone.model if cut is None else split_at(backbone, cut)[0]

    def forward(batch):
        maps = model(preprocess(batch), training=False)
        return tf.cast(tf.reduce_mean(maps, (1, 2)) if cut is None else maps, tf.float16)

    any_number = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    return tf.function(forward).get_concrete_function(any_number)


def activations(backbone: Backbone, images: np.ndarray, cut: str | None) -> np.ndarray:
    """Photos through the frozen blocks below the cut: float16 (..., height, width, channels).

    images: uint8 (..., size, size, 3), any leading axes, so that views keep theirs. With cut None
    they go through the whole backbone and are averaged over the map's positions: (..., channels).
    """
    forward = _frozen_pass(backbone, cut)
    flat = images.reshape(-1, *images.shape[-3:])
    starts = range(0, len(flat), BATCH)
    result = np.concatenate(
        [
            forward(tf.constant(flat[i : i + BATCH]))
            for i in progress(starts, len(starts), "Frozen blocks")
        ]
    )
    return result.reshape(*images.shape[:-3], *result.shape[1:])


_saved: dict[tuple, np.ndarray] = {}


def view_activations(
    backbone: Backbone, images: np.ndarray, cut: str | None, count: int, seed: int, **augmentation
) -> np.ndarray:
    """Activations at the cut of `count` views of each photo: float16 (count, N, …).

    As `activations` of `make_views`, but remembered in this process by content: asking again for
    the same photos, views, backbone and cut costs nothing, anything new costs one pass.
    """
    content = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
    key = (
        backbone.fingerprint(),
        cut,
        count,
        seed,
        tuple(sorted(augmentation.items())),
        images.shape,
        content,
    )
    if key in _saved:
        _saved[key] = _saved.pop(key)  # the last to go
    else:
        views = make_views(images, count, seed, **augmentation)
        _saved[key] = activations(backbone, views, cut)
        _saved[key].flags.writeable = False
        while len(_saved) > 1 and sum(saved.nbytes for saved in _saved.values()) > SAVED_BYTES:
            _saved.pop(next(iter(_saved)))  # the one not asked for longest
    return _saved[key]
