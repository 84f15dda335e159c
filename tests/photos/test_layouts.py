"""Layouts of result sets: class folders, a given split, an archive's one folder, a table."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import utils
from mobilenet import UserError
from mobilenet.photos import corrections, datasets, layouts, splits
from mobilenet.photos.decoding import why_not
from mobilenet.photos.folders import FOLDER, HIDDEN, SPLITS, Found, is_hidden, part_called
from mobilenet.photos.loading import load_photos
from tests.helpers.drawn import draw, one_sentence, write

SIZE = 32


def below(folder: str, some):
    return replace(some, files=tuple(f"{folder}/{file}" for file in some.files))


def given_split(root, names=("train", "val", "test")):
    """Twenty photos a class in the first folder, five in each other."""
    for seed, name in enumerate(names):
        write(root, below(name, draw(5 if seed else 20, size=SIZE, seed=seed)))
    return root


def parts_of(loaded, seed=0):
    found = splits.split(loaded, seed)
    assert tuple(found) == SPLITS
    assert sorted(np.concatenate(list(found.values()))) == list(range(len(loaded)))
    return {part: {loaded.files[i] for i in index} for part, index in found.items()}


class TestGivenSplit:
    @pytest.mark.parametrize(
        "names",
        [
            ("train", "val", "test"),
            ("train", "valid", "test"),
            ("Training", "Validation", "Testing"),
            ("train_set", "valset", "Test-Set"),
            ("images_train", "val_images", "testdata"),
        ],
    )
    def test_is_used_and_said(self, names, tmp_path):
        loaded = load_photos(given_split(tmp_path, names), SIZE)
        assert loaded.class_names == ("class b", "class a")
        for name, files in zip(names, parts_of(loaded).values(), strict=True):
            assert files == {file for file in loaded.files if file.startswith(name + "/")}
        assert parts_of(loaded, 1) == parts_of(loaded)
        said = f"The split is the one given: {names[0]}/, {names[1]}/ and {names[2]}/."
        assert said in utils.describe(loaded).splitlines()

    def test_without_val_it_is_taken_from_train(self, tmp_path):
        loaded = load_photos(given_split(tmp_path, ("train", "test")), SIZE)
        found = parts_of(loaded)
        assert len(found["val"]) == 4
        assert all(file.startswith("test/") == (file in found["test"]) for file in loaded.files)
        assert parts_of(loaded, 1)["val"] != found["val"]
        (said,) = loaded.said
        assert one_sentence(said)
        assert "the val part is taken from train/" in said

    def test_a_test_photo_that_is_left_out_moves_no_other(self, tmp_path):
        loaded = load_photos(given_split(tmp_path, ("train", "test")), SIZE)
        before = parts_of(loaded)
        corrections.decide(loaded, {min(before["test"]): None})
        try:
            after = parts_of(load_photos(tmp_path, SIZE))
        finally:
            corrections.FILE.unlink()
        assert (after["train"], after["val"]) == (before["train"], before["val"])

    def test_folds_and_decisions_are_of_all_photos(self, tmp_path):
        loaded = load_photos(given_split(tmp_path), SIZE)
        assert set(splits.folds(loaded.labels, 5, 0, loaded.groups)) == set(range(5))
        corrections.decide(loaded, {loaded.files[0]: "class b", loaded.files[-1]: None})
        try:
            again = load_photos(tmp_path, SIZE)
        finally:
            corrections.FILE.unlink()
        assert again.corrected == loaded.files[:1]
        assert again.left_out == ((loaded.files[-1], corrections.REASON),)
        found = parts_of(again)
        assert len(found["train"] | found["val"] | found["test"]) == len(loaded) - 1

    def test_classes_come_from_all_parts(self, tmp_path):
        given_split(tmp_path)
        write(tmp_path, below("train", draw(2, classes=3, size=SIZE, seed=9)))
        loaded = load_photos(tmp_path, SIZE)
        assert set(loaded.class_names) == {"class a", "class b", "class c"}
        with pytest.raises(UserError, match="'class c' has no val photo") as raised:
            splits.split(loaded, 0)
        assert one_sentence(raised.value)

    def test_what_is_between_the_parts_and_classes_is_named(self, tmp_path):
        given_split(tmp_path)
        photo = (tmp_path / "test" / "class a" / "000.png").read_bytes()
        (tmp_path / "test" / "loose.png").write_bytes(photo)
        (tmp_path / "top.png").write_bytes(photo)
        out = [(file, layouts.HOMELESS) for file in ("top.png", "test/loose.png")]
        assert load_photos(tmp_path, SIZE).left_out == tuple(out)

    def test_val_that_is_a_link_to_test_is_none(self, tmp_path):
        given_split(tmp_path, ("train", "test"))
        (tmp_path / "val").symlink_to(tmp_path / "test")
        found = parts_of(load_photos(tmp_path, SIZE))
        assert all(file.startswith("train/") for file in found["val"])


class TestOneFolder:
    def test_an_archive_is_looked_into(self, tmp_path):
        plain = load_photos(write(tmp_path / "plain", draw(6, size=SIZE)), SIZE)
        write(tmp_path / "pets" / "archive" / "images", draw(6, size=SIZE))
        for name in ("__MACOSX/archive/._x.jpg", "archive/README.md", "archive.zip"):
            (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "pets" / name).touch()
        loaded = load_photos(tmp_path / "pets", SIZE)
        assert loaded.files == tuple(f"archive/images/{file}" for file in plain.files)
        assert loaded.class_names == plain.class_names
        assert loaded.said == ("The photos are in archive/images/, the only folder with photos.",)
        assert loaded.hidden == 1
        parts, other = (splits.split(one, 3) for one in (loaded, plain))
        assert all((parts[part] == other[part]).all() for part in SPLITS)

    def test_a_given_split_may_be_in_it(self, tmp_path):
        loaded = load_photos(given_split(tmp_path / "pets" / "archive").parent, SIZE)
        assert len(loaded.said) == 2
        assert all(file.startswith("archive/val/") for file in parts_of(loaded)["val"])

    def test_one_class_stays_one(self, tmp_path):
        """Photos lie in it, so that the folders in it are no classes."""
        write(tmp_path / "cat", draw(6, size=SIZE))
        (tmp_path / "cat" / "class a" / "000.png").rename(tmp_path / "cat" / "0.png")
        with pytest.raises(UserError, match="one class folder, 'cat'") as raised:
            load_photos(tmp_path, SIZE)
        assert one_sentence(raised.value)


REFUSED = {
    "no test photos": (("train", "val"), "none in class folders of test/"),
    "another folder": (("train", "test", "extra"), "'extra' beside train/"),
    "a part twice": (("train", "val", "valid", "test"), "both val/ and valid/"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_split_that_is_given_in_part_is_refused(kind, tmp_path):
    names, said = REFUSED[kind]
    with pytest.raises(UserError, match=said) as raised:
        load_photos(given_split(tmp_path, names), SIZE)
    assert one_sentence(raised.value)


def test_parts_without_classes_are_no_classes(tmp_path):
    some = draw(6, size=SIZE)
    for name in ("train", "test"):
        write(tmp_path, replace(some, files=tuple(f"{name}/{i}.png" for i in range(len(some)))))
    with pytest.raises(UserError, match="test/ and train/ without class folders") as raised:
        load_photos(tmp_path, SIZE)
    assert one_sentence(raised.value)


@pytest.mark.parametrize(
    "files",
    [
        ["car/1.jpg", "train/2.jpg", "train/old/3.jpg"],
        ["car/1.jpg", "train/old/2.jpg", "train/new/3.jpg"],
        ["car/1.jpg", "train/2.jpg", "train/old/3.jpg", "test/4.jpg"],
    ],
)
def test_a_class_may_be_called_train(files):
    result = layouts.labelled("The folder", list(found_of(files)), lambda one: b"")
    assert result.names == sorted({file.split("/")[0] for file in files})
    assert {photo.part for photo in result.photos} == {""}


def test_a_part_without_class_folders_is_none():
    files = ["train/a/1.jpg", "train/b/1.jpg", "val/1.jpg", "test/a/1.jpg", "test/b/1.jpg"]
    result = layouts.labelled("The folder", list(found_of(files)), lambda one: b"")
    assert result.left_out == [("val/1.jpg", layouts.HOMELESS)]
    assert "the val part is taken from train/" in result.said[0]


def labelled(files, known=()):
    return layouts.labelled("The folder", list(found_of(files)), lambda one: b"", known)


@pytest.mark.parametrize("base", ["", "archive/"])
def test_a_split_in_each_class_folder_is_used(base):
    steps = [(name, part) for name in ("cat", "dog") for part in ("train", "valid", "test")]
    result = labelled([f"{base}{name}/{part}/old/1.jpg" for name, part in steps])
    assert result.names == ["cat", "dog"]
    assert {photo.part for photo in result.photos} == set(SPLITS)
    for photo in result.photos:
        assert photo.path.startswith(f"{base}{photo.name}/{photo.part}")
        assert photo.path.split("/")[result.depth] == photo.name
    assert result.said[-1] == "The split is the one given: train/, valid/ and test/ of each class."


def test_folders_called_so_in_one_class_are_no_split():
    result = labelled(["cat/train/1.jpg", "cat/test/1.jpg", "dog/1.jpg"])
    assert {photo.part for photo in result.photos} == {""}
    (said,) = result.said
    assert said.startswith("No split is given: cat/test/ and cat/train/ are not in each")
    assert one_sentence(said)


def test_a_folder_of_other_files_beside_the_photos_is_no_class():
    files = ["images/cat/1.jpg", "images/dog/1.jpg", "annotations/cat/1.xml", "notes/x.txt"]
    result = labelled(files)
    assert result.names == ["cat", "dog"]
    assert result.said == ("The photos are in images/, the only folder with photos.",)
    assert len(result.left_out) == 2


def test_an_empty_folder_is_a_class():
    found = [Found("dog", FOLDER), *found_of(["cat/old/1.jpg", "cat/new/1.jpg"])]
    assert layouts.labelled("The folder", found, lambda one: b"").names == ["cat", "dog"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["val/a/1.jpg", "val/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg"], "test/ and val/ but no t"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"], "holds test/ without class folders in"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/1.jpg"], "of test/: name the folder of the train"),
        (["train/a/1.jpg", "val/a/1.jpg"], "of test/: call the val photos test, or name"),
        (["a/train/1.jpg", "a/val/1.jpg", "b/train/1.jpg"], "of test/: call the val photos test"),
        (["a/test/1.jpg", "a/val/1.jpg", "b/test/1.jpg"], "no train/ in its class folders"),
    ],
)
def test_what_a_split_lacks_is_said(files, said):
    with pytest.raises(UserError) as raised:
        labelled(files)
    assert said in str(raised.value)
    assert one_sentence(raised.value)


# --- Any tree ---

STEPS = st.sampled_from(["train", "val", "test", "a", "b", "archive", ".x"])
FILES = st.sampled_from(["1.jpg", "2.png", "x.txt", "y.heic", ".z", "t.csv"])
PATHS = st.sets(
    st.tuples(st.lists(STEPS, max_size=3), FILES).map(lambda p: "/".join([*p[0], p[1]]))
)
LIKELY = st.sets(
    st.builds(
        "{}{}/{}/{}".format,
        st.sampled_from(["", "archive/"]),
        st.sampled_from(["train", "val", "test"]),
        st.sampled_from(["a", "b"]),
        FILES,
    ),
    min_size=3,
)


def found_of(paths):
    for path in sorted(paths):
        why = HIDDEN if any(map(is_hidden, path.split("/"))) else why_not(path)
        yield Found(path, why)


@given(PATHS | LIKELY)
def test_of_any_tree_every_file_is_used_or_named_or_hidden(paths):
    try:
        result = layouts.labelled("The folder", list(found_of(paths)), lambda one: b"")
    except UserError as error:
        assert one_sentence(error)
        return
    used = [photo.path for photo in result.photos]
    named = [path for path, _ in result.left_out]
    assert len(used) + len(named) + result.hidden == len(paths)
    assert {*used, *named} <= paths
    assert len({*used, *named}) == len(used) + len(named)
    assert {photo.name for photo in result.photos} <= set(result.names)
    given = {photo.part for photo in result.photos}
    assert given <= {""} or given <= set(SPLITS)
    for photo in result.photos:
        steps = photo.path.split("/")
        assert steps[result.depth] == photo.name
        around = [steps[result.depth - 1], steps[result.depth + 1]]
        assert not photo.part or photo.part in map(part_called, around)


@given(st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), min_size=2))
def test_class_folders_are_taken_as_they_are(some):
    paths = {f"{name}/{i}.jpg" for name, i in some}
    found = [*(Found(name, FOLDER) for name in "abc"), *found_of(paths)]
    if len({name for name, _ in some}) < 2:
        return
    result = layouts.labelled("The folder", found, lambda one: b"")
    assert (result.names, result.said, result.left_out, result.depth) == (
        list("abc"),
        (),
        [],
        0,
    )
    assert [photo.path for photo in result.photos] == sorted(paths)


@pytest.mark.parametrize(
    "load", [lambda of: load_photos(of, 32), lambda of: datasets.load(str(of), 32, 0)]
)
def test_a_class_of_what_is_not_read_says_why(load, tmp_path):
    write(tmp_path, draw(6, size=32))
    for file in (tmp_path / "class b").iterdir():
        file.rename(file.with_suffix(".dng"))
    with pytest.raises(
        UserError, match=r"'class b' .*6 of its files left out: a RAW photo"
    ) as said:
        load(tmp_path)
    assert one_sentence(said.value)
