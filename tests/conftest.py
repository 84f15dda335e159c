"""What all tests share: fixtures, the list of long tests, who takes which file."""

import gc
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from mobilenet.figures.canvas import DPI
from mobilenet.networks import backbone as backbones
from mobilenet.networks import pretrained
from mobilenet.photos import corrections
from mobilenet.system import cache
from tests.helpers.drawn import ALPHA, LOW, SHORT_END, SIZE, draw, save_untrained

# It checks web addresses, of which a notebook has none; to import it takes nbformat a second.
sys.modules.setdefault("rfc3987_syntax", None)

# Timings differ from machine to machine; the same examples everywhere.
settings.register_profile("project", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("project")

# A shell that starts the tests in the background has interrupts ignored here and in all they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Files whose tests execute notebooks: they come first, so that no worker ends on one alone.
FIRST = ("test_notebooks", "test_knobs", "test_kernels", "test_determinism")

# Tests that take longer than TOO_LONG, file::function; `make check` leaves them out.
LONG_TESTS = Path(__file__).with_name("long.txt")
TOO_LONG = 0.2  # seconds to set up, or to run
took_long = set()


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out the tests in tests/long.txt")
    parser.addoption("--note-long", action="store_true", help="add to tests/long.txt what was long")


def function_of(nodeid: str) -> str:
    """folder/file::function of a test, without its class and parameters."""
    file, *_, test = nodeid.partition("[")[0].split("::")
    return f"{file.removeprefix('tests/')}::{test}"


def pytest_runtest_logreport(report):
    if report.duration > TOO_LONG:
        took_long.add(function_of(report.nodeid))


def pytest_sessionfinish(session):
    if session.config.getoption("note_long") and not hasattr(session.config, "workerinput"):
        known = LONG_TESTS.read_text("utf-8").splitlines() if LONG_TESTS.exists() else []
        LONG_TESTS.write_text("\n".join(sorted({*known, *took_long})) + "\n", "utf-8")


def pytest_collection_modifyitems(config, items):
    """Mark what real photos and ImageNet weights decide: the tests that look at them, and those
    of the notebooks' run. Keep the quick ones, if these are asked for.
    """
    if config.getoption("quick"):
        long = set(LONG_TESTS.read_text("utf-8").split())
        left_out = [item for item in items if function_of(item.nodeid) in long]
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]
    for item in items:
        if {"real_photos", "imagenet", "ran"} & set(item.fixturenames):
            item.add_marker("real")
    place = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One worker takes what shares what takes long to make: a file, or a notebook whose knobs are
    turned. (pytest-xdist 3.8.0 on pytest 9.2.0 does not heed the groups of --dist loadgroup.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition("::")
            return f"{file} {test.partition('[')[2]}" if "test_knobs" in file else file

    config.option.loadscopereorder = False
    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_files(tmp_path_factory):
    """What is kept and decided lies apart from the user's, and the next run does not find it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", tmp_path_factory.mktemp("cache"))
        patch.setattr(corrections, "FILE", tmp_path_factory.mktemp("decisions") / "corrections.csv")
        yield


@pytest.fixture
def real_photos() -> Path:
    """The folder of class folders that PHOTOS names."""
    if not os.environ.get("PHOTOS"):
        pytest.skip("needs PHOTOS, a folder of class folders")
    return Path(os.environ["PHOTOS"])


@pytest.fixture(scope="session")
def imagenet() -> backbones.Backbone:
    """The backbone with its ImageNet weights, α 1.0, 224 px."""
    if not pretrained.weights_file(1.0, 224).is_file():
        pytest.skip("needs ImageNet weights in Keras's cache")
    return backbones.load(size=224, weights="imagenet")


@pytest.fixture(scope="session")
def small() -> backbones.Backbone:
    """An untrained backbone that takes milliseconds a photo.

    Its BatchNorm holds the statistics of drawn photos, else the signal fades from block to block
    and a comparison up there compares zeros.
    """
    from mobilenet.system.engine import keras

    keras.utils.set_random_seed(0)
    backbone = backbones.load(alpha=ALPHA, size=SIZE, weights="random")
    model = backbone.model
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    model.trainable = True
    for norm in norms:
        norm.momentum = 0.0
    model(draw(8, classes=4).images / 127.5 - 1, training=True)
    for norm in norms:
        norm.momentum = 0.999
    model.trainable = False
    return backbone


@pytest.fixture(scope="module")
def pooled(small, photos):
    """Features of the module's photos, bright and dark: low in the network, where a head can tell
    them apart although nothing was ever trained.
    """
    from mobilenet.transfer import features

    saved = features.view_activations(small, photos.images, LOW, 2, 0)
    return saved.mean(axis=(2, 3), dtype=np.float32)


@pytest.fixture
def outputs(monkeypatch):
    """What cells display: (data, metadata) of each output."""
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    publisher = CapturingDisplayPublisher()
    monkeypatch.setattr(InteractiveShell.instance(), "display_pub", publisher)
    yield publisher.outputs
    InteractiveShell.clear_instance()


@pytest.fixture(scope="class")
def figure(request):
    """The figure that the class calls so in its FIGURES, drawn."""
    made = request.cls.FIGURES[request.param]()
    made.set_dpi(DPI)
    made.draw_without_rendering()
    return made


@pytest.fixture(scope="session")
def saved_classifier(small, tmp_path_factory) -> Path:
    """A saved classifier with the small backbone."""
    return save_untrained(small, tmp_path_factory.mktemp("model") / "small.keras")


@pytest.fixture(scope="session")
def short(small) -> backbones.Backbone:
    """The first blocks of the small backbone, each kind of layer in them: for tests to which the
    depth is nothing, and which trace, convert or save it.
    """
    from mobilenet.system.engine import keras

    model = small.model
    return replace(small, model=keras.Model(model.input, model.get_layer(SHORT_END).output))


@pytest.fixture(scope="session")
def light_classifier(short, tmp_path_factory) -> Path:
    """A saved classifier with the short backbone."""
    return save_untrained(short, tmp_path_factory.mktemp("model") / "short.keras")


def pytest_collection_finish():
    """What is imported by now stays: Python need not look through it for garbage again and again,
    which takes a tenth of all time.
    """
    gc.collect()
    gc.freeze()
