"""The memory of re-runs: which knobs were tried, and what came of them.

A run is known by what decides its result: the notebook, its knobs, the photos and the backbone. It
has one file, `build/log/NOTEBOOK-DIGEST.json`, so that running the same again is the same run, and
several kernels that write at once do not get into each other's way. A file is written whole or not
at all. What is read is checked like anything from a stranger; what is damaged is left out and
named.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mobilenet import BUILD
from mobilenet.files import write_json
from mobilenet.training import History, Result, wilson_interval

FOLDER = BUILD / "log"
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")
PLAIN = (str, int, float, bool, type(None))


class Run(NamedTuple):
    """A run and its result. when: local time of the last time, ISO 8601; times: how often it was
    run. loss: mean cross-entropy, in nats, of the photos that were counted. seconds: of the last
    time. curves: lists by the names in CURVES, an entry an epoch, None where there is no number.
    """

    name: str
    notebook: str
    when: str
    times: int
    knobs: dict[str, Any]
    photos: dict[str, Any]
    backbone: dict[str, Any]
    correct: int
    total: int
    loss: float
    seconds: float
    curves: dict[str, list[float | None]]

    @property
    def result(self) -> Result:
        """Right of how many."""
        return Result(self.correct, self.total)


def knobs_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs among a notebook's names: IN_CAPITALS, and of a kind that JSON can hold."""
    return {
        name: json.loads(json.dumps(value))
        for name, value in scope.items()
        if name.isupper() and not name.startswith("_") and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(value[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def remember(
    notebook: str,
    knobs: Mapping[str, Any],
    photos: Mapping[str, Any],
    backbone: Mapping[str, Any],
    result: Result,
    loss: float,
    seconds: float,
    history: History,
) -> Run:
    """Add a run to the log, or bring the same run up to date.

    knobs, photos, backbone: JSON values by name; whatever is in them makes another run. Raises
    UserError if the disk does not take the file.
    """
    about = {"knobs": dict(knobs), "photos": dict(photos), "backbone": dict(backbone)}
    text = json.dumps([notebook, about], sort_keys=True, ensure_ascii=False)
    name = f"{notebook}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    before = _read(FOLDER / f"{name}.json")
    run = Run(
        name=name,
        notebook=notebook,
        when=datetime.now().isoformat(timespec="milliseconds"),
        times=1 + (before.times if before else 0),
        **about,
        correct=result.correct,
        total=result.total,
        loss=float(loss),
        seconds=float(seconds),
        curves={
            kind: [value if math.isfinite(value) else None for value in getattr(history, kind)]
            for kind in CURVES
        },
    )
    write_json(FOLDER / f"{name}.json", run._asdict())
    return run


def recall(notebook: str | None = None) -> tuple[list[Run], list[str]]:
    """The runs of a notebook, or of all, the last first; and the names of damaged files."""
    runs, damaged = [], []
    for path in sorted(FOLDER.glob("[!.]*.json")):  # without what was being written at a kill
        run = _read(path)
        if run is None:
            damaged.append(path.name)
        elif notebook in (None, run.notebook):
            runs.append(run)
    return sorted(runs, key=lambda run: run.when, reverse=True), damaged


def best(runs: Sequence[Run]) -> Run:
    """The run with the largest share right; of equals the one with the lowest loss."""
    return max(runs, key=lambda run: (run.correct / run.total, -run.loss))


def differing(runs: Sequence[Run]) -> list[str]:
    """Names of the knobs in which these runs differ, in their order in the notebook; `photos` and
    `backbone` at the end, if they differ.
    """
    names = dict.fromkeys(name for run in runs for name in run.knobs)
    found = [n for n in names if len({json.dumps(run.knobs.get(n)) for run in runs}) > 1]
    for part in ("photos", "backbone"):
        if len({json.dumps(getattr(run, part), sort_keys=True) for run in runs}) > 1:
            found.append(part)
    return found


def _read(path: Path) -> Run | None:
    """A run from its file, if it is there and nothing in it can be but what `remember` wrote."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        run = Run(**values)
        datetime.fromisoformat(run.when)
        wilson_interval(run.correct, run.total)
        numbers = [run.times, run.loss, run.seconds]
        for kind in CURVES:
            numbers += [value for value in run.curves[kind] if value is not None]
        whole = all(isinstance(value, int) for value in (run.times, run.correct, run.total))
        parts = (run.knobs, run.photos, run.backbone)
        if (
            path.stem == run.name
            and run.name.startswith(f"{run.notebook}-")
            and whole
            and all(map(math.isfinite, numbers))
            and all(isinstance(part, dict) for part in parts)
        ):
            return run
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None
