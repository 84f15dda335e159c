"""Arrays kept in files below build/, so that what was computed once is found again.

A file is named by a digest of all that decides what is in it, and written whole or not at all. To
be read it is mapped into memory, so that what is not asked for takes none, and more of it than
the memory holds does no harm. After the array, in JSON, stand a note and the sha256 of the name and
both, so that neither damage nor another array's file is taken for it.
"""

import hashlib
import io
import json
import math
import mmap
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from mobilenet import BUILD
from mobilenet.system.files import DAMAGE, replacing
from mobilenet.system.progress import progress

FOLDER = BUILD / "cache"
LIMIT = 4_000_000_000  # bytes; above it the files not in use and not asked for longest are removed
CHUNK = 1 << 20  # bytes
_whole = {}  # what tells whether a file was touched since this process found it to be whole
_mapped = WeakKeyDictionary()  # of what this process has mapped, the file


class Rows:
    """Some rows of an array in some order, read when they are asked for.

    rows[key] is a NumPy array, key a position, a slice, a mask or an array of positions;
    np.asarray(rows) is all of them.
    """

    def __init__(self, array: np.ndarray, index: np.ndarray, name: str):
        self.array, self.index, self.name = array, index, name
        self.shape, self.dtype = (len(index), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.array(self.array[self.index[key]])
        let_go(self.array)
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def take(self, index: np.ndarray) -> "Rows":
        """The rows at these positions, in this order."""
        return Rows(self.array, self.index[index], self.name)


def digest(array: np.ndarray | Rows) -> str:
    """The sha256 of what is in an array, in hexadecimal; of rows, of which rows of what they are,
    which takes no time.
    """
    if isinstance(array, Rows):
        return hashlib.sha256(array.name.encode() + np.int64(array.index).tobytes()).hexdigest()
    found = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def let_go(array: np.ndarray) -> None:
    """Give back the memory that reading a mapped array took; read again, it is mapped again."""
    mapped = getattr(array, "_mmap", None)
    if hasattr(mapped, "madvise"):  # Windows takes it back by itself
        mapped.madvise(mmap.MADV_DONTNEED)


def path(name: str) -> Path:
    """The file in which the array of this name is kept."""
    return FOLDER / f"{name}.npy"


def read(name: str) -> tuple[np.ndarray, Any]:
    """An array that `write` kept, mapped and read-only, and the note. Raises one of `files.DAMAGE`
    if it is not there or, which is printed, not as it was written.
    """
    file = path(name)
    with file.open("rb") as whole:
        try:
            found = _checked(name, whole)
        except OSError:
            raise
        except DAMAGE:
            print(f"{FOLDER.name}/{file.name} is damaged or of another version: it is made anew.")
            raise
        with suppress(OSError):  # where nothing may be written
            now = time.time_ns()  # finer than the disk's clock, so that a later change shows
            os.utime(file, ns=(now, now))  # the last to go
        _whole[file] = _state(whole)
    _mapped[found[0]._mmap] = file
    return found


def _checked(name: str, whole: Any) -> tuple[np.ndarray, Any]:
    """The array and the note of an open file, whose every byte is what was written."""
    if np.lib.format.read_magic(whole) != (1, 0):
        raise ValueError
    shape, _, dtype = np.lib.format.read_array_header_1_0(whole)
    start, state = whole.tell(), _state(whole)
    end = start + math.prod(shape) * dtype.itemsize
    if not start <= end <= state[1]:
        raise ValueError
    whole.seek(end)
    said = json.loads(whole.read())
    if _whole.get(path(name)) != state:
        whole.seek(0)
        found = _sha256(whole, end)
        found.update(json.dumps([name, said["note"]]).encode())
        if said["sha256"] != found.hexdigest():
            raise ValueError
    return np.memmap(whole, dtype, "r", start, shape), said["note"]


def _state(whole: Any) -> tuple[int, int, int]:
    about = os.fstat(whole.fileno())
    return about.st_ino, about.st_size, about.st_mtime_ns


def _sha256(file: Any, end: int) -> Any:
    """Of the first bytes of an open file, to be updated further."""
    found = hashlib.sha256()
    starts = range(0, end, CHUNK)
    for start in progress(starts, len(starts), "Kept files"):
        found.update(file.read(min(CHUNK, end - start)))
    return found


def write(
    names: Sequence[str],
    leading: tuple[int, ...],
    batches: Iterable[Sequence[np.ndarray]],
    note: Any = None,
) -> None:
    """Keep an array for each of names, atomically; then remove the oldest others above LIMIT.

    batches: of each array some rows more, until its leading axes have these lengths. note: what
    JSON can hold; it may be filled while the batches are made. Raises UserError if the disk does
    not take the files.
    """
    with ExitStack() as stack:
        new = [stack.enter_context(replacing(path(name))) for name in names]
        outs = [stack.enter_context(file.open("wb")) for file in new]
        sums = [hashlib.sha256() for _ in names]
        for k, parts in enumerate(batches):
            for out, digest, part in zip(outs, sums, parts, strict=True):
                data = (b"" if k else _header(part, leading)) + part.tobytes()
                out.write(data)
                digest.update(data)
        for name, out, digest in zip(names, outs, sums, strict=True):
            digest.update(json.dumps([name, note]).encode())
            out.write(json.dumps({"note": note, "sha256": digest.hexdigest()}).encode())
    _forget({path(name) for name in names})


def _header(part: np.ndarray, leading: tuple[int, ...]) -> bytes:
    """What an .npy file begins with whose array goes on as this part does."""
    header = io.BytesIO()
    shape = (*leading, *part.shape[1:])
    descr = np.lib.format.dtype_to_descr(part.dtype)
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


def _forget(keep: set[Path]) -> None:
    """Remove the files that were not asked for longest above LIMIT, but not those to keep nor what
    this process has mapped: it would make room on no disk, and work that goes on asks for it again.
    """
    keep, files = keep.union(_mapped.values()), []
    for file in FOLDER.glob("[!.]*.npy"):  # without what others are writing
        with suppress(OSError):  # another notebook may do the same
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total > LIMIT and file not in keep:
            with suppress(OSError):  # Windows does not remove what is mapped
                file.unlink()
                total -= size
