"""The drawings of notebook 6: what 8 bits do to weights, to activations and to whole networks."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from mobilenet import quantizing
from mobilenet.canvas import BLUE, GREEN, GREY, ORANGE, RED, WIDEST, new_figure

TENSOR, CHANNEL = "one scale per tensor", "one scale per channel"
LOOKS = {TENSOR: (RED, "x"), CHANNEL: (BLUE, "o")}


def levels_plot(low: float, high: float, bits: int) -> Figure:
    """Numbers from `low` to `high` and what becomes of them with so many bits; below, the error."""
    scale, zero_point = quantizing.grid(low, high, bits)
    exact = np.linspace(low, high, 1001)
    levels = quantizing.quantize(exact, scale, zero_point, bits)
    found = quantizing.dequantize(levels, scale, zero_point)
    figure, (above, below) = new_figure(8, 4.2, "", 2, 1, sharex=True, height_ratios=(2, 1))
    above.plot(exact, exact, ":", color=GREY, label="exact")
    above.plot(exact, found, color=BLUE, linewidth=2, label=f"{len(np.unique(levels))} levels")
    above.plot(0, 0, "o", ms=9, mfc="none", color=RED, mew=2, label="0 is a level")
    below.plot(exact, found - exact, color=BLUE)
    for end in (-scale / 2, scale / 2):
        below.axhline(end, color=RED, linestyle="--")
    above.set_title(f"{bits} bits: scale {scale:.3g}, zero point {zero_point}", fontsize=11)
    above.set_ylabel("rounded")
    above.legend(fontsize=10)
    below.set_ylabel("error")
    below.set_xlabel("number (dashed: half a scale)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.set_label(
        f"Numbers from {low:g} to {high:g} rounded to {bits} bits: a staircase of "
        f"{len(np.unique(levels))} levels {scale:.3g} apart, with an error of half of that at most."
    )
    return figure


def ranges_plot(ranges: Mapping[str, np.ndarray], bits: int) -> Figure:
    """The largest weight of each channel of a kernel, float64 (channels,) by the kernel's name,
    the channels by size; dashed in the same colour half the scale per tensor: a channel below it
    is rounded to nothing.
    """
    told = []
    figure, axes = new_figure(8, 3.8, "")
    looks = zip((ORANGE, BLUE), "o^", strict=True)
    for (name, values), (colour, mark) in zip(ranges.items(), looks, strict=False):
        # What is next to nothing is drawn on the lower edge.
        values = np.sort(values)
        shown = np.maximum(values, values[-1] / 1e5)
        axes.plot(range(1, len(values) + 1), shown, mark, ms=5, color=colour, label=name)
        half = values[-1] / quantizing.limits(bits)[1] / 2
        axes.axhline(half, color=colour, linestyle="--", linewidth=1.5)
        below = int((values < half).sum())
        median = values[-1] / np.median(values)
        told.append(f"{name} the largest is {median:.1f} times the median, {below} below half")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("channels, the smallest first")
    axes.set_title(
        f"largest weight of a channel (dashed: half a scale of {bits} bits)", fontsize=11
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=10)
    figure.set_label(
        f"Largest weight of each of {len(values)} channels: {'; '.join(told)} a scale of {bits} "
        "bits."
    )
    return figure


def kernels_plot(rows: np.ndarray, bits: int, count: int = 12) -> Figure:
    """Kernels of 3 × 3 as squares, blue above 0 and red below: `count` channels from the smallest
    to the largest, exact, with a scale per tensor and with one per channel. Each channel has its
    own shades.

    rows: float (channels, 9), as `quantizing.by_channel` gives them.
    """
    largest = np.abs(rows).max(axis=1)
    count = min(count, len(rows))
    chosen = np.argsort(largest, kind="stable")[np.linspace(0, len(rows) - 1, count).astype(int)]
    kinds = {
        "exact": rows,
        "per tensor": quantizing.rounded(rows, False, bits),
        "per channel": quantizing.rounded(rows, True, bits),
    }
    empty = int((np.abs(kinds["per tensor"][chosen]).max(axis=1) == 0).sum())
    alt = (
        f"{count} kernels of 3 by 3, the smallest first: exact, rounded to {bits} bits with a "
        f"scale per tensor ({empty} of them empty), and with one per channel."
    )
    figure, axes = new_figure(WIDEST, 2.7, alt, 3, count, squeeze=False)
    for (name, kernels), line in zip(kinds.items(), axes, strict=True):
        line[0].set_ylabel(name, fontsize=10, rotation=0, ha="right", va="center")
        for one, channel in zip(line, chosen, strict=True):
            reach = largest[channel] or 1.0
            square = kernels[channel].reshape(3, 3)
            one.imshow(square, cmap="RdBu", vmin=-reach, vmax=reach)
            one.set_xticks([])
            one.set_yticks([])
    for one, channel in zip(axes[0], chosen, strict=True):
        one.set_title(f"{largest[channel]:.2g}", fontsize=9)
    figure.suptitle(
        f"{bits} bits; above each kernel its largest weight; blue above 0, red below, each kernel "
        "in its own shades",
        fontsize=10,
    )
    return figure


def clarity_plot(kernels: Mapping[str, np.ndarray], bits: int) -> Figure:
    """Signal to noise of each channel against its largest weight, with a scale per tensor and with
    one per channel; a panel a kernel, float (channels, weights) by its name.
    """
    told = []
    figure, panels = new_figure(WIDEST, 3.8, "", 1, len(kernels), sharey=True, squeeze=False)
    for axes, (name, rows) in zip(panels[0], kernels.items(), strict=True):
        largest, medians = np.abs(rows).max(axis=1), []
        rows, largest = rows[largest > 0], largest[largest > 0]
        shown = np.maximum(largest, largest.max() / 1e5)  # next to nothing: on the left edge
        for way, (colour, mark) in LOOKS.items():
            found = quantizing.rounded(rows, way == CHANNEL, bits)
            clear = quantizing.signal_to_noise(rows, found)
            axes.plot(shown, clear, mark, ms=5, mfc="none", color=colour, alpha=0.7, label=way)
            medians.append(f"{np.median(clear):.0f} dB {way[10:]}")
        told.append(f"{name} {' and '.join(medians)}")
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("largest weight of the channel")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("signal to noise, dB")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    figure.set_label(
        f"Signal to noise of each channel by its largest weight, {bits} bits, medians: "
        f"{'; '.join(told)}."
    )
    return figure


def bits_plot(
    errors: Mapping[tuple[str, bool, int], float],
    right: Mapping[tuple[str, bool, int], int],
    total: int,
    marks: Mapping[str, int],
) -> Figure:
    """Error of the features, and photos right, by the bits of a weight: a colour for each kind of
    layer whose weights are rounded, solid with a scale per tensor, dashed with one per channel.

    errors, right: by (kind, per channel, bits); total: photos asked; marks: two other numbers of
    photos right, as grey lines, by what is said of them.
    """
    figure, panels = new_figure(WIDEST, 3.9, "", 1, 2)
    lines, bits = (
        list(dict.fromkeys(some)) for some in zip(*((k[:2], k[2]) for k in errors), strict=True)
    )
    looks, told = dict.fromkeys(kind for kind, _ in lines), []
    looks = dict(zip(looks, ((ORANGE, "o", 9), (GREEN, "s", 5)), strict=True))
    for kind, per_channel in lines:
        colour, mark, size = looks[kind]  # so that one behind the other is seen, too
        label = f"{kind}, per {'channel' if per_channel else 'tensor'}"
        look = {"marker": mark, "ms": size, "color": colour, "label": label}
        look |= {"linestyle": "--", "mfc": "white"} if per_channel else {"linestyle": "-"}
        for axes, values in zip(panels, (errors, right), strict=True):
            axes.plot(bits, [values[kind, per_channel, n] for n in bits], **look)
        told.append(f"{label} " + ", ".join(f"{errors[kind, per_channel, n]:.2g}" for n in bits))
    panels[0].set_yscale("log")
    _plain_ticks(panels[0].yaxis)
    panels[0].set_title("error of the features", fontsize=11)
    panels[1].set_title(f"photos right of {total}", fontsize=11)
    panels[1].yaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].set_ylim(0, total * 1.05)
    for (text, count), style in zip(marks.items(), (":", "-."), strict=True):
        panels[1].axhline(count, color=GREY, linestyle=style, label=f"{text}: {count}", zorder=1)
    for axes in panels:
        axes.set_xticks(bits)
        axes.set_xlabel("bits of a weight")
        axes.invert_xaxis()
        axes.grid(alpha=0.3)
    handles = panels[1].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    figure.set_label(
        f"Error of the features with {', '.join(map(str, bits))} bits a weight: {'; '.join(told)}."
    )
    return figure


def steps_plot(ranges: Mapping[str, np.ndarray]) -> Figure:
    """The step of 8 bits at each layer, front to back, by what is rounded.

    ranges: float64 (layers, 2), lowest and highest, as `quantizing.activation_ranges` gives them:
    of each ReLU6, or of each bottleneck, which lies behind every other of them.
    """
    told, longest = [], max(map(len, ranges.values()))
    figure, axes = new_figure(WIDEST, 3.8, "")
    looks = zip((RED, GREEN, GREY), "^os", strict=True)
    for (name, ends), (colour, mark) in zip(ranges.items(), looks, strict=True):
        steps = np.array([quantizing.grid(*pair)[0] for pair in ends])
        behind = 2 * np.arange(len(steps)) + 2.5
        places = np.arange(longest) + 1.0 if len(steps) == longest else behind
        axes.plot(places, steps, f"-{mark}", color=colour, label=name, ms=6, linewidth=1)
        told.append(f"{name} {steps.min():.3f} to {steps.max():.3f}")
    axes.axhline(6 / 255, color="black", linestyle=":", label="6 / 255")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xticks([])
    axes.set_xlabel("layers, front to back")
    axes.set_title("distance between two levels of 8 bits", fontsize=11)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.set_label(f"Distance between two levels of 8 bits by layer: {'; '.join(told)}.")
    return figure


def _plain_ticks(axis) -> None:
    """A logarithmic axis with some of its numbers written out, fewer if it is long."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
