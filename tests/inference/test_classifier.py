"""The saved classifier, and the command that asks it about photos."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mobilenet import ROOT, UserError, predict
from mobilenet.inference import classifier, prediction
from mobilenet.system.engine import keras
from mobilenet.transfer import features, metrics, training
from tests.helpers.drawn import SIZE, draw, one_sentence, write
from tests.helpers.hostile_files import rewritten

CUT = "block_2_expand"


@pytest.fixture(scope="module")
def photos():
    return draw(20)


@pytest.fixture(scope="module")
def tuned(short, photos):
    """A fine-tuned top and the probabilities it gives from saved activations."""
    saved = features.activations(short, photos.images, CUT)
    head = training.build_head(short.channels, 2, dropout=0.2, seed=0)
    top = training.build_top(short, CUT, head)
    training.fit(top, saved[None], photos.labels, epochs=2, learning_rate=1e-3, seed=0)
    return top, metrics.probabilities(training.predict_logits(top, saved))


# --- One file ---


@pytest.mark.parametrize("names", [("alpaca", "not alpaca"), ("été", "🦙", "c/d", 'e"f', "g")])
def test_what_is_saved_comes_back_bit_for_bit(short, photos, tmp_path, names):
    head = training.build_head(short.channels, len(names), dropout=0.2, seed=0)
    model = classifier.assemble(short, head)
    path = tmp_path / "new" / "model.keras"
    classifier.save(path, model, names)
    loaded, found = classifier.load(path)
    assert found == names
    assert loaded.input_shape == (None, SIZE, SIZE, 3)
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert (old == new).all()
    expected = classifier.compiled(model)(photos.images)
    assert (classifier.compiled(loaded)(photos.images) == expected).all()
    assert expected.shape == (len(photos), len(names))
    assert expected.sum(axis=1) == pytest.approx(np.ones(len(photos)))


def test_the_file_tells_its_classes_and_is_a_plain_keras_file(saved_classifier):
    with zipfile.ZipFile(saved_classifier) as archive:
        card = json.loads(archive.read("classes.json"))
    assert card["class_names"] == ["dark", "light"]
    assert keras.models.load_model(saved_classifier).output_shape == (None, 1)


def test_a_moved_file_keeps_its_names(light_classifier, tmp_path):
    moved = shutil.copy(light_classifier, tmp_path / "third_party.keras")
    assert classifier.load(Path(moved))[1] == ("dark", "light")


def test_photos_give_what_their_saved_activations_gave(short, photos, tuned):
    top, fast = tuned
    slow = classifier.compiled(classifier.assemble(short, top))(photos.images)
    assert np.abs(slow - fast).max() < 1e-2  # activations are kept in float16
    assert np.ptp(slow[:, 0]) > 0.05  # and there is something to tell apart
    head = training.build_head(short.channels, 3, dropout=0.0, seed=1)
    pooled = features.activations(short, photos.images, None)
    fast = metrics.probabilities(training.predict_logits(head, pooled))
    slow = classifier.compiled(classifier.assemble(short, head))(photos.images)
    assert np.abs(slow - fast).max() < 1e-2


def test_later_training_does_not_change_it(short, photos, tuned):
    top, _ = tuned
    model = classifier.assemble(short, top)
    before = model.get_weights()
    keep = top.get_weights()
    top.set_weights([weight + 1 for weight in keep])
    for old, new in zip(before, model.get_weights(), strict=True):
        assert (old == new).all()
    top.set_weights(keep)
    model.set_weights([weight + 1 for weight in before])
    for old, new in zip(keep, top.get_weights(), strict=True):
        assert (old == new).all()


def test_one_photo_is_judged_as_in_a_batch(light_classifier, photos):
    ask = classifier.compiled(classifier.load(light_classifier)[0])
    many = np.tile(photos.images, (2, 1, 1, 1))
    assert ask(many)[37:38] == pytest.approx(ask(many[37:38]), abs=1e-5)


def test_a_failing_save_leaves_the_old_file(light_classifier, tmp_path, monkeypatch):
    path = Path(shutil.copy(light_classifier, tmp_path / "model.keras"))
    before = path.read_bytes()
    model, _ = classifier.load(path)

    def half(self, place, *arguments, **options):
        Path(place).write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model), "save", half)
    with pytest.raises(UserError, match="No space left") as raised:
        classifier.save(path, model, ("a", "b"))
    assert one_sentence(raised.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def halved(member):
    def change(members):
        members[member] = members[member][: len(members[member]) // 2]

    return change


def spoilt(path):
    content = bytearray(path.read_bytes())
    content[200_000:200_009] = b"no weight"
    path.write_bytes(content)


def naming(*names):
    def change(members):
        members["classes.json"] = json.dumps({"class_names": names}).encode()

    return lambda path: rewritten(path, change)


DAMAGES = {
    "missing": (Path.unlink, "There is no model"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder: name a .keras"),
    "empty": (lambda path: path.write_bytes(b""), "damaged"),
    "text": (lambda path: path.write_text("no model"), "damaged"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:100_000]), "damaged"),
    "some bytes": (spoilt, "damaged"),
    "a plain zip": (lambda path: rewritten(path, lambda members: members.clear()), "damaged"),
    "nothing but names": (
        lambda path: rewritten(path, lambda members: [members.pop(n) for n in list(members)[:-1]]),
        "damaged",
    ),
    "no names": (
        lambda path: rewritten(path, lambda members: members.pop("classes.json")),
        "does not name its classes",
    ),
    "too few names": (naming(), "does not name its classes"),
    "too many names": (naming("a", "b", "c"), "3 classes are named"),
    "of before, when the logit was of the first class": (naming("a", "b"), "earlier version"),
    "odd names": (
        lambda path: rewritten(path, lambda members: members.update({"classes.json": b"[]"})),
        "damaged",
    ),
    "broken names": (lambda path: rewritten(path, halved("classes.json")), "damaged"),
    "half the weights": (lambda path: rewritten(path, halved("model.weights.h5")), "damaged"),
    "half the network": (lambda path: rewritten(path, halved("config.json")), "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_classifier_is_refused_in_one_sentence(saved_classifier, tmp_path, damage):
    path = Path(shutil.copy(saved_classifier, tmp_path / "model.keras"))
    act, said = DAMAGES[damage]
    act(path)
    with pytest.raises(UserError) as raised:
        classifier.load(path)
    assert one_sentence(raised.value)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


# --- The command ---

ODD = ["a b.png", "l'été.png", 'quo"te.png', "🦙.png", "-dash.png", "50 % {x}.png"]
NO_TEXT = os.fsdecode(b"\xff.png")  # a name in another encoding


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos in nested folders with odd names, one unreadable, and what is no photo."""
    place = write(tmp_path_factory.mktemp("predict") / "my photos", draw(3))
    for name in ODD:
        shutil.copy(place / "class a" / "000.png", place / name)
    with contextlib.suppress(OSError):  # some file systems take no such name
        shutil.copy(place / "class a" / "000.png", place / NO_TEXT)
    (place / "class a" / "broken.jpg").write_bytes(b"no photo")
    (place / "class a" / ".hidden.png").write_bytes(b"no photo")
    (place / "notes.txt").write_text("no photo")
    return place


