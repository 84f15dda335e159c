"""Fetching photos from a server that misbehaves: what comes is right, what does not is named."""

import csv
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset import fetch as fetching
from dataset.fetch import fetch, read_manifest
from mobilenet import ROOT, UserError
from mobilenet.photos import folders, loading
from mobilenet.system.files import replacing
from tests.helpers.bad_server import (
    FINE,
    HEADER,
    SECONDS,
    WRONG,
    Place,
    answer,
    row,
    serving,
    write_manifest,
)
from tests.helpers.drawn import one_sentence


@pytest.fixture
def place(tmp_path):
    with serving() as server:
        yield Place(server, tmp_path)


# --- What comes ---


def test_all_photos_come_once(place, capsys):
    assert place.fetch() == 0
    assert place.is_complete()
    assert set(place.server.requests.values()) == {1}
    assert capsys.readouterr().out == f"All 12 photos are in {place.folder}.\n"
    assert loading.load_photos(place.folder, 16).class_names == ("class b", "class a")


def test_what_is_there_is_not_asked_for_again(place, capsys):
    place.fetch()
    assert place.fetch() == 0
    assert set(place.server.requests.values()) == {1}
    assert capsys.readouterr().out.count("All 12 photos") == 2


@pytest.mark.parametrize("way", FINE)
def test_odd_ways_to_answer_right(place, way):
    place.server.faults |= {file: [FINE[way]] for file in place.files[:3]}
    assert place.fetch() == 0
    assert place.is_complete()
    assert all(place.server.requests[f"/{file}"] == 1 for file in place.files)


def test_what_comes_wrong_twice_comes_right_the_third_time(tmp_path, capsys):
    with serving() as server:
        place = Place(server, tmp_path, count=len(WRONG))
        bad = dict(zip(place.files, WRONG, strict=False))
        for file, fault in bad.items():
            # One try asks many times when it is sent from the photo to itself.
            server.faults[file] = [WRONG[fault]] * (1 if fault == "moved to itself" else 2)
        assert place.fetch() == 0
        assert place.is_complete()
        for file in place.files:
            times = {None: 1, "moved to itself": 2}.get(bad.get(file), 3)
            assert server.requests[f"/{file}"] == times, bad.get(file)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fault", WRONG)
def test_what_stays_wrong_is_named_and_the_others_come(place, fault, capsys):
    bad = place.files[-1]
    place.server.faults[bad] = [WRONG[fault]] * 100
    seconds = 0.5 if fault == "silent" else SECONDS  # of silence, three times
    assert place.fails(seconds=seconds).startswith("1 of 12 photos are missing: ")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{bad}: ")
    assert lines[0].isprintable()
    assert not place.folder.exists()
    expected = {file: data for file, data in place.server.files.items() if file != bad}
    assert place.content(place.partial) == expected
    if not fault.startswith("moved"):
        assert place.server.requests[f"/{bad}"] == 3
    assert place.server.sent < 50_000_000
    # Another run asks for that one alone.
    place.server.faults.clear()
    assert place.fetch() == 0
    assert place.is_complete()
    assert all(place.server.requests[f"/{file}"] == 1 for file in expected)


@pytest.mark.parametrize(
    ("place", "safe"),
    [
        ("https://photos.test/y.jpg", True),
        ("https://third_party.test/y.jpg", True),
        ("http://photos.test/x.jpg", False),
        ("http://third_party.test/x.jpg", False),
        ("ftp://photos.test/x.jpg", False),
        ("file:///etc/hostname", False),
    ],
)
def test_a_redirect_leaves_https_for_nothing(place, safe):
    handler, request = fetching._Redirects(), Request("https://photos.test/x.jpg")
    with nullcontext() if safe else pytest.raises(URLError, match="not safe"):
        assert handler.redirect_request(request, io.BytesIO(), 302, "", {}, place)


def test_nobody_takes_half_of_the_photos_for_all(place, monkeypatch):
    place.server.faults[place.files[-1]] = [WRONG["404"]] * 3
    place.fails("1 of 12")
    monkeypatch.delenv("PHOTOS", raising=False)
    monkeypatch.setattr(loading, "ROOT", place.outside)
    with pytest.raises(UserError, match="make photos") as raised:
        loading.find_folder()
    assert one_sentence(raised.value)
    place.fetch()
    assert loading.find_folder()[0] == place.folder


