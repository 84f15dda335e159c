"""Seconds, peak memory, and the machine they were measured on."""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mobilenet import UserError


def peak_memory() -> float | None:
    """The most memory that this process has had so far, in MB, what it had mapped of files among
    it; None where nobody counts it.
    """
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says is no less than what the starting process had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


VECTORS = "avx", "fma", "amx"  # flags that begin so decide how fast a processor multiplies


def machine() -> dict[str, Any]:
    """What a measured time was measured on: processor, those of its flags that decide how fast it
    multiplies, cores, version of Python.
    """
    info, processor, flags = Path("/proc/cpuinfo"), "", []
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
        processor = "".join(names[:1]).strip()
        flags = [line.split(":", 1)[1] for line in lines if line.startswith("flags")]
    return {
        "processor": processor or platform.processor() or platform.machine(),
        "flags": [flag for flag in "".join(flags[:1]).split() if flag.startswith(VECTORS)],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def median_seconds(works: Sequence[Callable[[], object]], repeats: int = 7) -> list[float]:
    """Median wall-clock seconds of each piece of work, after one run that is not timed.

    Every round times each piece once, so that a busy machine slows all of them alike.
    Raises UserError for fewer than five repeats.
    """
    if repeats < 5:
        raise UserError(f"A median of {repeats} repeats says little: take 5 or more.")
    for work in works:
        work()
    seconds = [[] for _ in works]
    for _ in range(repeats):
        for work, times in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return [median(times) for times in seconds]
