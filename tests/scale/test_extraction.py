"""Features of any number of photos as parts: their rows, and going on after an interruption."""

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenet import ROOT, UserError, extract
from mobilenet.networks import backbone as backbones
from mobilenet.networks import frozen, mobilenets
from mobilenet.photos import decoding
from mobilenet.photos.folders import list_photos
from mobilenet.photos.loading import load_photos
from mobilenet.scale import chunking, extraction, parts
from mobilenet.system import interpreter
from mobilenet.system.files import alone
from mobilenet.transfer import features
from tests.helpers.drawn import SIZE, draw, one_sentence, write

cluster = pytest.mark.cluster


@pytest.fixture
def backbone(small, monkeypatch):
    """What extract takes for the backbone that there is; chunks are small."""
    monkeypatch.setattr(frozen, "stored", lambda size=None: small)
    monkeypatch.setattr(chunking, "CUT", 4)
    monkeypatch.setattr(chunking, "MOST", 8)
    return small


@pytest.fixture
def folder(tmp_path):
    """40 photos in two class folders."""
    return write(tmp_path / "photos", draw(20))


@pytest.fixture
def computed(monkeypatch):
    """How many photos went through the network since it was cleared last."""
    seen, each = Counter(), interpreter.each

    def counting(one, images):
        seen["photos"] += len(images)
        return each(one, images)

    monkeypatch.setattr(interpreter, "each", counting)
    return seen


def rows(out: Path) -> dict[str, dict]:
    """All rows of features by their path; fails if one is there twice."""
    table = {}
    for batch in parts.batches(out, ["path", "label", "sha256", "features"], 7):
        arrays = parts.array_of(batch)
        assert arrays.dtype == np.float32
        for row, values in zip(batch.to_pylist(), arrays, strict=True):
            assert row["path"] not in table
            table[row["path"]] = row | {"features": values}
    return table


def unreadable(out: Path) -> dict[str, dict]:
    import pyarrow.parquet as pq

    tables = [pq.read_table(out / name) for name in parts.listed(out, "unreadable")]
    return {row["path"]: row for table in tables for row in table.to_pylist()}


def states(out: Path) -> dict[str, int]:
    """The parts and when each was written."""
    return {name: (out / name).stat().st_mtime_ns for name in parts.listed(out)}


def direct(backbone, folder: Path, paths) -> np.ndarray:
    """What the backbone itself makes of photos, neither folded nor rounded."""
    images = np.stack([np.asarray(Image.open(folder / path)) for path in paths])
    return backbone.model(mobilenets.preprocess(images), training=False).numpy().mean((1, 2))


