"""The head solved on features in parts, in memory that the number of photos does not change.

Of all photos only a sample is held: those with the smallest sha256, a fair sample and the same in
any order. On it the L2 penalty is chosen and an estimate made. The objective is a sum over photos
plus a penalty that does not grow with them, so it means the same for a sample and for all.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mobilenet import UserError
from mobilenet.scale import parts
from mobilenet.scale.labelled import read, survey
from mobilenet.scale.passes import CLOSE, solve
from mobilenet.system.files import try_out


def head(out: Path, model: Path) -> Iterator[str]:
    """Solve the head on a folder's parts and save it with its backbone; yields lines that say what
    came out. Raises UserError if there are no such parts or the backbone is not the same.
    """
    if model.suffix != ".keras":
        raise UserError(f"{model} is no name for a model: let it end in .keras.")
    parts.arrow()
    said = parts.read_about(out)
    if not said.get("complete"):  # what an ended run left may be there twice
        raise UserError(
            f"{out} does not hold all features: let `python -m mobilenet.extract` run to its end."
        )
    about = said["backbone"]
    try_out(model)  # now, not after hours
    from mobilenet.inference import classifier
    from mobilenet.networks import backbone as backbones  # TensorFlow takes seconds: not to refuse
    from mobilenet.transfer import solver
    from mobilenet.transfer.metrics import count_right

    backbone = backbones.load(about["alpha"], about["size"], about["weights"])
    if backbone.fingerprint != about["fingerprint"]:
        raise UserError(
            f"The backbone that made {out} is not here: run `python -m mobilenet.extract` again, "
            "into another folder."
        )
    labelled = survey(out, backbone.channels)
    classes, sample = len(labelled.class_names), (labelled.features, labelled.labels)
    groups = np.unique(labelled.sums, return_inverse=True)[1]
    l2 = solver.choose_l2(*sample, classes, seed=0, groups=groups)
    p = solver.cross_validate(*sample, classes, seed=0, groups=groups)
    right = count_right(p, labelled.labels)
    first = solver.solve(*sample, classes, l2)
    solved = solve(lambda: read(out, labelled), labelled.count, labelled.centre, classes, l2, first)
    whole = classifier.assemble(backbone, solver.solved_head(solved.kernel, solved.bias))
    facts = {"photos": labelled.count, "l2": l2, "passes": solved.passes, "part": "all"}
    sampled = len(labelled.labels) < labelled.count  # then only the sample's digests are known
    if not sampled and (said := classifier.digests([one.decode() for one in labelled.sums])):
        facts["learned"] = {"train": said}
    classifier.save(model, whole, labelled.class_names, **facts, **right.entry("folds_"))
    photos = f"{labelled.count:,} photos of {classes} classes"
    yield f"{photos}, L2 penalty {l2:g}; passes over them to solve the head: {solved.passes}."
    if solved.distance > CLOSE:
        yield (
            f"The head did not settle: its kernel may be {solved.distance:.1g} from the best, and "
            f"{CLOSE:g} was to be reached."
        )
    of = " of a sample, each by a head that it alone made" if sampled else ""
    yield f"In five folds{of}: {right}."
    yield f"Saved: {model}."
