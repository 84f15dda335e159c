"""Files that the project keeps, damaged or taken for another: noticed, named, never used."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mobilenet import ROOT, UserError, train
from mobilenet.inference import classifier
from mobilenet.photos import loading
from mobilenet.scratch import trainer
from mobilenet.scratch.learning import RECIPE
from mobilenet.scratch.plan import Plan
from mobilenet.system import cache
from mobilenet.system.files import DAMAGE, alone, read_arrays, replacing
from mobilenet.transfer import features, runs
from mobilenet.transfer.metrics import History, Result
from tests.helpers.damages import damages
from tests.helpers.drawn import LOW, draw, one_sentence, write

HISTORY = History([0.5, 0.25], [0.8, 0.9], [0.4, 0.3], [0.8, 0.9], best=1)
PLAN = Plan("mobilenetv1", 0.25, 32, 4, "data", 0, ("a", "b"), ("1", "2", "3"))


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Empty folders for what is kept and for the log."""
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "log")
    return tmp_path / "cache"


def array(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (6, 5, 2), np.uint8)


def keep(name, values, note=None):
    cache.write([name], (len(values),), [[values]], note)


# --- The cache ---


def test_a_kept_array_that_is_damaged_is_said_to_be_and_not_used(kept, capsys):
    keep("a", array(), {"3": "it is broken"})
    whole = cache.path("a").read_bytes()
    for what, content in damages(whole, len(whole)):
        cache.path("a").write_bytes(whole)
        assert (cache.read("a")[0] == array()).all()  # what was once whole is not trusted for ever
        assert capsys.readouterr().out == ""
        cache.path("a").write_bytes(content)
        with pytest.raises(DAMAGE):
            cache.read("a")
        said = capsys.readouterr().out
        assert one_sentence(said[:-1]), what
        assert "cache/a.npy is damaged" in said


def test_the_array_of_another_is_not_taken_for_it(kept, capsys):
    keep("a", array())
    keep("b", array(1))
    cache.path("b").replace(cache.path("a"))
    with pytest.raises(DAMAGE):
        cache.read("a")
    assert "cache/a.npy is damaged" in capsys.readouterr().out


def test_what_is_not_there_is_no_damage(kept, capsys):
    with pytest.raises(FileNotFoundError):
        cache.read("a")
    assert capsys.readouterr().out == ""


def test_what_goes_while_it_is_read_stays_gone(kept, monkeypatch):
    keep("a", array())
    real = cache._checked

    def gone(name, whole):
        found = real(name, whole)
        cache.path("a").unlink()
        return found

    monkeypatch.setattr(cache, "_checked", gone)
    assert (cache.read("a")[0] == array()).all()
    assert list(kept.iterdir()) == []


def test_a_folder_in_place_of_a_kept_array(kept, tmp_path):
    folder = write(tmp_path / "photos", draw(6, size=40))
    loading.load_photos(folder, 40)
    (file,) = kept.glob("*-photos.npy")
    file.unlink()
    (file / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="move the folder of that name away") as raised:
        loading.load_photos(folder, 40)
    assert one_sentence(raised.value)
    assert file.name in str(raised.value)


def some_of(whole: bytes):
    """A few damages, one of each kind."""
    return [d for i, d in enumerate(damages(whole, 3)) if i % 3 == 0]


def test_photos_are_decoded_anew(kept, tmp_path, capsys):
    folder = write(tmp_path / "photos", draw(6, size=40))
    loading.load_photos(folder, 40)
    (file,) = kept.glob("*-photos.npy")
    whole = file.read_bytes()
    loading.load_photos(folder, 32)
    (other,) = set(kept.glob("*-photos.npy")) - {file}
    for what, content in [*some_of(whole), ("other photos", other.read_bytes())]:
        file.write_bytes(content)
        again = loading.load_photos(folder, 40)
        assert (again.images[:] == draw(6, size=40).images).all(), what
        assert f"{file.name} is damaged" in capsys.readouterr().out
        assert file.read_bytes() == whole


def test_activations_are_computed_anew(kept, small, capsys):
    images = draw(3).images
    first = np.array(features.view_activations(small, images, LOW, 1, 0))
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    features.view_activations(small, images, LOW, 2, 0, also=(None,))
    features.view_activations(small, images[::-1], LOW, 1, 0)
    others = [(f.name, f.read_bytes()) for f in kept.iterdir() if f != file]
    assert len(others) == 3
    for what, content in [*some_of(whole), *others]:
        file.write_bytes(content)
        assert (features.view_activations(small, images, LOW, 1, 0) == first).all(), what
        assert f"{file.name} is damaged" in capsys.readouterr().out


