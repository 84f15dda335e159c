"""The pictures of the notebook on training from scratch: what pretraining is worth."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mobilenet.figures.canvas import GREY, ORANGE, WIDEST, new_figure
from mobilenet.transfer.metrics import Result

# Colours and marks of ways of training: no colour of a class, nor of right and wrong.
WAYS = ((GREY, "D"), (ORANGE, "o"), ("black", "s"))


def ways_plot(ways: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Return loss and accuracy by epoch, a colour a way of training: validation solid, training
    dashed.

    ways: name → what Keras's `fit` noted, its `history`: loss, accuracy, val_loss, val_accuracy.
    """
    told = "; ".join(f"{name} {100 * h['val_accuracy'][-1]:.0f} %" for name, h in ways.items())
    alt = f"Loss and accuracy by epoch; validation accuracy at the end: {told}."
    figure, (losses, accuracies) = new_figure(WIDEST, 3.8, alt, 1, 2)
    for (name, history), (colour, mark) in zip(ways.items(), WAYS[::-1], strict=False):
        epochs = np.arange(1, len(history["loss"]) + 1)
        for axes, part in ((losses, "loss"), (accuracies, "accuracy")):
            axes.plot(epochs, history[part], "--", color=colour, alpha=0.6)
            values = history[f"val_{part}"]
            axes.plot(epochs, values, color=colour, label=name)
            axes.plot(epochs[-1], values[-1], mark, color=colour)
    for axes, title in ((losses, "loss"), (accuracies, "accuracy")):
        axes.plot([], [], "--", color=GREY, label="dashed: training")
        axes.plot([], [], color=GREY, label="solid: validation")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    losses.set_ylim(bottom=0)
    accuracies.set_ylim(top=1.02)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    handles, labels = losses.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
    return figure


def staircase_plot(groups: Sequence[Mapping[str, Result]], baseline: float) -> Figure:
    """Return a dot a way of training, from top to bottom: its accuracy with the 95 % interval.

    groups: of ways that have a colour in common, name → how many held-out photos it got right.
    baseline: the accuracy of always naming the most common class, in [0, 1], drawn dotted.
    """
    steps = [
        (name, result, look)
        for ways, look in zip(groups, WAYS, strict=False)
        for name, result in ways.items()
    ]
    told = "; ".join(f"{name} {r.correct} of {r.total}" for name, r, _ in steps)
    alt = (
        f"Accuracy on held-out photos with 95 % intervals: {told}; baseline {100 * baseline:.0f} %."
    )
    figure, axes = new_figure(WIDEST, 1.2 + 0.42 * len(steps), alt)
    for row, (_, result, (colour, mark)) in enumerate(steps):
        axes.plot(result.interval, [row, row], color=colour, lw=2.5, solid_capstyle="butt")
        axes.plot(result.correct / result.total, row, mark, ms=10, color=colour)
        axes.annotate(
            f"{result.correct} of {result.total}",
            (1, row),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=10,
        )
    axes.axvline(baseline, color=GREY, linestyle=":", label="baseline: the most common class")
    axes.set_yticks(range(len(steps)), [name for name, *_ in steps], fontsize=11)
    axes.set_ylim(len(steps) - 0.5, -0.5)
    axes.set_xlim(right=1.01)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    axes.set_xlabel("accuracy on held-out photos, with 95 % intervals")
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", frameon=False, fontsize=10)
    return figure


def accuracy_by_count_plot(
    counts: Sequence[int],
    ways: Mapping[str, Sequence[Result]],
    baseline: float,
    alone: Mapping[str, Result] | None = None,
) -> Figure:
    """Return accuracy with its 95 % interval against the number of training photos, a line a way
    of training.

    ways: name → a result for each of counts. baseline: the accuracy of always naming the most
    common class, in [0, 1], drawn as a dotted line. alone: name → the result of a way that was
    tried with the last count alone, drawn as a mark of its own.
    """
    every = {**ways, **{name: [result] for name, result in (alone or {}).items()}}
    told = "; ".join(
        f"{name}: {', '.join(f'{r.correct} of {r.total}' for r in results)}"
        for name, results in every.items()
    )
    alt = f"Accuracy on held-out photos by training photos ({', '.join(map(str, counts))}). {told}."
    figure, axes = new_figure(WIDEST, 4.4, alt)
    looks = zip(every.items(), (WAYS[0], WAYS[2], WAYS[1]), strict=False)
    for i, ((name, results), (colour, mark)) in enumerate(looks):
        # Of one result, the last count; beside each other, so that no interval hides another.
        beside = np.array(counts[-len(results) :]) * 1.04 ** (i - 1)
        share = np.array([r.correct / r.total for r in results])
        reach = np.abs(np.array([r.interval for r in results]).T - share)
        axes.errorbar(beside, share, reach, fmt=f"-{mark}", color=colour, capsize=4, label=name)
    axes.axhline(baseline, color=GREY, linestyle=":", label="baseline: the most common class")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training photos")
    axes.set_title("accuracy on held-out photos, with 95 % intervals", fontsize=11)
    axes.set_ylim(top=1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    axes.grid(alpha=0.3)
    figure.legend(fontsize=10, loc="outside lower center", ncols=2, frameon=False)
    return figure


def runs_plot(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Return accuracy by epoch of runs of `mobilenet.train`, side by side: validation solid,
    training dashed.

    runs: name, of one line or more → the lines of its history.jsonl.
    """
    told = "; ".join(name.replace("\n", ", ") for name in runs)
    alt = f"Accuracy by epoch on validation and training photos of {told}."
    columns = min(3, len(runs))
    down = -(-len(runs) // columns)
    size = min(4.2 * columns, WIDEST), 0.6 + 3 * down
    figure, all_axes = new_figure(*size, alt, down, columns, squeeze=False)
    for axes in all_axes.flat[len(runs) :]:
        axes.remove()
    for axes, (name, rows) in zip(all_axes.flat, runs.items(), strict=False):
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["accuracy"] for row in rows], "--", color=GREY, label="training")
        axes.plot(epochs, [row["val_accuracy"] for row in rows], color="black", label="validation")
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=10, loc="lower right")
    for axes in all_axes[:, 0]:
        axes.set_ylabel("accuracy")
    return figure
