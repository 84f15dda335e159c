"""This project against the usual recipe, interleaved, on the same photos and weights."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from mobilenet import BUILD, ROOT, UserError
from mobilenet.benchmarks import links, made_photos, peers
from mobilenet.benchmarks.one_run import KEPT, MODEL
from mobilenet.benchmarks.peers import Peer
from mobilenet.networks import backbone, pretrained
from mobilenet.photos import loading as photo_files
from mobilenet.system import measuring
from mobilenet.system.files import DAMAGE, write_json

VARIANTS = {
    "usual": "usual recipe, 160 px",
    "same": "this project, 160 px",
    "defaults": "this project, defaults",
}
STAGES = {
    "first_run": "first run",
    "first_run_warm": "passes on disk",
    "rerun_head": "head again",
    "rerun_fine_tuning": "fine-tuning again",
    "rerun_new_cut": "with a new cut",
    "one_photo": "one photo",
    "hundred_photos": "100 photos",
    "peak_memory": "peak of first run",
    "peak_memory_all": "peak in the end",
}
Runs = list[dict[str, Any]]


def pairwise(usual: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest and highest of usual[i] / ours[i]. Raises ValueError unless both are equally
    many, one or more, and ours are above 0.
    """
    if not usual or min(ours, default=1) <= 0:
        raise ValueError("ratios need pairs of figures above 0")
    ratios = [a / b for a, b in zip(usual, ours, strict=True)]
    return median(ratios), min(ratios), max(ratios)


def summary(runs: Runs) -> dict[str, Any]:
    """Medians of each variant, ratios (medians, and lowest and highest of the pairs), accuracy.

    runs: one for each variant of each pair, in the order of the pairs; seconds and MB by the names
    in STAGES, a figure that could not be had None or missing; correct and total.
    """

    def column(variant: str, stage: str) -> list[float]:
        mine = [run.get(stage) for run in runs if run["variant"] == variant]
        return mine if None not in mine else []

    found: dict[str, Any] = {"medians": {}, "ratios": {}, "ratios_defaults": {}, "ranges": {}}
    for variant in VARIANTS:
        columns = {stage: column(variant, stage) for stage in STAGES}
        found["medians"][variant] = {s: median(values) for s, values in columns.items() if values}
    for name, variant in (("ratios", "same"), ("ratios_defaults", "defaults")):
        found["ranges"][name] = {}
        for stage in STAGES:
            usual, ours = column("usual", stage), column(variant, stage)
            if usual and ours:
                found[name][stage], *low_high = pairwise(usual, ours)
                found["ranges"][name][stage] = low_high
    found["accuracy"] = {}
    for variant in VARIANTS:
        correct, (total, *_) = column(variant, "correct"), column(variant, "total")
        share = median(correct) / total
        found["accuracy"][variant] = {"share": share, "correct": correct, "total": total}
    others = dict.fromkeys(run["variant"] for run in runs if run["variant"] not in VARIANTS)
    found["others"] = {
        variant: {
            stage: pairwise(theirs, column("defaults", stage))
            for stage in STAGES
            if (theirs := column(variant, stage)) and column("defaults", stage)
        }
        for variant in others
    }
    return found


