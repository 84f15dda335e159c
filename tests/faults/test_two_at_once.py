"""Two at once, a disk that is full, a folder that may only be read: nothing lost, one sentence."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import nbformat
import numpy as np
import pytest

import utils
from mobilenet import ROOT, UserError
from mobilenet.inference import classifier
from mobilenet.photos import corrections, loading
from mobilenet.scratch import trainer
from mobilenet.scratch.learning import RECIPE
from mobilenet.scratch.plan import Plan
from mobilenet.system import cache
from mobilenet.transfer import runs
from mobilenet.transfer.metrics import History, Result
from tests.helpers.bad_server import Place, serving
from tests.helpers.drawn import LOW, SHORT_END, draw, one_sentence, write

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs users and limits of POSIX")
HISTORY = History([0.5, 0.25], [0.8, 0.9], [0.4, 0.3], [0.8, 0.9], best=1)
PLAN = Plan("mobilenetv1", 0.25, 32, 4, "data", 0, ("a", "b"), ("1", "2", "3"))
ROW = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "seconds"), 0.5)

# --- A full disk ---


@contextmanager
def small_disk(folder: Path):
    """A disk of 16 MB, mounted on the folder, and full within the block."""
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def mount(*arguments: str) -> bool:
    """Whether this user may, and did."""
    there = shutil.which("mount")
    return bool(there) and not subprocess.run([there, *arguments], capture_output=True).returncode


@contextmanager
def full_disk(folder: Path):
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out, pytest.raises(OSError, match="No space left"):
        while True:
            out.write(bytes(1 << 20))
    yield
    filler.unlink()


@contextmanager
def full_quota(folder: Path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # bytes a file may have
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def remember(seed: int = 0):
    about = {"photos": {"count": 327}, "backbone": {"alpha": 1.0}}
    knobs = {"SEED": seed}
    return runs.remember(
        "04", knobs, **about, result=Result(60, 65), loss=0.1, seconds=3.0, history=HISTORY
    )


class Writers:
    """Everything that is written, a method each; again, the same file is written anew."""

    def __init__(self, folder: Path, network, small):
        self.folder, self.network, self.small = folder, network, small
        self.times = 0

    def kept(self):
        cache.write(["a"], (4,), [[np.zeros((4, 9, 9), np.uint8)]])

    def run(self):
        remember()

    def classifier(self):
        classifier.save(self.folder / "model.keras", self.network, ("dark", "light"))

    def checkpoint(self):
        trainer.save(self.folder / "checkpoint.npz", PLAN, RECIPE, [], [], [np.zeros(99)])

    def history(self):
        trainer.write_history(self.folder, [{"epoch": 1, **ROW}, {"epoch": 2, **ROW}])

    def decision(self):
        loaded = loading.load_photos(self.photos(), 8)
        self.times += 1
        corrections.decide(loaded, {loaded.files[0]: (None, "class b")[self.times % 2]})

    def scoreboard(self):
        utils.publish("frozen", Result(3, 4), 1.5, draw(3, size=8), self.small)

    def photos(self):
        folder = self.folder.parent / "photos"
        return folder if folder.exists() else write(folder, draw(6, size=8))


@pytest.fixture(scope="module")
def network(light_classifier):
    return classifier.load(light_classifier)[0]


WAYS = [name for name in vars(Writers) if name[0] != "_" and name != "photos"]


@POSIX
@pytest.mark.parametrize("full", [full_disk, full_quota])
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk(way, full, tmp_path, monkeypatch, network, small):
    """One sentence that names the file, the old file as it was, and nothing else left."""
    disk = tmp_path / "disk"
    with small_disk(disk) if full is full_disk else nullcontext(disk.mkdir()):
        if way != "decision":  # its photos are decoded once, elsewhere
            monkeypatch.setattr(cache, "FOLDER", disk)
        monkeypatch.setattr(runs, "FOLDER", disk)
        monkeypatch.setattr(corrections, "FILE", disk / "corrections.csv")
        monkeypatch.setattr(utils, "BOARD", disk)
        write_it = getattr(Writers(disk, network, small), way)
        write_it()
        before = {file: file.read_bytes() for file in disk.iterdir()}
        assert before
        with full(disk), pytest.raises(UserError, match="free some space") as raised:
            write_it()
        assert one_sentence(raised.value)
        assert any(str(file) in str(raised.value) for file in before)
        assert {file: file.read_bytes() for file in disk.iterdir()} == before
        write_it()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written():
    """Also where it is small enough to wait in a buffer until the end."""
    for line in ("print('short')", "print('long' * 100_000)"):
        script = "import sys; from mobilenet.system.command import run\n"
        script += f"sys.exit(run(lambda: {line} or 0))"
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", script],
                cwd=ROOT,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        said = "error: No space left on device: free some space.\n"
        assert (done.returncode, done.stderr) == (1, said)


# --- A folder that may only be read, or is another user's ---


@pytest.fixture(scope="module")
def read_only(tmp_path_factory):
    """A copy of the project, of which nothing may be written, and a home that is no better."""
    copy = tmp_path_factory.mktemp("read_only")
    shutil.copytree(
        ROOT / "mobilenet", copy / "mobilenet", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("dataset", "notebooks", "home"):
        (copy / name).mkdir()
    for name in ("utils.py", "dataset/fetch.py", "dataset/photos.csv", "notebooks/run.py"):
        shutil.copy(ROOT / name, copy / name)
    write(copy / "dataset" / "rendered", draw(6, size=16))
    cell = (
        "import sys; sys.path.insert(0, '..')\n"
        "import utils\n"
        "utils.load_photos(utils.find_folder()[0], 16)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, copy / "notebooks" / "01_only.ipynb")
    folders = [copy, *(path for path in copy.rglob("*") if path.is_dir())]
    mounted = False
    if os.name == "posix" and os.geteuid() == 0:  # who may write into any folder, but on no disk
        mounted = mount("--bind", str(copy), str(copy))
        if not mounted or not mount("-o", "remount,ro,bind", str(copy)):
            pytest.skip("needs the right to mount a disk")
    for folder in [] if mounted else folders:
        folder.chmod(0o555)
    yield copy
    if mounted:
        subprocess.run(["umount", str(copy)], check=True)
    for folder in folders:
        folder.chmod(0o755)


def as_reader(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in the project, with its home there, too."""
    names = ("PHOTOS", "MPLCONFIGDIR", "IPYTHONDIR", "XDG_CACHE_HOME")
    env = {key: value for key, value in os.environ.items() if key not in names}
    env |= {"HOME": str(project / "home"), "KERAS_HOME": "", "WEIGHTS": "bundled"}
    line = [sys.executable, *arguments]
    return subprocess.run(line, cwd=project, env=env, capture_output=True, text=True)


