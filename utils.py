"""Shared loading and plotting: what a notebook cell calls.

Every plot returns a matplotlib Figure that carries a sentence of alt text as its label;
`show(figure)` puts both into the notebook. Class k has colour `class_colour(k)` in every figure;
right and wrong differ in colour, in mark and in frame.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import mobilenet.canvas  # noqa: F401, before matplotlib: it keeps interrupts off while it loads

# isort: split
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from mobilenet import BUILD, explain, review, runs
from mobilenet.backbone import Backbone
from mobilenet.canvas import (
    BLUE,
    GREEN,
    GREY,
    RED,
    WIDEST,
    class_colour,
    new_figure,
    printable,
    short,
    show,
    show_table,
)
from mobilenet.cost_figures import (
    clip_plot,
    losses_plot,
    passages_plot,
    ratio_plot,
    shares_plot,
    speed_against_intensity_plot,
    time_against_multiply_adds_plot,
    top1_plot,
)
from mobilenet.decoding import read_photo
from mobilenet.device_figures import (
    bits_plot,
    clarity_plot,
    kernels_plot,
    levels_plot,
    ranges_plot,
    steps_plot,
)
from mobilenet.files import write_json
from mobilenet.layer_figures import channels_plot, separable_plot
from mobilenet.photo_figures import (
    changed_grid,
    confusion_photos,
    feature_map,
    grad_cam_rows,
    neighbour_grid,
    own_grid,
    photo_grid,
    prediction_grid,
    view_grid,
)
from mobilenet.photos import (
    Photos,
    find_folder,
    load_photos,
    load_split,
    save_split,
    split,
)
from mobilenet.training import (
    History,
    Result,
    cross_entropy,
    probabilities,
    wilson_interval,
)
from mobilenet.unseen import OwnPhotos

# Handed on: notebooks call them from here.
__all__ = [
    "Photos",
    "bits_plot",
    "changed_grid",
    "channels_plot",
    "clarity_plot",
    "class_colour",
    "clip_plot",
    "confusion_photos",
    "feature_map",
    "find_folder",
    "grad_cam_rows",
    "kernels_plot",
    "levels_plot",
    "load_photos",
    "load_split",
    "losses_plot",
    "neighbour_grid",
    "own_grid",
    "passages_plot",
    "photo_grid",
    "prediction_grid",
    "ranges_plot",
    "ratio_plot",
    "read_photo",
    "save_split",
    "separable_plot",
    "shares_plot",
    "show",
    "show_table",
    "speed_against_intensity_plot",
    "split",
    "steps_plot",
    "time_against_multiply_adds_plot",
    "top1_plot",
    "view_grid",
]

SCOREBOARD = BUILD / "scoreboard"


def describe(photos: Photos) -> str:
    """How many photos there are of each class, which files were left out and why, which show the
    same picture (ten of each by name), and how many decisions of `mobilenet.review` were applied.
    """
    counts = np.bincount(photos.labels, minlength=len(photos.class_names))
    each = ", ".join(f"{n} {name}" for n, name in zip(counts, photos.class_names, strict=True))
    lines = [f"{len(photos)} photos: {each}; {len(photos.left_out)} files left out."]
    lines += [f"  left out: {printable(file)} ({reason})" for file, reason in photos.left_out[:10]]
    groups = photos.groups
    counts = np.bincount(groups)
    if alike := np.flatnonzero(counts > 1).tolist():
        lines.append(
            f"{counts[alike].sum()} photos show a picture that is there more than once; the split "
            "and the folds keep them together."
        )
    for group in alike[:10]:
        some = np.flatnonzero(groups == group)
        files = ", ".join(printable(photos.files[i]) for i in some[:10])
        more = f" and {len(some) - 10} more" if len(some) > 10 else ""
        odd = len(set(photos.labels[some])) > 1
        lines.append(f"  the same: {files}{more}{' (of two classes: one is wrong)' if odd else ''}")
    decided = sum(reason == review.REASON for _, reason in photos.left_out)
    if photos.corrected or decided:
        lines.append(
            f"{review.NAME} changed {len(photos.corrected)} of the labels and left out {decided} "
            "of the photos; their files are as they were."
        )
    return "\n".join(lines)


def publish(name: str, entry: dict[str, Any], photos: Photos, network: Backbone) -> None:
    """Write one entry of the scoreboard, `build/scoreboard/NAME.json`; `make run` collects them.

    entry: counts as `Result.entry` gives them, seconds from decoded photos to the result. What it
    was measured with is added.
    """
    source = {"count": len(photos), "classes": list(photos.class_names)}
    write_json(SCOREBOARD / f"{name}.json", {**entry, "photos": source, "backbone": network.card()})


# --- Counts and curves ---


def class_balance(photos: Photos, parts: dict[str, np.ndarray]) -> Figure:
    """Bars: how many photos of each class each part holds."""
    names = photos.class_names
    counts = {
        part: np.bincount(photos.labels[i], minlength=len(names)) for part, i in parts.items()
    }
    told = "; ".join(f"{part} {', '.join(map(str, c))}" for part, c in counts.items())
    alt = f"Photos of each class ({', '.join(names)}) in each part: {told}."
    figure, axes = new_figure(7, 0.8 + 0.7 * len(parts), alt)
    left, legend = np.zeros(len(parts)), []
    for k in range(len(names)):
        width = np.array([c[k] for c in counts.values()])
        bars = axes.barh(list(parts), width, left=left, color=class_colour(k))
        legend.append(bars)
        ink = "white" if class_colour(k) in (BLUE, GREY) else "black"
        share = width / sum(counts.values()).sum()
        fits = [n if part > 0.02 else "" for n, part in zip(width, share, strict=True)]
        look = {"fontsize": 10, "color": ink, "fontweight": "bold"}
        axes.bar_label(bars, fits, label_type="center", **look)
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("photos")
    axes.spines[["top", "right"]].set_visible(False)
    said = [short(name, 32) for name in names]
    columns = max(1, min(len(names), 72 // (max(map(len, said)) + 6)))
    figure.legend(legend, said, loc="outside upper left", ncols=columns, frameon=False)
    return figure


def learning_curves(head: History, tuned: History | None = None) -> Figure:
    """Loss and accuracy over the epochs; with `tuned`, both stages, the start of fine-tuning
    marked. The ringed epoch is the one whose weights were kept.
    """
    stages = [head] if tuned is None else [head, tuned]
    alt = "Learning curves: loss and accuracy on training and validation photos by epoch"
    alt += "." if tuned is None else ", the start of fine-tuning marked."
    figure, (losses, accuracies) = new_figure(WIDEST, 3.7, alt, 1, 2)
    start = 0
    for number, stage in enumerate(stages):
        for axes, train, val in (
            (losses, stage.loss, stage.val_loss),
            (accuracies, stage.accuracy, stage.val_accuracy),
        ):
            label = {"label": None} if number else {}
            epochs = start + np.arange(len(val))
            axes.plot(epochs, train, color=GREY, linestyle="--", **({"label": "training"} | label))
            axes.plot(epochs, val, color="black", **({"label": "validation"} | label))
            kept = {"label": "weights kept"} | label
            axes.plot(
                start + stage.best,
                val[stage.best],
                "o",
                ms=9,
                mfc="none",
                color=RED,
                mew=2,
                clip_on=False,
                **kept,
            )
            if number:
                axes.axvline(
                    start, color=GREEN, linestyle=":", linewidth=2, label="fine-tuning starts"
                )
        start += len(stage.val_loss) - 1
    for axes, title in ((losses, "cross-entropy, nats"), (accuracies, "share right")):
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    losses.set_ylim(bottom=0)
    accuracies.set_ylim(top=1.01)
    handles, labels = accuracies.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def class_bars(shares: dict[str, float], title: str, alt: str) -> Figure:
    """Horizontal bars of shares in [0, 1] by name, the largest on top."""
    ranked = sorted(shares.items(), key=lambda item: item[1])
    figure, axes = new_figure(7, 0.9 + 0.3 * len(ranked), alt)
    bars = axes.barh([name for name, _ in ranked], [share for _, share in ranked], color=GREY)
    axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=10)
    axes.set_title(title, fontsize=11)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


# --- Your own photos ---

NAMED = 50  # files left out that are named, a sentence each


def own_words(own: OwnPhotos) -> str:
    """How many of your own photos were read, how many are unlike the known ones, and a sentence for
    each file that could not be read; where there is none, where to put some.
    """
    count, odd, shown = len(own.files), int(own.unseen.sum()), len(own.images)
    lines = [f"{own.place}: {count} photo{'' if count == 1 else 's'} read."]
    if count:
        if odd:
            lines.append(f"⚠ unlike the training photos: {odd} of {count}, believe no P of theirs.")
        if count > shown:
            lines.append(f"The first {shown} are shown, {count - shown} more are not.")
    elif not own.left_out:
        lines = [
            f"There are no photos that can be read in {own.place}: put some there, or name another "
            "place, and run this cell again."
        ]
    lines += [f"{name} could not be read: {why}." for name, why in own.left_out[:NAMED]]
    if len(own.left_out) > NAMED:
        lines.append(f"{len(own.left_out) - NAMED} more could not be read.")
    return "\n".join(lines)


# --- How far to trust P ---


def reliability_plot(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Figure:
    """How often the likeliest class is right, by its P, as trained and with the logits divided by
    the temperature, in bins of a tenth with 95 % intervals; below, how many photos are in a bin.

    logits: (N, 1) or (N, K), labels: (N,), of photos that neither training nor the temperature has
    seen. On the dotted line a network is right as often as it is sure.
    """
    ways = {"as trained": logits, f"logits divided by {temperature:.2f}": logits / temperature}
    figure, axes = new_figure(WIDEST, 5, "", 2, 2, sharex=True, sharey="row", height_ratios=(4, 1))
    told, lowest = [], 1.0
    for (way, scaled), (dots, bars) in zip(ways.items(), axes.T, strict=True):
        p = probabilities(scaled)
        found = explain.reliability(p, labels)
        bins = np.flatnonzero(found.counts)
        counts, right, left = found.counts[bins], found.right[bins], bins / len(found.counts)
        hits = np.rint(right * counts).astype(int)
        intervals = [wilson_interval(*pair) for pair in zip(hits, counts, strict=True)]
        reach = np.abs(np.transpose(intervals) - right)
        (even,) = dots.plot([0, 1], [0, 1], ":", color=GREY)
        shown = dots.errorbar(found.sure[bins], right, reach, fmt="o", color="black", capsize=4)
        drawn = bars.bar(left + 0.05, counts, 0.08, color=GREY)
        bars.bar_label(drawn, [f"{count:,}" for count in counts], padding=2, fontsize=9)
        loss = f"cross-entropy {cross_entropy(p, labels).mean():.3f} nats"
        scores = (
            f"Brier score {explain.brier(p, labels):.3f}",
            f"calibration error {found.error:.3f}",
        )
        dots.set_title(f"{way}\n{loss}\n{', '.join(scores)}", fontsize=11)
        each = zip(hits, counts, left, strict=True)
        shares = ", ".join(f"{hit} of {count} right from {low:.1f}" for hit, count, low in each)
        told.append(f"{way} {', '.join([loss, *scores, shares])}")
        lowest = min(lowest, left[0])
    axes[0, 0].set(ylim=(-0.03, 1.03), ylabel="share right")
    axes[1, 0].set(xlim=(lowest - 0.01, 1.01), ylabel="photos", yticks=[])
    axes[1, 0].set_xticks(np.arange(round(10 * lowest), 11) / 10)
    axes[1, 0].set_ylim(top=axes[1, 0].get_ylim()[1] * 1.5)  # room for the labels
    for one in axes.ravel():
        one.grid(alpha=0.3, axis="x" if one in axes[1] else "both")
        one.spines[["top", "right"]].set_visible(False)
    for one in axes[1]:
        one.set_xlabel("P of the likeliest class")
    said = ["right as often as sure", "photos of a bin, 95 % interval"]
    figure.legend([even, shown], said, loc="outside lower center", ncols=2, frameon=False)
    figure.set_label(
        f"Share right by P of the likeliest class, {len(labels)} photos: {'; '.join(told)}."
    )
    return figure


def threshold_plot(p: np.ndarray, positive: np.ndarray, threshold: float, name: str) -> Figure:
    """Precision and recall against the threshold from which on a photo is called `name`; the
    chosen one is marked. A stroke is a photo: on top those that are `name`, below the others.

    p: P(name), (N,). positive: bool (N,), whether a photo is. Raises UserError if none is.
    """
    found, called = explain.thresholds(p, positive), p >= threshold
    hits, calls, there = (int(some.sum()) for some in (positive & called, called, positive))
    figure, axes = new_figure(WIDEST, 4, "")
    edges = np.append(0.0, found.thresholds[::-1])
    lines = (
        ("precision", found.precision, hits, calls, "-", "black", "s"),
        ("recall", found.recall, hits, there, "--", GREEN, "o"),
    )
    told = []
    for line, values, n, of, style, colour, mark in lines:
        # Up to the highest P; above, none is called so, and precision is no number.
        axes.step(edges, np.append(values[::-1], values[0]), style, where="post", color=colour)
        share = f"{line} {n} of {of}"
        if of:
            axes.plot(threshold, n / of, mark, ms=9, mfc="none", mew=2, color=colour)
            low, high = wilson_interval(n, of)
            share += f" ({100 * low:.1f} to {100 * high:.1f} %)"
        axes.plot([], [], style, marker=mark, mfc="none", mew=2, color=colour, label=share)
        told.append(share)
    axes.axvline(threshold, color=RED, linestyle=":", label=f"threshold {threshold:.3f}")
    for some, height in ((positive, 1.12), (~positive, -0.12)):
        axes.plot(p[some], np.full(some.sum(), height), "|", color=GREY, ms=8, alpha=0.6)
    ticks = {0.2 * i: f"{0.2 * i:.1f}" for i in range(6)} | {-0.12: "others", 1.12: short(name)}
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.18, 1.18))
    axes.set_xlabel(f"threshold on P({short(name, 30)})")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, fontsize=10, frameon=False)
    figure.set_label(
        f"Precision and recall of calling {len(p)} photos {name!r} by the threshold on its P, at "
        f"{threshold:.3f}: {', '.join(told)}."
    )
    return figure


# --- From scratch ---

WAYS = ((RED, "o"), (GREEN, "s"), ("black", "D"))  # none of them a class's colour


def ways_plot(ways: dict[str, Sequence[History]]) -> Figure:
    """Loss and accuracy on the validation photos (solid) and in training (dashed) by epoch, a
    colour a way of training; a way of several stages is drawn as one curve.
    """
    alt = f"Validation loss and accuracy by epoch of {', '.join(ways)}."
    figure, (losses, accuracies) = new_figure(WIDEST, 3.8, alt, 1, 2)
    for (name, stages), (colour, mark) in zip(ways.items(), WAYS, strict=False):
        for axes, part in ((losses, "loss"), (accuracies, "accuracy")):
            for kind, look in ((f"val_{part}", "-"), (part, "--")):
                # A later stage begins where the last one ended.
                values = [v for i, h in enumerate(stages) for v in getattr(h, kind)[bool(i) :]]
                label = name if look == "-" else None
                axes.plot(values, look, color=colour, label=label, alpha=1 if label else 0.5)
            axes.plot(len(values) - 1, getattr(stages[-1], f"val_{part}")[-1], mark, color=colour)
    for axes, title in ((losses, "cross-entropy, nats"), (accuracies, "share right")):
        axes.set_title(f"{title} (dashed: training)", fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    losses.set_ylim(bottom=0)
    accuracies.set_ylim(top=1.02)
    losses.legend(fontsize=9)
    return figure


def accuracy_by_count_plot(
    counts: Sequence[int], ways: dict[str, Sequence[Result]], commonest: float
) -> Figure:
    """Share right with its 95 % interval against the number of training photos, a line a way;
    commonest: the share right of who always names the commonest class, drawn dotted.
    """
    told = "; ".join(
        f"{name}: {', '.join(f'{r.correct} of {r.total}' for r in results)}"
        for name, results in ways.items()
    )
    alt = f"Test photos right by training photos ({', '.join(map(str, counts))}). {told}."
    figure, axes = new_figure(WIDEST, 4.4, alt)
    for i, ((name, results), (colour, mark)) in enumerate(zip(ways.items(), WAYS, strict=False)):
        beside = np.array(counts) * 1.04 ** (i - 1)  # so that no interval hides another
        share = np.array([r.correct / r.total for r in results])
        reach = np.abs(np.array([r.interval for r in results]).T - share)
        axes.errorbar(beside, share, reach, fmt=f"-{mark}", color=colour, capsize=4, label=name)
    axes.axhline(commonest, color=GREY, linestyle=":", label="always the commonest class")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training photos")
    axes.set_title("share of the test photos right, with 95 % intervals", fontsize=11)
    axes.set_ylim(top=1.02)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=10, loc="outside lower center", ncols=4, frameon=False)
    return figure


def strength_plot(strengths: np.ndarray, losses: np.ndarray) -> Figure:
    """Mean loss of photos held out against the strength of the penalty; the lowest is ringed."""
    best = losses.argmin()
    alt = f"Held-out loss by strength of the penalty: lowest, {losses[best]:.3f} nats, at " + (
        f"{strengths[best]:.3g}; {losses[0]:.3f} at {strengths[0]:.3g}, "
        f"{losses[-1]:.3f} at {strengths[-1]:.3g}."
    )
    figure, axes = new_figure(6.5, 3.4, alt)
    axes.plot(strengths, losses, "-", color="black")
    axes.plot(strengths[best], losses[best], "o", ms=9, mfc="none", color=RED, mew=2)
    axes.set_xscale("log")
    axes.set_xlabel("strength of the penalty")
    axes.set_title("cross-entropy of photos held out, nats", fontsize=11)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    return figure


def runs_plot(runs: dict[str, Sequence[dict[str, float]]]) -> Figure:
    """Share right by epoch of runs of mobilenet.train: validation photos solid, training dashed.

    runs: name → its lines of history.jsonl.
    """
    alt = f"Share right by epoch on validation and training photos of {', '.join(runs)}."
    figure, all_axes = new_figure(
        min(4.2 * len(runs), WIDEST), 3.6, alt, 1, len(runs), squeeze=False
    )
    for axes, (name, rows) in zip(all_axes[0], runs.items(), strict=True):
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [row["accuracy"] for row in rows], "--", color=GREY, label="training")
        axes.plot(epochs, [row["val_accuracy"] for row in rows], color="black", label="validation")
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="lower right")
    all_axes[0][0].set_ylabel("share right")
    return figure


# --- The memory of re-runs ---

MARKS = "s^vPX<>d*p"  # of the curves of older runs


def log_run(
    notebook: str,
    scope: Mapping[str, Any],
    photos: Photos,
    val: Photos,
    network: Backbone,
    history: History,
    but: Sequence[str] = (),
) -> None:
    """Note what came of a training: the epoch that was kept, judged by the validation photos.

    scope: globals(), whose knobs are noted; but: names of those that decide nothing of the
    training. photos: all photos; val: those that validate. The same knobs, photos and backbone are
    the same run, brought up to date. Raises UserError if the disk does not take it.
    """
    right = round(history.val_accuracy[history.best] * len(val))
    about = runs.knobs_of(scope, but), runs.photos_of(photos, val), runs.backbone_of(network)
    loss = history.val_loss[history.best]
    runs.remember(notebook, *about, Result(right, len(val)), loss, history.seconds, history)


def show_runs(notebook: str, last: int = 10) -> None:
    """The last runs of a notebook as a table and as curves; a best one that is older stands last.
    Says what to do if there is none or only one, and which files of the log are damaged.
    """
    found, damaged = runs.recall(notebook)
    if found:
        shown, best = found[:last], runs.best(found)
        if best not in shown:
            shown[-1] = best
        show_table(*runs.table(shown))
        if len(shown) > 1:
            print(
                "★ most photos right, of equals the lowest loss, of the runs that were judged by "
                "the newest one's validation photos; bold: not as in the newest run."
            )
        else:
            print("One run so far: turn a knob and run the cells again, and a row is added.")
        show(run_curves(shown))
    else:
        print("No run is noted yet: run the cell that trains.")
    if damaged:
        names = ", ".join(damaged[:3]) + (f" and {len(damaged) - 3} more" if damaged[3:] else "")
        print(f"Left out, since damaged: {names}; delete what lies in the log under these names.")


def run_curves(shown: Sequence[runs.Run]) -> Figure:
    """Loss and share right of the validation photos by epoch of runs, the newest first: it and the
    best stand out, with a ring where weights were kept; the names say what is not as in the newest.
    """
    best = shown.index(runs.best(shown))
    names = [f"{i} {turned}" for i, turned in enumerate(runs.labels(shown), start=1)]
    names[0] = "1 newest"
    if len(shown) > 1:
        names[best] += " ★"
    rows = zip(names, shown, strict=True)
    told = "; ".join(f"{name}: {run.correct} of {run.total}" for name, run in rows)
    alt = f"Validation loss and share right by epoch of runs. {told}."
    figure, (losses, shares) = new_figure(WIDEST, 3.8 + 0.16 * len(shown), alt, 1, 2)
    for i, run in reversed(list(enumerate(shown))):  # the newest on top
        loss, share = (np.array(run.curves[f"val_{kind}"], float) for kind in ("loss", "accuracy"))
        places = [*range(i % 3, len(loss), 1 + len(loss) // 4), len(loss) - 1]
        look = {"color": "#b0b0b0", "marker": MARKS[i % len(MARKS)], "mfc": "white", "mec": GREY}
        if i in (0, best):
            look = {"color": GREEN if i else "black", "linewidth": 2.5, "zorder": 3}
        label = textwrap.fill(names[i], 40, max_lines=2, placeholder=" …").replace("$", r"\$")
        for axes, values in ((losses, loss), (shares, share)):
            axes.plot(values, markevery=places, label=label, **look)
            if i in (0, best) and np.isfinite(loss).any():
                kept = np.nanargmin(loss)
                axes.plot(kept, values[kept], "o", ms=9, mfc="none", color=RED, mew=2, zorder=4)
    for axes, title in ((losses, "validation: cross-entropy, nats"), (shares, "share right")):
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    _log_ticks(losses)
    shares.set_ylim(top=1 + (1 - shares.get_ylim()[0]) / 20)
    shares.yaxis.set_major_locator(FixedLocator([t for t in shares.get_yticks() if t < 1.0001]))
    losses.plot([], [], "o", ms=9, mfc="none", color=RED, mew=2, label="weights kept")
    handles, labels = losses.get_legend_handles_labels()
    order = [*range(len(shown))[::-1], -1]
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order],
        loc="outside lower center", ncols=2, frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _log_ticks(axes) -> None:
    """A logarithmic axis from one round number to another, so that low losses are told apart."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    steps = np.array([m * 10.0**k for k in range(-15, 9) for m in (1, 2, 5)])
    axes.set_yscale("log")
    axes.minorticks_off()
    if len(values):
        first, last = np.searchsorted(steps, [values.min(), values.max()], "right")
        some = steps[max(first - 1, 0) : last + 1]
        axes.yaxis.set_major_locator(FixedLocator(some))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(some[0] * 0.9, some[-1] * 1.1)  # rings are drawn whole
