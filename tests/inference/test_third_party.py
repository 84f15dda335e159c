"""Models of elsewhere: what `model.save` and TensorFlow's converter write, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenet import UserError, evaluate, export, predict
from mobilenet.inference import (
    classifier,
    litert,
    naming,
    phone_labels,
    prediction,
    third_party,
    third_party_litert,
)
from mobilenet.phone import convert
from mobilenet.system.engine import keras, tf
from mobilenet.system.guards import quiet
from mobilenet.transfer import metrics, training
from tests.helpers.drawn import SIZE, draw, one_sentence
from tests.helpers.hostile_files import rewritten, touching

NAMES = "dark", "light"
layers = keras.layers


@pytest.fixture(scope="module")
def head(short):
    return training.build_head(short.channels, 2, dropout=0.2, seed=0)


@pytest.fixture(scope="module")
def answers(short, head):
    """Of drawn photos, by the classifier that this project makes of the head."""
    return classifier.compiled(classifier.assemble(short, head))(draw(4).images)


def plain(short, head, kind: str):
    """The same network as somebody else writes it down."""
    photo, (kernel, bias) = keras.Input((SIZE, SIZE, 3)), head.get_layer("logits").get_weights()
    net, pool = short.model, layers.GlobalAveragePooling2D()
    if kind == "sequential, sigmoid":
        last = layers.Dense(1, activation="sigmoid")
        augment = keras.Sequential([layers.RandomBrightness(0.9), layers.RandomContrast(0.9)])
        model = keras.Sequential([photo, augment, layers.Rescaling(1 / 127.5, -1), net, pool, last])
    else:
        if kind == "preprocess_input":
            x = keras.applications.mobilenet_v2.preprocess_input(photo)
        else:  # Keras 3.15 writes down that these are called as in training
            x = layers.RandomTranslation(0.5, 0.5)(layers.RandomFlip("horizontal")(photo))
            x = layers.RandomZoom(0.5)(layers.RandomRotation(0.5)(x, training=True))
            x = layers.Rescaling(1 / 127.5, offset=-1)(x)
        last = layers.Dense(2 if kind == "softmax" else 1)
        out = last(layers.Dropout(0.9)(pool(net(x, training=False)), training=True))
        model = keras.Model(photo, layers.Activation("softmax")(out) if kind == "softmax" else out)
    if kind == "softmax":
        kernel, bias = np.concatenate([0 * kernel, kernel], 1), np.concatenate([0 * bias, bias])
    last.set_weights([kernel, bias])
    model.compile("adam", "mse")
    return model


KINDS = "notebook 3", "sequential, sigmoid", "softmax", "preprocess_input"


@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_keras_model_answers_without_augmentation(short, head, answers, kind, tmp_path):
    path, photos = tmp_path / "plain.keras", draw(4).images
    plain(short, head, kind).save(path)
    model, names = classifier.load(path, NAMES)
    assert (names, model.output_shape) == (NAMES, (None, 1))
    ask = classifier.compiled(model)
    assert ask(photos) == pytest.approx(answers, abs=1e-5)
    assert (ask(photos) == ask(photos)).all()
    assert np.ptp(answers[:, 1]) > 1e-3, "else this shows nothing"


@pytest.mark.device
@pytest.mark.parametrize("kind", ["notebook 3", "softmax"])
def test_a_litert_file_of_elsewhere(short, head, answers, kind, tmp_path):
    path = tmp_path / "plain.tflite"
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(plain(short, head, kind))
        path.write_bytes(converter.convert())
    refusal("does not name its classes", litert.load, path)
    refusal("3 classes are named", litert.load, path, classes=("a", "b", "c"))
    ask, names, size = prediction.answers(path, NAMES)
    assert (names, size) == (NAMES, SIZE)
    assert ask(draw(4).images) == pytest.approx(answers, abs=1e-5)
    path.write_bytes(phone_labels.with_labels(path.read_bytes(), NAMES))
    assert litert.load(path)[1] == NAMES


@pytest.mark.device
def test_a_litert_file_that_says_too_little(short, tmp_path):
    path = tmp_path / "unscaled.tflite"
    pooled = layers.GlobalAveragePooling2D()(short.model.output)
    with quiet():
        model = keras.Model(short.model.input, layers.Dense(2)(pooled))
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    refusal("no scaling is seen", litert.load, path, classes=NAMES)


@pytest.mark.device
def test_a_network_of_other_layers_that_takes_bytes(tmp_path):
    """As docs/commands.md says; the converter merges the scaling into the convolution."""
    path, photos = tmp_path / "model.tflite", draw(2).images
    first = [keras.Input((SIZE, SIZE, 3)), layers.RandomFlip(), layers.Rescaling(1 / 255)]
    more = [layers.Conv2D(2, 3), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([*first, *more])
    photo = keras.Input(model.input_shape[1:], dtype="uint8")
    answer = model(keras.ops.cast(photo, "float32"), training=False)
    for one, opened in ((model, False), (keras.Model(photo, answer), True)):
        with quiet():
            path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(one).convert())
        if not opened:
            refusal("no scaling is seen", litert.load, path, classes=NAMES)
    logits = model(photos.astype(np.float32), training=False).numpy()
    found = litert.load(path, classes=NAMES)[0](photos)
    assert found == pytest.approx(metrics.probabilities(logits), abs=1e-5)


def test_it_is_exported(short, head, answers, tmp_path):
    plain(short, head, "softmax").save(tmp_path / "a.keras")
    assert export.main([str(tmp_path / "a.keras"), "--classes", ",".join(NAMES)]) == 0
    one = convert._interpreter((tmp_path / "a.tflite").read_bytes())
    one.set_tensor(one.get_input_details()[0]["index"], draw(4).images[:1])
    one.invoke()
    p = one.get_tensor(one.get_output_details()[0]["index"])
    assert p == pytest.approx(answers[:1], abs=1e-4)


# --- What is refused ---


def refusal(said: str, function, *arguments, **options) -> None:
    with pytest.raises(UserError) as raised:
        function(*arguments, **options)
    assert one_sentence(raised.value)
    assert said in str(raised.value)


def small(*more, units: int = 1, **options):
    photo = keras.Input((32, 32, 3))
    x = photo
    for one in more:
        x = one(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1)(x))
    return keras.Model(photo, layers.Dense(units, **options)(x))


def two_answers():
    model = small(layers.Rescaling(1 / 255))
    return keras.Model(model.input, [model.output, model.output])


@pytest.mark.parametrize(
    ("model", "names", "said"),
    [
        (lambda: small(), NAMES, "does not scale"),
        (lambda: small(layers.Rescaling(2, -1)), NAMES, "does not scale"),
        (lambda: small(layers.Rescaling(1 / 255)), None, "does not name its classes"),
        (lambda: small(layers.Rescaling(1 / 255)), ("a", "a"), "'a', 'a' does not"),
        (lambda: small(layers.Rescaling(1 / 255)), ("a",), "two classes or more"),
        (lambda: small(layers.Rescaling(1 / 255)), "abc", "3 classes are named"),
        (lambda: small(layers.Rescaling(1 / 255), activation="softmax"), NAMES, "ends in softmax"),
        (
            lambda: small(layers.Rescaling(1 / 255), units=3, activation="sigmoid"),
            "abc",
            "ends in sigmoid",
        ),
        (
            lambda: small(layers.Rescaling(1 / 255), activation="tanh"),
            NAMES,
            "ends in tanh with 1 ",
        ),
        (lambda: small(layers.MaxPooling2D()), NAMES, "'MaxPooling2D', and is not opened: of a"),
        (two_answers, NAMES, "has 1 and 2 as its numbers of inputs and outputs"),
        (lambda: small(lambda x: x / np.full((32, 32, 3), 255.0)), NAMES, "__numpy__"),
        (lambda: small(lambda x: 255.0 / x), NAMES, "calculates"),
    ],
)
def test_what_is_not_known_is_asked_for(model, names, said, tmp_path):
    model().save(tmp_path / "x.keras")
    refusal(said, classifier.load, tmp_path / "x.keras", names)


def test_names_of_a_file_that_has_its_own(light_classifier):
    refusal("leave --classes out", classifier.load, light_classifier, ("a", "b"))


def test_a_lambda_among_augmentation(short, head, tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    plain(short, head, "sequential, sigmoid").save(tmp_path / "x.keras")

    def change(members):
        config = json.loads(members["config.json"])
        augmentation = config["config"]["layers"][1]
        augmentation["config"]["layers"][1].update(touching())
        members["config.json"] = json.dumps(config).encode()

    rewritten(tmp_path / "x.keras", change)
    refusal("of the kind 'Lambda'", classifier.load, tmp_path / "x.keras", NAMES)
    assert not (tmp_path / "canary").exists()


def test_a_saved_model_and_an_old_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "saved_model.pb").touch()
    (tmp_path / "x.h5").touch()
    refusal("is a SavedModel of TensorFlow", classifier.load, tmp_path / "folder")
    refusal("save it again by", classifier.load, tmp_path / "x.h5")
    refusal("is a folder", classifier.load, tmp_path)
    for name, said in (("x.weights.h5", "without their network"), ("x.onnx", "convert it to")):
        (tmp_path / name).touch()
        refusal(said, classifier.load, tmp_path / name)


# --- Other versions of Keras ---


def changed(path, light_classifier, version: str, edit):
    path.write_bytes(light_classifier.read_bytes())

    def change(members):
        config = json.loads(members["config.json"])
        edit(config)
        members["config.json"] = json.dumps(config).encode()
        members["metadata.json"] = json.dumps({"keras_version": version}).encode()

    rewritten(path, change)
    return path


def test_what_keras_3_10_wrote_is_opened(light_classifier, tmp_path):
    """It listed the one output of a network in a list, of which 3.15 makes a list of outputs."""

    def old(config):
        for one in (config, *config["config"]["layers"]):
            for key in ("input_layers", "output_layers"):
                if key in one["config"]:
                    one["config"][key] = [one["config"][key]]

    path = changed(tmp_path / "x.keras", light_classifier, "3.10.0", old)
    found, expected = (classifier.load(one)[0] for one in (path, light_classifier))
    photos = draw(2).images
    assert (classifier.compiled(found)(photos) == classifier.compiled(expected)(photos)).all()


def test_versions_are_named(light_classifier, tmp_path):
    def new(config):
        config["config"]["layers"][-1]["config"]["of_tomorrow"] = 1

    path = changed(tmp_path / "x.keras", light_classifier, "3.99.1", new)
    refusal(
        f"Keras 3.99.1 and cannot be opened by Keras {keras.__version__}", classifier.load, path
    )
    path = changed(tmp_path / "x.keras", light_classifier, keras.__version__, new)
    refusal("or damaged", classifier.load, path)


# --- Names ---

words = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=","), min_size=1)


@given(names=st.lists(words, min_size=2, max_size=5, unique=True))
def test_names_of_an_option_and_of_a_file(names, tmp_path_factory):
    if not names[-1].endswith(".txt"):
        assert naming.read_names(", ".join(names)) == names
    file = tmp_path_factory.mktemp("names") / "labels.txt"
    for numbered in (False, True):
        lines = [f"{i} {name}" if numbered else name for i, name in enumerate(names)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert naming.read_names(str(file)) == names


@pytest.mark.parametrize("command", [predict, evaluate, export])
def test_names_that_are_none_are_a_wrong_option(command, tmp_path, capsys):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xff")
    for option, says in (
        ("cat", "'cat' does not"),
        ("cat,,dog", "two classes or more"),
        (tmp_path / "no.txt", "there is no file"),
        (tmp_path / "bytes.txt", "cannot be read"),
        (tmp_path / "empty.txt", "an empty file does not"),
    ):
        with pytest.raises(SystemExit) as left:
            command.main(["model.keras", "--classes", str(option)])
        said = capsys.readouterr().err
        assert left.value.code == 2
        assert says in said
        assert one_sentence(said[:-1])


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (layers.Dense(2), "does not scale"),
        (layers.Dense(3, activation="sigmoid"), "no choice"),
        (layers.Dense(2, activation="relu"), "ends in relu"),
        (keras.Sequential([layers.Dense(2, activation="tanh"), layers.Dropout(0.5)]), "tanh"),
        (keras.Sequential([layers.Dense(2), layers.ReLU()]), "ends in relu"),
    ],
)
def test_what_nothing_is_known_of_is_refused(end, says):
    first = [] if says == "does not scale" else [layers.Rescaling(1 / 255)]
    model = keras.Sequential([keras.Input((4, 4, 3)), *first, layers.Flatten(), end])
    with pytest.raises(UserError, match=says) as refused:
        third_party.adopted(Path("x.keras"), model, named=False)
    assert one_sentence(refused.value)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=5), st.sampled_from((0.0, 1 / 256)))
def test_answers_of_a_file_become_probabilities(row, scale):
    """Of one number the probability is the second class's; of bytes the scale is taken off."""
    row = np.array(row) if scale else np.array(row) / 255
    p = third_party_litert.probabilities(row, "probabilities", {"quantization": (scale, 0)})
    expected = row * (scale or 1)
    assert p[-len(row) :] == pytest.approx(expected)
    assert len(row) > 1 or p.sum() == pytest.approx(1)
    logits = third_party_litert.probabilities(row, "logits", {"quantization": (scale, 0)})
    assert logits.sum() == pytest.approx(1)
    assert (np.argsort(logits, kind="stable") == np.argsort(p, kind="stable")).all() or len(
        row
    ) == 1
