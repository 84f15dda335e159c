"""What the commands share: one sentence for whatever goes wrong, and never a traceback."""

import argparse
import errno
import math
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mobilenet import UserError

VECTORS = "avx", "fma", "amx"  # flags that begin so decide how fast a processor multiplies


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


def run(work: Callable[[], int]) -> int:
    """Do a command's work; returns its exit status, 1 if it stopped at an error."""
    # A name that is no valid text, or a terminal that is not UTF-8, shall not stop the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work()
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
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
