"""Labelled photos from folders and tar files, in parts."""

import gzip
import io
import os
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mobilenet import UserError
from mobilenet.photos import datasets, folders
from tests.helpers.drawn import draw, one_sentence, write
from tests.helpers.hostile_files import little_memory

SIZE = 32


def packed(folder, path, mode="w"):
    with tarfile.open(path, mode) as tar:
        tar.add(folder, arcname=".")
    return path


def given_parts(folder):
    """train/ and test/, twenty and four photos of each of two classes."""
    write(folder / "train", draw(20, size=SIZE))
    write(folder / "test", draw(4, size=SIZE, seed=1))
    return folder


def same(one, other) -> bool:
    return one.files == other.files and np.array_equal(one.images, other.images)


def test_a_folder_of_classes_is_split(tmp_path):
    parts = datasets.load(str(write(tmp_path, draw(25, classes=3, size=SIZE))), SIZE, seed=0)
    assert {part: len(photos) for part, photos in parts.items()} == {
        "train": 48,
        "val": 12,
        "test": 15,
    }
    files = [file for photos in parts.values() for file in photos.files]
    assert len(set(files)) == 75
    assert parts["train"].images.shape == (48, SIZE, SIZE, 3)


def test_given_parts_are_kept_and_val_is_put_aside(tmp_path):
    parts = datasets.load(str(given_parts(tmp_path)), SIZE, seed=0)
    assert {part: len(photos) for part, photos in parts.items()} == {
        "train": 36,
        "val": 4,
        "test": 8,
    }
    assert not set(parts["train"].files) & set(parts["val"].files)
    assert all(photos.class_names == ("class b", "class a") for photos in parts.values())


def wrapped(folder):
    given_parts(folder / "archive")
    return folder


def with_table(folder):
    """Forty photos in a folder of their own, and a table beside it."""
    photos = draw(20, size=SIZE)
    names = [photos.class_names[label] for label in photos.labels]
    flat = replace(photos, files=tuple(f"images/{i}.png" for i in range(len(photos))))
    rows = [f"{i},{name}" for i, name in enumerate(names)]
    write(folder, flat)
    (folder / "labels.csv").write_text("\n".join(["id,class", *rows]))
    return folder


@pytest.mark.parametrize(("name", "mode"), [("d.tar", "w"), ("d.tar.gz", "w:gz")])
@pytest.mark.parametrize(
    "make", [given_parts, wrapped, with_table, lambda f: write(f, draw(20, size=SIZE))]
)
def test_packed_and_unpacked_are_alike(name, mode, make, tmp_path):
    folder = make(tmp_path / "data")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x").touch()
    (folder / "notes.txt").touch()
    loose = datasets.load(str(folder), SIZE, seed=3)
    tight = datasets.load(str(packed(folder, tmp_path / name, mode)), SIZE, seed=3)
    assert all(same(loose[part], tight[part]) for part in ("train", "val", "test"))
    assert datasets.describe(loose) == datasets.describe(tight)
    assert "1 file that is no photo (notes.txt) and 1 hidden file" in datasets.describe(loose)


def test_a_given_val_part_is_used_whatever_it_is_called(tmp_path):
    folder = given_parts(tmp_path / "data")
    write(folder / "validation", draw(6, size=SIZE, seed=2))
    parts = datasets.load(str(folder), SIZE, seed=0)
    assert {part: len(photos) for part, photos in parts.items()} == {
        "train": 40,
        "val": 12,
        "test": 8,
    }
    said = datasets.describe(parts).splitlines()
    assert "The split is the one given: train/, validation/ and test/." in said


def test_another_seed_puts_others_aside(tmp_path):
    folder = str(given_parts(tmp_path))
    first, second = (datasets.load(folder, SIZE, seed=seed) for seed in (0, 1))
    assert first["val"].files != second["val"].files
    assert same(first["test"], second["test"])


def test_twins_are_put_aside_together_and_named_across_given_parts(tmp_path):
    folder = given_parts(tmp_path)
    for name, picture_of in (("train/class a/x", 0), ("train/class b/y", 0), ("test/class a/z", 1)):
        picture = np.random.default_rng(picture_of).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(picture).resize((64, 64)).save(folder / f"{name}.jpg")
    (folder / "train" / "class a" / "z again.jpg").write_bytes(
        (folder / "test" / "class a" / "z.jpg").read_bytes()
    )
    for seed in range(10):
        parts = datasets.load(str(folder), SIZE, seed)
        (where,) = [p for p, photos in parts.items() if "class a/x.jpg" in photos.files]
        assert "class b/y.jpg" in parts[where].files
        said = datasets.describe(parts)
        assert "1 test photos show the same picture" in said and "(class a/z.jpg)" in said
        assert "class a/x.jpg" not in said


