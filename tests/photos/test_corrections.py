"""Labels reviewed: the doubted ones come first, and decisions are kept, applied and taken back."""

import os
import stat
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import utils
from mobilenet import UserError
from mobilenet.photos import corrections, splits
from mobilenet.photos.corrections import decide
from mobilenet.photos.loading import load_photos
from mobilenet.system import cache, files
from mobilenet.transfer.metrics import cross_entropy, doubts
from tests.helpers.drawn import draw, one_sentence, write

SIZE = 16
DRAWN = draw(6, classes=3, size=SIZE)
HEADER = "sha256,file,given,decided\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of six photos, which nothing may change, and a file of decisions elsewhere."""
    folder = write(tmp_path_factory.mktemp("review") / "photos", DRAWN)
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before


def snapshot(folder):
    """Bytes and time of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """The folder of the file of decisions, for as long as this module is tested."""
    place = tmp_path_factory.mktemp("dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corrections, "FILE", place / "corrections.csv")
        yield place


@pytest.fixture(autouse=True)
def no_decision(place):
    """No decision before a test, and nothing but decisions after it."""
    corrections.FILE.unlink(missing_ok=True)
    yield
    assert {path.name for path in place.iterdir()} <= {corrections.FILE.name}


def own(file):
    return file.split("/")[0]


# --- Doubts ---


@given(data=st.data(), number=st.integers(1, 40), classes=st.integers(2, 5))
def test_the_doubted_are_those_of_the_highest_loss(data, number, classes):
    powers = data.draw(hnp.arrays(np.float64, (number, classes), elements=st.floats(0.01, 1)))
    p = powers / powers.sum(axis=1, keepdims=True)
    labels = data.draw(hnp.arrays(np.int64, number, elements=st.integers(0, classes - 1)))
    found = doubts(p, labels, 10)
    assert found.dtype == np.int64
    assert len(set(found)) == len(found) == min(10, number)
    losses = cross_entropy(p, labels)
    assert (np.diff(losses[found]) <= 1e-12).all()
    rest = np.delete(losses, found)
    assert not len(rest) or losses[found].min() >= rest.max() - 1e-12


def test_a_wrong_label_is_doubted_first():
    p = np.tile([0.9, 0.1], (40, 1))
    labels = np.zeros(40, np.int64)
    labels[23] = 1
    assert doubts(p, labels)[0] == 23
    assert len(doubts(p, labels)) == 18


# --- Decisions ---

CHOICES = st.dictionaries(
    # Two photos of each class stay undecided, so that no class is emptied.
    st.sampled_from([file for i, file in enumerate(DRAWN.files) if i % 6 > 1]),
    st.sampled_from([None, *DRAWN.class_names]),
)


@given(decisions=CHOICES)
def test_decisions_are_applied_and_taken_back(folder, decisions):
    corrections.FILE.unlink(missing_ok=True)
    plain = load_photos(folder, SIZE)
    decide(plain, decisions)
    changed = {file: label for file, label in decisions.items() if label != own(file)}
    gone = {file for file, label in changed.items() if label is None}
    assert corrections.FILE.exists() == bool(changed)

    reviewed = load_photos(folder, SIZE)
    kept = np.array([i for i, file in enumerate(plain.files) if file not in gone])
    assert reviewed.files == tuple(plain.files[i] for i in kept)
    assert reviewed.class_names == plain.class_names
    for file, label in zip(reviewed.files, reviewed.labels, strict=True):
        assert reviewed.class_names[label] == decisions.get(file, own(file))
    assert (reviewed.images[:] == plain.images[kept]).all()
    assert set(reviewed.left_out) == {(file, corrections.REASON) for file in gone}
    assert set(reviewed.corrected) == set(changed) - gone
    line = utils.describe(reviewed).splitlines()[-1]
    said = (
        f"changed {len(changed) - len(gone)} of the labels and left out {len(gone)} of the photos"
    )
    assert (said in line) == bool(changed)

    before = changed and (corrections.FILE.read_bytes(), corrections.FILE.stat().st_ino)
    decide(reviewed, decisions)  # the same again
    assert before == (changed and (corrections.FILE.read_bytes(), corrections.FILE.stat().st_ino))

    decide(reviewed, {file: own(file) for file in decisions})
    again = load_photos(folder, SIZE)
    assert (again.files, again.left_out, again.corrected) == (plain.files, (), ())
    assert (again.labels == plain.labels).all()
    if changed:
        assert corrections.FILE.read_text(encoding="utf-8-sig") == HEADER


@given(one=CHOICES, two=CHOICES)
def test_a_later_decision_replaces_an_earlier_one(folder, one, two):
    corrections.FILE.unlink(missing_ok=True)
    plain = load_photos(folder, SIZE)
    decide(plain, one)
    decide(plain, two)
    stepwise = load_photos(folder, SIZE)
    corrections.FILE.unlink(missing_ok=True)
    decide(plain, one | two)
    at_once = load_photos(folder, SIZE)
    assert stepwise.files == at_once.files
    assert (stepwise.labels == at_once.labels).all()


def test_a_new_label_leaves_the_photo_in_its_place(folder):
    """What was computed of the photos, in their order, is found again."""
    plain = load_photos(folder, SIZE)
    decide(plain, {plain.files[3]: "class c", plain.files[-1]: "class a"})
    reviewed = load_photos(folder, SIZE)
    assert cache.digest(reviewed.images) == cache.digest(plain.images)
    assert reviewed.labels.tolist() == [0, 0, 0, 2, 0, 0, *[1] * 6, *[2] * 5, 0]
    assert "7 class" not in utils.describe(plain)
    assert "6 class a, 6 class b, 6 class c" in utils.describe(reviewed)


def test_a_subset_keeps_its_decisions(folder):
    plain = load_photos(folder, SIZE)
    decide(plain, {plain.files[3]: "class c", plain.files[8]: None})
    some = load_photos(folder, SIZE).subset(np.array([10, 3, 0]))
    assert some.corrected == (plain.files[3],)
    decide(some, {some.files[0]: "class a", some.files[1]: "class a"})
    reviewed = load_photos(folder, SIZE)
    assert reviewed.corrected == (some.files[0],)
    assert plain.files[8] not in reviewed.files


def test_the_positive_class_may_be_another(folder):
    decide(load_photos(folder, SIZE), {"class a/003.png": "class b"})
    reviewed = load_photos(folder, SIZE, positive="class b")
    assert reviewed.labels[reviewed.files.index("class a/003.png")] == 1
    assert reviewed.corrected == ("class a/003.png",)


def test_a_decision_moves_no_other_photo_to_another_part(folder):
    plain = load_photos(folder, SIZE)
    before = {part: {plain.files[i] for i in some} for part, some in splits.split(plain, 0).items()}
    mended, unwanted = sorted(before["train"])[::3][:2]
    decide(plain, {mended: "class b", unwanted: None})
    reviewed = load_photos(folder, SIZE)
    parts = splits.split(reviewed, 0)
    after = {part: {reviewed.files[i] for i in some} for part, some in parts.items()}
    assert after == before | {"train": before["train"] - {unwanted}}
    assert reviewed.labels[reviewed.files.index(mended)] == 1


def test_a_part_that_decisions_leave_without_a_class_is_named(folder):
    plain = load_photos(folder, SIZE)
    tested = [plain.files[i] for i in splits.split(plain, 0)["test"] if plain.labels[i] == 0]
    decide(plain, dict.fromkeys(tested, "class b"))
    with pytest.raises(UserError, match="'class a' has no test photo left by") as raised:
        splits.split(load_photos(folder, SIZE), 0)
    assert one_sentence(raised.value)


def test_a_decision_is_about_the_content_not_the_name(folder, tmp_path):
    decide(load_photos(folder, SIZE), {"class a/003.png": "class b"})
    moved = tmp_path / "moved"
    write(moved, draw(3, classes=3, size=SIZE, seed=1))  # other photos, some of the same name
    content = (folder / "class a" / "003.png").read_bytes()
    (moved / "class c" / "renamed.png").write_bytes(content)
    (moved / "class b" / "where it belongs.png").write_bytes(content)
    assert load_photos(moved, SIZE).corrected == ("class c/renamed.png",)
    before = corrections.FILE.read_bytes()
    elsewhere = write(tmp_path / "elsewhere", draw(6, classes=3, size=SIZE, seed=2))
    other = load_photos(elsewhere, SIZE)
    assert other.corrected == ()
    decide(other, {other.files[0]: None})
    assert corrections.FILE.read_bytes().startswith(before), "what is not here stays decided"


def test_copies_of_a_photo(tmp_path):
    folder = write(tmp_path / "photos", DRAWN)
    first, copy = "class a/003.png", "class b/copy.png"
    (folder / copy).write_bytes((folder / first).read_bytes())
    plain = load_photos(folder, SIZE)
    with pytest.raises(UserError, match="are one photo") as raised:
        decide(plain, {first: "class a", copy: "class b"})
    assert one_sentence(raised.value)
    assert not corrections.FILE.exists()
    decide(plain, {first: "class a"})  # no way back: the other copy says otherwise
    assert load_photos(folder, SIZE).corrected == (copy,)
    decide(plain, {copy: None})
    assert dict(load_photos(folder, SIZE).left_out) == {
        first: corrections.REASON,
        copy: corrections.REASON,
    }


def test_a_file_that_cannot_be_read_is_still_said_to_be(tmp_path):
    folder = write(tmp_path / "photos", DRAWN)
    plain = load_photos(folder, SIZE)
    decide(plain, {"class a/001.png": None})
    (folder / "class a" / "000.png").write_bytes(b"no photo")
    reviewed = load_photos(folder, SIZE)
    assert [file for file, _ in reviewed.left_out] == ["class a/000.png", "class a/001.png"]
    assert "it is no JPEG" in reviewed.left_out[0][1]
    assert "changed 0 of the labels and left out 1 of the photos" in utils.describe(reviewed)
    with pytest.raises(UserError, match="No photo is called"):
        decide(reviewed, {"class a/000.png": None})


FAULTS = {
    "a file that is not there": ({"class a/9.png": None}, "No photo is called 'class a/9.png'"),
    "a class that is not there": ({"class a/003.png": "class d"}, "one of class a, class b"),
    "a class without a name": ({"class a/003.png": ""}, "No class is called ''"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_decision_that_cannot_be_meant_writes_nothing(folder, fault):
    decisions, said = FAULTS[fault]
    with pytest.raises(UserError) as raised:
        decide(load_photos(folder, SIZE), {"class b/009.png": None} | decisions)
    assert one_sentence(raised.value)
    assert said in str(raised.value)
    assert not corrections.FILE.exists()


def test_photos_that_no_folder_holds():
    with pytest.raises(UserError, match="No photo is called") as raised:
        decide(DRAWN, {DRAWN.files[0]: None})
    assert one_sentence(raised.value)
    assert replace(DRAWN, class_names=("x", "y", "z")).corrected == ()  # named otherwise at once


def test_a_class_emptied_by_decisions(folder):
    plain = load_photos(folder, SIZE)
    decide(plain, dict.fromkeys(plain.files[:6], "class b"))
    with pytest.raises(UserError, match="'class a' has no photo left") as raised:
        load_photos(folder, SIZE)
    assert one_sentence(raised.value)
    decide(plain, {plain.files[0]: "class a"})
    assert (load_photos(folder, SIZE).labels == 0).sum() == 1


@pytest.mark.skipif(files.fcntl is None, reason="needs a system with such locks")
def test_who_decides_meanwhile_waits(folder, monkeypatch):
    """Had the second not waited, it would be done while the first writes, and be overwritten."""
    plain, real, others = load_photos(folder, SIZE), corrections.replacing, []
    first, second = plain.files[0], plain.files[7]

    @contextmanager
    def meanwhile(path):
        if not others:
            others.append(Thread(target=decide, args=(plain, {second: None})))
            others[0].start()
            others[0].join(0.3)
            assert others[0].is_alive()
        with real(path) as new:
            yield new

    monkeypatch.setattr(corrections, "replacing", meanwhile)
    decide(plain, {first: None})
    others[0].join()
    assert load_photos(folder, SIZE).left_out == (
        (first, corrections.REASON),
        (second, corrections.REASON),
    )


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write")
def test_a_folder_that_may_not_be_written(folder, place):
    plain = load_photos(folder, SIZE)
    place.chmod(0o500)
    try:
        with pytest.raises(UserError, match="could not be written") as raised:
            decide(plain, {plain.files[0]: None})
    finally:
        place.chmod(stat.S_IRWXU)
    assert one_sentence(raised.value)


# --- The file, edited by hand ---


@pytest.fixture
def written(folder):
    """The text of a file with two decisions."""
    decide(load_photos(folder, SIZE), {"class a/003.png": "class b", "class c/016.png": None})
    return corrections.FILE.read_text(encoding="utf-8-sig")


def spreadsheet(text, mark, delimiter, end):
    """A file as a spreadsheet saves it, with a line and a column more, both empty."""
    lines = [line.replace(",", delimiter) + delimiter for line in text.splitlines()]
    lines.append(delimiter * 4)
    return (mark + end.join([*lines, ""])).encode()


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_a_spreadsheet_saves_is_read(folder, written, mark, delimiter, end):
    expected = load_photos(folder, SIZE)
    saved = spreadsheet(written, mark, delimiter, end)
    corrections.FILE.write_bytes(saved)
    found = load_photos(folder, SIZE)
    assert (found.files, found.left_out) == (expected.files, expected.left_out)
    assert found.corrected == expected.corrected == ("class a/003.png",)
    decide(found, {"class a/003.png": "class b"})
    assert corrections.FILE.read_bytes() == saved  # nothing new, nothing written
    decide(found, {"class b/008.png": None})
    lines = corrections.FILE.read_text(encoding="utf-8-sig").splitlines()
    assert lines[:3] == written.splitlines()
    assert len(lines) == 4


DAMAGE = {
    "a comment": (lambda text: text + "# looks like a camel\n", "Line 4 .* four cells"),
    "three cells": (lambda text: text.replace(",class a,", ","), "Line 2 .* four cells"),
    "five cells": (lambda text: text[:-1] + ",why\n", "Line 3 .* four cells"),
    "no header": (lambda text: text.partition("\n")[2], "Line 1 .* must read sha256,file"),
    "another sum": (lambda text: HEADER + "0" + text.partition("\n")[2], "Line 2 .* sha256"),
    "twice": (lambda text: text + text.splitlines()[1] + "\n", "Line 4 .* of line 2"),
    "an open quote": (lambda text: text + '"', "Line 4 "),
    "another class": (lambda text: text.replace(",class b", ",class d"), "'class d' for 'class a/"),
    "a space": (lambda text: text.replace(",class b", ",class b "), "'class b ' for 'class a/"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_meant_is_said_and_kept(folder, written, damage):
    change, said = DAMAGE[damage]
    corrections.FILE.write_text(change(written), encoding="utf-8")
    before = corrections.FILE.read_bytes()
    with pytest.raises(UserError, match=said) as raised:
        load_photos(folder, SIZE)
    assert one_sentence(raised.value)
    assert corrections.NAME in str(raised.value)
    assert corrections.FILE.read_bytes() == before


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_read_or_refused(folder, content):
    for start in (b"", HEADER.encode()):
        corrections.FILE.write_bytes(start + content)
        try:
            assert load_photos(folder, SIZE).corrected == ()
        except UserError as error:
            assert one_sentence(error)


def test_a_folder_in_place_of_the_file(folder):
    corrections.FILE.mkdir()
    try:
        with pytest.raises(UserError, match="cannot be read") as raised:
            load_photos(folder, SIZE)
    finally:
        corrections.FILE.rmdir()
    assert one_sentence(raised.value)


@pytest.mark.parametrize("name", ["l'été, 1.png", 'quo"te;.png', "🦙.png", "=1+1.png"])
def test_odd_names_survive(tmp_path, name):
    folder = write(tmp_path / "photos", DRAWN)
    (folder / "class a" / "003.png").rename(folder / "class a" / name)
    plain = load_photos(folder, SIZE)
    decide(plain, {f"class a/{name}": None})
    before = corrections.FILE.read_bytes()
    decide(plain, {"class b/009.png": None})
    assert corrections.FILE.read_bytes().startswith(before)
    assert (f"class a/{name}", corrections.REASON) in load_photos(folder, SIZE).left_out


def test_a_name_that_is_no_text(tmp_path):
    folder = write(tmp_path / "photos", DRAWN)
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (folder / "class a" / "003.png").rename(folder / "class a" / name)
    except OSError:
        pytest.skip("the disk takes no such name")
    plain = load_photos(folder, SIZE)
    decide(plain, {f"class a/{name}": None})
    decide(plain, {"class b/009.png": None})
    assert len(load_photos(folder, SIZE).left_out) == 2
