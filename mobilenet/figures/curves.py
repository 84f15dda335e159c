"""Pictures of training: its curves, what a learning rate does, and the runs of a notebook compared.

The epoch whose weights were kept has a yellow dot.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from mobilenet.figures.canvas import CHOSEN, GREY, WIDEST, new_figure, show, show_table
from mobilenet.figures.lettering import spelled
from mobilenet.transfer import runs
from mobilenet.transfer.metrics import History

LOSS = "loss (cross-entropy, nats)"
MARKS = "s^vPX<>d*p"  # of the curves of older runs
LINEAR = 4  # where the largest loss is below so many times the smallest, the axis is linear
DIVERGED = 2  # a loss above so many times the one before fine-tuning is off the top
EPOCHS = {"integer": True, "steps": (1, 2, 5, 10), "min_n_ticks": 1}  # that an axis names


def learning_curves(head: History, tuned: History | None = None) -> Figure:
    """Return loss and accuracy by epoch, on training and validation photos; a dot marks the epoch
    whose weights were kept.

    With `tuned`, a column for each stage: fine-tuning has axes of its own, cut to what it did, so
    that a few epochs and small changes can be seen.
    """
    stages = {"": head} if tuned is None else {"1 · the new head": head, "2 · fine-tuning": tuned}
    alt = "Loss and accuracy on training and validation photos by epoch" + (
        "" if tuned is None else ", the new head's and, enlarged, those of fine-tuning"
    )
    told = ", then ".join(
        f"validation loss {h.val_loss[0]:.3f} to {h.val_loss[h.best]:.3f} at epoch {h.best}"
        for h in stages.values()
    )
    shape, height = ((1, 2), 3.6) if tuned is None else ((2, 2), 5.2)
    figure, panels = new_figure(WIDEST, height, f"{alt}: {told}.", *shape, sharex="col")
    columns = [panels] if tuned is None else panels.T
    for (name, stage), pair in zip(stages.items(), columns, strict=True):
        for axes, kind in zip(pair, ("loss", "accuracy"), strict=True):
            val = getattr(stage, f"val_{kind}")
            axes.plot(getattr(stage, kind), "--", color=GREY, label="training")
            axes.plot(val, color="black", label="validation")
            axes.plot(stage.best, val[stage.best], label="weights kept", clip_on=False, **CHOSEN)
            axes.xaxis.set_major_locator(MaxNLocator(**EPOCHS))
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        pair[0].set_title(name, fontsize=11)
        for axes in pair if tuned is None else pair[1:]:
            axes.set_xlabel("epoch")
    losses, accuracies = columns[0]
    losses.set(ylim=(0, None), ylabel=LOSS)
    accuracies.set(ylim=(None, 1.01), ylabel="accuracy")
    if tuned is not None:
        low, _ = columns[1][1].get_ylim()
        columns[1][1].set_ylim(low - 0.02, 1.005)  # a photo more or less is no cliff
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def loss_by_rate_plot(rates: Sequence[float], losses: Sequence[float], start: float) -> Figure:
    """Return the validation loss after fine-tuning against the learning rate, on a logarithmic
    axis; dashed the loss before, a dot at the lowest.

    rates: above 0. losses: one a rate, in nats. start: the loss before fine-tuning; a loss above
    DIVERGED times start, or that is no number, is a cross at the upper edge with its value.
    """
    rates, losses = np.array(rates, float), np.array(losses, float)
    order = np.argsort(rates)
    rates, losses = rates[order], losses[order]
    held = losses <= DIVERGED * start  # no number is not
    top = 1.15 * max([start, *losses[held]])
    bottom = 0.85 * min([start, *losses[held]])
    said = [f"{loss:.3f}" if np.isfinite(loss) else "diverged" for loss in losses]
    told = [f"{loss} at {rate:.1e}" for rate, loss in zip(rates, said, strict=True)]
    figure, axes = new_figure(
        7, 3.6, f"Validation loss by learning rate, {start:.3f} before; {', '.join(told)}."
    )
    axes.axhline(start, color=GREY, linestyle="--", label="before fine-tuning")
    beside = np.convolve(held, [1, 1, 1])[1:-1] > 0  # the line runs to the first cross, no further
    axes.plot(rates, np.where(held, losses, np.where(beside, top, np.nan)), "-", color="black")
    axes.plot(rates[held], losses[held], "o", color="black", ms=5)
    if held.any():
        best = np.flatnonzero(held)[losses[held].argmin()]
        axes.plot(rates[best], losses[best], label=f"lowest, at {rates[best]:.1e}", **CHOSEN)
    if not held.all():
        look = {"ls": "none", "color": "black", "mew": 2.5, "ms": 10, "clip_on": False}
        label = "off the scale, or diverged"
        axes.plot(rates[~held], np.full((~held).sum(), top), "x", label=label, **look)
    for i in np.flatnonzero(~held & np.isfinite(losses)):
        where = {"xytext": (7, -5), "textcoords": "offset points", "va": "top"}
        axes.annotate(f"{losses[i]:.3g}", (rates[i], top), fontsize=9, **where)
    axes.set_xscale("log")
    axes.set_xlim(rates[0] / 1.6, rates[-1] * 2.2)
    axes.set_ylim(bottom, top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"validation {LOSS}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


# --- The memory of re-runs ---


def show_runs(notebook: str, last: int = 10) -> None:
    """Display the last runs of a notebook as a table and as curves; of one run print a line.

    ★ marks what is better than the newest run by more than chance; if all such runs are older than
    the last, one of them stands in the last row. Says which files of the log are damaged.
    """
    found, damaged = runs.recall(notebook)
    if len(found) > 1:
        shown, good = found[:last], runs.better(found)
        if good and not any(run in good for run in shown):
            shown[-1] = good[0]
        show_table(*runs.table(shown))
        print(_verdict(shown), "Bold: differs from the newest run.")
        show(run_curves(shown))
    elif found:
        (run,) = found
        print(
            f"One run so far: validation accuracy {run.correct} of {run.total} "
            f"({run.result.percent()}), validation loss {run.loss:.4f}. Turn a knob and run the "
            "cells again to compare."
        )
    else:
        print("No run is noted yet: run the cell that trains.")
    if damaged:
        names = ", ".join(damaged[:3]) + (f" and {len(damaged) - 3} more" if damaged[3:] else "")
        print(f"Left out, since damaged: {names}; delete what lies in the log under these names.")


def _verdict(shown: Sequence[runs.Run]) -> str:
    """A sentence: what the validation photos say of runs, the newest first."""
    newest, *others = shown
    others = [run for run in others if runs.same(run.photos, newest.photos)]
    if runs.better(shown):
        return (
            "★ marks runs whose validation accuracy is above the newest run's by more than chance: "
            "the 95 % intervals do not overlap."
        )
    if not others:
        return "The runs were judged on different photos, so they cannot be compared."
    if any(newest in runs.better([run, newest]) for run in others):
        return "No run is better than the newest by more than chance."
    return f"These {newest.total} validation photos cannot tell the runs apart."


def run_curves(shown: Sequence[runs.Run]) -> Figure:
    """Return validation loss and accuracy by epoch of runs, the newest first.

    The newest is black, a run that is better by more than chance has a star, and both a mark where
    the weights were kept; the names say in what a run differs from the newest.
    """
    good = [i for i, run in enumerate(shown) if run in runs.better(shown)]
    names = [
        f"{i + 1} {turned if i else 'newest'}{' ★' * (i in good)}"
        for i, turned in enumerate(runs.labels(shown))
    ]
    told = "; ".join(
        f"{name}: {run.correct} of {run.total}" for name, run in zip(names, shown, strict=True)
    )
    alt = f"Validation loss and accuracy by epoch of runs. {told}."
    figure, (losses, shares) = new_figure(WIDEST, 3.8 + 0.16 * len(shown), alt, 1, 2)
    for i, run in reversed(list(enumerate(shown))):  # the newest on top
        loss, share = (np.array(run.curves[f"val_{kind}"], float) for kind in ("loss", "accuracy"))
        places = [*range(i % 3, len(loss), 1 + len(loss) // 4), len(loss) - 1]
        look = {"color": "#b0b0b0", "marker": MARKS[i % len(MARKS)], "mfc": "white", "mec": GREY}
        if i == 0:
            look = {"color": "black", "linewidth": 2.5, "zorder": 3}
        elif i in good:
            look |= {"color": GREY, "linewidth": 2, "zorder": 2.5}
        label = textwrap.fill(spelled(names[i]), 40, max_lines=2, placeholder=" …").replace(
            "$", r"\$"
        )
        for axes, values in ((losses, loss), (shares, share)):
            axes.plot(values, markevery=places, label=label, **look)
            if (i == 0 or i in good) and np.isfinite(loss).any():
                kept = np.nanargmin(loss)
                mark = CHOSEN | ({"marker": "*", "ms": 15} if i else {}) | {"zorder": 4}
                axes.plot(kept, values[kept], **mark)
    for axes, title in ((losses, f"validation {LOSS}"), (shares, "validation accuracy")):
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(**EPOCHS))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _loss_axis(losses)
    shares.set_ylim(top=1 + (1 - shares.get_ylim()[0]) / 20)
    shares.yaxis.set_major_locator(FixedLocator([t for t in shares.get_yticks() if t < 1.0001]))
    losses.plot([], [], label="weights kept", **CHOSEN)
    handles, labels = losses.get_legend_handles_labels()
    order = [*range(len(shown))[::-1], -1]
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order],
        loc="outside lower center", ncols=2, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _loss_axis(axes) -> None:
    """Make the y axis logarithmic, from one round number to another, so that low losses are told
    apart; where losses are much alike it stays linear, with more numbers to read.
    """
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size or values.max() < LINEAR * values.min():
        return
    steps = np.array([m * 10.0**k for k in range(-15, 9) for m in (1, 2, 5)])
    axes.set_yscale("log")
    axes.minorticks_off()
    first, last = np.searchsorted(steps, [values.min(), values.max()], "right")
    some = steps[max(first - 1, 0) : last + 1]
    axes.yaxis.set_major_locator(FixedLocator(some))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(some[0] * 0.9, some[-1] * 1.1)  # dots are drawn whole
