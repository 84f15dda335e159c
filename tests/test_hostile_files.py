"""Files that others made to harm: each is refused with a sentence, runs nothing, fills nothing."""

import os
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import one_sentence
from hostile_files import KINDS, WEIGHTS, described, rewritten, spoil_weights, touching

from mobilenet import UserError, backbone, classifier, predict
from mobilenet.engine import keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
MEGABYTES = 300  # that a refusal may take; Keras itself takes some dozens to build a network


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """The file that hostile code would touch."""
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    return tmp_path / "canary"


@pytest.fixture
def modest():
    """What is done here takes little memory, at any moment."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = status.read_text()
    yield
    before, after = (int(re.search(r"VmHWM:\s+(\d+)", t)[1]) for t in (before, status.read_text()))
    assert after - before < MEGABYTES * 1024


@pytest.mark.parametrize("name", KINDS)
def test_a_hostile_classifier_is_refused(name, saved_classifier, tmp_path, canary, request):
    path = Path(shutil.copy(saved_classifier, tmp_path / "model.keras"))
    make, said = KINDS[name]
    make(path)
    before = sorted(tmp_path.iterdir())
    request.getfixturevalue("modest")
    with pytest.raises(UserError) as raised:
        classifier.load(path)
    assert one_sentence(raised.value)
    assert said in str(raised.value)
    assert not canary.exists()
    assert sorted(tmp_path.iterdir()) == before, "nothing was unpacked"


def test_the_attack_is_real(saved_classifier, tmp_path, canary):
    """Where nothing is checked, the code in a layer runs."""
    path = Path(shutil.copy(saved_classifier, tmp_path / "model.keras"))
    layer = keras.saving.deserialize_keras_object(touching(), safe_mode=False)
    layer(np.zeros((1, 3), np.float32))
    assert canary.exists()
    described(lambda config, inner, last: last.update(touching()))(path)


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".weights.h5", "", ".KERAS"])
def test_an_old_file_that_runs_code_is_refused(suffix, saved_classifier, tmp_path, canary):
    """A file may be HDF5 at its start, which Keras then goes by, and an archive at its end."""
    path = tmp_path / f"model{suffix}"
    inputs = keras.Input((32, 32, 3))
    layer = keras.saving.deserialize_keras_object(touching(), safe_mode=False)
    outputs = layer(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "old.h5")
    canary.unlink()
    path.write_bytes((tmp_path / "old.h5").read_bytes() + saved_classifier.read_bytes())
    with pytest.raises(UserError, match=r"is no \.keras file") as raised:
        classifier.load(path)
    assert one_sentence(raised.value)
    shutil.copy(tmp_path / "old.h5", tmp_path / "new.keras")
    with pytest.raises(UserError, match="damaged"):
        classifier.load(tmp_path / "new.keras")
    assert not canary.exists()


def test_a_file_that_may_not_be_read(saved_classifier, monkeypatch):
    def forbidden(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(UserError, match="may not be read") as raised:
        classifier.load(saved_classifier)
    assert one_sentence(raised.value)


def test_names_are_shown_without_codes_for_the_terminal(saved_classifier, tmp_path, capsys):
    path = Path(shutil.copy(saved_classifier, tmp_path / "model.keras"))
    names = b'{"class_names": ["\\u001b[2Jdark\\nP(x)", "\\u202elight"]}'
    rewritten(path, lambda members: members.update({"classes.json": names}))
    photo = tmp_path / "a\x1b[2J\n.png"
    keras.utils.save_img(photo, np.zeros((50, 50, 3)))
    (tmp_path / "b\x1b\n.png").write_bytes(b"no photo")
    assert predict.main([str(photo), str(tmp_path / "b\x1b\n.png"), "--model", str(path)]) == 1
    said = capsys.readouterr()
    for text in said:
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
    assert said.out.startswith(r"P(\x1b[2Jdark\nP(x)) = ")


# --- Weights in Keras's cache, and the bundled ones ---


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_are_refused(name, tmp_path, monkeypatch, modest):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = backbone.weights_file(0.35, 96)
    file.parent.mkdir()
    make, said = WEIGHTS[name]
    with h5py.File(file, "w") as weights:
        weights["layers/0"] = weights["layers/1"] = np.zeros(3, np.float32)
        spoil_weights(weights, "layers", make)
    with pytest.raises(UserError, match="delete it from Keras's cache") as raised:
        backbone.load(0.35, 96, "imagenet")
    assert one_sentence(raised.value)
    assert said in str(raised.value)


def test_bundled_weights_are_no_pickle(small, tmp_path, canary):
    from hostile_files import Canary

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
    assert not os.path.samefile(canary, tmp_path / "weights.npz")
