"""Bars: photos of each class in each split, and shares by name."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mobilenet.figures.canvas import CLASS_COLOURS, GREY, class_colour, ink, new_figure, percent
from mobilenet.figures.lettering import short
from mobilenet.photos.photos import Photos

BARS = 36  # of classes, the most that fit a page


def class_balance(photos: Photos, splits: dict[str, np.ndarray]) -> Figure:
    """Return bars: how many photos of each class each split holds; with more classes than there are
    colours a bar for each class, of more than BARS classes for those with the fewest photos.
    """
    names = photos.class_names
    counts = {
        split: np.bincount(photos.labels[i], minlength=len(names)) for split, i in splits.items()
    }
    told = "; ".join(f"{split} {', '.join(map(str, c))}" for split, c in counts.items())
    alt = f"Photos of each class ({', '.join(names)}) in each split: {told}."
    if len(names) > len(CLASS_COLOURS):
        return _bars_of_classes(names, counts, alt)
    said = [short(name, 32, names) for name in names]
    columns = max(1, min(len(names), 72 // (max(map(len, said)) + 6)))
    lines = -(-len(names) // columns)  # of the legend
    figure, axes = new_figure(7, 0.6 + 0.2 * lines + 0.7 * len(splits), alt)
    left, legend = np.zeros(len(splits)), []
    for k in range(len(names)):
        width = np.array([c[k] for c in counts.values()])
        bars = axes.barh(list(splits), width, left=left, color=class_colour(k))
        legend.append(bars)
        share = width / sum(counts.values()).sum()
        fits = [n if part > 0.02 else "" for n, part in zip(width, share, strict=True)]
        look = {"fontsize": 10, "color": ink(class_colour(k)), "fontweight": "bold"}
        axes.bar_label(bars, fits, label_type="center", **look)
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("photos")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(legend, said, loc="outside upper left", ncols=columns, frameon=False)
    return figure


def _bars_of_classes(names: Sequence[str], counts: dict[str, np.ndarray], alt: str) -> Figure:
    """A bar for each class, in the order of the labels, in it the splits, behind it their sum."""
    total = sum(counts.values())
    shown = np.sort(np.argsort(total, kind="stable")[:BARS])
    figure, axes = new_figure(7, 1 + 0.165 * len(shown), alt)
    left, rows = np.zeros(len(shown)), np.arange(len(shown))
    for (split, of), shade in zip(counts.items(), ("#404040", "#8c8c8c", "#cccccc"), strict=False):
        bars = axes.barh(rows, of[shown], left=left, color=shade, label=split)
        left += of[shown]
    axes.bar_label(bars, [f"{n:,}" for n in total[shown]], padding=3, fontsize=9)
    axes.set_yticks(rows, [short(names[k], 24, names) for k in shown], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * total[shown].max())
    axes.set_xlabel("photos")
    axes.spines[["top", "right"]].set_visible(False)
    if len(shown) < len(names):
        axes.set_title(f"the {BARS} of {len(names)} classes with the fewest photos", fontsize=11)
    figure.legend(loc="outside upper left", ncols=len(counts), frameon=False)
    return figure


def class_bars(shares: dict[str, float], title: str, alt: str) -> Figure:
    """Return horizontal bars of shares in [0, 1] by name, the largest on top."""
    ranked = sorted(shares.items(), key=lambda item: item[1])
    figure, axes = new_figure(7, 0.9 + 0.3 * len(ranked), alt)
    bars = axes.barh([name for name, _ in ranked], [share for _, share in ranked], color=GREY)
    axes.bar_label(bars, [percent(share) for _, share in ranked], padding=3, fontsize=10)
    axes.set_title(short(title, 62), fontsize=11)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return figure
