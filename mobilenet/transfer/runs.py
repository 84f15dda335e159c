"""The memory of re-runs: which knobs were tried, and what came of them.

A run is known by what decides its result: the notebook, its knobs, the photos and the backbone. It
has one file, NOTEBOOK-DIGEST.json in `build/log/` or the folder that MOBILENET_LOG names, so that
running the same again is the same run, and several kernels that write at once do not get into each
other's way. A file is written whole or not at all, with a sha256 of what is in it (one of an
earlier version has none). What is read is checked like anything from a stranger; what is damaged is
left out and named.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, get_origin

import numpy as np

from mobilenet import BUILD, from_root
from mobilenet.networks.backbone import Backbone
from mobilenet.photos.photos import Photos
from mobilenet.system import cache
from mobilenet.system.files import DAMAGE, alone, write_json
from mobilenet.transfer.metrics import History, Result, wilson_interval

FOLDER = from_root(os.environ.get("MOBILENET_LOG") or str(BUILD / "log"))
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")
PLAIN = (str, int, float, bool, type(None))
HIGHEST = 1e30  # loss or seconds; a picture then need not mind infinity
MOST_BYTES = 1_000_000  # of a run's file; it has some thousand
MOST = 4  # knobs with a column each; more share one, which a page has room for
WIDEST = 32  # letters of a value in a table
MISSING = "–"  # the value of a knob that the notebook did not have at that run


class Run(NamedTuple):
    """A run and its result. when: the last time, ISO 8601, UTC; times: how often it was
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
        """The photos classified right, of how many."""
        return Result(self.correct, self.total)


# Of the values in a run's file.
TYPES = {name: get_origin(kind) or kind for name, kind in Run.__annotations__.items()}


def knobs_of(scope: Mapping[str, Any], but: Sequence[str] = ()) -> dict[str, Any]:
    """The knobs among a notebook's names: IN_CAPITALS, and of a kind that JSON can hold.

    but: names of knobs that decide nothing of what comes out.
    """
    names = [name for name in scope if name.isupper() and name[0] != "_" and name not in but]
    values = {name: _listed(scope[name]) for name in names}
    return {name: json.loads(json.dumps(v)) for name, v in values.items() if _is_plain(v)}


def _listed(value: Any) -> Any:
    """A NumPy number or array as Python's own."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(value[key]) for key in value)
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def photos_of(photos: Photos, val: Photos) -> dict[str, Any]:
    """What tells photos from others: count, classes, and what is in the photos and, by itself, in
    those of them that validate.
    """
    about = {"count": len(photos), "classes": list(photos.class_names)}
    return about | {"digest": _digest(photos), "validation": _digest(val)}


def _digest(photos: Photos) -> str:
    """Of the photos' files, or of their pixels if they come from no file; of size and labels."""
    sums = [photos.sums.get(file, "") for file in photos.files]
    content = " ".join(sums) if all(sums) else cache.digest(photos.images)
    of = f"{content} {photos.images.shape[1:]} {photos.labels.tolist()}"
    return hashlib.sha256(of.encode()).hexdigest()[:12]


