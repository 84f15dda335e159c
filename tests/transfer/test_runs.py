"""The memory of re-runs: the same run is the same run, and no file from elsewhere does harm."""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilenet import ROOT, UserError
from mobilenet.photos.loading import load_photos
from mobilenet.transfer import runs
from mobilenet.transfer.metrics import History, Result
from tests.helpers.drawn import draw, one_sentence, write

HISTORY = History(
    [math.nan, 0.5, 0.25], [math.nan, 0.8, 0.9], [0.7, 0.4, 0.3], [0.5, 0.8, 0.9], best=2
)
KNOBS = {"CUT": "block_13_expand", "EPOCHS": 4, "AUGMENTATION": {"flip": True}, "POSITIVE": None}


@pytest.fixture(autouse=True)
def log(tmp_path, monkeypatch):
    """An empty log."""
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "log")
    return tmp_path / "log"


@pytest.fixture(scope="module")
def photos():
    return draw(4)


def remember(knobs=KNOBS, notebook="04", correct=60, loss=0.1, seconds=3.0, **other):
    parts = {"photos": {"count": 327}, "backbone": {"alpha": 1.0}} | other
    return runs.remember(
        notebook, knobs, **parts, result=Result(correct, 65), loss=loss, seconds=seconds,
        history=HISTORY,
    )  # fmt: skip


# --- What is remembered ---

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
names = st.text("ABCDEFGHIJ_", min_size=1, max_size=5).filter(lambda n: not n.startswith("_"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(knobs=st.dictionaries(names, json_values, max_size=4))
def test_what_is_remembered_comes_back(knobs):
    run = remember(knobs)
    (found,) = [one for one in runs.recall("04")[0] if one.name == run.name]
    assert found == run
    assert found.knobs == knobs
    assert str(found.result) == str(Result(60, 65))
    assert found.curves["loss"] == [None, 0.5, 0.25]
    assert found.curves["val_loss"] == [0.7, 0.4, 0.3]


def test_the_same_knobs_are_the_same_run(log):
    first, again = remember(seconds=3.0), remember(dict(reversed(KNOBS.items())), seconds=2.0)
    assert (first.times, again.times) == (1, 2)
    assert first.name == again.name
    assert again.when >= first.when
    (only,) = runs.recall()[0]
    assert (only.times, only.seconds) == (2, 2.0)


@pytest.mark.parametrize(
    "other",
    [
        {"knobs": KNOBS | {"CUT": "block_16_expand"}},
        {"knobs": KNOBS | {"AUGMENTATION": {"flip": False}}},
        {"knobs": KNOBS | {"EPOCHS": 4.0}},
        {"notebook": "03"},
        {"photos": {"count": 336}},
        {"backbone": {"alpha": 0.35}},
    ],
)
def test_anything_else_is_another_run(other):
    remember()
    assert remember(**other).times == 1
    assert len(runs.recall()[0]) == 2


def test_the_last_comes_first_and_notebooks_are_told_apart():
    made = [remember({"SEED": seed}, notebook) for seed, notebook in enumerate(("03", "04", "04"))]
    assert [run.when for run in runs.recall()[0]] == sorted((r.when for r in made), reverse=True)
    assert {run.name for run in runs.recall("04")[0]} == {run.name for run in made[1:]}
    assert runs.recall("05") == ([], [])


def test_what_is_better_and_what_differs():
    plain = remember(correct=40, loss=0.2)
    good = remember(KNOBS | {"EPOCHS": 9}, correct=50, loss=0.3)
    better = remember(KNOBS | {"EPOCHS": 9, "SEED": 1}, correct=62, loss=0.2)
    assert runs.better([plain, good, better]) == [better], "by more than chance"
    assert runs.better([better, plain, good]) == []
    assert runs.differing([plain, good]) == {"EPOCHS": [4, 9]}
    assert runs.differing([plain, better]) == {"EPOCHS": [4, 9], "SEED": [runs.MISSING, 1]}
    assert runs.differing([plain]) == {}
    elsewhere = remember(photos={"count": 12}, correct=65)
    assert runs.differing([plain, elsewhere]) == {"photos": [{"count": 327}, {"count": 12}]}
    assert runs.better([plain, elsewhere]) == [], "other photos are another question"
    turned = remember(KNOBS | {"AUGMENTATION": {"flip": True, "zoom": 0.1}})
    assert runs.differing([turned, plain]) == {
        "AUGMENTATION": [{"zoom": 0.1}, {"zoom": runs.MISSING}]
    }


def test_a_run_is_called_by_what_is_not_as_in_the_newest():
    plain = remember()
    assert runs.labels([plain]) == [""]
    longer = remember(KNOBS | {"EPOCHS": 9})
    assert runs.labels([longer, plain]) == ["", "EPOCHS 4"]
    other = remember(KNOBS | {"EPOCHS": 9, "AUGMENTATION": {"flip": False}})
    assert runs.labels([other, longer, plain]) == [
        "", "AUGMENTATION flip True", "EPOCHS 4, AUGMENTATION flip True"
    ]  # fmt: skip


def test_photos_are_told_by_what_is_in_them(photos):
    same = replace(photos, images=photos.images.copy())
    val = photos.subset(np.arange(2))
    assert runs.photos_of(same, val) == runs.photos_of(photos, val)
    assert runs.photos_of(photos, val)["count"] == len(photos)
    changed = photos.images.copy()
    changed[3, 5, 5, 0] ^= 1
    others = [
        replace(photos, images=changed),
        replace(photos, labels=1 - photos.labels),
        photos.subset(np.arange(len(photos) - 1)),
        replace(photos, class_names=("dog", "cat")),
    ]
    each = [*((one, val) for one in [photos, *others]), (photos, photos.subset(np.arange(1, 3)))]
    assert len({json.dumps(runs.photos_of(*one)) for one in each}) == 6


def test_a_file_that_is_no_photo_makes_no_other_photos(tmp_path):
    folder = write(tmp_path, draw(4))
    before = load_photos(folder, 32)
    (folder / "class a" / "zz.jpg").write_text("no photo")
    after = load_photos(folder, 32)
    assert len(after.left_out) == 1
    val = np.arange(2)
    assert runs.photos_of(after, after.subset(val)) == runs.photos_of(before, before.subset(val))
    assert runs.photos_of(load_photos(folder, 64), before) != runs.photos_of(before, before)


def test_a_backbone_is_told_by_its_weights(small):
    assert runs.backbone_of(small) == small.card() | {"digest": small.fingerprint[:12]}


def test_the_folder_may_be_named(tmp_path, monkeypatch):
    """The folder is found as the module is loaded: here, anew beside the one that the tests use."""
    monkeypatch.delenv("MOBILENET_LOG", raising=False)
    for named, folder in (None, ROOT / "build" / "log"), (str(tmp_path), tmp_path):
        if named:
            monkeypatch.setenv("MOBILENET_LOG", named)
        spec = importlib.util.spec_from_file_location("mobilenet.transfer.runs", runs.__file__)
        fresh = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fresh)
        assert fresh is not runs
        assert folder == fresh.FOLDER


def test_knobs_are_names_in_capitals():
    scope = {
        "CUT": "block_13_expand",
        "AUGMENTATION": {"flip": True, "rotation": 15},
        "SIZES": (1, 2),
        "STEPS": np.int64(5),
        "RATES": np.array([0.5]),
        "POSITIVE": None,
        "ROOT": ROOT,
        "_": 3,
        "_I": 4,
        "history": 5,
        "Image": 6,
        "F": len,
        "X": {1: 2},
    }
    assert runs.knobs_of(scope) == {
        "CUT": "block_13_expand",
        "AUGMENTATION": {"flip": True, "rotation": 15},
        "SIZES": [1, 2],
        "STEPS": 5,
        "RATES": [0.5],
        "POSITIVE": None,
    }
    assert "EPOCHS" not in runs.knobs_of(scope, but=("EPOCHS",))


# --- Files that are damaged, hostile, or written at once ---


@pytest.mark.parametrize(
    "change",
    [
        {"correct": 66},
        {"correct": -1},
        {"correct": "60"},
        {"correct": 60.0},
        {"total": 0},
        {"times": 1.5},
        {"times": 0},
        {"loss": "<script>"},
        {"loss": math.inf},
        {"when": "yesterday"},
        {"when": "2026-11-22T10:00:00"},  # anywhere
        {"knobs": {"X": "x" * 1_000_000}},
        {"knobs": []},
        {"curves": {"loss": []}},
        {"curves": {kind: ["x"] for kind in runs.CURVES}},
        {"correct": True, "total": True},
        {"times": 10**400},
        {"total": 10**400},
        {"loss": -1.0},
        {"knobs": {"<b>": 1}},
        {"curves": {kind: [] for kind in runs.CURVES}},
        {"curves": {kind: [0.5] * n for n, kind in enumerate(runs.CURVES, start=1)}},
        {"name": "../../other"},
        {"notebook": "05"},
        {"more": 1},
    ],
)
def test_a_file_that_says_the_impossible_is_left_out(log, change):
    file = log / f"{remember().name}.json"
    good = remember({"EPOCHS": 1})
    values = json.loads(file.read_text()) | change
    del values["sha256"]  # or it would be left out for that
    file.write_text(json.dumps(values))
    assert runs.recall() == ([good], [file.name])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_named_and_replaced_by_the_next_run(log, content):
    file = log / f"{remember().name}.json"
    file.write_bytes(content)
    assert runs.recall() == ([], [file.name])
    assert remember().times == 1
    assert runs.recall()[1] == []


def test_a_log_that_cannot_be_made(log):
    log.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="move the file away") as raised:
        remember()
    assert one_sentence(raised.value)


