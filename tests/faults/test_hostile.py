"""A folder that holds anything: what is bad is named or passed over, and the rest is trained on."""

import errno
import warnings
from pathlib import Path

import numpy as np
import pytest

import utils
from mobilenet.photos import loading, splits
from mobilenet.transfer import training
from tests.helpers.drawn import draw, write
from tests.helpers.hostile import EITHER, KINDS, PASSED, READ, Impossible

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # as mobilenet.photos.loading does
SIZE = 32


def made(name, folder):
    try:
        return KINDS[name](folder)
    except Impossible as error:
        pytest.skip(f"this machine has no such file: {error}")


def check(loaded, found, folder="class a"):
    """What became of the files of a kind is what it says."""
    out = dict(loaded.left_out)
    for name, becomes in found.items():
        file = f"{folder}/{name}"
        if becomes == EITHER:
            assert (file in loaded.files) != (file in out)
        elif becomes in (READ, PASSED):
            assert file not in out, out
            assert (file in loaded.files) == (becomes == READ)
        else:
            assert file not in loaded.files
            assert becomes in out[file]
            assert out[file].strip()
            assert "\n" not in out[file]


def test_there_are_enough_kinds():
    assert len(KINDS) >= 110


@pytest.mark.parametrize("name", KINDS)
def test_what_becomes_of_it(name, tmp_path):
    folder = write(tmp_path / "photos", draw(3))
    found = made(name, folder / "class a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"PIL\.")  # as mobilenet.photos.loading does
        loaded = loading.load_photos(folder, SIZE)
    check(loaded, found)
    assert sum(file.startswith("class b/") for file in loaded.files) == 3
    assert loaded.images[:].shape == (len(loaded), SIZE, SIZE, 3)
    utils.describe(loaded).encode()


def test_a_photo_without_permission(tmp_path, monkeypatch):
    """As if, for root may read everything; and it is asked again when it is allowed."""
    folder = write(tmp_path / "photos", draw(3))
    real, secret = Path.read_bytes, folder / "class a" / "001.png"

    def read_bytes(path):
        if path == secret:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        check(loading.load_photos(folder, SIZE), {"001.png": "permission denied"})
    check(loading.load_photos(folder, SIZE), {"001.png": READ})


def test_all_at_once_and_training_goes_on(tmp_path):
    folder = write(tmp_path / "photos", draw(8))
    found = {}
    for make in KINDS.values():
        try:
            found |= make(folder / "class a")
        except Impossible:
            continue
    loaded = loading.load_photos(folder, SIZE)
    check(loaded, found)
    parts = splits.split(loaded, 0)
    pixels = loaded.images[:].reshape(len(loaded), -1).astype(np.float32) / 255
    head = training.build_head(pixels.shape[1], 2, 0.0, 0)
    train = parts["train"]
    history = training.fit(
        head, pixels[None, train], loaded.labels[train], epochs=2, learning_rate=1e-3, seed=0
    )
    assert np.isfinite(history.loss[1:]).all()
