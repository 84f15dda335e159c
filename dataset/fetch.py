"""Fetch the 327 real photos into dataset/photos/: `make photos`, or `python dataset/fetch.py`.

photos.csv lists them with their sha256; README.md says whose they are. They are gathered beside
it, in .photos-partial/, which becomes photos/ when all are right, so that nothing learns from half
of them. A run that was interrupted goes on where it stopped.
"""

import csv
import hashlib
import multiprocessing.pool
import os
import re
import shutil
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from mobilenet import UserError  # noqa: E402 (found by the line above)
from mobilenet.system import command  # noqa: E402
from mobilenet.system.files import replacing  # noqa: E402
from mobilenet.system.progress import progress  # noqa: E402

BASE = "https://raw.githubusercontent.com/jungsoh/tl-mobilenetv2-alpaca-vs-nonalpaca-classification"
BASE += "/4d18dff329fa0b3d8ee92c4e7e28e6836fe365d7/"  # the commit
AT_ONCE, TRIES = 8, 3
MOST_BYTES = 20_000_000  # a photo is held in memory
# Names that mean one plain file on any system: no separator, drive, device or hidden file.
NAME = r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[a-z0-9_]([a-z0-9_. -]{0,98}[a-z0-9_-])?"


class Photo(NamedTuple):
    """A row of the manifest: where the photo comes from, where it goes to, and what it is."""

    source: str
    file: Path  # class folder and name
    bytes: int
    sha256: str

    def fault(self, data: bytes) -> str | None:
        """What is wrong with these bytes, None if nothing."""
        right = hashlib.sha256(data).hexdigest() == self.sha256
        return None if right else f"wrong bytes came, or only some ({len(data)} of {self.bytes})"

    def is_in(self, folder: Path) -> bool:
        """Whether it lies in a folder of class folders, byte for byte."""
        return (path := folder / self.file).is_file() and not self.fault(path.read_bytes())