# --- Runs ---


def remember(knobs):
    about = {"photos": {"count": 327}, "backbone": {"alpha": 1.0}}
    return runs.remember(
        "04", knobs, **about, result=Result(60, 65), loss=0.1, seconds=3.0, history=HISTORY
    )


def test_a_run_that_is_damaged_is_named_and_the_others_stay(kept, capsys):
    good, bad = remember({"EPOCHS": 1}), remember({"EPOCHS": 2})
    path = runs.FOLDER / f"{bad.name}.json"
    whole = path.read_bytes()
    for what, content in [*damages(whole, 250), ("another run", _file(good).read_bytes())]:
        path.write_bytes(content)
        found, damaged = runs.recall()
        if damaged:
            assert (found, damaged) == ([good], [path.name]), what
        else:
            assert found == [bad, good], what
    assert capsys.readouterr().out == ""
    path.write_bytes(whole[:-40])
    assert remember({"EPOCHS": 2}).times == 1
    assert f"{path.name} was damaged" in capsys.readouterr().out
    assert runs.recall()[1] == []


def _file(run):
    return runs.FOLDER / f"{run.name}.json"


def test_a_run_of_an_earlier_version_is_not_lost(kept):
    run = remember({"EPOCHS": 1})
    values = json.loads(_file(run).read_text())
    del values["sha256"]
    _file(run).write_text(json.dumps(values))
    assert runs.recall() == ([run], [])
    assert remember({"EPOCHS": 1}).times == 2


# --- Checkpoints, models ---


def test_a_checkpoint_that_is_damaged_is_refused(tmp_path):
    from mobilenet.system.engine import keras

    path, best = tmp_path / "checkpoint.npz", np.arange(128.0)
    values = np.arange(3.0), np.ones((2, 2))
    state = [keras.Variable(value) for value in values]
    trainer.save(path, PLAN, RECIPE, state, [{"epoch": 1}], [best])
    whole = path.read_bytes()
    for what, content in damages(whole, 120):
        path.write_bytes(content)
        try:
            history, (kept_best,) = trainer.restore(path, PLAN, RECIPE, state, 1)
        except UserError as error:
            assert one_sentence(error), what
            assert str(path) in str(error)
        else:  # the date of a member, say
            assert history == [{"epoch": 1}], what
            assert np.array_equal(kept_best, best), what
        assert all(np.array_equal(v.numpy(), value) for v, value in zip(state, values, strict=True))
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="damaged: delete it"):
        trainer.restore(path, PLAN, RECIPE, state, 1)


def test_an_array_that_says_it_is_shorter_is_noticed(tmp_path):
    """NumPy alone reads what the header says, and what is left over unchecked."""
    path = tmp_path / "arrays.npz"
    np.savez(path, np.arange(128.0))
    path.write_bytes(path.read_bytes().replace(b"(128,)", b"(120,)"))
    with pytest.raises(DAMAGE):
        read_arrays(path)


def check_model(whole: bytes, damage, path: Path) -> None:
    """A damaged model is refused, or is the same model."""
    path.write_bytes(whole)
    good, names = classifier.load(path)
    for what, content in damage:
        path.write_bytes(content)
        try:
            model, said = classifier.load(path)
        except UserError as error:
            assert one_sentence(error), what
            assert str(path) in str(error)
        else:  # the date of a member, say
            assert said == names, what
            weights = zip(model.get_weights(), good.get_weights(), strict=True)
            assert all(np.array_equal(one, other) for one, other in weights), what


def test_a_model_that_is_damaged_is_refused(light_classifier, tmp_path):
    whole = light_classifier.read_bytes()
    check_model(whole, some_of(whole)[::2], tmp_path / "model.keras")


@pytest.mark.faults
def test_models_damaged_in_many_places(saved_classifier, tmp_path):
    whole = saved_classifier.read_bytes()
    check_model(whole, damages(whole, 150), tmp_path / "model.keras")


@pytest.mark.faults
def test_a_run_goes_on_with_its_photos_and_writes_the_rest_anew(tmp_path, monkeypatch, capsys):
    data, out = write(tmp_path / "data", draw(20, size=32)), tmp_path / "run"
    line = ["--model", "mobilenetv1", "--alpha", "0.25", "--size", "32", "--data", str(data)]
    line += ["--epochs", "2", "--out", str(out)]

    def stop(*arguments, **about):
        raise UserError("Stopped.")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "finish", stop)
        assert train.main(line) == 1
    good = (out / "history.jsonl").read_bytes()
    (out / "history.jsonl").write_bytes(good[:-20])
    (out / "curves.png").write_bytes(b"no picture")
    photo, other = sorted(data.rglob("*.png"))[:2]
    before = photo.read_bytes()
    photo.write_bytes(other.read_bytes())
    assert train.main([*line, "--resume"]) == 1
    assert "of another run (other photos)" in capsys.readouterr().err
    photo.write_bytes(before)
    assert train.main([*line, "--resume"]) == 0
    assert (out / "history.jsonl").read_bytes() == good
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "checkpoint.npz").exists()


