"""What a trained classifier is worth, and what it costs.

python -m mobilenet.evaluate build/runs/…/model.keras --data cats-dogs.tar
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError, classifier, command, cost, datasets, litert
from mobilenet.metrics import confusion, count_right
from mobilenet.photos import Photos

REPEATS = 7


def answers(p: np.ndarray, photos: Photos) -> str:
    """Accuracy with its interval, then a line a class: recall, precision, what it is called."""
    counts = confusion(p, photos.labels)
    width = max(map(len, photos.class_names))
    lines = [str(count_right(p, photos.labels)), ""]
    lines.append(f"{'':<{width}}  {'recall':>12}  {'precision':>12}  called")
    for k, name in enumerate(photos.class_names):
        right, is_it, called = counts[k, k], counts[k].sum(), counts[:, k].sum()
        others = np.argsort(-counts[k], kind="stable")
        others = [f"{photos.class_names[j]} {counts[k, j]}" for j in others if counts[k, j]]
        recall, precision = f"{right} of {is_it}", f"{right} of {called}"
        lines.append(f"{name:<{width}}  {recall:>12}  {precision:>12}  {', '.join(others)}")
    return "\n".join(lines)


def costs(total: cost.Cost, size: int, compute: Any, path: Path) -> str:
    """Multiply-adds, parameters, size on disk, time for one photo; compute: photos of size × size
    pixels to probabilities.
    """
    photo = np.zeros((1, size, size, 3), np.uint8)
    compute(photo)
    (seconds,) = cost.median_seconds([lambda: compute(photo)], REPEATS)
    return (
        f"{total.multiply_adds / 1e6:.1f} million multiply-adds, {total.parameters:,} parameters "
        f"of convolution and dense layers, {path.stat().st_size / 1e6:.1f} MB on disk, "
        f"{1000 * seconds:.1f} ms for one photo"
    )


def evaluate(path: Path, data: str | None, seed: int | None) -> int:
    """Print what a saved classifier costs and, given data, how it answers for its test photos.

    Without a seed, the split is that of the training.
    """
    if path.suffix == ".tflite":
        compute, names, size = litert.load(path)
        card = litert.read_card(path)
        total = cost.Cost(card["multiply_adds"], card["parameters"])
    else:
        model, names = classifier.load(path)
        compute, size = classifier.compiled(model), model.input_shape[1]
        card, total = classifier.read_card(path), cost.totals(cost.count(model))
    print(costs(total, size, compute, path), flush=True)
    if data is None:
        print("Name photos by --data to have its answers counted.")
        return 0
    seed = card.get("seed", 0) if seed is None else seed
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise UserError(f"{path} does not say how its photos were split: give a --seed.")
    if card.get("part") == "all":
        print("This head was solved on all photos of its folder: for those, this is no test.")
    parts = datasets.load(data, size, seed)
    photos = parts["test"]
    datasets.check_classes(photos, names)
    print(datasets.describe(parts))
    if card.get("test", datasets.fingerprint(photos)) != datasets.fingerprint(photos):
        print("These are not the test photos of its training: it may have learned from some.")
    columns = [names.index(name) for name in photos.class_names]
    print(answers(compute(photos.images)[:, columns], photos))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.evaluate", __doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .keras or .tflite file of this project")
    parser.add_argument("--data", help="cifar10, or a folder or tar file of class folders")
    parser.add_argument(
        "--seed", type=command.number(int, 0, 2**32 - 1), help="of the split; the training's"
    )
    chosen = parser.parse_args(arguments)
    return command.run(lambda: evaluate(chosen.model, chosen.data, chosen.seed))


if __name__ == "__main__":
    sys.exit(main())
