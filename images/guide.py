"""Draws the README's grid of predictions, some right, some wrong, none of them trained on; and the
sheet of drawings in dataset/README.md.

    python images/guide.py

Five folds over the drawn pictures, with the bundled backbone: each picture is classified by a head
that was solved on the other four folds. Shown are WRONG of its mistakes and RIGHT of its right
answers, drawn at random and mixed; the last line that is printed says of how many. The sheet has
EACH drawings of each class, spread evenly over their names.
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from mobilenet import ROOT  # noqa: E402
from mobilenet.figures import grids  # noqa: E402
from mobilenet.networks import backbone  # noqa: E402 (see above)
from mobilenet.photos import loading  # noqa: E402
from mobilenet.photos.photos import Photos  # noqa: E402
from mobilenet.system.files import replacing  # noqa: E402
from mobilenet.transfer import features, solver  # noqa: E402

NAME, SHEET = "guide_predictions.jpg", "drawings.jpg"
EACH, SIDE, GAP = 6, 224, 6  # drawings of a class on the sheet, their side and the space, px
FOLDS, SEED = 5, 0
WRONG, RIGHT = 3, 9  # pictures shown
DPI = 192  # twice what a browser shows a point at, for sharp text


def predictions() -> tuple[Photos, np.ndarray]:
    """Return the drawn pictures and the predictions of five folds, float64 (N, K)."""
    network = backbone.load()
    drawn = loading.load_photos(ROOT / "dataset" / "rendered", network.size)
    pooled = features.pooled(network, drawn.images)
    p = solver.cross_validate(
        pooled, drawn.labels, len(drawn.class_names), count=FOLDS, seed=SEED, groups=drawn.groups
    )
    return drawn, p


def chosen(right: np.ndarray) -> np.ndarray:
    """Return positions of the pictures to show, from whether each answer is right, bool (N,)."""
    rng = np.random.default_rng(SEED)
    some = [
        rng.choice(np.flatnonzero(right == kind), count, replace=False)
        for kind, count in ((False, WRONG), (True, RIGHT))
    ]
    return rng.permutation(np.concatenate(some))


def sheet(drawn: Photos) -> Image.Image:
    """Return drawings of each class, a row a class."""
    step = SIDE + GAP
    whole = Image.new("RGB", (EACH * step - GAP, len(drawn.class_names) * step - GAP), "white")
    for label in range(len(drawn.class_names)):
        mine = np.flatnonzero(drawn.labels == label)
        for column, i in enumerate(mine[np.linspace(0, len(mine) - 1, EACH).astype(int)]):
            picture = Image.fromarray(drawn.images[i]).resize((SIDE, SIDE))
            whole.paste(picture, (column * step, label * step))
    return whole


def main() -> None:
    """Write the pictures into this folder."""
    os.environ["WEIGHTS"] = "bundled"
    drawn, p = predictions()
    with replacing(HERE / SHEET) as new:
        sheet(drawn).save(new, "JPEG", quality=90)
    right = p.argmax(axis=1) == drawn.labels
    shown = chosen(right)
    figure = grids.prediction_grid(drawn.subset(shown), p[shown], rows=2, order="file")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with replacing(HERE / NAME) as new:
        picture = Image.open(buffer).convert("RGB")
        picture.save(new, "JPEG", quality=90, subsampling=0)  # full colour: the text is coloured
    print(f"{NAME}: {WRONG} of {(~right).sum()} wrong answers, {RIGHT} of {right.sum()} right ones")


if __name__ == "__main__":
    main()
