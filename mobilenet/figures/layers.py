"""Pictures under layers: what a convolution makes of a photo, what a network's channels hold."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mobilenet.figures.canvas import WIDEST, new_figure

CHANNELS = 8  # of each map that `channels_plot` shows


def separable_plot(
    photo: np.ndarray, filtered: np.ndarray, mixed: np.ndarray, kernels: Sequence[str]
) -> Figure:
    """Return a picture of a depthwise separable convolution at work: a photo, its three channels,
    what each one's own kernel makes of it, and the one map that a pointwise layer mixes from these.

    photo (H, W, 3) in [0, 1], filtered (H, W, 3), mixed (H, W); kernels: their names, one for each
    channel. Each map is drawn from black, its lowest values, to white, its highest.
    """
    colours = "red", "green", "blue"
    each = ", ".join(f"{a} through {b!r}" for a, b in zip(colours, kernels, strict=True))
    alt = f"A picture, its three channels, below them what a depthwise layer makes of each: {each}"
    alt = f"{alt}; on the right the one map that a pointwise layer mixes from these."
    figure, axes = new_figure(WIDEST, 3.9, alt, 2, 5)
    grid = axes[0, 0].get_gridspec()
    for one in (*axes[:, 0], *axes[:, -1]):
        one.remove()
    whole, last = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[:, -1])
    whole.imshow(photo, interpolation="nearest")
    whole.set_title("the picture", fontsize=11)
    for k, (colour, name) in enumerate(zip(colours, kernels, strict=True)):
        _map(axes[0, k + 1], photo[..., k], colour)
        _map(axes[1, k + 1], np.asarray(filtered)[..., k], f"↓ {name}")
    _map(last, np.asarray(mixed), "→ pointwise mix")
    for one in figure.axes:
        one.set(xticks=[], yticks=[])
    return figure


def channels_plot(photo: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    """Return a picture of what a network makes of a photo: eight channels of each map, a row each.

    photo (S, S, 3), uint8; maps: name → (H, W, C), from front to back. Shown are the channels that
    vary most over the photo, in the order of their numbers, from black, the lowest, to white.
    """
    shapes = ", ".join(f"{name} ({one.shape[0]} × {one.shape[1]})" for name, one in maps.items())
    alt = f"A picture, and {CHANNELS} channels of what a network made of it, a row each: {shapes}."
    ratios = {"width_ratios": [2, *CHANNELS * [1]], "squeeze": False}
    height = max(1.9, 0.2 + 1.08 * len(maps))
    figure, axes = new_figure(WIDEST, height, alt, len(maps), 1 + CHANNELS, **ratios)
    grid = axes[0, 0].get_gridspec()
    for one in axes[:, 0]:
        one.remove()
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(photo)
    whole.set_title("the picture", fontsize=10)
    for row, (name, values) in zip(axes[:, 1:], maps.items(), strict=True):
        most = np.argsort(-values.std(axis=(0, 1)), kind="stable")[:CHANNELS]
        for one, k in zip(row, np.sort(most), strict=False):
            _map(one, values[..., k], f"{k}")
        for one in row[len(most) :]:
            one.set_axis_off()
        row[0].set_ylabel(f"{name}\n{values.shape[0]} × {values.shape[1]}", fontsize=10)
    for one in figure.axes:
        one.set(xticks=[], yticks=[])
    return figure


def _map(axes, values: np.ndarray, title: str) -> None:
    """Draw one channel in grey. The few strongest values would leave no contrast to the others."""
    low, high = np.percentile(values, (1, 99))
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=10)
