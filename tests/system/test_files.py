"""Files are written whole or not at all."""

import json
import stat
from pathlib import Path

import pytest

from mobilenet import UserError
from mobilenet.system.files import replacing, write_json
from tests.helpers.drawn import one_sentence


def test_a_value_comes_back(tmp_path):
    value = {"α": [1, 2.5, None, True], "name": "not alpaca 🦙"}
    path = tmp_path / "new" / "folders" / "value.json"
    write_json(path, value)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "🦙" in text
    assert text.endswith("}\n")


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as new:
        new.write_text("half of")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:  # who has opened the old one reads it to its end
        with replacing(path) as new:
            new.write_text("new")
            assert path.read_text() == "old"
            assert new.suffix == path.suffix
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_it(tmp_path):
    write_json(tmp_path / "value.json", 1)
    assert stat.S_IMODE((tmp_path / "value.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("place", ["a file/value.json", "a folder"])
def test_where_nothing_can_be_written(tmp_path, place):
    (tmp_path / "a file").touch()
    (tmp_path / "a folder" / "with content").mkdir(parents=True)
    with pytest.raises(UserError) as raised:
        write_json(tmp_path / place, 1)
    assert one_sentence(raised.value)
    assert Path(place).name in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "a folder"]


def test_a_full_disk(tmp_path):
    with pytest.raises(UserError, match="No space left") as raised, replacing(tmp_path / "x") as _:
        raise OSError(28, "No space left on device")
    assert one_sentence(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    assert path.read_text() == "1\n"
