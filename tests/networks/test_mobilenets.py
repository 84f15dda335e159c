"""The networks built here are those of keras.applications, and those that notebook 2 writes out:
names, weights and outputs.
"""

from functools import cache

import nbformat
import numpy as np
import pytest

from mobilenet import UserError
from mobilenet.networks import cost, mobilenets
from mobilenet.system.engine import keras
from tests.helpers.copies import NOTEBOOKS, code_cells
from tests.helpers.drawn import one_sentence

V1_ALPHAS, V2_ALPHAS = (0.25, 0.5, 0.75, 1.0), (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SIZES = (96, 128, 160, 192, 224)
CASES = [("v1", alpha, 96) for alpha in V1_ALPHAS] + [("v2", alpha, 96) for alpha in V2_ALPHAS]
CASES += [(kind, alpha, size) for kind, alpha in (("v1", 0.25), ("v2", 0.35)) for size in SIZES[1:]]


def both(kind: str, alpha: float, size: int):
    """The same network from here and from Keras, without weights in common yet."""
    options = {"input_shape": (size, size, 3), "alpha": alpha, "weights": None}
    published = keras.applications.MobileNet if kind == "v1" else keras.applications.MobileNetV2
    ours = mobilenets.mobilenet_v1 if kind == "v1" else mobilenets.mobilenet_v2
    return ours(size, alpha), published(**options, classifier_activation=None)


def draw_weights(model) -> None:
    """Weights that keep the signal alive through all layers, statistics far from their start."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape, name = weight.shape, weight.path.rsplit("/", 1)[-1]
        if "kernel" in name:
            depthwise = len(shape) == 4 and shape[-1] == 1 and shape[0] == 3
            inputs = 9 if depthwise else np.prod(shape[:-1])
            value = rng.standard_normal(shape, np.float32) * np.sqrt(2 / inputs)
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.1, shape)
        weight.assign(value)


@pytest.mark.parametrize(("kind", "alpha", "size"), CASES)
def test_equal_weights_give_equal_outputs(kind, alpha, size):
    ours, published = both(kind, alpha, size)
    photos = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    draw_weights(published)
    ours.set_weights(published.get_weights())
    there = published(photos).numpy()
    assert there.std() > 0.1, "a comparison of zeros would say nothing"
    assert np.abs(ours(photos).numpy() - there).max() < 1e-5 * max(1, np.abs(there).max())
    if size != SIZES[0]:  # of which the weights do not know
        return
    assert ours.count_params() == published.count_params()
    named = {layer.name for layer in published.layers if layer.weights}
    assert {layer.name for layer in ours.layers if layer.weights} == named
    ours.set_weights([weight + i for i, weight in enumerate(ours.get_weights(), 1)])
    for layer in published.layers:  # and back, by name
        if layer.weights:
            layer.set_weights(ours.get_layer(layer.name).get_weights())
    # The same weights as in order, of which the outputs are known to be equal.
    assert all(map(np.array_equal, published.get_weights(), ours.get_weights()))


@cache
def thin(build, size: int, total_stride: int):
    """A thin network, built once for all tests."""
    return build(size, alpha=0.25, classes=10, dropout=0.1, total_stride=total_stride)


@pytest.mark.parametrize("build", [mobilenets.mobilenet_v1, mobilenets.mobilenet_v2])
@pytest.mark.parametrize(("size", "total_stride"), [(32, 8), (32, 4), (64, 16), (160, 32)])
def test_the_stride_plan_for_small_photos(build, size, total_stride):
    model = thin(build, size, total_stride)
    last = "conv_pw_13_relu" if build is mobilenets.mobilenet_v1 else "out_relu"
    side = size // total_stride
    assert model.get_layer(last).output.shape[1:3] == (side, side)
    assert model.output_shape == (None, 10)
    full = thin(build, size, min(32, size))
    assert model.count_params() == full.count_params(), "strides carry no weights"
    work, least = (cost.totals(cost.count(one)).multiply_adds for one in (model, full))
    assert work >= least


@pytest.mark.parametrize(
    ("size", "total_stride"), [(100, 32), (0, 32), (32, 3), (32, 64), (-32, 8)]
)
def test_sizes_that_will_not_do(size, total_stride):
    with pytest.raises(UserError) as raised:
        mobilenets.mobilenet_v2(size, total_stride=total_stride)
    assert one_sentence(raised.value)
    assert str(size) in str(raised.value)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(11.2, 16), (5.6, 8), (32, 32), (448 * 0.75, 336), (33.6, 32), (0, 8)],
)
def test_channels_are_multiples_of_eight(channels, expected):
    assert mobilenets.make_divisible(channels) == expected
    assert mobilenets.make_divisible(channels) >= 0.9 * channels


def test_full_convolutions_keep_the_shapes_of_the_body():
    full = mobilenets.mobilenet_v1(64, 0.25, 10, block=mobilenets.full_convolution)
    separable = thin(mobilenets.mobilenet_v1, 64, 32)
    for i in range(1, 14):
        convolution = full.get_layer(f"conv_{i}")
        assert convolution.kernel_size == (3, 3)
        assert convolution.output.shape == separable.get_layer(f"conv_pw_{i}").output.shape
    assert not any(isinstance(one, keras.layers.DepthwiseConv2D) for one in full.layers)


@pytest.mark.parametrize(
    ("shortcut", "stride", "channels", "joined"),
    [(True, 1, 16, True), (False, 1, 16, False), (True, 2, 16, False), (True, 1, 24, False)],
)
def test_the_input_is_added_where_it_fits(shortcut, stride, channels, joined):
    inputs = keras.Input((8, 8, 16))
    outputs = mobilenets.inverted_residual(inputs, 6, channels, stride, 1, shortcut)
    model = keras.Model(inputs, outputs)
    assert any(isinstance(one, keras.layers.Add) for one in model.layers) is joined
    assert model.output_shape == (None, 8 // stride, 8 // stride, channels)


# --- Notebook 2 shows what mobilenets.py does ---

WRITTEN = (
    "depthwise_separable",
    "mobilenet_v1",
    "inverted_residual",
    "round_channels",
    "mobilenet_v2",
)


@pytest.fixture(scope="module")
def page():
    """What the cells of notebook 2 that write out blocks and networks define, by name."""
    known = {"keras": keras, "mobilenets": mobilenets, "cost": cost, "ALPHA": 0.25, "SIZE": 32}
    notebook = nbformat.read(NOTEBOOKS["02_mobilenet_architecture"], as_version=4)
    for cell in code_cells(notebook):
        if any(f"def {name}(" in cell.source for name in WRITTEN):
            exec(cell.source, known)
    return known


def described(model) -> dict:
    """Each layer of a network by name: kind, options, inputs, and the shapes of its weights."""
    found = {}
    for one in model.layers:
        options = one.get_config()
        # For training from scratch the momentum is another; a kernel of 1 × 1 needs no padding.
        options.pop("momentum", None)
        if options.get("kernel_size") == (1, 1):
            options.pop("padding")
        inputs = one.input if isinstance(one.input, list) else [one.input]
        before = [tensor._keras_history.operation.name for tensor in inputs]
        found[one.name] = type(one), options, before, [weight.shape for weight in one.weights]
    return found


@pytest.mark.parametrize(
    ("kind", "alpha"), [("v1", 0.25), ("v1", 0.75), ("v2", 0.35), ("v2", 0.75), ("v2", 1.3)]
)
def test_the_networks_on_the_page_are_those_of_networks(kind, alpha, page):
    name, last = (
        ("mobilenet_v1", "conv_pw_13_relu") if kind == "v1" else ("mobilenet_v2", "out_relu")
    )
    written, built = page[name](64, alpha), getattr(mobilenets, name)(64, alpha)
    assert cost.totals(cost.count(written)) == cost.totals(cost.count(built)), "with the classifier"
    assert written.count_params() == built.count_params()
    below, same = (keras.Model(one.input, one.get_layer(last).output) for one in (written, built))
    assert described(below) == described(same)
    draw_weights(same)
    below.set_weights(same.get_weights())
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    assert np.array_equal(below(photos), same(photos))


def test_the_table_and_the_rounding_on_the_page_are_those_of_networks(page):
    assert tuple(page["stages"]) == mobilenets.V2_BODY
    for channels in np.arange(0, 2000, 0.7):
        assert page["round_channels"](channels) == mobilenets.make_divisible(channels)