def test_photos_that_cannot_be_read_are_left_out(tmp_path):
    folder = given_parts(tmp_path)
    (folder / "test" / "class a" / "broken.jpg").write_text("no photo")
    parts = datasets.load(str(folder), SIZE, seed=0)
    ((file, reason),) = parts["test"].left_out
    assert file == "class a/broken.jpg"
    assert reason


def test_what_lies_beside_the_parts_is_no_part(tmp_path):
    folder = given_parts(tmp_path / "data")
    alone = datasets.load(str(folder), SIZE, seed=0)
    Image.new("RGB", (SIZE, SIZE)).save(folder / "preview.png")
    (folder / ".git" / "hooks").mkdir(parents=True)
    (folder / "docs").mkdir()
    both = datasets.load(str(folder), SIZE, seed=0)
    assert both["train"].class_names == ("class b", "class a")
    assert all(same(alone[part], both[part]) for part in datasets.SPLITS)


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_links_are_followed_once(tmp_path):
    folder = write(tmp_path / "data", draw(6, size=SIZE))
    (folder / "class a").rename(tmp_path / "elsewhere")
    (folder / "class a").symlink_to(tmp_path / "elsewhere")
    (folder / "class b" / "loop").symlink_to(folder / "class b")
    parts = datasets.load(str(folder), SIZE, seed=0)
    assert sum(map(len, parts.values())) == 12


def test_parts_in_words(tmp_path):
    folder = given_parts(tmp_path)
    (folder / "test" / "class a" / "broken.jpg").write_text("no photo")
    said = datasets.describe(datasets.load(str(folder), SIZE, seed=0))
    assert said.startswith("train 36, val 4, test 8 photos.")
    assert "1 file left out" in said
    assert said.count("broken.jpg") == 1


def missing(folder):
    return folder / "nowhere"


def no_tar(folder):
    (folder / "x.tar").write_text("no tar")
    return folder / "x.tar"


def cut(folder):
    path = packed(given_parts(folder / "data"), folder / "x.tar.gz", "w:gz")
    path.write_bytes(path.read_bytes()[:3000])
    return path


def one_class(folder):
    return write(folder, draw(6, classes=2, size=SIZE).subset(np.arange(6)))


def few(folder):
    return write(folder, draw(4, size=SIZE))


def empty_class(folder):
    folder = given_parts(folder)
    for path in (folder / "test" / "class b").iterdir():
        path.unlink()
    return folder


def void_class(folder):
    (write(folder, draw(6, size=SIZE)) / "void").mkdir()
    return folder


def void_class_in_a_tar(folder):
    return packed(void_class(folder / "data"), folder / "x.tar", "w")


def no_test(folder):
    write(folder / "train", draw(6, size=SIZE))
    write(folder / "val", draw(6, size=SIZE))
    return folder


def empty_test(folder):
    write(folder / "train", draw(6, size=SIZE))
    (folder / "test").mkdir()
    return folder


def another_part(folder):
    write(given_parts(folder) / "extra", draw(6, size=SIZE))
    return folder


def nested_and_empty(folder):
    """Two kinds of cat are not two classes if there is a folder for dogs beside."""
    write(folder / "cat", draw(6, size=SIZE))
    (folder / "dog").mkdir()
    return folder


def damaged(folder):
    path = packed(given_parts(folder / "data"), folder / "x.tar.gz", "w:gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "make",
    [
        missing,
        empty_test,
        another_part,
        nested_and_empty,
        damaged,
        no_tar,
        cut,
        one_class,
        few,
        empty_class,
        void_class,
        void_class_in_a_tar,
        no_test,
    ],
)
def test_data_that_will_not_do(make, tmp_path):
    with pytest.raises(UserError) as raised:
        datasets.load(str(make(tmp_path)), SIZE, seed=0)
    assert one_sentence(raised.value)


def test_classes_must_be_those_of_the_model():
    datasets.check_classes(draw(2), ("class a", "class b"))
    with pytest.raises(UserError, match="'class c'") as raised:
        datasets.check_classes(draw(2), ("class a", "class c"))
    assert one_sentence(raised.value)


# --- Files of others ---


def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE)).save(out, "PNG")
    return out.getvalue()


def member(name, **about):
    """A photo's header with something else in it."""
    info = tarfile.TarInfo(name)
    info.size = len(photo())
    for key, value in about.items():
        setattr(info, key, value)
    return info


