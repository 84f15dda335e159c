"""Many photos: memory that does not grow with them, and the photos that the benchmark makes up."""

import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from mobilenet import ROOT, bench
from mobilenet.benchmarks import made_photos
from mobilenet.photos import loading, splits
from mobilenet.system import cache, progress
from mobilenet.transfer import features, training
from tests.helpers.drawn import draw, write

SMALL, LARGE = 100, 500  # photos


def bytes_a_photo(work, small=SMALL, large=LARGE) -> float:
    """By how much the peak memory of work(count) grows for each photo more: what NumPy and Python
    take, not what a mapped file shows.
    """
    work(64)  # what is imported, compiled and kept for good
    peaks = []
    for count in (small, large):
        tracemalloc.start()
        try:
            work(count)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return (peaks[1] - peaks[0]) / (large - small)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """An empty folder to keep things in."""
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")


def kept_features(count, channels=512, views=2):
    """Features of photos of two classes, mapped from a file: float16 (views, count, channels)."""
    rng, name = np.random.default_rng(0), f"features-{count}-{channels}"
    labels = np.arange(count) % 2
    middle = labels[:, None] + np.zeros(channels)
    cache.write([name], (views, count), ([np.float16(rng.normal(middle, 2))] for _ in range(views)))
    return cache.read(name)[0], labels


# --- Memory ---


def test_photos_that_are_read_lie_in_a_file(tmp_path):
    """What stays in memory are names and sums, not pictures: 27,648 bytes each."""

    def scan(count):
        made_photos.make_photos(tmp_path / str(count), 0, count)
        tracemalloc.clear_traces()  # of the making
        found = loading.load_photos(tmp_path / str(count), 96)
        parts = splits.split(found, 0)
        assert [len(found.subset(index).images) for index in parts.values()]

    assert bytes_a_photo(scan, 400, 1_000) < 3_000


