"""Files that others made to harm: each is refused with a sentence, runs nothing, fills nothing."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataset import fetch
from mobilenet import UserError, evaluate, predict
from mobilenet.inference import classifier, saved
from mobilenet.networks import backbone, cost, pretrained
from mobilenet.scratch import trainer
from mobilenet.scratch.plan import Plan
from mobilenet.system.engine import keras
from mobilenet.transfer import runs
from tests.helpers.drawn import one_sentence
from tests.helpers.hostile_files import (
    KINDS,
    WEIGHTS,
    Canary,
    little_memory,
    rewritten,
    spoil_weights,
    touching,
)

MEGABYTES = 300  # that a refusal may take; Keras itself takes some dozens to build a network


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """The file that hostile code would touch."""
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    return tmp_path / "canary"


@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_classifier_is_refused(name, light_classifier, tmp_path, canary):
    path = Path(shutil.copy(light_classifier, tmp_path / "model.keras"))
    make, said = KINDS[name]
    make(path)
    before = sorted(tmp_path.iterdir())
    with little_memory(MEGABYTES), pytest.raises(UserError) as raised:
        classifier.load(path)
    assert one_sentence(raised.value)
    assert said in str(raised.value)
    assert not canary.exists()
    assert sorted(tmp_path.iterdir()) == before, "nothing was unpacked"


@pytest.mark.parametrize("model", ["mobilenetv1", "mobilenetv2"])
def test_what_is_trained_from_scratch_passes(model, tmp_path):
    names = tuple("abcde")
    network = trainer.build(Plan(model, 0.25, 32, 1, "", 0, names))
    inputs = keras.Input(network.input_shape[1:], name="photo")
    whole = keras.Model(inputs, network(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)))
    classifier.save(tmp_path / "model.keras", whole, names)
    assert classifier.load(tmp_path / "model.keras")[1] == names


def test_the_attack_is_real(canary):
    """Where nothing is checked, the code in a layer runs."""
    layer = keras.saving.deserialize_keras_object(touching(), safe_mode=False)
    layer(np.zeros((1, 3), np.float32))
    assert canary.exists()


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".weights.h5", "", ".KERAS"])
def test_an_old_file_that_runs_code_is_refused(suffix, light_classifier, tmp_path, canary):
    """A file may be HDF5 at its start, which Keras then goes by, and an archive at its end."""
    path = tmp_path / f"model{suffix}"
    inputs = keras.Input((32, 32, 3))
    layer = keras.saving.deserialize_keras_object(touching(), safe_mode=False)
    outputs = layer(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "old.h5")
    canary.unlink()
    path.write_bytes((tmp_path / "old.h5").read_bytes() + light_classifier.read_bytes())
    with pytest.raises(UserError, match=r"is no \.keras|holds weights|is neither") as raised:
        classifier.load(path)
    assert one_sentence(raised.value)
    shutil.copy(tmp_path / "old.h5", tmp_path / "new.keras")
    with pytest.raises(UserError, match="damaged"):
        classifier.load(tmp_path / "new.keras")
    assert not canary.exists()


def test_a_file_that_may_not_be_read(light_classifier, monkeypatch):
    def forbidden(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(UserError, match="may not be read") as raised:
        classifier.load(light_classifier)
    assert one_sentence(raised.value)


def test_names_are_shown_without_codes_for_the_terminal(light_classifier, tmp_path, capsys):
    path = Path(shutil.copy(light_classifier, tmp_path / "model.keras"))
    names = ["\u001b[2Jdark\nP(x)", "\u202elight"]
    card = json.dumps({"class_names": names, "positive": names[1]}).encode()
    rewritten(path, lambda members: members.update({"classes.json": card}))
    photo = tmp_path / "a\x1b[2J\n.png"
    keras.utils.save_img(photo, np.zeros((50, 50, 3)))
    (tmp_path / "b\x1b\n.png").write_bytes(b"no photo")
    assert predict.main([str(photo), str(tmp_path / "b\x1b\n.png"), "--model", str(path)]) == 1
    said = capsys.readouterr()
    for text in said:
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
    assert said.out.startswith(r"P(\u202elight) = ")


@pytest.mark.parametrize("seed", ["x", -1, 10**400, [], 0.5, None])
def test_a_seed_that_is_none(seed, light_classifier, monkeypatch):
    card = {"class_names": ["dark", "light"], "positive": "light", "seed": seed}
    model = SimpleNamespace(input_shape=(None, 32, 32, 3))
    monkeypatch.setattr(classifier, "load", lambda path, classes: (model, ("dark", "light")))
    monkeypatch.setattr(classifier, "compiled", lambda model: None)
    monkeypatch.setattr(saved, "read_card", lambda path: card)
    monkeypatch.setattr(cost, "count", lambda model: [])
    monkeypatch.setattr(evaluate, "costs", lambda *arguments: "")
    with pytest.raises(UserError, match="give a --seed") as raised:
        evaluate.evaluate(light_classifier, "photos", None)
    assert one_sentence(raised.value)


# --- Weights in Keras's cache, and the bundled ones ---


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = pretrained.weights_file(0.35, 96)
    file.parent.mkdir()
    make, said = WEIGHTS[name]
    with h5py.File(file, "w") as weights:
        weights["layers/0"] = weights["layers/1"] = np.zeros(3, np.float32)
        spoil_weights(weights, "layers", make)
    refused = pytest.raises(UserError, match="delete it from Keras's cache")
    with little_memory(MEGABYTES), refused as raised:
        backbone.load(0.35, 96, "imagenet")
    assert one_sentence(raised.value)
    assert said in str(raised.value)


def test_bundled_weights_are_no_pickle(small, tmp_path, canary):
    for save in (np.savez, np.savez_compressed):
        with (tmp_path / "weights.npz").open("wb") as file:
            save(file, **{backbone._key(v): np.array([Canary()]) for v in small.model.weights})
        with pytest.raises(UserError, match=r"weights\.npz are missing or damaged"):
            backbone.read_weights(small.model, tmp_path / "weights.npz")
    np.array([Canary()], object).dump(tmp_path / "weights.npz")
    with pytest.raises(UserError, match=r"weights\.npz are missing or damaged"):
        backbone.read_weights(small.model, tmp_path / "weights.npz")
    assert not canary.exists()
    np.load(tmp_path / "weights.npz", allow_pickle=True)
    assert canary.exists(), "the attack is real"


# --- Lists and logs: whatever is in them, they are read or refused ---

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, 0, 1 << 63])
    | st.floats()  # JSON's NaN and Infinity, too
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
HOSTILE = [
    b"",
    b"\xff\xfe\0",
    b"\xef\xbb\xbf{}",
    b"[" * 100_000,
    b'{"train":' * 50_000,
    b"1" * 100_000,
    b'"' + b"x" * 10_000_000 + b'"',
    b"\n" * 1_000_000,
    b"null",
]


RUN = {
    "name": "03-x",
    "notebook": "03",
    "when": "2026-01-01T00:00:00+00:00",
    "times": 1,
    "knobs": {"A": 1},
    "photos": {"count": 3},
    "backbone": {},
    "correct": 1,
    "total": 2,
    "loss": 0.5,
    "seconds": 1.0,
    "curves": {kind: [0.5, 0.25] for kind in runs.CURVES},
}
HEADER = b"path,label,bytes,sha256\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for the run log; a good run is in it."""
    place = tmp_path_factory.mktemp("log")
    good = RUN | {"name": "03-good", "when": "2026-01-02T00:00:00+00:00"}
    (place / "03-good.json").write_text(json.dumps(good))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "FOLDER", place)
        yield place


