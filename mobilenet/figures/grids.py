"""Grids of photos: as they are, with what a network predicts, where it looks, what resembles what.

Right and wrong differ in colour, in mark and in frame; a class has its colour everywhere.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mobilenet import UserError
from mobilenet.explain.own_photos import OwnPhotos
from mobilenet.figures.canvas import GREEN, GREY, RED, WIDEST, class_colour, new_figure, percent
from mobilenet.figures.lettering import short, width
from mobilenet.photos.photos import Photos
from mobilenet.transfer.metrics import cross_entropy

PHOTO_INCHES = 1.345  # of one photo in a grid, of which six stand side by side
LINE = 0.17  # inches, the height of a line above a photo
DASHES = (0, (3, 1))
FRAME = 2  # points, of a class's colour
JUDGED = {True: (GREEN, 1.2, "-"), False: (RED, 2, DASHES)}  # the frame of right and of wrong
DARKENED = 0.8  # so bright is a photo under heat
ROWS = 4  # so many photos high are pictures that show a row of each
UNSURE = 0.75  # a photo whose likeliest class has a lower predicted probability than this
ORDERS = {
    "loss": "the highest loss first",
    "confidence": "the least sure first",
    "file": "in the order of their files",
}
ONLY = {
    "wrong": "wrong",
    "unsure": f"unsure (no class has a probability of {100 * UNSURE:.0f} % or more)",
}


# --- Grids ---


def _grid(lines: Sequence[int], columns: int, alt: str):
    """Return a figure of square photo axes without ticks, one for each entry of lines, that says
    how many lines of text it has above and below it; and those axes.
    """
    count, columns = len(lines), max(1, min(columns, len(lines)))
    rows = [max(lines[i : i + columns]) for i in range(0, count, columns)]
    height = sum(PHOTO_INCHES + 0.15 + LINE * of for of in rows)
    size = columns * (PHOTO_INCHES + 0.12), height
    figure, axes = new_figure(*size, alt, len(rows), columns)
    axes = np.atleast_1d(axes).ravel()
    for one in axes:
        one.set(xticks=[], yticks=[], gid="photo")
    for one in axes[count:]:
        one.set_axis_off()
    return figure, axes[:count]


def _frame(axes, colour: str, width: float, style: str = "-") -> None:
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=width, linestyle=style, capstyle="butt")


def in_turn(photos: Photos, seed: int = 0) -> list[int]:
    """Positions of all photos in random order, the classes in turn."""
    rng = np.random.default_rng(seed)
    mixed = [
        rng.permutation(np.flatnonzero(photos.labels == k)) for k in range(len(photos.class_names))
    ]
    return [int(one[i]) for i in range(max(map(len, mixed))) for one in mixed if i < len(one)]


def photo_grid(photos: Photos, columns: int = 6, rows: int = 3, seed: int = 0) -> Figure:
    """Return random photos, the classes in turn, each framed in its class's colour."""
    chosen = in_turn(photos, seed)[: columns * rows]
    alt = f"{len(chosen)} photos with their classes: {', '.join(photos.class_names)}."
    figure, axes = _grid([1] * len(chosen), columns, alt)
    for one, i in zip(axes, chosen, strict=True):
        label = photos.labels[i]
        one.imshow(photos.images[i])
        one.set_title(short(photos.class_names[label], among=photos.class_names), fontsize=10)
        _frame(one, class_colour(label), FRAME)
    return figure


def view_grid(views: np.ndarray) -> Figure:
    """Return views of photos, uint8 (V, N, size, size, 3): a row for each photo, itself first."""
    count, photos = views.shape[:2]
    alt = f"{photos} photos, each with {count - 1} augmented views beside it."
    titles = [1] * count + [0] * count * (photos - 1)
    figure, axes = _grid(titles, count, alt)
    for i, one in enumerate(axes):
        row, column = divmod(i, count)
        one.imshow(views[column, row])
        if row == 0:
            one.set_title("the photo" if column == 0 else f"view {column}", fontsize=10)
        _frame(one, "black" if column == 0 else "white", 2)
    return figure


