"""Names as figures can show them: in fonts that have their letters, as wide as there is room for.

The fonts are those that matplotlib is set to, then DejaVu Sans, which comes with it and has the
marks ✓, ✗ and ⚠, then those of this machine that names need besides. Letters that no font of this
machine has are spelled as Python writes them: \\u732b.
"""

import logging
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from mobilenet.system.guards import held

with held():
    import matplotlib
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font, weight_dict
    from matplotlib.ft2font import FT2Font
    from matplotlib.textpath import TextPath

LETTER = 6.4  # points, the width of a usual one of 9 points
MARKS = "DejaVu Sans"
WEIGHTS = ("normal", "bold")
NO_FONTS = ("lastresort", "adobeblank")  # they have all letters, each as the same box
JOINERS = "\u200c\u200d"  # seen in the letters beside them
LEFT = "\u200e"  # no letter: what is beside it goes from left to right
ENDS = (0, 0.5, 1)  # how much of what is left of a name may be its end, the first that will do
# A font without a bold face is drawn plain, which is no news.
logging.getLogger("matplotlib.font_manager").addFilter(lambda told: "weight" not in told.msg)
_found: list[str] = []  # families that names have needed so far


def families(own: Sequence[str] = ()) -> list[str]:
    """Return the families of fonts that a text is drawn in, the first that has a letter.

    own: those that it is set to; without, those that matplotlib is set to.
    """
    return list(dict.fromkeys([*(own or FontProperties().get_family()), MARKS, *_found]))


def spelled(text: str) -> str:
    """Return a text as figures can draw it, in one line: what no font has as \\u732b."""
    return "".join(_units(text))


def width(text: str) -> float:
    """Of a line of bold letters of 9 points, in points."""
    return _width(text, _settings(), len(_found))


def short(
    name: str,
    limit: int = 14,
    among: Sequence[str] = (),
    room: float | None = None,
    ends: Sequence[float] = ENDS,
) -> str:
    """Return a name for matplotlib, as `spelled`, in one line of at most `limit` letters, and no
    wider than `room` points, without: than that many letters of usual width.

    among: all names of its kind; no two of them are cut to the same, so that where beginnings are
    alike the ends are kept, or names are numbered. ends: see ENDS.
    """
    names = tuple(dict.fromkeys(among)) or (name,)
    said = _short(names, limit, LETTER * limit if room is None else room, tuple(ends), _settings())
    one = said[names.index(name)].replace("$", r"\$")  # between two, it would be a formula
    # What stands beside a name that is written from right to left is not turned round with it.
    turned = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in one)
    return f"{LEFT}{one}{LEFT}" if turned and _drawn(LEFT) else one


@lru_cache(maxsize=1024)
def _short(
    names: tuple[str, ...], limit: int, room: float, ends: tuple[float, ...], settings: tuple
) -> list[str]:
    """What `short` makes of each of some names."""
    units = [_units(name) for name in names]
    for end in ends:
        said = [_cut(one, limit, room, end) for one in units]
        if len(set(said)) == len(said):
            return said
    marks = [f"…{i}" for i in range(1, len(names) + 1)]
    return [
        _cut(one, max(limit - len(mark), 1), room - width(mark), 0).rstrip("…") + mark
        for one, mark in zip(units, marks, strict=True)
    ]


def _cut(units: list[str], limit: int, room: float, end: float) -> str:
    """A name whole, if it fits, else without what is in its middle, so that `end`, a share of what
    is left, is its end.
    """
    whole = "".join(units)
    if len(whole) <= limit and width(whole) <= room:
        return whole

    def cut(left: int) -> str:
        last = round(end * left)
        return "".join([*units[: left - last], "…", *units[len(units) - last :]])

    def too_long(left: int) -> bool:
        said = cut(left)
        return len(said) > limit or sum(map(_advance, said)) > room

    left = bisect_left(range(1, min(len(units), limit)), True, key=too_long)  # the last that is not
    while left and width(cut(left)) > room:  # the sum does not know what is between letters
        left -= 1
    return cut(left)


