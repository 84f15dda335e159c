"""Making the bundled backbone: what is looked at, and a training that is short but whole."""

import io
import json
import re
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mobilenet import UserError
from mobilenet.networks import backbone, pretrained
from mobilenet.scratch import distillation
from tests.helpers.drawn import draw, one_sentence, write


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def packed(path, names):
    """A tar file of photos of these names."""
    with tarfile.open(path, "w") as tar:
        for name in names:
            buffer = io.BytesIO()
            photo(200, 400).save(buffer, "PNG")
            member = tarfile.TarInfo(name)
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)
    return path


def test_photos_come_from_folders_and_tar_files(tmp_path, capsys):
    folder = write(tmp_path / "photos", draw(3))
    (folder / "class a" / "broken.jpg").write_text("no photo")
    tar = packed(tmp_path / "more.tar", ["train/a/1.png", "b/2.png", "b/note.txt"])
    pool = distillation.read_pool([folder, tar])
    assert len(pool) == 6 + 2
    assert {image.mode for image in pool} == {"RGB"}
    assert pool[-1].size == (distillation.SHORTER, 2 * distillation.SHORTER), (
        "large ones are scaled"
    )
    assert pool[0].size == (96, 96), "small ones are not"
    broken, note = capsys.readouterr().out.splitlines()
    assert broken.startswith("  left out: class a/broken.jpg (")
    assert note == "Passed over: 1 file that is no photo (b/note.txt)."


def test_what_others_are_measured_on_stays_out(tmp_path, capsys):
    tar = packed(tmp_path / "both.tar", ["train/a/1.png", "test/a/2.png", "test/b/3.png"])
    assert len(distillation.read_pool([tar])) == 1
    said = f"  left out: test/a/2.png, test/b/3.png ({distillation.MEASURED})\n"
    assert capsys.readouterr().out == said
    folder = write(tmp_path / "photos", draw(3))
    (folder / "class b").rename(folder / "test")
    assert len(distillation.read_pool([folder])) == 3


@pytest.mark.parametrize("kind", ["missing", "no tar", "no photos", "cut"])
def test_sources_that_are_none(kind, tmp_path):
    path = tmp_path / "source"
    if kind == "no tar":
        path.write_text("no tar file")
    elif kind == "no photos":
        path.mkdir()
    elif kind == "cut":
        packed(path, ["a/1.png"])
        path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(UserError) as raised:
        distillation.read_pool([path])
    assert one_sentence(raised.value)
    assert str(path) in str(raised.value)


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    size=st.sampled_from([32, 64, 96]),
    seed=st.integers(0, 2**32),
)
def test_a_crop_of_any_photo(width, height, size, seed):
    rng = np.random.default_rng(seed)
    batch = distillation.crops([photo(width, height)], size, 2, rng)
    assert batch.shape == (2, size, size, 3)
    assert batch.dtype == np.float32
    assert np.abs(batch).max() <= 1
    again = distillation.crops([photo(width, height)], size, 2, np.random.default_rng(seed))
    assert np.array_equal(batch, again)


def test_crops_differ_and_keep_the_colour_of_what_they_show():
    pool = [Image.new("RGB", (100, 80), colour) for colour in ("red", "lime", "blue")]
    batch = distillation.crops(pool, 32, 200, np.random.default_rng(0))
    assert np.ptp(batch, axis=(1, 2)).max() < 1e-6, "a crop of one colour has one colour"
    colours = batch.mean(axis=(1, 2))
    assert len(np.unique(colours.round(3), axis=0)) > 100
    assert set(colours.argmax(axis=1)) == {0, 1, 2}


def test_batches_go_on_where_they_stopped():
    pool, sizes = [photo(50, 40), photo(30, 60)], [32, 32, 64]
    whole = list(distillation.batches(pool, sizes, 0, seed=3))
    assert [batch.shape[1] for batch in whole] == sizes
    rest = list(distillation.batches(pool, sizes[1:], 1, seed=3))
    assert all(map(np.array_equal, whole[1:], rest))
    assert not np.array_equal(whole[0], whole[1])


def test_a_short_training(imagenet, tmp_path, monkeypatch, capsys):
    """It learns, goes on where it was stopped, and what comes out is a backbone."""
    if not pretrained.weights_file(1.0, 224, top=True).is_file():
        pytest.skip("needs ImageNet weights with the classifier in Keras's cache")
    settings = {"BATCH": 8, "WARM_UP": 2, "SAVE_STEPS": 4}
    for name, value in settings.items():
        monkeypatch.setattr(distillation, name, value)
    source = write(tmp_path / "photos", draw(4, classes=3))
    out = tmp_path / "weights.npz"
    first = distillation.Phase(((32, 10),), lower=1.0, rate=1e-2)
    phases = (first, distillation.Phase(((32, 4),), lower=0.0, rate=1e-3))
    writing, saved = distillation.replacing, []

    def stop_at_the_third(path):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path)
        return writing(path)

    monkeypatch.setattr(distillation, "replacing", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        distillation.pretrain([source], out, phases, seed=1)
    assert not out.exists()
    monkeypatch.setattr(distillation, "replacing", writing)
    distillation.pretrain([source], out, phases, seed=1)
    said = capsys.readouterr().out
    assert re.findall(r"step (\d+),|after step (\d+)", said) == [
        ("4", ""),
        ("8", ""),
        ("", "8"),
        ("10", ""),
        ("12", ""),
        ("14", ""),
    ]
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", said)]
    assert losses[1] < losses[0], "it learns"
    assert losses[3] < losses[2], "fewer predictors count in the second phase"
    assert {path.name for path in tmp_path.glob("*.npz")} == {"weights.npz"}
    student = distillation.build_student(seed=1)
    at_first = student.get_weights()
    backbone.read_weights(student, out)
    moved = [
        not np.array_equal(*pair) for pair in zip(at_first, student.get_weights(), strict=True)
    ]
    assert all(moved)
    features = student(distillation.crops([photo(90, 90)], 64, 2, np.random.default_rng(0))).numpy()
    assert features.shape == (2, 2, 2, 1280)
    assert 0.05 < features.mean() < 5


def test_a_state_that_will_not_do(tmp_path):
    path = tmp_path / "weights.state.npz"
    np.savez(path, json.dumps([3, 7, 0, "phases"]), np.zeros(4))
    assert distillation._restore(path, [7, 0, "phases"])[0] == 3
    with pytest.raises(UserError, match="another run") as raised:
        distillation._restore(path, [7, 1, "phases"])
    assert one_sentence(raised.value)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged") as raised:
        distillation._restore(path, [7, 0, "phases"])
    assert one_sentence(raised.value)


def test_weights_have_a_suffix(tmp_path):
    with pytest.raises(UserError, match=r"\.npz") as raised:
        distillation.pretrain([tmp_path], tmp_path / "weights")
    assert one_sentence(raised.value)
