"""A saved classifier as a LiteRT model, which phones run: one `.tflite` file.

    python -m mobilenet.export [MODEL] [--quantize none|float16|int8] [--out FILE]

It takes one photo, uint8 RGB (1, size, size, 3), and gives a probability for each class, float32
(1, K). Scaling to [-1, 1] is inside, BatchNorm is folded into the convolutions. In the metadata
stands, under "mobilenet", JSON that says the rest: the classes' names, how photos are cropped, what
the network costs. The names are also where MediaPipe looks for them.

float16 keeps the weights in 16 bits. int8 keeps weights and activations in 8 bits, a scale for
each channel of a kernel (Jacob et al. 2018, arXiv 1712.05877; Krishnamoorthi 2018, arXiv
1806.08342); the ranges of the activations are those of training photos, and biases make up for what
rounding the kernels does to the means of channels (Nagel et al. 2019, arXiv 1906.04721).
"""

import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import (
    BUILD,
    UserError,
    command,
    cost,
    datasets,
    flatbuffer,
    naming,
    phone_labels,
    saved,
)
from mobilenet.files import replacing
from mobilenet.litert import NAME, NO_SUM, SUM, sha256, whose_kernels
from mobilenet.photos import find_folder, load_photos, split
from mobilenet.progress import progress
from mobilenet.quiet import quiet

MODEL = BUILD / "fine_tuned.keras"
KINDS = ("none", "float16", "int8")
# Photos from which int8 takes the ranges of the activations. With 8 of 209 validation loss rose
# from 0.04 to 0.12 for one draw of three; with 32, 100 and all it changed by less than 0.01.
FEWEST, MOST = 32, 100
CLOSE = 0.1  # in probability; float16 differs by a hundredth where an answer is most in doubt
QUANTIZE = (
    "float16: weights in 16 bits; int8: weights and activations in 8, their ranges from training "
    "photos (default: %(default)s)"
)
KEPT = "seed", "test", "part", "learned"  # what a model's card says of the photos of its training


def convert(
    model: Any,
    class_names: Sequence[str],
    quantize: str = "none",
    photos: np.ndarray | None = None,
    **about: Any,
) -> bytes:
    """Return the content of a `.tflite` file that answers as a classifier does.

    model: RGB (B, size, size, 3) from 0 to 255 to logits, as `classifier.load` gives it. quantize:
    one of KINDS. photos: for int8, uint8 (N, size, size, 3), of those that it was trained on; MOST
    of them are used, evenly spread. about: more for the card, JSON values by name. Raises UserError
    for another kind, for fewer photos than FEWEST, and if the model cannot be converted.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    from mobilenet import quantizing
    from mobilenet.engine import tf
    from mobilenet.features import fold

    if quantize not in KINDS:
        raise UserError(f"There is no kind {quantize!r}: take one of {', '.join(KINDS)}.")
    size, integers = model.input_shape[1], quantize == "int8"
    count = 0 if photos is None else len(photos)
    if integers and count < FEWEST:
        raise UserError(
            f"int8 takes its ranges from {FEWEST} or more photos of the training, and there are "
            f"{count}: add photos, or take float16."
        )
    costs = cost.totals(cost.count(model))._asdict()
    if integers:
        chosen = photos[np.linspace(0, count - 1, min(MOST, count)).astype(int)]
        some = chosen[np.linspace(0, len(chosen) - 1, FEWEST).astype(int)]
        model = quantizing.corrected(fold(model), some.astype(np.float32))
    with quiet(UserError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ranges that it then finds in the photos
        whole = _with_probabilities(model, "float32" if integers else "uint8")
        # A quarter of the time of from_keras_model, which saves every layer first; same tensors.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(whole)], tf.Module())
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if integers:
            converter.representative_dataset = lambda: _samples(chosen)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
        try:
            data = converter.convert()
        except ConverterError as error:
            raise UserError(
                f"The model {model.name!r} holds a layer that LiteRT does not know: use a model "
                "that this project saved."
            ) from error
    card = {
        **about,
        "class_names": list(class_names),
        "size": size,
        "geometry": {"shorter_side": size, "crop": "center", "channels": "RGB", "range": [0, 255]},
        "quantize": quantize,
        **costs,
    }
    packed = _packed(data, card)
    _check(packed, whole, quantize)
    return packed


def _with_probabilities(model: Any, dtype: str) -> Any:
    """Return a classifier, folded, from one photo of this type to probabilities of its classes."""
    from mobilenet.engine import keras
    from mobilenet.features import fold

    photo = keras.Input(model.input_shape[1:], batch_size=1, dtype=dtype, name="photo")
    logits = fold(model)(keras.ops.cast(photo, "float32"), training=False)
    if logits.shape[1] == 1:  # two classes: the first one's logit is 0
        logits = keras.ops.pad(logits, ((0, 0), (1, 0)))
    return keras.Model(photo, keras.ops.softmax(logits), name="phone")  # else it has a number


def _frozen(whole: Any) -> Any:
    """Return a TensorFlow function of one photo that holds the network's weights as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from mobilenet.engine import tf

    photo = tf.TensorSpec(whole.input.shape, whole.input.dtype, name="photo")
    answer = tf.function(lambda photo: whole(photo, training=False)).get_concrete_function(photo)
    return convert_variables_to_constants_v2(answer)