def test_two_kernels_at_once_lose_nothing():
    def work(notebook):
        for seed in range(20):
            remember({"SEED": seed}, notebook)
            remember({"SEED": seed}, "both")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("03", "04")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, damaged = runs.recall()
    assert (len(found), damaged) == (60, [])


# What writes runs knows nothing of TensorFlow, which takes seconds to load: the process has none.
WRITER = """
import math, sys
from pathlib import Path
from mobilenet.transfer import runs
from mobilenet.transfer.metrics import History, Result
runs.FOLDER = Path(sys.argv[1])
history = History(
    [math.nan, 0.5, 0.25], [math.nan, 0.8, 0.9], [0.7, 0.4, 0.3], [0.5, 0.8, 0.9], best=2
)
about = {"photos": {"count": 327}, "backbone": {"alpha": 1.0}, "history": history}
about |= {"result": Result(60, 65), "loss": 0.1, "seconds": 3.0}
print("ready", flush=True)
for i in range(10**6):
    runs.remember("04", {"SEED": i % 7, "TEXT": "x" * 100_000}, **about)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_killed_while_it_writes(log):
    """Killed in the middle of one write after the other, it leaves whole runs and no other."""
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(log)], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout.readline() == b"ready\n"
            while len(list(log.glob("[!.]*.json"))) < 7:
                os.sched_yield()
            process.kill()
        found, damaged = runs.recall()
        assert (len(found), damaged) == (7, [])
        for file in log.glob("*.json"):
            file.unlink()
