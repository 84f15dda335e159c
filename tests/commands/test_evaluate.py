"""What a saved model is asked: photos that did not train it; strange classes apart."""

import re
import shutil
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from mobilenet import evaluate
from mobilenet.inference import classifier, evaluation, litert, phone_labels, saved
from mobilenet.phone import convert
from mobilenet.photos import loading, splits
from mobilenet.photos.folders import Inputs
from mobilenet.predict import _tell
from mobilenet.system.files import replacing
from mobilenet.transfer import training
from tests.helpers.drawn import SIZE, draw, one_sentence, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "photos", draw(15))


@pytest.fixture(scope="module")
def assembled(short):
    return classifier.assemble(short, training.build_head(short.channels, 2, 0.2, 0))


@pytest.fixture(scope="module", params=[None, "class b"])
def model(request, folder, assembled, tmp_path_factory):
    """Saved by a notebook with SEED = 1, the second class positive too: (file, parts)."""
    everything = loading.load_photos(folder, SIZE, request.param)
    parts = {k: everything.subset(i) for k, i in splits.split(everything, 1).items()}
    path = tmp_path_factory.mktemp("model") / "model.keras"
    about = classifier.about(1, parts["train"], parts["val"])
    classifier.save(path, assembled, everything.class_names, **about)
    return path, parts


def said(capsys, *arguments, code: int = 0) -> str:
    assert evaluate.main([str(one) for one in arguments]) == code
    out, err = capsys.readouterr()
    assert not code or one_sentence(err[:-1])
    return err if code else out


def counted(text: str) -> int:
    return int(re.search(r"\d+ of (\d+) right", text)[1])


def test_photos_that_trained_it_are_left_out(model, folder, capsys, monkeypatch):
    path, parts = model
    asked = []
    compiled = classifier.compiled

    def noted(model):
        ask = compiled(model)
        return lambda images: asked.append(np.array(images)) or ask(images)

    monkeypatch.setattr(classifier, "compiled", noted)
    text = said(capsys, path, "--data", folder)
    counts = [len(parts[part]) for part in ("train", "val", "test")]
    assert f"{counts[0]} that trained it and {counts[1]} that validated it" in text
    assert counted(text) == counts[2]
    assert np.array_equal(asked[-1], parts["test"].images), "by the seed of the training"
    assert "balanced accuracy" in text
    assert counted(said(capsys, path, "--data", folder, "--seed", "1")) == counts[2]
    assert "leave --seed out" in said(capsys, path, "--data", folder, "--seed", "0", code=1)
    text = said(capsys, path, "--data", folder, "--all")
    assert (counted(text), "it is no test" in text) == (30, True)


def test_what_only_trained_it_is_refused(model, folder, tmp_path, capsys):
    path, parts = model
    for file in parts["train"].files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / file, tmp_path / "moved.png")
        (tmp_path / "moved.png").rename((tmp_path / file).with_name(f"x{file[-7:]}"))
    assert "trained or validated" in said(capsys, path, "--data", tmp_path, code=1)


def test_a_copy_of_a_training_photo_in_another_format(model, folder, tmp_path, capsys):
    """It shows the same picture as a photo that the folder holds too."""
    path, parts = model
    shutil.copytree(folder, tmp_path / "photos")
    file = parts["train"].files[0]
    image = replace(parts["train"].subset(np.array([0])), files=(f"{file[:-4]} again.bmp",))
    write(tmp_path / "photos", image)
    assert counted(said(capsys, path, "--data", tmp_path / "photos")) <= len(parts["test"])


def test_own_test_photos_are_counted_whole(model, tmp_path, capsys):
    path, _ = model
    new = draw(3, classes=3, seed=9)
    write(tmp_path / "all", new)
    text = said(capsys, path, "--data", tmp_path / "all")
    assert counted(text) == 6
    assert "None of these files trained or validated it. A training photo that was saved" in text
    assert "Counted apart: 3 photos of 'class c', a class that the model lacks" in text
    shutil.rmtree(tmp_path / "all" / "class c")
    shutil.rmtree(tmp_path / "all" / "class b")
    text = said(capsys, path, "--data", tmp_path / "all")
    assert counted(text) == 3
    assert "No photo is of 'class b'" in text
    (tmp_path / "all" / "class a").rename(tmp_path / "all" / "class x")
    text = said(capsys, path, "--data", tmp_path / "all", code=1)
    assert "class folders" in text or "class b" in text