def test_activations_go_into_a_file(small):
    """Of a photo its places in the views, 32 bytes each, not its activations, 2,560 a view."""

    def frozen_pass(count):
        name = f"photos-{count}"
        cache.write([name], (count,), ([image[None]] for image in draw(count // 2).images))
        images = cache.Rows(cache.read(name)[0], np.arange(count), name)
        tracemalloc.clear_traces()
        tracemalloc.reset_peak()
        found = features.view_activations(small, images, None, 2, 0, flip=True)
        assert found.shape == (2, count, small.channels)

    assert bytes_a_photo(frozen_pass, 96, 288) < 500


def test_a_head_is_trained_from_a_file(monkeypatch):
    """A photo takes 2,048 bytes in the file, and some for its place in the order."""
    monkeypatch.setattr(training, "CHUNK", 500_000)
    head = training.build_head(512, 2, 0.2, 0)

    def fit(count):
        views, labels = kept_features(count)
        tracemalloc.reset_peak()
        training.fit(head, views, labels, views[0], labels, epochs=2, learning_rate=1e-3, seed=0)

    assert bytes_a_photo(fit, 2_048, 8_192) < 300


def test_steps_that_nobody_can_count_beforehand_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(progress, "_painter", lambda: shown.append)
    for seconds in ("_QUIET_SECONDS", "_REDRAW_SECONDS"):
        monkeypatch.setattr(progress, seconds, -1.0)
    assert list(progress.progress(range(2), None, "Newton steps")) == [0, 1]
    assert shown == ["Newton steps 0, 0 s", "Newton steps 1, 0 s", ""]


# --- The files that are kept ---


def test_what_is_in_use_is_not_removed(tmp_path, monkeypatch):
    """Photos that alone are above the limit: computing their activations leaves them, so that all
    is there when the work is done again; once nobody uses them, they make room.
    """
    monkeypatch.setattr(cache, "LIMIT", 100_000)
    folder = write(tmp_path / "photos", draw(10))
    found = loading.load_photos(folder, 96)
    for name in "abc":
        cache.write([name], (1,), [[np.zeros((1, 50_000), np.uint8)]])
    assert len(list(cache.FOLDER.glob("*-photos.npy"))) == 1
    assert [name for name in "abc" if cache.path(name).exists()] == ["c"]
    again = loading.load_photos(folder, 96)
    assert (again.images[:] == found.images[:]).all()
    del found, again
    cache.write(["d"], (1,), [[np.zeros((1, 50_000), np.uint8)]])
    assert not list(cache.FOLDER.glob("*-photos.npy"))


# --- The photos that are made up ---


def test_made_photos(tmp_path):
    """The same every time, no two alike, of both classes, and a head can learn from them."""
    made_photos.make_photos(tmp_path / "one", 0, 300)
    made_photos.make_photos(tmp_path / "two", 0, 100)
    made_photos.make_photos(tmp_path / "two", 100, 300)
    one, two = (loading.load_photos(tmp_path / name, 96) for name in ("one", "two"))
    assert np.bincount(one.labels).tolist() == [150, 150]
    assert not one.duplicates
    assert one.sums == two.sums
    sides = np.abs(np.diff(one.images[:].astype(int), axis=2)).mean(axis=(1, 2, 3))
    down = np.abs(np.diff(one.images[:].astype(int), axis=1)).mean(axis=(1, 2, 3))
    right = ((sides > down) == (one.labels == 1)).mean()
    assert 0.8 < right < 0.97


def runs(cpu=2.0, memory=1.05):
    """What is found by a run on half of the photos, then on all."""
    one = {"scan": [9.0, 4.0], "split": [0.1, 0.1], "views": [90.0, 80.0], "fit": [8.0, 7.0]}
    one |= {"peak_memory": 700.0, "correct": 90, "total": 100}
    two = {stage: [3 * one[stage][0], cpu * one[stage][1]] for stage in made_photos.STAGES}
    return [one, two | {"peak_memory": memory * 700, "correct": 180, "total": 200}]


def test_growth_of_each_stage(tmp_path):
    """Half of the photos, then all, each without what was kept; then nothing is left."""
    seen, left = [], runs()

    def measure(folder):
        assert not (folder.parent / made_photos.KEPT).exists()
        (folder.parent / made_photos.KEPT).mkdir()
        seen.append(len(list(folder.rglob("*.jpg"))))
        return left.pop(0)

    found = made_photos.grow(40, tmp_path, measure)
    assert seen == [20, 40]
    assert found["times"]["views"] == pytest.approx([3, 2])
    assert found["times"]["whole"] == pytest.approx([3, 2])
    assert found["times"]["peak_memory"] == pytest.approx(1.05)
    assert not list(tmp_path.iterdir())
    text = made_photos.table(found)
    assert max(map(len, text.splitlines())) <= 100
    assert all(name in text for name in made_photos.STAGES.values())


def test_memory_that_nobody_counts(tmp_path):
    def measure(folder):
        (folder.parent / made_photos.KEPT).mkdir()
        return left.pop(0)

    left = [run | {"peak_memory": None} for run in runs()]
    found = made_photos.grow(4, tmp_path, measure)
    assert "peak" not in made_photos.table(found)


@pytest.mark.faults
def test_fifty_thousand_photos(tmp_path):
    """Scan, split, frozen pass and head within 3 GB; twice the photos take twice the processor's
    time within 15 % and a tenth more memory at most.
    """
    out = tmp_path / "bench.json"
    line = [sys.executable, "-m", "mobilenet.bench", "--pairs", "0", "--out", str(out)]
    done = subprocess.run(line, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(out.read_text(encoding="utf-8"))["many"]
    small, large = found["runs"]
    assert (small["photos"], large["photos"]) == (25_000, 50_000)
    assert large["peak_memory"] < 3_000
    assert found["times"]["peak_memory"] < 1.1
    assert found["times"]["whole"][1] < 2 * 1.15
    assert large["correct"] / large["total"] > 0.8
    assert not list(bench.BUILD.glob("bench-*"))