def read_manifest(path: Path) -> list[Photo]:
    """The photos that a manifest lists. Raises UserError that names the row if one is no photo."""
    photos, source = {}, ""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                source, label, size = row["path"], row["label"], int(row["bytes"])
                name, parts = source.rpartition("/")[2], [label, *source.split("/")]
                plain = all(re.fullmatch(NAME, part, re.ASCII | re.I) for part in parts)
                key = f"{label}/{name}".lower()  # on many disks case alone makes no other file
                if not plain or key in photos or not 0 < size <= MOST_BYTES:
                    raise ValueError
                photos[key] = Photo(source, Path(label, name), size, row["sha256"])
        if not photos:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{path.name} is no list of photos, see {source!a}: restore it.") from error
    return list(photos.values())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https, and those that stay on a site (which is plain http in tests)."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()  # else it would be read to its end, however far that is
        new = urlsplit(newurl)
        if new.scheme != "https" and new[:2] != urlsplit(req.full_url)[:2]:
            raise URLError("redirected to a place that is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """What the threads of one download share; `run` is the download."""

    def __init__(self, base: str, folder: Path, seconds: float):
        self.base, self.folder, self.seconds = base, folder, seconds
        self.opener = urllib.request.build_opener(_Redirects)
        self.answered, self.heard = False, time.monotonic()  # whether ever; when last
        self.fault = "silence"  # of the latest try that failed
        self.stopped, self.writing = threading.Event(), threading.Lock()

    def run(self, photos: list[Photo]) -> Iterator[str | None]:
        """For each photo, as they come, None or why it is missing; UserError if none answers."""
        done = lost = 0
        # The threads of concurrent.futures would hold up the end of the process after Ctrl-C.
        with multiprocessing.pool.ThreadPool(AT_ONCE) as pool:
            try:
                results = pool.imap_unordered(self.get, photos)
                while done < len(photos):
                    with suppress(multiprocessing.TimeoutError):
                        fault = results.next(timeout=0.2)  # Windows heeds Ctrl-C in between only
                        done, lost = done + 1, lost + bool(fault)
                        yield fault
                    patience = self.seconds * (TRIES + 2 if self.answered else 1)
                    silent = time.monotonic() > self.heard + patience and done < len(photos)
                    if silent or (lost and not self.answered):
                        why = f"{urlsplit(self.base).hostname} does not answer ({self.fault})"
                        raise UserError(f"{why}: connect to a network and run this again.")
            finally:
                with self.writing:  # the file that is being written gets whole, no other is begun
                    self.stopped.set()

    def get(self, photo: Photo) -> str | None:
        """Fetch a photo unless it is there. Returns None or why it is missing."""
        path = self.folder / photo.file
        real = Path(os.path.realpath(self.folder.parent), self.folder.name, photo.file)
        if Path(os.path.realpath(path)) != real:
            raise UserError(f"{str(path)!r} leads elsewhere by a link: remove the link.")
        if photo.is_in(self.folder):
            self.heard = time.monotonic()
            return None
        for attempt in range(TRIES):
            if self.stopped.wait(attempt * self.seconds / 8):
                return "stopped"
            data = self.read(photo)
            fault = data if isinstance(data, str) else photo.fault(data)
            self.fault = fault or self.fault
            if not fault:
                with self.writing:
                    if not self.stopped.is_set():
                        with replacing(path) as new:
                            new.write_bytes(data)
                return None
        return f"{photo.source}: {fault}"

    def read(self, photo: Photo) -> bytes | str:
        """What the site sends for a photo, one byte too many at most; or why it sends nothing."""
        data, url = b"", self.base + quote(photo.source)
        try:
            with self.opener.open(url, timeout=self.seconds) as response:
                self.answered, self.heard = True, time.monotonic()
                while chunk := response.read1(min(65536, photo.bytes + 1 - len(data))):
                    self.heard = time.monotonic()
                    data += chunk
            return data
        except HTTPError as error:
            self.answered, self.heard = True, time.monotonic()
            return f"HTTP status {error.code}"
        # All else that a server can bring about; ValueError is a redirect to what is no address.
        except (OSError, HTTPException, ValueError) as error:
            fault = str(getattr(error, "reason", error)) or type(error).__name__
            return "".join(c for c in fault if c.isprintable())


def fetch(base: str, folder: Path, manifest: Path, seconds: float = 8.0) -> int:
    """Fetch the photos of a manifest, each from base + path, into a folder; says so, returns 0.

    The folder appears when it is complete; one that is there stays as it is. `seconds` is how long
    a silent server is waited for. Raises UserError if a photo is missing at the end (stderr says
    why, a line each), if the site does not answer, or if the folder holds anything else.
    """
    photos = read_manifest(manifest)
    partial = folder.with_name(f".{folder.name}-partial")
    try:
        if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
            results = _Download(base, partial, seconds).run(photos)
            missing = [fault for fault in progress(results, len(photos), "Photos") if fault]
            if missing:
                print(*missing, sep="\n", file=sys.stderr)
                count = f"{len(missing)} of {len(photos)}"
                raise UserError(f"{count} photos are missing: run this again for these alone.")
            with suppress(OSError):
                folder.rmdir()  # empty, if it is there: Windows does not rename over it
            partial.rename(folder)
        elif not all(photo.is_in(folder) for photo in photos):
            raise UserError(f"{folder} holds other photos: move it away and run this again.")
    except (UserError, OSError):
        # Another process may have been faster and have renamed the folder under this one.
        if not all(photo.is_in(folder) for photo in photos):
            raise
        shutil.rmtree(partial, ignore_errors=True)
    for left in folder.rglob(".new-*"):  # by a process killed, or overtaken, while it wrote
        with suppress(OSError):
            left.unlink()
    print(f"All {len(photos)} photos are in {folder}.")
    return 0


if __name__ == "__main__":
    command.Parser("python dataset/fetch.py", __doc__.splitlines()[0]).parse_args()
    code = command.run(lambda: fetch(BASE, HERE / "photos", HERE / "photos.csv"))
    sys.stdout.flush()
    os._exit(code)  # threads may still wait for a server; taking Python down under them can crash
