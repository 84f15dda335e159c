"""Pictures of how far to trust a network: calibration, a threshold's price, the head's penalty.

The reliability diagram is that of Guo et al. (2017), *On Calibration of Modern Neural Networks*,
https://arxiv.org/abs/1706.04599.
"""

import numpy as np
from matplotlib.figure import Figure

from mobilenet.explain import calibration
from mobilenet.figures.canvas import CHOSEN, GREY, WIDEST, class_colour, new_figure
from mobilenet.figures.lettering import short
from mobilenet.transfer.metrics import cross_entropy, probabilities, wilson_interval

EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # of bins: most are sure
FEWEST = 10  # photos in a bin, if there are as many


def reliability_plot(p: np.ndarray, labels: np.ndarray, temperature: float | None = None) -> Figure:
    """Return how often the likeliest class is right, by its predicted probability, in bins of at
    least FEWEST photos with 95 % intervals; the numbers beside the dots count a bin's photos.

    p: (N, K) probabilities, labels: (N,), of photos that were not trained on. With a temperature
    there are hollow dots for the logits divided by it. On the dotted line predictions are as often
    right as they say.
    """
    ways = {"as predicted": p}
    if temperature is not None:
        scaled = probabilities(np.log(np.maximum(p, 1e-30)) / temperature)
        ways[f"logits divided by {temperature:.2f}"] = scaled
    looks = (
        {"fmt": "o", "color": "black"},
        {"fmt": "s", "color": GREY, "mfc": "white", "mew": 1.5},
    )
    figure, axes = new_figure(6.6, 5.2, "")
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    told, lowest, floor = [], 1.0, 1.0
    for (way, one), look in zip(ways.items(), looks, strict=False):
        sure, right = one.max(axis=1), one.argmax(axis=1) == labels
        bins = _bins(sure)
        hits, counts = (
            np.array([part(right[some]) for some in bins]) for part in (np.sum, np.size)
        )
        middle, share = np.array([sure[some].mean() for some in bins]), hits / counts
        intervals = [wilson_interval(*map(int, pair)) for pair in zip(hits, counts, strict=True)]
        reach = np.abs(np.transpose(intervals) - share)
        loss = f"loss {cross_entropy(one, labels).mean():.3f}"
        error = f"calibration error {calibration.reliability(one, labels).error:.3f}"
        axes.errorbar(
            middle, share, reach, capsize=4, ms=8, label=f"{way}: {loss}, {error}", **look
        )
        each = zip(hits, counts, middle, strict=True)
        shares = ", ".join(f"{hit} of {count} at {100 * at:.0f} %" for hit, count, at in each)
        told.append(f"{way} {loss}, {error}, right {shares}")
        lowest, floor = min(lowest, sure.min()), min(floor, *(low for low, _ in intervals))
        if way == "as predicted":
            for x, y, count in zip(middle, [low for low, _ in intervals], counts, strict=True):
                axes.annotate(
                    f"{count:,}", (x, y), (0, -5), textcoords="offset points",
                    ha="center", va="top", fontsize=9, color=GREY,
                )  # fmt: skip
    axes.set(xlim=(lowest - 0.02, 1.03), ylim=(floor - 0.09, 1.04))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("predicted probability of the likeliest class")
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", fontsize=10, frameon=False)
    figure.set_label(
        f"Accuracy by predicted probability of {len(labels)} photos: {'; '.join(told)}."
    )
    return figure


def _bins(sure: np.ndarray) -> list[np.ndarray]:
    """Positions of predictions by bin, from the surest down: each has at least FEWEST of them, or
    all.
    """
    place, bins = np.digitize(sure, EDGES), []
    for k in range(len(EDGES), -1, -1):
        some = np.flatnonzero(place == k)
        if bins and len(bins[-1]) < FEWEST:
            bins[-1] = np.concatenate([bins[-1], some])
        elif len(some):
            bins.append(some)
    if len(bins) > 1 and len(bins[-1]) < FEWEST:
        bins[-2:] = [np.concatenate(bins[-2:])]
    return bins


def threshold_plot(p: np.ndarray, positive: np.ndarray, threshold: float, name: str) -> Figure:
    """Return precision and recall against the threshold from which on a photo is called `name`; the
    chosen one is marked. Each stroke below is a photo at its predicted probability.

    p: the probability of `name`, (N,). positive: bool (N,), whether a photo is. Raises UserError
    if none is.
    """
    found, called = calibration.thresholds(p, positive), p >= threshold
    hits, calls, there = (int(some.sum()) for some in (positive & called, called, positive))
    ratios = {"height_ratios": (10, 1, 1), "hspace": 0}
    figure, (axes, *strips) = new_figure(WIDEST, 4.6, "", 3, 1, sharex=True, gridspec_kw=ratios)
    edges, ours = np.append(0.0, found.thresholds[::-1]), class_colour(1)
    lines = (
        ("precision", found.precision, hits, calls, "-", "black", "s"),
        ("recall", found.recall, hits, there, "--", ours, "o"),
    )
    told = []
    for line, values, n, of, style, colour, mark in lines:
        # Up to the highest p; above, none is called so, and precision is no number.
        axes.step(edges, np.append(values[::-1], values[0]), style, where="post", color=colour)
        share, look = f"{line} {n} of {of}", CHOSEN | {"marker": mark, "mec": colour}
        if of:
            axes.plot(threshold, n / of, zorder=4, **look)
            low, high = wilson_interval(n, of)
            share += f" ({100 * low:.1f} to {100 * high:.1f} %)"
        axes.plot([], [], color=colour, label=share, **(look | {"ls": style}))
        told.append(share)
    rows = ((short(name), p[positive], ours), ("others", p[~positive], GREY))
    for strip, (said, some, colour) in zip(strips, rows, strict=True):
        strip.plot(some, np.zeros(len(some)), "|", color=colour, ms=13, mew=1.5, alpha=0.6)
        strip.set(yticks=[0], yticklabels=[said], ylim=(-1, 1))
        strip.tick_params(length=0)
        strip.spines[["top", "right", "left"]].set_visible(False)
    for one in (axes, *strips):
        label = f"threshold {threshold:.3f}" if one is axes else None
        one.axvline(threshold, color="black", linestyle=":", label=label, zorder=0)
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.03, 1.05))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    strips[-1].set_xlabel(f"predicted probability of {short(name, 30)}, and the threshold on it")
    figure.legend(loc="outside upper center", ncols=3, fontsize=10, frameon=False)
    figure.set_label(
        f"Precision and recall of calling {len(p)} photos {name!r} by the threshold on the "
        f"predicted probability, at {threshold:.3f}: {', '.join(told)}."
    )
    return figure


def l2_plot(penalties: np.ndarray, losses: np.ndarray) -> Figure:
    """Return the mean loss of held-out photos against the penalty; a dot marks the lowest."""
    best = losses.argmin()
    alt = f"Loss of held-out photos by L2 penalty: lowest, {losses[best]:.3f}, at " + (
        f"{penalties[best]:.3g}; {losses[0]:.3f} at {penalties[0]:.3g}, "
        f"{losses[-1]:.3f} at {penalties[-1]:.3g}."
    )
    figure, axes = new_figure(6.5, 3.4, alt)
    axes.plot(penalties, losses, "-", color="black")
    axes.plot(penalties[best], losses[best], label=f"lowest, at {penalties[best]:.3g}", **CHOSEN)
    axes.set_xscale("log")
    axes.set_xlabel("L2 penalty")
    axes.set_ylabel("loss of held-out photos")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
