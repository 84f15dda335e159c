"""Fuzzing with atheris, guided by coverage: `python tests/fuzz.py [--seconds N] [decode|scan]`.

decode reads any bytes as a photo; scan builds a folder from them and loads it. Either gives what
is promised or raises UserError: anything else, 20 seconds for one input or 1 GB of memory is a
finding, and its input is left in build/fuzz/. It then belongs into tests/corpus/, which the tests
replay.
"""

import argparse
import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import nullcontext, suppress
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "corpus"
SECONDS = 600  # each
watched = nullcontext()
if __name__ == "__main__":
    sys.path.insert(0, str(CORPUS.parents[1]))
    with suppress(ImportError):  # said by main
        import atheris

        watched = atheris.instrument_imports(include=["PIL", "mobilenet"])
with watched:
    from PIL import Image

    from mobilenet import BUILD, UserError
    from mobilenet.photos import corrections, decoding, folders, loading, tables
    from mobilenet.system import cache

    Image.init()  # all formats
SIGNATURE = b"\x89PNG\r\n\x1a\n"
FIRST = {  # of each format that `sized` knows
    "JPEG": "plain.jpg",
    "PNG": "rgb.png",
    "GIF": "still.gif",
    "BMP": "rgb.bmp",
    "WEBP": "lossless.webp",
    "TIFF": "rgb.tif",
    "JPEG2000": "rgb.jp2",
    "AVIF": "rgba.avif",
}


# --- What must hold of any bytes ---


def decode(data: bytes) -> None:
    """A photo of the size asked for, or a reason on one line."""
    size = (32, 224)[len(data) % 2]
    try:
        image = decoding.read_photo(io.BytesIO(data), size)
    except UserError as error:
        assert_line(str(error).split(" cannot be read as a photo: ")[1])
    else:
        assert (image.shape, image.dtype.name) == ((size, size, 3), "uint8")


def assert_line(text: str) -> None:
    assert text.isprintable(), repr(text)
    assert text.endswith("."), repr(text)
    assert not text.startswith((" ", ".")), repr(text)


