"""One photo from its file: upright RGB, cropped, within bounded memory and time; or why not."""

import errno
import os
import re
import struct
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from mobilenet import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
NO_PHOTO = "no photo"  # so begins the reason for a file that nobody means as one
# Of formats that cameras and programs write and that are not read.
UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC is not read: save it as JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF is not read: save it as PNG or JPEG"),
    ".avif": "AVIF is not read: save it as JPEG",
    **dict.fromkeys((".jp2", ".j2k"), "JPEG 2000 is not read: save it as JPEG"),
    **dict.fromkeys((".jfif", ".jpe", ".mpo"), "it is read if its name ends in .jpg"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw"), "raw data: save it as JPEG"),
}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"}

# Megapixels that take less than a gigabyte of memory, by format; up to 256 pixels a side a JPEG is
# decoded at a fraction. No other format is looked for: for one Pillow would start Ghostscript.
LARGEST = {"JPEG": 110, "PNG": 64, "GIF": 64, "BMP": 64, "WEBP": 40}
SIDE = 65_535  # pixels, the most of a JPEG; a line costs memory however short it is
HEAVIEST = 128_000_000  # bytes of a file, which is read whole
RUNS = 4  # megapixels of a BMP in run lengths, which Pillow decodes in Python
SCANS = 100  # of a JPEG: more than programs write, and a small file of more may take hours
NO_MEMORY = "there is not enough memory for it"
MARKER = re.compile(rb"\xff[^\0\1\xff\xd0-\xd8]")  # that are followed by a length, or the end
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
    struct.error,
    Image.DecompressionBombError,
)

# Odd metadata is no reason to bother anyone. Said once: warnings.catch_warnings in the threads
# that read photos would leave the process's filters in disorder.
warnings.filterwarnings("ignore", module=r"PIL\.")


def why_not(name: str) -> str:
    """Nothing if a file of this name is read as a photo, else why not, in a few words; it begins
    with NO_PHOTO if the file is not meant as one.
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES:
        return ""
    if suffix in VIDEOS:
        return f"{NO_PHOTO} but a video"
    return UNREAD.get(suffix, f"{NO_PHOTO} by its name")


def read_photo(path: Path | str | BinaryIO, size: int) -> np.ndarray:
    """A photo as uint8 (size, size, 3) RGB: upright, shorter side scaled to size, centre cropped.

    Transparent parts become white; of an animation the first picture is taken. Raises UserError
    with the reason if the file cannot be read as a photo, or not within a gigabyte of memory.
    """
    try:
        with Image.open(path, formats=tuple(LARGEST)) as image:
            share = _share(image)
            # A JPEG decodes at 1/2, 1/4 or 1/8 where that is still no smaller than needed.
            image.draft(None, (size, size))
            with _one_large if share > 0.25 else nullcontext():
                ImageOps.exif_transpose(image, in_place=True)
                square = ImageOps.fit(_to_rgb(image), (size, size), Image.Resampling.BICUBIC)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as a photo: {reason_of(error)}.") from error
    return np.asarray(square)


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
    if jpeg and _scans(image.fp) > SCANS:
        raise ValueError(f"it has more than {SCANS} scans")
    return share


def _scans(file: BinaryIO) -> int:
    """How many times a JPEG goes over its pixels, counted up to one more than SCANS."""
    file.seek(0)
    content, at, count = file.read(HEAVIEST), 2, 0
    while count <= SCANS and (marker := MARKER.search(content, at)) and marker[0] != b"\xff\xd9":
        count += marker[0] == b"\xff\xda"
        at = marker.end()
        at += int.from_bytes(content[at : at + 2], "big")
    return count


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; convert() would clip at 255
        image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def reason_of(error: BaseException) -> str:
    """Why a photo cannot be read, in a few words and one line."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no JPEG, PNG, WebP, GIF or BMP"
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


def read_content(path: Path) -> bytes:
    """What is in a file. Raises OSError if that cannot be read, or is no photo for its length."""
    if path.stat().st_size > HEAVIEST:
        raise OSError(errno.EFBIG, f"it has more than {HEAVIEST / 1e6:.0f} megabytes")
    return path.read_bytes()
