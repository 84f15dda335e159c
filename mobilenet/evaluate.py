"""What a trained classifier is worth, and what it costs.

    python -m mobilenet.evaluate build/runs/…/model.keras --data cats-dogs.tar

Photos that trained the model do not count, as far as it says which did.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from mobilenet.inference import litert, naming, saved
from mobilenet.inference.evaluation import costs, counted, evaluated
from mobilenet.networks import cost
from mobilenet.system import command


def evaluate(
    path: Path,
    data: str | None,
    seed: int | None = None,
    everything: bool = False,
    classes: Sequence[str] | None = None,
) -> int:
    """Print what a saved classifier costs and, given data, how it answers for photos that did not
    train it, as `evaluated` finds them. classes: names for a model that has none.
    """
    if path.suffix == ".tflite":
        compute, names, size = litert.load(path, classes=classes)
        card = litert.read_card(path, classes)
        counts = [card.get(key) for key in ("multiply_adds", "parameters")]
        total = cost.Cost(*counts) if all(counts) else None  # of a file of others it is not known
    else:
        saved.checked(path, classes)  # before TensorFlow loads
        from mobilenet.inference import classifier

        model, names = classifier.load(path, classes)
        compute, size = classifier.compiled(model), model.input_shape[1]
        card, total = saved.read_card(path), cost.totals(cost.count(model))
    print(costs(total, size, compute, path), flush=True)
    if data is None:
        print("Name photos by --data to have its answers counted.")
        return 0
    photos, said = evaluated(path, card, data, size, names, seed, everything)
    print(said, flush=True)
    print(counted(compute(photos.images), photos, names))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.evaluate", __doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .keras or .tflite file")
    parser.add_argument("--data", help="cifar10, or a folder or tar file of class folders")
    parser.add_argument(
        "--seed",
        type=command.number(int, 0, 2**32 - 1),
        help="split the photos by this seed and ask the test part alone",
    )
    parser.add_argument("--all", action="store_true", help="count every photo")
    parser.add_argument("--classes", metavar="NAMES", type=naming.read_names, help=naming.CLASSES)
    chosen = parser.parse_args(arguments)
    if chosen.all and chosen.seed is not None:
        parser.error("--all counts every photo, --seed one part of them: give one of the two")

    def work() -> int:
        return evaluate(chosen.model, chosen.data, chosen.seed, chosen.all, chosen.classes)

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
