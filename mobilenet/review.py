"""Labels reviewed: which ones to doubt, and what was decided, kept in `dataset/corrections.csv`.

The file is the user's, in UTF-8, a line a decision: the sha256 of the photo's bytes, its file and
label as the folders have them, the label decided on, or nothing to leave the photo out. A decision
holds for these bytes, wherever they lie and whatever they are called; no photo is ever touched.
`photos.load_photos` applies it wherever it is called: in the notebooks, `mobilenet.gains` and
`mobilenet.bench`. `mobilenet.train` reads data sets of others, and does not.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mobilenet import ROOT, UserError
from mobilenet.files import alone, replacing

if TYPE_CHECKING:
    from mobilenet.photos import Photos

FILE = ROOT / "dataset" / "corrections.csv"
NAME = "dataset/corrections.csv"
REASON = f"as {NAME} says"  # why a photo is left out


class Decision(NamedTuple):
    """A line of the file. given: the folder the photo lay in. decided: a class, "" for none."""

    sha256: str
    file: str
    given: str
    decided: str


def doubts(p: np.ndarray, labels: np.ndarray, count: int = 18) -> np.ndarray:
    """Positions of the `count` photos whose label is doubted most, the most doubted first: int64.

    p: (N, K), P(class) of each photo by a network that has not learned from it, as
    `solver.cross_validate` gives it; labels: int64 (N,). They are ranked by the P of their label,
    the lowest first: the "self-confidence" of confident learning (Northcutt, Jiang and Chuang 2021,
    arXiv 1911.00068), which is the order of the loss. 18 fill a grid; fewer if there are fewer.
    """
    return np.argsort(p[np.arange(len(labels)), labels], kind="stable")[:count]


def decide(photos: "Photos", decisions: Mapping[str, str | None]) -> None:
    """Write decisions down: file, as in photos.files, → a class name, or None to leave it out.

    Deciding again replaces a decision, deciding for the class of the photo's own folder takes it
    back; what was decided of other photos stays. The photos must come from `load_photos`; load them
    again to have the decisions applied. Raises UserError for a file or a class that is not there,
    for copies of a photo that are decided differently, and if the file cannot be read or written.
    """
    copies = defaultdict(list)
    for file, sha256 in photos.sums.items():
        copies[sha256].append(file)
    for file, label in decisions.items():
        if file not in photos.sums:
            raise UserError(f"No photo is called {file!r}: take the name from photos.files.")
        if label not in (None, *photos.class_names):
            raise UserError(
                f"No class is called {label!r}: decide for one of {', '.join(photos.class_names)}, "
                "or for None to leave the photo out."
            )
        for copy in copies[photos.sums[file]]:
            if decisions.get(copy, label) != label:
                raise UserError(f"{file!r} and {copy!r} are one photo: decide the same for both.")
    with alone(FILE.parent):  # between reading and writing nobody else writes
        before = _read()
        after = dict(before)
        for file, label in decisions.items():
            sha256 = photos.sums[file]
            if {folder_of(copy) for copy in copies[sha256]} == {label}:
                after.pop(sha256, None)
            else:
                after[sha256] = Decision(sha256, file, folder_of(file), label or "")
        if after != before:
            _write(after.values())


def apply(sums: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """The labels, int64 (N,), of photos with these sha256 sums, as decided; -1: to be left out.

    Raises UserError if the file cannot be read, or decides for a class that these photos lack.
    """
    decided, labels = _read(), labels.copy()
    for i, sha256 in enumerate(sums):
        if one := decided.get(sha256):
            if one.decided and one.decided not in class_names:
                raise UserError(
                    f"{NAME} decides {one.decided!r} for {one.file!r}, which is no class here: "
                    f"write one of {', '.join(class_names)}, or delete the line."
                )
            labels[i] = class_names.index(one.decided) if one.decided else -1
    return labels


def folder_of(file: str) -> str:
    """The class whose folder a file of photos.files lies in."""
    return file.partition("/")[0]


# --- The file ---


def _read() -> dict[str, Decision]:
    """The decisions by sha256, in the order of their lines; also as a spreadsheet saves them."""
    try:
        # What is no UTF-8 goes through unharmed; what it spoils is no class, and said to be none.
        text = FILE.read_bytes().decode("utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{NAME} cannot be read ({error.strerror}): make it readable.") from error
    delimiter = max(",;\t", key=text.splitlines()[0].count) if text else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found, lines = {}, {}
    try:
        for number, row in enumerate(rows):
            if number == 0:
                if _cells(row) != list(Decision._fields):
                    _refuse(1, f"must read {','.join(Decision._fields)}")
            elif any(row):
                one = Decision(*_cells(row))
                one = one._replace(sha256=one.sha256.lower())
                if not re.fullmatch("[0-9a-f]{64}", one.sha256):
                    _refuse(rows.line_num, "does not begin with a sha256 of 64 digits")
                if one.sha256 in found:
                    _refuse(rows.line_num, f"is about the photo of line {lines[one.sha256]}")
                found[one.sha256], lines[one.sha256] = one, rows.line_num
    except (csv.Error, TypeError) as error:
        _refuse(rows.line_num, "is not four cells", error)
    return found


def _cells(row: list[str]) -> list[str]:
    """A row without the empty cells that a spreadsheet adds at the end."""
    width = len(Decision._fields)
    return row if any(row[width:]) else row[:width]


def _refuse(line: int, why: str, error: Exception | None = None) -> None:
    raise UserError(f"Line {line} of {NAME} {why}: mend or delete the line.") from error


def _write(decisions: Iterable[Decision]) -> None:
    with (
        replacing(FILE) as new,
        # The mark at the start has Excel read UTF-8.
        new.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        out.write("\ufeff")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([Decision._fields, *decisions])
