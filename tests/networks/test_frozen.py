"""The frozen backbone without TensorFlow: the network that Keras builds, and who computes it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mobilenet import ROOT, UserError
from mobilenet.networks import backbone as backbones
from mobilenet.networks import frozen, pretrained
from mobilenet.scale import extraction, parts
from mobilenet.system import interpreter
from mobilenet.transfer import features
from tests.helpers.drawn import SIZE, draw, write


@pytest.fixture
def bundled(monkeypatch):
    monkeypatch.setenv("WEIGHTS", "bundled")
    pretrained.find_weights.cache_clear()
    yield backbones.load(size=SIZE)
    pretrained.find_weights.cache_clear()


@pytest.mark.parametrize(
    "alpha, size", [(0.35, 96), (0.5, 45), (0.75, 32), (1.0, 63), (1.3, 45), (1.4, 32)]
)
def test_the_layers_are_those_that_keras_describes(alpha, size):
    backbone = backbones.load(alpha, size, "random")
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (size, size, 3), np.uint8)
    weights = [w + rng.uniform(-0.01, 0.01, w.shape) for w in backbone.model.get_weights()]
    backbone.model.set_weights(weights)
    weights = backbone.model.get_weights()
    stored, cuts = frozen.of_weights(alpha, "random", size, weights), (None, *backbone.cuts[:-1])
    ours, theirs = (
        interpreter.opened(frozen.frozen_file(of, cuts))[0](photo) for of in (stored, backbone)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one.std() > 0
        np.testing.assert_array_equal(one, other)


def assert_stored_as_loaded(loaded):
    stored = frozen.stored(loaded.size)
    assert stored.fingerprint == loaded.fingerprint
    assert parts.about(Path(), stored, False) == parts.about(Path(), loaded, False)


def test_a_backbone_from_its_weights_alone_is_the_same(bundled):
    assert_stored_as_loaded(bundled)


def test_imagenet_weights_from_their_file_are_the_same(imagenet, monkeypatch):
    monkeypatch.setattr(pretrained, "find_weights", lambda: "imagenet")
    assert_stored_as_loaded(imagenet)


@pytest.mark.parametrize("change", [lambda rows: rows[:-1], lambda rows: [*rows, rows[-1]]])
def test_weights_of_another_network_are_not_computed(change, bundled, monkeypatch):
    """Keras, which is asked then, says what is wrong."""
    real = frozen.of_weights
    monkeypatch.setattr(frozen, "of_weights", lambda *of: real(*of[:3], change(of[3])))
    monkeypatch.setattr(backbones, "load", lambda size: "said by Keras")
    assert frozen.stored(SIZE) == "said by Keras"


def test_too_small_photos_are_refused(bundled):
    with pytest.raises(UserError, match="too small"):
        frozen.stored(31)


def test_features_have_the_same_bits_by_any_threads_in_any_batch(bundled, monkeypatch):
    photos, pooled = draw(5).images, extraction.pooling(bundled, False)
    expected = pooled(photos)
    assert expected.shape == (10, bundled.channels)
    assert expected.dtype == np.float32
    assert pooled(photos[:0]).shape == (0, bundled.channels)
    for threads in (1, 2, 5):
        monkeypatch.setattr(os, "cpu_count", lambda threads=threads: threads)
        for batch in (1, 3, 10):
            rows = [pooled(photos[i : i + batch]) for i in range(0, len(photos), batch)]
            np.testing.assert_array_equal(np.concatenate(rows), expected)


def test_where_there_is_a_gpu_tensorflow_computes_the_same(bundled, monkeypatch):
    photos, by_litert = draw(2).images, extraction.pooling(bundled, False)
    expected = by_litert(photos)
    monkeypatch.setattr(frozen, "on_gpu", lambda: True)
    monkeypatch.setattr(frozen, "by_litert", None)
    pooled = extraction.pooling(frozen.stored(SIZE), True)
    features._frozen_pass.cache_clear()
    np.testing.assert_allclose(pooled(photos), expected, rtol=1e-5, atol=1e-5)
    features._frozen_pass.cache_clear()


@pytest.mark.parametrize("shown, asked", [(False, False), (True, True)])
def test_tensorflow_is_asked_for_a_gpu_where_the_machine_shows_one(
    shown, asked, monkeypatch, tmp_path
):
    (tmp_path / "nvidiactl").touch()  # there without a GPU, too
    if shown:
        (tmp_path / "nvidia3").touch()
    calls = []
    monkeypatch.setattr(frozen, "DEVICES", tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(frozen, "sees_gpu", lambda: calls.append(1) or True)
    frozen.on_gpu.cache_clear()
    assert frozen.on_gpu() == bool(calls) == asked
    frozen.on_gpu.cache_clear()


@pytest.mark.cluster
def test_extract_loads_no_tensorflow(tmp_path):
    if frozen.on_gpu():
        pytest.skip("here a GPU computes")
    folder = write(tmp_path / "photos", draw(2))
    program = (
        "import sys\n"
        "from mobilenet import extract\n"
        f"extract.main([{str(folder)!r}, '--out', {str(tmp_path / 'out')!r}])\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"WEIGHTS": "bundled"}
    command = [sys.executable, "-c", program]
    said = subprocess.check_output(command, cwd=ROOT, env=environment, text=True)
    assert said.startswith("Rows: 4, ")
    assert said.endswith("[]\n")
