"""What C++ prints and Ctrl-C, kept away while they would do harm."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from io import StringIO


@contextmanager
def quiet(*expected: type[Exception], streams: Sequence[int] = (1, 2)) -> Iterator[None]:
    """Keep back what C++ prints on these file descriptors while the block runs, and what Python
    prints on standard output if that is one of them.

    It is shown on standard error if the block raises an exception that is none of the expected.
    What Python writes to sys.stderr, a progress bar or a warning, is shown all the same. The
    streams are the whole process's: not for two threads at once.
    """
    printed, kept = StringIO(), {}
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    for stream in streams:
        with suppress(OSError):  # it is closed
            kept[stream] = os.dup(stream)
    with (
        tempfile.TemporaryFile() as said,
        os.fdopen(os.dup(2), "w", 1, encoding="utf-8", errors="backslashreplace") as terminal,
    ):
        for stream in kept:
            os.dup2(said.fileno(), stream)
        shown = terminal if sys.stderr is sys.__stderr__ else sys.stderr
        try:
            with (
                redirect_stdout(printed) if 1 in streams else nullcontext(),
                redirect_stderr(shown),
            ):
                yield
        except expected:
            raise
        except Exception:
            said.seek(0)
            terminal.write(printed.getvalue() + said.read().decode(errors="replace"))
            raise
        finally:
            for stream, old in kept.items():
                os.dup2(old, stream)
                os.close(old)


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
