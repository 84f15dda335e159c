"""Files in folders: finding each of them once, and saying of each whether it is a photo to be read.

Every file is a photo to be read, or hidden, or there is a reason why it is left out. Hidden is what
begins with a dot (`.DS_Store`, `._x.jpg`, `.ipynb_checkpoints`) or was left by other programs
(`__MACOSX`, `Thumbs.db`), with all that is in it. Links to folders are followed, each real folder
once: it counts where it lies by itself, else where the first link leads to it. Nothing here opens a
file.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mobilenet import UserError
from mobilenet.photos.decoding import NO_PHOTO, reason_of, why_not

HIDDEN, FOLDER = "hidden", "a folder"  # why something that is found is no file to speak of
NO_FILE = f"{NO_PHOTO} but a link, a pipe, a socket or a device"
LEFT = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # by archivers and Windows
SPLITS = ("train", "val", "test")  # of a split
CALLED = re.compile(
    r"(?:(?:images?|photos?|data|dataset|set)[ _-]?)?"
    r"(?:(train(?:ing)?)|(val(?:id(?:ation)?)?)|(test(?:ing)?))"
    r"(?:[ _-]?(?:images?|photos?|data|dataset|set))?",
    re.IGNORECASE,
)
SHOWN = 10  # files of a kind that are named


class Found(NamedTuple):
    """Something in a folder. path: below it, with forward slashes. why: "" for a photo that may be
    read; HIDDEN; FOLDER; else the reason why it is left out. at: what it is opened by, if it is in
    a folder its path.
    """

    path: str
    why: str
    at: Any = None


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in LEFT


def part_called(name: str) -> str:
    """The part of a split that a folder of this name is, as "val" for Validation_set, or ""."""
    called = CALLED.fullmatch(name)
    return SPLITS[called.lastindex - 1] if called else ""


def is_meant(why: str) -> bool:
    """Whether what was found is meant as a photo, whether it can be read or not."""
    return not why or not (why in (HIDDEN, FOLDER) or why.startswith(NO_PHOTO))


def walk(folder: Path | str) -> Iterator[Found]:
    """All that is below a folder, sorted: the files in it, then each folder with what is in it.

    Nothing is waited for; a link to nowhere is named when it is read. Takes the memory of the names
    in one folder. Raises UserError if a folder cannot be read, unless it is hidden.
    """
    root = os.path.realpath(folder)
    seen, waiting = set(), [("", os.fspath(folder), root, False, False)]
    while waiting:
        inside, place, real, linked, hidden = waiting.pop()
        if real in seen or (linked and _lies_in(root, real)):
            continue
        seen.add(real)
        try:
            files, odd, folders = _scan(place)
        except OSError as error:
            if hidden:
                continue
            # Photos that cannot be seen must not pass for absent.
            raise UserError(
                f"The folder {place!r} cannot be read ({reason_of(error)}): make it readable, or "
                "name another, and run this again."
            ) from error
        if inside and not hidden:
            yield Found(inside[:-1], FOLDER)
        before = os.path.join(place, "")
        for name in files:
            why = HIDDEN if hidden or is_hidden(name) else why_not(name)
            if name in odd and why != HIDDEN:
                why = _why_odd(before + name) or why
            yield Found(inside + name, why, before + name)
        for name, link in folders:
            there = os.path.realpath(before + name) if link else os.path.join(real, name)
            one = f"{inside}{name}/", before + name, there, linked or link
            if not (hidden or is_hidden(name)):
                waiting.append((*one, False))
            elif not link:
                waiting.insert(0, (*one, True))  # looked at last, since a link may lead there


def _scan(place: str) -> tuple[list[str], set[str], list[tuple[str, bool]]]:
    """The names in a folder, sorted: of files; of those of them that are not plain ones; and of
    folders, backwards, and whether each is a link.
    """
    files, odd, folders = [], set(), []
    with os.scandir(place) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                if _is_folder(entry):
                    link = entry.is_symlink() or getattr(entry, "is_junction", bool)()
                    folders.append((entry.name, link))
                    continue
                odd.add(entry.name)
            files.append(entry.name)
    return sorted(files), odd, sorted(folders, reverse=True)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a loop
        return False


def _lies_in(root: str, real: str) -> bool:
    """Whether a real folder is the root or is found below it without a link."""
    root, real = os.path.join(root, ""), os.path.join(real, "")
    return real.startswith(root) and not any(map(is_hidden, real[len(root) :].split(os.sep)))


def _why_odd(path: str) -> str:
    try:
        return "" if stat.S_ISREG(os.stat(path).st_mode) else NO_FILE  # it may never answer
    except OSError:  # a link to nowhere is named when it is read
        return ""


def list_photos(folder: Path) -> Iterator[Path]:
    """Paths of the photos below a folder that may be read, in the order of `walk`. Raises UserError
    if a folder cannot be read.
    """
    return (folder / found.path for found in walk(folder) if not found.why)


def files(count: int) -> str:
    """So many files, in words: "1 file", "3 files"."""
    return "1 file" if count == 1 else f"{count} files"


def told(names: list[str]) -> str:
    """The first SHOWN names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def beside(left_out: Iterable[tuple[Any, str]], hidden: int) -> str:
    """A sentence on what lies beside photos: files that are none, some by name, and how many are
    hidden; "" if there are none.
    """
    names, said = [str(file) for file, why in left_out if why.startswith(NO_PHOTO)], []
    if names:
        what = "file that is no photo" if len(names) == 1 else "files that are no photos"
        said.append(f"{len(names)} {what} ({told(names)})")
    if hidden:
        said.append(f"{hidden} hidden file{'' if hidden == 1 else 's'}")
    return f"Passed over: {' and '.join(said)}." if said else ""


def in_words(left_out: Sequence[tuple[str, str]], hidden: int) -> list[str]:
    """Lines that name what is not used, by reason, some of each, and say what lies beside."""
    by_why = {}
    for file, why in left_out:
        if is_meant(why):
            by_why.setdefault(why, []).append(file)
    lines = [f"  left out: {told(files)} ({why})" for why, files in by_why.items()]
    if len(lines) > SHOWN:
        more = sum(map(len, list(by_why.values())[SHOWN:]))
        lines[SHOWN:] = [f"  left out: {more} more"]
    if said := beside(left_out, hidden):
        lines.append(said)
    return lines


class Inputs(NamedTuple):
    """What files and folders mean. photos: in their order; a folder without any stands for itself,
    so that it is named among what cannot be read. left_out: (file, reason) for what else is in the
    folders, but for hidden files, which are counted.
    """

    photos: list[Path]
    left_out: list[tuple[Path, str]]
    hidden: int


def find(paths: list[Path]) -> Inputs:
    """What these files and folders mean. Raises UserError if a folder cannot be read."""
    photos, left_out, hidden = [], [], 0
    for path in paths:
        below = list(walk(path)) if path.is_dir() else []
        photos += [path / one.path for one in below if not one.why]
        if not any(is_meant(one.why) for one in below):
            photos.append(path)
        hidden += sum(one.why == HIDDEN for one in below)
        kinds = ("", HIDDEN, FOLDER)
        left_out += [(path / one.path, one.why) for one in below if one.why not in kinds]
    return Inputs(photos, left_out, hidden)