def backbone_of(network: Backbone) -> dict[str, Any]:
    """What tells a backbone from others: its card, and a digest of its weights."""
    return network.card() | {"digest": network.fingerprint[:12]}


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

    knobs, photos, backbone: JSON values by name; whatever is in them makes another run. history:
    of a training with validation photos. Prints that a damaged file is replaced. Raises UserError
    if the disk does not take the file.
    """
    about = {"knobs": dict(knobs), "photos": dict(photos), "backbone": dict(backbone)}
    text = json.dumps([notebook, about], sort_keys=True, ensure_ascii=False)
    name = f"{notebook}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = FOLDER / f"{name}.json"
    with alone(FOLDER):  # two that count the same run do so one after the other
        before = _read(path)
        if before is None and path.is_file():
            print(f"{FOLDER.name}/{path.name} was damaged: this run takes its place.")
        run = Run(
            name=name,
            notebook=notebook,
            when=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
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
        values = run._asdict()
        write_json(path, values | {"sha256": _sum(values)})
    return run


def _sum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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


def better(runs: Sequence[Run]) -> list[Run]:
    """Return those of runs, the newest first, whose validation accuracy is above that of the first
    by more than chance, the highest first: their 95 % intervals begin above the end of its own.

    Runs that were judged on other photos are left out.
    """
    newest = runs[0]
    _, high = newest.result.interval
    like = [run for run in runs if same(run.photos, newest.photos)]
    found = [run for run in like if run.result.interval[0] > high]
    return sorted(found, key=lambda run: run.result.interval, reverse=True)


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """In what runs differ: by name a value for each of them, MISSING where it has none.

    The knobs come in their order in the notebook, then `photos` and `backbone`. Of values that all
    are dicts only the entries that differ are left.
    """
    names = dict.fromkeys(name for run in runs for name in run.knobs)
    columns = {name: [run.knobs.get(name, MISSING) for run in runs] for name in names}
    columns |= {part: [getattr(run, part) for run in runs] for part in ("photos", "backbone")}
    return _differing(columns)


def _differing(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    found = {}
    for name, values in columns.items():
        if not same(*values):
            if all(isinstance(value, dict) for value in values):
                keys = dict.fromkeys(key for value in values for key in value)
                inner = _differing({k: [v.get(k, MISSING) for v in values] for k in keys})
                values = [{key: row[i] for key, row in inner.items()} for i in range(len(values))]
            found[name] = values
    return found


def same(*values: Any) -> bool:
    """Whether values are the same to JSON, where 1, 1.0 and true are not."""
    return len({json.dumps(value, sort_keys=True) for value in values}) == 1


def table(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return runs, the newest first, as the header and the rows of a Markdown table: what is not
    as in the first is bold; a star marks what is `better`. Many knobs that differ share a column.
    """
    columns, good = differing(runs), better(runs)
    header = ["run", "when", *(columns if len(columns) <= MOST else ["knobs"])]
    header += ["validation accuracy", "95 % interval", "validation loss", "training", "times run"]
    rows = []
    for i, run in enumerate(runs):
        cells = {}
        for name, values in columns.items():
            said = [(_escaped(text), apart) for text, apart in _said(values[i], values[0])]
            cells[name] = ", ".join(f"**{text}**" if apart else text for text, apart in said)
        if len(columns) > MOST:
            there = {name: text for name, text in cells.items() if columns[name][i] != MISSING}
            cells = {"knobs": ", ".join(f"{name} {text}" for name, text in there.items())}
        when = _when(run.when, runs[0].when) if i else "newest"
        right = f"{run.correct} of {run.total}"
        right = f"★ {right}" if run in good else right
        figures = [right, run.result.percent(), f"{run.loss:.4f}", f"{run.seconds:.1f} s"]
        rows.append([str(i + 1), when, *cells.values(), *figures, str(run.times)])
    return header, rows


def _when(then: str, newest: str) -> str:
    """A time as this machine's clock shows it, unless it is a minute before the newest."""
    time, end = map(datetime.fromisoformat, (then, newest))
    near = end - time < timedelta(minutes=1)
    return "just before" if near else f"{time.astimezone():%Y-%m-%d %H:%M}"


def labels(runs: Sequence[Run]) -> list[str]:
    """Return in what each of runs differs from the first, as plain text: "EPOCHS 9, SEED 1"."""
    found = [[] for _ in runs]
    for name, values in differing(runs).items():
        for parts, value in zip(found, values, strict=True):
            said = ", ".join(text for text, apart in _said(value, values[0]) if apart)
            parts += [f"{name} {said}"] if said else []
    return [", ".join(parts) for parts in found]


def _said(value: Any, other: Any) -> list[tuple[str, bool]]:
    """A value as short texts, one an entry if both are dicts, and whether the other's differs."""
    if isinstance(value, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*other, *value])
        pairs = [(key, value.get(key, MISSING), other.get(key, MISSING)) for key in keys]
        return [(_shortened(f"{key} {one}"), not same(one, two)) for key, one, two in pairs]
    return [(_shortened(str(value)), not same(value, other))]


def _shortened(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _escaped(text: str) -> str:
    """As Markdown that shows just this: as code what might be taken for a mark or a tag."""
    if re.fullmatch(r"-?[^\W_][\w .,+–-]*[^\W_]…?|[^\W_]|–", text):
        return text
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def _read(path: Path) -> Run | None:
    """A run from its file, if it is there and nothing in it can be but what `remember` wrote."""
    try:
        if not (path.is_file() and path.stat().st_size <= MOST_BYTES):  # a pipe may never answer
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("sha256", None) not in (None, _sum(values)):
            return None
        run = Run(**values)
        when = datetime.fromisoformat(run.when)
        when.astimezone()
        wilson_interval(run.correct, run.total)
        curves = [run.curves[kind] for kind in CURVES]
        numbers = [value for curve in curves for value in curve if value is not None]
        numbers += [run.loss, run.seconds, run.times - 1, len(curves[0]) - 1]
        if (
            path.stem == run.name
            and run.name.startswith(f"{run.notebook}-")
            and when.utcoffset() is not None  # else it compares with no other
            and all(type(value) is TYPES[name] for name, value in values.items())
            and all(type(curve) is list and len(curve) == len(curves[0]) for curve in curves)
            and all(0 <= value < HIGHEST for value in numbers)
            and all(map(str.isidentifier, run.knobs))
        ):
            return run
    except (*DAMAGE, ArithmeticError):
        pass
    return None
