"""The results in git: each is what its command, its history and its network say."""

import json

import pytest

from mobilenet import ROOT
from mobilenet.networks import cost
from mobilenet.scratch import trainer
from mobilenet.scratch.plan import Plan
from mobilenet.transfer.metrics import Result

FOLDERS = sorted((ROOT / "mobilenet" / "scratch" / "results").glob("*/"))


def test_there_are_results():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_result_holds_together(folder):
    about = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    history = [json.loads(line) for line in lines]
    plan = Plan(**{name: about[name] for name in Plan._fields})
    assert about["command"] == plan.command()
    assert [row["epoch"] for row in history] == list(range(1, plan.epochs + 1))
    assert about["best_epoch"] == trainer.best_epoch(history)
    assert about["val_accuracy"] == history[about["best_epoch"] - 1]["val_accuracy"]
    assert about["seconds"] == pytest.approx(sum(row["seconds"] for row in history), abs=1)
    result = Result(about["test_correct"], about["test_total"])
    assert result.total == about["photos"]["test"]
    assert about["interval"] == pytest.approx(result.interval, abs=1e-4)
    assert about["machine"]["cores"] > 0
    told = [result]
    if "two_views" in about:
        told.append(Result(about["two_views"]["correct"], about["two_views"]["total"]))
        assert about["two_views"]["interval"] == pytest.approx(told[1].interval, abs=1e-4)
    page = (ROOT / "docs" / "from-scratch.md").read_text(encoding="utf-8")
    for one in told:
        assert f"| {one.correct:,} of {one.total:,} | {one.share()} | {one.percent()} |" in page
    if plan.model != "head":
        total = cost.totals(cost.count(trainer.build(plan)))
        assert total == (about["multiply_adds"], about["parameters"])
