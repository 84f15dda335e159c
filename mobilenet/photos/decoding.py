"""One photo from its file: upright RGB, cropped, within bounded memory and time; or why not."""

import errno
import hashlib
import io
import os
import re
import struct
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, features
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TILELENGTH, TILEWIDTH

from mobilenet import UserError

try:
    import pillow_heif
except ImportError:
    pillow_heif = None
else:
    pillow_heif.register_heif_opener(thumbnails=False)

# By Pillow's name of a format the suffixes, and the megapixels that take less than a gigabyte of
# memory; up to 256 pixels a side a JPEG is decoded at a fraction. No other format is looked for:
# for one Pillow would start Ghostscript.
FORMATS = {
    "JPEG": (".jpg .jpeg .jpe .jfif .mpo", 110),
    "PNG": (".png", 64),
    "GIF": (".gif", 64),
    "BMP": (".bmp", 64),
    "WEBP": (".webp", 40),
    "TIFF": (".tif .tiff", 64),
    "JPEG2000": (".jp2 .j2k .jpx .jpf", 36),
    "AVIF": (".avif", 52),
    "HEIF": (".heic .heif .hif", 52),
}
# AVIF is in Pillow since 11.3; who builds Pillow may leave out some.
for _format, _feature in {"AVIF": "avif", "JPEG2000": "jpg_2000"}.items():
    if _feature not in features.modules | features.codecs or not features.check(_feature):
        del FORMATS[_format]
if pillow_heif is None:
    del FORMATS["HEIF"]
LARGEST = {kind: most for kind, (_, most) in FORMATS.items()}
SUFFIXES = {suffix for known, _ in FORMATS.values() for suffix in known.split()}
NO_PHOTO = "no photo"  # so begins the reason for a file that nobody means as one
# What is known and not read, and what helps.
HEIC_NEEDS = "HEIC is read if pillow-heif is installed: `.venv/bin/pip install pillow-heif`"
RAW = """.3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf
.pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"""
VIDEO = ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv"
NOT_READ = {
    ".heic .heif .hif": HEIC_NEEDS,
    ".avif": "AVIF is read by Pillow 11.3 or newer: `.venv/bin/pip install --upgrade pillow`",
    ".jp2 .j2k .jpx .jpf": "JPEG 2000 is not read by this Pillow: save it as JPEG",
    ".jxl": "JPEG XL is not read: save it as JPEG",
    RAW: "a RAW photo: export it as JPEG",
    VIDEO: f"{NO_PHOTO} but a video",
    ".ai .eps .pdf .ps .psd .svg .xcf": f"{NO_PHOTO} but a drawing or document",
    ".dds .exr .hdr .icns .ico .pbm .pcx .pgm .pnm .ppm .tga": "a picture of a kind that is not "
    "read: save it as PNG",
    ".7z .bz2 .gz .rar .tar .tgz .xz .zip": f"{NO_PHOTO} but an archive",
}
REASONS = {suffix: reason for known, reason in NOT_READ.items() for suffix in known.split()}

