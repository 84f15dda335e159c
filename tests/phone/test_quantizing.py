"""Rounding to a few bits: its bounds hold for all numbers, and networks take it as they should."""

import os
import shlex
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import utils
from mobilenet import UserError
from mobilenet.figures import phone
from mobilenet.inference import classifier
from mobilenet.networks import folding
from mobilenet.phone import quantizing, speed
from mobilenet.system.engine import keras
from mobilenet.transfer import training
from tests.helpers.drawn import draw, one_sentence
from tests.helpers.figure_contract import FigureContract

BITS = st.integers(2, 16)
NUMBERS = st.floats(-1e6, 1e6)
ROWS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1e3, 1e3, width=32),
)


def kernel(channels=20, seed=0):
    """Channels of 3 × 3 weights, one ten thousand times as large as another, one empty."""
    rows = np.random.default_rng(seed).normal(size=(channels, 9))
    rows *= np.geomspace(1, 1e4, channels)[:, None]
    rows[-1] = 0
    return rows.astype(np.float32)


# --- Numbers ---


@given(NUMBERS, NUMBERS, st.floats(0, 1), BITS)
def test_no_number_of_the_range_is_farther_than_half_a_scale(one, other, share, bits):
    low, high = sorted((one, other))
    scale, zero_point = quantizing.grid(low, high, bits)
    value = np.clip(low + share * (high - low), low, high)
    levels = quantizing.quantize(value, scale, zero_point, bits)
    error = abs(quantizing.dequantize(levels, scale, zero_point) - value)
    assert error <= scale / 2 * (1 + 1e-6)


@given(NUMBERS, NUMBERS, BITS)
def test_zero_is_a_level_and_stays_zero(one, other, bits):
    scale, zero_point = quantizing.grid(*sorted((one, other)), bits)
    lowest, highest = quantizing.limits(bits)
    assert lowest <= zero_point <= highest
    assert quantizing.quantize(0.0, scale, zero_point, bits) == zero_point
    assert quantizing.dequantize(np.array(zero_point), scale, zero_point) == 0


def test_levels_are_those_of_8_bits():
    assert quantizing.limits(8) == (-128, 127)
    assert quantizing.grid(0, 255) == (1.0, -128)
    assert quantizing.grid(0, 0) == (1.0, -128)
    found = quantizing.quantize([-5, 0, 100, 255, 300], 1.0, -128)
    assert found.tolist() == [-128, -128, -28, 127, 127]


@pytest.mark.parametrize("bits", [1, 0, -3, 17])
def test_bits_that_make_no_levels(bits):
    with pytest.raises(UserError, match=f"{bits} bits") as raised:
        quantizing.limits(bits)
    assert one_sentence(raised.value)


@pytest.mark.parametrize("ends", [(1, 0), (np.nan, 1), (0, np.inf)])
def test_a_range_that_is_none(ends):
    with pytest.raises(UserError, match="no levels from") as raised:
        quantizing.grid(*ends)
    assert one_sentence(raised.value)


# --- Kernels ---


@given(ROWS, st.booleans(), BITS)
def test_no_weight_is_farther_than_half_its_scale(rows, per_channel, bits):
    half = quantizing.scales(rows, per_channel, bits)[:, None] / 2
    assert (np.abs(quantizing.rounded(rows, per_channel, bits) - rows) <= half * (1 + 1e-6)).all()
    last = quantizing.limits(bits)[1]
    assert np.abs(quantizing.weight_levels(rows, per_channel, bits)).max() <= last


@given(ROWS, st.booleans(), BITS)
def test_rounding_twice_is_rounding_once(rows, per_channel, bits):
    once = quantizing.rounded(rows, per_channel, bits)
    assert np.allclose(quantizing.rounded(once, per_channel, bits), once, rtol=1e-9, atol=0)


def test_small_channels_drown_in_one_scale_and_not_in_their_own():
    rows = kernel()
    lost = [np.abs(quantizing.weight_levels(rows, per)).max(axis=1) == 0 for per in (False, True)]
    assert lost[0].sum() > 5
    assert lost[1].sum() == 1, "only the channel that is empty"
    noise = [
        quantizing.signal_to_noise(rows, quantizing.rounded(rows, per)) for per in (False, True)
    ]
    assert (noise[0][lost[0]][:-1] == 0).all(), "nothing is left: 0 dB"
    assert noise[0][-1] == np.inf
    assert noise[1].min() > 35


def test_a_bit_more_is_6_decibels():
    rows = np.random.default_rng(0).normal(size=(1, 100_000))
    some = [
        quantizing.signal_to_noise(rows, quantizing.rounded(rows, True, bits))[0] for bits in (8, 9)
    ]
    assert some[1] - some[0] == pytest.approx(20 * np.log10(255 / 127), abs=0.1)


