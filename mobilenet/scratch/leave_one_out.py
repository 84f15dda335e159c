"""What each step of the recipe is worth: the recipe with one step taken back, a row each.

MobileNetV1 at a quarter of the width, for three epochs: short, but many times over. The validation
photos judge; the test photos are not looked at.
"""

import tempfile
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from mobilenet.photos import datasets
from mobilenet.scratch import trainer
from mobilenet.scratch.learning import RECIPE, Recipe
from mobilenet.scratch.plan import Plan
from mobilenet.system import measuring
from mobilenet.system.files import write_json

ALPHA, EPOCHS, SIZE = 0.25, 3, 32
ADAMW = {"optimizer": "adamw", "rate": 2e-3, "decay": 0.05, "bias": 1}
WAYS = {
    "the recipe": RECIPE,
    "BatchNorm's biases not faster": RECIPE._replace(bias=1),
    "rate 0.05, not 0.2": RECIPE._replace(rate=0.05),
    "labels smoothed by 0.1, not 0.2": RECIPE._replace(smoothing=0.1),
    "flips at random, not in turn": RECIPE._replace(alternating=False),
    "shifts by up to 4 pixels, not 2": RECIPE._replace(shift=4),
    "weight decay 5e-3, not 2e-3": RECIPE._replace(decay=5e-3),
    "photos at their full size from the start": RECIPE._replace(small=0),
    "depthwise kernels start no higher in the middle": RECIPE._replace(centre=0),
    "AdamW, not SGD": RECIPE._replace(**ADAMW),
    "all of these": Recipe(
        **ADAMW, warm_up=0.05, smoothing=0.1, shift=4, alternating=False, small=0, centre=0
    ),
}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown: right of the validation photos with each seed, and on average."""
    lines = ["| | right | on average | less |", "|---|---|---|---|"]
    best = share(rows[0])
    for row in rows:
        right = ", ".join(map(str, row["right"]))
        less = f"{best - share(row):.1f}" if row is not rows[0] else "–"
        lines.append(f"| {row['way']} | {right} of {row['total']} | {share(row):.1f} % | {less} |")
    return "\n".join(lines)


def share(row: dict[str, Any]) -> float:
    """A row's mean accuracy, in per cent."""
    return 100 * mean(row["right"]) / row["total"]


def gains(data: str, repeats: int, out: Path) -> int:
    """Train each way with the seeds 0 to repeats - 1, print and write the table; returns 0."""
    name = Path(data).resolve().name
    rows = [{"way": way, "right": [], "seconds": []} for way in WAYS]
    about = {
        "command": f"python -m mobilenet.gains --data {name} --repeats {repeats}",
        "model": "mobilenetv1",
        "alpha": ALPHA,
        "size": SIZE,
        "epochs": EPOCHS,
        "machine": measuring.machine(),
        "date": date.today().isoformat(),
    }
    parts = datasets.load(data, SIZE, 0)
    classes = parts["train"].class_names
    for seed in range(repeats):
        for row in rows:
            print(f"{row['way']}, seed {seed}", flush=True)
            plan = Plan("mobilenetv1", ALPHA, SIZE, EPOCHS, name, seed, classes)
            with tempfile.TemporaryDirectory() as folder:
                _, _, history = trainer.learn(plan, parts, Path(folder), WAYS[row["way"]])
            total, last = len(parts["val"]), history[-1]
            row["right"].append(round(last["val_accuracy"] * total))
            row["seconds"].append(sum(epoch["seconds"] for epoch in history))
            row["total"] = total
            done = [row for row in rows if row["right"]]
            write_json(out, {**about, "rows": done})
    print(f"\n{table(rows)}")
    return 0
