"""What fuzzing found stays mended: the corpus and thousands of changes to it, without atheris; and
what a photo may cost. `python tests/fuzz.py` looks for more.
"""

import importlib.util
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mobilenet import ROOT, UserError
from mobilenet.photos import decoding, loading
from tests.helpers import fuzz

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # as mobilenet.photos.decoding does
CHANGES = {"decode": 3000, "scan": 100}
LARGE = ("CMYK jpg", "RGBA png", "gif", "RGBA tiff", "RGBA avif")
GIGABYTE = 1024  # MiB, and of the whole process
MEASURE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from mobilenet.photos import decoding
with ThreadPoolExecutor() as pool:
    decoded = list(pool.map(lambda path: decoding.read_or_reason(path, 224), sys.argv[1:]))
print([getattr(one, "shape", one) for one in decoded])
# Not of getrusage, which begins with what the parent has.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) // 1024)
"""


def corpus(target: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((fuzz.CORPUS / target).iterdir())}


# --- What was found, and what is near it ---


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_the_corpus(target):
    for data in corpus(target).values():
        fuzz.TARGETS[target](data)


def test_the_first_photos_are_all_read():
    """Else what is changed in them would find nothing."""
    for name in fuzz.first_photos():
        decoding.read_photo(fuzz.CORPUS / "decode" / name, 32)


def test_the_first_folders_are_loaded(tmp_path):
    for name, data in fuzz.first_folders().items():
        fuzz.build(tmp_path / name, data)
        if name in ("one", "none"):
            with pytest.raises(UserError):
                loading.load_photos(tmp_path / name, 32)
        else:
            assert len(loading.load_photos(tmp_path / name, 32)) >= 2


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in fuzz.CORPUS.rglob("*")) < 200_000


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_changes_to_the_corpus(target):
    rng, known = random.Random(0), list(corpus(target).values())
    for _ in range(CHANGES[target]):
        data = fuzz.mutated(rng.choice(known), known, rng)
        try:
            fuzz.TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"{target} of {data!r}") from error


# --- What a photo may cost ---


@pytest.mark.parametrize("kind", fuzz.FIRST)
def test_what_is_too_large_is_named_before_it_is_decoded(kind):
    most = decoding.LARGEST[kind]
    side = int((most * 1e6) ** 0.5) + 1
    with pytest.raises(UserError, match=f"it has more than {most} megapixels"):
        decoding.read_photo(io.BytesIO(fuzz.sized(kind, side, side)), 32)
    reason = decoding.read_or_reason(io.BytesIO(fuzz.sized(kind, side - 2, 100)), 32)
    assert "megapixels" not in str(reason)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_what_is_too_long_is_named_before_it_is_decoded(kind):
    with pytest.raises(UserError, match=f"a side of it has more than {decoding.SIDE} pixels"):
        decoding.read_photo(io.BytesIO(fuzz.sized(kind, 1, decoding.SIDE + 1)), 32)
    reason = decoding.read_or_reason(io.BytesIO(fuzz.sized(kind, decoding.SIDE, 1)), 32)
    assert "side" not in str(reason)


def test_a_jpeg_of_too_many_scans():
    """20 ms for 150 bytes, if it says that it has 100 megapixels: hours for a photo's file."""
    assert decoding.read_photo(io.BytesIO(fuzz.many_scans(decoding.SCANS)), 32).shape == (32, 32, 3)
    with pytest.raises(UserError, match=f"it has more than {decoding.SCANS} scans"):
        decoding.read_photo(io.BytesIO(fuzz.many_scans(decoding.SCANS + 1)), 32)


def test_scans_are_counted_up_to_the_end_of_the_photo():
    """Behind it a phone may put a film, in its EXIF block a preview."""
    scans = b"\xff\xda\0\2" * 200
    whole = fuzz.saved(fuzz.picture(), "JPEG", exif=b"Exif\0\0" + scans) + scans
    assert decoding.read_photo(io.BytesIO(whole), 32).shape == (32, 32, 3)


