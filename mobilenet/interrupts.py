"""Ctrl-C at a moment that it must not fall into."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held() -> Iterator[None]:
    """Put an interrupt (SIGINT) off until the block is done.

    For imports of large libraries: one that is broken off cannot be taken up again in the same
    process, so that a notebook's kernel would have to be restarted.
    """
    came = []
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield  # another's handler, or a thread, which no interrupt reaches
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