@given(name=st.sampled_from(sorted(RUN)), value=values)
def test_any_value_in_a_run_is_shown_or_left_out(folder, name, value):
    (folder / "03-x.json").write_text(json.dumps(RUN | {name: value}))
    check_log()


@given(content=st.binary(max_size=99) | st.sampled_from(HOSTILE) | values.map(json.dumps))
def test_any_bytes_in_a_log_are_left_out(folder, content):
    content = content.encode() if isinstance(content, str) else content
    (folder / "03-x.json").write_bytes(content)
    with little_memory(MEGABYTES):
        check_log()


def check_log():
    found, damaged = runs.recall()
    assert found[-1 if found[0].name == "03-x" else 0].name == "03-good"
    assert len(found) + len(damaged) == 2
    header, rows = runs.table(found)
    assert all(len(row) == len(header) and "\n" not in "".join(row) for row in rows)
    assert len(runs.labels(found)) == len(found)


@given(content=st.binary(max_size=99) | st.sampled_from(HOSTILE))
@example(content=b"a/b.jpg,a," + b"1" * 5000 + b",0")
@example(content="a/b.jpg,a,\u0661,0".encode())
def test_any_manifest_is_read_or_refused(folder, content):
    for start in (b"", HEADER, HEADER + b"a/b.jpg,a,5,0\n"):
        (folder / "photos.csv").write_bytes(start + content)
        with little_memory(MEGABYTES):
            try:
                assert fetch.read_manifest(folder / "photos.csv")
            except UserError as error:
                assert one_sentence(error)
