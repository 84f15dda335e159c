"""Frozen work done once: photos, augmented or not, through the blocks that are not trained.

What lies below the cut never changes, so each view of a photo goes through it once, and the
activations at the cut (float16) are what the layers above train on, epoch after epoch. They are
kept in files, named by all that decides what is in them, so that a new kernel finds them, too.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from mobilenet import BATCH
from mobilenet.networks import frozen
from mobilenet.networks.backbone import Backbone
from mobilenet.networks.folding import fold
from mobilenet.networks.frozen import Pass
from mobilenet.networks.mobilenets import preprocess
from mobilenet.system import cache
from mobilenet.system.engine import keras, tf
from mobilenet.system.files import DAMAGE
from mobilenet.system.progress import progress
from mobilenet.transfer.augmentation import _check_views, change, view_maps

FEW = 8  # TensorFlow keeps memory for each size of a batch: those of `pooled` are its multiples
PASSES = 3  # to be counted up when the same photos come to give other activations


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
