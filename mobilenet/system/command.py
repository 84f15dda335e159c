"""What the commands share: one sentence for whatever goes wrong, and never a traceback."""

import argparse
import errno
import math
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from mobilenet import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser that says in one line what is wrong; program is how it is called."""

    def __init__(self, program: str, description: str):
        super().__init__(prog=program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with exit status 2."""
        print(f"{self.prog}: {message}.", file=sys.stderr)
        sys.exit(2)


def number(kind: type, least: float, most: float) -> Callable[[str], Any]:
    """A type for an argument: a number of this kind from `least` to `most`."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text} is not {what} from {least:,} to {most:,}")
        return value

    return read


def run(work: Callable[[], int]) -> int:
    """Do a command's work; returns its exit status, 1 if it stopped at an error."""
    # A name that is no valid text, or a terminal that is not UTF-8, shall not stop the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work()
        if sys.stdout is not None:  # a process may have none
            sys.stdout.flush()  # here, where an error can still be said
        return code
    except BrokenPipeError:  # the reader, `head` perhaps, has had enough
        _drop_output()
        return 0
    except KeyboardInterrupt:
        _drop_output()
        return 130
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename} cannot be read or written: " if error.filename else ""
        todo = ": free some space" if error.errno == errno.ENOSPC else ""
        print(f"error: {where}{error.strerror or error}{todo}.", file=sys.stderr)
        _drop_output()
        return 1


def _drop_output() -> None:
    """Send what is left in the buffer nowhere, else Python complains about it when it exits."""
    if sys.stdout is None:
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: object) -> str:
    """A text in one line, with no code in it that a terminal or a notebook would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