@pytest.mark.parametrize("content", ["", "{", None])
def test_a_damaged_result_is_still_no_place_for_another_run(tmp_path, capsys, content):
    out = tmp_path / "run"
    if content is None:
        (out / "result.json").mkdir(parents=True)
    else:
        out.mkdir()
        (out / "result.json").write_text(content)
    assert train.main(["--model", "head", "--data", str(tmp_path), "--out", str(out)]) == 1
    assert "name another folder by --out" in capsys.readouterr().err


# --- What writers leave that were killed ---

WRITER = """
import sys
from pathlib import Path
from mobilenet.system.files import replacing
with replacing(Path(sys.argv[1])) as new:
    new.write_bytes(b"half")
    print(new.name, flush=True)
    sys.stdin.readline()
    new.write_bytes(b"whole")
"""


def writer(path: Path) -> tuple[subprocess.Popen, Path]:
    """A process in the middle of writing a file, and its unfinished file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, path.with_name(process.stdout.readline().strip())


@pytest.mark.skipif(sys.platform == "win32", reason="without locks it takes a day")
def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path):
    alive, unfinished = writer(tmp_path / "alive.npy")
    dead, left = writer(tmp_path / "dead.npy")
    mine = tmp_path / ".new-photos-of-mine.jpg"
    mine.touch()
    with dead:
        dead.kill()
    assert {left, unfinished, mine} == set(tmp_path.iterdir())
    for _ in range(2):
        with replacing(tmp_path / "another.json") as new:
            assert not left.exists()
            assert {unfinished, mine} < set(tmp_path.iterdir())
            new.write_text("1")
    with alive:
        alive.communicate("\n")
    assert alive.returncode == 0
    assert {file.name for file in tmp_path.iterdir()} == {"alive.npy", "another.json", mine.name}
    assert (tmp_path / "alive.npy").read_bytes() == b"whole"


def test_what_is_taken_before_it_is_locked_is_begun_anew(tmp_path, monkeypatch):
    """Another process sweeps between the making of a file and its lock."""
    from mobilenet.system import files

    if files.fcntl is None:
        pytest.skip("needs locks")
    real, taken = files.fcntl.flock, []

    def late(handle, how):
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        real(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with replacing(tmp_path / "x.json") as new:
        new.write_text("1")
    assert taken
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="without locks it takes a day")
def test_what_is_taken_as_soon_as_it_is_made_is_begun_anew(tmp_path, monkeypatch):
    from mobilenet.system import files

    real, taken = files.tempfile.mkstemp, []

    def swept(**where):
        handle, name = real(**where)
        if not taken:
            taken.append(name)
            os.unlink(name)
        return handle, name

    monkeypatch.setattr(files.tempfile, "mkstemp", swept)
    with replacing(tmp_path / "x.json") as new:
        new.write_text("1")
    assert taken
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_that_is_removed_while_it_is_made(tmp_path, monkeypatch):
    """Another process makes it first, which mkdir sees, and removes it before it is looked at."""
    there = tmp_path / "cache"

    def late(folder, *arguments, **named):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))

    monkeypatch.setattr(Path, "mkdir", late)
    for writing in (replacing(there / "x.json"), alone(there)):
        with (
            pytest.raises(UserError, match="removed meanwhile, so run this again") as raised,
            writing,
        ):
            pass
        assert one_sentence(str(raised.value))


@pytest.mark.parametrize("name", ["x.json", "deeper/x.json"])
def test_a_file_in_the_place_of_a_folder(tmp_path, name):
    (tmp_path / "build").write_text("mine")
    path = tmp_path / "build" / name
    for writing in (replacing(path), alone(path.parent)):
        with pytest.raises(UserError, match="move the file away") as raised, writing:
            pass
        assert one_sentence(str(raised.value))
    assert (tmp_path / "build").read_text() == "mine"


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, capsys):
    line = ["--model", "head", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    with alone(tmp_path / "run") as free:
        assert free
        assert train.main(line) == 1
    assert "Another run is at work in" in (said := capsys.readouterr().err)
    assert one_sentence(said[:-1])
    with alone(tmp_path / "run", wait=False) as free:
        assert free
