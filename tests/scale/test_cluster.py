"""`--cluster`: two nodes on loopback give what one process gives, also when one is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenet import UserError, extract, predict
from mobilenet.inference import classifier
from mobilenet.phone import convert
from mobilenet.scale import cluster, parts
from tests.helpers import cluster as clusters
from tests.helpers.drawn import one_sentence

pytestmark = pytest.mark.cluster

PHOTOS = 4000  # so that there is a middle in which to kill; the second half are links
SIZE = 96
DEADLINE = 600  # seconds


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two classes of small photos, and two files that are none."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(PHOTOS - 2):
        path = folder / f"class {'ab'[i % 2]}" / f"{i:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        if i >= PHOTOS // 2:
            path.symlink_to(f"{i - PHOTOS // 2:05}.jpg")
            continue
        picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
    (folder / "class a" / "00100x.jpg").write_bytes(b"none")
    (folder / "class b" / "99999.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def running():
    with clusters.started() as started:
        yield started


@pytest.fixture
def two(running):
    """A cluster of two nodes: its head and one more."""
    while not running.nodes:
        running.add()
    return running


def start(module: str, *arguments: object) -> subprocess.Popen:
    """A command of the project, as its user starts it."""
    env = os.environ | clusters.LOOPBACK | {"WEIGHTS": "bundled"}
    return subprocess.Popen(
        [sys.executable, "-m", f"mobilenet.{module}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def run(module: str, *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    process = start(module, *arguments)
    out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


def extracting(folder: Path, out: Path, address: str = "") -> tuple:
    cluster_of = ["--cluster", address] if address else []
    return "extract", folder, "--out", out, "--size", SIZE, *cluster_of


@pytest.fixture(scope="module")
def alone(photos, tmp_path_factory) -> Path:
    """What one process makes of the photos."""
    out = tmp_path_factory.mktemp("alone")
    code, _, err = run(*extracting(photos, out))
    assert (code, err) == (1, "")  # two files are no photos
    return out


def rows(out: Path) -> list[tuple]:
    """(path, label, sha256, features) of all rows, by path."""
    found = []
    for batch in parts.batches(out, ["path", "label", "sha256", "features"]):
        texts = (batch.column(name).to_pylist() for name in ("path", "label", "sha256"))
        found += zip(*texts, parts.array_of(batch), strict=True)
    return sorted(found, key=lambda row: row[0])


def assert_same(out: Path, alone: Path) -> None:
    mine, theirs = rows(out), rows(alone)
    assert [row[:3] for row in mine] == [row[:3] for row in theirs]
    assert len(mine) == PHOTOS - 2
    assert all((one[3] == other[3]).all() for one, other in zip(mine, theirs, strict=True))
    assert parts.listed(out) == parts.listed(alone)  # none doubled, no photo forgotten


def wait_for_parts(out: Path, process: subprocess.Popen, most: int) -> int:
    """Wait until there is a part, but not all of them; how many there are."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        if out.is_dir() and (found := len(parts.listed(out, "features"))):
            assert found < most, "it was too fast to be stopped in the middle"
            return found
        time.sleep(0.005)
    raise AssertionError(f"no part in {DEADLINE} seconds: {process.poll()}")


def computed(said: str) -> int:
    return int(re.search(r"(\d+) computed now", said)[1])


def test_two_nodes_give_the_rows_of_one_process(two, photos, alone, tmp_path):
    code, out, err = run(*extracting(photos, tmp_path / "out", two.address))
    assert (code, err) == (1, "")
    assert "cannot be read: 2," in out
    assert computed(out) == len(parts.listed(alone, "features"))
    assert_same(tmp_path / "out", alone)


def test_a_node_killed_in_the_middle_loses_no_row_and_doubles_none(two, photos, alone, tmp_path):
    out, total = tmp_path / "out", len(parts.listed(alone, "features"))
    process = start(*extracting(photos, out, two.address))
    wait_for_parts(out, process, total)
    two.kill(two.nodes[0])
    said, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (1, "")
    assert computed(said) == total
    assert_same(out, alone)


def test_a_driver_killed_in_the_middle_goes_on_where_it_was(two, photos, alone, tmp_path):
    out, total = tmp_path / "out", len(parts.listed(alone, "features"))
    process = start(*extracting(photos, out, two.address))
    wait_for_parts(out, process, total)
    assert workers(two)
    process.kill()
    process.communicate(timeout=DEADLINE)
    wait_until(lambda: not workers(two))
    there = {name: (out / name).stat().st_mtime_ns for name in parts.listed(out, "features")}
    assert 0 < len(there) < total
    code, said, err = run(*extracting(photos, out, two.address))
    assert (code, err) == (1, "")
    assert computed(said) == total - len(there)
    assert (
        there.items()
        <= {name: (out / name).stat().st_mtime_ns for name in parts.listed(out, "features")}.items()
    )
    assert_same(out, alone)


