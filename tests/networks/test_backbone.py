"""The backbone: its shape, its cuts, and one clear sentence where there are no weights."""

import http.server
import io
import re
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import h5py
import numpy as np
import pytest

from mobilenet import ROOT, UserError
from mobilenet.benchmarks import ablation
from mobilenet.explain import unseen
from mobilenet.networks import backbone, pretrained
from mobilenet.photos import loading, splits
from mobilenet.photos.decoding import read_photo
from mobilenet.photos.photos import Photos
from mobilenet.system.engine import keras
from mobilenet.transfer import features, metrics
from tests.helpers.drawn import ALPHA, SIZE, one_sentence

OPEN = urllib.request.urlopen
IMAGENET = pretrained.weights_file(1.0, 224)


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
    if not pretrained.weights_file(1.0, 224, top=True).is_file():
        pytest.skip("needs ImageNet weights with the classifier in Keras's cache")
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    p = backbone.load_imagenet_head(imagenet)(imagenet.model(photos).numpy().mean(axis=(1, 2)))
    assert p.shape == (2, 1000)
    whole = keras.applications.MobileNetV2(input_shape=(224, 224, 3), weights="imagenet")
    assert np.abs(p - whole(photos)).max() < 1e-3
    larger = backbone.load(size=256, weights="imagenet")
    same = (backbone.load_imagenet_head(one).get_weights() for one in (imagenet, larger))
    assert all(map(np.array_equal, *same)), "of photos of any size"


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """An empty cache, a network that cannot be reached, and nobody who says what to use."""

    def unreachable(*arguments, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("WEIGHTS", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    asked_once = (pretrained._network, pretrained.find_weights)
    for function in asked_once:
        function.cache_clear()
    yield tmp_path / "keras"
    for function in asked_once:
        function.cache_clear()


def test_without_weights_and_network_the_bundled_ones_are_taken(no_weights):
    loaded = backbone.load()
    assert loaded.card() == backbone.load(weights="bundled").card()
    assert loaded.weights == "bundled"
    assert "bundled" in str(loaded)
    assert "when they can be downloaded" in str(loaded), "it says how to get the real ones"
    assert one_sentence(loaded)


def test_weights_that_are_insisted_on(no_weights, monkeypatch):
    monkeypatch.setenv("WEIGHTS", "imagenet")
    with pytest.raises(UserError, match="no ImageNet weights") as raised:
        backbone.load()
    assert one_sentence(raised.value)
    assert pretrained.weights_file(1.0, 224).name in str(raised.value)


def test_weights_of_another_name_are_refused(no_weights, monkeypatch):
    monkeypatch.setenv("WEIGHTS", "large")
    with pytest.raises(UserError, match="imagenet or bundled") as raised:
        backbone.load()
    assert one_sentence(raised.value)


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
        assert pretrained.find_weights() == "bundled"
        with pytest.raises(UserError):
            backbone.load(weights="imagenet")
    assert len(asked) == 1


def test_a_network_that_hangs_is_not_waited_for(monkeypatch, no_weights):
    """Not even where no time limit reaches, as in looking up a name."""
    never = threading.Event()

    def hang(*arguments, **options):
        never.wait()
        raise OSError

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    monkeypatch.setattr(pretrained, "ANSWER_SECONDS", 0.01)
    assert pretrained.find_weights() == "bundled"
    never.set()


def test_weights_in_the_cache_need_no_network(no_weights):
    file = pretrained.weights_file(1.0, 224)
    file.parent.mkdir(parents=True)
    file.touch()
    assert pretrained.find_weights() == "imagenet"


class Downloads(http.server.BaseHTTPRequestHandler):
    """Keras's downloads on a bad day: the server's `way` says what is sent after the headers."""

    def do_HEAD(self):
        self.server.asked.append(self.command)
        self.send_response(200)
        lengths = {"page": 900, "without end": 10 << 30}
        length = lengths.get(self.server.way, len(self.server.data))
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        way, data = self.server.way, self.server.data
        self.wfile.write(data if way in ("whole", "other bytes") else data[: len(data) // 2])
        self.wfile.flush()
        if way == "silence":
            self.server.over.wait(20)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def downloads(no_weights, monkeypatch):
    """A server in the place of Keras's, and an empty cache."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Downloads)
    server.data, server.asked, server.over = b"\x89HDF" + bytes(2_000_000), [], threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(urllib.request, "urlopen", OPEN)
    monkeypatch.setattr(pretrained, "DOWNLOADS", f"http://127.0.0.1:{server.server_port}/")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("way", ["page", "cut", "silence", "other bytes", "without end"])
def test_a_download_that_fails(way, downloads, no_weights, monkeypatch):
    downloads.way = way
    if way == "other bytes":
        downloads.data = bytes(2_000_000)
    elif way == "silence":
        monkeypatch.setattr(pretrained, "ANSWER_SECONDS", 1)
    assert pretrained.find_weights() == "bundled"
    assert downloads.asked == (["HEAD"] if way == "page" else ["HEAD", "GET"])
    assert list(no_weights.rglob("*.*")) == [], "nothing is left in the cache"


def test_a_download(downloads, no_weights):
    downloads.way = "whole"
    assert pretrained.find_weights() == "imagenet"
    assert pretrained.weights_file(1.0, 224).read_bytes() == downloads.data
    assert pretrained.find_weights() == "imagenet"
    assert downloads.asked == ["HEAD", "GET"], "once"


def test_a_download_that_leaves_https_is_not_kept(no_weights, monkeypatch):
    class Answer(io.BytesIO):
        url, headers = "http://third_party.example/weights.h5", {"Content-Length": "2000000"}

    def redirected(*arguments, **options):
        return Answer(b"\x89HDF" + bytes(1_999_996))

    monkeypatch.setattr(urllib.request, "urlopen", redirected)
    assert pretrained.find_weights() == "bundled"
    assert list(no_weights.rglob("*.*")) == []
    Answer.url = "https://mirror.example/weights.h5"
    pretrained.find_weights.cache_clear()
    assert pretrained.find_weights() == "imagenet"


def test_downloaded_weights_are_those_of_the_cache(imagenet, downloads):
    """No weight changes on the way through the download and the file."""
    downloads.way, downloads.data = "whole", IMAGENET.read_bytes()
    assert backbone.load(size=224, weights="imagenet").fingerprint == imagenet.fingerprint


# --- The bundled one ---


@pytest.fixture(scope="module")
def bundled() -> backbone.Backbone:
    return backbone.load(weights="bundled")


def test_the_bundled_backbone(bundled):
    loaded = bundled
    assert (loaded.alpha, loaded.size) == pretrained.DEFAULTS["bundled"]
    assert loaded.model.count_params() == 410_208
    assert loaded.model.trainable_weights == []
    assert backbone.BUNDLED.stat().st_size < 2.5e6
    assert loaded.fingerprint == backbone.load(weights="bundled").fingerprint
    with pytest.raises(UserError, match=r"α 0\.35") as raised:
        backbone.load(alpha=1.0, weights="bundled")
    assert one_sentence(raised.value)


@pytest.mark.parametrize("name", ["weights.npz", "weights"])
def test_weights_survive_the_file(name, small, tmp_path):
    backbone.write_weights(small.model, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    other = backbone.load(alpha=ALPHA, size=SIZE, weights="random")
    assert other.fingerprint != small.fingerprint
    backbone.read_weights(other.model, tmp_path / name)
    assert replace(other).fingerprint == small.fingerprint


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "of another network"])
def test_a_damaged_file_of_weights_is_named(damage, small, tmp_path):
    path = tmp_path / "weights.npz"
    backbone.write_weights(small.model, path)
    if damage == "of another network":
        backbone.write_weights(backbone.load(0.5, SIZE, "random").model, path)
    elif damage == "missing":
        path.unlink()
    elif damage == "flipped":
        data = bytearray(path.read_bytes())
        data[500_000] ^= 255
        path.write_bytes(data)
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 500_000])
    before = small.fingerprint
    with pytest.raises(UserError, match=r"weights\.npz are missing or damaged") as raised:
        backbone.read_weights(small.model, path)
    assert one_sentence(raised.value)
    assert replace(small).fingerprint == before


def five_folds(inputs: np.ndarray, labels: np.ndarray) -> metrics.Result:
    """How many photos a linear head gets right when it was trained on the other folds; the head and
    its knobs are those of notebook 3.
    """
    row = ablation.judge(
        ablation.Way("head", ablation.trained(inputs[None], labels)), labels, repeats=1
    )
    return metrics.Result(row["correct"], row["total"])


def frozen_features(network: backbone.Backbone, shown: Photos) -> np.ndarray:
    return features.view_activations(network, shown.images, None, 1, 0)[0]


@pytest.fixture(scope="module")
def drawn(bundled) -> tuple[Photos, np.ndarray]:
    """The drawn pictures, and what the bundled backbone sees in each."""
    shown = loading.load_photos(ROOT / "dataset" / "rendered", bundled.size)
    return shown, frozen_features(bundled, shown)


def test_the_bundled_backbone_sees_more_than_pixels(drawn):
    """On the drawn pictures: the same head on the pixels of small copies gets hardly half right."""
    small = loading.load_photos(ROOT / "dataset" / "rendered", 16)
    pixels = np.asarray(small.images).reshape(len(small), -1) / np.float32(127.5) - 1
    shown, saved = drawn
    seen = five_folds(saved, shown.labels)
    assert five_folds(pixels, small.labels).interval[1] + 0.15 < seen.interval[0]


def test_what_is_unlike_the_drawn_pictures(bundled, drawn):
    """What dataset/README.md says of them and the bundled backbone."""
    shown, saved = drawn
    parts = splits.split(shown, 0)
    known = unseen.fit(np.delete(saved, parts["test"], axis=0))
    files = sorted((ROOT / "dataset" / "rendered_other").glob("*.jpg"))
    things = np.stack([read_photo(file, bundled.size) for file in files])
    flags = unseen.unseen(known, features.activations(bundled, things, None))
    # A photo on the edge may fall either way on another processor.
    assert flags.sum() == pytest.approx(21, abs=2)
    assert unseen.unseen(known, saved[parts["test"]]).sum() == pytest.approx(6, abs=2)
    patterns = [file.name.startswith(("stripes", "checks", "dots")) for file in files]
    assert flags[patterns].all()


def counts_on_the_card() -> dict[str, int]:
    """Photos right of 327 in five folds, by backbone, as the card's table says."""
    card = (backbone.BUNDLED.parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \|.*?\| (\d+) of 327 \|", card, re.M)
    return {name: int(count) for name, count in rows}


@pytest.mark.parametrize(
    ("row", "alpha", "weights"),
    [
        ("bundled, α 0.35", 0.35, "bundled"),
        ("ImageNet, α 0.35", 0.35, "imagenet"),
        ("ImageNet, α 1.0", 1.0, "imagenet"),
    ],
)
def test_the_card_says_what_five_folds_say(row, alpha, weights, real_photos):
    """Another processor rounds otherwise, which may tip a photo or two that it was unsure of."""
    size = 224
    if weights == "imagenet" and not pretrained.weights_file(alpha, size).is_file():
        pytest.skip(f"needs ImageNet weights of α {alpha} in Keras's cache")
    shown = loading.load_photos(real_photos, size)
    if (len(shown), shown.class_names) != (327, ("not alpaca", "alpaca")):
        pytest.skip("needs the 327 real photos in PHOTOS")
    right = five_folds(frozen_features(backbone.load(alpha, size, weights), shown), shown.labels)
    assert right.correct == pytest.approx(counts_on_the_card()[row], abs=2)


def test_sizes_without_weights_of_their_own_take_those_of_224():
    assert pretrained.weights_file(1.0, 288) == pretrained.weights_file(1.0, 224)
    assert pretrained.weights_file(1.0, 160) != pretrained.weights_file(1.0, 224)


def test_the_cache_is_found_from_the_notebooks_too(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", "build/keras-of-a-test")
    assert pretrained.cache_folder() == ROOT / "build" / "keras-of-a-test" / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert pretrained.cache_folder().parts[-2:] == (".keras", "models")


def test_photos_may_not_be_too_small():
    with pytest.raises(UserError, match="32 or more") as raised:
        backbone.load(size=16, weights="random")
    assert one_sentence(raised.value)


@pytest.mark.parametrize("damage", ["empty", "text", "of another network"])
def test_damaged_weights_are_named(damage, no_weights):
    file = pretrained.weights_file(0.35, 96)
    file.parent.mkdir(parents=True)
    if damage == "of another network":
        with h5py.File(file, "w") as weights:
            weights["kernel"] = np.zeros(3)
    else:
        file.write_bytes(b"" if damage == "empty" else b"no weights")
    with pytest.raises(UserError, match=r"kernels_0\.35_96_no_top\.h5 are damaged") as raised:
        backbone.load(0.35, 96, "imagenet")
    assert one_sentence(raised.value)
