"""Decoding where a good guess is wrong. What is said of Pillow holds of 13.0.0, with which these
tests were written; its source and release notes say so.
"""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageCms

from mobilenet import UserError
from mobilenet.photos import decoding
from mobilenet.photos.decoding import SUFFIXES, read_photo, why_not
from tests.helpers import fuzz, profiles


def saved(image, kind, **options):
    """A picture as an opened file of this format."""
    return io.BytesIO(fuzz.saved(image, kind, **options))


def colourful(width=64, height=64):
    """A picture of soft colours, so that lossy formats keep them."""
    noise = np.random.default_rng(0).integers(30, 226, (4, 4, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def apart(one, other):
    """The mean difference of two photos, of 255."""
    return np.abs(np.asarray(one, float) - np.asarray(other, float)).mean()


# --- Which files ---


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "x.jfif", "x.jpe", "x.mpo", "x.tif", "x.J2K"])
def test_names_that_are_read(name):
    assert why_not(name) == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.dng", "RAW"), ("a.CR3", "RAW"), ("a.mov", "video"), ("a.psd", "document"),
        ("a.zip", "archive"), ("a.jxl", "JPEG XL"), ("a.txt", "no photo by its name"),
        ("jpg", "no photo by its name"), (".jpg", "no photo by its name"),
    ],
)  # fmt: skip
def test_names_that_are_not_read(name, says):
    assert says in why_not(name)


def test_no_name_is_read_and_not_read():
    known = " ".join(decoding.NOT_READ).split()
    assert len(known) == len(set(known))
    assert SUFFIXES & set(known) <= {".avif", ".jp2", ".j2k", ".jpx", ".jpf"} | {
        ".heic", ".heif", ".hif"
    }  # fmt: skip


@pytest.mark.skipif(decoding.pillow_heif is not None, reason="pillow-heif is installed")
@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_a_phones_photo_names_what_reads_it_whatever_it_is_called(brand, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(99))
    for named in (why_not("x.HEIC"), decoding.read_or_reason(tmp_path / "photo.jpg", 32)):
        assert "pillow-heif" in named


def test_heic_is_read_if_its_library_is_there():
    pytest.importorskip("pillow_heif")
    photo = colourful(60, 40)
    wide = {"icc_profile": profiles.WIDE["Display P3"], "quality": 95}
    expected = read_photo(saved(photo, "PNG", icc_profile=wide["icc_profile"]), 32)
    assert apart(read_photo(saved(photo, "HEIF", **wide), 32), expected) < 3
    assert why_not("x.heic") == ""


# --- More than 8 bits ---


def ramp(most, dtype):
    return np.tile(np.linspace(0, most, 64), (64, 1)).astype(dtype)


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [
        ("PNG", ramp(65_535, np.uint16)),
        ("TIFF", ramp(65_535, np.uint16)),
        ("TIFF", ramp(65_535, np.int32)),
        ("TIFF", ramp(1, np.float32)),
    ],
    ids=["PNG of 16 bits", "TIFF of 16 bits", "TIFF of 32 bits", "TIFF of fractions"],
)
def test_grey_of_more_bits_keeps_its_range(kind, pixels):
    """Pillow's convert("L") and convert("RGB") clip at 255 and do not scale."""
    read = read_photo(saved(Image.fromarray(pixels), kind), 64)[32, :, 0]
    assert np.abs(read - np.linspace(0, 255, 64)).max() <= 1


@pytest.mark.parametrize(
    "wrong", [np.int32(70_000), np.int32(-1), np.float32(2), np.float32("nan")]
)
def test_numbers_of_no_known_range_are_named(wrong):
    file = saved(Image.fromarray(np.full((8, 8), wrong)), "TIFF")
    with pytest.raises(UserError, match="its pixels are not from 0 to"):
        read_photo(file, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_tiff_in_which_0_is_white(dtype):
    """Pillow turns the lightness over in 8 bits, not in 16 or in fractions."""
    most = {"u": np.iinfo(dtype).max if dtype != np.float32 else 0, "f": 1}[np.dtype(dtype).kind]
    data = saved(Image.fromarray(ramp(most, dtype)), "TIFF").getvalue()
    says = b"\x06\x01\x03\0\1\0\0\0\1\0"  # PhotometricInterpretation: 0 is black
    assert data.count(says) == 1
    read = read_photo(io.BytesIO(data.replace(says, says[:8] + b"\0\0")), 64)[32, :, 0]
    assert np.abs(read - np.linspace(255, 0, 64)).max() <= 1


def test_colour_of_16_bits_is_taken_by_its_high_byte():
    """Pillow has no mode for it, and reads the first of each two bytes."""
    deep = np.asarray(colourful(8, 8), np.uint16) * 256 + 7
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)

    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    read = read_photo(io.BytesIO(fuzz.png(parts)), 8)
    assert np.array_equal(read, np.asarray(colourful(8, 8)))