@cluster
class TestRows:
    def test_are_of_the_photos_that_load_photos_reads(self, backbone, folder, tmp_path):
        summary = extraction.extract(folder, tmp_path / "out")
        found, photos = rows(tmp_path / "out"), load_photos(folder, SIZE)
        assert set(found) == set(photos.files)
        assert {path: row["sha256"] for path, row in found.items()} == photos.sums
        labels = [photos.class_names[label] for label in photos.labels]
        assert [found[file]["label"] for file in photos.files] == labels
        assert summary.rows == len(photos)
        assert summary.parts == summary.computed == len(parts.listed(tmp_path / "out"))
        assert summary.parts > 4

    def test_are_the_pooled_output_of_the_backbone(self, folder, tmp_path, monkeypatch):
        # A trained one: in an untrained one rounding grows from block to block.
        bundled = backbones.load(size=SIZE, weights="bundled")
        monkeypatch.setattr(frozen, "stored", lambda size=None: bundled)
        extraction.extract(folder, tmp_path / "out")
        found = rows(tmp_path / "out")
        computed = [row["features"] for row in found.values()]
        np.testing.assert_allclose(computed, direct(bundled, folder, found), rtol=1e-5, atol=1e-5)

    def test_do_not_depend_on_who_computes_a_chunk(self, backbone, folder, tmp_path):
        def by_chunk(backbone, folder, out, chunks, on_gpu):
            for chunk in chunks:
                found, images = parts.read(folder, chunk, backbone.size)
                parts.write(out, chunk, found, features.pooled(backbone, images))
                yield from chunk.paths

        (folder / "broken.jpg").write_bytes(b"no photo")
        extraction.extract(folder, tmp_path / "one")
        extraction.extract(folder, tmp_path / "other", compute=by_chunk)
        names = parts.listed(tmp_path / "one")
        assert names == parts.listed(tmp_path / "other")
        for name in names:
            assert (tmp_path / "one" / name).read_bytes() == (
                tmp_path / "other" / name
            ).read_bytes()

    def test_labels_are_the_first_folder(self, backbone, tmp_path):
        folder = tmp_path / "photos"
        image = Image.new("RGB", (9, 9))
        for path in ("top.png", "cat/a.png", "cat/old/b.png", ".hidden/c.png", "dog/.d.png"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / path)
        (tmp_path / "elsewhere").mkdir()
        image.save(tmp_path / "elsewhere" / "e.png")
        (folder / "linked").symlink_to(tmp_path / "elsewhere")
        extraction.extract(folder, tmp_path / "out")
        labels = {path: row["label"] for path, row in rows(tmp_path / "out").items()}
        assert labels == {
            "top.png": None,
            "cat/a.png": "cat",
            "cat/old/b.png": "cat",
            "linked/e.png": "linked",
        }

    def test_labels_are_the_class_folders_of_a_given_split(self, backbone, tmp_path):
        folder, image = tmp_path / "photos", Image.new("RGB", (9, 9))
        photos = ("train/cat/a.png", "train/dog/b.png", "test/cat/old/c.png")
        for path in ("top.png", *(f"archive/{photo}" for photo in photos)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / path)
        said = extraction.extract(folder, tmp_path / "out").said
        labels = {path: row["label"] for path, row in rows(tmp_path / "out").items()}
        assert labels == {
            "archive/train/cat/a.png": "cat",
            "archive/train/dog/b.png": "dog",
            "archive/test/cat/old/c.png": "cat",
            "top.png": None,
        }
        assert said[0] == "The photos are in archive/, the only folder with photos."
        assert said[1].startswith("The split is the one given: train/ and test/; ")

    def test_what_is_not_read_by_its_name_is_counted(self, backbone, folder, tmp_path, monkeypatch):
        (folder / "phone.heic").touch()
        (folder / "notes.txt").touch()
        (folder / ".DS_Store").touch()
        for computed in (True, False):
            summary = extraction.extract(folder, tmp_path / "out")
            assert (summary.rows, summary.unreadable) == (40, 1)
            assert bool(summary.computed) == computed
        assert summary.said == (
            "Passed over: 1 file that is no photo (notes.txt) and 1 hidden file.",
        )
        (row,) = unreadable(tmp_path / "out").values()
        assert (row["path"], row["sha256"]) == ("phone.heic", None)
        assert row["reason"] == decoding.why_not("phone.heic")
        monkeypatch.setattr(parts, "why_not", lambda name: "")  # as if a reader were installed
        assert extraction.extract(folder, tmp_path / "out").computed == 1

    def test_a_name_that_is_no_utf_8_comes_back(self, backbone, tmp_path):
        folder = tmp_path / "photos"
        name = os.fsdecode(b"caf\xe9")
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / name / "a.png")
        (folder / name / "b.png").write_bytes(b"no photo")
        extraction.extract(folder, tmp_path / "out")
        [[path, row]] = rows(tmp_path / "out").items()
        assert parts.to_path(path) == f"{name}/a.png"
        assert parts.to_path(row["label"]) == name
        assert [parts.to_path(path) for path in unreadable(tmp_path / "out")] == [f"{name}/b.png"]
        assert extraction.extract(folder, tmp_path / "out").computed == 0