def test_nothing_listens_beyond_loopback_and_an_interrupt_leaves_nothing_running(
    two, photos, alone, tmp_path
):
    process = start(*extracting(photos, tmp_path / "out", two.address))
    wait_for_parts(tmp_path / "out", process, len(parts.listed(alone, "features")))
    hosts = listening([*two.processes(), process.pid])
    assert workers(two)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (130, "")
    assert hosts and all(host.is_loopback for host in hosts)
    wait_until(lambda: not workers(two))


def wait_until(met) -> None:
    until = time.monotonic() + DEADLINE
    while not met():
        assert time.monotonic() < until
        time.sleep(0.05)


def workers(cluster) -> list[str]:
    """What the processes of a cluster call themselves that do a driver's work.

    One that has left the cluster has no thread "worker.io" any more: now and then Ray 2.60 then
    waits for ever in its own end, a process that nobody asks for anything.
    """
    names = []
    for process in cluster.processes():
        try:
            name = Path(f"/proc/{process}/cmdline").read_text().split("\0")[0]
            threads = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/comm")]
        except OSError:  # it has just ended
            continue
        if "Map" in name and "worker.io\n" in threads:
            names.append(name)
    return names


def listening(processes: list[int]) -> list:
    """The addresses at which these processes listen."""
    sockets = set()
    for process in processes:
        for handle in Path(f"/proc/{process}/fd").glob("*"):
            try:
                sockets.add(os.readlink(handle))
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                digits = bytes.fromhex(local.split(":")[0])
                words = [digits[i : i + 4][::-1] for i in range(0, len(digits), 4)]
                host = ip_address(b"".join(words))
                mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
                found.append(mapped or host)
    return found


@pytest.mark.parametrize("kind, json_lines", [("keras", True), ("keras", False), ("tflite", True)])
def test_predictions_are_the_same_lines_in_the_same_order(
    two, photos, saved_classifier, tmp_path, kind, json_lines
):
    model = saved_classifier
    if kind == "tflite":
        pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
        model = tmp_path.with_suffix(".tflite")
        convert.save(model, convert.convert(*classifier.load(saved_classifier)))
    some = sorted((photos / "class a").iterdir())[:600]
    for path in some:
        (tmp_path / path.name).symlink_to(path)
    arguments = ["predict", tmp_path, tmp_path / "none.jpg", "--model", model]
    arguments += ["--json"] if json_lines else []
    plain = run(*arguments)
    assert plain[0] == 1 and len(plain[1].splitlines()) == 599
    assert len(plain[2].splitlines()) == 2
    assert run(*arguments, "--cluster", two.address) == plain


def test_a_reader_that_has_had_enough_ends_it_in_order(two, photos, saved_classifier):
    some = photos / "class b"
    process = start("predict", some, "--model", saved_classifier, "--cluster", two.address)
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(DEADLINE) == 0
    assert process.stderr.read() == ""


def test_an_address_where_nothing_listens_is_one_sentence(photos, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        code, out, err = run(*extracting(photos, tmp_path, address))
    assert (code, out) == (1, "")
    assert one_sentence(err.rstrip("\n")) and address in err


@pytest.mark.parametrize("address", ["", "here", "local", "ray://127.0.0.1:1", "h:port"])
def test_what_is_no_address_is_one_sentence(address):
    with pytest.raises(UserError, match="is no address of a Ray cluster") as raised:
        cluster.connected(address).__enter__()
    assert one_sentence(raised.value)


def test_a_server_that_is_no_cluster_is_one_sentence(photos, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        code, out, err = run(*extracting(photos, tmp_path, address))
    assert (code, out) == (1, "")
    assert one_sentence(err.rstrip("\n")) and address in err


def test_another_version_is_one_sentence(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(*arguments, **options):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.49.0")

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match="runs another Python or Ray") as raised:
            cluster.connected(address).__enter__()
    assert one_sentence(raised.value)


def test_the_last_machine_lost_is_one_sentence(photos, tmp_path):
    with clusters.started() as running:
        process = start(*extracting(photos, tmp_path / "out", running.address))
        wait_for_parts(tmp_path / "out", process, 1000)
        clusters.kill(running.processes())
        said, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, said) == (1, "")
    assert one_sentence(err.rstrip("\n")) and running.address in err


def test_a_gpu_that_tensorflow_cannot_use_is_one_sentence(photos, tmp_path):
    """The nodes pretend to have one; LiteRT does not ask for it."""
    with clusters.started(gpus=1) as running:
        code, out, err = run(*extracting(photos, tmp_path / "out", running.address))
        assert (code, out) == (1, "")
        assert one_sentence(err.rstrip("\n")) and "tensorflow[and-cuda]" in err


@pytest.mark.parametrize("command", [extract, predict])
def test_no_ray_is_one_sentence(command, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = [str(tmp_path), "--cluster", "auto"]
    assert command.main(arguments + (["--out", "out"] if command is extract else [])) == 1
    err = capsys.readouterr().err.strip()
    assert one_sentence(err) and "requirements-cluster.txt" in err