SIDE = 65_535  # pixels, the most of a JPEG; a line costs memory however short it is
HEAVIEST = 128_000_000  # bytes of a file, which is read whole
RUNS = 4  # megapixels of a BMP in run lengths, which Pillow decodes in Python
PLAIN = {"raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate"}  # TIFF, compressed
BYTES, NUMBERS = (1, 2, 6, 7), 300_000  # of a TIFF's tags: kinds of bytes, and the most of others
ODD_TIFF = (b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")  # which Pillow reads, too
SCANS = 100  # of a JPEG: more than programs write, and a small file of more may take hours
PROFILE = 4_000_000  # bytes of a colour profile: more than any printer's
NO_MEMORY = "there is not enough memory for it"
MARKER = re.compile(rb"\xff[^\0\1\xff\xd0-\xd8]")  # that are followed by a length, or the end
# Colours and greys by which a profile is known to be sRGB, to so many of 255: the sRGB of one
# program differs by one from that of another.
GREYS = np.arange(256, dtype=np.uint8)[None]
COLOURS = np.stack(np.meshgrid(*[GREYS[0, ::15]] * 3), -1).reshape(1, -1, 3)
SAME = 2
_one_large = threading.Lock()  # photos of a quarter of that or more are decoded one at a time

Image.core.set_block_size(1 << 26)  # else glibc keeps in each thread what a large photo took

# What Pillow raises on damaged files; DecompressionBombError is a file of over 179 megapixels.
UNREADABLE = (
    OSError,
    MemoryError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,  # of libavif
    struct.error,
    Image.DecompressionBombError,
)

# Odd metadata is no reason to bother anyone. Said once: warnings.catch_warnings in the threads
# that read photos would leave the process's filters in disorder.
warnings.filterwarnings("ignore", module=r"PIL\.")


def why_not(name: str) -> str:
    """Why a file of this name is not read as a photo, in a few words; "" if it is. It begins with
    NO_PHOTO if the file is not meant as one.
    """
    suffix = os.path.splitext(name)[1].lower()
    return "" if suffix in SUFFIXES else REASONS.get(suffix, f"{NO_PHOTO} by its name")


def read_photo(path: Path | str | BinaryIO, size: int) -> np.ndarray:
    """A photo as uint8 (size, size, 3) sRGB: upright, shorter side scaled to size, centre cropped.

    Transparent parts become white; of several pictures the first is taken; the colours of another
    profile are converted to sRGB. Raises UserError with the reason if the file cannot be read as a
    photo, or not within a gigabyte of memory.
    """
    try:
        with _opened(path) as image:
            share = _share(image)
            # A JPEG decodes at 1/2, 1/4 or 1/8 where that is still no smaller than needed.
            image.draft(None, (size, size))
            with _one_large if share > 0.25 else nullcontext():
                ImageOps.exif_transpose(image, in_place=True)
                whole, transform = _coloured(_flat(image), image.info.get("icc_profile"))
                square = ImageOps.fit(whole, (size, size), Image.Resampling.BICUBIC)
            if transform:  # the few pixels that are left
                square = transform.apply(square)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a photo: {reason_of(error)}.") from error
    return np.asarray(square)


def _opened(path: Path | str | BinaryIO) -> Image.Image:
    with nullcontext(path) if hasattr(path, "read") else open(path, "rb") as file:
        start = file.read(64)
        if start[:4] in (b"II*\0", b"MM\0*"):
            _check_tags(file, "<" if start[:1] == b"I" else ">")
        elif start[:4] in ODD_TIFF:
            raise ValueError("it is a TIFF of more than 4 GB or of an odd kind: save it as PNG")
        heic = start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1") and b"avif" not in start
        if heic and pillow_heif is None:
            raise ValueError(HEIC_NEEDS)  # whatever it is called
        file.seek(0)
    return Image.open(path, formats=tuple(LARGEST))


def _check_tags(file: BinaryIO, order: str) -> None:
    """ValueError if the tags of a TIFF hold more than those of photos: Pillow would read them on
    opening it, and make numbers of them one by one.
    """
    file.seek(4)
    waiting, numbers, size = [file.read(4)], 0, 0
    for _ in range(4):  # its own, and those of EXIF that it points to
        if not waiting or len(waiting[-1]) < 4:
            return
        file.seek(struct.unpack(f"{order}I", waiting.pop())[0])
        many = int.from_bytes(file.read(2), "little" if order == "<" else "big")
        entries = file.read(12 * many)
        whole = entries[: len(entries) // 12 * 12]
        for tag, kind, count, value in struct.iter_unpack(f"{order}HHI4s", whole):
            size += count * (1 if kind in BYTES else 8)
            numbers += 0 if kind in BYTES else count
            if tag in (34665, 34853, 40965):
                waiting.append(value)
        if numbers > NUMBERS or size > HEAVIEST / 2:
            raise ValueError("its tags hold more than those of a photo")


def _share(image: Image.Image) -> float:
    """How much an opened photo has of the megapixels that it may have; ValueError if too much."""
    jpeg = isinstance(image, JpegImageFile)
    runs = image.tile and image.tile[0][0] == "bmp_rle"
    most = RUNS if runs else LARGEST["JPEG" if jpeg else image.format]
    share = image.width * image.height / (most * 1e6)
    if share > 1:
        raise ValueError(f"it has more than {most} megapixels")
    if max(image.size) > SIDE:
        raise ValueError(f"a side of it has more than {SIDE} pixels")
    if image.format == "TIFF":
        _check_tiff(image, most)
    if jpeg and _scans(image.fp) > SCANS:
        raise ValueError(f"it has more than {SCANS} scans")
    return share


def _check_tiff(image: Image.Image, most: int) -> None:
    """ValueError if a TIFF is not plainly compressed, or a tile of it is larger than a photo."""
    if image.info.get("compression") not in PLAIN:
        raise ValueError("it is a TIFF of a compression that is not read: save it as PNG")
    if image.tag_v2.get(TILEWIDTH, 0) * image.tag_v2.get(TILELENGTH, 0) > most * 1e6:
        raise ValueError(f"a tile of it has more than {most} megapixels")


def _scans(file: BinaryIO) -> int:
    """How many times a JPEG goes over its pixels, counted up to one more than SCANS."""
    file.seek(0)
    content, at, count = file.read(HEAVIEST), 2, 0
    while count <= SCANS and (marker := MARKER.search(content, at)) and marker[0] != b"\xff\xd9":
        count += marker[0] == b"\xff\xda"
        at = marker.end()
        at += int.from_bytes(content[at : at + 2], "big")
    return count


def _flat(image: Image.Image) -> Image.Image:
    """A photo in 8 bits and without transparency: of mode L, RGB or CMYK."""
    if image.mode[0] in "IF":
        return _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey photo of 16 or 32 bits, 0 to 65,535, or of fractions, 0 to 1, which `convert` would
    clip at 255. ValueError if its numbers are others.
    """
    values = np.asarray(image)
    most = 1 if image.mode == "F" else 65_535
    if not (values.min() >= 0 and values.max() <= most):
        raise ValueError(f"its pixels are not from 0 to {most:,}: save it with 8 or 16 bits")
    grey = (values * np.float32(255) if most == 1 else values // 257).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC_INTERPRETATION) == 0:
        grey = 255 - grey  # 0 is white, which Pillow 13 heeds in 8 bits alone
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _coloured(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, ImageCms.ImageCmsTransform | None]:
    """A photo in RGB and None, or in its own colours and what converts them to sRGB."""
    if profile and len(profile) <= PROFILE:
        for mode in dict.fromkeys((image.mode, "RGB" if image.mode == "L" else image.mode)):
            if transform := _to_srgb(profile, mode):
                return image if image.mode == mode else image.convert(mode), transform
    return image if image.mode == "RGB" else image.convert("RGB"), None


@lru_cache(8)  # one camera writes the same into all of its photos
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What converts colours of a profile to sRGB; None where nothing is to do: it is sRGB, whatever
    its name, it is damaged, or it is for photos of another mode.
    """
    with suppress(OSError, ValueError, ImageCms.PyCMSError):
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() == {"L": "GRAY"}.get(mode, mode):
            transform = ImageCms.ImageCmsTransform(
                own,
                ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
                mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                # Without its cache, threads may share it.
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
            )
            colours = Image.fromarray(COLOURS) if mode == "RGB" else Image.fromarray(GREYS)
            if mode == "CMYK":
                return transform
            there = np.asarray(colours.convert("RGB"), int)
            if abs(np.asarray(transform.apply(colours)) - there).max() > SAME:
                return transform
    return None


def reason_of(error: BaseException) -> str:
    """Why a photo cannot be read, in a few words and one line."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000 or AVIF"
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    if isinstance(error, IsADirectoryError):
        return "it is a folder without photos"
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def read_or_reason(path: Path | str | BinaryIO, size: int) -> np.ndarray | str:
    """What read_photo reads, or the reason why it cannot."""
    try:
        return read_photo(path, size)
    except UserError as error:
        return reason_of(error.__cause__)


def hash_and_read(content: Callable[[], bytes], size: int) -> tuple[str, np.ndarray | str]:
    """The sha256 of a file in hexadecimal, and what read_or_reason says: of the same bytes, which
    `content` reads once. "" and the reason, if it raises OSError or MemoryError.
    """
    try:
        whole = content()
        return hashlib.sha256(whole).hexdigest(), read_or_reason(io.BytesIO(whole), size)
    except (OSError, MemoryError) as error:
        return "", reason_of(error)


def read_content(path: Path) -> bytes:
    """What is in a file. Raises OSError if that cannot be read, or is no photo for its length."""
    if path.stat().st_size > HEAVIEST:
        raise OSError(errno.EFBIG, f"it has more than {HEAVIEST / 1e6:.0f} megabytes")
    return path.read_bytes()
