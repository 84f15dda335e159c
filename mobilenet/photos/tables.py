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
from mobilenet.photos.decoding import reason_of, why_not
from mobilenet.photos.folders import FOLDER, HIDDEN, NO_FILE, SPLITS, Found, is_meant, part_called
from mobilenet.system.command import printable

SUFFIXES = (".csv", ".tsv")
FILES = {"file", "filename", "file_name", "filepath", "path", "name", "id"}
FILES |= {"image", "image_id", "image_name", "img", "photo"}
CLASSES = {"label", "class", "category", "labels", "classes", "class_name", "target"}
SPLIT_COLUMNS = {"split", "set", "subset", "part", "partition"}
DELIMITERS = ",;\t"  # or "|", if none of these is in the first line

Finder = Callable[[str], set[str]]


class Table(NamedTuple):
    """What a table says. path: its own. classes: path of a photo → class; if there are none, the
    table is of no use. parts: path of a photo → part, of all, or {} if no split is given. left_out:
    (photo or row, reason). said: a sentence about it, or why it is of no use.
    """

    path: str
    classes: dict[str, str]
    parts: dict[str, str]
    left_out: list[tuple[str, str]]
    said: str


class _Rows(NamedTuple):
    """Rows of cells, and the positions of the columns of files, of classes and of parts of a split,
    with its name, if there is one.
    """

    rows: list[list[str]]
    file: int
    label: int
    split: tuple[int, str] | None


def find(what: str, found: Sequence[Found], read: Callable[[Found], bytes]) -> Table | None:
    """The table that names photos among all that was found; else one that names none; else None.

    Raises UserError if there are two, none of them called labels, if the column of classes cannot
    be told, and if one cannot be read.
    """
    photos = [one.path for one in found if is_meant(one.why)]
    tables, others = {}, []
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
            rows = _rows(one.path, text, exact, loose)
            if not isinstance(rows, str):
                tables[one.path] = _table(one.path, rows, exact, loose, western)
            elif is_called_labels(one.path) or _has_header(text):
                others.append(Table(one.path, {}, {}, [], rows))
        elif plain and is_called_labels(one.path):
            why = f"{printable(one.path)} is not read: save it as labels.csv."
            others.append(Table(one.path, {}, {}, [], why))
    called = [path for path in tables if is_called_labels(path)]
    if len(tables) > 1 and len(called) != 1:
        first, second, *_ = tables
        raise UserError(
            f"{what} holds two tables that name photos, {first!r} and {second!r}: call the one "
            "with the classes labels.csv."
        )
    if tables:
        return tables[next(iter(called or tables))]
    return next((one for one in others if is_called_labels(one.path)), next(iter(others), None))


def is_called_labels(path: str) -> bool:
    return path.rpartition("/")[2].lower().startswith("labels.")


def _has_header(text: str) -> bool:
    words = re.findall(r"\w+", text.lstrip().split("\n", 1)[0].lower())
    return not (FILES | CLASSES).isdisjoint(words)


def is_table_of_classes(path: str) -> bool:
    """Whether a file is meant as the table of classes, by its name."""
    return is_called_labels(path) and path.lower().endswith(SUFFIXES)


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


def _rows(path: str, text: str, exact: Finder, loose: Finder) -> _Rows | str:
    """The rows of a table that names photos, without its header; else why it names none."""
    rows = _cells(path, text)
    if isinstance(rows, str):
        return rows

    def names_photos(cell: str) -> bool:
        return bool(exact(cell) or loose(cell))

    columns, header = range(len(rows[0])), [cell.lower() for cell in rows[0]]
    hits = [sum(names_photos(row[k]) for row in rows) for k in columns]
    named = [k for k in columns if header[k] in FILES and hits[k]]
    file = max(named or columns, key=hits.__getitem__)
    if not hits[file]:
        return _why_no_photo(printable(path), rows, header)
    labels = [k for k in columns if header[k] in CLASSES and k != file]
    # A row that names a photo is no header, be the photo there or not.
    if named or labels or (why_not(rows[0][file]) and not names_photos(rows[0][file])):
        rows = rows[1:]
    splits = [k for k in columns if header[k] in SPLIT_COLUMNS and k not in (file, *labels)]
    splits = [k for k in splits if any(part_called(row[k]) for row in rows)]
    if not labels:
        labels = [k for k in columns if k not in (file, *splits)]
        labels = [k for k in labels if len(columns) == 2 or _groups(rows, k)]
    if len(labels) != 1:
        raise UserError(
            f"{path!r} does not say which of its columns is the class: write class above it, and "
            "above no other."
        )
    return _Rows(rows, file, labels[0], (splits[0], header[splits[0]]) if splits else None)


