"""Training from scratch with one step taken back at a time, judged on validation photos."""

import json

from mobilenet import gains
from mobilenet.networks import mobilenets
from mobilenet.scratch import leave_one_out
from mobilenet.scratch.learning import RECIPE, Recipe
from tests.helpers.drawn import draw, write


def changed(recipe: Recipe) -> set[str]:
    return {name for name, value in recipe._asdict().items() if value != getattr(RECIPE, name)}


def test_each_row_takes_back_one_step_and_the_last_all():
    first, *single, adamw, last = leave_one_out.WAYS.values()
    assert first == RECIPE
    assert all(len(changed(row)) == 1 for row in single)
    assert changed(adamw) == set(leave_one_out.ADAMW), "it has its own rate and decay"
    assert changed(last) == set(Recipe._fields)


def test_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:2])
    monkeypatch.setattr(leave_one_out, "EPOCHS", 1)
    some = {way: leave_one_out.WAYS[way] for way in ("the recipe", "AdamW, not SGD")}
    monkeypatch.setattr(leave_one_out, "WAYS", some)
    data = write(tmp_path / "photos", draw(30, classes=3, size=32))
    line = ["--data", str(data), "--repeats", "2", "--out", str(tmp_path / "gains.json")]
    assert gains.main(line) == 0
    said = capsys.readouterr().out
    about = json.loads((tmp_path / "gains.json").read_text())
    assert about["command"] == "python -m mobilenet.gains --data photos --repeats 2"
    assert [row["way"] for row in about["rows"]] == list(some)
    for row in about["rows"]:
        assert len(row["right"]) == len(row["seconds"]) == 2
        assert 0 <= min(row["right"]) <= max(row["right"]) <= row["total"]
        assert f"| {row['way']} | {row['right'][0]}, {row['right'][1]} of {row['total']} |" in said