def _units(text: str) -> list[str]:
    """What a name may be cut between: letters with the marks above and below them."""
    units = []
    kept = (c if c.isprintable() or c in JOINERS else "\ufffd" for c in text)
    letters = unicodedata.normalize("NFC", "".join(kept))
    lacking = {letter for letter in set(letters) if not _drawn(letter)}
    if lacking:
        _find(frozenset(lacking), _settings())
        lacking = {letter for letter in lacking if not _drawn(letter)}
    for letter in letters:
        if letter in lacking:
            units.append(ascii(letter)[1:-1])
        elif units and (unicodedata.category(letter)[0] == "M" or letter in JOINERS):
            units[-1] += letter
        else:
            units.append(letter)
    return units


def _advance(letter: str) -> float:
    """About how much wider a line is by a letter."""
    return width(f"n{letter}n") - width("nn")


@lru_cache(maxsize=4096)
def _width(text: str, settings: tuple, found: int) -> float:
    if not text:
        return 0.0
    bold = FontProperties(family=families(), weight="bold")
    return TextPath((0, 0), text.replace("$", r"\$"), size=9, prop=bold).get_extents().width


# --- Which font has a letter ---


def _settings() -> tuple:
    """What decides which fonts there are, and which come first."""
    kinds = ("family", "sans-serif", "serif", "monospace", "cursive", "fantasy")
    return *(tuple(matplotlib.rcParams[f"font.{kind}"]) for kind in kinds), len(fontManager.ttflist)


def _drawn(letter: str) -> bool:
    """Whether the families have a letter, plain and bold."""
    files = _files(_settings(), len(_found))
    return all(any(_has(path, letter) for path in some) for some in files)


@lru_cache(maxsize=64)
def _files(settings: tuple, found: int) -> list[list[str]]:
    """The fonts of the families that are there, for each of WEIGHTS."""
    return [_faces(weight) for weight in WEIGHTS]


def _faces(weight: str) -> list[str]:
    files = []
    for family in families():
        try:
            prop = FontProperties(family=family, weight=weight)
            files.append(findfont(prop, fallback_to_default=False))
        except ValueError:
            continue
    return files


@lru_cache(maxsize=4096)
def _has(path: str, letter: str) -> bool:
    return get_font(path).get_char_index(ord(letter)) > 0


@lru_cache(maxsize=256)  # nothing is looked for twice in vain
def _find(letters: frozenset[str], settings: tuple) -> None:
    """Add to the families those of this machine, as few as will do, that have these letters."""
    listed = [name for kind in settings[:-1] for name in kind]
    ranks = {name: rank for rank, name in reversed([*enumerate(listed)])}
    offers = {}
    for one in sorted(fontManager.ttflist, key=_plainest_first):
        if one.name not in offers and not one.name.lower().replace(" ", "").startswith(NO_FONTS):
            offers[one.name] = {letter for letter in letters if _draws(one.fname, letter)}
    while letters:
        name = min(offers, key=lambda one: (-len(offers[one] & letters), ranks.get(one, 999), one))
        if not offers.pop(name) & letters:
            break
        _found.append(name)
        left = frozenset(letter for letter in letters if not _drawn(letter))
        if left == letters:
            _found.pop()  # its bold face has none of them
        letters = left


def _plainest_first(font) -> tuple:
    weight = weight_dict.get(font.weight, font.weight)
    return font.name, font.style != "normal", font.variant != "normal", abs(weight - 400)


def _draws(path: str, letter: str) -> bool:
    """Whether a font has a letter, and it can be drawn: pictures of many colours cannot."""
    try:
        font = FT2Font(path)
        if not font.get_char_index(ord(letter)):
            return False
        font.set_size(9, 72)
        font.load_char(ord(letter))
    except (OSError, RuntimeError):
        return False
    return True
