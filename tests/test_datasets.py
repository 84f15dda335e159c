"""Labelled photos from folders and tar files, in parts."""

import os
import tarfile

import numpy as np
import pytest
from conftest import draw, one_sentence, write
from PIL import Image

from mobilenet import UserError, datasets

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
    assert all(photos.class_names == ("class a", "class b") for photos in parts.values())


@pytest.mark.parametrize(("name", "mode"), [("d.tar", "w"), ("d.tar.gz", "w:gz")])
@pytest.mark.parametrize("make", [given_parts, lambda f: write(f, draw(20, size=SIZE))])
def test_packed_and_unpacked_are_alike(name, mode, make, tmp_path):
    folder = make(tmp_path / "data")
    (folder / ".hidden").mkdir()
    loose = datasets.load(str(folder), SIZE, seed=3)
    tight = datasets.load(str(packed(folder, tmp_path / name, mode)), SIZE, seed=3)
    assert all(same(loose[part], tight[part]) for part in ("train", "val", "test"))


def test_another_seed_puts_others_aside(tmp_path):
    folder = str(given_parts(tmp_path))
    first, second = (datasets.load(folder, SIZE, seed=seed) for seed in (0, 1))
    assert first["val"].files != second["val"].files
    assert same(first["test"], second["test"])


def test_twins_are_put_aside_together_and_named_across_given_parts(tmp_path):
    folder = given_parts(tmp_path)
    for name, twin in (("train/class a/x", 0), ("train/class b/y", 0), ("test/class a/z", 1)):
        picture = np.random.default_rng(twin).integers(0, 256, (9, 9, 3), np.uint8)
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
    assert both["train"].class_names == ("class a", "class b")
    assert all(same(alone[part], both[part]) for part in datasets.PARTS)


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
    assert "1 files left out" in said
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
    write(given_parts(folder) / "validation", draw(6, size=SIZE))
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
