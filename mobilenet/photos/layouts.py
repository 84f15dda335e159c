"""Classes, and perhaps a split, of photos in folders: what the folders or a table say of them.

    cat/1.jpg, dog/2.jpg                  class folders
    train/cat/1.jpg, test/cat/2.jpg       a given split, with val/ or without
    cat/train/1.jpg, cat/test/2.jpg       the same, in each class folder
    archive/cat/1.jpg, archive/dog/…      one of these in the only folder with photos
    1.jpg, 2.jpg, labels.csv              a table (`tables`)

Here are paths alone, of a folder or of a tar file; nothing is opened but a table.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from mobilenet import UserError
from mobilenet.photos import tables
from mobilenet.photos.decoding import NO_PHOTO
from mobilenet.photos.folders import FOLDER, HIDDEN, SPLITS, Found, is_meant, part_called, told
from mobilenet.system.command import printable

HOMELESS = "it lies in no class folder"


class Photo(NamedTuple):
    """A photo: its path, its class, its part of a given split or "", and what it is opened by."""

    path: str
    name: str
    part: str
    at: Any


class Labelled(NamedTuple):
    """Photos with their classes, none of them opened. photos: in the order in which they were
    found. names: of the classes, sorted, of empty folders, too. left_out: (path, reason), photos
    first. hidden: how many files are. said: sentences about how the folder was read. depth: how
    many folders are above the class folders.
    """

    photos: list[Photo]
    names: list[str]
    left_out: list[tuple[str, str]]
    hidden: int
    said: tuple[str, ...]
    depth: int


class Layout(NamedTuple):
    """Where the class folders are. base: the folder that holds them, or the parts of the split, as
    "" or "archive/". parts: names of folders → part, {} if no split is given. names: of all class
    folders, sorted. within: whether the parts are in the class folders, not the other way round.
    """

    base: str
    parts: dict[str, str]
    names: list[str]
    within: bool = False

    @property
    def depth(self) -> int:
        """How many folders are above a class folder."""
        return self.base.count("/") + bool(self.parts and not self.within)

    def place(self, path: str) -> tuple[str, str] | None:
        """The part, or "", and the class of a photo; None if it lies in no class folder."""
        *folders, _ = path[len(self.base) :].split("/")
        if not path.startswith(self.base) or len(folders) < (2 if self.parts else 1):
            return None
        if not self.parts:
            return "", folders[0]
        name, part = folders[:2] if self.within else folders[1::-1]
        return (self.parts[part], name) if part in self.parts else None

    def said(self) -> tuple[str, ...]:
        """Sentences about it, if it is not simply class folders."""
        said = []
        if self.base:
            said.append(f"The photos are in {self.base}, the only folder with photos.")
        if self.parts:
            named = {part: f"{name}/" for name, part in self.parts.items()}
            *some, last = (named[part] for part in SPLITS if part in named)
            val = "" if "val" in named else f"; the val part is taken from {named['train']}"
            of = " of each class" if self.within else ""
            said.append(f"The split is the one given: {', '.join(some)} and {last}{of}{val}.")
        return tuple(said)


class _Tree(NamedTuple):
    """The visible folders: the names of those in each; which hold a photo themselves; which
    anywhere below; which hold other files there. A folder is "" or "cat/" or "cat/old/".
    """

    inside: dict[str, set[str]]
    direct: set[str]
    anywhere: set[str]
    others: set[str]

    def holding(self, folder: str) -> list[str]:
        """The names of the folders in one that hold photos anywhere, sorted."""
        return sorted(one for one in self.inside[folder] if f"{folder}{one}/" in self.anywhere)


def _above(folder: str) -> str:
    return folder[: folder.rfind("/", 0, -1) + 1]


def _tree(paths: Iterable[tuple[str, bool | None]]) -> _Tree:
    """paths: (folder, whether what lies in it is a photo, or None)."""
    tree = _Tree(defaultdict(set), set(), set(), set())
    for folder, photo in paths:
        if photo:
            tree.direct.add(folder)
        while folder and not (photo and folder in tree.anywhere):
            if photo:
                tree.anywhere.add(folder)
            elif photo is not None:
                tree.others.add(folder)
            above = _above(folder)
            tree.inside[above].add(folder[len(above) : -1])
            folder = above
    return tree


def folders_in(found: Iterable[Found]) -> set[tuple[str, bool | None]]:
    """The visible folders of what was found, as "cat/", each with True if a photo lies in it, with
    False if another file does, and with None: what `lay_out` needs to know, and little for any
    number of photos.
    """
    folders = set()
    for path, why, _ in found:
        if why != HIDDEN:
            inside = (f"{path}/", None), (path[: path.rfind("/") + 1], is_meant(why))
            folders.add(inside[why != FOLDER])
    return folders


def lay_out(
    what: str, paths: Iterable[tuple[str, bool | None]], known: Sequence[str] = ()
) -> Layout:
    """Where the class folders are, by what `folders_in` says; there may be few of them, or none.

    what: how the whole is called in a sentence. known: names of classes, so of no archive. Raises
    UserError if a split is given, and something that may belong to it or not.
    """
    tree = _tree(paths)
    base = _base(tree, known)
    names = tree.holding(base)
    parts = {name: part for name in names if (part := part_called(name))}
    others = [name for name in names if name not in parts]
    trains = [name for name, part in parts.items() if part == "train"]
    # A class may be called train: then its photos lie in it, or no other part is beside it.
    if not any(
        tree.holding(f"{base}{name}/") and not (others and f"{base}{name}/" in tree.direct)
        for name in trains
    ) or (others and len(parts) == 1):
        parts = _parts_within(tree, base)
        return Layout(base, parts, sorted(tree.inside[base]), bool(parts))
    if others:  # one of them may be meant as a part
        raise UserError(
            f"{what} holds {others[0]!r} beside {trains[0]}/: name it val or test, or move it away."
        )
    for part in SPLITS:
        same = [name for name in parts if parts[name] == part]
        if len(same) > 1:
            raise UserError(f"{what} holds both {same[0]}/ and {same[1]}/: move one of them away.")
    parts = {name: part for name, part in parts.items() if tree.holding(f"{base}{name}/")}
    classes = {one for name in parts for one in tree.inside[f"{base}{name}/"]}
    return Layout(base, parts, sorted(classes))


def _parts_within(tree: _Tree, base: str) -> dict[str, str]:
    """Names of folders → part, if each class folder holds nothing else; else {}."""
    parts = {}
    for name in tree.holding(base):
        folder = f"{base}{name}/"
        inside = tree.holding(folder)
        if folder in tree.direct or part_called(name) or not all(map(part_called, inside)):
            return {}
        parts |= {one: part_called(one) for one in inside}
    return parts if len(set(parts.values())) > 1 else {}


def _parts_unused(layout: Layout, photos: Iterable[str]) -> str:
    """Two folders in class folders that are called as parts of a split, in words; else ""."""
    parts = {}
    for path in photos:
        name, *folders, _ = path[len(layout.base) :].split("/")
        if folders and (part := part_called(folders[0])):
            parts.setdefault(part, f"{name}/{folders[0]}/")
    return " and ".join([*parts.values()][:2]) if len(parts) > 1 else ""


def _base(tree: _Tree, known: Sequence[str]) -> str:
    """The folder in which there are several: "", or the first on a way of only folders, if no
    photos lie beside them.
    """
    base = ""
    while (only := _only(tree, base)) and not tree.inside[base] & {*known}:
        base += f"{only}/"
        if base in tree.direct:
            return ""
    return base if tree.inside[base] else ""


def _only(tree: _Tree, base: str) -> str:
    """The name of the only folder in one, or of that of several folders beside which there are
    only other files, as annotations; "" if there is none. An empty folder may be a class.
    """
    names = tree.inside[base]
    if len(names) > 1:
        others = {name for name in names if f"{base}{name}/" in tree.others}
        names = {*tree.holding(base)}
        inside = [one for name in names for one in tree.holding(f"{base}{name}/")]
        if names | others != tree.inside[base] or len(inside) < 2 or any(map(part_called, others)):
            return ""
    return next(iter(names)) if len(names) == 1 else ""


def _check_whole(what: str, layout: Layout, photos: Iterable[Found]) -> None:
    """Raise UserError if a given split has no train or no test part."""
    missing = {"train", "test"} - set(layout.parts.values())
    if not missing:
        return
    if "train" in missing:
        raise UserError(f"{what} holds a test part but no train/ in its class folders: add it.")
    alone = "name the folder of the train photos alone to have it split."
    firsts = (one.path.removeprefix(layout.base).split("/")[0] for one in photos)
    if not layout.within and (flat := next((n for n in firsts if part_called(n) == "test"), "")):
        raise UserError(
            f"{what} holds {flat}/ without class folders in it: put its photos into a folder for "
            f"each class, or {alone}"
        )
    val = "call the val photos test, or " if "val" in layout.parts.values() else ""
    raise UserError(f"{what} holds train photos but none in class folders of test/: {val}{alone}")


def _why_no_split(held: Iterable[str], deep: bool, table: tables.Table | None, known: bool) -> str:
    """What is wrong with folders of parts. deep: whether there are folders in them."""
    there = " and ".join(f"{name}/" for name in sorted(held))
    if deep and "train" not in map(part_called, held):
        todo = "name one of them." if known else "add train/, or call one of them train."
        return f"{there} but no train/: {todo}"
    there += " without class folders in them"
    if table:
        return f"{there}, and {table.said}"
    return f"{there}: put the photos of each class into a folder of its name."


def _why_no_classes(folders: list[str], names: list[str], table: tables.Table | None) -> str:
    """What is wrong with fewer than two classes. folders: that are there; names: of classes."""
    there = f"one class folder, {folders[0]!r}" if folders else "no class folders"
    if table and table.classes:
        shown = printable(table.path)
        return f"{there}, and {shown} names one class, {names[0]!r}: two are needed."
    if table:
        return f"{there}, and {table.said}"
    return (
        f"{there}: it needs two or more, one a class, or a table, labels.csv, with the columns "
        "file and class."
    )


def labelled(
    what: str,
    found: Sequence[Found],
    read: Callable[[Found], bytes],
    known: Sequence[str] = (),
) -> Labelled:
    """The photos among all that was found, with their classes.

    what: how the whole is called in a sentence. read: gives what is in a file, for a table. known:
    classes of a model; then one class is enough, and so is a part of a split. Raises UserError if
    there are no two classes, if a split is given in part, and if a table is no good.
    """
    layout, least = lay_out(what, folders_in(found), known), 1 if known else 2
    hidden = sum(one.why == HIDDEN for one in found)
    beside = [(one.path, one.why) for one in found if one.why.startswith(NO_PHOTO)]
    meant = [one for one in found if is_meant(one.why)]
    if layout.parts and not known:
        _check_whole(what, layout, meant)
    classes = {one.path: place for one in meant if (place := layout.place(one.path))}
    names, said, homeless, depth = layout.names, layout.said(), HOMELESS, layout.depth
    held = {name for _, name in classes.values()}
    # Folders called train and test are no classes, whatever is in them.
    unlike = not layout.parts and len(held) > 1 and all(map(part_called, held))
    by_folder = len(held) >= least and not unlike
    table = None if by_folder else tables.find(what, found, read)
    if by_folder:
        said = (*said, *_unused(layout, classes, beside))
    elif table and table.classes:
        classes = {path: (table.parts.get(path, ""), n) for path, n in table.classes.items()}
        names, said, depth = sorted(set(table.classes.values())), (table.said,), 0
        homeless = "the table of classes does not name it"
        beside = table.left_out + [(path, why) for path, why in beside if path != table.path]
    elif unlike:
        deep = any(path[len(layout.base) :].count("/") > 1 for path in classes)
        raise UserError(f"{what} holds {_why_no_split(held, deep, table, bool(known))}")
    if len(names) < least:
        raise UserError(f"{what} holds {_why_no_classes(layout.names, names, table)}")
    listed = {path for path, _ in beside}
    photos, left_out = [], []
    for path, why, at in meant:
        if path in classes and not why:
            part, name = classes[path]
            photos.append(Photo(path, name, part, at))
        elif path not in listed:
            left_out.append((path, why or homeless))
    return Labelled(photos, names, left_out + beside, hidden, said, depth)


def _unused(
    layout: Layout, classes: dict[str, tuple[str, str]], beside: list[tuple[str, str]]
) -> Iterator[str]:
    """Sentences on what is there and does not count where the folders name the classes."""
    if unused := [path for path, _ in beside if tables.is_table_of_classes(path)]:
        are = "is" if len(unused) == 1 else "are"
        yield f"The folders name the classes; {told(unused)} {are} not used."
    if not layout.parts and (two := _parts_unused(layout, classes)):
        yield f"No split is given: {two} are not in each class folder, or not alone there."
