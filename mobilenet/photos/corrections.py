"""Corrections of labels: what was decided about them, stored in `dataset/corrections.csv`.

The file is the user's, in UTF-8, one decision a line: the sha256 of the photo's bytes, its file,
the class of its folder, and the class decided on, or nothing to leave the photo out. A decision
belongs to these bytes, whatever the file is called and wherever it is; no photo is changed or
moved. `loading.load_photos` applies decisions wherever it is called: in the notebooks,
`mobilenet.gains` and `mobilenet.bench`. `mobilenet.train` reads data sets of others and ignores
them.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mobilenet import ROOT, UserError
from mobilenet.photos.photos import Photos
from mobilenet.system.files import alone, replacing

FILE = ROOT / "dataset" / "corrections.csv"
NAME = "dataset/corrections.csv"
REASON = f"as {NAME} says"  # why a photo is left out


class Decision(NamedTuple):
    """A line of the file. given: the class of the photo's folder. decided: a class, or "" to leave
    the photo out.
    """

    sha256: str
    file: str
    given: str
    decided: str


def decide(photos: Photos, decisions: Mapping[str, str | None]) -> None:
    """Store decisions, each a file, as in photos.files, → a class name, or None to leave it out.

    A new decision replaces an earlier one for the same photo; deciding for the class of the photo's
    own folder takes it back; decisions for other photos stay. The photos must come from
    `load_photos`; load them again to apply the decisions. Raises UserError for a file or class that
    does not exist, for copies of one photo that are decided differently, and if the file cannot be
    read or written.
    """
    copies = _checked(photos, decisions)
    with alone(FILE.parent):  # no other process writes between reading and writing
        before = _read()
        after = dict(before)
        for file, label in decisions.items():
            sha256 = photos.sums[file]
            if {photos.folder_classes[copy] for copy in copies[sha256]} == {label}:
                after.pop(sha256, None)
            else:
                given = photos.folder_classes[file]
                after[sha256] = Decision(sha256, file, given, label or "")
        if after != before:
            _write(after.values())


def _checked(photos: Photos, decisions: Mapping[str, str | None]) -> dict[str, list[str]]:
    """The files with each sha256, after checking that decisions make sense for these photos."""
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
    return copies


def apply(sums: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Return the labels as decided, int64 (N,), of photos with these sha256 sums; -1 means that a
    photo is left out.

    Raises UserError if the file cannot be read or names a class that these photos do not have.
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


# --- The file ---


def _read() -> dict[str, Decision]:
    """Return the decisions by sha256, in the order of their lines, also if a spreadsheet saved
    them.
    """
    try:
        # Bytes that are not UTF-8 are kept; a name they spoil is reported as no class.
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
    """Return a row without the empty cells that a spreadsheet adds at the end."""
    width = len(Decision._fields)
    return row if any(row[width:]) else row[:width]


def _refuse(line: int, why: str, error: Exception | None = None) -> None:
    raise UserError(f"Line {line} of {NAME} {why}: mend or delete the line.") from error


def _write(decisions: Iterable[Decision]) -> None:
    with (
        replacing(FILE) as new,
        # With this mark at the start, Excel reads the file as UTF-8.
        new.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        out.write("\ufeff")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([Decision._fields, *decisions])
