"""Which folder of photos is taken."""

import pytest

import mobilenet
from mobilenet import UserError
from mobilenet.photos import loading
from tests.helpers.drawn import draw, one_sentence, write


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "photos", draw(1, size=16))


def test_the_folder_that_photos_names(folder, monkeypatch):
    monkeypatch.setenv("PHOTOS", str(folder))
    found, line = loading.find_folder()
    assert found == folder
    assert one_sentence(line)
    monkeypatch.setenv("PHOTOS", str(folder / "nowhere"))
    with pytest.raises(UserError, match="PHOTOS names") as raised:
        loading.find_folder()
    assert one_sentence(raised.value)


def test_photos_beside_the_project(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(mobilenet, "ROOT", tmp_path)
    monkeypatch.setattr(loading, "ROOT", tmp_path)
    monkeypatch.setenv("PHOTOS", "photos")  # as from notebooks/, whose working directory it is not
    assert loading.find_folder()[0] == folder
    monkeypatch.delenv("PHOTOS")
    with pytest.raises(UserError, match="There are no photos") as raised:
        loading.find_folder()
    assert one_sentence(raised.value)
    drawn, real = (tmp_path / "dataset" / name for name in ("rendered", "photos"))
    drawn.mkdir(parents=True)
    found, line = loading.find_folder()
    assert found == drawn
    assert "drawings" in line
    assert one_sentence(line)
    folder.rename(real)
    found, line = loading.find_folder()
    assert found == real
    assert one_sentence(line)
