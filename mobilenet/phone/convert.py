"""A classifier as a LiteRT file, in 32, 16 or 8 bits.

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
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.inference import phone_labels
from mobilenet.inference.litert import NAME, NO_SUM, SUM, sha256
from mobilenet.networks import cost, flatbuffer
from mobilenet.system.files import replacing
from mobilenet.system.guards import quiet
from mobilenet.system.interpreter import whose_kernels
from mobilenet.system.progress import progress

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
    from mobilenet.networks.folding import fold
    from mobilenet.phone import quantizing

    if quantize not in KINDS:
        raise UserError(f"There is no kind {quantize!r}: take one of {', '.join(KINDS)}.")
    size, count = model.input_shape[1], 0 if photos is None else len(photos)
    costs, chosen = cost.totals(cost.count(model))._asdict(), None
    if quantize == "int8":
        if count < FEWEST:
            raise UserError(
                f"int8 takes its ranges from {FEWEST} or more photos of the training, and there "
                f"are {count}: add photos, or take float16."
            )
        chosen = photos[np.linspace(0, count - 1, min(MOST, count)).astype(int)]
        some = chosen[np.linspace(0, len(chosen) - 1, FEWEST).astype(int)]
        model = quantizing.corrected(fold(model), some.astype(np.float32))
    with quiet(UserError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ranges that it then finds in the photos
        whole = _with_probabilities(model, "uint8" if chosen is None else "float32")
        data = _converted(whole, model.name, quantize, chosen)
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


def _converted(whole: Any, name: str, quantize: str, photos: np.ndarray | None) -> bytes:
    """What TensorFlow's converter makes of a network. photos: for int8, to take ranges from."""
    from tensorflow.lite.python.convert_phase import ConverterError

    from mobilenet.system.engine import tf

    # A quarter of the time of from_keras_model, which saves every layer first; same tensors.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(whole)], tf.Module())
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: _samples(photos)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    try:
        return converter.convert()
    except ConverterError as error:
        raise UserError(
            f"The model {name!r} holds a layer that LiteRT does not know: use a model that this "
            "project saved."
        ) from error


def _with_probabilities(model: Any, dtype: str) -> Any:
    """Return a classifier, folded, from one photo of this type to probabilities of its classes."""
    from mobilenet.networks.folding import fold
    from mobilenet.system.engine import keras

    photo = keras.Input(model.input_shape[1:], batch_size=1, dtype=dtype, name="photo")
    logits = fold(model)(keras.ops.cast(photo, "float32"), training=False)
    if logits.shape[1] == 1:  # two classes: the first one's logit is 0
        logits = keras.ops.pad(logits, ((0, 0), (1, 0)))
    return keras.Model(photo, keras.ops.softmax(logits), name="phone")  # else it has a number


def _frozen(whole: Any) -> Any:
    """Return a TensorFlow function of one photo that holds the network's weights as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from mobilenet.system.engine import tf

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


def kernels(data: bytes) -> str:
    """Whose kernels TensorFlow runs a `.tflite` file with, as `whose_kernels` says."""
    return whose_kernels(_interpreter(data))


def _interpreter(data: bytes) -> Any:
    """TensorFlow's interpreter of a `.tflite` file, ready to answer."""
    from mobilenet.system.engine import tf

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own runtime leaves it one day
        one = tf.lite.Interpreter(model_content=data)
        one.allocate_tensors()
    return one


def save(path: Path, data: bytes) -> None:
    """Write the content of a `.tflite` file, atomically."""
    with replacing(path) as new:
        new.write_bytes(data)
