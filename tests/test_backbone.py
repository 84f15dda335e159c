"""The backbone: its shape, its cuts, and one clear sentence where there are no weights."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from conftest import ALPHA, SIZE, one_sentence

from mobilenet import ROOT, UserError, backbone
from mobilenet.engine import keras


def test_its_shape(small):
    assert small.channels == 1280
    assert small.model.input_shape == (None, SIZE, SIZE, 3)
    assert small.model.output_shape == (None, SIZE // 32, SIZE // 32, 1280)
    assert small.model.trainable_weights == []
    card = {"name": "mobilenet_v2", "alpha": ALPHA, "weights": "random", "size": SIZE}
    assert small.card() == card
    assert str(ALPHA) in str(small)
    assert "random" in str(small)
    assert one_sentence(small)


def test_the_cuts_go_from_the_top_block_down(small):
    cuts = small.cuts
    names = [layer.name for layer in small.model.layers]
    assert (cuts[0], cuts[-1]) == ("Conv_1", "Conv1")
    places = [names.index(cut) for cut in cuts]
    assert places == sorted(places, reverse=True)
    # 17 bottleneck blocks, the stem and the last convolution.
    assert len(cuts) == 19


def test_the_whole_network_at_full_width():
    full = backbone.load(weights="random").model
    assert len(full.layers) == 154
    assert full.count_params() == 2_257_984


def test_imagenet(imagenet):
    assert len(imagenet.model.layers) == 154
    assert imagenet.model.count_params() == 2_257_984
    assert imagenet.model.trainable_weights == []
    assert imagenet.weights == "imagenet"
    # Trained, not drawn: the moving variances are no longer all one.
    assert imagenet.model.get_layer("bn_Conv1").moving_variance.numpy().std() > 0


def test_imagenets_classes_from_pooled_features(imagenet):
    """The last layer, asked alone, says what the whole network says."""
    if not backbone.weights_file(top=True).is_file():
        pytest.skip("needs ImageNet weights with the classifier in Keras's cache")
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    p = backbone.load_imagenet_head(imagenet)(imagenet.model(photos).numpy().mean(axis=(1, 2)))
    assert p.shape == (2, 1000)
    whole = keras.applications.MobileNetV2(input_shape=(224, 224, 3), weights="imagenet")
    assert np.abs(p - whole(photos)).max() < 1e-3


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """An empty cache and a network that cannot be reached."""

    def unreachable(*arguments, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    backbone._network.cache_clear()
    yield tmp_path / "keras"
    backbone._network.cache_clear()


def test_without_weights_and_network(no_weights):
    with pytest.raises(UserError, match="no ImageNet weights") as raised:
        backbone.load()
    assert one_sentence(raised.value)
    assert backbone.weights_file().name in str(raised.value)


def test_without_network_there_is_no_imagenet_head(no_weights, small):
    assert backbone.load_imagenet_head(small) is None
    named = backbone.Backbone("mobilenet_v2", 1.0, "imagenet", 224, None)
    assert backbone.load_imagenet_head(named) is None


def test_the_network_is_asked_once(monkeypatch, no_weights):
    asked = []

    def unreachable(*arguments, **options):
        asked.append(arguments)
        raise TimeoutError

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    for _ in range(3):
        with pytest.raises(UserError):
            backbone.check_weights()
    assert len(asked) == 1


def test_weights_in_the_cache_need_no_network(no_weights):
    file = backbone.weights_file(0.35, 96)
    file.parent.mkdir(parents=True)
    file.touch()
    backbone.check_weights(0.35, 96)


def test_sizes_without_weights_of_their_own_take_those_of_224():
    assert backbone.weights_file(1.0, 288) == backbone.weights_file(1.0, 224)
    assert backbone.weights_file(1.0, 160) != backbone.weights_file(1.0, 224)


def test_the_cache_is_found_from_the_notebooks_too(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", "build/keras-of-a-test")
    assert backbone.cache_folder() == ROOT / "build" / "keras-of-a-test" / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert backbone.cache_folder().parts[-2:] == (".keras", "models")


def test_photos_may_not_be_too_small():
    with pytest.raises(UserError, match="32 or more") as raised:
        backbone.load(size=16, weights="random")
    assert one_sentence(raised.value)


DAMAGE = """
import h5py, numpy as np
from mobilenet import UserError, backbone
file = backbone.weights_file(0.35, 96)
file.parent.mkdir(parents=True)
for damage in ("empty", "text", "of another network"):
    if damage == "of another network":
        with h5py.File(file, "w") as weights:
            weights["kernel"] = np.zeros(3)
    else:
        file.write_bytes(b"" if damage == "empty" else b"no weights")
    try:
        backbone.load(0.35, 96)
    except UserError as error:
        print(error)
"""


def test_damaged_weights_are_named(tmp_path):
    """In a process of its own, since Keras asks for KERAS_HOME only once."""
    environment = {**os.environ, "KERAS_HOME": str(tmp_path / "keras")}
    line = [sys.executable, "-c", DAMAGE]
    done = subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert len(said) == 3
    for sentence in said:
        assert one_sentence(sentence)
        assert "kernels_0.35_96_no_top.h5 are damaged" in sentence
