"""The photos that `mobilenet.bench` measures on, where the usual recipe finds them, too."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageOps

from mobilenet.photos import splits
from mobilenet.system.progress import progress

LINKED = {".jpg", ".jpeg", ".png"}  # what TensorFlow reads, too; others are written as JPEG


def lay_out(photos: Any, source: Path, folder: Path, times: int) -> None:
    """Make folder/PART/CLASS/ for the parts of notebook 4's split: links to the photos, and
    times - 1 changed copies of each, in the same part.

    A copy is the photo shifted by 1, 2, 3 … pixels around its edge, so that nothing takes it for
    another.
    """
    parts = splits.split(photos, seed=0)
    places = []
    for part, index in parts.items():
        for i in index:
            inside = folder / part / photos.class_names[photos.labels[i]]
            inside.mkdir(parents=True, exist_ok=True)
            places.append((source / photos.files[i], inside / f"{i:06}"))

    def put(item: tuple[Path, Path]) -> None:
        photo, there = item
        place(photo, there.with_name(f"{there.name}-0"))
        if times == 1:
            return
        decoded = upright(photo)
        for k in range(1, times):
            copy = there.with_name(f"{there.name}-{k}.jpg")
            ImageChops.offset(decoded, k, 0).save(copy, quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(progress(pool.map(put, places), len(places), "Copies"))


def upright(photo: Path) -> Image.Image:
    """A photo in RGB, turned as its camera says; its colours as TensorFlow takes them, which heeds
    no profile.
    """
    with Image.open(photo) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def place(photo: Path, there: Path) -> None:
    """Have a photo at this path, which gets a suffix, in a format that TensorFlow reads."""
    suffix = photo.suffix.lower()
    if suffix in LINKED:
        link(photo, there.with_name(there.name + suffix))
    else:
        upright(photo).save(there.with_name(f"{there.name}.jpg"), quality=90)


def link(old: Path, new: Path) -> None:
    """A symbolic link, or a copy where there are none."""
    try:
        new.symlink_to(old.resolve())
    except OSError:  # Windows asks for a right that few have
        shutil.copyfile(old, new)
