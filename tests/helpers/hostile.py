"""Bad input for the scan: each kind puts files into a class folder, and says what becomes of them.

A kind is a function of the class folder that writes one or more files there and returns what the
loader must say of them: READ, or PASSED (over and counted), or a part of the reason for which they
are left out. Where a folder cannot hold such a file, the kind raises `Impossible`.
"""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenet.photos import decoding
from tests.helpers import fuzz

READ, PASSED, EITHER = "read", "passed over", "read, or left out with a reason"
KINDS: dict[str, Callable[[Path], dict[str, str]]] = {}


class Impossible(Exception):
    """This machine's disk or user cannot have such a file."""


def kind(name: str):
    """Count a function among KINDS under this name."""

    def add(make):
        assert name not in KINDS
        KINDS[name] = make
        return make

    return add


def picture(width: int = 60, height: int = 40, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture of coarse noise, which no format compresses to nothing."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def content(suffix: str, image: Image.Image | None = None, **options) -> bytes:
    """A picture as a file of this kind."""
    out = io.BytesIO()
    (image or picture()).save(
        out, {"jpg": "JPEG", "jp2": "JPEG2000"}.get(suffix, suffix), **options
    )
    return out.getvalue()


def one(name: str, data: bytes, becomes: str) -> Callable[[Path], dict[str, str]]:
    """A kind of a single file with this content."""

    def make(folder: Path) -> dict[str, str]:
        try:
            (folder / name).write_bytes(data)
        except (OSError, UnicodeError) as error:
            raise Impossible(name) from error
        return {name: becomes}

    return make


def chunk(kind_: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind_ + data + struct.pack(">I", zlib.crc32(kind_ + data))


# --- Cut off, empty, something else ---

for suffix in ("jpg", "png", "tiff", "jp2", "avif"):
    whole = content(suffix)
    for tenth in range(1, 10):
        cut = whole[: len(whole) * tenth // 10]
        KINDS[f"{suffix} cut at {tenth}0 %"] = one(f"cut{tenth}.{suffix}", cut, "")
KINDS["no bytes"] = one("empty.jpg", b"", "it is no JPEG")
KINDS["one byte"] = one("byte.jpg", b"\xff", "it is no JPEG")
KINDS["a thousand zeros"] = one("zeros.jpg", bytes(1000), "it is no JPEG")
KINDS["text"] = one("text.jpg", b"not a photo\n" * 50, "it is no JPEG")
KINDS["a page of a server"] = one("page.jpg", b"<html><h1>404</h1></html>", "it is no JPEG")
KINDS["PNG called jpg"] = one("really_png.jpg", content("png"), READ)
KINDS["JPEG called png"] = one("really_jpg.png", content("jpg"), READ)
KINDS["TIFF called jpg"] = one("tiff.jpg", content("tiff"), READ)
KINDS["AVIF called jpg"] = one("avif.jpg", content("avif"), READ)
KINDS["JPEG called avif"] = one("jpeg.avif", content("jpg"), READ)
KINDS["JPEG called tif"] = one("jpeg.tif", content("jpg"), READ)
KINDS["JPEG called jfif"] = one("jpeg.jfif", content("jpg"), READ)
KINDS["a phone's photo called jpg"] = one("phone.jpg", b"\0\0\0\x18ftypheic" + bytes(99), "")
KINDS["PostScript called jpg"] = one("eps.jpg", content("eps"), "it is no JPEG")
KINDS["vector graphics called jpg"] = one("svg.jpg", b"<svg xmlns='x'/>", "it is no JPEG")
KINDS["no suffix"] = one("photo", content("jpg"), "no photo by its name")
KINDS["suffix of a text"] = one("photo.txt", content("jpg"), "no photo by its name")
KINDS["upper case suffix"] = one("UPPER.JPG", content("jpg"), READ)
KINDS["rubbish after the end"] = one("tail.jpg", content("jpg") + b"x" * 5000, READ)
KINDS["two photos in one file"] = one("twice.jpg", content("jpg") * 2, READ)

# --- Sizes ---

header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
lines = zlib.compress(bytes(1000))
BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
KINDS["60,000 × 60,000 pixels"] = one("bomb.png", BOMB, "pixels")
for format_ in fuzz.FIRST:
    large, suffix = fuzz.sized(format_, 16_383, 16_383), decoding.FORMATS[format_][0].split()[0]
    KINDS[f"{format_}, 268 megapixels"] = one(f"large{suffix}", large, "pixels")
KINDS["1 × 1 pixel"] = one("dot.png", content("png", picture(1, 1)), READ)
KINDS["1 × 10,000 pixels"] = one("thread.png", content("png", picture(1, 10_000)), READ)
KINDS["10,000 × 1 pixels"] = one("line.png", content("png", picture(10_000, 1)), READ)
KINDS["0 × 0 pixels"] = one(
    "nothing.png",
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)),
    "",
)

# --- Kinds of pictures ---

frames = [picture(seed=i) for i in range(3)]
for suffix in ("gif", "webp"):
    moving = content(suffix, frames[0], save_all=True, append_images=frames[1:], duration=100)
    KINDS[f"moving {suffix}"] = one(f"moving.{suffix}", moving, READ)
sixteen = Image.fromarray(np.linspace(0, 65_535, 2400).astype(np.uint16).reshape(40, 60))
KINDS["16 bits"] = one("sixteen.png", content("png", sixteen), READ)
KINDS["CMYK"] = one("cmyk.jpg", content("jpg", picture(mode="CMYK")), READ)
KINDS["grey"] = one("grey.jpg", content("jpg", picture(mode="L")), READ)
KINDS["black and white"] = one("bits.png", content("png", picture(mode="1")), READ)
palette = picture(mode="P")
KINDS["palette, transparent"] = one("palette.png", content("png", palette, transparency=3), READ)
KINDS["grey, transparent"] = one("veil.png", content("png", picture(mode="LA")), READ)
for packed in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4"):
    mode = "1" if packed == "group4" else "RGB"
    paper = content("tiff", picture(mode=mode), compression=packed)
    becomes = READ if packed in decoding.PLAIN else "compression"
    KINDS[f"TIFF, {packed}"] = one(f"{packed}.tif", paper, becomes)
pages = content("tiff", picture(), save_all=True, append_images=[picture(seed=1)])
KINDS["TIFF of two pages"] = one("pages.tif", pages, READ)
KINDS["progressive"] = one("steps.jpg", content("jpg", progressive=True), READ)
arithmetic = (fuzz.CORPUS / "decode" / "arithmetic.jpg").read_bytes()
KINDS["arithmetic JPEG"] = one("arithmetic.jpg", arithmetic, EITHER)  # as Pillow was built
says_so = content("jpg").replace(b"\xff\xc0", b"\xff\xc9", 1)
KINDS["said to be arithmetic"] = one("says_so.jpg", says_so, EITHER)
KINDS["a thousand scans"] = one("scans.jpg", fuzz.many_scans(1000), "scans")
for what, name in {
    "moving PNG": "moving.png",
    "PNG in passes": "passes.png",
    "two pictures of a camera": "two.jpg",
    "BMP in run lengths": "lengths.bmp",
    "wide BMP in run lengths": "wide_lengths.bmp",
}.items():
    becomes = "pixels" if "wide" in what else READ
    KINDS[what] = one(name, (fuzz.CORPUS / "decode" / name).read_bytes(), becomes)

# --- What is written beside the pixels ---

for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = content("jpg", exif=exif)
    KINDS[f"EXIF orientation {orientation}"] = one(f"turned{orientation}.jpg", upright, READ)
KINDS["EXIF of nonsense"] = one("exif.jpg", content("jpg", exif=b"Exif\0\0" + b"\xff" * 60), READ)
KINDS["EXIF cut off"] = one("exif_cut.jpg", content("jpg", exif=b"Exif\0\0MM\0*"), READ)
KINDS["colour profile of nonsense"] = one("icc.jpg", content("jpg", icc_profile=b"x" * 300), READ)
KINDS["colour profile of none"] = one("icc.png", content("png", icc_profile=b"\0"), READ)
whole, text = content("png"), zlib.compress(bytes(50_000_000), 9)
for what, beside in {
    "a text of 50 MB": chunk(b"zTXt", b"Comment\0\0" + text),
    "a colour profile of 50 MB": chunk(b"iCCP", b"icc\0\0" + text),
    "another text of 50 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text),
}.items():
    KINDS[what] = one(f"{what}.png", whole[:33] + beside + whole[33:], EITHER)
entries = b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(1000, 6000))
repeated = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + entries
KINDS["EXIF that holds itself 5000 times"] = one("itself.jpg", content("jpg", exif=repeated), READ)