STRANGE = {
    "..": member("../../outside/1.png"),
    ".. within": member("class a/../../1.png"),
    "link": member("class a/link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "link out": member("class a/link.png", type=tarfile.SYMTYPE, linkname="../../../x.png"),
    "device": member("class a/null.png", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    "disk": member("class a/disk.png", type=tarfile.BLKTYPE, devmajor=8),
    "pipe": member("class a/pipe.png", type=tarfile.FIFOTYPE),
    "unknown": member("class a/odd.txt", type=b"Z"),
}


def with_strange(folder, info, name="x.tar", mode="w"):
    """Good photos, and this."""
    path = packed(write(folder / "data", draw(6, size=SIZE)), folder / name, mode)
    with tarfile.open(path, "a") as tar:
        tar.addfile(info, io.BytesIO(photo()) if info.isreg() else None)
    return path


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_photo_of_a_tar_is_passed_over(kind, tmp_path):
    info = STRANGE[kind]
    info.size = info.size if info.isreg() else 0
    path = with_strange(tmp_path, info)
    before = sorted(tmp_path.rglob("*"))
    parts = datasets.load(str(path), SIZE, seed=0)
    assert sum(map(len, parts.values())) == 12
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_an_absolute_name_is_one_below_the_tar(tmp_path):
    path = with_strange(tmp_path, member("/class a/7.png"))
    assert sum(map(len, datasets.load(str(path), SIZE, seed=0).values())) == 13


def gzipped(path, *pieces):
    """A file of these bytes, each repeated so many times."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for data, count in pieces:
            for _ in range(count):
                file.write(data)
    return path


MEBIBYTE = bytes(1 << 20)


def bomb(folder):
    info = member("class a/1.png", size=200 << 20)
    return gzipped(folder / "x.tar.gz", (info.tobuf(), 1), (MEBIBYTE, 200))


def bomb_of_no_photo(folder):
    info = member("notes.txt", size=200 << 20)
    return gzipped(folder / "x.tar.gz", (info.tobuf(), 1), (MEBIBYTE, 200))


def bomb_of_a_header(folder):
    """What says more about the next member takes 200 MB."""
    info = member("x", type=tarfile.XHDTYPE, size=200 << 20)
    return gzipped(folder / "x.tar.gz", (info.tobuf(), 1), (MEBIBYTE, 200))


def many_members(folder):
    members = member("class a/1.png", size=0).tobuf() * 2000
    return gzipped(folder / "x.tar.gz", (members, 200))


def ten_gigabytes(folder):
    path = folder / "x.tar"
    path.write_bytes(member("class a/1.png", size=10 << 30).tobuf(tarfile.GNU_FORMAT) + bytes(9999))
    return path


def ten_gigabytes_about_it(folder):
    path = folder / "x.tar"
    info = member("x", type=tarfile.XHDTYPE, size=10 << 30)
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(9999))
    return path


def holes(folder):
    """Of 10 GB nothing is there."""
    header = bytearray(member("class a/1.png", size=0, type=b"S").tobuf(tarfile.GNU_FORMAT))
    header[386:398] = header[398:410] = b"00000000000\0"  # nothing of it, from the start
    header[483:495] = b"%011o\0" % (7 << 30)
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    (folder / "x.tar").write_bytes(bytes(header) + bytes(1024))
    return folder / "x.tar"


def linked(folder):
    """A photo of 4 MB, a hundred times."""
    with tarfile.open(folder / "x.tar", "w") as tar:
        tar.addfile(member("class a/0.png", size=4 << 20), io.BytesIO(bytes(4 << 20)))
        for i in range(1, 100):
            info = member(f"class a/{i}.png", size=0, type=tarfile.LNKTYPE)
            info.linkname = "class a/0.png"
            tar.addfile(info)
    return folder / "x.tar"


def linked_out(folder):
    return with_strange(
        folder, member("class a/l.png", size=0, type=tarfile.LNKTYPE, linkname="/etc/passwd")
    )


def linked_in_a_circle(folder):
    return with_strange(
        folder, member("class a/l.png", size=0, type=tarfile.LNKTYPE, linkname="class a/l.png")
    )


def waiting(folder):
    os.mkfifo(folder / "x.tar")
    return folder / "x.tar"


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
@pytest.mark.parametrize(
    "make",
    [
        bomb,
        bomb_of_no_photo,
        bomb_of_a_header,
        many_members,
        ten_gigabytes,
        ten_gigabytes_about_it,
        holes,
        linked,
        linked_out,
        linked_in_a_circle,
        waiting,
    ],
)
def test_a_tar_made_to_harm_is_refused(make, tmp_path):
    path = make(tmp_path)
    with little_memory(200), pytest.raises(UserError) as raised:
        datasets.load(str(path), SIZE, seed=0)
    assert one_sentence(raised.value)
    assert "name another" in str(raised.value)
    assert list(tmp_path.glob("*.tar*")) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path):
    folder = write(tmp_path, draw(6, size=SIZE))
    os.mkfifo(folder / "class a" / "pipe.png")
    (folder / "class a" / "nowhere.png").symlink_to("nowhere")
    parts = datasets.load(str(folder), SIZE, seed=0)
    assert sum(map(len, parts.values())) == 12
    assert parts["train"].left_out == (
        ("class a/nowhere.png", "it is not there"),
        ("class a/pipe.png", folders.NO_FILE),
    )