def test_the_transparent_grey_of_16_bits_becomes_white():
    pixels = np.full((64, 64), 20_000, np.uint16)
    pixels[:32] = 777
    read = read_photo(saved(Image.fromarray(pixels), "PNG", transparency=777), 64)
    assert (read[:30] == 255).all()
    assert (read[34:] == 20_000 // 257).all()


# --- Ink, turns, several pictures ---


def test_inks_with_and_without_the_marker_of_adobe():
    """Who writes four inks stores them turned over: Pillow reads them so in every JPEG, with the
    marker and without.
    """
    data = saved(colourful().convert("CMYK"), "JPEG", quality=95).getvalue()
    at = data.index(b"\xff\xee")
    assert data[at + 4 : at + 9] == b"Adobe"
    bare = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    for one in (data, bare):
        assert apart(read_photo(io.BytesIO(one), 64), colourful()) < 4


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_a_turn_is_made_once(kind):
    """Pillow turns a TIFF upright on opening it, while the tag may still be there; AVIF stores the
    turn outside of EXIF.
    """
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = colourful(48, 64)
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    read = read_photo(saved(stored, kind, exif=exif, quality=95), 48)
    assert apart(read, read_photo(saved(upright, "PNG"), 48)) < 4


def test_a_turn_in_the_exif_of_an_avif_does_not_count():
    """The format says that its own turn counts alone. So do Pillow and browsers."""
    exif = Image.Exif()
    exif[0x0113] = 6  # a number that is no turn, and becomes one
    data = saved(colourful(64, 48), "AVIF", exif=exif, quality=95).getvalue()
    at = data.index(b"Exif\0\0")
    turned = data[:at] + data[at:].replace(b"\x01\x13", b"\x01\x12").replace(
        b"\x13\x01", b"\x12\x01"
    )
    assert turned != data
    assert apart(read_photo(io.BytesIO(turned), 48), read_photo(io.BytesIO(data), 48)) == 0


@pytest.mark.parametrize("kind", ["MPO", "TIFF", "GIF", "AVIF"])
def test_of_several_pictures_the_first(kind):
    more = {"save_all": True, "append_images": [ImageChops.invert(colourful())]}
    assert apart(read_photo(saved(colourful(), kind, **more), 64), colourful()) < 8


@pytest.mark.parametrize(("width", "height"), [(1001, 667), (1023, 1025), (515, 517), (801, 2399)])
def test_a_jpeg_decoded_small_is_the_same_photo(width, height):
    """Whose sides no 2, 4 or 8 divides: within a pixel, as Pillow rounds the small sides up."""
    photo = colourful(width, height)
    small = read_photo(saved(photo, "JPEG", quality=95), 64)
    assert apart(small, read_photo(saved(photo, "PNG"), 64)) < 2


@pytest.mark.parametrize("packed", ["jpeg", "group4"])
def test_a_tiff_of_an_odd_compression_is_named(packed):
    file = saved(
        colourful().convert("1" if packed == "group4" else "RGB"), "TIFF", compression=packed
    )
    with pytest.raises(UserError, match="a TIFF of a compression that is not read"):
        read_photo(file, 32)


# --- Profiles ---


def tagged(photo, profile, kind, **options):
    """A photo in the colours of a profile, and named so."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(photo, srgb, own, outputMode="RGB")
    return saved(converted, kind, icc_profile=profile, **options)


@pytest.mark.parametrize("name", profiles.WIDE)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_wide_profile_becomes_srgb(name, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    options |= {"quality": 95, "subsampling": "4:4:4"} if kind in ("JPEG", "AVIF") else {}
    read = read_photo(tagged(colourful(), profiles.WIDE[name], kind, **options), 64)
    assert apart(read, colourful()) < (2 if options else 1)


def test_a_grey_profile_becomes_srgb():
    pixels = ramp(255, np.uint8)
    for kind in ("JPEG", "PNG", "TIFF"):
        file = saved(Image.fromarray(pixels), kind, icc_profile=profiles.grey(1.0))
        read = read_photo(file, 64)[32, :, 0] / 255
        light = np.linspace(0, 1, 64)
        expected = np.where(light < 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        assert np.abs(read - expected).mean() < 0.01


def test_a_grey_photo_with_a_profile_of_colours():
    """Cameras write it into photos in black and white."""
    grey = colourful().convert("L")
    read = read_photo(saved(grey, "PNG", icc_profile=profiles.WIDE["ProPhoto"]), 64)
    assert np.ptp(read.astype(int), axis=2).max() <= 1
    assert apart(read[..., 0], grey) > 5, "its curve is another"


@pytest.mark.parametrize(
    "profile",
    [
        profiles.SRGB,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        profiles.WIDE["ProPhoto"][:200],
        profiles.grey(1.0),
        b"x" * 300,
        profiles.WIDE["ProPhoto"] + bytes(decoding.PROFILE),
    ],
    ids=["sRGB", "sRGB of another program", "cut off", "of grey", "nonsense", "too large"],
)
def test_a_profile_that_changes_no_pixel(profile):
    plain = read_photo(saved(colourful(), "PNG"), 64)
    file = saved(colourful(), "TIFF", icc_profile=profile)
    assert np.array_equal(read_photo(file, 64), plain)


def test_srgb_of_every_program_costs_nothing():
    """It is known by what it does to colours, not by its name."""
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (profiles.SRGB, built_in):
        assert decoding._to_srgb(profile, "RGB") is None
    assert decoding._to_srgb(profiles.WIDE["Display P3"], "RGB")


def test_one_profile_in_many_threads():
    files = [
        tagged(colourful(64 + i, 64), profiles.WIDE["Display P3"], "PNG").getvalue()
        for i in range(40)
    ]
    alone = [read_photo(io.BytesIO(data), 32) for data in files]
    decoding._to_srgb.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: read_photo(io.BytesIO(data), 32), files))
    assert np.array_equal(alone, together)


def test_a_profile_is_read_once_for_all_photos_of_a_camera():
    decoding._to_srgb.cache_clear()
    for _ in range(5):
        read_photo(saved(colourful(), "JPEG", icc_profile=profiles.SRGB), 32)
    assert decoding._to_srgb.cache_info().misses == 1


# --- Sizes that a header names ---


@pytest.mark.parametrize(("side", "becomes"), [(16, ""), (60_000, "a tile of it has more than")])
def test_a_tile_larger_than_a_photo(side, becomes):
    """It would be made room for before a byte of it is read."""
    tags = {
        256: 16,
        257: 16,
        258: 8,
        259: 1,
        262: 1,
        277: 1,
        322: side,
        323: side,
        324: 256,
        325: 256,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries
    found = decoding.read_or_reason(io.BytesIO(head.ljust(256, b"\0") + bytes(256)), 32)
    assert becomes in found if becomes else found.shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["numbers", "bytes"])
def test_tags_of_more_than_a_photo_are_not_read(kind):
    """A million numbers took 12 s and 300 MB."""
    tags = [(256, 4, 1, 16), (257, 4, 1, 16), (259, 4, 1, 1), (262, 4, 1, 1)]
    if kind == "numbers":
        tags += [(273, 4, decoding.NUMBERS + 1, 8)]
    else:
        tags += [(50_000 + i, 7, decoding.HEAVIEST // 4, 8) for i in range(3)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert "tags" in decoding.read_or_reason(io.BytesIO(data), 32)


@pytest.mark.parametrize("start", decoding.ODD_TIFF)
def test_a_tiff_of_an_odd_kind_is_named(start):
    assert "odd kind" in decoding.read_or_reason(io.BytesIO(start + bytes(200)), 32)
