"""What is installed, what is started and what is shown: `make audit`, `make lab`, the outputs; and
what others start: a dev container, GitHub, Binder.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from mobilenet import ROOT
from notebooks import run
from tests.helpers.drawn import one_sentence

SHOWN = {"text/html", "text/plain", "text/markdown", "image/png", "image/jpeg"}
# What a browser would run, load or show in a frame.
ACTIVE = r"(?i)<\s*/?\s*(script|iframe|object|embed|svg|style|link|meta|form|base|img)\b"
ACTIVE += r"|<[^>]*\bon\w+\s*=|javascript:|vbscript:|\bdata:\w"


# --- The notebooks ---


@pytest.mark.parametrize("path", run.notebooks(), ids=lambda path: path.stem)
def test_a_notebook_shows_text_and_pictures_alone(path):
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        texts = [cell.source] if cell.cell_type == "markdown" else []
        assert not cell.get("attachments")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            assert set(data) <= SHOWN
            texts += [data.get("text/markdown", ""), data.get("text/html", "")]
            for metadata in output.get("metadata", {}).values():
                texts.append(json.dumps(metadata))
        for text in texts:
            assert not re.search(ACTIVE, text), text[:200]


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "< SCRIPT src=x>",
        "<a href='x' onclick=run()>",
        "[x](javascript:run())",
        "<iframe src=x>",
        "<svg/onload=run()>",
        "![](data:image/svg+xml,x)",
        "<img src=x>",
    ],
)
def test_what_is_active_is_seen(text):
    assert re.search(ACTIVE, text)


# --- make audit, make lab ---

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def make(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """`make` with these programs for .venv/bin, and nothing to be installed first."""
    for name in ("ready", "ready-dev"):
        (folder / name).touch()
    stamps = [f"RUN={folder / 'ready'}", f"DEV={folder / 'ready-dev'}"]
    return subprocess.run(
        ["make", "-s", *arguments, *stamps],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def told(done: subprocess.CompletedProcess) -> list[str]:
    """What was said, without what make adds when a command fails."""
    return [line for line in done.stderr.splitlines() if not line.startswith("make")]


@needs_make
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Traceback (most recent call last):' >&2; exit 1", "cannot be had for all"),
        ("exit 127", "cannot be had for all"),
        ("echo 'keras 3.10 CVE-2025-8747'; echo 'Found 1' >&2; exit 1", "keras 3.10 CVE-2025-8747"),
        ("echo 'No known vulnerabilities found' >&2", "No known vulnerabilities."),
    ],
)
def test_an_audit_ends_with_a_list_or_a_sentence(script, said, tmp_path):
    for name, line in (("pip-audit", script), ("python", "echo keras==3.10")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    done = make("audit", f"BIN={tmp_path}", folder=tmp_path)
    good = "exit" not in script
    assert (done.returncode == 0) == good
    (line,) = done.stdout.splitlines() if good else told(done)
    assert said in line
    assert line == "keras 3.10 CVE-2025-8747" or one_sentence(line)


@needs_make
def test_an_audit_without_a_network_says_so(tmp_path):
    program = Path(sys.executable).parent / "pip-audit"
    if not program.exists():
        pytest.skip("needs pip-audit")
    nowhere = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    arguments = ("audit", f"BIN={program.parent}")
    done = make(*arguments, folder=tmp_path, **nowhere, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode != 0
    (line,) = told(done)
    assert one_sentence(line)
    assert "connect to a network" in line


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def lab(tmp_path):
    """JupyterLab as `make lab` starts it, but without a browser, for a user who set nothing up."""
    said = make("-n", "lab", f"BIN={Path(sys.executable).parent}", folder=tmp_path)
    command = [*shlex.split(said.stdout), "--no-browser", "--port=0"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "XDG"))}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            for line in server.stderr:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)/\S*\?token=(\w+)", line):
                    while not answers(int(found[1])) and server.poll() is None:
                        pass  # it says so a moment before it listens
                    yield int(found[1]), found[2]
                    break
            else:
                pytest.fail("JupyterLab did not start")
        finally:
            server.kill()


@needs_make
def test_the_lab_is_for_this_machine_and_for_who_has_its_token(lab):
    port, token = lab
    assert len(token) >= 32
    for given, status in ((None, 403), ("wrong", 403), (token, 200)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"token {given}"} if given else {}
        connection.request("GET", "/api/contents", headers=headers)
        assert connection.getresponse().status == status
        connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/lab")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location")[:6]) == (302, "/login")
    connection.close()
    if Path("/proc/net/tcp").exists():
        listening = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if Path(table).exists():
                rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
                listening += [row[1] for row in rows if row[3] == "0A"]
        assert {one for one in listening if one.endswith(f":{port:04X}")} == {
            f"0100007F:{port:04X}"
        }


# --- Dev container, workflow, Binder ---


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_a_dev_container_starts_as_the_readme_does():
    container = json.loads(read(".devcontainer/devcontainer.json"))
    first = re.search(r"^    (make [a-z]+)", read("README.md"), re.MULTILINE)
    assert container["postCreateCommand"] == first[1]


def test_the_workflow_runs_what_ci_runs():
    assert "- run: bash .ci/run\n" in read(".github/workflows/test.yml")
    assert (ROOT / ".ci/run").is_file()


def test_binder_installs_what_make_does():
    assert (ROOT / ".binder" / read(".binder/requirements.txt").split()[1]).resolve() == (
        ROOT / "requirements.txt"
    )


@pytest.mark.parametrize(
    ("path", "version"),
    [
        (".devcontainer/devcontainer.json", r"devcontainers/python:3\.(\d+)"),
        (".github/workflows/test.yml", r'python-version: "3\.(\d+)"'),
        (".binder/runtime.txt", r"\Apython-3\.(\d+)\n\Z"),
    ],
)
def test_others_take_a_python_that_make_takes(path, version):
    low, high = re.search(r"\(3, (\d+)\) <= .* <= \(3, (\d+)\)", read("Makefile")).groups()
    assert int(low) <= int(re.search(version, read(path))[1]) <= int(high)