@cluster
class TestUnreadable:
    def test_come_out_with_the_reason(self, backbone, folder, tmp_path, capsys):
        (folder / "class a" / "zero.jpg").write_bytes(b"")
        (folder / "class a" / "nowhere.jpg").symlink_to(tmp_path / "nothing")
        (folder / "zz.png").write_bytes(b"text")
        assert extract.main([str(folder), "--out", str(tmp_path / "out")]) == 1
        said = capsys.readouterr().out
        assert said.startswith("Rows: 40, in ")
        assert "cannot be read: 3, with the reason in unreadable-*.parquet." in said
        found = unreadable(tmp_path / "out")
        none = "it is no JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000 or AVIF"
        assert {path: (row["label"], row["reason"]) for path, row in found.items()} == {
            "class a/zero.jpg": ("class a", none),
            "class a/nowhere.jpg": ("class a", "it is not there"),
            "zz.png": (None, none),
        }
        assert found["zz.png"]["sha256"] == hashlib.sha256(b"text").hexdigest()
        assert found["class a/nowhere.jpg"]["sha256"] is None
        assert extract.main([str(folder), "--out", str(tmp_path / "out")]) == 1
        assert "(0 computed now" in capsys.readouterr().out

    def test_all_of_them_are_no_rows(self, backbone, tmp_path):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.jpg").write_bytes(b"text")
        summary = extraction.extract(tmp_path / "photos", tmp_path / "out")
        assert (summary.rows, summary.unreadable, summary.parts) == (0, 1, 1)
        assert rows(tmp_path / "out") == {}

    def test_of_a_chunk_that_was_computed_twice_at_once_are_none(self, backbone, folder, tmp_path):
        extraction.extract(folder, tmp_path / "out")
        name = parts.listed(tmp_path / "out")[2].replace("features", "unreadable")
        (tmp_path / "out" / name).write_bytes(b"of one who could not read a photo")
        summary = extraction.extract(folder, tmp_path / "out")
        assert (summary.rows, summary.unreadable, summary.computed) == (40, 0, 1)

    def test_for_want_of_memory_are_tried_again(self, backbone, folder, tmp_path, monkeypatch):
        read = decoding.read_or_reason
        with monkeypatch.context() as patch:
            calls = iter(range(1000))
            patch.setattr(
                decoding,
                "read_or_reason",
                lambda file, size: parts.NO_MEMORY if next(calls) == 9 else read(file, size),
            )
            assert extraction.extract(folder, tmp_path / "out").unreadable == 1
        summary = extraction.extract(folder, tmp_path / "out")
        assert (summary.rows, summary.unreadable, summary.computed) == (40, 0, 1)
        assert unreadable(tmp_path / "out") == {}

    def test_that_may_be_read_now_are_tried_again(self, backbone, folder, tmp_path, monkeypatch):
        read, closed = decoding.read_content, folder / "class b" / "023.png"

        def refuse(path):
            if path == closed:
                raise PermissionError(13, "Permission denied")
            return read(path)

        with monkeypatch.context() as patch:
            for module in (chunking, parts):
                patch.setattr(module, "read_content", refuse)
            extraction.extract(folder, tmp_path / "out")
            assert unreadable(tmp_path / "out")["class b/023.png"]["reason"] == "permission denied"
            assert extraction.extract(folder, tmp_path / "out").computed == 0
        summary = extraction.extract(folder, tmp_path / "out")
        assert (summary.rows, summary.unreadable, summary.computed) == (40, 0, 1)