def prediction_grid(
    photos: Photos,
    p: np.ndarray,
    columns: int = 6,
    rows: int = 3,
    order: str = "loss",
    only: str | None = None,
    files: bool = False,
) -> Figure:
    """Return photos with what the network predicts: "not alpaca 84 %" above a right one; above a
    wrong one, in vermilion, "✗ alpaca 84 %" and what it is. Wrong ones have a dashed frame.

    p: (N, K) probabilities. order: "loss" (the highest first), "confidence" (the least sure first)
    or "file". only: "wrong", "unsure" (no class has UNSURE or more) or None for all. files: whether
    to name each photo's file below it, without its folder and shortened. Raises UserError for
    another order or only.
    """
    if order not in ORDERS:
        raise UserError(f"There is no order {order!r}: use {', '.join(map(repr, ORDERS))}.")
    if only not in (None, *ONLY):
        raise UserError(f"There is no {only!r} to show only: use {', '.join(map(repr, ONLY))}.")
    names, guesses, sure = photos.class_names, p.argmax(axis=1), p.max(axis=1)
    asked = {"wrong": guesses != photos.labels, "unsure": sure < UNSURE}
    found = np.flatnonzero(asked[only]) if only else np.arange(len(photos))
    if not len(found):
        said = f"None of {len(photos)} photos is {ONLY[only]}." if only else "There are no photos."
        figure, axes = new_figure(1 + 0.09 * len(said), 0.7, said)
        axes.set_axis_off()
        axes.text(0.5, 0.5, said, ha="center", va="center", fontsize=12)
        return figure
    by = {"loss": -cross_entropy(p, photos.labels), "confidence": sure, "file": np.arange(len(p))}
    chosen = found[np.argsort(by[order][found], kind="stable")][: columns * rows]
    wrong = int((guesses[chosen] != photos.labels[chosen]).sum())
    which = f"photos that are {ONLY[only]}" if only else "photos"
    alt = f"{len(chosen)} of {len(found)} {which}, {ORDERS[order]}, with predicted class and " + (
        f"probability; {wrong} wrong."
    )
    titles = [_answer(names, guesses[i], photos.labels[i], sure[i]) for i in chosen]
    lines = [1 + title.count("\n") + files for title in titles]
    figure, axes = _grid(lines, columns, alt)
    among = [photos.files[i] for i in chosen]
    for one, i, title in zip(axes, chosen, titles, strict=True):
        one.imshow(photos.images[i])
        _judge(one, title, bool(photos.labels[i] == guesses[i]))
        if files:
            one.set_xlabel(_file_name(photos.files[i], among), fontsize=9, color=GREY)
    return figure


def _answer(names: Sequence[str], guess: int, truth: int, sure: float) -> str:
    """What is written above a photo: a right answer in a line, a wrong one in two."""
    if guess == truth:
        return _fitted("", names, guess, f" {percent(sure)}")
    said = _fitted("✗ ", names, guess, f" {percent(sure)}")
    return f"{said}\n{_fitted('is ', names, truth)}"


def _fitted(before: str, names: Sequence[str], label: int, after: str = "") -> str:
    """A line with a class's name in it, shortened so that the line is no wider than a photo."""
    taken = width(f"{before}n{after}") - width("n")
    room = 72 * (PHOTO_INCHES + 0.07) - taken
    return f"{before}{short(names[label], 32, names, room)}{after}"


