"""What C++ prints, kept from the user unless it may say why something failed."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO


@contextmanager
def quiet(*expected: type[Exception]) -> Iterator[None]:
    """Keep back what the block prints on standard output, and what C++ prints on either stream.

    It is shown on standard error if the block raises an exception that is none of the expected.
    What Python writes to sys.stderr, a progress bar or a warning, is shown all the same. The
    streams are the whole process's: not for two threads at once.
    """
    printed, streams = StringIO(), (1, 2)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in streams]
    with (
        tempfile.TemporaryFile() as said,
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace") as terminal,
    ):
        for stream in streams:
            os.dup2(said.fileno(), stream)
        shown = terminal if sys.stderr is sys.__stderr__ else sys.stderr
        try:
            with redirect_stdout(printed), redirect_stderr(shown):
                yield
        except expected:
            raise
        except Exception:
            said.seek(0)
            terminal.write(printed.getvalue() + said.read().decode(errors="replace"))
            raise
        finally:
            for stream, old in zip(streams, kept, strict=True):
                os.dup2(old, stream)
                os.close(old)