@cluster
class TestGoingOn:
    def test_nothing_is_computed_twice(self, backbone, folder, tmp_path, computed):
        extraction.extract(folder, tmp_path / "out")
        assert computed["photos"] == 40
        before = states(tmp_path / "out")
        computed.clear()
        summary = extraction.extract(folder, tmp_path / "out")
        assert computed["photos"] == summary.computed == 0
        assert summary.rows == 40
        assert states(tmp_path / "out") == before

    def test_a_part_that_lacks_or_is_cut_short_is_made_anew(
        self, backbone, folder, tmp_path, computed
    ):
        extraction.extract(folder, tmp_path / "out")
        expected = rows(tmp_path / "out")
        first, second, *_ = parts.listed(tmp_path / "out")
        (tmp_path / "out" / first).unlink()
        os.truncate(tmp_path / "out" / second, 100)
        computed.clear()
        assert extraction.extract(folder, tmp_path / "out").computed == 2
        assert computed["photos"] == parts.photos_in(first) + parts.photos_in(second)
        assert str(rows(tmp_path / "out")) == str(expected)

    def test_what_could_not_be_read_is_found_again(self, backbone, folder, tmp_path):
        (folder / "zz.png").write_bytes(b"text")
        extraction.extract(folder, tmp_path / "out")
        [bad] = parts.listed(tmp_path / "out", "unreadable")
        (tmp_path / "out" / bad).unlink()
        summary = extraction.extract(folder, tmp_path / "out")
        assert (summary.computed, summary.unreadable) == (1, 1)

    def test_after_ctrl_c_what_is_done_is_kept(
        self, backbone, folder, tmp_path, computed, monkeypatch, capfd
    ):
        write_part, written = parts.write, []

        def interrupted(*arguments):
            if len(written) == 2:
                raise KeyboardInterrupt
            write_part(*arguments)
            written.append(arguments[1])

        command = [str(folder), "--out", str(tmp_path / "out")]
        with monkeypatch.context() as patch:
            patch.setattr(parts, "write", interrupted)
            patch.setattr("mobilenet.system.command._drop_output", lambda: None)
            assert extract.main(command) == 130
        assert not parts.read_about(tmp_path / "out")["complete"]
        computed.clear()
        assert extract.main(command) == 0
        assert computed["photos"] == 40 - sum(len(chunk.paths) for chunk in written)
        assert len(rows(tmp_path / "out")) == 40
        assert parts.read_about(tmp_path / "out")["complete"]
        assert "Traceback" not in capfd.readouterr().err

    @pytest.mark.parametrize("change", ["added", "changed", "removed"])
    def test_a_photo_that_is(self, change, backbone, folder, tmp_path, computed):
        extraction.extract(folder, tmp_path / "out")
        before, one = states(tmp_path / "out"), folder / "class a" / "010.png"
        if change == "removed":
            one.unlink()
        else:
            image = Image.new("RGB", (SIZE, SIZE), "green")
            image.save(one if change == "changed" else one.with_name("010a.png"))
        (tmp_path / "out" / "mine.txt").write_text("keep")
        computed.clear()
        summary = extraction.extract(folder, tmp_path / "out")
        assert 0 < summary.computed <= 2
        assert 0 < summary.removed <= 2
        after = states(tmp_path / "out")
        assert len(before.items() & after.items()) == len(before) - summary.removed
        files = [path.relative_to(folder).as_posix() for path in list_photos(folder)]
        assert sorted(rows(tmp_path / "out")) == sorted(files)
        assert (tmp_path / "out" / "mine.txt").exists()

    def test_nothing_passes_for_removed_because_a_folder_cannot_be_read(
        self, backbone, folder, tmp_path, monkeypatch
    ):
        extraction.extract(folder, tmp_path / "out")
        before, scan = states(tmp_path / "out"), os.scandir

        def refuse(path):
            if Path(path).name == "class b":
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(UserError, match="class b' cannot be read") as error:
            extraction.extract(folder, tmp_path / "out")
        assert one_sentence(error.value)
        assert states(tmp_path / "out") == before

    def test_after_a_kill_no_row_is_lost_or_doubled(self, tmp_path):
        folder, out = write(tmp_path / "photos", draw(60, size=40)), tmp_path / "out"
        # Chunks as small as in the other tests, and a writer that never gets to the end.
        program = (
            "import sys\n"
            "from mobilenet import extract\n"
            "from mobilenet.scale import chunking, parts\n"
            "chunking.CUT, chunking.MOST, write, count = 4, 8, parts.write, [0]\n"
            "def slowly(*arguments):\n"
            "    count[0] += 1\n"
            "    if count[0] == 4 and sys.argv[3] == 'stop':\n"
            "        with parts.replacing(arguments[0] / arguments[1].part()) as new:\n"
            "            new.write_bytes(b'half')\n"
            "            print('half', flush=True)\n"
            "            sys.stdin.read()\n"
            "    write(*arguments)\n"
            "parts.write = slowly\n"
            "sys.exit(extract.main([sys.argv[1], '--out', sys.argv[2], '--size', '32']))\n"
        )
        command = [sys.executable, "-c", program, str(folder), str(out)]
        environment = os.environ | {"WEIGHTS": "bundled"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([*command, "stop"], cwd=ROOT, env=environment, **pipes) as process:
            assert process.stdout.readline() == "half\n"
            process.send_signal(signal.SIGKILL)
        assert any(path.name.startswith(".new-") for path in out.iterdir())
        kept = states(out)
        assert len(kept) == 3
        done = subprocess.run(
            [*command, "go on"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert ", 3 there already, 0 removed" in done.stdout
        assert kept.items() <= states(out).items()
        assert len(rows(out)) == 120
        assert not any(path.name.startswith(".new-") for path in out.iterdir())


@cluster
class TestRefused:
    def run(self, *arguments) -> str:
        with pytest.raises(UserError) as error:
            extraction.extract(*arguments)
        assert one_sentence(error.value)
        return str(error.value)

    def test_no_photos(self, backbone, tmp_path):
        (tmp_path / "empty").mkdir()
        assert "no photos below" in self.run(tmp_path / "empty", tmp_path / "out")
        assert "is no folder" in self.run(tmp_path / "none", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_other_photos_backbone_or_versions(self, backbone, folder, tmp_path, monkeypatch):
        out = tmp_path / "out"
        extraction.extract(folder, out)
        before = states(out)
        other = write(tmp_path / "others", draw(2))
        assert "name another folder with --out." in self.run(other, out)
        with monkeypatch.context() as patch:
            bundled = backbones.Backbone("mobilenet_v2", 0.35, "random", 64, backbone.model)
            patch.setattr(frozen, "stored", lambda size=None: bundled)
            assert "(size 96, not 64)" in self.run(folder, out)
        with monkeypatch.context() as patch:
            patch.setattr(parts, "DECODINGS", 99)
            assert "(decoding" in self.run(folder, out)
        assert states(out) == before
        assert extraction.extract(folder, out).computed == 0

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"photos": 1}', "\udcff"])
    def test_a_damaged_about(self, text, backbone, folder, tmp_path):
        out = tmp_path / "out"
        extraction.extract(folder, out)
        (out / parts.ABOUT).write_bytes(text.encode(errors="surrogateescape"))
        assert "about.json cannot be read" in self.run(folder, out)
        (out / parts.ABOUT).unlink()
        assert "no about.json" in self.run(folder, out)
        with pytest.raises(UserError, match="holds no features"):
            parts.read_about(out)

    def test_two_runs_at_once(self, backbone, folder, tmp_path):
        with alone(tmp_path / "out"):
            assert "Another run" in self.run(folder, tmp_path / "out")

    def test_a_file_for_a_folder(self, backbone, folder, tmp_path):
        (tmp_path / "out").write_text("")
        assert "is no folder" in self.run(folder, tmp_path / "out")

    @pytest.mark.parametrize("damage", ["flipped", "cut short", "other columns"])
    def test_a_damaged_part_is_named_when_it_is_read(self, damage, backbone, folder, tmp_path):
        import pyarrow as pa

        out = tmp_path / "out"
        extraction.extract(folder, out)
        part = out / parts.listed(out)[-1]
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        if damage == "flipped":
            part.write_bytes(content)
        elif damage == "cut short":
            part.write_bytes(content[:99])
        else:
            pa.parquet.write_table(pa.table({"path": ["a"]}), part)
        with pytest.raises(UserError, match=part.name) as error:
            rows(out)
        assert one_sentence(error.value)


PEAK = """
import resource, sys
from mobilenet import extract
extract.main([sys.argv[1], '--out', sys.argv[2], '--size', '32'])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@cluster
@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    peaks = []
    for count in (1000, 5000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            Image.new("RGB", (40, 40), (i % 256, 0, 0)).save(folder / f"{i}.png")
        command = [sys.executable, "-c", PEAK, str(folder), str(tmp_path / f"out {count}")]
        environment = os.environ | {"WEIGHTS": "bundled"}
        said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        peaks.append(int(said.stdout.split()[-1]))
    # Of the 4,000 more, all features are 20 MB, the pixels 12 MB.
    assert peaks[1] - peaks[0] < 25, peaks
