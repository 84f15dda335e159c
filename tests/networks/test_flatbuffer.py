"""Networks as LiteRT runs them give what Keras gives, whatever the layers, batch and threads."""

import json
import shutil
import subprocess
import sys
import zipfile
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenet import ROOT, UserError
from mobilenet.inference import classifier, saved
from mobilenet.networks import backbone, flatbuffer, frozen, mobilenets
from mobilenet.system import interpreter
from mobilenet.system.engine import keras
from mobilenet.transfer import features
from tests.helpers.drawn import ALPHA, SIZE
from tests.helpers.hostile_files import rewritten

layers = keras.layers
sides = st.integers(0, 2)


def photos(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


def randomised(model):
    """Every weight at random, variances among them, so above 0."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        signs = 1 if "variance" in weight.path else rng.choice([-1, 1], weight.shape)
        weight.assign(rng.uniform(0.2, 0.6, weight.shape) * signs)
    return model


def run(model, inputs: np.ndarray) -> np.ndarray:
    one, *_ = interpreter.opened(flatbuffer.of_model(model))
    return np.stack([result for (result,) in interpreter.each(one, inputs)])


def calls(kind, *arguments, **options):
    """A function that makes a layer, with arguments drawn from these."""
    return st.builds(partial, st.just(kind), *arguments, **options)


convolution = {
    "kernel_size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "strides": st.integers(1, 2),
    "padding": st.sampled_from(["same", "valid"]),
    "use_bias": st.booleans(),
}
known = st.one_of(
    calls(layers.Conv2D, st.integers(2, 3), **convolution),
    calls(layers.DepthwiseConv2D, depth_multiplier=st.integers(1, 2), **convolution),
    calls(layers.BatchNormalization),
    calls(layers.ReLU, st.sampled_from([6.0, None])),
    calls(layers.ZeroPadding2D, st.tuples(st.tuples(sides, sides), st.tuples(sides, sides))),
    calls(layers.Dropout, st.just(0.5)),
    calls(layers.Rescaling, st.just(0.5), st.just(-0.1)),
    calls(layers.Add),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(known, min_size=1, max_size=7), st.integers(7, 12))
def test_any_network_of_known_layers_gives_what_keras_gives(made, size):
    before = x = photo = keras.Input((size, size, 3))
    for make in made:
        if min(x.shape[1:3]) < 3:  # a kernel may be as large
            break
        if make.func is layers.Add:
            before, x = x, make()([before, x]) if before.shape == x.shape else x
        elif make.func is not layers.BatchNormalization or _follows_a_convolution(x):
            before, x = x, make()(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = randomised(keras.Model(photo, layers.Dense(2)(x)))
    inputs = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    expected = model(inputs, training=False).numpy()
    error = np.abs(run(model, inputs) - expected).max()
    assert error <= 1e-4 * np.abs(expected).max()


def _follows_a_convolution(x) -> bool:
    convolutions = layers.Conv2D, layers.DepthwiseConv2D
    return isinstance(x._keras_history.operation, convolutions)


@pytest.mark.parametrize("size", [SIZE, SIZE + 7])  # an odd one is padded otherwise
def test_the_backbone_at_every_cut(small, size):
    network = backbone.load(alpha=ALPHA, size=size, weights="random")
    network.model.set_weights(small.model.get_weights())
    inputs = photos(1, size)
    one, *_ = interpreter.opened(frozen.frozen_file(network, (*network.cuts, None)))
    edges = [network.model.get_layer(cut).input for cut in network.cuts]
    ends = [*edges, layers.GlobalAveragePooling2D()(network.model.output)]
    expected = keras.Model(network.model.input, ends)(mobilenets.preprocess(inputs), training=False)
    for result, wanted in zip(one(inputs[0]), expected, strict=True):
        (wanted,) = wanted.numpy()
        assert result.shape == wanted.shape
        assert np.ptp(wanted) > 0.01
        assert np.abs(result - wanted).max() < 1e-4 * np.abs(wanted).max()


@given(st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_neither_batch_nor_threads_change_a_bit(short, count, threads):
    one, *_ = interpreter.opened(frozen.frozen_file(short, (None,)))
    many = photos(9)
    alone = [one(photo)[0] for photo in many]
    together = [row for (row,) in interpreter.each(one, many[:count], threads)]
    np.testing.assert_array_equal(together, alone[:count])
    np.testing.assert_array_equal(features.pooled(short, many[:count]), alone[:count])


def test_a_file_answers_as_the_model_that_was_saved(saved_classifier):
    """Its weights are found without Keras, to the bit."""
    model, names = classifier.load(saved_classifier)
    compute, said, size = saved.answers(saved_classifier)
    assert (said, size) == (names, SIZE)
    answers = compute(photos(5))
    np.testing.assert_array_equal(answers, classifier.compiled(model)(photos(5)))
    np.testing.assert_allclose(answers, classifier.traced(model)(photos(5)), rtol=0, atol=1e-6)
    assert compute(photos(0)).shape == (0, 2)


SLOW = "tensorflow", "keras", "matplotlib", "sklearn"
OPTIONS = {
    "predict": ["photo.jpg", "--model", "none.keras"],
    "evaluate": ["none.keras"],
    "export": ["none.keras"],
}
COMMANDS = (
    *("predict", "train", "evaluate", "export", "extract"),
    *("head", "cost", "pretrain", "bench", "gains"),
)


def codes(*calls: tuple[str, list[str]]) -> tuple[list[int], str]:
    """The exit codes of commands, and what they said, in one process that may load nothing slow."""
    code = f"""
import runpy, sys
codes = []
for name, arguments in {calls!r}:
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(f"mobilenet.{{name}}", run_name="__main__")
    except SystemExit as end:
        codes.append(end.code)
print(codes, [name for name in {SLOW!r} if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    *said, last = ended.stdout.splitlines()
    assert last.endswith(" []"), f"{last}\n{ended.stderr}"
    return json.loads(last.removesuffix(" []")), "\n".join(said)


def test_predicting_loads_no_tensorflow(light_classifier, tmp_path):
    keras.utils.save_img(tmp_path / "photo.png", photos(1)[0])
    asked = [str(tmp_path / "photo.png"), "--model", str(light_classifier)]
    (code,), said = codes(("predict", asked))
    assert (code, said[:2]) == (0, "P(")


def test_help_and_what_is_wrong_load_no_tensorflow():
    calls = [(name, ["--help"]) for name in COMMANDS]
    calls += [(name, ["--nothing"]) for name in COMMANDS]
    calls += OPTIONS.items()
    found, _ = codes(*calls)
    assert found == [0] * 10 + [2] * 10 + [1] * 3


class Fused(layers.Layer):
    """Of somebody else; it does nothing."""

    def call(self, x):
        return x


UNKNOWN = {
    "a convolution with gaps": lambda: layers.Conv2D(3, 3, dilation_rate=2),
    "an activation": lambda: layers.Conv2D(3, 3, activation="tanh"),
    "a bounded ReLU": lambda: layers.ReLU(4.0),
    "BatchNorm on its own": layers.BatchNormalization,
    "BatchNorm without a shift": lambda: (
        lambda x: layers.BatchNormalization(center=False)(layers.Conv2D(2, 3)(x))
    ),
    "a layer of one's own": Fused,
}


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN)
def test_layers_that_are_not_known_are_left_to_keras(make):
    photo = keras.Input((SIZE, SIZE, 3))
    x = layers.GlobalAveragePooling2D()(make()(photo))
    model = randomised(keras.Model(photo, layers.Dense(1)(x)))
    with pytest.raises(flatbuffer.Unknown):
        flatbuffer.of_model(model)
    np.testing.assert_array_equal(
        classifier.compiled(model)(photos(3)), classifier.traced(model)(photos(3))
    )


SHAPES = {
    "a kernel": lambda config: config.update(filters=config["filters"] + 1),
    "a stride of none": lambda config: config.update(strides=[0, 0]),
    "a stride back": lambda config: config.update(strides=[-1, -1]),
    "an activation": lambda config: config.update(activation="relu"),
}


@pytest.mark.parametrize("edit", SHAPES.values(), ids=SHAPES)
def test_what_the_settings_say_otherwise_than_the_weights_is_not_run(
    edit, light_classifier, tmp_path, monkeypatch
):
    """Native code sees none of it, Keras says what it is."""
    path = shutil.copy(light_classifier, tmp_path / "model.keras")

    def change(members):
        config = json.loads(members["config.json"])
        inner = next(one for one in config["config"]["layers"] if one["class_name"] == "Functional")
        kinds = ("Conv2D",)
        edit(next(one for one in inner["config"]["layers"] if one["class_name"] in kinds)["config"])
        members["config.json"] = json.dumps(config).encode()

    rewritten(path, change)

    def never(*arguments, **options):
        raise AssertionError("native code reads what nobody checked")

    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", never)
    with pytest.raises((flatbuffer.Unknown, UserError)):
        saved.answers(path)
    with zipfile.ZipFile(path) as archive:  # the test changed what it wanted to
        assert archive.testzip() is None