def ask(*arguments):
    """The command in a process of its own; how it ended."""
    line = [sys.executable, "-m", "mobilenet.predict", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def text(folder, light_classifier):
    """The command's answer about the folder, as text."""
    return ask(folder, "--model", light_classifier)


@pytest.fixture(scope="module")
def rows(folder, light_classifier):
    """The same as JSON, into a pipe that takes nothing but ASCII."""
    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="ascii"))
        assert predict.main([str(folder), "--model", str(light_classifier), "--json"]) == 1
        sys.stderr.flush()
        assert len(err.getvalue().splitlines()) == 2
        return [json.loads(row) for row in out.getvalue().decode("ascii").splitlines()]


def test_json_is_one_object_a_photo(rows, folder, light_classifier):
    found = {Path(row["path"]).relative_to(folder).as_posix() for row in rows}
    assert found - {NO_TEXT} == {*ODD, *draw(3).files}
    assert (NO_TEXT in found) == (folder / NO_TEXT).exists()
    model, names = classifier.load(light_classifier)
    for row in rows:
        assert list(row) == ["path", "p"]
        assert tuple(row["p"]) == names
        assert sum(row["p"].values()) == pytest.approx(1)
    by_path = {row["path"]: row["p"] for row in rows}
    drawn = draw(3)
    for file, p in zip(drawn.files, classifier.compiled(model)(drawn.images), strict=True):
        assert list(by_path[str(folder / file)].values()) == pytest.approx(p.tolist(), abs=1e-5)


def test_text_names_the_positive_class_and_the_likeliest(text, rows):
    said = text.stdout.splitlines()
    for words, row in zip(said, rows, strict=True):
        p = row["p"]
        assert words.startswith(f"P(light) = {p['light']:.3f}  {max(p, key=p.get)} ")
        assert words.endswith("  " + row["path"].encode("utf-8", "backslashreplace").decode())