def test_a_file_that_was_damaged_is_fetched_again(place):
    for file in place.files[:3]:
        path = place.partial / file.removeprefix("dataset/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.server.files[file])
    path.write_bytes(bytes(len(path.read_bytes())))
    assert place.fetch() == 0
    assert place.is_complete()
    assert [place.server.requests[f"/{file}"] for file in place.files[:4]] == [0, 0, 1, 1]


def test_a_proxy_is_used(place, monkeypatch):
    monkeypatch.setenv("http_proxy", place.server.base)
    monkeypatch.setenv("no_proxy", "")
    assert fetch("http://photos.invalid/", place.folder, place.manifest, SECONDS) == 0
    assert place.is_complete()


def test_the_real_photos(real_photos, tmp_path):
    """With one of eight that comes wrong at first."""
    with serving() as server:
        rows = []
        for i, path in enumerate(folders.list_photos(real_photos)):
            label = "odd" if i % 2 else "even"
            file, data = f"dataset/{label}/{i:04}.jpg", path.read_bytes()
            server.files[file] = data
            rows.append(row(file, label, data))
            server.faults[file] = [WRONG["truncated"]] if i % 8 == 5 else []
        manifest = write_manifest(tmp_path / "photos.csv", rows)
        (tmp_path / "dataset").mkdir()
        assert fetch(server.base, tmp_path / "dataset" / "photos", manifest, SECONDS) == 0
        assert sum(server.requests.values()) == len(rows) + sum(
            i % 8 == 5 for i in range(len(rows))
        )
        for file, data in server.files.items():
            path = tmp_path / "dataset" / "photos" / file.removeprefix("dataset/")
            assert path.read_bytes() == data


# --- No network ---


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_site_that_refuses_is_said_once(place, capsys):
    place.server.base = f"http://127.0.0.1:{closed_port()}/"
    assert "127.0.0.1 does not answer" in place.fails("refused")
    assert capsys.readouterr().err == ""
    assert not place.folder.exists()


def test_a_site_that_is_silent_is_said_once(place, capsys):
    for file in place.files:
        place.server.faults[file] = [WRONG["silent"]] * 3
    place.fails("does not answer", seconds=0.3)
    assert capsys.readouterr().err == ""


def test_a_network_that_falls_silent_halfway_is_said_once(tmp_path, capsys):
    with serving() as server:
        place = Place(server, tmp_path, count=20)
        first, rest = place.files[:4], place.files[4:]
        for file in rest:
            server.faults[file] = [WRONG["silent"]] * 3
        place.fails("does not answer", seconds=0.3)
        assert capsys.readouterr().err == ""
        server.faults.clear()
        assert place.fetch() == 0
        assert place.is_complete()
        assert all(server.requests[f"/{file}"] == 1 for file in first)


def test_a_name_server_that_is_silent(place, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: place.server.release.wait())
    place.server.base = "http://photos.invalid/"
    place.fails("photos.invalid does not answer", seconds=0.3)


def test_the_command_without_a_network(tmp_path):
    """In a copy, with a proxy that nobody listens on."""
    for part in ("dataset/fetch.py", "dataset/photos.csv", "mobilenet"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    env = os.environ | {"https_proxy": f"http://127.0.0.1:{closed_port()}", "no_proxy": ""}
    line = [sys.executable, "dataset/fetch.py"]
    done = subprocess.run(
        line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: raw.githubusercontent.com does not answer")
    assert one_sentence(done.stderr.removesuffix("\n"))
    assert sorted(os.listdir(tmp_path / "dataset")) == ["fetch.py", "photos.csv"]
    line.append("--fast")
    assert subprocess.run(line, cwd=tmp_path, capture_output=True, check=False).returncode == 2


# --- Stopped halfway, and two at once ---

SCRIPT = """
import sys
from pathlib import Path
from dataset.fetch import fetch
from mobilenet.system import command
base, folder, manifest = sys.argv[1:]
sys.exit(command.run(lambda: fetch(base, Path(folder), Path(manifest), 120.0)))
"""


def start(place):
    line = [sys.executable, "-c", SCRIPT, place.server.base, place.folder, place.manifest]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("way", ["SIGINT", "SIGKILL", "SIGTERM"])
def test_stopped_halfway_it_goes_on_where_it_was(place, way):
    held = threading.Semaphore(0)

    def hold(handler, body):
        answer(handler, body[:10], length=len(body))
        handler.wfile.flush()
        held.release()
        handler.server.release.wait()

    first, rest = place.files[:4], place.files[4:]
    for file in rest:
        place.server.faults[file] = [hold]
    process = start(place)
    for _ in range(8):  # each thread waits for a photo, so what came before is written
        assert held.acquire(timeout=60)
    process.send_signal(getattr(signal, way))
    _, err = process.communicate(timeout=60)  # while the server holds on for longer
    assert process.returncode == (130 if way == "SIGINT" else -getattr(signal, way))
    assert err == b""
    assert not place.folder.exists()
    assert place.content(place.partial) == {file: place.server.files[file] for file in first}
    place.server.faults.clear()
    assert place.fetch() == 0
    assert place.is_complete()
    assert all(place.server.requests[f"/{file}"] == 1 for file in first)


def test_what_was_half_written_when_the_process_was_killed_goes(place):
    (place.partial / "class a").mkdir(parents=True)
    (place.partial / "class a" / ".new-x1.png").write_bytes(b"half of")
    assert place.fetch() == 0
    assert place.is_complete()


def test_two_at_once(place):
    both = [start(place), start(place)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert out.startswith(b"All 12 photos")
    assert place.is_complete()


@pytest.mark.parametrize("when", [0, 6, -1])
def test_another_process_that_is_faster(place, when):
    """It completes the folder and renames it while a photo is under way."""

    def overtake(handler, body):
        with handler.server.lock:
            for file, data in place.server.files.items():
                path = place.partial / file.removeprefix("dataset/")
                with replacing(path) as new:
                    new.write_bytes(data)
            place.partial.rename(place.folder)
        answer(handler, body)

    place.server.faults[place.files[when]] = [overtake]
    assert place.fetch() == 0
    assert place.content() == place.server.files
    assert not place.partial.exists()


def test_a_full_disk_ends_it_with_one_sentence(place, monkeypatch, capsys):
    @contextmanager
    def full(path):
        raise UserError(f"{path.name} could not be written: free some space.")
        yield

    monkeypatch.setattr(fetching, "replacing", full)
    place.fails("free some space")
    assert capsys.readouterr().err == ""


# --- Other people's files ---


def test_photos_of_your_own_stay_as_they_are(place):
    (place.folder / "class a").mkdir(parents=True)
    mine = place.folder / "class a" / "000.png"
    mine.write_bytes(b"mine")
    assert "move it away" in place.fails("other photos")
    assert place.content() == {"dataset/class a/000.png": b"mine"}
    assert not place.server.requests
    mine.unlink()
    mine.parent.rmdir()
    assert place.fetch() == 0  # an empty folder is in nobody's way
    assert place.is_complete()


@pytest.mark.parametrize("what", ["a file", "a link to a folder", "a link to nowhere"])
def test_something_else_where_the_folder_goes(place, what):
    other = place.outside / "other"
    if what == "a file":
        place.folder.write_bytes(b"mine")
    else:
        place.folder.symlink_to(other)
    if what == "a link to a folder":
        (other / "cat").mkdir(parents=True)
    place.fails("move it away")
    assert not place.server.requests
    assert os.path.lexists(place.folder)
    assert not place.partial.exists()


@pytest.mark.parametrize("where", [".", "class a", "class a/000.png"])
def test_a_link_out_of_the_folder_is_refused_by_name(place, where):
    other = place.outside / "other"
    if where.endswith("png"):
        other.write_bytes(b"mine")
    else:
        other.mkdir()
    link = place.partial / where
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(other)
    assert str(place.partial) in place.fails("remove the link")
    assert other.read_bytes() == b"mine" if other.is_file() else not os.listdir(other)


# --- The manifest ---

# fmt: off
NAMES = [
    "", ".", "..", "../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "C:x.jpg", "C:\\x.jpg", "..\\x.jpg",
    "\\\\host\\x.jpg", "x\n.jpg", "x.jpg\n", "x\0.jpg", "\x1b[2J.jpg", "\x7f.jpg", ".x.jpg", "~",
    "x.jpg.", "x.jpg ", "nul.jpg", "AUX", "com1.x.jpg", "x.jpg:y", "é.jpg", "x\u2028.jpg",
    "\u202egpj.x", "x" * 101, "%2e%2e", "*.jpg",
]
# fmt: on


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_refused(place, name):
    rows = [row(f"dataset/class a/{name}", "class a", b"photo")]
    if name != "a/../../x.jpg":
        rows.append(row("dataset/class a/x.jpg", name, b"photo"))
    for one in rows:
        write_manifest(place.manifest, [row(place.files[0], "class a", b"photo"), one])
        assert ascii(one[0]) in place.fails("is no list of photos")
    assert not place.server.requests
    assert not place.partial.exists()


PARTS = ["..", ".", "/", "\\", "C:", "~", "\0", "\n", " ", "con", "x", "é", "HERE", "-y"]
words = (
    st.sampled_from(["x", "X", "z_1", "a b.jpg", "x/y/z_1.png"])
    | st.lists(st.sampled_from(PARTS), max_size=4).map("".join)
    | st.text(max_size=12)
)
sizes = st.sampled_from([*3 * ["5"], "0", "-5", "9" * 9, "x", ""])


@pytest.fixture(scope="module")
def generous():
    """A server that has any file."""

    class Any(dict):
        def get(self, key, default=None):
            return b"photo"

    with serving() as server:
        server.files = Any()
        yield server


@given(rows=st.lists(st.tuples(words, words, sizes), max_size=2))
@settings(max_examples=100)
def test_no_manifest_writes_outside_the_folder(generous, tmp_path_factory, rows):
    base = tmp_path_factory.mktemp("hostile")
    folder, written = base / "dataset" / "photos", []
    folder.parent.mkdir()
    digest = hashlib.sha256(b"photo").hexdigest()
    rows = [["x/fine.jpg", "fine", 5, digest, 1, 1]] + [
        [path.replace("HERE", str(base)), label, size, digest, 1, 1] for path, label, size in rows
    ]
    with (base / "photos.csv").open("w", encoding="utf-8", newline="", errors="ignore") as file:
        csv.writer(file, escapechar="\\").writerows([HEADER, *rows])

    @contextmanager
    def watching(path):
        written.append(Path(os.path.realpath(path)))
        with replacing(path) as new:
            yield new

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "replacing", watching)
        try:
            fetch(generous.base, folder, base / "photos.csv", SECONDS)
        except UserError as error:
            assert one_sentence(error)
        else:
            assert written
    partial = Path(os.path.realpath(folder.parent)) / ".photos-partial"
    assert all(path.parent.parent == partial for path in written)
    assert set(os.listdir(base)) <= {"photos.csv", "dataset"}
    assert set(os.listdir(base / "dataset")) <= {"photos", ".photos-partial"}


@pytest.mark.parametrize("path", ["class A/000.png", "CLASS a/000.PNG", "class a/000.png"])
def test_two_rows_for_one_file_are_refused(place, path):
    rows = [row("x/class a/000.png", "class a", b"1"), row(f"y/{path}", path[:7], b"2")]
    write_manifest(place.manifest, rows)
    assert f"y/{path}" in place.fails("is no list of photos")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"path,label,bytes,sha256\n",
        b"path,bytes,sha256\na/b.jpg,5,0\n",
        b"path,label,bytes,sha256\na/b.jpg\n",
        b"path,label,bytes,sha256\na/b.jpg,a,five,0\n",
        b"path,label,bytes,sha256\na/b.jpg,a,0,0\n",
        b"path,label,bytes,sha256\na/b.jpg,a,999999999999,0\n",
        b"path,label,bytes,sha256\na/b\xff.jpg,a,5,0\n",
        b"path,label,bytes,sha256\n" + b"x" * 200_000,
        None,
    ],
)
def test_manifests_that_are_none(place, text):
    place.manifest.unlink() if text is None else place.manifest.write_bytes(text)
    place.fails("photos.csv is no list of photos")
    assert not place.server.requests


def test_the_manifest_of_the_project():
    path = ROOT / "dataset" / "photos.csv"
    listed = read_manifest(path)
    labels = Counter(photo.file.parts[0] for photo in listed)
    assert labels == {"alpaca": 142, "not alpaca": 185}
    assert len({photo.sha256 for photo in listed}) == 327
    assert all(photo.source == f"dataset/{photo.file.as_posix()}" for photo in listed)
    assert sum(photo.bytes for photo in listed) == 121_951_510
    with path.open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == HEADER
        sizes = np.array([(int(r[4]), int(r[5])) for r in csv.reader(file)])
    assert sizes.max(axis=1).max() == 1024
    assert urlsplit(fetching.BASE).scheme == "https"
    assert fetching.BASE.endswith("/")
