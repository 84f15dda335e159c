"""The drawings of notebook 7: what 8 bits do to weights, to activations and to whole networks.

What shares one scale is orange in all of them, what has a scale for each channel is black.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from mobilenet.figures.canvas import GREY, ORANGE, WIDEST, new_figure
from mobilenet.phone import quantizing

BLACK = "#000000"
TENSOR, CHANNEL = "one scale per tensor", "one scale per channel"
LOOKS = {TENSOR: (ORANGE, "x"), CHANNEL: (BLACK, "o")}


def levels_plot(low: float, high: float, bits: int) -> Figure:
    """Return a picture of numbers from `low` to `high` and what they are rounded to with so many
    bits; below it the error.
    """
    scale, zero_point = quantizing.grid(low, high, bits)
    exact = np.linspace(low, high, 1001)
    levels = quantizing.quantize(exact, scale, zero_point, bits)
    found = quantizing.dequantize(levels, scale, zero_point)
    figure, (above, below) = new_figure(8, 4.2, "", 2, 1, sharex=True, height_ratios=(2, 1))
    above.plot(exact, exact, ":", color=GREY, label="exact")
    above.plot(exact, found, color=BLACK, linewidth=2, label=f"{len(np.unique(levels))} levels")
    above.plot(0, 0, "o", ms=9, mfc="none", color=ORANGE, mew=2, label="0 is a level")
    below.plot(exact, found - exact, color=BLACK)
    for end in (-scale / 2, scale / 2):
        below.axhline(end, color=ORANGE, linestyle="--")
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
    """Return a picture of how many levels each channel of a kernel has when all share one scale.

    ranges: the largest weight of each channel, float64 (channels,), by what the kernel is called;
    two of them at most. The channels are sorted, and a dashed line marks their median.
    """
    told, last = [], quantizing.limits(bits)[1]
    figure, axes = new_figure(8, 3.8, "")
    looks = zip((GREY, ORANGE), "o^", strict=True)
    for (name, values), (colour, mark) in zip(ranges.items(), looks, strict=False):
        reached = np.sort(values) * last / values.max()
        median, lost = np.median(reached), int((reached < 0.5).sum())
        label = f"{name}: median {median:.0f} of {last}"
        label += f", {lost} channels rounded to 0" if lost else ""
        places = np.arange(1, len(values) + 1)
        axes.plot(places, np.maximum(reached, 0.1), mark, ms=5, color=colour, label=label)
        axes.axhline(median, color=colour, linestyle="--", linewidth=1.5)
        told.append(label)
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("channels, the one with the smallest weights first")
    axes.set_title(
        f"levels up to a channel's largest weight, {bits} bits, one scale (dashed: median)",
        fontsize=11,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=10, loc="upper left")
    figure.set_label(
        f"How many levels of {bits} bits each of {len(values)} channels has with one scale: "
        f"{'; '.join(told)}."
    )
    return figure


def kernels_plot(rows: np.ndarray, bits: int, count: int = 12) -> Figure:
    """Return a picture of kernels of 3 × 3 as squares, blue above 0 and red below: `count` channels
    from the smallest to the largest, exact, with a scale per tensor and with one per channel. Each
    channel has its own shades.

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
        f"{bits} bits; above each kernel its largest weight; blue above 0, red below 0, white is 0",
        fontsize=10,
    )
    return figure