def test_rows_are_the_output_channels():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 1, name="pointwise")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Conv2D(4, 3, name="standard")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    found = quantizing.kernels(model)
    kinds = {name: quantizing.kind_of(layer) for name, layer in found.items()}
    assert kinds == {
        "pointwise": "pointwise",
        "depthwise": "depthwise",
        "standard": "other",
        "dense": "other",
    }
    shapes = {name: quantizing.by_channel(layer).shape for name, layer in found.items()}
    assert shapes == {
        "pointwise": (5, 3),
        "depthwise": (5, 9),
        "standard": (4, 45),
        "dense": (2, 4),
    }
    kernel = found["depthwise"].kernel.numpy()
    assert np.array_equal(quantizing.by_channel(found["depthwise"])[2], kernel[:, :, 2, 0].ravel())


# --- Networks ---


@pytest.fixture(scope="module")
def folded(short):
    """A classifier, folded; its head is untrained."""
    head = training.build_head(short.channels, 2, dropout=0.2, seed=0)
    return folding.fold(classifier.assemble(short, head))


@pytest.mark.parametrize("kind", quantizing.KINDS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_only_kernels_of_the_kind_are_rounded(folded, kind, per_channel):
    copy = folding.fold(folded)
    copy.set_weights(quantizing.rounded_weights(folded, per_channel, 4, (kind,)))
    before, after = quantizing.kernels(folded), quantizing.kernels(copy)
    assert list(before) == list(after)
    for name, layer in before.items():
        exact, found = quantizing.by_channel(layer), quantizing.by_channel(after[name])
        if quantizing.kind_of(layer) == kind:
            assert np.allclose(found, quantizing.rounded(exact, per_channel, 4), rtol=1e-6)
            assert not np.array_equal(found, exact)
        else:
            assert np.array_equal(found, exact)
        if layer.use_bias:
            assert np.array_equal(layer.bias, after[name].bias)


def test_trials_say_what_the_rounded_network_says(folded):
    photos = draw(4).images
    groups = {"depthwise": ("depthwise",), "all": quantizing.KINDS}
    before = folded.get_weights()
    found = quantizing.trials(folded, photos, (8, 3), groups)
    assert all(map(np.array_equal, before, folded.get_weights())), "the network stays as it is"
    assert set(found) == {(g, per, n) for g in groups for per in (False, True) for n in (8, 3)}
    copy = folding.fold(folded)
    copy.set_weights(quantizing.rounded_weights(folded, True, 8))
    expected = copy(photos.astype(np.float32), training=False)
    assert np.allclose(found["all", True, 8].logits, expected, rtol=1e-3, atol=1e-4)
    assert found["all", True, 8].error < found["all", True, 3].error


def test_corrected_biases_bring_the_means_back(folded):
    """Of every channel of every layer, on the photos that corrected them; kernels are rounded."""
    photos = draw(6).images.astype(np.float32)
    before = folded.get_weights()
    found = quantizing.corrected(folded, photos)
    assert all(map(np.array_equal, before, folded.get_weights())), "the network stays as it is"
    plain = folding.fold(folded)
    plain.set_weights(quantizing.rounded_weights(folded, True))
    outputs = {}
    for name, model in (("exact", folded), ("plain", plain), ("corrected", found)):
        (inner,) = (one for one in model.layers if isinstance(one, keras.Model))
        ask = keras.Model(
            inner.input, [layer.output for layer in quantizing.kernels(inner).values()]
        )
        outputs[name] = [one.numpy().mean(axis=(0, 1, 2)) for one in ask(photos / 127.5 - 1)]
        for layer, old in zip(
            quantizing.kernels(inner).values(), quantizing.kernels(plain).values(), strict=False
        ):
            assert name == "exact" or np.array_equal(layer.kernel, old.kernel)
    for exact, rounded, mended in zip(*outputs.values(), strict=True):
        size = np.abs(exact).max()
        assert np.abs(mended - exact).max() <= 1e-3 * size
        assert np.abs(rounded - exact).max() > 0


def test_the_worst_layer_has_the_lowest_signal_to_noise(folded):
    worst = quantizing.worst(folded, "depthwise")
    assert quantizing.kind_of(worst) == "depthwise"
    medians = {
        name: np.median(quantizing.signal_to_noise(rows, quantizing.rounded(rows, False)))
        for name, layer in quantizing.kernels(folded).items()
        if quantizing.kind_of(layer) == "depthwise"
        for rows in [quantizing.by_channel(layer)]
    }
    assert medians[worst.name] == min(medians.values())


def test_ranges_hold_all_photos(small):
    photos = draw(20).images / np.float32(127.5) - 1
    found = quantizing.activation_ranges(small.model, photos)
    assert {name: len(ends) for name, ends in found.items()} == {
        "before ReLU6": 35,
        "after ReLU6": 35,
        "bottleneck": 17,
    }
    assert (found["after ReLU6"] >= 0).all()
    assert (found["after ReLU6"] <= 6).all()
    assert np.allclose(found["after ReLU6"], found["before ReLU6"].clip(0, 6))
    halves = [quantizing.activation_ranges(small.model, half) for half in (photos[:7], photos[7:])]
    for name, ends in found.items():
        first, second = (half[name] for half in halves)
        assert np.allclose(ends[:, 0], np.minimum(first[:, 0], second[:, 0]), atol=1e-4)
        assert np.allclose(ends[:, 1], np.maximum(first[:, 1], second[:, 1]), atol=1e-4)


# --- Time ---


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A model that a shell answers for, in as many milliseconds as it has threads, which takes no
    TensorFlow; of any other model the process is the command's own.
    """
    worker = tmp_path / "python"
    worker.write_text(
        f"""#!/bin/sh
case $3 in
*there*) while read -r _; do echo "0.00$4"; done ;;
*) exec {shlex.quote(sys.executable)} "$@" ;;
esac
"""
    )
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    return tmp_path / "there.keras"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_every_way_is_timed_in_every_round(light_classifier, there):
    times = speed.milliseconds([(there, 1), (light_classifier, 2), (there, 3)], 3)
    assert times.shape == (3, 3)
    assert (times[1] > 0).all()
    assert times[::2].tolist() == [[1.0] * 3, [3.0] * 3]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_model_that_does_not_answer_is_named(there, tmp_path, capfd):
    with pytest.raises(UserError, match=r"gone\.tflite cannot be timed") as raised:
        speed.milliseconds([(there, 1), (tmp_path / "gone.tflite", 1)], 1)
    assert one_sentence(raised.value)
    assert one_sentence(capfd.readouterr().err.strip()), "what the process itself says"


def test_no_round_is_refused():
    with pytest.raises(UserError, match="0 rounds"):
        speed.milliseconds([], 0)


# --- Pictures ---


def answers(count, classes, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count)


def of_bits(bits):
    ways = [(kind, per, n) for n in bits for kind in ("depthwise", "pointwise") for per in (0, 1)]
    errors = {way: 2.0 ** -way[2] * (2 - way[1]) for way in ways}
    return utils.bits_plot(errors, dict.fromkeys(ways, 50), 54, {"exact": 52, "commonest": 27})


def of_files(*megabytes):
    """Files of these sizes, all of them as fast, as `size_time_plot` takes them."""
    names = ("Keras", "float32", "float16", "int8")
    rows = [(1e6 * size, 3.0, "63 of 65 correct") for size in megabytes]
    return dict(zip(names, rows, strict=True))


FIGURES = {
    "levels_plot": lambda: utils.levels_plot(-1, 3, 3),
    "levels_plot, 2 bits": lambda: utils.levels_plot(0, 6, 2),
    "ranges_plot": lambda: utils.ranges_plot(
        {"as trained": np.geomspace(1, 20, 900), "folded": np.geomspace(1e-20, 900, 900)}, 8
    ),
    "kernels_plot": lambda: utils.kernels_plot(kernel(), 8),
    "kernels_plot, few channels": lambda: utils.kernels_plot(kernel(3), 4),
    "clarity_plot": lambda: utils.clarity_plot(
        {"block_14_depthwise": kernel(), "expanded_conv_project": kernel(300)}, 8
    ),
    "bits_plot": lambda: of_bits((8, 7, 6, 5, 4)),
    "bits_plot, two": lambda: of_bits((16, 2)),
    "steps_plot": lambda: utils.steps_plot(
        {
            where: np.stack([np.full(n, low), np.linspace(4, top, n)], axis=1)
            for where, n, low, top in (
                ("before ReLU6", 35, -9, 60),
                ("after ReLU6", 35, 0, 6),
                ("bottleneck", 17, -30, 40),
            )
        }
    ),
    "size_time_plot": lambda: phone.size_time_plot(of_files(9.6, 8.9, 4.5, 2.5)),
    "size_time_plot, all alike": lambda: phone.size_time_plot(of_files(1, 1, 1, 1)),
    "changed_grid": lambda: utils.changed_grid(draw(9), answers(18, 2, 0), answers(18, 2, 1)),
    "changed_grid, one": lambda: utils.changed_grid(
        draw(1, 3).subset(np.array([1])), answers(1, 3, 0), answers(1, 3, 1)
    ),
}


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = FIGURES


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.floats(0.1, 10))
def test_labels_are_apart_and_stay_inside(heights, gap):
    found = phone._apart(heights, 100, gap)
    assert (np.diff(np.sort(found)) >= gap * (1 - 1e-6)).all()
    assert found.min() >= gap / 2 * (1 - 1e-6)
    assert found.max() <= 100 - gap / 2 * (1 - 1e-6)
    assert np.abs(found - heights).max() <= gap * len(heights)


def test_photos_that_changed_come_first():
    photos = draw(4)
    before = np.tile([0.9, 0.1], (8, 1))
    after = before.copy()
    after[5] = 0.45, 0.55
    after[2] = 0.6, 0.4
    figure = utils.changed_grid(photos, before, after)
    titles = [axes.get_title() for axes in figure.axes if axes.get_images()]
    assert len(titles) == 8
    assert "✗ class a 55 %" in titles[0]
    assert "90 % → 60 %" in titles[1]
    assert not any("90 % →\n" in title for title in titles[1:])
    assert "1 of them got another class" in figure.get_label()
