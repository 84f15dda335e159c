"""A saved classifier as a LiteRT model, which phones run: one `.tflite` file.

    python -m mobilenet.export [MODEL] [--quantize none|float16|int8] [--out FILE]

int8 takes the ranges of activations from the photos that trained the classifier.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenet import BUILD, UserError
from mobilenet.inference import naming, saved
from mobilenet.networks import cost
from mobilenet.phone.convert import KEPT, KINDS, MOST, QUANTIZE, convert, kernels, save
from mobilenet.phone.training_photos import source, training_photos
from mobilenet.system import command

MODEL = BUILD / "fine_tuned.keras"


def export(path: Path, quantize: str, out: Path, classes: Sequence[str] | None = None) -> int:
    """Convert a saved classifier, write the file and say what it is. classes: the names of its
    classes, if it has none.
    """
    saved.checked(path, classes)
    if out.suffix != ".tflite":
        raise UserError(f"{out} is no name for a LiteRT model: let it end in .tflite.")
    from mobilenet.inference import classifier  # TensorFlow, which takes seconds

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
            f"It was tried with {kernels(data)} kernels: others, as of other "
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