def test_of_a_given_split_the_test_part_is_counted(assembled, tmp_path, capsys):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        write(tmp_path / "data" / part, draw(count, seed=count))
    path = tmp_path / "model.keras"
    for about in (
        {},
        {"learned": {"train": 16 * "0"}},
    ):  # it says nothing, or was trained on others
        classifier.save(path, assembled, ("class a", "class b"), **about)
        text = said(capsys, path, "--data", tmp_path / "data")
        assert counted(text) == 6
        assert "The split is the one given: train/, val/ and test/" in text
        assert "Counted: its test part alone, 6 photos" in text
    assert counted(said(capsys, path, "--data", tmp_path / "data", "--all")) == 18


def test_a_folder_of_one_class(model, folder, capsys):
    text = said(capsys, model[0], "--data", folder / "class a", code=1)
    assert f"name the folder above it, {folder}" in text


def test_a_card_of_before(folder, assembled, tmp_path, capsys):
    path, names = tmp_path / "x.keras", ("class b", "class a")
    classifier.save(path, assembled, names, seed=1)
    text = said(capsys, path, "--data", folder)
    assert (counted(text), "not which they were" in text) == (6, True)
    assert counted(said(capsys, path, "--data", folder, "--all")) == 30
    classifier.save(path, assembled, names)
    text = said(capsys, path, "--data", folder)
    assert (counted(text), "does not say which photos" in text) == (30, True)
    assert "does not say which photos" in said(capsys, path, "--data", folder, "--seed", "1")
    everything = loading.load_photos(folder, SIZE)
    for learned in (None, {"train": 1}, {}, []):
        assert saved.learned({"learned": learned}, everything) is None


def test_the_card_stays_small():
    sums = [f"{i:064x}"[::-1] for i in range(300)]
    assert len(classifier.digests(sums)) == 300 * 16
    assert classifier.digests(sums * 200) == ""
    assert classifier.digests([*sums, ""]) == ""


def test_rare_classes_count_as_much():
    p = np.eye(2)[np.zeros(105, int)]
    text = evaluation.answers(p, np.repeat([0, 1], [100, 5]), ("common", "rare"))
    assert "100 of 105 right" in text
    assert "50.0 %" in text.splitlines()[1]


def test_both_files_of_a_model_are_asked_the_same(model, tmp_path):
    path, parts = model
    card = {k: v for k, v in saved.read_card(path).items() if k in convert.KEPT}
    assert card == classifier.about(1, parts["train"], parts["val"])


def test_the_likeliest_of_many_is_what_is_printed(capsys):
    asked = Inputs([], [], 0)
    assert _tell(asked, iter([("x.jpg", {"1": 0.0, "2": 0.1, "7": 0.9})]), as_json=False) == 0
    assert capsys.readouterr().out.startswith("P(7) = 0.900  7 ")


# --- Names as MediaPipe reads them ---


def follow(data: bytes, at: int, slot: int) -> int:
    """Where the value of a field of a flatbuffer's table is, by its slot."""
    start = at - struct.unpack_from("<i", data, at)[0]
    offset = struct.unpack_from("<H", data, start + 4 + 2 * slot)[0]
    assert offset, "the field is there"
    return at + offset


def jump(data: bytes, at: int) -> int:
    return at + struct.unpack_from("<I", data, at)[0]


def test_the_labels_lie_where_mediapipe_looks(assembled, tmp_path):
    """ModelMetadata, subgraph 0, output 0, associated file 0: its name and type."""
    names = ("hell é", "two\nlines")
    content = convert.convert(assembled, names)
    with replacing(tmp_path / "x.tflite") as new:
        new.write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.tflite") as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "hell é\ntwo lines\n"
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    (entry,) = (one for one in model.metadata if one.name == b"TFLITE_METADATA")
    data = bytes(model.buffers[entry.buffer].data)
    assert (data[4:8], data) == (b"M001", phone_labels.metadata())
    at = jump(data, 0)
    for slot in (3, 3, 6):  # subgraphs, outputs, files: each the first of a vector
        vector = jump(data, follow(data, at, slot))
        assert struct.unpack_from("<I", data, vector)[0] == 1
        at = jump(data, vector + 4)
    name = jump(data, follow(data, at, 0))
    assert data[name + 4 : name + 4 + 10] == b"labels.txt"
    assert data[follow(data, at, 2)] == 2, "TENSOR_AXIS_LABELS"


# --- int8's kernels ---


@pytest.mark.device
def test_whose_kernels_answered_is_said(assembled, tmp_path):
    path, shown = tmp_path / "x.tflite", draw(20)
    path.write_bytes(convert.convert(assembled, ("a", "b"), "int8", shown.images))
    text = litert.told_kernels(path, shown.images)
    assert one_sentence(text)
    assert re.match(r"x\.tflite was measured with (XNNPACK's|LiteRT's own) kernels", text)
    own = litert.load(path, own_kernels=True)[0](shown.images)
    moved = np.abs(own - litert.load(path)[0](shown.images)).max()
    assert f"by up to {moved:.3f}" in text