def growth(small: dict[str, Any], large: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How many times as much each figure of `large` is as in `small`, summaries both."""
    return {
        variant: {stage: medians[stage] / small["medians"][variant][stage] for stage in medians}
        for variant, medians in large["medians"].items()
    }


def figure(stage: str, value: float | None) -> str:
    """A figure with its unit."""
    if value is None:
        return "–"
    if "memory" in stage:
        return f"{value:,.0f} MB"
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def table(found: dict[str, Any]) -> str:
    """A summary in plain text."""
    lines = [
        f"{'':<18}{'usual':>10}{'this':>10}{'this':>10}   usual / this, median of pairs (range)",
        f"{'':<18}{'160 px':>10}{'160 px':>10}{'defaults':>10}   {'at 160 px':<26}at the defaults",
    ]
    for stage, name in STAGES.items():
        if stage not in found["medians"]["usual"]:
            continue
        row = f"{name:<18}"
        row += "".join(f"{figure(stage, found['medians'][v].get(stage)):>10}" for v in VARIANTS)
        for name in ("ratios", "ratios_defaults"):
            low, high = found["ranges"][name][stage]
            row += f"   {f'{found[name][stage]:.3g} ({low:.3g} to {high:.3g})':<23}"
        lines.append(row.rstrip())
    lines.append("Test accuracy, run by run:")
    for variant, name in VARIANTS.items():
        about = found["accuracy"][variant]
        counts = ", ".join(map(str, about["correct"]))
        lines.append(f"  {name:<24}{counts} of {about['total']} ({about['share']:.1%})")
    for other, ratios in found["others"].items():
        lines.append(f"{other} / this project, at the defaults, median of pairs (range):")
        for stage, (middle, low, high) in ratios.items():
            lines.append(f"  {STAGES[stage]:<20}{middle:.3g} ({low:.3g} to {high:.3g})")
    return "\n".join(lines)


def environment(weights: str, keras_home: Path) -> dict[str, str]:
    """What each measured process is told."""
    return {**os.environ, "WEIGHTS": weights, "KERAS_HOME": str(keras_home)}


def measure(
    run: str | Peer, folder: Path, seed: int, told: dict[str, str], show: Callable[[dict], None]
) -> dict[str, Any]:
    """Run a process of `one_run` and collect what it reports; first_run is the seconds from its
    start to its first report. show is given each report. Raises UserError if it fails.
    """
    peer = run if isinstance(run, Peer) else Peer(VARIANTS.get(run, run), run)
    line = [peer.python(), "-m", peer.module(), peer.run, str(folder), str(seed)]
    found: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        start = time.perf_counter()
        with subprocess.Popen(
            line,
            cwd=peer.root,
            env=told | dict(peer.told),
            stdout=subprocess.PIPE,
            stderr=said,
            encoding="utf-8",
        ) as process:
            try:
                for text in process.stdout:
                    if not text.startswith("{"):
                        continue
                    new = json.loads(text)
                    if "correct" in new:
                        new["first_run"] = time.perf_counter() - start
                    found |= new
                    show(new)
            except BaseException:
                process.kill()
                raise
        if process.returncode == 0:
            return found
        said.seek(0)
        why = peers.reason(said.read())
    raise UserError(f"A run of {peer.name!r} stopped: {why}.")


def show_stages(found: dict[str, Any]) -> None:
    """Add what a run has just reported to the line of that run."""
    words = [f"{name} {figure(s, found[s])}" for s, name in STAGES.items() if found.get(s)]
    print("".join(f"  {word}" for word in words), end="", flush=True)


def rounds(
    folder: Path,
    count: int,
    told: dict[str, str],
    label: str,
    timed: bool,
    ways: dict[str, Peer],
) -> tuple[Runs, Runs]:
    """`count` rounds of one run of each of the ways; round i has seed i. With timed, each round
    also asks for single photos and arithmetic. Returns these runs and what was found besides.
    """
    runs, besides = [], []
    for seed in range(count):
        mine = []
        for variant, peer in ways.items():
            print(f"{label} {seed + 1}/{count}  {peer.name}:", end="", flush=True)
            mine.append({"pair": seed, "variant": variant})
            mine[-1] |= measure(peer, folder, seed, told, show_stages)
            print(f"  {mine[-1]['correct']} of {mine[-1]['total']} right", flush=True)
            if peer.run == "usual":  # it keeps nothing
                mine[-1]["first_run_warm"] = mine[-1]["first_run"]
            elif variant in VARIANTS:
                warm = measure(f"{variant}_warm", folder, seed, told, lambda new: None)
                mine[-1]["first_run_warm"] = warm["first_run"]
            shutil.rmtree(folder.parent / KEPT, ignore_errors=True)  # a first run finds nothing
        if timed:
            print(f"{label} {seed + 1}/{count}  photos, arithmetic …", end="", flush=True)
            found = measure("answers", folder, seed, told, lambda new: None)
            print(" done", flush=True)
            for run in mine:
                for stage in ("one_photo", "hundred_photos"):
                    run[stage] = found[stage].get(run["variant"])
            besides.append({"arithmetic": found["arithmetic"], "versions": found["versions"]})
        runs += mine
    return runs, besides


def find_weights(place: Path, folder: Path) -> tuple[dict[str, str], str]:
    """What the processes are told, and which weights they take, in words; all are on disk then.

    Where those published for 160 px cannot be had, those for 224 px serve both sizes, by that name
    in a cache of their own, so that the usual recipe finds them, too.
    """
    weights = pretrained.find_weights()
    told = environment(weights, pretrained.cache_folder().parent)
    said = backbone.SAID[weights]
    wanted = pretrained.weights_file(1.0, 160)
    try:
        measure("weights", folder, 0, told, lambda new: None)
    except UserError:
        if weights != "imagenet" or wanted.is_file():
            raise
        at_224 = pretrained.weights_file(1.0, 224)
        models = place / "keras" / "models"
        models.mkdir(parents=True)
        for file in (wanted, at_224):
            links.link(at_224, models / file.name)
        told = environment(weights, models.parent)
        measure("weights", folder, 0, told, lambda new: None)
        said += ", those for 224 px at both sizes"
    return told, said


def many(count: int, out: Path) -> int:
    """Measure count made photos and half of them, print, and add it to what `out` holds. Raises
    UserError if a run fails.
    """
    told = environment("bundled", pretrained.cache_folder().parent)
    BUILD.mkdir(exist_ok=True)

    def run(folder: Path) -> dict[str, Any]:
        print(f"{sum(1 for _ in folder.rglob('*.jpg')):,} photos:", end="", flush=True)
        found = measure("many", folder, 0, told, show_many)
        print(flush=True)
        return found

    minutes = max(1, round(10 * count / 50_000))
    print(f"Half of {count:,} made photos, then all: about {minutes} minutes on two cores.")
    found = {"date": date.today().isoformat(), "machine": measuring.machine()}
    found |= made_photos.grow(count, BUILD, run)
    try:
        facts = json.loads(out.read_text(encoding="utf-8"))
    except DAMAGE:  # not there, or nothing that can be added to
        facts = {}
    write_json(out, {**facts, "many": found})
    print(f"\n{made_photos.table(found)}\n")
    return told_where(out)


def show_many(found: dict[str, Any]) -> None:
    """Add the stage that has just ended to the line of a run on many photos."""
    words = [f"{name} {found[s][0]:.1f} s" for s, name in made_photos.STAGES.items() if s in found]
    print("".join(f"  {word}" for word in words), end="", flush=True)


def told_where(out: Path) -> int:
    """Say where the figures are; returns the exit code."""
    print(f"All of it is in {out.relative_to(ROOT) if out.is_relative_to(ROOT) else out}.")
    return 0


def bench(pairs: int, times: int, out: Path, against: Path | None = None) -> int:
    """Measure, print, write. Raises UserError if there are no photos of two classes, if `against`
    is no checkout of this project, and if a run fails.
    """
    source, which = photo_files.find_folder()
    photos = photo_files.load_photos(source, 32)  # small: only to know which can be read
    if len(photos.class_names) != 2:
        raise UserError(
            f"The usual recipe knows two classes and there are {len(photos.class_names)}: "
            "set PHOTOS to a folder of two class folders."
        )
    ways = peers.ways(VARIANTS, against)
    minutes = pairs * (1.5 + 2.7 * len(photos) / 327)
    minutes += (1 + 3.1 * times * len(photos) / 327) if times > 1 else 0
    print(f"{which} {len(photos)} photos.")
    print(f"Rounds: {pairs}, each one run of {'; '.join(peer.name for peer in ways.values())};")
    print("then seconds for single photos, and the share of the processor's peak.")
    if times > 1:
        print(f"In the end each run once with {times} times the photos.")
    print(f"All this takes about {max(1, round(minutes))} minutes on two cores.", flush=True)
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as place:
        place = Path(place)
        links.lay_out(photos, source, place / "photos", 1)
        told, weights = find_weights(place, place / "photos")
        print(f"Weights: {weights}.", flush=True)
        runs, besides = rounds(place / "photos", pairs, told, "Round", True, ways)
        found = summary(runs)
        builds = [ways["defaults"], *([ways["other"]] if against else [])]
        found["commands"] = typed(builds, pairs, place, told)
        facts = {
            "date": date.today().isoformat(),
            "machine": {**measuring.machine(), **besides[0]["versions"]},
            "photos": {"count": len(photos), "classes": list(photos.class_names), "said": which},
            "weights": weights,
            "pairs": pairs,
            **found,
            "arithmetic": [row["arithmetic"] for row in besides],
            "growth": None,
            "runs": runs,
        }
        write_json(out, facts)
        print(
            f"\n{table(found)}\n{commands_table(found['commands'])}\n\n{arithmetic(facts['arithmetic'])}\n",
            flush=True,
        )
        if times > 1:
            links.lay_out(photos, source, place / "more", times)
            own = {variant: ways[variant] for variant in VARIANTS}
            more, _ = rounds(place / "more", 1, told, f"{times} times", False, own)
            large = summary(more)
            factors = growth(found, large)
            facts["growth"] = {"times": times, "count": times * len(photos), "factors": factors}
            facts["growth"] |= {**large, "runs": more}
            write_json(out, facts)
            print(f"\nWith {times} times the photos:\n{table(large)}\n\n{grown(factors)}\n")
    return told_where(out)


def typed(
    builds: Sequence[Peer], pairs: int, place: Path, told: dict[str, str]
) -> list[dict[str, Any]]:
    """Rounds of what a user gives as commands, of each build; rows of `peers.commands`."""
    measure("model", place / "photos", 0, told, lambda new: None)
    found = []
    for pair in range(pairs):
        print(f"Round {pair + 1}/{pairs}  commands …", end="", flush=True)
        with tempfile.TemporaryDirectory(dir=place) as made:
            train, model = place / "photos" / "train", place / MODEL
            rows = peers.commands(builds, train, model, Path(made), told)
        found += [{"pair": pair, **row} for row in rows]
        print(" done", flush=True)
    return found


def commands_table(rows: list[dict[str, Any]]) -> str:
    """Medians of the commands' seconds and memory, in plain text; of another build besides how
    many times as much it takes, median of pairs (range).
    """
    lines = ["By command:"]
    for name in dict.fromkeys(row["command"] for row in rows):
        ours, *others = (
            [row for row in rows if (row["command"], row["build"]) == (name, build)]
            for build in dict.fromkeys(row["build"] for row in rows)
        )
        text = f"  {name:<20}"
        for kind in ("seconds", "memory"):
            mine = [row.get(kind) for row in ours]
            if None in mine:
                continue
            text += f"{figure(kind, median(mine)):>10}"
            for other in others:
                middle, low, high = pairwise([row[kind] for row in other], mine)
                text += f"  other {middle:.3g} ({low:.3g} to {high:.3g})"
        lines.append(text)
    return "\n".join(lines)


def arithmetic(rows: list[dict[str, dict[str, float]]]) -> str:
    """What share of the peak was reached, in words; medians of the rounds."""
    lines = []
    for variant in rows[0]:
        peak, forward, step, forward_share, step_share = (
            median(row[variant][name] for row in rows)
            for name in (
                "peak_gflops",
                "forward_gflops",
                "step_gflops",
                "forward_share",
                "step_share",
            )
        )
        lines.append(
            f"{VARIANTS[variant]}: forward pass {forward:.0f} GFLOP/s, {forward_share:.0%} of the "
            f"{peak:.0f} of a large product; training step {step:.0f}, {step_share:.0%}."
        )
    return "\n".join(lines)


def grown(factors: dict[str, dict[str, float]]) -> str:
    """How each figure grew, in plain text."""
    lines = [f"{'as many times':<18}{'usual':>10}{'this':>10}{'defaults':>10}"]
    for stage, name in STAGES.items():
        if stage in factors["usual"]:
            row = "".join(f"{factors[variant][stage]:>10.1f}" for variant in VARIANTS)
            lines.append(f"{name:<18}{row}")
    return "\n".join(lines)
