"""The drawings of notebooks 1 and 2: what convolution costs, and what MobileNet's parts are for."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from mobilenet.figures.canvas import BLUE, GREEN, GREY, ORANGE, RED, WIDEST, new_figure

# --- What convolution costs ---


def ratio_plot(kernel_sizes, channels, ratios) -> Figure:
    """How many times fewer multiply-adds a separable layer takes than a standard one.

    kernel_sizes (K,) holds D_K, channels (C,) rising N, ratios (K, C) separable over standard.
    """
    alt = (
        "How many times fewer multiply-adds a separable layer takes than a standard one, against "
        "the number of output channels, one curve a kernel size: each rises, then flattens "
        "towards the square of its kernel size."
    )
    figure, axes = new_figure(8, 4.2, alt)
    colours = (BLUE, ORANGE, GREEN, RED, GREY)
    for index, (size, values) in enumerate(zip(kernel_sizes, ratios, strict=True)):
        colour = colours[index % len(colours)]
        axes.plot(channels, 1 / values, color=colour, linewidth=2)
        axes.axhline(size**2, color=colour, linestyle=":", linewidth=1.2)
        label, end = f"{size} × {size} kernels", (channels[-1], 1 / values[-1])
        place = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
        axes.annotate(label, end, (30, 0), color=colour, fontsize=11, **place)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("output channels N", fontsize=12)
    axes.set_ylabel("times fewer multiply-adds", fontsize=12)
    axes.set_title("Separable instead of standard (dotted: the limit, $D_K^2$)", fontsize=12)
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.3)
    return figure


def time_against_multiply_adds_plot(multiply_adds: dict, seconds: dict, call: float) -> Figure:
    """Measured time of layers against their multiply-adds, with lines of equal speed.

    multiply_adds and seconds map a kind of layer to an array (layers,), both for one batch. call:
    seconds of a layer with next to nothing to do, drawn as a dashed line.
    """
    alt = (
        "Measured milliseconds of each layer against its multiply-adds, both on logarithmic axes, "
        "a colour for each kind, dotted lines along which the speed is the same, and a dashed line "
        "at the time that a call costs."
    )
    figure, axes = new_figure(8, 5.2, alt)
    millions = {kind: values / 1e6 for kind, values in multiply_adds.items()}
    axes.axhline(1e3 * call, color="black", linestyle="--", linewidth=1, label="a call")
    _kinds_scatter(axes, millions, {kind: 1e3 * values for kind, values in seconds.items()})
    axes.set_ylim(bottom=min(axes.get_ylim()[0], 800 * call))
    axes.autoscale(False)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    # A label for each line, above it on the right edge or on the upper one, in no dot's way.
    place = {"textcoords": "offset points", "color": GREY, "fontsize": 10}
    for speed in 10.0 ** np.arange(-3, 6):  # millions of multiply-adds a millisecond: GMAC/s
        axes.plot([left, right], [left / speed, right / speed], ":", color=GREY, zorder=1)
        label = f"{speed:g} GMAC/s"
        if left * 1.2 < high * speed < right:
            axes.annotate(label, (high * speed, high), (0, 4), ha="center", va="bottom", **place)
        elif low * 1.2 < right / speed < high:
            axes.annotate(label, (right, right / speed), (4, 0), ha="left", va="center", **place)
    axes.set_xlabel("million multiply-adds of a batch", fontsize=12)
    axes.set_ylabel("milliseconds", fontsize=12)
    return figure


def speed_against_intensity_plot(intensity: dict, speed: dict) -> Figure:
    """Multiply-adds a second of layers against their multiply-adds a byte moved.

    intensity and speed map a kind of layer to an array (layers,).
    """
    alt = (
        "Speed of each layer, in GMAC/s (thousand million multiply-adds a second), against its "
        "multiply-adds for each byte moved, both on logarithmic axes, a colour for each kind."
    )
    figure, axes = new_figure(8, 4.6, alt)
    _kinds_scatter(axes, intensity, {kind: values / 1e9 for kind, values in speed.items()})
    axes.set_xlabel("multiply-adds for each byte moved", fontsize=12)
    axes.set_ylabel("speed, GMAC/s", fontsize=12)
    return figure


def _kinds_scatter(axes, horizontal: dict, vertical: dict) -> None:
    """A dot a layer, a colour and a shape a kind of layer, on logarithmic axes."""
    looks = zip((BLUE, RED, ORANGE, GREEN, GREY), "osD^v", strict=True)
    for (kind, values), (colour, shape) in zip(horizontal.items(), looks, strict=False):
        axes.scatter(values, vertical[kind], s=60, color=colour, marker=shape, label=kind, zorder=3)
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.tick_params(labelsize=11)
    axes.grid(alpha=0.3)
    axes.figure.legend(fontsize=11, loc="outside lower center", ncols=5, frameon=False)


# --- What the parts of MobileNet are for ---


def passages_plot(points: np.ndarray, passages: dict) -> Figure:
    """Points on the plane, then what came back of them through 2, 3, … dimensions and ReLU.

    points (N, 2); passages maps a number of dimensions to an `anatomy.Passage`. Where the plane
    was flattened to a line or a point, dots are vermilion crosses. Each panel has its own scale.
    """
    alt = "A spiral, and what comes back of it after ReLU in " + ", ".join(
        f"{n} dimensions ({one.intact.mean():.0%} of the points intact)"
        for n, one in passages.items()
    )
    figure, panels = new_figure(WIDEST, 2.45, alt + ".", 1, 1 + len(passages))
    whole = np.ones(len(points), bool)
    shown = {"before": (points, whole)}
    for n, one in passages.items():
        shown[f"{n} dimensions\n{one.intact.mean():.0%} intact"] = one.back, one.intact
    for axes, (title, (dots, intact)) in zip(panels, shown.items(), strict=True):
        axes.scatter(*dots[intact].T, s=5, color=BLUE, label="intact")
        axes.scatter(*dots[~intact].T, s=12, color=RED, marker="x", linewidth=1, label="flattened")
        axes.set_title(title, fontsize=10.5)
        axes.set(xticks=[], yticks=[])
        axes.margins(0.1)
        axes.set_box_aspect(1)
    handles, labels = panels[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=10, markerscale=2)
    return figure


def losses_plot(losses: dict[str, np.ndarray]) -> Figure:
    """Return the training loss by step, a curve for each name."""
    told = "; ".join(f"{name} from {one[0]:.2f} to {one[-1]:.2f}" for name, one in losses.items())
    figure, axes = new_figure(7, 3.2, f"Training loss by step: {told}.")
    looks = zip((BLUE, RED, GREEN), ("-", "--", ":"), strict=True)
    for (name, values), (colour, style) in zip(losses.items(), looks, strict=False):
        axes.plot(values, style, color=colour, linewidth=2, label=name)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step, from 0", fontsize=11)
    axes.set_ylabel("training loss", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=11)
    return figure


def clip_plot(largest: dict[str, float]) -> Figure:
    """The largest number that comes to each ReLU6, front to back; above the line it is clipped."""
    values = np.array(list(largest.values()))
    alt = (
        f"The largest number before each of {len(values)} ReLU6 layers: {values.min():.1f} to "
        f"{values.max():.1f}; {(values > 6).sum()} of them above 6, where ReLU6 clips."
    )
    figure, axes = new_figure(WIDEST, 3, alt)
    layers = range(1, len(values) + 1)
    axes.vlines(layers, 6, values, GREY)
    axes.plot(layers, values, "o", color=GREY)
    axes.axhline(6, color=RED, linestyle="--", linewidth=2, label="ReLU6 clips here")
    axes.set_yscale("log")  # one layer may receive thirty times as much as the others
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_xlim(0.3, len(values) + 0.7)
    axes.set_xlabel("ReLU6 layer, front to back", fontsize=11)
    axes.set_ylabel("largest number", fontsize=11)
    axes.legend(fontsize=11)
    return figure


def shares_plot(shares: dict[str, dict[str, tuple[float, float]]]) -> Figure:
    """Return bars of the share of multiply-adds beside the share of time, by kind of layer, a panel
    for each network. Kinds that have less than a fortieth of both everywhere are left out.

    shares maps a network to {kind: (share of multiply-adds, share of time)}, each in [0, 1].
    """
    kinds = list(dict.fromkeys(kind for network in shares.values() for kind in network))
    most = {kind: max(max(one.get(kind, (0, 0))) for one in shares.values()) for kind in kinds}
    kinds = [kind for kind in kinds if most[kind] >= 1 / 40]
    told = "; ".join(
        f"{name}: " + ", ".join(f"{kind} {a:.0%} and {b:.0%}" for kind, (a, b) in one.items())
        for name, one in shares.items()
    )
    alt = f"Share of multiply-adds and share of time by kind of layer. {told}."
    figure, panels = new_figure(WIDEST, 1 + 0.5 * len(kinds), alt, 1, len(shares), sharey=True)
    places = np.arange(len(kinds))
    for axes, (name, network) in zip(np.atleast_1d(panels), shares.items(), strict=True):
        both = np.array([network.get(kind, (0, 0)) for kind in kinds])
        for values, offset, colour, label in (
            (both[:, 0], -0.2, BLUE, "multiply-adds"),
            (both[:, 1], 0.2, ORANGE, "time"),
        ):
            bars = axes.barh(places + offset, values, 0.38, color=colour, label=label)
            axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=10)
        axes.set_title(name, fontsize=12)
        axes.set_yticks(places, kinds, fontsize=11)
        axes.set(xlim=(0, 1.12), xticks=[])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def top1_plot(families: dict[str, tuple], others: dict[str, tuple[float, float]]) -> Figure:
    """Top-1 on ImageNet, in per cent, against multiply-adds in millions, logarithmic.

    families maps a name to (millions, top1), arrays (models,); others to one network's two numbers.
    """
    alt = (
        "Top-1 accuracy on ImageNet against multiply-adds on a logarithmic axis: "
        f"{' and '.join(families)} as clouds of dots, {', '.join(others)} to the right of them."
    )
    figure, axes = new_figure(8, 4.4, alt)
    looks = zip((BLUE, ORANGE, GREEN), "oD^", strict=True)
    for (name, (millions, top1)), (colour, mark) in zip(families.items(), looks, strict=False):
        axes.scatter(millions, top1, s=45, color=colour, marker=mark, label=name, zorder=3)
    for name, (millions, top1) in others.items():
        axes.scatter(millions, top1, s=45, color=GREY, marker="s")
        place = {"textcoords": "offset points", "ha": "center", "fontsize": 10}
        axes.annotate(name, (millions, top1), (0, 7), **place)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(0.1)
    axes.set_xlabel("million multiply-adds", fontsize=11)
    axes.set_ylabel("top-1 on ImageNet, %, quoted", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=11, loc="lower right")
    return figure
