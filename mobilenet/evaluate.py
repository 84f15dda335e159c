"""What a trained classifier is worth, and what it costs.

python -m mobilenet.evaluate build/runs/…/model.keras --data cats-dogs.tar
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError, classifier, command, cost, datasets, litert, naming
from mobilenet.metrics import confusion, count_right
from mobilenet.photos import Photos

REPEATS = 7


def answers(p: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> str:
    """Accuracy with its interval, then a line a class: recall, precision, what it is called.

    p: (N, K), labels: int64 (N,), names: K. Balanced accuracy is the mean of the recalls of the
    classes that have photos: what a rare class counts as much as a common one in.
    """
    counts = confusion(p, labels)
    width = max(map(len, names))
    there = np.flatnonzero(counts.sum(axis=1))
    recalls = counts[there, there] / counts[there].sum(axis=1)
    lines = [str(count_right(p, labels))]
    lines.append(f"balanced accuracy, the mean over the classes: {100 * recalls.mean():.1f} %")
    lines += ["", f"{'':<{width}}  {'recall':>12}  {'precision':>12}  called"]
    for k, name in enumerate(names):
        right, is_it, called = counts[k, k], counts[k].sum(), counts[:, k].sum()
        recall, precision = f"{right} of {is_it}", f"{right} of {called}"
        line = f"{name:<{width}}  {recall:>12}  {precision:>12}  {_called(counts[k], names)}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _called(counts: np.ndarray, names: Sequence[str]) -> str:
    """What photos are called, the commonest first."""
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{names[k]} {counts[k]}" for k in order if counts[k])


def costs(total: cost.Cost | None, size: int, compute: Any, path: Path) -> str:
    """Multiply-adds, parameters, size on disk, time for one photo; compute: photos of size × size
    pixels to probabilities.
    """
    photo = np.zeros((1, size, size, 3), np.uint8)
    compute(photo)
    (seconds,) = cost.median_seconds([lambda: compute(photo)], REPEATS)
    known = total and (
        f"{total.multiply_adds / 1e6:.1f} million multiply-adds, {total.parameters:,} parameters "
        "of convolution and dense layers, "
    )
    return (
        f"{known or ''}{path.stat().st_size / 1e6:.1f} MB on disk, "
        f"{1000 * seconds:.1f} ms for one photo"
    )


def evaluate(
    path: Path,
    data: str | None,
    seed: int | None = None,
    everything: bool = False,
    classes: Sequence[str] | None = None,
) -> int:
    """Print what a saved classifier costs and, given data, how it answers for photos that did not
    train it, as `asked` finds them. classes: names for a model that has none.
    """
    if path.suffix == ".tflite":
        compute, names, size = litert.load(path, classes=classes)
        card = litert.read_card(path, classes)
        counts = [card.get(key) for key in ("multiply_adds", "parameters")]
        total = cost.Cost(*counts) if all(counts) else None  # of a file of others it is not known
    else:
        model, names = classifier.load(path, classes)
        compute, size = classifier.compiled(model), model.input_shape[1]
        card, total = classifier.read_card(path), cost.totals(cost.count(model))
    print(costs(total, size, compute, path), flush=True)
    if data is None:
        print("Name photos by --data to have its answers counted.")
        return 0
    photos, said = asked(path, card, data, size, names, seed, everything)
    print(said, flush=True)
    print(counted(compute(photos.images), photos, names))
    return 0


def asked(
    path: Path,
    card: dict[str, Any],
    data: str,
    size: int,
    names: Sequence[str],
    seed: int | None,
    everything: bool,
) -> tuple[Photos, str]:
    """The photos to ask a model about, and lines that say which they are.

    Those that did not train or validate it, if its card says which did. Else the test part of the
    split by the seed, by default that of the card; of a model of others, or if everything is asked
    for, all photos. Raises UserError if there are none, or none of a class that it knows.
    """
    is_others = not {"seed", "test", "part"} & set(card)  # who knows how they split
    if seed is None and (everything or "learned" in card or is_others):
        parts = datasets.load_all(data, size, names)
        photos = datasets.joined(parts)
        if not set(photos.class_names) & set(names):
            datasets.check_classes(photos, names)
        lines = [f"{len(photos)} photos.", *datasets.left_out_of([photos])]
        found = classifier.learned(card, photos)
        if found is None:
            lines.append(
                "The model does not say which photos trained it: if some of these did, this is no "
                "test."
            )
        else:
            chosen, more = _unseen(photos, found, everything)
            lines.append(more)
            if not len(chosen):
                raise UserError(
                    f"All {len(photos)} photos in {data} trained or validated {path}: name others, "
                    "or count them by --all, which is no test."
                )
            photos = photos.subset(chosen)
        return photos, "\n".join(lines)
    seed = card.get("seed", 0) if seed is None else seed
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise UserError(f"{path} does not say how its photos were split: give a --seed.")
    parts = datasets.load(data, size, seed)
    datasets.check_classes(parts["test"], names)
    photos, lines = parts["test"], [datasets.describe(parts)]
    if card.get("part") == "all":
        lines.append("This head was solved on all photos of its folder: for those, it is no test.")
    elif card.get("test", datasets.fingerprint(photos)) != datasets.fingerprint(photos):
        lines.append(
            "These are not the test photos of its training: it may have learned from some."
        )
    elif (found := classifier.learned(card, photos)) is not None:
        chosen, more = _unseen(photos, found, False)
        photos = photos.subset(chosen)
        lines.append(more)
    elif "test" not in card:
        lines.append(
            "The model says how its photos were split, not which they were: if these are others, "
            "count them by --all."
        )
    if not len(photos):
        raise UserError(f"All test photos of this split trained {path}: leave --seed out.")
    return photos, "\n".join(lines)


def _unseen(
    photos: Photos, found: dict[str, np.ndarray], everything: bool
) -> tuple[np.ndarray, str]:
    """The positions of the photos that are counted, and a line that says which those are."""
    seen = np.any(list(found.values()), axis=0)
    counts = " and ".join(
        f"{mask.sum()} that {'trained' if part == 'train' else 'validated'} it"
        for part, mask in found.items()
    )
    if not seen.any():
        return np.arange(len(photos)), "None of them trained or validated it: all are counted."
    if everything:
        return np.arange(len(photos)), f"All are counted, also {counts}: for those, it is no test."
    return np.flatnonzero(~seen), f"Left out: {counts}; the other {(~seen).sum()} are counted."


def counted(p: np.ndarray, photos: Photos, names: Sequence[str]) -> str:
    """What a model's answers p (N, K) are worth; photos of classes that it lacks apart."""
    labels = np.array([_position(name, names) for name in photos.class_names])[photos.labels]
    known = labels >= 0
    lines = []
    if not known.any():
        lines.append("None of these photos is of a class that the model knows.")
    else:
        lines.append(answers(p[known], labels[known], names))
        absent = [name for k, name in enumerate(names) if not (labels == k).any()]
        if absent:
            lines.append(f"No photo is of {', '.join(map(repr, absent))}: it is not measured.")
    for k, name in enumerate(photos.class_names):
        mine = (photos.labels == k) & ~known
        if mine.any():
            called = _called(np.bincount(p[mine].argmax(axis=1), minlength=len(names)), names)
            lines.append(
                f"{mine.sum()} photos of {name!r}, a class that the model lacks, are counted "
                f"apart: it calls them {called}."
            )
    return "\n".join(lines)


def _position(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else -1


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
    parser.add_argument("--classes", metavar="NAMES", help=naming.CLASSES)
    chosen = parser.parse_args(arguments)
    if chosen.all and chosen.seed is not None:
        parser.error("--all counts every photo, --seed one part of them: give one of the two")

    def work() -> int:
        names = naming.read_names(chosen.classes)
        return evaluate(chosen.model, chosen.data, chosen.seed, chosen.all, names)

    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