def test_what_cannot_be_read_is_named_and_the_others_come(text, folder):
    assert text.returncode == 1
    said, passed = text.stderr.splitlines()
    assert said.startswith(f"error: {folder / 'class a' / 'broken.jpg'} cannot be read")
    assert one_sentence(said)
    notes = f"1 file that is no photo ({folder / 'notes.txt'})"
    assert passed == f"Passed over: {notes} and 1 hidden file."


@pytest.mark.parametrize("name", ["notes.txt", ".DS_Store", "photo.dng"])
def test_a_photo_that_is_not_read_counts_and_what_is_none_does_not(
    name, light_classifier, tmp_path, capsys
):
    folder = write(tmp_path / "mine", draw(1))
    (folder / name).write_bytes(b"")
    code = predict.main([str(folder), "--model", str(light_classifier)])
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert one_sentence(said.err[:-1])
    if name == "photo.dng":
        assert code == 1
        assert said.err.startswith(f"error: {folder / name} is left out: ")
    else:
        assert code == 0
        assert said.err.startswith("Passed over: 1 ")


def test_a_named_file_of_a_kind_that_is_not_read(tmp_path):
    for name, reason in (("x.jxl", "JPEG XL is not read"), ("x.CR2", "RAW"), ("x.txt", "no JPEG")):
        (tmp_path / name).write_bytes(b"no photo")
        with pytest.raises(UserError, match=reason) as raised:
            prediction.read(tmp_path / name, SIZE)
        assert one_sentence(raised.value)
    with pytest.raises(UserError, match="it is not there"):
        prediction.read(tmp_path / "nowhere.jxl", SIZE)
    write(tmp_path, draw(1))
    photo = next(tmp_path.glob("*/*.png"))
    expected = prediction.read(photo, SIZE)
    photo = photo.rename(tmp_path / "photo.jxl")
    assert (prediction.read(photo, SIZE) == expected).all(), "whatever it is called"


def test_files_in_the_order_they_are_named(folder, light_classifier, capsys):
    paths = [str(folder / "class b" / "004.png"), str(folder / "class a" / "000.png")]
    assert predict.main([*paths, "--model", str(light_classifier)]) == 0
    said = capsys.readouterr()
    assert [one.split("  ")[-1].strip() for one in said.out.splitlines()] == paths
    assert said.err == ""


def test_a_missing_model(folder, tmp_path, capsys):
    model = tmp_path / "nowhere.keras"
    assert predict.main([str(folder), "--model", str(model)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: There is no model {model}")
    assert one_sentence(said.err[:-1])


def test_a_missing_photo(light_classifier, tmp_path, capsys):
    photo = tmp_path / "nowhere.jpg"
    assert predict.main([str(photo), "--model", str(light_classifier), "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert str(photo) in said.err
    assert one_sentence(said.err[:-1])


@pytest.mark.parametrize("arguments", [[], ["--colour", "photo.jpg"], ["--model"]])
def test_bad_usage_is_one_sentence(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        predict.main(arguments)
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert said.err.startswith("python -m mobilenet.predict: ")
    assert one_sentence(said.err[:-1])


def test_a_folder_without_photos_is_named(light_classifier, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    draw(1).images[0].tofile(tmp_path / "empty" / "notes.txt")
    assert predict.main([str(tmp_path / "empty"), "--model", str(light_classifier)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    failed, passed = said.err.splitlines()
    assert passed.startswith("Passed over: 1 file that is no photo (")
    assert "folder without photos" in failed
    assert one_sentence(failed)


def test_bad_usage_from_outside():
    done = ask()
    assert (done.returncode, done.stdout) == (2, "")
    assert one_sentence(done.stderr[:-1])


# The command, but the network answers at once: what is shown is how its words get out.
AT_ONCE = """
import sys
import numpy as np
from mobilenet import predict
from mobilenet.inference import prediction
prediction.answers = lambda *_: (lambda photos: np.full((len(photos), 2), 0.5), ("a", "b"), 96)
sys.exit(predict.main(sys.argv[1:]))
"""


def test_a_reader_that_stops_early_sees_no_traceback(folder):
    reader, writer = os.pipe()
    os.close(reader)  # before a byte is written: what `| head` does, at its worst
    try:
        done = subprocess.run(
            [sys.executable, "-c", AT_ONCE, folder / "class b"],
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said(folder):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", AT_ONCE, folder / "class b"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: No space left on device: free some space.\n",
    )


def test_interrupting_is_no_traceback():
    script = (
        "import sys; from mobilenet.system.command import run\n"
        "def work(): raise KeyboardInterrupt\n"
        "sys.exit(run(work))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