def clarity_plot(kernels: Mapping[str, np.ndarray], bits: int) -> Figure:
    """Return a picture of the signal-to-noise ratio of each channel against its largest weight,
    with a scale per tensor and with one per channel; a panel a kernel, float (channels, weights) by
    its name.
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
            axes.plot(shown, clear, mark, ms=5, mfc="none", color=colour, label=way)
            medians.append(f"{np.median(clear):.0f} dB {way[10:]}")
        told.append(f"{name} {' and '.join(medians)}")
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("largest weight of the channel")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("signal-to-noise ratio, dB")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    figure.set_label(
        f"Signal-to-noise ratio of each channel by its largest weight, {bits} bits, medians: "
        f"{'; '.join(told)}."
    )
    return figure


def bits_plot(
    errors: Mapping[tuple[str, bool, int], float],
    right: Mapping[tuple[str, bool, int], int],
    total: int,
    marks: Mapping[str, int],
) -> Figure:
    """Return a picture of the error of the features, and of the accuracy, by the bits of a weight:
    orange with a scale per tensor, black with one per channel, a line style for each kind of layer
    whose weights are rounded.

    errors, right: by (kind, per channel, bits); right are counts of photos, of `total`. marks: two
    other counts, as grey lines, by what is said of them.
    """
    figure, panels = new_figure(WIDEST, 3.9, "", 1, 2)
    lines, bits = (
        list(dict.fromkeys(some)) for some in zip(*((k[:2], k[2]) for k in errors), strict=True)
    )
    looks, told = dict.fromkeys(kind for kind, _ in lines), []
    looks = dict(zip(looks, (("-", "o", 9), ("--", "s", 5)), strict=True))
    for kind, per_channel in lines:
        style, mark, size = looks[kind]  # so that one behind the other is seen as well
        label, colour = f"{kind}, per {'channel' if per_channel else 'tensor'}", BLACK
        if not per_channel:
            colour = ORANGE
        look = {"linestyle": style, "marker": mark, "ms": size, "color": colour, "label": label}
        for axes, values in zip(panels, (errors, right), strict=True):
            axes.plot(bits, [values[kind, per_channel, n] for n in bits], mfc="white", **look)
        some = [(errors[kind, per_channel, n], right[kind, per_channel, n]) for n in bits]
        told.append(f"{label} " + ", ".join(f"{error:.2g} ({count})" for error, count in some))
    panels[0].set_yscale("log")
    _plain_ticks(panels[0].yaxis)
    panels[0].set_title("relative error of the features", fontsize=11)
    panels[1].set_title(f"accuracy: correct answers of {total}", fontsize=11)
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
        f"Error of the features, and correct answers of {total}, with {', '.join(map(str, bits))} "
        f"bits a weight: {'; '.join(told)}."
    )
    return figure


def steps_plot(ranges: Mapping[str, np.ndarray]) -> Figure:
    """Return a picture of the distance between two levels of 8 bits at each layer, front to back:
    of each ReLU6, with a line to what it would be without the clip, and of each bottleneck, which
    lies behind every other of them.

    ranges: float64 (layers, 2), lowest and highest, as `quantizing.activation_ranges` gives them.
    """
    clipped, linear = ranges["after ReLU6"], ranges["bottleneck"]
    unclipped = np.clip(ranges["before ReLU6"], 0, None)  # what a ReLU would give
    places, between = np.arange(len(clipped)) + 1.0, 2 * np.arange(len(linear)) + 2.5
    looks = {
        "ReLU, no clip": (places, unclipped, "^", ORANGE),
        "ReLU6": (places, clipped, "o", BLACK),
        "bottleneck": (between, linear, "s", GREY),
    }
    told, found = [], {}
    figure, axes = new_figure(WIDEST, 3.8, "")
    for name, (where, ends, mark, colour) in looks.items():
        found[name] = steps = np.array([quantizing.grid(*pair)[0] for pair in ends])
        axes.plot(where, steps, mark, color=colour, label=name, ms=6, zorder=3)
        told.append(f"{name} {steps.min():.3f} to {steps.max():.3f}")
    both = found["ReLU6"], found["ReLU, no clip"]
    axes.vlines(places, *both, color=ORANGE, linewidth=1, alpha=0.5)
    axes.axhline(6 / 255, color=BLACK, linestyle=":", label="6 / 255")
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("layers with a ReLU6, front to back")
    axes.set_title("distance between two levels of 8 bits", fontsize=11)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.set_label(f"Distance between two levels of 8 bits by layer: {'; '.join(told)}.")
    return figure


def size_time_plot(files: Mapping[str, tuple[int, float, str]]) -> Figure:
    """Return a picture of saved networks, a dot a file: its size against its time for one photo.

    files: (bytes, milliseconds, what else is said beside the dot) by the file's name; the first is
    grey. Both axes begin at 0, so the lower left corner is the best.
    """
    sizes = np.array([size for size, _, _ in files.values()]) / 1e6
    times = np.array([time for _, time, _ in files.values()])
    told = "; ".join(
        f"{name} {size:.2f} MB, {time:.1f} ms, {said}"
        for (name, (_, _, said)), size, time in zip(files.items(), sizes, times, strict=True)
    )
    figure, axes = new_figure(8, 4.6, f"Size and time of {len(files)} files: {told}.")
    highest = 1.25 * times.max()
    axes.set(xlim=(0, 1.1 * sizes.max()), ylim=(0, highest))
    heights = _apart(times, highest, 0.115 * highest)
    for i, (name, (_, _, said)) in enumerate(files.items()):
        colour = ORANGE if i else GREY
        left = sizes[i] > 0.65 * sizes.max()
        place = sizes[i] + (-0.02 if left else 0.02) * 1.1 * sizes.max()
        axes.plot([sizes[i], place], [times[i], heights[i]], color=GREY, linewidth=0.8)
        axes.plot(sizes[i], times[i], "o", ms=13, color=colour, mec=BLACK, zorder=3)
        text = f" {name}: {sizes[i]:.2f} MB, {times[i]:.1f} ms \n {said} "
        side = "right" if left else "left"
        axes.text(place, heights[i], text, fontsize=10, ha=side, va="center", linespacing=1.3)
    axes.set_xlabel("size of the file, MB")
    axes.set_ylabel("time of one photo, ms")
    axes.set_title("smaller to the left, faster to the bottom", fontsize=11)
    axes.grid(alpha=0.3)
    return figure


def _apart(heights: Sequence[float], highest: float, gap: float) -> np.ndarray:
    """Return heights of labels that are at least `gap` apart and as near as can be to these, from
    0 to `highest`, where there is room for all.
    """
    order, ranks = np.argsort(heights, kind="stable"), np.arange(len(heights))
    blocks = []  # of labels that touch: [sum, count], all at their mean but for their ranks
    for height in np.asarray(heights, float)[order] - gap * ranks:
        blocks.append([height, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    found = np.concatenate([np.full(count, total / count) for total, count in blocks])
    placed = np.empty(len(order))
    placed[order] = found.clip(gap / 2, highest - gap * (len(order) - 0.5)) + gap * ranks
    return placed


def _plain_ticks(axis) -> None:
    """A logarithmic axis with some of its numbers written out, fewer if it is long."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
