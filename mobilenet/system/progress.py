"""A progress bar for a terminal and for a notebook, gone when the work is done; work done ahead."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_QUIET_SECONDS = 1.0  # shorter work shows nothing
_REDRAW_SECONDS = 0.2


def _line(label: str, done: int, total: int | None, seconds: float) -> str:
    if total is None:
        return f"{label} {done}, {seconds:.0f} s"
    total = max(total, done)  # where it was an estimate
    filled = round(24 * done / total)
    left = seconds / done * (total - done) if done else 0.0
    return f"{label} {'█' * filled}{'░' * (24 - filled)} {done}/{total}, {left:.0f} s left"


def _painter():
    """A function that shows a line in place, whatever shows this process's output."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        from IPython.display import display

        handle = display({"text/plain": ""}, raw=True, display_id=True)
        return lambda text: handle.update({"text/plain": text}, raw=True)
    if sys.stderr.isatty():
        return lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    return lambda text: None


def progress(items: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Yield from items while a bar shows how many of total are done and the seconds left; where
    nobody knows the total, how many are done and the seconds so far.

    The bar appears after a second, in a notebook or on a terminal, and is wiped at the end;
    where neither listens (a pipe, a log) nothing is written.
    """
    start = drawn = time.monotonic()
    paint = None
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - start > _QUIET_SECONDS and now - drawn > _REDRAW_SECONDS:
                paint = paint or _painter()
                paint(_line(label, done, total, now - start))
                drawn = now
            yield item
    finally:
        if paint:
            paint("")


def ahead(
    make: Callable[..., T], calls: Iterable[tuple[Any, ...]], count: int = 4, threads: int = 1
) -> Iterator[T]:
    """make(*call) for each of calls, in order, by threads that are up to `count` of them ahead."""
    with ThreadPoolExecutor(threads) as pool:
        ready = deque()
        for call in calls:
            ready.append(pool.submit(make, *call))
            if len(ready) > count:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()
