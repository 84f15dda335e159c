"""How the bundled backbone was made: a small MobileNetV2 learns to see what a large one sees.

Distillation (Hinton et al. 2015, arXiv 1503.02531) with hints (Romero et al. 2015, arXiv
1412.6550). The teacher is ImageNet's MobileNetV2 of α 1.0, the student a MobileNetV2 of α 0.35
whose weights start at random. Both look at the same crop of a photo, cut and mirrored at random; no
label is used. At six depths a 1 × 1 convolution predicts the teacher's feature map from the
student's, and from its pooled features a dense layer predicts the teacher's probabilities of
ImageNet's classes. These predictors are thrown away at the end, the student is what is kept.

Every depth counts while the student learns to see. Then the lower ones are let go, since a small
network cannot hold all that a large one sees. Crops are small at first: a step at 64 px takes a
third of one at 128. `muon` learns much more in a step than AdamW does (weights/README.md).
"""

import json
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilenet import UserError
from mobilenet.networks import backbone, pretrained
from mobilenet.photos import datasets, folders
from mobilenet.photos.decoding import UNREADABLE, reason_of
from mobilenet.system.files import DAMAGE, read_arrays, replacing
from mobilenet.system.progress import ahead, progress

HINTS = ("block_2_add", "block_5_add", "block_9_add", "block_12_add", "block_15_add", "out_relu")
BATCH = 64
DECAY = 0.1  # Muon's weight decay
ADAM_DECAY = 0.02  # AdamW's, of the layers that Muon is not for
WARM_UP = 500  # steps until a phase's highest rate
MOMENTUM = 0.97  # of BatchNorm: Keras's 0.999 would still remember the random start at the end
FEATURE_MEAN = 0.5  # of the features that come out
SHORTER = 176  # px, of a photo in memory
SAVE_STEPS = 500
MEASURED = "in a folder called test"  # why a photo is left out


class Phase(NamedTuple):
    """A part of the training; its learning rate rises, then falls along half a cosine.

    stages: (side of a crop in px, steps), one after another. lower: what the hints below the last
    weigh. rate: the highest.
    """

    stages: tuple[tuple[int, int], ...]
    lower: float
    rate: float

    @property
    def sizes(self) -> list[int]:
        """The side of the crops in px, step by step."""
        return [size for size, steps in self.stages for _ in range(steps)]


PHASES = (
    Phase(((64, 4500), (96, 3500)), lower=1.0, rate=2e-3),
    Phase(((128, 1800),), lower=0.0, rate=1e-3),
    Phase(((96, 3500), (128, 5500), (160, 2200)), lower=0.0, rate=2e-3),
)


def read_pool(sources: list[Path]) -> list[Image.Image]:
    """The photos in these folders and tar files as RGB, shorter side at most SHORTER pixels; what
    is left out is printed.

    What lies in a folder called test stays out: others are measured on it. Raises UserError if a
    source cannot be read or holds no photo.
    """
    pool = []
    for source in sources:
        before, left_out, hidden = len(pool), [], 0
        try:
            found = datasets.members(source) if source.is_file() else folders.walk(source)
            for path, why, at in progress(found, None, source.name):
                if why in (folders.HIDDEN, folders.FOLDER):
                    hidden += why == folders.HIDDEN
                    continue
                if not why and "test" in path.split("/"):
                    why = MEASURED
                photo = why or _read(at)
                if isinstance(photo, str):
                    left_out.append((path, photo))
                else:
                    pool.append(photo)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise UserError(f"{source} is no folder or whole tar file: name another.") from error
        if len(pool) == before:
            raise UserError(f"{source} holds no photo: name a folder or a tar file of photos.")
        for line in folders.in_words(left_out, hidden):
            print(line, flush=True)
    return pool


def _read(file: Any) -> Image.Image | str:
    """A photo, or why it cannot be read."""
    try:
        with Image.open(file) as image:
            image = image.convert("RGB")
    except UNREADABLE as error:
        return reason_of(error)
    scale = min(1.0, SHORTER / min(image.size))
    return image.resize([max(1, round(side * scale)) for side in image.size])


