"""What is kept in files: found by its content, noticed when it is damaged, and no burden."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet import UserError
from mobilenet.photos import decoding, loading
from mobilenet.system import cache
from mobilenet.system.files import DAMAGE
from tests.helpers.drawn import draw, write


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """An empty folder to keep things in."""
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


def array(count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 2), np.uint8)


def keep(name, values, note=None):
    cache.write([name], (len(values),), ([part] for part in np.array_split(values, 3)), note)


# --- Writing and reading ---


def test_what_is_kept_comes_back(kept):
    keep("a", array(), {"left out": [1, 2]})
    found, note = cache.read("a")
    assert (found == array()).all()
    assert found.dtype == np.uint8
    assert note == {"left out": [1, 2]}
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_several_arrays_of_one_pass(kept):
    halves = np.float16(array()).reshape(2, 3, 5, 2)
    parts = ([v, v.mean(axis=(1, 2), dtype=np.float32)] for view in halves for v in (view,))
    cache.write(["a", "b"], (2, 3), parts)
    a, b = (cache.read(name)[0] for name in "ab")
    assert (a == halves).all()
    assert a.dtype == np.float16
    assert b.shape == (2, 3)
    assert b.dtype == np.float32


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 0.982, 0.99])
def test_a_flipped_bit_is_noticed(kept, where):
    keep("a", array(600), {"3": "it is broken"})
    data = bytearray(cache.path("a").read_bytes())
    data[int(where * len(data))] ^= 1
    cache.path("a").write_bytes(data)
    with pytest.raises(DAMAGE):
        cache.read("a")


@pytest.mark.parametrize("length", [0, 1, 100, 128, 150, -1, -60])
def test_a_short_file_is_noticed(kept, length):
    keep("a", array())
    cache.path("a").write_bytes(cache.path("a").read_bytes()[:length])
    with pytest.raises(DAMAGE):
        cache.read("a")


def test_a_pickle_is_refused(kept):
    kept.mkdir()
    np.save(cache.path("a"), np.array([{}], object), allow_pickle=True)
    with pytest.raises(DAMAGE):
        cache.read("a")


def test_a_folder_that_cannot_be_made(kept):
    kept.parent.joinpath("cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="move the file away"):
        keep("a", array())


# --- Rows ---

keys = st.one_of(
    st.integers(-4, 3),
    st.slices(4),
    st.lists(st.integers(-4, 3), max_size=6).map(lambda some: np.array(some, np.int64)),
    st.lists(st.booleans(), min_size=4, max_size=4).map(np.array),
)


@given(index=st.permutations(range(6)), key=keys)
def test_rows_are_those_of_the_array(index, key):
    index = np.array(index[:4])
    rows = cache.Rows(array(), index, "a")
    whole = array()[index]
    assert (rows[key] == whole[key]).all()
    assert rows[key].shape == whole[key].shape
    assert (np.asarray(rows) == whole).all()
    assert (len(rows), rows.shape, rows.dtype) == (len(whole), whole.shape, whole.dtype)


@given(first=st.permutations(range(4)), second=st.permutations(range(4)))
def test_a_digest_says_which_rows(first, second):
    rows = cache.Rows(array(), np.arange(6), "a")
    one, other = (rows.take(np.array(order)) for order in (first, second))
    assert (cache.digest(one) == cache.digest(other)) == (first == second)
    assert cache.digest(one) != cache.digest(cache.Rows(array(), one.index, "b"))


def test_what_a_caller_does_to_rows_does_not_reach_the_file(kept):
    keep("a", array())
    rows = cache.Rows(cache.read("a")[0], np.arange(6), "a")
    rows[:][0] = 0
    rows[2][:] = 0
    assert (rows[:] == array()).all()


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="counts memory on Linux")
def test_rows_that_were_read_take_no_memory(kept):
    """Read row by row, a file of 64 MB leaves less than 4 MB of it in this process's memory."""

    def mapped():
        lines = Path("/proc/self/smaps").read_text().split(f"{cache.path('a').name}\n")
        return sum(int(part.split("Rss:")[1].split()[0]) for part in lines[1:])

    cache.write(["a"], (64,), ([np.full((1, 1 << 20), i, np.uint8)] for i in range(64)))
    found, _ = cache.read("a")
    assert found.sum(dtype=np.int64) == sum(range(64)) << 20
    assert mapped() > 60_000, "kB"
    rows = cache.Rows(found, np.arange(64), "a")
    assert [row[0] for row in (rows[i] for i in range(64))] == list(range(64))
    assert mapped() < 4_000, "kB"


# --- Photos are decoded once ---


