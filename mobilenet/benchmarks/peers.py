"""What `mobilenet.bench` measures beside its variants: another build of this project, and the usual
recipe with oneDNN on where TensorFlow leaves it off.

Another build is a checkout, perhaps an older one; it runs with its own `.venv` where it has one.
Whatever is compared runs in turns, in processes of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mobilenet import ROOT, UserError

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
ASKS = "from tensorflow.python.util import _pywrap_util_port as port; print(port.IsMklEnabled())"


class Peer(NamedTuple):
    """Who runs: its name, what `one_run` is to run, in which checkout, and with what in its
    environment besides.
    """

    name: str
    run: str
    root: Path = ROOT
    told: tuple[tuple[str, str], ...] = ()

    def module(self) -> str:
        """What it calls `one_run`, by whether it is of a time before rooms."""
        old = self.root / "mobilenet" / "bench_run.py"
        return "mobilenet.bench_run" if old.is_file() else "mobilenet.benchmarks.one_run"

    def python(self) -> str:
        """Its interpreter."""
        own = self.root / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        return str(own) if own.exists() else sys.executable


def usual(name: str) -> list[Peer]:
    """The usual recipe, by this name, with oneDNN as TensorFlow chooses on this processor; with it
    on besides, where TensorFlow leaves it off.
    """
    env = {name: value for name, value in os.environ.items() if name != ONEDNN}
    line = [sys.executable, "-c", ASKS]
    said = subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout
    on = Peer(name, "usual", told=((ONEDNN, "1"),))
    off = on._replace(told=((ONEDNN, "0"),))
    return [on] if "True" in said else [off, on._replace(name=f"{name}, oneDNN on")]


def other(folder: Path) -> Peer:
    """The build in a folder. Raises UserError if there is none that can be measured."""
    peer = Peer("other build, defaults", "defaults", folder.resolve())
    if not (peer.root / f"{peer.module().replace('.', '/')}.py").is_file():
        raise UserError(f"{folder} is no checkout of this project: name the folder of one.")
    return peer


def ways(variants: dict[str, str], against: Path | None) -> dict[str, Peer]:
    """Who runs in each round, by a short name: the variants, by theirs, then whatever else is
    compared with this project's defaults. Raises UserError for a folder that is no checkout.
    """
    more = {"other": other(against)} if against else {}
    found = {variant: Peer(name, variant) for variant, name in variants.items()}
    found["usual"], *forced = usual(variants["usual"])
    if forced:
        (found["usual_onednn"],) = forced
    return found | more


def commands(
    builds: Sequence[Peer], photos: Path, model: Path, place: Path, told: dict[str, str]
) -> list[dict[str, Any]]:
    """A round of what a user gives as commands: for each build and command its seconds and, where
    the system counts it, its peak memory in MB.

    photos: a folder of photos. place: features are made there. Raises UserError if one fails.
    """
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    predict = ["mobilenet.predict", "--model", str(model)]
    asked = {
        "one photo": [*predict, str(files[0])],
        f"{len(files)} photos": [*predict, str(photos)],
        f"features of {len(files)}": ["mobilenet.extract", str(photos), "--out"],
    }
    found = []
    for name, line in asked.items():
        for i, build in enumerate(builds):
            where = [str(place / f"parts-{i}")] if line[-1] == "--out" else []
            row = {"build": build.name, "command": name}
            found.append(row | timed(build, [*line, *where], told))
    return found


def timed(build: Peer, arguments: Sequence[str], told: dict[str, str]) -> dict[str, float]:
    """Seconds and peak memory of a command of a build. Raises UserError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [build.python(), "-m", *arguments],
        cwd=build.root,
        env=told,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    said, found = process.stderr.read(), {}
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found["memory"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    code, found["seconds"] = process.wait(), time.perf_counter() - start
    if code:
        raise UserError(f"{arguments[0]} of {build.name} stopped: {reason(said)}.")
    return found


def reason(said: str) -> str:
    """Why a process stopped, by what it said on standard error; without the full stop."""
    lines = said.strip().splitlines() or ["it was ended, often for want of memory"]
    return lines[-1].removeprefix("error: ").rstrip(".")