def scan(data: bytes) -> None:
    """Each photo of a folder is read or named with a reason, again and from what is kept."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        build(folder, data)
        kept, first = (cache.FOLDER, corrections.FILE), None
        cache.FOLDER, corrections.FILE = Path(place, "cache"), Path(place, "corrections.csv")
        try:
            first = loading.load_photos(folder, 32)
            again = loading.load_photos(folder, 32)
        except UserError as error:
            assert first is None
            assert_line(str(error))
            return
        finally:
            cache.FOLDER, corrections.FILE = kept
            cache._whole.clear()  # which a process with one folder never fills
        assert (first.files, first.left_out) == (again.files, again.left_out)
        assert (first.images[:] == again.images[:]).all()
        assert first.images.shape == (len(first.files), 32, 32, 3)
        out = dict(first.left_out)
        for reason in out.values():
            assert_line(reason + ".")
        named = [*first.files, *out]
        assert len(set(named)) == len(named)
        own = {os.path.realpath(folder / file) for file in named if is_told(folder / file)}
        assert (own, first.hidden) == below(folder)


def is_told(path: Path) -> bool:
    """Whether a file must be named: no link, and no table, which may be used, with rows of what is
    not there.
    """
    return os.path.lexists(path) and not path.is_symlink() and path.suffix not in tables.SUFFIXES


def below(folder: Path) -> tuple[set[str], int]:
    """The real files below a folder that must be spoken of, and how many are hidden. (A link
    leads to one of its folders, where what is in it is found by itself, or nowhere.)
    """
    seen, hidden = set(), 0
    for path, _, files in os.walk(folder):
        for file in files:
            parts = (Path(path) / file).relative_to(folder).parts
            if any(map(folders.is_hidden, parts)):
                hidden += 1
            elif is_told(Path(path) / file):
                seen.add(os.path.realpath(Path(path) / file))
    return seen, hidden


def build(folder: Path, data: bytes) -> None:
    """A folder of class folders from bytes. Each entry: what it is, in which folder, the length of
    its name, its name, and of a file the length of its content and the content.
    """
    folders, taken = [folder], io.BytesIO(data)
    folder.mkdir()
    while head := taken.read(3):
        what, where, length = head.ljust(3, b"\0")
        name = taken.read(length).replace(b"/", b"_").replace(b"\0", b"0")
        if name in (b"", b".", b".."):
            continue
        with suppress(OSError, ValueError):  # it is there, its name is too long or none for a disk
            path = folders[where % len(folders)] / os.fsdecode(name)
            if what % 8 == 0:
                path.mkdir()
                folders.append(path)
            elif what % 8 == 1:
                path.write_bytes(taken.read(int.from_bytes(taken.read(2), "big")))
            elif what % 8 == 2:
                path.symlink_to(folders[what // 8 % len(folders)])
            elif what % 8 == 3:
                path.symlink_to(os.fsdecode(name[::-1]))
            elif what % 8 == 4 and hasattr(os, "mkfifo"):
                os.mkfifo(path)
            else:
                path.write_bytes(PHOTOS[what // 8 % len(PHOTOS)])


def entry(what: int, where: int, name: bytes, content: bytes | None = None) -> bytes:
    """What `build` reads as one entry."""
    length = b"" if content is None else struct.pack(">H", len(content))
    return bytes([what, where, len(name)]) + name + length + (content or b"")


TARGETS = {"decode": decode, "scan": scan}


# --- What to begin with ---


def picture(width: int = 24, height: int = 16, mode: str = "RGB") -> Image.Image:
    pixels = bytes(i * i * 7 % 251 for i in range(width * height * 3))
    return Image.frombytes("RGB", (width, height), pixels).convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


PHOTOS = [saved(picture(), "PNG"), saved(picture(mode="L"), "JPEG"), b"no photo", b""]


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of the chunks of a PNG file, as far as they go."""
    found, at = [], len(SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks, with the right check sums."""
    packed = [
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    ]
    return SIGNATURE + b"".join(packed)


def repaired(data: bytes) -> bytes:
    """The same with the check sums of a PNG right, without which most changes end there."""
    return png(chunks(data)) if data.startswith(SIGNATURE) else data


def first_photos() -> dict[str, bytes]:
    """Small files of each kind that is read, by name."""
    rgb, rgba = picture(), picture(mode="RGBA")
    rgba.putalpha(picture(mode="L"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.5
    frames = {"save_all": True, "append_images": [picture(mode="L").convert("RGB")]}
    beside = {"exif": exif.tobytes(), "icc_profile": bytes(range(132))}
    found = {
        "plain.jpg": saved(rgb, "JPEG", **beside),
        "progressive.jpg": saved(rgb, "JPEG", progressive=True, subsampling=0),
        "cmyk.jpg": saved(picture(mode="CMYK"), "JPEG"),
        "grey.jpg": saved(picture(mode="L"), "JPEG", restart_marker_rows=1),
        "two.jpg": saved(rgb, "MPO", save_all=True, append_images=[rgb], exif=exif.tobytes()),
        "rgb.png": saved(rgb, "PNG", **beside),
        "rgba.png": saved(rgba, "PNG"),
        "la.png": saved(rgba.convert("LA"), "PNG"),
        "bits.png": saved(picture(mode="1"), "PNG"),
        "sixteen.png": saved(Image.frombytes("I;16", (8, 8), bytes(range(128))), "PNG"),
        "palette.png": saved(rgb.quantize(16), "PNG", transparency=3, bits=4),
        "veils.png": saved(rgb.quantize(16), "PNG", transparency=bytes(range(16))),
        "colour.png": saved(rgb, "PNG", transparency=(1, 2, 3)),
        "moving.png": saved(rgb, "PNG", **frames),
        "lossy.webp": saved(rgb, "WEBP", **beside),
        "lossless.webp": saved(rgba, "WEBP", lossless=True),
        "moving.webp": saved(rgba, "WEBP", **frames),
        "still.gif": saved(rgb.quantize(16), "GIF", transparency=3),
        "moving.gif": saved(rgb, "GIF", duration=50, loop=0, comment=b"comment", **frames),
        "rgb.bmp": saved(rgb, "BMP"),
        "palette.bmp": saved(rgb.quantize(16), "BMP"),
        "bits.bmp": saved(picture(mode="1"), "BMP"),
        "lengths.bmp": lengths(),
        "rgb.tif": saved(rgb, "TIFF", tiffinfo={0x0112: 6}),
        "lzw.tif": saved(rgba, "TIFF", compression="tiff_lzw"),
        "fractions.tif": saved(picture(mode="L").convert("F").point(lambda x: x / 255), "TIFF"),
        "rgb.jp2": saved(rgb, "JPEG2000"),
        "rgba.avif": saved(rgba, "AVIF", **beside),
    }
    header = struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 1)
    passes = [(1, 1), (1, 1), (2, 1), (2, 1), (1, 3)]  # (columns, rows) of Adam7 that 3 × 3 has
    rows = b"".join(b"\0" + bytes(range(w)) for w, h in passes for _ in range(h))
    text = zlib.compress(b"text " * 50)
    found["passes.png"] = png(
        [
            (b"IHDR", header),
            (b"gAMA", struct.pack(">I", 45455)),
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text),
            (b"zTXt", b"Comment\0\0" + text),
            (b"IDAT", zlib.compress(rows)),
            (b"eXIf", exif.tobytes()),
            (b"IEND", b""),
        ]
    )
    return found


def lengths() -> bytes:
    """A BMP of 8 × 4 pixels in run lengths."""
    runs = b"\x08\x01\0\0" + b"\0\4\1\2\3\4\4\5\0\0" + b"\0\2\1\0\4\6\0\0" + b"\x08\2\0\0\0\1"
    palette = b"".join(bytes([i, 2 * i, 3 * i, 0]) for i in range(16))
    info = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(runs), 0, 0, 16, 0)
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def sized(kind: str, width: int, height: int) -> bytes:
    """A small file of a format that says that it has this many pixels."""
    data = bytearray((CORPUS / "decode" / FIRST[kind]).read_bytes())
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
        at = data.index(b",", 13 + 3 * 16)
        data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "TIFF":
        for tag, side in ((0x0100, width), (0x0101, height)):
            at = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
            data[at : at + 4] = struct.pack("<I", side)
    elif kind == "JPEG2000":
        at = data.index(b"ihdr") + 4
        data[at : at + 8] = struct.pack(">II", height, width)
        at = data.index(b"\xff\x51") + 6  # in the codestream, too
        data[at : at + 8] = struct.pack(">II", width, height)
    elif kind == "AVIF":
        at = data.index(b"ispe") + 8
        while at > 7:
            data[at : at + 8] = struct.pack(">II", width, height)
            at = data.find(b"ispe", at) + 8
    else:
        at = data.index(b"VP8L") + 9
        bits = (width - 1) | (height - 1) << 14
        data[at : at + 4] = struct.pack("<I", bits | data[at + 3] >> 4 << 28)
    return repaired(bytes(data))


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    whole = saved(picture(mode="L"), "JPEG", progressive=True)
    at = whole.rindex(b"\xff\xda")
    scans = whole.count(b"\xff\xda")
    return whole[:-2] + whole[at:-2] * (count - scans) + whole[-2:]


def first_folders() -> dict[str, bytes]:
    """Folders for `build`, by name."""
    two = entry(0, 0, b"a") + entry(0, 0, b"b")
    three = two + entry(0, 1, b"deeper")
    good = entry(5, 1, b"1.png") + entry(13, 2, b"2.jpg")
    jpeg = saved(picture(8, 8, "L"), "JPEG", quality=5)
    return {
        "plain": two + good,
        "nested": three + good + entry(5, 3, b"3.PNG") + entry(5, 3, b"no.txt"),
        "hidden": three + good + entry(5, 3, b"._3.png") + entry(0, 1, b"__MACOSX"),
        "links": two + good + entry(2, 1, b"up.jpg") + entry(3, 2, b"x.gif") + entry(10, 0, b"c"),
        "pipe": two + good + entry(4, 1, b"pipe.webp"),
        "bad": two + good + entry(21, 1, b"no.bmp") + entry(29, 2, b"empty.jpeg"),
        "content": two + good + entry(1, 1, b"own.jpg", jpeg),
        "names": two
        + good
        + b"".join(entry(5, 1, n + b".jpg") for n in (b"\n", b"\xff\xfe", b" ")),
        "one": entry(0, 0, b"a") + entry(5, 1, b"1.png"),
        "none": two + entry(5, 1, b"1.png"),
    }


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The same, changed in a few places: without atheris, and so without knowing what is new."""
    new = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(new) + 1)
        change = rng.randrange(5)
        if change == 0:
            new[at : at + 1] = bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))])
        elif change == 1:
            new[at : at + 4] = struct.pack(">I", rng.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
        elif change == 2:
            del new[at : at + rng.randint(1, 30)]
        elif change == 3:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            new[at:at] = other[start : start + rng.randint(1, 60)]
        else:
            new[at : at + 1] = bytes([(new[at] if at < len(new) else 0) ^ 1 << rng.randrange(8)])
    return repaired(bytes(new)) if rng.random() < 0.8 else bytes(new)


# --- The commands ---


def keep_first() -> None:
    """Write what to begin with into tests/corpus/, beside what was found, and arithmetic.jpg, which
    `jpegtran -arithmetic` made of a picture.
    """
    for target, made in (("decode", first_photos()), ("scan", first_folders())):
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, data in made.items():
            (CORPUS / target / name).write_bytes(data)


def fuzz(target: str, seconds: int) -> None:
    """Does not come back: libFuzzer ends the process, 0 if nothing was found."""

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        new = atheris.Mutate(data, most)
        return repaired(new)[:most] if seed % 4 else new

    own = BUILD / "fuzz" / target
    own.mkdir(parents=True, exist_ok=True)
    options = [
        *("-rss_limit_mb=1024", "-timeout=20", f"-max_total_time={seconds}", "-max_len=20000"),
        *("-print_final_stats=1", f"-artifact_prefix={own.parent}/{target}-"),
    ]
    line = [sys.argv[0], *options, str(own), str(CORPUS / target)]
    more = {"custom_mutator": mutate} if target == "decode" else {}
    atheris.Setup(line, TARGETS[target], **more)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the reading of photos and folders.")
    parser.add_argument("target", nargs="?", choices=TARGETS, help="one alone (default: both)")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--corpus", action="store_true", help="write tests/corpus/ instead")
    options = parser.parse_args()
    if options.corpus:
        keep_first()
        return 0
    if "atheris" not in sys.modules:
        sys.exit("Fuzzing needs atheris, which is made for Linux on x86: pip install atheris.")
    if options.target:
        fuzz(options.target, options.seconds)
    line = [sys.executable, __file__, "--seconds", str(options.seconds)]
    found = [subprocess.run([*line, target], check=False).returncode != 0 for target in TARGETS]
    return int(any(found))


if __name__ == "__main__":
    sys.exit(main())