# --- Names ---

for what, name in {
    "spaces": " a  b .jpg",
    "quotes": "l'\"`.jpg",
    "a new line": "a\nb.jpg",
    "emoji": "🦙🦙.jpg",
    "formula": "$x^2$.jpg",
    "table": "a|b*c_d.jpg",
    "markup": "<b>&amp;.jpg",
    "two dots": "..photo..jpg",
    "a dash": "-rf.jpg",
    "right to left": "عربي.jpg",
    "a bell": "a\x07b.jpg",
    "255 bytes": "x" * 251 + ".jpg",
    "bytes that are no UTF-8": os.fsdecode(b"caf\xe9.jpg"),
}.items():
    KINDS[f"name: {what}"] = one(name, content("jpg"), PASSED if name[0] == "." else READ)
    if name[0] != ".":
        bad = name.replace(".jpg", ".png")
        KINDS[f"name of no photo: {what}"] = one(bad, b"no photo", "it is no JPEG")

# --- What is no plain file ---


def link(folder: Path, name: str, to: Path | str) -> None:
    try:
        (folder / name).symlink_to(to)
    except OSError as error:
        raise Impossible(name) from error


@kind("link to a photo elsewhere")
def elsewhere(folder):
    target = folder.parents[1] / "third_party.jpg"
    target.write_bytes(content("jpg"))
    link(folder, "link.jpg", target)
    return {"link.jpg": READ}