def changed_grid(
    photos: Photos, before: np.ndarray, after: np.ndarray, columns: int = 6, rows: int = 2
) -> Figure:
    """Return the photos that two networks classify differently, then those whose probability moved
    most: what both say, and what a photo is where the second is wrong.

    before, after: (N, K) probabilities. Framed as the second is right or wrong.
    """
    guesses, now = before.argmax(axis=1), after.argmax(axis=1)
    changed, moved = guesses != now, np.abs(after - before).max(axis=1)
    chosen = np.lexsort((-moved, ~changed))[: columns * rows]
    alt = (
        f"{len(chosen)} of {len(photos)} photos with what two networks say of them; "
        f"{changed[chosen].sum()} of them got another class, the probability moved by "
        f"{moved.max():.2f} at most."
    )
    names, titles = photos.class_names, []
    for i in chosen:
        was, called, label = guesses[i], now[i], photos.labels[i]
        wrong = "✗ " * bool(called != label)
        lines = [
            _fitted(wrong, names, called),
            f"{percent(before[i, called])} → {percent(after[i, called])}",
        ]
        if changed[i]:
            lines = [_fitted("", names, was, f" {percent(before[i, was])} →")]
            lines += [_fitted(wrong, names, called, f" {percent(after[i, called])}")]
        titles.append("\n".join(lines + [_fitted("is ", names, label)] * bool(wrong)))
    figure, axes = _grid([1 + title.count("\n") for title in titles], columns, alt)
    for one, i, title in zip(axes, chosen, titles, strict=True):
        one.imshow(photos.images[i])
        _judge(one, title, bool(photos.labels[i] == now[i]))
    return figure


def own_grid(own: OwnPhotos, class_names: Sequence[str], files: bool = False) -> Figure:
    """Return your own photos, the first 18: the predicted class and its probability, framed in that
    class's colour. One that is unlike the known photos has a ⚠, says so, and a dotted frame.

    files: whether to name each photo's file, shortened. Raises UserError if there is none.
    """
    if not own.files:
        raise UserError(f"There are no photos in {own.place}: put some there.")
    count, odd = len(own.images), int(own.unseen[: len(own.images)].sum())
    of = f" of {len(own.files)}" if len(own.files) > count else ""
    alt = f"{count}{of} photos of yours with predicted class and probability; " + (
        f"{odd} of them marked as unlike the training photos."
    )
    shown = [*zip(own.images, own.files, own.p, own.unseen, strict=False)]
    figure, axes = _grid([1 + files + 2 * bool(strange) for *_, strange in shown], 6, alt)
    for one, (image, file, p, strange) in zip(axes, shown, strict=True):
        guess = int(p.argmax())
        one.imshow(image)
        said = _fitted("", class_names, guess, f" {percent(p[guess])}")
        one.set_title(
            f"{said}\n{_file_name(file, own.files[:count])}" if files else said, fontsize=9
        )
        _frame(one, class_colour(guess), FRAME)
        if strange:
            warning = "⚠ unlike the\ntraining photos"
            one.set_xlabel(warning, fontsize=9, color=RED, fontweight="bold")
            _frame(one, RED, 2.5, (0, (1, 1)))
    return figure


def _file_name(file: str, among: Sequence[str]) -> str:
    """A file's name as wide as a photo at most, without its middle if it is longer: what tells
    photos apart is often the end.
    """
    name, *names = (one.rsplit("/", 1)[-1] for one in (file, *among))
    return short(name, 40, names, 72 * PHOTO_INCHES, ends=(0.6, 0.8, 1))


def _judge(axes, title: str, right: bool) -> None:
    """Title and frame of a right or of a wrong answer."""
    look = {} if right else {"color": RED, "fontweight": "bold"}
    axes.set_title(title, fontsize=9, **look)
    _frame(axes, *JUDGED[right])


# --- What it looks at ---


def _rows(count: int, widths: Sequence[float], alt: str, largest: float = PHOTO_INCHES):
    """Return a figure of `count` rows of axes without ticks, each one title line below the next, so
    many photos wide, of at most `largest` inches; and those axes, row by row.
    """
    inches = min(largest, (WIDEST - 0.12 * len(widths)) / sum(widths), 6.7 / count - 0.27)
    size = sum(widths) * inches + 0.12 * len(widths), count * (inches + 0.27) + 0.15
    ratios = {"width_ratios": widths}
    figure, axes = new_figure(*size, alt, count, len(widths), squeeze=False, gridspec_kw=ratios)
    for one in axes.ravel():
        one.set(xticks=[], yticks=[], gid="photo")
    return figure, axes