def crops(pool: list[Image.Image], size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Crops of photos drawn at random, float32 (count, size, size, 3) in [-1, 1].

    Each shows a third to all of a photo's area, stretched by up to 4:3, mirrored half of the time,
    with a little other brightness and contrast.
    """
    batch = np.empty((count, size, size, 3), np.float32)
    for i, k in enumerate(rng.integers(len(pool), size=count)):
        width, height = pool[k].size
        stretch = (4 / 3) ** rng.uniform(-0.5, 0.5)
        side = np.sqrt(rng.uniform(0.35, 1) * width * height)
        wide, high = min(width, side * stretch), min(height, side / stretch)
        left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
        box = (left, top, left + wide, top + high)
        crop = np.asarray(pool[k].resize((size, size), Image.Resampling.BILINEAR, box), np.float32)
        contrast, brightness = rng.uniform(0.85, 1.15), rng.uniform(-0.1, 0.1)
        crop = ((crop / 127.5 - 1) * np.float32(contrast) + np.float32(brightness)).clip(-1, 1)
        batch[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
    return batch


def batches(
    pool: list[Image.Image], sizes: list[int], start: int, seed: int
) -> Iterator[np.ndarray]:
    """The crops of steps start, start + 1 ..., made by a thread while earlier ones are learned.

    sizes: the side in px of these steps' crops, which depend on the step's number and seed alone.
    """

    def make(step: int, size: int) -> np.ndarray:
        return crops(pool, size, BATCH, np.random.default_rng((seed, step)))

    return ahead(make, enumerate(sizes, start))


def build_student(seed: int) -> Any:
    """The student: MobileNetV2 of α 0.35 for photos of any size, its weights drawn by seed."""
    from mobilenet.scratch.fused import FusedBatchNorm
    from mobilenet.system.engine import keras
    from mobilenet.transfer import training

    keras.utils.set_random_seed(seed)
    student = keras.applications.MobileNetV2(
        input_shape=(None, None, 3),
        alpha=pretrained.DEFAULTS["bundled"][0],
        include_top=False,
        weights=None,
    )
    for layer in student.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return training.with_batchnorm(student, FusedBatchNorm)


def build_trainer(student: Any, sample: np.ndarray) -> tuple[Any, list[Any]]:
    """(a model from photos to the student's losses, (B, 7): the six hints' and the classes'; the
    seven predictors in it).

    sample: photos as the student gets them; the teacher's channels are scaled to mean 0 and
    variance 1 on them, so that each counts alike.
    """
    from mobilenet.networks import folding
    from mobilenet.system.engine import keras

    ops, layers = keras.ops, keras.layers
    teacher = backbone.load(1.0, 224, "imagenet")
    classes = backbone.load_imagenet_head(teacher)
    if classes is None:
        raise UserError("The teacher's classes are not in Keras's cache: connect to a network.")
    whole = keras.applications.MobileNetV2((None, None, 3), 1.0, include_top=False, weights=None)
    whole.set_weights(teacher.model.get_weights())
    whole = folding.fold(whole)
    teacher_maps = keras.Model(whole.input, [whole.get_layer(name).output for name in HINTS])
    student_maps = keras.Model(student.input, [student.get_layer(name).output for name in HINTS])
    teacher_maps.trainable = classes.trainable = False

    inputs = keras.Input((None, None, 3))
    seen, learned = teacher_maps(inputs, training=False), student_maps(inputs)
    examples = teacher_maps.predict(sample, verbose=0)
    predictors = [layers.Conv2D(target.shape[-1], 1) for target in seen]
    losses = []
    for predict, target, known, example in zip(predictors, seen, learned, examples, strict=True):
        axes = (0, 1, 2)
        scale = layers.Normalization(mean=example.mean(axes), variance=example.var(axes) + 1e-3)
        losses.append(ops.mean(ops.square(scale(target) - predict(known)), axis=(1, 2, 3)))
    pool = layers.GlobalAveragePooling2D()
    predictors.append(layers.Dense(1000))
    said = predictors[-1](pool(learned[-1]))
    losses.append(ops.categorical_crossentropy(classes(pool(seen[-1])), said, from_logits=True))
    return keras.Model(inputs, ops.stack(losses, axis=1)), predictors


def compile_for(trainer: Any, phase: Phase) -> None:
    """Give the trainer a fresh optimizer for a phase. Its targets are the weights of its losses."""
    from mobilenet.scratch.muon import Muon
    from mobilenet.system.engine import keras

    steps = len(phase.sizes)
    warm_up = min(WARM_UP, steps // 2)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, warmup_target=phase.rate, warmup_steps=warm_up
    )
    # Not for the predictors, which Keras calls conv2d and dense: they are thrown away, and to
    # orthogonalize the largest would take as long as the rest of the step.
    optimizer = Muon(
        rate,
        weight_decay=DECAY,
        adam_weight_decay=ADAM_DECAY,
        exclude_layers=["conv2d", "dense"],
    )
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    ops = keras.ops
    trainer.compile(
        optimizer,
        lambda weights, losses: ops.mean(ops.sum(weights * losses, axis=1)),
        jit_compile=False,  # XLA's depthwise convolution is many times slower on a CPU
    )
    optimizer.build(trainer.trainable_variables)


def scale_features(student: Any, photos: np.ndarray) -> None:
    """Scale the last BatchNorm so that the features average FEATURE_MEAN on these photos.

    A predictor has any scale it likes, but a head's learning rate suits one: ImageNet's.
    """
    mean = float(student.predict(photos, batch_size=BATCH, verbose=0).mean())
    norm = student.get_layer("Conv_1_bn")
    for variable in (norm.gamma, norm.beta):
        variable.assign(variable * (FEATURE_MEAN / mean))


def pretrain(
    sources: list[Path], out: Path, phases: tuple[Phase, ...] = PHASES, seed: int = 0
) -> int:
    """Train a student on the photos of these sources and write its weights to out, an .npz file.

    The state is saved on the way, beside out; a run that was stopped goes on from there. Returns 0.
    Raises UserError if out has another suffix, if a source is no photos, if the teacher cannot be
    had, or if the saved state is damaged or another run's.
    """
    if out.suffix != ".npz":
        raise UserError(f"The weights are an .npz file, {out.name!r} is none: name another.")
    start = time.monotonic()
    pool = read_pool(sources)
    total = sum(len(phase.sizes) for phase in phases)
    print(f"{len(pool)} photos, {total} steps of {BATCH} crops.", flush=True)
    student = build_student(seed)
    sample = crops(pool, 96, 8 * BATCH, np.random.default_rng(seed))
    trainer, predictors = build_trainer(student, sample)
    learned = [*student.variables, *(v for layer in predictors for v in layer.variables)]
    saved, run = out.with_suffix(".state.npz"), [len(pool), seed, repr(phases)]
    done, state = _restore(saved, run) if saved.exists() else (0, [])
    _put(state, learned, saved)
    end = 0
    for phase in phases:
        begin, end = end, end + len(phase.sizes)
        if done >= end:
            continue
        compile_for(trainer, phase)
        moments = trainer.optimizer.variables
        if done > begin:
            _put(state[len(learned) :], moments, saved)
        weights = np.float32(BATCH * [[phase.lower] * (len(HINTS) - 1) + [1, 1]])
        first, losses = max(done, begin), []
        made = batches(pool, phase.sizes[first - begin :], first, seed)
        for step, batch in enumerate(progress(made, end - first, "Steps"), first + 1):
            losses.append(float(trainer.train_on_batch(batch, weights)))
            trainer.reset_metrics()
            if step % SAVE_STEPS == 0 or step == end:
                with replacing(saved) as new:
                    arrays = [variable.numpy() for variable in (*learned, *moments)]
                    np.savez(new, json.dumps([step, *run]), *arrays)
                about = f"{batch.shape[1]} px, loss {np.mean(losses):.3f}"
                print(f"step {step}, {about}, {time.monotonic() - start:.0f} s", flush=True)
                losses.clear()
    scale_features(student, sample)
    backbone.write_weights(student, out)
    saved.unlink(missing_ok=True)
    print(f"The weights are in {out}.")
    return 0


def _restore(saved: Path, run: list[Any]) -> tuple[int, list[np.ndarray]]:
    """(steps that are done, values of the variables) of a saved state."""
    try:
        about, *values = read_arrays(saved)
        step, *made_by = json.loads(str(about))
    except DAMAGE as error:
        raise _damaged(saved) from error
    if made_by != run:
        raise UserError(f"{saved} is of another run: delete it, or name another file by --out.")
    print(f"Going on after step {step}.", flush=True)
    return step, values


def _put(values: list[np.ndarray], variables: list[Any], saved: Path) -> None:
    """Give variables the first of the values; those of a fresh start are none."""
    for variable, value in zip(variables, values, strict=False):
        if value.shape != tuple(variable.shape):
            raise _damaged(saved)
        variable.assign(value)


def _damaged(saved: Path) -> UserError:
    return UserError(f"{saved} is damaged: delete it to begin anew.")
