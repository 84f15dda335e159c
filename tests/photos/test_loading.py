"""Photos of all kinds come out upright, cropped and RGB; what is no photo is named or passed by."""

import io
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import utils
from mobilenet import ROOT, UserError
from mobilenet.explain import own_photos
from mobilenet.photos import datasets, decoding, folders
from mobilenet.photos.decoding import read_photo
from mobilenet.photos.loading import load_photos
from mobilenet.photos.photos import ordered
from tests.helpers.drawn import draw, one_sentence, write

# Four quarters that tell every turn and mirror apart.
RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 180, 60), (40, 60, 200), (210, 200, 50)


def quarters(width=96, height=96):
    """A picture: red and green above, blue and yellow below."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    pixels[: height // 2, width // 2 :] = GREEN
    pixels[height // 2 :, : width // 2] = BLUE
    pixels[height // 2 :, width // 2 :] = YELLOW
    return Image.fromarray(pixels)


def colours(image):
    """The colours in the middle of the quarters."""
    near, far = len(image) // 4, 3 * len(image) // 4
    return np.array([image[near, near], image[near, far], image[far, near], image[far, far]], int)


def close(image, expected, by=12):
    return np.abs(colours(image) - np.array(expected)).max() <= by


# --- One photo ---


@pytest.mark.parametrize("suffix", [*sorted(decoding.SUFFIXES), ".JPG"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    quarters().save(path)
    image = read_photo(path, 32)
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert close(image, [RED, GREEN, BLUE, YELLOW])


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr", "I;16"])
def test_modes(tmp_path, mode):
    grey = quarters().convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "P":
        image = quarters().quantize(8)
    else:
        image = quarters().convert(mode)
    path = tmp_path / ("photo.jpg" if mode in ("CMYK", "YCbCr") else "photo.png")
    image.save(path)
    result = read_photo(path, 96)
    if mode == "1":
        assert set(np.unique(result)) <= {0, 255}
        assert abs(result.mean() - np.asarray(grey).mean()) < 5
    else:
        lights = [[light] * 3 for light in colours(np.asarray(grey)[..., None])[:, 0]]
        grey_modes = ("L", "LA", "I;16")
        assert close(result, lights if mode in grey_modes else [RED, GREEN, BLUE, YELLOW])


def test_the_16_bits_of_a_png_keep_their_range(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    result = read_photo(tmp_path / "ramp.png", 64)[32, :, 0].astype(int)
    assert np.abs(result - np.linspace(0, 255, 64)).max() <= 1


def transparent_picture(kind):
    clear = np.zeros((64, 64), bool)
    clear[:32] = True
    pixels = np.full((64, 64, 3), 30, np.uint8)
    if kind == "alpha":
        alpha = np.where(clear, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([pixels, alpha])), {}
    if kind == "grey and alpha":
        alpha = np.where(clear, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([pixels, alpha])).convert("LA"), {}
    pixels[clear] = 90
    if kind == "one colour of RGB":
        return Image.fromarray(pixels), {"transparency": (90, 90, 90)}
    if kind == "one grey":
        return Image.fromarray(pixels[..., 0]), {"transparency": 90}
    palette = Image.fromarray(clear.astype(np.uint8), "L")
    palette = Image.frombytes("P", (64, 64), palette.tobytes())
    palette.putpalette([30, 30, 30, 90, 90, 90])
    return palette, {"transparency": 1 if kind == "one of a palette" else bytes([255, 0])}


@pytest.mark.parametrize(
    "kind",
    [
        "alpha",
        "grey and alpha",
        "one colour of RGB",
        "one grey",
        "one of a palette",
        "bytes of a palette",
    ],
)
def test_what_is_transparent_becomes_white(tmp_path, kind):
    image, options = transparent_picture(kind)
    image.save(tmp_path / "photo.png", **options)
    result = read_photo(tmp_path / "photo.png", 64)
    assert (result[:30] == 255).all()
    assert (result[34:] == 30).all()


def test_of_an_animation_the_first_picture(tmp_path):
    first, second = quarters(), Image.new("RGB", (96, 96), "black")
    for name in ("photo.gif", "photo.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second], duration=100)
        assert close(read_photo(tmp_path / name, 48), [RED, GREEN, BLUE, YELLOW])


# How a camera that was turned stores an upright picture, for each EXIF orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif", "tif"])
def test_photos_come_out_upright(tmp_path, orientation, suffix):
    upright = np.asarray(quarters(width=96, height=64))
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"photo.{suffix}", exif=exif, quality=95)
    Image.fromarray(upright).save(tmp_path / "upright.png")
    result = read_photo(tmp_path / f"photo.{suffix}", 64)
    expected = read_photo(tmp_path / "upright.png", 64)
    assert close(result, colours(expected))


def exif_block(*entries, end=b"\0\0\0\0"):
    """A little-endian EXIF block of (tag, kind, count, value) as they stand, right or wrong."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + end