def grad_cam_rows(
    photos: Photos, asked: np.ndarray, networks: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Figure:
    """Return where networks see what speaks for a class: a row for each of the first ROWS photos,
    which stands first and then, grey, under each network's heat.

    asked: (N,), the class whose heat and probability are shown. networks: name → heats (N, h, w)
    from 0 to 1, as `grad_cam` gives them, and p (N, K). The hottest place of each photo is
    yellow. Mark and frame say whether the network classifies the photo right.
    """
    photos, names = photos.subset(np.arange(min(ROWS, len(photos)))), photos.class_names
    told = "; ".join(
        f"{names[k]} {', '.join(f'{percent(p[i, k])} {name}' for name, (_, p) in networks.items())}"
        for i, k in enumerate(asked[: len(photos)])
    )
    alt = f"{len(photos)} photos under the heat of what speaks for a class; probability of {told}."
    figure, axes = _rows(len(photos), [1] * (1 + len(networks)), alt, 1.9)
    for i, (first, *others) in enumerate(axes):
        photo, label = photos.images[i], photos.labels[i]
        first.imshow(photo)
        first.set_title(short(names[label], among=names), fontsize=9)
        _frame(first, class_colour(label), FRAME)
        for one, (name, (heats, p)) in zip(others, networks.items(), strict=True):
            one.imshow(_under_heat(photo, heats[i]))
            right = bool(p[i].argmax() == label)
            sure = f" {percent(p[i, asked[i]])}"
            _judge(one, _fitted("" if right else "✗ ", names, asked[i], sure), right)
            if i == 0:
                place = {"xytext": (0, 18), "textcoords": "offset points", "ha": "center"}
                one.annotate(short(name, 32), (0.5, 1), xycoords="axes fraction", **place)
    return figure


def _under_heat(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The photo (size, size, 3), grey and darkened, under a heat map (h, w), scaled up smoothly:
    float (size, size, 3), 0 to 1. The hotter, the less of the photo is seen, at least a quarter.
    """
    size = photo.shape[:2]
    heat = Image.fromarray(heat.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    heat = np.asarray(heat).clip(0, 1)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    grey = DARKENED * np.repeat(photo.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    covered = 0.75 * heat[..., None]
    return grey * (1 - covered) + colours * covered


def neighbour_grid(
    photos: Photos, chosen: np.ndarray, others: Photos, order: np.ndarray, similarity: np.ndarray
) -> Figure:
    """Return photos, a row for each of the first ROWS chosen ones, and the others most like it.

    chosen: positions in photos. order, similarity: (len(chosen), n), positions in others and
    cosines, as `neighbours.neighbours` gives them for the chosen. Frames have the class's colour; a
    neighbour of another class than the photo has a dashed one, a ≠ and its class's name.
    """
    names, chosen = photos.class_names, chosen[:ROWS]
    count = order.shape[1]
    strange = int((others.labels[order[:ROWS]] != photos.labels[chosen][:, None]).sum())
    alt = (
        f"{len(chosen)} photos, each with the {count} most similar of {len(others)}; {strange} of "
        + (f"these {len(chosen) * count} are of another class than their photo.")
    )
    figure, axes = _rows(len(chosen), [1, 0.05, *[1] * count], alt)
    for i, (first, gap, *beside) in enumerate(axes):
        label = photos.labels[chosen[i]]
        first.imshow(photos.images[chosen[i]])
        first.set_title(short(names[label], among=names), fontsize=9, fontweight="bold")
        _frame(first, class_colour(label), FRAME)
        gap.set_axis_off()
        for one, other, near in zip(beside, order[i], similarity[i], strict=True):
            kind = others.labels[other]
            one.imshow(others.images[other])
            strange = f"≠ {short(names[kind], among=names)} " if kind != label else ""
            one.set_title(f"{strange}{near:.2f}", fontsize=9)
            _frame(one, class_colour(kind), *((FRAME, "-") if kind == label else (3, DASHES)))
    return figure
