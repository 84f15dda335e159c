"""Frozen work done once: photos, augmented or not, through the blocks that are not trained.

What lies below the cut never changes, so each view of a photo goes through it once, and the
activations at the cut (float16) are what the layers above train on, epoch after epoch. They are
kept in files, named by all that decides what is in them, so that a new kernel finds them, too.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mobilenet import UserError, cache, cost, flatbuffer, frozen
from mobilenet.backbone import Backbone
from mobilenet.engine import keras, tf
from mobilenet.files import DAMAGE
from mobilenet.frozen import Pass
from mobilenet.progress import progress

BATCH = 32
FEW = 8  # TensorFlow keeps memory for each size of a batch: those of `pooled` are its multiples
PASSES = 3  # to be counted up when the same photos come to give other activations


def preprocess(images: Any) -> Any:
    """RGB from 0 to 255 to what MobileNet was trained on, float32 in [-1, 1]; any shape."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


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


def norms_behind(model: Any) -> dict[str, Any]:
    """The BatchNorm layers that stand behind a convolution and nothing else, by its name."""
    convolutions = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.center and layer.scale:
            before = layer.input._keras_history.operation
            if isinstance(before, convolutions) and before.activation is keras.activations.linear:
                found[before.name] = layer
    return found


def fold(model: Any) -> Any:
    """A copy of a network in which each BatchNorm is folded into the convolution before it.

    In use BatchNorm is y = γ (x − μ) / √(σ² + ε) + β: a factor and a shift for each channel. A
    convolution is linear, so the factor goes into its kernel and the shift becomes its bias:
    equal outputs but for rounding, and a pass over every feature map less. The copy is for use,
    not for training: its kernels have other scales than those that were trained. Networks inside
    the network are folded, too; a BatchNorm that follows no convolution stays.
    """
    norms = norms_behind(model)
    folded = {norm.name for norm in norms.values()}

    def without(layer):
        if isinstance(layer, keras.Model):
            return fold(layer)
        if layer.name in folded:
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        return type(layer).from_config(
            config | {"use_bias": True} if layer.name in norms else config
        )

    copy = keras.models.clone_model(
        model,
        clone_function=without,
        call_function=lambda layer, inputs, **options: layer(inputs),  # BatchNorm had a mask
    )
    for layer in model.layers:
        weights = layer.get_weights()
        if layer.name in norms:
            norm, (kernel, *bias) = norms[layer.name], weights
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            norm = norm.get_weights(), norm.epsilon
            weights = flatbuffer.folded(kernel, sum(bias), *norm, depthwise)
        if weights and layer.name not in folded and not isinstance(layer, keras.Model):
            copy.get_layer(layer.name).set_weights(weights)
    return copy


@lru_cache(maxsize=8)  # so that nothing is written or traced twice
def _frozen_pass(backbone: Backbone, cuts: tuple[str | None, ...]) -> Pass:
    """The backbone from photos to each cut, float32, folded: on a GPU by TensorFlow, else by
    LiteRT.

    On two cores LiteRT takes half of TensorFlow's time, and gives a photo the same bits whatever
    batch it is in (measured with TensorFlow 2.21 and LiteRT 2.3, with AVX-512 and with AVX2).
    """
    return (_traced if frozen.on_gpu() else frozen.by_litert)(backbone, cuts)


def _traced(backbone: Backbone, cuts: tuple[str | None, ...]) -> Pass:
    # Else a GPU rounds what it multiplies to 11 bits, and its rows are not those of a processor.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    whole = backbone.model
    edges = [whole.output if cut is None else whole.get_layer(cut).input for cut in cuts]
    model = fold(keras.Model(whole.input, edges))

    def compute(photos):
        results = tf.nest.flatten(model(preprocess(photos), training=False))
        return [
            tf.reduce_mean(result, (1, 2)) if cut is None else result
            for result, cut in zip(results, cuts, strict=True)
        ]

    photos = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    compiled = tf.function(compute).get_concrete_function(photos)

    def forward(photos: np.ndarray) -> list[np.ndarray]:
        filled = np.pad(photos, [(0, -len(photos) % FEW), (0, 0), (0, 0), (0, 0)])
        results = compiled(tf.constant(filled, tf.float32))
        return [result.numpy()[: len(photos)] for result in results]

    return forward