@kind("link to nowhere")
def nowhere(folder):
    link(folder, "nowhere.jpg", "there is no such file")
    return {"nowhere.jpg": "it is not there"}


@kind("links in a loop")
def loop(folder):
    link(folder, "one.jpg", "two.jpg")
    link(folder, "two.jpg", "one.jpg")
    return {"one.jpg": "symbolic links", "two.jpg": "symbolic links"}


@kind("folder that links to itself")
def itself(folder):
    link(folder, "again", folder)
    return {}


@kind("link to a folder elsewhere")
def folder_elsewhere(folder):
    target = folder.parents[1] / "elsewhere"
    target.mkdir(exist_ok=True)
    (target / "inside.jpg").write_bytes(content("jpg"))
    link(folder, "away", target)
    return {"away/inside.jpg": READ}


@kind("a terabyte of nothing")
def huge(folder):
    with (folder / "huge.jpg").open("wb") as file:
        file.write(content("jpg"))
        try:
            file.truncate(10**12)
        except OSError as error:
            raise Impossible("huge.jpg") from error
    return {"huge.jpg": "it has more than 128 megabytes"}


@kind("pipe")
def pipe(folder):
    if not hasattr(os, "mkfifo"):
        raise Impossible("pipe")
    os.mkfifo(folder / "pipe.jpg")
    return {"pipe.jpg": "a pipe"}


@kind("socket")
def listening(folder):
    if not hasattr(socket, "AF_UNIX"):
        raise Impossible("socket")
    here = Path.cwd()
    os.chdir(folder)  # an address has room for some hundred letters
    try:
        with socket.socket(socket.AF_UNIX) as one_:
            one_.bind("socket.jpg")
    finally:
        os.chdir(here)
    return {"socket.jpg": "a socket"}


@kind("folder called x.jpg")
def folder_of_that_name(folder):
    (folder / "x.jpg").mkdir()
    (folder / "x.jpg" / "inside.jpg").write_bytes(content("jpg"))
    return {"x.jpg/inside.jpg": READ}


@kind("no permission")
def forbidden(folder):
    if os.name != "posix" or os.geteuid() == 0:
        raise Impossible("root may read everything")
    (folder / "secret.jpg").write_bytes(content("jpg"))
    (folder / "secret.jpg").chmod(0)
    return {"secret.jpg": "permission denied"}


@kind("nested folders")
def nested(folder):
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "b" / "c" / "deep.jpg").write_bytes(content("jpg"))
    return {"a/b/c/deep.jpg": READ}


@kind("hidden and archiver's folders")
def hidden(folder):
    found = {}
    for place in (".hidden", "__MACOSX", ".ipynb_checkpoints"):
        (folder / place).mkdir()
        (folder / place / "photo.jpg").write_bytes(content("jpg"))
        found[f"{place}/photo.jpg"] = PASSED
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "._photo.jpg").write_bytes(b"\0\5\x16\7")
    return found | {".DS_Store": PASSED, "._photo.jpg": PASSED}


@kind("the same bytes twice")
def twice(folder):
    for name in ("same1.jpg", "same2.jpg"):
        (folder / name).write_bytes(content("jpg", picture(seed=5)))
    return {"same1.jpg": READ, "same2.jpg": READ}


@kind("the same bytes in both classes")
def in_both(folder):
    other = min((folder.parent / "class b").iterdir())
    (folder / "both.png").write_bytes(other.read_bytes())
    return {"both.png": READ}


@kind("the same photo saved anew")
def anew(folder):
    (folder / "first.jpg").write_bytes(content("jpg", picture(seed=6), quality=95))
    (folder / "second.jpg").write_bytes(content("jpg", picture(seed=6), quality=40))
    (folder / "third.png").write_bytes(content("png", picture(seed=6)))
    return {"first.jpg": READ, "second.jpg": READ, "third.png": READ}
