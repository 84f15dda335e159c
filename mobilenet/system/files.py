"""Writing files so that a crash leaves the old one or the new one, never half of either.

What a writer that was killed leaves half written is removed by the next one in that folder. A
writer holds a lock on its file, which ends with the process, so nobody takes what is in progress.
"""

import json
import os
import re
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError

try:
    import fcntl
except ImportError:  # Windows; there, two who should wait for each other do not
    fcntl = None

UNFINISHED = re.compile(r"\.new-[a-z0-9_]{8}(\.\w+)?")  # as tempfile names them
DAY = 86_400  # seconds
# What Keras, HDF5, NumPy and zipfile raise on damaged files.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def replacing(path: Path, sweep: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it when the block ends well, else removed.

    Missing folders are made. sweep: whether to remove what killed writers left, which takes
    a tenth of a second where there are tens of thousands of files. Raises UserError if the disk
    does not take the file.
    """
    temporary = handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sweep:
            _sweep(path.parent)
        handle, temporary = _begin(path)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # swept later
                temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


class _Tried(Exception):
    pass


def try_out(path: Path) -> None:
    """Raise UserError if `replacing` could not write this file, which stays as it is."""
    if path.is_dir():
        raise _unwritten(path, IsADirectoryError("Is a directory"))
    with suppress(_Tried), replacing(path, sweep=False):
        raise _Tried


def _begin(path: Path) -> tuple[int | None, Path]:
    """A new file beside path, and a handle that holds a lock on it as long as it is open."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=path.suffix)
        # mkstemp's 0600 would shut out others who share the folder.
        if fcntl is None:
            os.chmod(name, 0o644)
            os.close(handle)  # Windows moves nothing that is open
            return None, Path(name)
        os.fchmod(handle, 0o644)  # by its handle: another writer may sweep it before it is locked
        with suppress(OSError):  # some network disks know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # swept before it was locked


def _sweep(folder: Path) -> None:
    """Remove what writers left that were killed: nobody holds its lock. Where there are no locks,
    it is what nobody has touched for a day.
    """
    for left in folder.iterdir():
        if UNFINISHED.fullmatch(left.name):
            with suppress(OSError):  # it is being written, or another user's, or gone
                if fcntl is None:
                    if left.stat().st_mtime < time.time() - DAY:
                        left.unlink()
                    continue
                handle = os.open(left, os.O_RDWR)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
                finally:
                    os.close(handle)


def _unwritten(path: Path, error: OSError) -> UserError:
    todo = "free some space or make the folder writable"
    exists = isinstance(error, FileExistsError)  # also where a folder was removed as it was made
    if isinstance(error, NotADirectoryError) or (exists and Path(error.filename or path).is_file()):
        todo = "move the file away that stands in the place of a folder"
    elif isinstance(error, FileNotFoundError) or exists:
        todo = "its folder was removed meanwhile, so run this again"
    elif isinstance(error, IsADirectoryError):
        todo = "move the folder of that name away"
    return UserError(f"{path} could not be written ({error.strerror or error}): {todo}.")


@contextmanager
def alone(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder, made if need be. Yields whether it was free; who waits gets it.

    Where the system or the disk knows no locks, everyone gets it. Raises UserError if the folder
    cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritten(folder, error) from error
    free = True
    try:
        if handle is not None:
            with suppress(OSError):  # some network disks know no locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    free = False
        yield free
    finally:
        if handle is not None:
            os.close(handle)


def read_arrays(path: Path) -> list[np.ndarray]:
    """The arrays of an .npz file, in their order. Raises one of DAMAGE unless each of its bytes is
    what was written.
    """
    with zipfile.ZipFile(path) as archive:
        if archive.testzip():
            raise ValueError
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a file's name that is no UTF-8
        data = json.dumps(value, indent=2).encode()
    with replacing(path) as new:
        new.write_bytes(data + b"\n")
