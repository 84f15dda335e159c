"""The classes of photos in a table: labels.csv beside them, or any other CSV file that names them.

The columns are found by their names (file, filename, image, path, name …; label, class, category)
or by what is in them. A photo may be named without its folder and without its suffix; if none is
called just so, in other case or with another suffix. Text is UTF-8, UTF-16 or Western (cp1252).
"""

import codecs
import csv
import io
import re
import unicodedata
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
DELIMITERS = ",;\t"  # or "|", if none of these is in the first line

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
            folder = one.path[: one.path.rfind("/") + 1]
            exact, loose = _finder(photos, folder), _finder(photos, folder, _loosely)
            try:
                text, western = _text(read(one))
            except OSError as error:
                raise UserError(
                    f"{one.path!r} cannot be read ({reason_of(error)}): make it readable, or move "
                    "it away."
                ) from error
            if rows := _rows(one.path, text, exact, loose):
                tables[one.path] = _table(one.path, rows, exact, loose, western)
    called = [path for path in tables if path.rpartition("/")[2].lower().startswith("labels.")]
    if len(tables) > 1 and len(called) != 1:
        first, second, *_ = tables
        raise UserError(
            f"{what} holds two tables that name photos, {first!r} and {second!r}: call the one "
            "with the classes labels.csv."
        )
    return tables[next(iter(called or tables))] if tables else None


def _text(content: bytes) -> tuple[str, bool]:
    """The text of a table, without surrogates, and whether it is a guess: Western (cp1252)."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Excel's "Unicode text"
        return content.decode("utf-16", "replace"), False
    try:
        return content.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace"), True


def _finder(photos: Sequence[str], folder: str, key: Callable[[str], str] = str) -> Finder:
    """A function that gives the photos that a cell may mean: by the path from the table, or by the
    name alone, each with its suffix or without. key: two names are the same if theirs are; if it
    is not str, a photo with another suffix may be meant, too.
    """
    by_path, by_name = defaultdict(set), defaultdict(set)
    for path in photos:
        inside = path.removeprefix(folder)
        for one in map(key, (inside, inside.rpartition(".")[0])):
            by_path[one].add(path)
            by_name[one.rpartition("/")[2]].add(path)

    def find_photos(cell: str) -> set[str]:
        cell = cell.replace("\\", "/").removeprefix("./")
        names = [key(cell)]
        if key is not str and is_meant(why_not(cell)):
            names.append(key(cell.rpartition(".")[0]))
        for name in names:
            if some := by_path.get(name) or by_name.get(name.rpartition("/")[2]):
                return some
        return set()

    return find_photos


def _loosely(name: str) -> str:
    """A name without case, however its accents are composed and its bytes were encoded."""
    western = re.sub(
        "[\udc80-\udcff]", lambda one: bytes([ord(one[0]) & 255]).decode("cp1252", "replace"), name
    )
    return unicodedata.normalize("NFC", western.casefold())


def _rows(path: str, text: str, exact: Finder, loose: Finder) -> _Rows | None:
    """The rows of a table that names photos, without its header; None if it names none."""
    if sep := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):  # Excel's
        text = text[sep.end() :]
    first = text.split("\n", 1)[0]
    bars = "|" in first and not any(one in first for one in DELIMITERS)
    delimiter = sep[1] if sep else "|" if bars else max(DELIMITERS, key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UserError(f"{path!r} is no table of text in columns: mend or remove it.") from error
    rows = [cells for row in rows if any(cells := [cell.strip() for cell in row])]
    width = max(map(len, rows), default=0)
    if width < 2:
        return None
    rows = [row + [""] * (width - len(row)) for row in rows]

    def find_photos(cell: str) -> set[str]:
        return exact(cell) or loose(cell)

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


def _table(path: str, table: _Rows, exact: Finder, loose: Finder, western: bool) -> Table:
    classes, left_out, shown = {}, {}, path if path.isprintable() else ascii(path)
    named = {photo for row in table.rows for photo in exact(row[table.file])}
    other = 0
    for number, row in enumerate(table.rows, 1):
        cell, name = row[table.file], row[table.label]
        some = exact(cell)
        if not some:  # what another row names just so is not meant here
            some = loose(cell) - named
            other += len(some) == 1
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
    said = [f"The classes are those in {shown}"]
    if western:
        said.append("it is not UTF-8, and was read as Western text (cp1252)")
    if other:
        names = "1 name in it differs" if other == 1 else f"{other} names in it differ"
        said.append(f"{names} from the file's in case, suffix or spelling")
    return Table(path, classes, list(left_out.items()), f"{'; '.join(said)}.")