TURNED = (0x0112, 3, 1, 6)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("exif", "upright"),
    [
        (b"Exif\0\0", False),
        (b"Exif\0\0no tags at all", False),
        (b"Exif\0\0II*\0\xff\xff\0\0", False),
        (exif_block((0x0112, 3, 1, 99)), False),
        (exif_block((0x0112, 2, 4, 0x00636261)), False),
        (exif_block(TURNED, end=b""), True),
        (exif_block(TURNED, (0x011A, 5, 1, 9999)), True),
        (exif_block(TURNED, (0x010F, 2, 0xFFFFFFFF, 9999)), True),
        (exif_block(TURNED, (0x8769, 4, 1, 0x41414141), (0x8825, 2, 4, 5)), True),
    ],
)
def test_broken_exif_is_no_reason_to_leave_a_photo_out(tmp_path, exif, upright):
    turned = np.rot90(np.asarray(quarters()))
    Image.fromarray(np.ascontiguousarray(turned)).save(
        tmp_path / "photo.jpg", exif=exif, quality=95
    )
    expected = [RED, GREEN, BLUE, YELLOW] if upright else [GREEN, YELLOW, RED, BLUE]
    assert close(read_photo(tmp_path / "photo.jpg", 48), expected)


def test_broken_exif_is_read_in_silence(tmp_path):
    quarters().save(tmp_path / "photo.jpg", exif=exif_block(TURNED, end=b""))
    script = (
        "import sys; from mobilenet.photos.decoding import read_photo; read_photo(sys.argv[1], 32)"
    )
    line = [sys.executable, "-c", script, tmp_path / "photo.jpg"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("width", "height"), [(400, 100), (100, 400), (1200, 301), (101, 100)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_centre_is_kept_and_its_shape(tmp_path, width, height, suffix):
    """A disc in the centre stays a disc of the same share of the shorter side."""
    y, x = np.mgrid[:height, :width]
    radius = 0.35 * min(width, height)
    disc = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2) < radius
    pixels = np.where(disc[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    Image.fromarray(pixels).save(tmp_path / f"photo.{suffix}", quality=95)
    result = read_photo(tmp_path / f"photo.{suffix}", 100)[..., 0] > 127
    for axis in (0, 1):
        inside = np.flatnonzero(result.any(axis))
        assert abs(len(inside) - 70) <= 2
        assert abs(inside.mean() - 49.5) <= 1
    assert abs(result.mean() - np.pi * 0.35**2) < 0.01


@given(width=st.integers(1, 70), height=st.integers(1, 70), size=st.integers(1, 80))
def test_any_size_becomes_the_size_asked_for(tmp_path_factory, width, height, size):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (7, 77, 177)).save(buffer, "PNG")
    path = tmp_path_factory.getbasetemp() / "any.png"
    path.write_bytes(buffer.getvalue())
    image = read_photo(path, size)
    assert image.shape == (size, size, 3)
    assert (image == (7, 77, 177)).all()


def test_a_large_jpeg_is_not_blurred_by_decoding_it_small(tmp_path):
    cells = np.random.default_rng(0).integers(0, 255, (48, 48), np.uint8)
    large = Image.fromarray(cells).resize((700, 700), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    large.save(tmp_path / "large.png")
    jpeg, png = (read_photo(tmp_path / f"large.{s}", 96)[..., 0] for s in ("jpg", "png"))
    assert np.corrcoef(jpeg.ravel(), png.ravel())[0, 1] > 0.99
    assert jpeg.std() / png.std() > 0.95


# --- What is no photo ---


def damaged(kind, path):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    whole = buffer.getvalue()
    if kind == "a directory":
        path.mkdir()
    elif kind != "missing":
        content = {
            "empty": b"",
            "text": b"this is no photo",
            "truncated": whole[: len(whole) // 2],
            "only a head": whole[:100],
            "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
            "zeros": bytes(5000),
        }[kind]
        path.write_bytes(content)


@pytest.mark.parametrize(
    "kind",
    ["empty", "text", "truncated", "only a head", "HTML", "zeros", "missing", "a directory"],
)
def test_what_cannot_be_read_is_named_with_a_reason(tmp_path, kind):
    path = tmp_path / "photo.jpg"
    damaged(kind, path)
    with pytest.raises(UserError) as raised:
        read_photo(path, 32)
    assert one_sentence(raised.value)
    assert str(raised.value).startswith(f"{path} cannot be read as a photo: ")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif", "jp2", "avif"])
def test_damaged_bytes_give_a_photo_or_a_reason(tmp_path, suffix):
    """Nothing but UserError, whatever bytes are changed."""
    path = tmp_path / f"photo.{suffix}"
    quarters(40, 30).save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for attempt in range(60):
        broken = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            broken[rng.integers(len(broken) if attempt % 2 else 60)] = rng.integers(256)
        path.write_bytes(bytes(broken[: None if attempt % 5 else rng.integers(len(broken))]))
        try:
            assert read_photo(path, 16).shape == (16, 16, 3)
        except UserError as error:
            assert one_sentence(error)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path):
    header = b"BM" + struct.pack(
        "<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6
    )
    (tmp_path / "bomb.bmp").write_bytes(header)
    with pytest.raises(UserError, match="exceeds limit") as raised:
        read_photo(tmp_path / "bomb.bmp", 32)
    assert one_sentence(raised.value)


# --- A folder of them ---


@pytest.fixture
def folder(tmp_path):
    """Two classes, "class a" and "class b", of six photos each."""
    return write(tmp_path / "photos", draw(6, size=40))


def test_loading(folder):
    drawn, loaded = draw(6, size=40), load_photos(folder, 40)
    assert loaded.files == drawn.files == tuple(sorted(loaded.files))
    assert loaded.class_names == ("class b", "class a")
    assert (loaded.images == drawn.images).all()
    assert loaded.images.dtype == np.uint8
    assert (loaded.labels == drawn.labels).all()
    assert loaded.labels.dtype == np.int64
    assert loaded.left_out == ()
    assert len(loaded) == 12


def test_the_positive_class_has_label_1(folder):
    """As Keras's sigmoid(logit) is of label 1. Which one it is moves no photo."""
    plain, moved = load_photos(folder, 16), load_photos(folder, 16, positive="class b")
    assert plain.class_names == ("class b", "class a")
    assert moved.class_names == ("class a", "class b")
    for loaded in (plain, moved):
        for file, label in zip(loaded.files, loaded.labels, strict=True):
            assert file.startswith(loaded.class_names[label] + "/")
    assert plain.files == moved.files


@given(st.sets(st.text(min_size=1), min_size=2, max_size=6), st.data())
def test_classes_are_sorted_but_for_the_positive_one(names, data):
    named = data.draw(st.sampled_from([None, *sorted(names)]))
    found = ordered(names, named)
    assert sorted(found) == sorted(names)
    positive = named or sorted(names)[0 if len(names) == 2 else 1]
    assert found[1] == positive
    others = [name for name in found if name != positive]
    assert others == sorted(others)


def test_nested_folders_belong_to_their_class(folder):
    (folder / "class a" / "summer" / "2024").mkdir(parents=True)
    quarters().save(folder / "class a" / "summer" / "2024" / "deep.png")
    loaded = load_photos(folder, 16)
    deep = loaded.labels[loaded.files.index("class a/summer/2024/deep.png")]
    assert loaded.class_names[deep] == "class a"


def test_what_computers_leave_behind_is_neither_class_nor_photo(folder):
    expected = load_photos(folder, 16)
    for place in (".ipynb_checkpoints", "__MACOSX", ".git", "class a/.thumbnails"):
        (folder / place).mkdir()
        quarters().save(folder / place / "photo.jpg")
    for name in (".DS_Store", "._x.jpg", "Thumbs.db", "readme.txt", "list.csv"):
        for place in (folder, folder / "class a"):
            (place / name).write_bytes(b"no photo")
    quarters().save(folder / "loose.jpg")
    loaded = load_photos(folder, 16)
    assert (loaded.files, loaded.class_names) == (expected.files, expected.class_names)
    lists = [f"{place}{name}" for place in ("", "class a/") for name in ("list.csv", "readme.txt")]
    assert [file for file, _ in loaded.left_out] == ["loose.jpg", *lists]
    assert loaded.hidden == 4 + 3 * 2
    first, *others = utils.describe(loaded).splitlines()
    assert first.endswith("; 1 file left out.")
    assert others[0] == "  left out: loose.jpg (it lies in no class folder)"
    assert others[1].endswith(f"no photos ({', '.join(lists)}) and 10 hidden files.")


def test_unreadable_files_are_left_out_by_name(folder):
    kinds = {"empty": "no JPEG", "text": "no JPEG", "truncated": "truncated"}
    for kind in kinds:
        damaged(kind, folder / "class a" / f"{kind}.jpg")
    (folder / "class b" / "gone.jpg").symlink_to("nowhere.jpg")
    loaded = load_photos(folder, 16)
    assert len(loaded) == 12
    reasons = dict(loaded.left_out)
    for kind, reason in kinds.items():
        assert reason in reasons.pop(f"class a/{kind}.jpg")
    assert reasons == {"class b/gone.jpg": "it is not there"}


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    """Photos that cannot be seen must not pass for absent."""
    inside, scan = folder / "class b" / "inside", os.scandir
    write(inside, draw(1, size=16))

    def refuse(path):
        if Path(path) == inside:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for look in (
        lambda: load_photos(folder, 16),
        lambda: folders.find([folder / "class b"]),
        lambda: datasets.load(str(folder), 16, 0),
        lambda: own_photos.own_photos(folder, None, None, None),
    ):
        with pytest.raises(
            UserError, match=r"inside' cannot be read \(permission denied"
        ) as raised:
            look()
        assert one_sentence(raised.value)


def test_a_photo_that_vanishes_after_the_listing_is_left_out(folder, monkeypatch):
    walk = folders.walk

    def vanishing(place):
        for found in list(walk(place)):
            if found.path == "class a/000.png":
                Path(found.at).unlink()
            yield found

    monkeypatch.setattr(folders, "walk", vanishing)
    assert load_photos(folder, 16).left_out == (("class a/000.png", "it is not there"),)


@pytest.mark.parametrize("name", ["a b.jpg", "l'été.jpg", 'quo"te.jpg', "🦙.jpg", "#%&$.jpg"])
def test_odd_names(folder, name):
    quarters().save(folder / "class a" / name)
    assert f"class a/{name}" in load_photos(folder, 16).files


def test_reading_in_threads_leaves_the_warnings_alone(folder):
    before = list(warnings.filters)
    assert load_photos(folder, 16) and list(warnings.filters) == before


def make_empty(folder):
    for path in folder.rglob("*.png"):
        path.unlink()


FAULTS = {
    "no class folders": (lambda folder: [_clear(path) for path in folder.iterdir()], None),
    "one class folder": (lambda folder: _clear(folder / "class b"), None),
    "'class b' has no readable photo": (lambda folder: make_empty(folder / "class b"), None),
    "is not there": (lambda folder: folder.rename(folder.with_name("moved")), None),
    "choose one of class a, class b": (lambda folder: None, "class c"),
}


def _clear(folder):
    make_empty(folder)
    folder.rmdir()


@pytest.mark.parametrize("said", FAULTS)
def test_folders_that_cannot_be_used(folder, said):
    fault, positive = FAULTS[said]
    fault(folder)
    with pytest.raises(UserError) as raised:
        load_photos(folder, 16, positive)
    assert one_sentence(raised.value)
    assert said in str(raised.value)


def test_the_real_photos(real_photos):
    loaded = load_photos(real_photos, 32)
    assert len(loaded) > 0
    assert loaded.left_out == ()
    assert loaded.images[:].std() > 20
