"""The command mobilenet.extract: how it is called."""

import sys

import pytest

from mobilenet import extract
from tests.helpers.drawn import draw, one_sentence, write


def test_without_pyarrow_one_sentence_names_the_file_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    folder = write(tmp_path / "photos", draw(1, size=16))
    assert extract.main([str(folder), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert one_sentence(said.rstrip("\n"))
    assert "requirements-cluster.txt" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [[], ["photos"], ["p", "--out", "o", "--size", "9"]])
def test_usage(wrong, capsys):
    with pytest.raises(SystemExit) as exit_:
        extract.main(wrong)
    assert exit_.value.code == 2
    assert one_sentence(capsys.readouterr().err.rstrip("\n"))