def _cells(path: str, text: str) -> list[list[str]] | str:
    """The rows of a table, all of one width, of two columns or more; else why there are none."""
    shown = printable(path)
    if sep := re.match(r"sep=([,;\t|])\r?\n", text, re.IGNORECASE):  # Excel's
        text = text[sep.end() :]
    first = text.split("\n", 1)[0]
    bars = "|" in first and not any(one in first for one in DELIMITERS)
    delimiter = sep[1] if sep else "|" if bars else max(DELIMITERS, key=first.count)
    try:
        # An open quote swallows all that follows, and so does it the last line.
        end = f"{text.rstrip()}\nend"
        *rows, last = csv.reader(io.StringIO(end, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise UserError(f"{path!r} is no table of text in columns: mend or remove it.") from error
    if last != ["end"]:
        start = last[-1].split("\n", 1)[0]
        return f"{shown} has a quote that is not closed, at {start!r}: close or remove it."
    rows = [cells for row in rows if any(cells := [cell.strip() for cell in row])]
    width = max(map(len, rows), default=0)
    if width < 2:
        has = "is one column" if rows else "is empty"
        return f"{shown} {has}: write a line for each photo, with the columns file and class."
    return [row + [""] * (width - len(row)) for row in rows]


def _why_no_photo(shown: str, rows: list[list[str]], header: list[str]) -> str:
    """What is wrong with a table none of whose cells names a photo that is there."""
    headed = [k for k, cell in enumerate(header) if cell in FILES]
    start = bool(headed) or any(cell in CLASSES for cell in header)
    if start and len(rows) == 1:
        return f"{shown} is a header alone: write a line for each photo below it."
    like = [k for k, cell in enumerate(rows[start]) if is_meant(why_not(cell))]
    cell = rows[start][(headed or like or [0])[0]]
    return f"{shown} names no file that is there: its first is {cell!r}."


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
    """What a table says of the photos that are there."""
    shown, classes, cells, left_out = printable(path), {}, {}, {}
    matched, differ = _matched(table, exact, loose)
    for photo, mine in matched.items():
        if isinstance(mine, str):
            left_out[photo] = f"{shown} names it, and {mine}"
            continue
        names = {row[table.label] for row in mine}
        splits = {row[table.split[0]] for row in mine} if table.split else {""}
        if "" in names:
            left_out[photo] = f"{shown} gives it no class"
        elif len(names) > 1:
            left_out[photo] = f"{shown} gives it two classes"
        elif len(splits) > 1:
            left_out[photo] = f"{shown} gives it two parts of the split"
        else:
            (classes[photo],), (cells[photo],) = names, splits
    if not classes:
        return Table(path, {}, {}, [], f"{shown} gives no photo one class: mend its column.")
    parts, said = {}, [f"The classes are those in {shown}"]
    if table.split:
        parts, about = _parts(cells, table.split[1])
        said.append(about)
    if western:
        said.append("it is not UTF-8, and was read as Western text (cp1252)")
    if differ:
        names = "1 name in it differs" if differ == 1 else f"{differ} names in it differ"
        said.append(f"{names} from what is there in case, suffix or spelling")
    return Table(path, classes, parts, list(left_out.items()), f"{'; '.join(said)}.")


def _matched(
    table: _Rows, exact: Finder, loose: Finder
) -> tuple[dict[str, list[list[str]] | str], int]:
    """The rows of each photo, or, of what is no one photo, the reason; in the table's order. And
    how many rows name theirs in another spelling.
    """
    matched, differ = {}, 0
    named = {photo for row in table.rows for photo in exact(row[table.file])}
    for number, row in enumerate(table.rows, 1):
        cell = row[table.file]
        some = exact(cell)
        if not some:  # what another row names just so is not meant here
            some = loose(cell) - named
            differ += len(some) == 1
        if len(some) == 1:
            (photo,) = some
            before = matched.get(photo)
            matched[photo] = [*before, row] if isinstance(before, list) else [row]
        else:
            why = f"{len(some)} photos are called so" if some else "no photo is called so"
            matched[cell or f"row {number}"] = why
    return matched, differ


def _parts(cells: dict[str, str], column: str) -> tuple[dict[str, str], str]:
    """Path of a photo → part, {} if the column gives no whole split; and what to say."""
    parts = {photo: part_called(cell) for photo, cell in cells.items()}
    missing = [part for part in ("train", "test") if part not in parts.values()]
    if odd := [cell for photo, cell in cells.items() if not parts[photo]]:
        return {}, f"its column {column!r} is not used, for {odd[0]!r} is no part of a split"
    if missing:
        return {}, f"its column {column!r} is not used, for it names no {missing[0]} photo"
    *some, last = (part for part in SPLITS if part in parts.values())
    val = "" if "val" in some else ", and val is taken from train"
    return parts, f"the split is that of its column {column!r}, {', '.join(some)} and {last}{val}"