@pytest.fixture
def decoded(kept, monkeypatch):
    """An entry for each file that is decoded."""
    seen, real = [], decoding.read_or_reason

    def counting(file, size):
        seen.append(size)
        return real(file, size)

    monkeypatch.setattr(decoding, "read_or_reason", counting)
    return seen


def test_photos_are_decoded_once(decoded, tmp_path):
    folder = write(tmp_path / "photos", draw(6, size=40))
    (folder / "class a" / "broken.jpg").write_bytes(b"no photo")
    first = loading.load_photos(folder, 40)
    assert len(decoded) == 13
    again = loading.load_photos(folder, 40)
    assert len(decoded) == 13
    assert (again.images[:] == first.images[:]).all()
    assert (
        again.left_out
        == first.left_out
        == (("class a/broken.jpg", "it is no JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000 or AVIF"),)
    )
    assert (again.images[:] == draw(6, size=40).images).all()
    assert cache.digest(again.images) == cache.digest(first.images)


@pytest.mark.parametrize("change", ["other bytes", "one more", "one less", "other size", "mended"])
def test_a_changed_folder_is_noticed(decoded, tmp_path, change):
    folder = write(tmp_path / "photos", draw(6, size=40))
    broken = folder / "class a" / "broken.png"
    broken.write_bytes(b"no photo")
    first, done = loading.load_photos(folder, 40), len(decoded)
    file, other = folder / first.files[0], folder / first.files[1]
    before = file.stat()
    if change == "other bytes":
        file.write_bytes(other.read_bytes())
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # by its content alone
    elif change == "one more":
        (folder / "class b" / "more.png").write_bytes(other.read_bytes())
    elif change == "one less":
        file.unlink()
    elif change == "mended":
        broken.write_bytes(other.read_bytes())
    again = loading.load_photos(folder, 32 if change == "other size" else 40)
    assert len(decoded) > done
    assert cache.digest(again.images) != cache.digest(first.images)
    assert len(again.left_out) == (change != "mended")
    if change == "other bytes":
        assert (again.images[0] == again.images[1]).all()


@pytest.mark.parametrize("which", ["photos", "prints"])
def test_damaged_photos_are_decoded_anew(decoded, tmp_path, which):
    folder = write(tmp_path / "photos", draw(6, size=40))
    loading.load_photos(folder, 40)
    (file,) = cache.FOLDER.glob(f"*-{which}.npy")
    file.write_bytes(file.read_bytes()[:-30])
    assert (loading.load_photos(folder, 40).images[:] == draw(6, size=40).images).all()
    assert len(decoded) == 24


def test_a_reading_error_that_passes_is_not_kept(decoded, tmp_path, monkeypatch):
    folder = write(tmp_path / "photos", draw(6, size=40))
    real, failing = Path.read_bytes, folder / "class a" / "000.png"

    def read_bytes(path):
        if path == failing:
            raise OSError(24, "Too many open files")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        assert loading.load_photos(folder, 40).left_out == (
            ("class a/000.png", "too many open files"),
        )
    assert loading.load_photos(folder, 40).left_out == ()


@pytest.mark.parametrize("changes", [1, 2, 3, 1000])
def test_a_photo_that_changes_while_it_is_read(decoded, tmp_path, monkeypatch, changes):
    """Read again, it is taken as it then is; what never rests is left out, this time."""
    folder = write(tmp_path / "photos", draw(6, size=40))
    real, changing = Path.read_bytes, folder / "class a" / "000.png"
    times = iter([*range(changes), *[changes] * 100])

    def read_bytes(path):
        return real(path) + bytes(next(times) if path == changing else 0)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        loaded = loading.load_photos(folder, 40)
    why = (("class a/000.png", "it changed while it was read"),)
    assert loaded.left_out == (why if changes > 3 else ())
    assert len(loaded) == 12 - len(loaded.left_out)
    again = loading.load_photos(folder, 40)
    assert again.left_out == ()
    kept = [i for i, file in enumerate(again.files) if file in loaded.files]
    assert np.array_equal(loaded.images[:], again.images[:][kept])


# --- What goes when there is too much ---


def test_what_was_just_written_stays_and_so_does_what_others_write(kept, monkeypatch):
    keep("old", array(600))
    unfinished = kept / ".new-of-another.npy"
    unfinished.write_bytes(b"x")
    monkeypatch.setattr(cache, "LIMIT", 1)
    parts = ([view, view.mean(axis=(1, 2), dtype=np.float32)] for view in (array(), array()))
    cache.write(["large", "small"], (12,), parts)
    names = {file.name for file in kept.iterdir()}
    assert names == {"large.npy", "small.npy", unfinished.name}
