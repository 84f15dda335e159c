"""The benchmark: its figures, its knobs, what is laid out for it, and a tiny run of all of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mobilenet import ROOT, UserError, bench
from mobilenet.benchmarks import comparison, links, one_run, peers
from mobilenet.networks import pretrained
from mobilenet.photos import loading, splits
from tests.helpers.drawn import draw, one_sentence, write

FIGURES = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9)


def runs(**stages: dict[str, list[float]]) -> comparison.Runs:
    """Runs of all variants: stages gives the figures of each variant, round by round."""
    (count,) = {len(values) for one in stages.values() for values in one.values()}
    return [
        {"pair": i, "variant": variant, **{s: values[variant][i] for s, values in stages.items()}}
        for i in range(count)
        for variant in comparison.VARIANTS
    ]


def of_each(usual: list, same: list, defaults: list) -> dict[str, list]:
    return {"usual": usual, "same": same, "defaults": defaults}


RIGHT = of_each([50, 54, 52], [60, 60, 61], [63, 63, 63])
TOTAL = of_each([65] * 3, [65] * 3, [65] * 3)
ONE = {"correct": of_each([50], [60], [63]), "total": of_each([65], [65], [65])}


@given(ours=FIGURES, factor=st.floats(0.1, 100))
def test_a_constant_factor_is_the_ratio_of_every_pair(ours, factor):
    ratios = comparison.pairwise([factor * value for value in ours], ours)
    assert ratios == pytest.approx((factor,) * 3)


def test_ratios_are_taken_pair_by_pair():
    """A machine that is slow for one round leaves the ratio alone."""
    assert comparison.pairwise([10, 100, 30], [1, 10, 10]) == (10, 3, 10)
    assert comparison.pairwise([8, 2], [2, 1]) == (3, 2, 4)


@pytest.mark.parametrize("pair", [([], []), ([1.0], [0.0]), ([1.0, 2.0], [1.0])])
def test_no_ratio_without_pairs(pair):
    with pytest.raises(ValueError, match=r".+"):
        comparison.pairwise(*pair)


def test_summary():
    seconds = of_each([60, 80, 70], [10, 20, 10], [30, 30, 35])
    found = comparison.summary(runs(first_run=seconds, correct=RIGHT, total=TOTAL))
    assert found["medians"]["usual"] == {"first_run": 70}
    assert found["ratios"] == {"first_run": 6}
    assert found["ratios_defaults"] == {"first_run": 2}
    assert found["ranges"]["ratios"] == {"first_run": [4, 7]}
    assert found["accuracy"]["usual"] == {"share": 52 / 65, "correct": [50, 54, 52], "total": 65}


def test_a_figure_that_could_not_be_had_is_left_out():
    seconds = of_each([60] * 3, [10] * 3, [30] * 3)
    memory = of_each([None] * 3, [None] * 3, [None] * 3)
    made = runs(first_run=seconds, peak_memory=memory, correct=RIGHT, total=TOTAL)
    found = comparison.summary(made)
    assert set(found["ratios"]) == {"first_run"}
    assert "peak" not in comparison.table(found)


def test_whoever_runs_besides_is_compared_with_the_defaults():
    seconds = {**of_each([60, 60], [10, 10], [20, 30]), "other": [40, 90]}
    right = {**of_each([50, 50], [60, 60], [63, 63]), "other": [63, 63]}
    made = [
        {
            "pair": i,
            "variant": variant,
            "first_run": times[i],
            "correct": right[variant][i],
            "total": 65,
        }
        for i in range(2)
        for variant, times in seconds.items()
    ]
    found = comparison.summary(made)
    assert found["others"] == {"other": {"first_run": (2.5, 2, 3)}}
    assert "2.5 (2 to 3)" in comparison.table(found)


def test_a_folder_that_is_no_checkout(tmp_path, capsys):
    assert bench.main(["--against", str(tmp_path)]) == 1
    said = capsys.readouterr().err.strip()
    assert str(tmp_path) in said
    assert one_sentence(said)


def test_a_command_of_a_build_is_timed():
    here = peers.Peer("this build", "defaults")
    found = peers.timed(here, ["mobilenet.predict", "--help"], dict(os.environ))
    assert found["seconds"] > 0
    assert found.get("memory", 10) > 5  # MB
    asked = ["mobilenet.predict", "photo.jpg", "--model", "none.keras"]
    with pytest.raises(UserError, match=r"of this build stopped: .*none\.keras") as stopped:
        peers.timed(here, asked, dict(os.environ))
    assert one_sentence(stopped.value)


def test_growth():
    small = comparison.summary(runs(first_run=of_each([60], [10], [30]), **ONE))
    large = comparison.summary(runs(first_run=of_each([600], [40], [90]), **ONE))
    factors = comparison.growth(small, large)
    assert factors == of_each({"first_run": 10}, {"first_run": 4}, {"first_run": 3})
    assert "10.0" in comparison.grown(factors)


def test_the_table_fits_a_terminal():
    made = {s: of_each([1234.5] * 3, [0.01234] * 3, [123.4] * 3) for s in comparison.STAGES}
    text = comparison.table(comparison.summary(runs(**made, correct=RIGHT, total=TOTAL)))
    assert all(name in text for name in comparison.STAGES.values())
    assert max(map(len, text.splitlines())) <= 100


def test_the_defaults_are_the_knobs_of_notebook_4():
    notebook = nbformat.read(ROOT / "notebooks" / "04_fine_tuning.ipynb", as_version=4)
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and c.source.startswith("CUT =")]
    told = {"network": SimpleNamespace(alpha=1.0)}  # ImageNet's
    exec(compile(cell.source, "knobs", "exec"), told)
    told = {name: value for name, value in told.items() if name.isupper()}
    knobs = one_run.KNOBS["defaults"]
    assert told.pop("AUGMENTATION") == knobs.augmentation()
    assert (told.pop("POSITIVE"), told.pop("SEED")) == (None, 0)
    assert told.pop("CLASS_WEIGHTS") is None
    told = {name: told[name] for name in told if not name.startswith(("TRIED", "RATES"))}
    assert told == {name: getattr(knobs, name.lower()) for name in told}
    assert knobs.size == pretrained.DEFAULTS["imagenet"][1]


def test_the_cuts_are_the_blocks_that_hold_the_usual_layers(small):
    from mobilenet.benchmarks import recipe

    names = [layer.name for layer in small.model.layers]
    knobs, same = one_run.Knobs(), one_run.KNOBS["same"]
    for layer, cut in ((recipe.FINE_TUNE_AT, knobs.cut), (one_run.NEW_LAYER, knobs.new_cut)):
        below = [name for name in small.cuts if names.index(name) <= layer]
        assert max(below, key=names.index) == cut
    assert (same.size, same.head_epochs, same.epochs) == (160, recipe.EPOCHS, recipe.FINE_EPOCHS)
    assert same.views == same.epochs


@pytest.fixture
def source(tmp_path):
    """Fifteen drawn photos of each of two classes, no two alike; one of them in a format that
    TensorFlow does not read.
    """
    drawn = draw(15, size=48)
    places = np.random.default_rng(0).integers(0, 100, (30, 6, 6), np.uint8)
    places = np.stack([Image.fromarray(some).resize((48, 48)) for some in places])[..., None]
    folder = write(tmp_path / "source", replace(drawn, images=drawn.images // 2 + places))
    with Image.open(folder / "class a" / "000.png") as image:
        image.save(folder / "class a" / "000.webp")
    (folder / "class a" / "000.png").unlink()
    return folder


def test_lay_out(source, tmp_path):
    """Parts as notebook 4 splits, no two copies alike, each in the part of its photo."""
    all_photos = loading.load_photos(source, 48)
    links.lay_out(all_photos, source, tmp_path / "one", 1)
    links.lay_out(all_photos, source, tmp_path / "three", 3)
    for part, index in splits.split(all_photos, seed=0).items():
        expected = all_photos.subset(index)
        one = loading.load_photos(tmp_path / "one" / part, 48)
        three = loading.load_photos(tmp_path / "three" / part, 48)
        assert one.class_names == three.class_names == all_photos.class_names
        assert np.array_equal(one.labels, expected.labels)
        assert len(three) == 3 * len(one)
        assert len(np.unique(three.images, axis=0)) == len(three)
        difference = np.abs(one.images[:].astype(int) - expected.images[:]).mean(axis=(1, 2, 3))
        assert (difference < 3).all(), "the same photos, one of them written anew"
        files = [file for file in (tmp_path / "three" / part).rglob("*") if file.is_file()]
        assert {file.suffix for file in files} <= {".png", ".jpg"}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--pairs", "-1"],
        ["--pairs", "few"],
        ["--photos-times", "0"],
        ["--many", "-1"],
        ["--nothing"],
    ],
    ids=" ".join,
)
def test_usage(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        bench.main(wrong)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(".")


def test_what_stops_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PHOTOS", str(tmp_path / "nowhere"))
    assert bench.main([]) == 1
    assert "nowhere" in capsys.readouterr().err
    monkeypatch.setenv("PHOTOS", str(write(tmp_path / "three", draw(5, classes=3, size=32))))
    assert bench.main([]) == 1
    said = capsys.readouterr().err.strip()
    assert "two classes" in said
    assert one_sentence(said)


def test_a_run_that_fails_says_why(tmp_path):
    told = comparison.environment("nonsense", tmp_path)
    with pytest.raises(UserError, match="WEIGHTS is 'nonsense'") as stopped:
        comparison.measure("weights", tmp_path, 0, told, print)
    assert one_sentence(stopped.value)


@pytest.mark.slow
def test_a_tiny_run(source, tmp_path):
    out = tmp_path / "bench.json"
    line = [sys.executable, "-m", "mobilenet.bench", "--pairs", "1", "--photos-times", "2"]
    line += ["--many", "60", "--against", str(ROOT)]
    told = {**os.environ, "PHOTOS": str(source), "WEIGHTS": "bundled"}
    done = subprocess.run(
        [*line, "--out", str(out)], cwd=ROOT, env=told, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["photos"]["count"] == 30
    assert "bundled" in found["weights"]
    wanted = {"first_run", "rerun_head", "rerun_fine_tuning", "rerun_new_cut", "one_photo"}
    for name in ("ratios", "ratios_defaults"):
        assert set(found[name]) >= wanted
        assert all(ratio > 0 for ratio in found[name].values())
    if os.name == "posix":
        assert found["ratios"]["peak_memory"] > 0
    assert {run["variant"] for run in found["runs"]} - {"usual_onednn"} == {
        *comparison.VARIANTS,
        "other",
    }
    assert set(found["others"]["other"]) >= {"first_run", "rerun_fine_tuning", "rerun_new_cut"}
    assert "flags" in found["machine"]
    builds = {row["build"]: [] for row in found["commands"]}
    for row in found["commands"]:
        builds[row["build"]].append(row["command"])
        assert row["seconds"] > 0
    ours, others = builds.values()
    assert ours == others
    assert ours[0] == "one photo"
    assert ours[2] == f"features of {ours[1].split()[0]}"
    for about in (found["accuracy"], found["growth"]["accuracy"]):
        assert all(0 <= about[variant]["share"] <= 1 for variant in comparison.VARIANTS)
    assert found["accuracy"]["usual"]["total"] == 6
    assert found["growth"]["accuracy"]["usual"]["total"] == 12
    assert found["growth"]["factors"]["usual"]["first_run"] > 0
    (row,) = found["arithmetic"]
    assert all(0 < row[variant]["forward_share"] < 1.5 for variant in ("same", "defaults"))
    assert [run["total"] for run in found["many"]["runs"]] == [6, 12]
    assert not list((ROOT / "build").glob("bench-*")), "nothing is left behind"
