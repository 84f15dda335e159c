"""The run as a command where something is missing, and the targets of the Makefile."""

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from PIL import Image

from mobilenet import ROOT, UserError
from mobilenet.networks import pretrained
from mobilenet.system import files
from notebooks import run as runner


def run(*command: str, **environment: str) -> subprocess.CompletedProcess:
    others = ("PHOTOS", "KERAS_HOME", "WEIGHTS", "MAKEFLAGS", "MAKELEVEL")  # make may have called
    env = {k: v for k, v in os.environ.items() if k not in others} | environment
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def run_here(monkeypatch, tmp_path, capsys):
    """The command in this process, which takes no second to start; what it writes lies apart."""
    monkeypatch.setattr(runner, "BUILD", tmp_path / "build")

    def started(*arguments: str, **environment: str) -> SimpleNamespace:
        names = ("PHOTOS", "KERAS_HOME", "WEIGHTS", "MOBILENET_LOG", "JUPYTER_PREFER_ENV_PATH")
        for name in names:  # set first, so that what the run sets is taken back
            monkeypatch.setenv(name, environment.get(name, ""))
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        try:
            code = runner.main()
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    pretrained.find_weights.cache_clear()
    yield started
    pretrained.find_weights.cache_clear()


@pytest.fixture
def photos(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(np.full((32, 32, 3), 40 * i, np.uint8)).save(
                tmp_path / "photos" / name / f"{i}.png"
            )
    return str(tmp_path / "photos")


def one_sentence(result: subprocess.CompletedProcess | SimpleNamespace) -> str:
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(".")
    return lines[0]


def test_a_photo_folder_that_is_not_there(tmp_path, run_here):
    missing = str(tmp_path / "nowhere")
    text = one_sentence(run_here(PHOTOS=missing))
    assert missing in text
    assert "PHOTOS" in text


def test_weights_that_are_insisted_on_without_a_network(photos, tmp_path):
    """A proxy that nobody listens on is as good as no network."""
    text = one_sentence(
        run(
            sys.executable,
            "notebooks/run.py",
            PHOTOS=photos,
            KERAS_HOME=str(tmp_path / "empty"),
            WEIGHTS="imagenet",
            HTTPS_PROXY="http://127.0.0.1:9",
            https_proxy="http://127.0.0.1:9",
        )
    )
    assert "ImageNet weights" in text
    assert "KERAS_HOME" in text


def test_weights_that_do_not_exist(photos, run_here):
    text = one_sentence(run_here(PHOTOS=photos, WEIGHTS="large"))
    assert "imagenet or bundled" in text


def test_outputs_with_photos_of_others_are_not_kept(photos, run_here):
    text = one_sentence(run_here("--keep", PHOTOS=photos))
    assert "drawn pictures" in text


@pytest.mark.skipif((ROOT / "dataset" / "photos").exists(), reason="needs no dataset/photos/")
def test_kept_outputs_know_of_no_earlier_run(tmp_path, monkeypatch):
    """A notebook sees an empty log of its own, which is gone afterwards."""
    cell = "import os; print(len(os.listdir(log := os.environ['MOBILENET_LOG'])), log)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, tmp_path / "01_only.ipynb")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "01-earlier.json").write_text("{}")
    for name in ("PHOTOS", "KERAS_HOME", "WEIGHTS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MOBILENET_LOG", str(tmp_path / "log"))
    monkeypatch.setattr(runner, "BUILD", tmp_path / "build")
    monkeypatch.setattr(runner, "HERE", tmp_path)
    with pytest.raises(UserError, match="counted baseline"):  # it is no notebook of ours
        runner.run(keep=True)
    ran = nbformat.read(tmp_path / "build" / "notebooks" / "01_only.ipynb", as_version=4)
    count, log = ran.cells[0].outputs[0].text.split()
    assert count == "0"
    assert not os.path.exists(log)
    assert len(list((tmp_path / "log").iterdir())) == 1


def test_the_run_says_how_many_files_were_not_used():
    assert runner.unused({"count": 9, "classes": []}) == []
    count, where = runner.unused({"count": 9, "classes": [], "left_out": 20, "hidden": 3})
    assert "20 files left out, 3 files hidden" in count
    assert "03_alpaca_classifier.ipynb" in where


def test_two_runs_at_once_do_not_mix(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "BUILD", tmp_path)
    with files.alone(tmp_path), pytest.raises(UserError, match="Another run of the noteb"):
        runner.run(keep=False)


@pytest.mark.skipif((ROOT / "dataset" / "photos").exists(), reason="needs no dataset/photos/")
def test_named_notebooks_run_alone(tmp_path, monkeypatch, capsys):
    """By number or name, in their order, without a scoreboard; the others are left as they are."""
    for number, name in enumerate(("one", "two", "three"), start=1):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"print({number})")])
        nbformat.write(notebook, tmp_path / f"0{number}_{name}.ipynb")
    for name in ("PHOTOS", "KERAS_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WEIGHTS", "bundled")
    monkeypatch.setenv("MOBILENET_LOG", "")
    monkeypatch.setattr(runner, "BUILD", tmp_path / "build")
    monkeypatch.setattr(runner, "HERE", tmp_path)
    (tmp_path / "build" / "scoreboard").mkdir(parents=True)
    kept = tmp_path / "build" / "scoreboard" / "head.json"
    kept.write_text("{}")
    monkeypatch.setattr(
        sys, "argv", ["run.py", "--keep", "03_three", "notebooks/02_two.ipynb", "3"]
    )
    with pytest.raises(SystemExit) as ended:
        runner.main()
    assert ended.value.code == 2, "3 is no number of a notebook, 03 is"
    monkeypatch.setattr(sys, "argv", ["run.py", "--keep", "03", "notebooks/02_two.ipynb"])
    assert runner.main() == 0
    said = capsys.readouterr().out
    assert said.index("02_two") < said.index("03_three")
    assert "01_one" not in said
    assert sorted(path.name for path in (tmp_path / "build" / "notebooks").iterdir()) == [
        "02_two.ipynb",
        "03_three.ipynb",
    ]
    outputs = [nbformat.read(path, 4).cells[0].outputs for path in runner.notebooks()]
    assert [len(some) for some in outputs] == [0, 1, 1]
    assert kept.is_file()
    assert not (tmp_path / "build" / "scoreboard.json").exists()


def test_a_notebook_that_does_not_exist_is_a_usage_error():
    result = run(sys.executable, "notebooks/run.py", "99")
    assert result.returncode == 2
    (said,) = result.stderr.splitlines()
    assert said.endswith(".")
    assert "99" in said
    assert "07_to_a_phone" in said


def test_an_option_that_does_not_exist_is_a_usage_error(run_here):
    result = run_here("--fast")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_help_lists_every_target():
    result = run("make", "help")
    assert result.returncode == 0
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    listed = [line.split()[0] for line in result.stdout.splitlines()]
    assert set(listed) == set(targets)
    assert {"help", "run", "lab", "test"} <= set(listed)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_python_that_is_too_old_is_refused_with_a_sentence(tmp_path):
    """In a copy, where nothing is set up yet; the Python is one that says it is 3.9."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run(
        ["make", "run", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "Python 3.10 to 3.13 is needed" in result.stderr
    assert not (tmp_path / ".venv").exists()
