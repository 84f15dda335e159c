"""Pictures under layers: what a convolution makes of a photo, what a network's channels hold."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mobilenet.canvas import WIDEST, new_figure

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
    alt = f"A photo, and {CHANNELS} channels of what a network made of it, a row each: {shapes}."
    figure, axes = new_figure(
        WIDEST, 0.1 + 1.25 * len(maps), alt, len(maps), 1 + CHANNELS, squeeze=False
    )
    for one in axes.ravel():
        one.set_axis_off()
    for row, (name, values) in zip(axes, maps.items(), strict=True):
        height, width, count = values.shape
        most = np.sort(np.argsort(-values.std(axis=(0, 1)), kind="stable")[:CHANNELS])
        for one, k in zip(row[1:], most, strict=False):
            _map(one, values[..., k], f"{k}")
            one.set_axis_on()
            one.set(xticks=[], yticks=[])
        said = f"{name}\n{height} × {width}\n{count} channels"
        row[0].text(0.5, 0.5, said, ha="center", va="center", fontsize=10)
        row[0].set(xlim=(0, 1), ylim=(0, 1))
    return figure


def _map(axes, values: np.ndarray, title: str) -> None:
    """Draw one channel in grey. The few strongest values would leave no contrast to the others."""
    low, high = np.percentile(values, (1, 99))
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=10)
