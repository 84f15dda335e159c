"""Classes in a table beside the photos, whatever its columns are called."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import utils
from mobilenet import UserError
from mobilenet.photos import layouts, tables
from mobilenet.photos.folders import Found
from mobilenet.photos.loading import load_photos
from mobilenet.photos.splits import split
from tests.helpers.drawn import draw, one_sentence, write

SIZE = 32
PHOTOS = ["1.jpg", "2.jpg", "sub/3.png", "sub/4.png"]


def read(text, photos=PHOTOS, path="labels.csv"):
    found = [*(Found(photo, "") for photo in photos), Found(path, "no photo by its name")]
    return tables.find("The folder", found, lambda one: text.encode("utf-8-sig"))


WHOLE = {"1.jpg": "cat", "2.jpg": "dog", "sub/3.png": "cat", "sub/4.png": "dog"}
ROWS = "1.jpg,cat\n2.jpg,dog\nsub/3.png,cat\nsub/4.png,dog\n"
TABLES = {
    "a header": "file,class\n" + ROWS,
    "no header": ROWS,
    "other names": "Filename,Label\n" + ROWS,
    "names of none": "which,what\n" + ROWS,
    "the other way round": "category,image\ncat,1.jpg\ndog,2.jpg\ncat,3.png\ndog,4.png\n",
    "without suffixes": "id,breed\n1,cat\n2,dog\n3,cat\n4,dog\n",
    "semicolons": ROWS.replace(",", ";"),
    "bars": "file|class\n" + ROWS.replace(",", "|"),
    "Excel's first line": "sep=;\r\n" + ROWS.replace(",", ";"),
    "Excel's first line, a header": "sep=|\nfile|class\n" + ROWS.replace(",", "|"),
    "tabs": ROWS.replace(",", "\t"),
    "folders of elsewhere": "path,label\n"
    + "".join(f"data/all/{one.rpartition('/')[2]},{name}\n" for one, name in WHOLE.items()),
    "backslashes": ROWS.replace("/", "\\"),
    "more columns": "id,width,label,path\n"
    + "".join(f"{9 - i},{i}0,{name},{one}\n" for i, (one, name) in enumerate(WHOLE.items())),
    "told by what is in them": "\n".join(
        f"{one},0.{i},{name}" for i, (one, name) in enumerate(WHOLE.items())
    ),
    "quotes, empty lines": 'file,class,,\n"1.jpg","cat",,\n\n2.jpg , dog,,\n3,cat\n4,dog\n',
}


@pytest.mark.parametrize("kind", TABLES)
def test_columns_are_found(kind):
    found = read(TABLES[kind])
    assert found.classes == WHOLE
    assert found.left_out == []
    assert one_sentence(found.said)


@given(
    st.dictionaries(st.sampled_from(PHOTOS), st.text("abc ,;\"'é", min_size=1).map(str.strip)),
    st.sets(st.sampled_from(["9.jpg", "nine.png"])),
)
def test_of_any_table_each_row_and_photo_is_used_or_named(classes, gone):
    rows = [*classes.items(), *((name, "a") for name in sorted(gone))]
    quoted = (f'{file},"{name}"' for file, name in [(f, n.replace('"', '""')) for f, n in rows])
    found = read("file,class\n" + "\n".join(quoted))
    if not classes:
        assert not found or not found.classes
        return
    assert found.classes == {file: name for file, name in classes.items() if name}
    assert {file for file, _ in found.left_out} == gone | {f for f in classes if not classes[f]}


def encoded(content, photos=PHOTOS):
    found = [*(Found(photo, "") for photo in photos), Found("labels.csv", "no photo by its name")]
    return tables.find("The folder", found, lambda one: content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_may_be_saved_by_excel(encoding):
    text = "file;class\r\nbébé.jpg;Bär\r\n2.jpg;Köter\r\n"
    found = encoded(text.encode(encoding), ["bébé.jpg", "2.jpg"])
    assert found.classes == {"bébé.jpg": "Bär", "2.jpg": "Köter"}
    assert ("cp1252" in found.said) == (encoding == "cp1252")
    assert one_sentence(found.said)


def test_a_file_of_another_encoding_is_found():
    photo = "b\udce9.jpg"  # as a name in Latin-1 is read
    found = encoded("bé.jpg,Bär\n2.jpg,dog\n".encode("latin-1"), [photo, "2.jpg"])
    assert found.classes == {photo: "Bär", "2.jpg": "dog"}


@given(st.binary(max_size=8))
def test_no_class_name_holds_what_cannot_be_written(name):
    found = encoded(b"file,class\n1.jpg,a" + bytes(set(name) - {*b'",\r\n'}) + b"\n")
    assert "".join(found.classes.values()).encode()


@pytest.mark.parametrize(
    "text",
    [
        ROWS.replace("jpg", "JPG").replace("sub", "Sub"),
        ROWS.replace("jpg", "png"),
        "file,class\n" + ROWS.replace("2.jpg", "2.JPEG"),
    ],
)
def test_names_of_other_case_or_suffix_are_found_and_said(text):
    found = read(text)
    assert (found.classes, found.left_out) == (WHOLE, [])
    assert "in case, suffix or spelling" in found.said
    assert one_sentence(found.said)


def test_what_is_named_just_so_is_not_meant_by_another_name():
    found = read("1.jpg,cat\n1.png,dog\nA.jpg,dog\n", ["1.jpg", "a.jpg", "b/a.jpg"])
    assert found.classes == {"1.jpg": "cat", "a.jpg": "dog"}
    assert dict(found.left_out) == {"1.png": "labels.csv names it, and no photo is called so"}


def test_rows_that_do_not_fit_are_named():
    rows = "1.jpg,cat\n1.jpg,dog\n2.jpg,\n3,cat\n9.jpg,dog\n,cat\n4,dog\n4,dog"
    found = read("file,class\n" + rows)
    assert found.classes == {"sub/3.png": "cat", "sub/4.png": "dog"}
    assert dict(found.left_out) == {
        "1.jpg": "labels.csv gives it two classes",
        "2.jpg": "labels.csv gives it no class",
        "9.jpg": "labels.csv names it, and no photo is called so",
        "row 6": "labels.csv names it, and no photo is called so",
    }


def test_a_name_that_two_photos_have_is_of_neither():
    found = read("file,class\na/1,cat\n2,dog\n1,dog", ["a/1.jpg", "b/1.jpg", "a/2.jpg"])
    assert found.classes == {"a/1.jpg": "cat", "a/2.jpg": "dog"}
    assert dict(found.left_out) == {"1": "labels.csv names it, and 2 photos are called so"}


@pytest.mark.parametrize("name", ["image", "shot"])
def test_a_photo_may_be_called_as_its_column_is(name):
    found = read(f"{name},class\n{name},cat\n2,dog", [f"{name}.jpg", "2.jpg"])
    assert found.classes == {f"{name}.jpg": "cat", "2.jpg": "dog"}


@pytest.mark.parametrize("text", ["", "\n", "a,b\nc,d\n", "1.jpg\n2.jpg\n", "\0\0\0", "é"])
def test_what_names_no_photo_is_no_table(text):
    assert not read(text, path="other.csv")
    assert read(text).classes == {}
    assert one_sentence(read(text).said)


FAULTS = {
    "": "labels.csv is empty",
    "file,class\n": "labels.csv is a header alone",
    "file\n1.jpg\n2.jpg": "labels.csv is one column",
    "file,class\na.png,cat\n": "labels.csv names no file that is there: its first is 'a.png'",
    "cat,a.png\n": "its first is 'a.png'",
    '1.jpg,cat\n"2.jpg,dog\n3,cat\n4,dog\n': "a quote that is not closed, at '2.jpg,dog'",
    "file,class\n1.jpg,\n": "labels.csv gives no photo one class",
    "file,class\n1.jpg,cat\n2.jpg,cat\n": "labels.csv names one class, 'cat': two are needed",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_wrong_with_a_table_is_said(text):
    found = [*(Found(photo, "") for photo in PHOTOS), Found("labels.csv", "no photo by its name")]
    with pytest.raises(UserError) as raised:
        layouts.labelled("The folder", found, lambda one: text.encode())
    assert FAULTS[text] in str(raised.value)
    assert one_sentence(raised.value)


@pytest.mark.parametrize("path", ["labels.xlsx", "Labels.txt"])
def test_a_table_of_another_kind_is_named(path):
    found = read(ROWS, path=path)
    assert found.said == f"{path} is not read: save it as labels.csv."


def test_a_quote_that_is_closed_may_hold_lines():
    assert read('file,class,note\n1.jpg,cat,"a\nb"\n2,dog,"c"').classes.keys() == {"1.jpg", "2.jpg"}


SPLIT = "file,class,split\n1.jpg,cat,train\n2.jpg,dog,{}\n3.png,cat,Test\n4.png,dog,test\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SPLIT.format("valid"), "the split is that of its column 'split', train, val and test."),
        (SPLIT.format("train").replace("class", "animal"), "train and test, and val is taken"),
    ],
)
def test_a_split_in_a_table_is_used(text, said):
    found = read(text)
    assert found.classes == WHOLE
    val = "val" if "valid" in text else "train"
    assert list(found.parts.values()) == ["train", val, "test", "test"]
    assert said in found.said
    assert one_sentence(found.said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SPLIT.format("later"), "'split' is not used, for 'later' is no part of a split"),
        (SPLIT.format(""), "'split' is not used, for '' is no part of a split"),
        (SPLIT.format("val").replace("train", "val"), "it names no train photo"),
    ],
)
def test_a_split_that_is_not_whole_is_not_used(text, said):
    found = read(text)
    assert (found.classes, found.parts) == (WHOLE, {})
    assert said in found.said
    assert one_sentence(found.said)


def test_a_photo_in_two_parts_is_left_out():
    found = read(SPLIT.format("train") + "1.jpg,cat,test\n1.jpg,cat,test\n")
    assert dict(found.left_out) == {"1.jpg": "labels.csv gives it two parts of the split"}


def test_the_split_of_a_table_is_that_of_the_photos(tmp_path):
    some = draw(4, size=SIZE)
    write(tmp_path, replace(some, files=tuple(f"{i}.png" for i in range(8))))
    rows = [
        f"{i},{'cat' if i < 4 else 'dog'},{('train', 'train', 'val', 'test')[i % 4]}"
        for i in range(8)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,class,set", *rows]))
    found = split(load_photos(tmp_path, SIZE), 0)
    assert {part: index.tolist() for part, index in found.items()} == {
        "train": [0, 1, 4, 5],
        "val": [2, 6],
        "test": [3, 7],
    }


@pytest.mark.parametrize(
    "text",
    ["file,class,label\n1.jpg,a,b\n", "1.jpg,a,x\n2.jpg,b,y\n3,a,x\n4,b,y", "1.jpg,1,2\n2.jpg,3,4"],
)
def test_where_the_class_cannot_be_told(text):
    with pytest.raises(UserError, match="which of its columns") as raised:
        read(text)
    assert one_sentence(raised.value)


def test_of_two_tables_the_one_called_labels_counts():
    photos = [Found(photo, "") for photo in PHOTOS]
    two = [Found(name, "no photo by its name") for name in ("boxes.csv", "labels.csv")]
    assert tables.find("The folder", photos + two, lambda one: ROWS.encode()).path == "labels.csv"
    two[1] = Found("other.csv", "no photo by its name")
    with pytest.raises(UserError, match="two tables") as raised:
        tables.find("The folder", photos + two, lambda one: ROWS.encode())
    assert one_sentence(raised.value)


def test_photos_with_a_table_are_loaded(tmp_path):
    some = draw(8, size=SIZE)
    files = tuple(f"{i:02}.png" for i in range(len(some)))
    write(tmp_path, replace(some, files=files))
    rows = ["00,", *(f"{i:02},{'cat' if i < 8 else 'dog'}" for i in range(1, 15))]
    (tmp_path / "labels.csv").write_text("\n".join(["id,breed", *rows, "99,dog"]))
    (tmp_path / "README.txt").touch()
    loaded = load_photos(tmp_path, SIZE)
    assert loaded.files == files[1:15]
    assert loaded.class_names == ("dog", "cat")
    assert loaded.labels.tolist() == [1] * 7 + [0] * 7
    assert loaded.left_out == (
        ("15.png", "the table of classes does not name it"),
        ("00.png", "labels.csv gives it no class"),
        ("99", "labels.csv names it, and no photo is called so"),
        ("README.txt", "no photo by its name"),
    )
    assert all(len(index) for index in split(loaded, 0).values())
    said = utils.describe(loaded).splitlines()
    assert said[0] == "14 photos: 7 dog, 7 cat; 3 files left out."
    assert said[1] == "The classes are those in labels.csv."


def test_class_folders_come_before_any_table(tmp_path):
    write(tmp_path, draw(5, size=SIZE))
    (tmp_path / "labels.csv").write_text("class a/000.png,x\nclass b/005.png,y\n")
    loaded = load_photos(tmp_path, SIZE)
    assert loaded.class_names == ("class b", "class a")
    assert loaded.left_out == (("labels.csv", "no photo by its name"),)
    assert loaded.said == ("The folders name the classes; labels.csv is not used.",)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_folder_or_a_pipe_called_so_is_no_table(tmp_path):
    write(tmp_path, replace(draw(1, size=SIZE), files=("1.png", "2.png")))
    (tmp_path / "labels.csv").mkdir()
    os.mkfifo(tmp_path / "more.csv")
    with pytest.raises(UserError, match="two or more, one a class") as raised:
        load_photos(tmp_path, SIZE)
    assert one_sentence(raised.value)


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path, replace(draw(1, size=SIZE), files=("1.png", "2.png")))
    (tmp_path / "labels.csv").symlink_to("nowhere")
    with pytest.raises(
        UserError, match=r"'labels.csv' cannot be read \(it is not there\)"
    ) as raised:
        load_photos(tmp_path, SIZE)
    assert one_sentence(raised.value)
