"""Every command says in one sentence how it is called."""

import pytest

from mobilenet import (
    ROOT,
    bench,
    cost,
    evaluate,
    export,
    extract,
    gains,
    head,
    predict,
    pretrain,
    train,
)
from mobilenet.system.command import run
from tests.helpers.drawn import one_sentence

COMMANDS = (bench, cost, evaluate, export, extract, gains, head, predict, pretrain, train)


def test_these_are_all():
    names = {path.stem for path in (ROOT / "mobilenet").glob("[a-z]*.py")}
    assert {one.__name__ for one in COMMANDS} == {f"mobilenet.{name}" for name in names}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.__name__.split(".")[-1])
def test_an_option_that_is_none_and_help(command, capsys):
    with pytest.raises(SystemExit) as left:
        command.main(["--nonsense"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert one_sentence(said.rstrip("\n"))
    assert said.startswith(f"python -m {command.__name__}: ")
    with pytest.raises(SystemExit) as left:
        command.main(["--help"])
    assert left.value.code == 0
    assert f"python -m {command.__name__}" in capsys.readouterr().out


def test_without_a_standard_output_a_command_still_ends(monkeypatch):
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdout", None)
    assert run(lambda: 0) == 0
    assert run(interrupted) == 130