def _samples(photos: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield photos as the converter wants them. The first has a black and a white pixel, so that
    the range of the input is 0 to 255 and its 8 bits are the photo's own; scaled to [-1, 1]
    inside, some 170 of the 256 levels differ, and finer ones made no measurable difference.
    """
    for i, photo in enumerate(progress(photos, len(photos), "Calibration")):
        sample = photo[None].astype(np.float32)
        if i == 0:
            sample[0, 0, :2] = [[0], [255]]
        yield [sample]


def _packed(data: bytes, card: dict[str, Any]) -> bytes:
    """Return a model with a card in its metadata, which ends with the file's sha256."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    text = json.dumps({**card, "sha256": NO_SUM}).encode()
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer, buffer.data = NAME, len(model.buffers), np.frombuffer(text, np.uint8)
    theirs, labels = schema.MetadataT(), schema.BufferT()
    theirs.name, theirs.buffer = phone_labels.ENTRY, len(model.buffers) + 1
    labels.data = np.frombuffer(phone_labels.metadata(), np.uint8)
    model.buffers += [buffer, labels]
    model.metadata = [*(model.metadata or []), entry, theirs]
    builder = flatbuffer.Sharing()
    builder.Finish(model.Pack(builder), b"TFL3")
    packed = phone_labels.with_labels(bytes(builder.Output()), card["class_names"])
    before, after = (SUM.format(some).encode() for some in (NO_SUM, sha256(packed, NO_SUM)))
    return packed.replace(before, after)


def _check(data: bytes, whole: Any, quantize: str) -> None:
    """Raise UserError unless a model answers as what it was made of, for a photo of noise; with
    8 bits, where noise is far from the ranges, unless it answers at all.
    """
    noise = np.random.default_rng(0).integers(0, 256, whole.input_shape, np.uint8)
    one = _interpreter(data)
    one.set_tensor(one.get_input_details()[0]["index"], noise)
    one.invoke()
    p = one.get_tensor(one.get_output_details()[0]["index"])
    difference = np.abs(p - whole(noise.astype(whole.input.dtype)).numpy()).max()
    if not difference <= (1 if quantize == "int8" else CLOSE):
        raise UserError(f"The model answers otherwise in {quantize}: choose another kind.")


def _kernels(data: bytes) -> str:
    return whose_kernels(_interpreter(data))


def _interpreter(data: bytes) -> Any:
    """TensorFlow's interpreter of a `.tflite` file, ready to answer."""
    from mobilenet.engine import tf

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own runtime leaves it one day
        one = tf.lite.Interpreter(model_content=data)
        one.allocate_tensors()
    return one


def save(path: Path, data: bytes) -> None:
    """Write the content of a `.tflite` file, atomically."""
    with replacing(path) as new:
        new.write_bytes(data)


def training_photos(size: int, class_names: Sequence[str], card: dict[str, Any]) -> np.ndarray:
    """Return the photos in use that a classifier was trained on, uint8 (N, size, size, 3).

    They are split by the seed on its card, or by seed 0. Raises UserError if they are photos of
    other classes, or not those of the training.
    """
    seed = saved.split_seed(card)
    if seed is None:
        raise UserError("The model does not say how its photos were split: take float16.")
    if "test" in card:  # of mobilenet.train
        parts = datasets.load(source(class_names, card), size, seed)
        _check_classes(parts["train"].class_names, class_names)
        if datasets.fingerprint(parts["test"]) != card["test"]:
            raise UserError(
                "The photos are not those that the model was trained on, from which int8 takes its "
                "ranges: set PHOTOS to their folder, or take float16."
            )
        return parts["train"].images
    everything = load_photos(Path(source(class_names, card)), size)
    _check_classes(everything.class_names, class_names)
    if card.get("part") == "all":  # of mobilenet.head
        return everything.images[:]
    return everything.images[split(everything, seed)["train"]]


def source(class_names: Sequence[str], card: dict[str, Any]) -> str:
    """Return where `training_photos` are looked for: a folder, or "cifar10"."""
    downloaded = list(class_names) == datasets.CIFAR10 and not os.environ.get("PHOTOS")
    return "cifar10" if "test" in card and downloaded else str(find_folder()[0])


def _check_classes(found: Sequence[str], wanted: Sequence[str]) -> None:
    if set(found) != set(wanted):
        raise UserError(
            f"The model knows {', '.join(map(repr, wanted))}, the photos show "
            f"{', '.join(map(repr, found))}: set PHOTOS to the folder that it was trained on."
        )


def export(path: Path, quantize: str, out: Path, classes: Sequence[str] | None = None) -> int:
    """Convert a saved classifier, write the file and say what it is. classes: the names of its
    classes, if it has none.
    """
    saved.checked(path, classes)
    if out.suffix != ".tflite":
        raise UserError(f"{out} is no name for a LiteRT model: let it end in .tflite.")
    from mobilenet import classifier  # TensorFlow, which takes seconds

    model, names = classifier.load(path, classes)
    card = {key: value for key, value in saved.read_card(path).items() if key in KEPT}
    photos = None
    if quantize == "int8":
        photos = training_photos(model.input_shape[1], names, card)
    if sys.stderr.isatty():
        print("Converting …", end="\r", file=sys.stderr, flush=True)
    data = convert(model, names, quantize, photos, **card)
    save(out, data)
    share = len(data) / (4 * cost.totals(cost.count(model)).parameters)
    print(f"{out}: {quantize}, {len(data):,} bytes, {share:.1%} of the parameters in 32 bits")
    if quantize == "int8":
        known = "test" in card  # then they are those that trained it
        print(
            f"It was calibrated with {min(MOST, len(photos))} photos of "
            f"{source(names, card)}"
            f"{'' if known else ': if others trained the model, set PHOTOS to their folder'}."
        )
        print(
            f"It was tried with {_kernels(data)} kernels: others, as of other "
            "phones, round otherwise, and P near one half may differ by some hundredths."
        )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.export", __doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=MODEL, help="a saved .keras file")
    parser.add_argument("--quantize", choices=KINDS, default="none", help=QUANTIZE)
    parser.add_argument("--classes", metavar="NAMES", type=naming.read_names, help=naming.CLASSES)
    parser.add_argument("--out", type=Path, help="a .tflite file (default: beside the model)")
    chosen = parser.parse_args(arguments)
    kind = "" if chosen.quantize == "none" else f"_{chosen.quantize}"
    out = chosen.out or chosen.model.parent / f"{chosen.model.stem}{kind}.tflite"

    def work() -> int:
        return export(chosen.model, chosen.quantize, out, chosen.classes)

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