def one_error(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert one_sentence(errors[0])
    return errors[0]


def test_training_in_a_folder_that_may_only_be_read(read_only):
    data = str(read_only / "dataset" / "rendered")
    done = as_reader(read_only, "-m", "mobilenet.train", "--model", "head", "--data", data)
    assert done.stderr.count("\n") == 1
    assert "build/runs" in (said := one_error(done))
    assert "make the folder writable" in said


def test_predicting_in_a_folder_that_may_only_be_read(read_only, light_classifier):
    """It writes nothing, and so it works."""
    photo = next((read_only / "dataset" / "rendered").rglob("*.png"))
    line = ("-m", "mobilenet.predict", "--model", str(light_classifier), str(photo))
    done = as_reader(read_only, *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert "P(light)" in done.stdout


def test_fetching_into_a_folder_that_may_only_be_read(read_only, tmp_path):
    with serving() as server:
        place = Place(server, tmp_path)
        script = (
            "import sys; from pathlib import Path; from dataset import fetch; "
            "from mobilenet.system import command; base, folder, manifest = sys.argv[1:]; "
            "sys.exit(command.run(lambda: fetch.fetch(base, Path(folder), Path(manifest))))"
        )
        folder = str(read_only / "dataset" / "photos")
        done = as_reader(read_only, "-c", script, server.base, folder, str(place.manifest))
    assert "make the folder writable" in one_error(done)


def test_notebooks_in_a_folder_that_may_only_be_read(read_only):
    done = as_reader(read_only, "notebooks/run.py")
    said = one_error(done)
    assert "build could not be written" in said  # before any notebook is begun


def test_files_may_be_read_by_others(tmp_path, monkeypatch, network, small):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    monkeypatch.setattr(corrections, "FILE", tmp_path / "corrections.csv")
    monkeypatch.setattr(utils, "BOARD", tmp_path)
    for way in WAYS:
        getattr(Writers(tmp_path, network, small), way)()
    files = list(tmp_path.glob("*.*"))
    assert len(files) >= len(WAYS)
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in files)


# --- Two at once ---


# What a notebook does, once for each line of stdin, in the folder that the line names.
MEMBER = """
import os, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from mobilenet.networks import backbone
from mobilenet.inference import classifier, saved
from mobilenet.transfer import features, runs, metrics, training
from mobilenet.photos import loading as photos
from mobilenet.system import cache
from mobilenet.system.engine import keras

def remember(seed):
    history = metrics.History([0.5, 0.25], [0.8, 0.9], [0.4, 0.3], [0.8, 0.9], best=1)
    about = {"photos": {"count": 327}, "backbone": {"alpha": 1.0}, "history": history}
    about |= {"result": metrics.Result(60, 65), "loss": 0.1, "seconds": 3.0}
    runs.remember("04", {"SEED": seed}, **about)

folder, source, cut, end = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
keras.utils.set_random_seed(0)
network = backbone.load(alpha=0.35, size=96, weights="random")
model = network.model
network = replace(network, model=keras.Model(model.input, model.get_layer(end).output))
head = training.build_head(network.channels, 2, dropout=0.2, seed=0)
model = classifier.assemble(network, head)
print("ready", flush=True)
for line in sys.stdin:
    there = folder / line.strip()
    cache.FOLDER, runs.FOLDER = there / "cache", there / "log"
    loaded = photos.load_photos(source, 96)
    views = features.view_activations(network, loaded.images, cut, 2, 0)
    remember(0)
    remember(os.getpid())
    classifier.save(there / "model.keras", model, loaded.class_names)
    saved.read_card(there / "model.keras")
    print(cache.digest(loaded.images[:]), cache.digest(np.array(views)), flush=True)
"""


@contextmanager
def members(count: int, folder: Path, source: Path):
    """So many processes, each ready to begin a round."""
    line = [sys.executable, "-c", MEMBER, str(folder), str(source), LOW, SHORT_END]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    found = [subprocess.Popen(line, cwd=ROOT, env=env, text=True, **pipes) for _ in range(count)]
    try:
        for process in found:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield found
        for process in found:
            _, errors = process.communicate()
            assert (process.returncode, errors) == (0, "")
    finally:
        for process in found:
            process.kill()


def play(processes, name: str) -> set[str]:
    """A round of all of them in a folder; what they found."""
    for process in processes:
        process.stdin.write(name + "\n")
        process.stdin.flush()
    return {process.stdout.readline() for process in processes}


def check_two_at_once(rounds: int, folder: Path) -> None:
    source = write(folder / "photos", draw(6))
    with members(2, folder, source) as two:
        (alone,) = play(two[:1], "alone")
        assert len(alone.split()) == 2
        for k in range(rounds):
            there = folder / f"together {k}"
            assert play(two, there.name) == {alone}
            assert len(list((there / "cache").iterdir())) == 3  # photos, their prints, activations
            assert len(list((there / "log").iterdir())) == 3
            assert not list(there.rglob(".new-*"))
            one, other = (folder / name for name in ("alone", there.name))
            for file in one.glob("cache/*"):
                assert file.read_bytes() == (other / "cache" / file.name).read_bytes()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(runs, "FOLDER", there / "log")
                found, damaged = runs.recall()
            assert damaged == []
            assert sorted(run.times for run in found) == [1, 1, 2]
            assert classifier.load(there / "model.keras")[1] == ("class b", "class a")


def test_two_at_once_in_one_folder(tmp_path):
    check_two_at_once(2, tmp_path)


@pytest.mark.faults
def test_two_at_once_many_times(tmp_path):
    check_two_at_once(25, tmp_path)


LOADER = """
import sys
from pathlib import Path
from mobilenet import UserError
from mobilenet.photos import loading as photos; from mobilenet.system import cache
cache.FOLDER = Path(sys.argv[2])
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    try:
        print(cache.digest(photos.load_photos(Path(sys.argv[1]), 16).images[:]), flush=True)
    except UserError as error:
        print(error, flush=True)
"""


@POSIX
@pytest.mark.parametrize("times", [60, pytest.param(400, marks=pytest.mark.faults)])
def test_the_cache_is_deleted_in_the_middle(tmp_path, monkeypatch, times):
    """Two load photos while a third deletes what they keep: right photos, or a sentence."""
    source, folder = write(tmp_path / "photos", draw(6, size=16)), tmp_path / "cache"
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "mine")
    right = cache.digest(loading.load_photos(source, 16).images[:])
    line = [sys.executable, "-c", LOADER, str(source), str(folder), str(times)]
    two = [
        subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in two:
        assert process.stdout.readline() == "ready\n"
    while any(process.poll() is None for process in two):
        shutil.rmtree(folder, ignore_errors=True)
    for process in two:
        with process:
            said, errors = process.stdout.read(), process.stderr.read()
        assert (process.returncode, errors) == (0, "")
        lines = said.splitlines()
        assert len(lines) == times
        assert all(one == right or "so run this again" in one for one in lines), said
    monkeypatch.setattr(cache, "FOLDER", folder)  # where nothing is left that does harm
    assert cache.digest(loading.load_photos(source, 16).images[:]) == right