@pytest.mark.parametrize("megapixels", [0.0004, 0.01])
def test_large_photos_are_decoded_one_at_a_time(monkeypatch, megapixels):
    """Each on a core of its own, they would take a gigabyte for each core."""
    real, held = decoding._flat, []

    def flat(image):
        held.append(decoding._one_large.locked())
        return real(image)

    monkeypatch.setattr(decoding, "_flat", flat)
    monkeypatch.setitem(decoding.LARGEST, "PNG", megapixels)
    decoding.read_photo(fuzz.CORPUS / "decode" / "rgb.png", 32)  # 384 pixels
    assert held == [megapixels < 0.001]
    assert not decoding._one_large.locked()


def test_no_other_program_is_started(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(UserError, match="it is no JPEG"):
        decoding.read_photo(io.BytesIO(data), 32)
    assert not (tmp_path / "started").exists()


def test_no_memory_left(monkeypatch):
    def none(*_):
        raise MemoryError

    monkeypatch.setattr(decoding, "_flat", none)
    with pytest.raises(UserError, match="there is not enough memory for it"):
        decoding.read_photo(fuzz.CORPUS / "decode" / "rgb.png", 32)


def largest(name: str, path: Path) -> None:
    """Write a photo of as many pixels as its format may have, of the kind that takes most."""
    suffix = name.split()[-1]
    kind = {"jpg": "JPEG", "jp2": "JPEG2000"}.get(suffix, suffix.upper())
    side = int((decoding.LARGEST[kind] * 1e6) ** 0.5)
    modes = {"CMYK": "CMYK", "RGBA": "RGBA", "grey": "I;16", "fractions": "F"}
    image = Image.new(modes.get(name.split()[0], "P" if kind == "GIF" else "RGB"), (side, side))
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "AVIF") else {}
    if kind == "JPEG":
        options["progressive"] = name != "camera's jpg"
    if kind == "WEBP":
        options |= {"lossless": True, "method": 0, "quality": 0}
    if kind == "PNG":
        options["compress_level"] = 1
    if kind == "GIF":
        options["transparency"] = 0
    if kind == "TIFF":
        options |= {"compression": "tiff_lzw", "strip_size": 1 << 30, "tiffinfo": {0x0112: 6}}
    if kind == "AVIF":
        options |= {"speed": 10, "subsampling": "4:4:4"}
    image.save(path, **options)


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory on Linux")
@pytest.mark.parametrize(
    "name",
    [
        *("camera's jpg", "CMYK jpg", "RGBA png", "grey 16 bit png", "gif", "bmp", "RGBA webp"),
        *("RGBA tiff", "fractions tiff", "RGBA jp2", "RGBA avif"),
    ],
)
def test_the_largest_photo_takes_less_than_a_gigabyte(tmp_path, name):
    path = tmp_path / f"photo.{name.split()[-1]}"
    largest(name, path)
    peak = measured([path])
    print(f"{name}: {peak} MiB, {path.stat().st_size} bytes")
    assert peak < (100 if name == "camera's jpg" else GIGABYTE)


def measured(paths: list[Path]) -> int:
    """The peak memory in MiB of a process that decodes these photos, in threads."""
    line = [sys.executable, "-c", MEASURE, *paths]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    said, peak = done.stdout.splitlines()
    assert said == str([(224, 224, 3)] * len(paths))
    return int(peak)


# --- Looking for more ---


@pytest.mark.faults
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_fuzzing_finds_nothing(target):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris, of which there is none for this Python or machine")
    line = [sys.executable, fuzz.__file__, target]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory on Linux")
def test_large_photos_of_every_format_in_every_thread(tmp_path):
    paths = [tmp_path / f"photo.{name.split()[-1]}" for name in LARGE]
    for name, path in zip(LARGE, paths, strict=True):
        largest(name, path)
    peak = measured(paths * 2)
    print(f"all: {peak} MiB")
    assert peak < GIGABYTE