@lru_cache(maxsize=8)
def _moving(size: int) -> Any:
    """`change`, compiled for photos of a size."""
    photos = tf.TensorSpec((None, size, size, 3), tf.uint8)
    return tf.function(change).get_concrete_function(photos, tf.TensorSpec((None, 8), tf.float32))


def activations(backbone: Backbone, images: np.ndarray, cut: str | None) -> np.ndarray:
    """Photos through the frozen blocks below the cut: float16 (N, height, width, channels).

    images: uint8 (N, size, size, 3). With cut None they go through the whole backbone and are
    averaged over the map's positions: (N, channels).
    """
    return np.concatenate([parts[0] for parts in _stream(backbone, images, (cut,))])


def pooled(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    """Pooled features of photos, uint8 (N, size, size, 3): float32 (N, channels).

    As `activations` with cut None, but neither rounded to float16 nor with a progress bar.
    """
    forward = _frozen_pass(backbone, (None,))
    starts = range(0, len(images), BATCH)
    rows = [forward(images[start : start + BATCH])[0] for start in starts]
    return np.concatenate([np.empty((0, backbone.channels), np.float32), *rows])


def _stream(
    backbone: Backbone, images: np.ndarray, cuts: tuple[str | None, ...], maps: Any = None
) -> Iterator[list[np.ndarray]]:
    """The activations at each cut, a batch at a time: of the photos, or of the views of all of
    them that maps (V, N, 8) make, view by view.
    """
    count = 1 if maps is None else len(maps)
    forward = _frozen_pass(backbone, cuts)
    starts = [(v, i) for v in range(count) for i in range(0, len(images), BATCH)]
    for v, i in progress(starts, len(starts), "Frozen blocks"):
        some = images[i : i + BATCH]
        if v:
            moves = tf.constant(maps[v, i : i + BATCH])
            some = _moving(backbone.size)(tf.constant(some), moves).numpy()
        yield [result.astype(np.float16) for result in forward(some)]


def view_activations(
    backbone: Backbone,
    images: np.ndarray | cache.Rows,
    cut: str | None,
    count: int,
    seed: int,
    also: tuple[str | None, ...] = (),
    flip: bool = True,
    rotation: float = 0.0,
    zoom: float = 0.0,
) -> np.ndarray:
    """Activations at the cut of `count` views of each photo: float16 (count, N, …), read-only.

    As `activations` of `make_views`, but kept in a file by `cache`: asking again for the same
    photos, views, backbone and cut costs nothing, in another process either, anything new costs
    one pass. The file is mapped into memory, so what is not used needs none. also: further cuts
    that the same pass computes and keeps, to be asked for later. Raises UserError for an unknown
    cut, for impossible views, and if the disk does not take the file.
    """
    for c in (cut, *also):
        if c is not None:
            backbone.check_cut(c)
    _check_views(count, rotation, zoom)
    of = f"{PASSES} {tf.__version__} {keras.__version__} {backbone.fingerprint} "
    of += f"{cache.digest(images)} {count}"
    if count > 1:
        of += f" {seed} {flip} {float(rotation)} {float(zoom)}"
    names = {
        c: f"{hashlib.sha256(of.encode()).hexdigest()[:32]}-{c or 'features'}"
        for c in dict.fromkeys((cut, *also))
    }
    while True:  # another process may remove what was just written
        with suppress(*DAMAGE):  # not there, or damaged: made anew
            return cache.read(names[cut])[0]
        wanted = [c for c in names if c == cut or not cache.path(names[c]).exists()]
        maps = view_maps(images, count, seed, flip, rotation, zoom)
        batches = _stream(backbone, images, tuple(wanted), maps)
        cache.write([names[c] for c in wanted], maps.shape[:2], batches)
