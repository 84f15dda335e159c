"""The runs from scratch that are kept in git."""

import json
from pathlib import Path
from typing import Any

from mobilenet.scratch.plan import HISTORY, MODELS, RESULT
from mobilenet.transfer.metrics import Result

KEPT = Path(__file__).parent / "results"  # the runs in git


def kept_runs() -> dict[str, tuple[dict[str, Any], list[dict[str, float]]]]:
    """Return the runs in git by name: what result.json holds, and the lines of history.jsonl.

    Those from scratch come first, the most training photos first.
    """
    found = {}
    for folder in sorted(KEPT.glob("*/")):
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
        about = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        found[folder.name] = about, [json.loads(line) for line in lines]

    def place(name: str) -> tuple[bool, int]:
        about, _ = found[name]
        return about["model"] == "head", -about["photos"]["train"]

    return {name: found[name] for name in sorted(found, key=place)}


def kept_curves(runs: dict[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    """Return the histories of what `kept_runs` found, those from scratch, by the two lines that
    stand above a run's curves.
    """
    return {
        f"{about['data'].split('.')[0]}, {about['photos']['train']:,} photos\n"
        f"{network_name(about)}": history
        for about, history in runs.values()
        if about["weights"] == "random"
    }


def network_name(about: dict[str, Any]) -> str:
    """Return what a run trained, as text: the network, its width α and the photos' side."""
    names = dict(zip(MODELS, ("MobileNetV1", "MobileNetV2", "head on MobileNetV2"), strict=True))
    return f"{names[about['model']]}, α {about['alpha']:g}, {about['size']} px"


def kept_table(runs: dict[str, tuple[dict[str, Any], Any]]) -> tuple[Any, list]:
    """Return the header and the rows, of text, of a table of what `kept_runs` found."""
    rows = []
    for one, _ in runs.values():
        result = Result(one["test_correct"], one["test_total"])
        seconds = one["seconds"]
        rows.append(
            (
                f"{one['data'].split('.')[0]}, {len(one['classes'])} classes",
                network_name(one),
                one["weights"],
                f"{one['photos']['train']:,}",
                f"{result.share()} ({result.percent()})",
                f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s",
            )
        )
    header = ("data", "network", "first weights", "training photos")
    return (*header, "test accuracy (95 % interval)", "training, 2 cores"), rows
