"""Writing files so that a crash leaves the old one or the new one, never half of either."""

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilenet import UserError

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
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it when the block ends well, else removed.

    Missing folders are made. Raises UserError if the disk does not take the file.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)  # mkstemp's 0600 would shut out others who share the folder
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}): "
            "free some space or make the folder writable."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a file's name that is no UTF-8
        data = json.dumps(value, indent=2).encode()
    with replacing(path) as new:
        new.write_bytes(data + b"\n")
