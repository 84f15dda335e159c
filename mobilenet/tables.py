"""The classes of photos in a table: labels.csv beside them, or any other CSV file that names them.

The columns are found by their names (file, filename, image, path, name …; label, class, category)
or by what is in them. A photo may be named without its folder and without its suffix.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mobilenet import UserError
from mobilenet.decoding import reason_of, why_not
from mobilenet.folders import FOLDER, HIDDEN, NO_FILE, Found, is_meant

SUFFIXES = (".csv", ".tsv")
FILES = {"file", "filename", "file_name", "filepath", "path", "name", "id"}
FILES |= {"image", "image_id", "image_name", "img", "photo"}
CLASSES = {"label", "class", "category", "labels", "classes", "class_name", "target"}
DELIMITERS = ",;\t"

Finder = Callable[[str], set[str]]


class Table(NamedTuple):
    """What a table says. path: its own. classes: path of a photo → class. left_out: (photo or row,
    reason). said: a sentence about it.
    """

    path: str
    classes: dict[str, str]
    left_out: list[tuple[str, str]]
    said: str


class _Rows(NamedTuple):
    """Rows of cells, and the positions of the columns of files and of classes."""

    rows: list[list[str]]
    file: int
    label: int


def find(what: str, found: Sequence[Found], read: Callable[[Found], bytes]) -> Table | None:
    """The table that names photos among all that was found; None if there is none.

    Raises UserError if there are two, none of them called labels, if the column of classes cannot
    be told, and if one cannot be read.
    """
    photos = [one.path for one in found if is_meant(one.why)]
    tables = {}
    for one in found:
        plain = one.why not in (HIDDEN, FOLDER, NO_FILE)
        if plain and photos and one.path.lower().endswith(SUFFIXES):
            find_photos = _finder(photos, one.path[: one.path.rfind("/") + 1])
            try:
                text = read(one).decode("utf-8-sig", "surrogateescape")
            except OSError as error:
                raise UserError(
                    f"{one.path!r} cannot be read ({reason_of(error)}): make it readable, or move "
                    "it away."
                ) from error
            if rows := _rows(one.path, text, find_photos):
                tables[one.path] = _table(one.path, rows, find_photos)
    called = [path for path in tables if path.rpartition("/")[2].lower().startswith("labels.")]
    if len(tables) > 1 and len(called) != 1:
        first, second, *_ = tables
        raise UserError(
            f"{what} holds two tables that name photos, {first!r} and {second!r}: call the one "
            "with the classes labels.csv."
        )
    return tables[next(iter(called or tables))] if tables else None


def _finder(photos: Sequence[str], folder: str) -> Finder:
    """A function that gives the photos that a cell may mean: by the path from the table, or by the
    name alone, each with its suffix or without.
    """
    by_path, by_name = defaultdict(set), defaultdict(set)
    for path in photos:
        inside = path.removeprefix(folder)
        for one in (inside, inside.rpartition(".")[0]):
            by_path[one].add(path)
            by_name[one.rpartition("/")[2]].add(path)

    def find_photos(cell: str) -> set[str]:
        cell = cell.replace("\\", "/").removeprefix("./")
        return by_path.get(cell) or by_name.get(cell.rpartition("/")[2], set())

    return find_photos


def _rows(path: str, text: str, find_photos: Finder) -> _Rows | None:
    """The rows of a table that names photos, without its header; None if it names none."""
    delimiter = max(DELIMITERS, key=text.split("\n", 1)[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path!r} is no table of text in columns: mend or remove it.") from error
    rows = [cells for row in rows if any(cells := [cell.strip() for cell in row])]
    width = max(map(len, rows), default=0)
    if width < 2:
        return None
    rows = [row + [""] * (width - len(row)) for row in rows]
    hits = [sum(bool(find_photos(row[k])) for row in rows) for k in range(width)]
    header = [cell.lower() for cell in rows[0]]
    named = [k for k in range(width) if header[k] in FILES and hits[k]]
    file = max(named or range(width), key=hits.__getitem__)
    if not hits[file]:
        return None
    labels = [k for k in range(width) if header[k] in CLASSES and k != file]
    # A row that names a photo is no header, be the photo there or not.
    if named or labels or (why_not(rows[0][file]) and not find_photos(rows[0][file])):
        rows = rows[1:]
    if not labels:
        labels = [k for k in range(width) if k != file and (width == 2 or _groups(rows, k))]
    if len(labels) != 1:
        raise UserError(
            f"{path!r} does not say which of its columns is the class: write class above it, and "
            "above no other."
        )
    return _Rows(rows, file, labels[0])


def _groups(rows: list[list[str]], k: int) -> bool:
    """Whether a column is like one of classes: a few texts again and again, and no numbers."""
    counts = Counter(row[k] for row in rows)
    texts = not all(_is_number(cell) for cell in counts)
    return texts and "" not in counts and 2 <= len(counts) <= len(rows) / 2


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _table(path: str, table: _Rows, find_photos: Finder) -> Table:
    classes, left_out, shown = {}, {}, path if path.isprintable() else ascii(path)
    for number, row in enumerate(table.rows, 1):
        cell, name = row[table.file], row[table.label]
        some = find_photos(cell)
        if len(some) != 1:
            there = f"{len(some)} photos are called so" if some else "no photo is called so"
            left_out[cell or f"row {number}"] = f"{shown} names it, and {there}"
            continue
        (photo,) = some
        if not name:
            left_out[photo] = f"{shown} gives it no class"
        elif classes.setdefault(photo, name) != name:
            left_out[photo] = f"{shown} gives it two classes"
    classes = {photo: name for photo, name in classes.items() if photo not in left_out}
    return Table(path, classes, list(left_out.items()), f"The classes are those in {shown}.")
