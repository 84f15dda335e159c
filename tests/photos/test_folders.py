"""Finding files: each of them is a photo to be read, or hidden, or named with a reason, once."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet.explain import own_photos
from mobilenet.photos import folders
from mobilenet.photos.folders import FOLDER, HIDDEN, NO_FILE, walk
from mobilenet.scale import chunking

posix = pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")

NAMES = st.sampled_from(
    ["a", "b", "c.jpg", "d.PNG", "e.txt", "f.heic", ".g", "__MACOSX", "._h.jpg", "i", "train"]
)
# What is put where: a kind, the number of a folder that is there, a name.
STEPS = st.lists(
    st.tuples(st.sampled_from(["folder", "file", "link", "pipe"]), st.integers(0, 9), NAMES),
    max_size=25,
)


def build(root: Path, steps) -> None:
    made = [root]
    root.mkdir()
    for kind, number, name in steps:
        path = made[number % len(made)] / name
        if os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
            made.append(path)
        elif kind == "link":
            path.symlink_to(made[number * 7 % len(made)])
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"x")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def seen(root: Path) -> dict[str, str]:
    """Path → why, of files."""
    return {one.path: one.why for one in walk(root) if one.why != FOLDER}


@posix
@given(STEPS)
def test_of_any_tree_each_file_is_found_once(steps):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "root")
        build(root, steps)
        found = [one for one in walk(root) if one.why != FOLDER]
        whole = {os.path.join(path, name) for path, _, names in os.walk(root) for name in names}
        # No link leads out, so that each file is where os.walk finds it, which follows none.
        assert sorted(one.at for one in found) == sorted(whole)
        for path, why, at in found:
            assert os.path.samefile(root / path, at)
            veiled = any(map(folders.is_hidden, path.split("/")))
            assert (why == HIDDEN) == veiled
            if not veiled:
                assert (why == NO_FILE) == Path(at).is_fifo()
                assert (why == "") == (path.lower().endswith((".jpg", ".png")) and why != NO_FILE)


@posix
@given(STEPS)
def test_all_who_look_find_the_same(steps):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "root")
        build(root, steps)
        photos = [root / path for path, why in seen(root).items() if not why]
        assert list(folders.list_photos(root)) == photos
        asked = folders.find([root])
        meant = [path for path, why in seen(root).items() if folders.is_meant(why)]
        assert asked.photos == photos if meant else [root]
        assert asked.hidden == sum(why == HIDDEN for why in seen(root).values())
        own, hidden = own_photos._files(root)
        assert ({path for path, why in own.items() if not why}, hidden) == (
            set(photos),
            asked.hidden,
        )
        assert [one.path for one in chunking.listing(root)] == meant


def test_files_come_first_then_each_folder(tmp_path):
    touch(tmp_path, "b/z.jpg", "b/a/y.jpg", "a/x.jpg", "c.jpg")
    assert list(seen(tmp_path)) == ["c.jpg", "a/x.jpg", "b/z.jpg", "b/a/y.jpg"]


class TestLinks:
    pytestmark = posix

    def test_a_folder_elsewhere_is_looked_through_once(self, tmp_path):
        touch(tmp_path / "elsewhere", "x.jpg", "deep/y.jpg")
        touch(root := tmp_path / "root", "a/1.jpg")
        for name in ("b", "a/link"):
            (root / name).symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
        assert list(seen(root)) == ["a/1.jpg", "a/link/x.jpg", "a/link/deep/y.jpg"]

    def test_a_folder_of_the_same_tree_counts_where_it_lies(self, tmp_path):
        touch(root := tmp_path / "root", "a/1.jpg", "b/2.jpg")
        (root / "a" / "to b").symlink_to(root / "b")
        (root / "b" / "up").symlink_to(root)
        (root / "b" / "above").symlink_to(tmp_path)
        assert list(seen(root)) == ["a/1.jpg", "b/2.jpg"]

    def test_a_hidden_store_is_found_where_the_link_is(self, tmp_path):
        touch(root := tmp_path / "root", ".store/a/1.jpg", ".store/rest.jpg")
        (root / "a").symlink_to(root / ".store" / "a")
        assert seen(root) == {"a/1.jpg": "", ".store/rest.jpg": HIDDEN}

    def test_the_folder_itself_may_be_one(self, tmp_path):
        touch(tmp_path / "real", "a/1.jpg")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert list(seen(tmp_path / "link")) == ["a/1.jpg"]


def test_a_hidden_folder_that_cannot_be_read_does_no_harm(tmp_path, monkeypatch):
    touch(tmp_path, ".secret/1.jpg", "a/2.jpg")
    scan = os.scandir

    def refuse(path):
        if Path(path).name == ".secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(seen(tmp_path)) == ["a/2.jpg"]


@pytest.mark.parametrize(
    ("files", "hidden", "said"),
    [
        ([], 0, ""),
        ([], 1, "Passed over: 1 hidden file."),
        (["a.txt"], 0, "Passed over: 1 file that is no photo (a.txt)."),
        (["a", "b"], 2, "Passed over: 2 files that are no photos (a, b) and 2 hidden files."),
    ],
)
def test_what_lies_beside_in_words(files, hidden, said):
    left_out = [(file, "no photo by its name") for file in files] + [("c.heic", "HEIC is not read")]
    assert folders.beside(left_out, hidden) == said
