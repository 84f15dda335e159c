"""The arithmetic of multiply-adds and parameters, against the papers and against Keras."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenet import ROOT, UserError
from mobilenet.cost import main
from mobilenet.networks import cost, mobilenets
from mobilenet.system import measuring
from mobilenet.system.engine import keras

kl = keras.layers


def counted(shape, *layers):
    """The rows of a stack of layers on inputs of this shape."""
    return cost.count(keras.Sequential([keras.Input(shape), *layers]))


# --- The closed forms ---


def test_the_papers_row_to_the_digit():
    row = {"d_k": 3, "m": 512, "n": 512, "d_f": 14}
    assert cost.standard(**row) == (462_422_016, 2_359_296)
    assert cost.separable(**row) == (52_283_392, 266_752)
    assert cost.separable(**row, alpha=0.75) == (29_578_752, 150_912)
    assert cost.separable(**row, alpha=0.75, rho=0.714) == (15_091_200, 150_912)


sides, channels, maps = st.integers(1, 5), st.integers(1, 12), st.integers(1, 9)


@given(d_k=sides, m=channels, n=channels, d_f=maps)
@settings(max_examples=25, deadline=None)
def test_the_closed_forms_are_what_keras_builds(d_k, m, n, d_f):
    full = counted((d_f, d_f, m), kl.Conv2D(n, d_k, padding="same", use_bias=False))
    halves = counted(
        (d_f, d_f, m),
        kl.DepthwiseConv2D(d_k, padding="same", use_bias=False),
        kl.Conv2D(n, 1, use_bias=False),
    )
    assert cost.totals(full) == cost.standard(d_k, m, n, d_f)
    assert cost.totals(halves) == cost.separable(d_k, m, n, d_f)


@given(d_k=sides, m=st.integers(1, 2048), n=st.integers(1, 2048), d_f=st.integers(1, 512))
def test_separable_over_standard_is_the_ratio(d_k, m, n, d_f):
    full, parts = cost.standard(d_k, m, n, d_f), cost.separable(d_k, m, n, d_f)
    for some, whole in zip(parts, full, strict=True):
        # Without fractions: some / whole = 1/N + 1/D_K².
        assert some * n * d_k**2 == whole * (d_k**2 + n)


@given(d_k=sides, m=channels, n=channels, d_f=maps, k=st.integers(1, 8))
def test_alpha_and_rho_scale_as_the_paper_says(d_k, m, n, d_f, k):
    full = cost.standard(d_k, m, n, d_f)
    assert cost.standard(d_k, m, n, d_f, alpha=k) == (k**2 * full[0], k**2 * full[1])
    assert cost.standard(d_k, m, n, d_f, rho=k) == (k**2 * full[0], full[1])
    assert cost.depthwise(d_k, m, d_f, alpha=k) == tuple(k * x for x in cost.depthwise(d_k, m, d_f))
    assert cost.separable(d_k, k * m, k * n, d_f) == cost.separable(d_k, m, n, d_f, alpha=k)


def test_eight_times_fewer_begins_at_72_channels():
    fewer = [cost.standard(3, 9, n, 7)[0] / cost.separable(3, 9, n, 7)[0] for n in (71, 72, 10**6)]
    assert fewer[0] < 8 <= fewer[1] < fewer[2] < 9


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan")])
def test_sizes_are_whole_numbers(value):
    for arguments in [(value, 2, 2, 2), (2, value, 2, 2), (2, 2, value, 2), (2, 2, 2, value)]:
        with pytest.raises(UserError, match="whole numbers"):
            cost.separable(*arguments)


@pytest.mark.parametrize("value", [0, -0.5, float("inf"), float("nan")])
def test_multipliers_are_finite_and_above_0(value):
    for multiplier in ("alpha", "rho"):
        with pytest.raises(UserError, match="above 0"):
            cost.standard(3, 8, 8, 8, **{multiplier: value})


def test_a_thin_network_keeps_one_channel_and_one_pixel():
    assert cost.standard(3, 8, 8, 8, alpha=0.01, rho=0.01) == (9, 9)


# --- Layers of Keras ---


def test_the_small_layer_of_the_notes():
    (full,) = counted((32, 32, 32), kl.Conv2D(64, 3, padding="same"))
    depth, point = counted((32, 32, 32), kl.DepthwiseConv2D(3, padding="same"), kl.Conv2D(64, 1))
    assert full.parameters == 18_496
    assert (depth.parameters, point.parameters) == (320, 2_112)
    assert (full.kind, depth.kind, point.kind) == ("standard", "depthwise", "pointwise")
    assert depth.input_shape == depth.output_shape == point.input_shape == (32, 32, 32)


def test_a_separable_layer_is_its_two_halves():
    one = counted((9, 9, 4), kl.SeparableConv2D(6, 3, strides=2, depth_multiplier=2))
    two = counted(
        (9, 9, 4),
        kl.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False),
        kl.Conv2D(6, 1),
    )
    assert [row[1:] for row in one] == [row[1:] for row in two]
    assert one[0].output_shape == (4, 4, 8)


@pytest.mark.parametrize(
    ("groups", "kind"), [(1, "standard"), (2, "grouped"), (4, "grouped"), (8, "depthwise")]
)
def test_groups_divide_the_bill(groups, kind):
    (row,) = counted((6, 6, 8), kl.Conv2D(8, 3, padding="same", groups=groups, use_bias=False))
    whole = cost.standard(3, 8, 8, 6)
    assert row.kind == kind
    assert (row.multiply_adds, row.parameters) == tuple(part // groups for part in whole)


@pytest.mark.parametrize(
    ("arguments", "pixels"),
    [
        ({"padding": "valid"}, 8 * 8),
        ({"padding": "same"}, 10 * 10),
        ({"padding": "same", "strides": 3}, 4 * 4),
        ({"padding": "valid", "strides": 3}, 3 * 3),
        ({"padding": "valid", "dilation_rate": 2}, 6 * 6),
    ],
)
def test_only_the_output_map_counts(arguments, pixels):
    (row,) = counted((10, 10, 2), kl.Conv2D(5, 3, **arguments))
    assert row.multiply_adds == 3 * 3 * 2 * 5 * pixels
    assert row.parameters == 3 * 3 * 2 * 5 + 5


@pytest.mark.parametrize(
    ("shape", "layer", "multiply_adds", "kind"),
    [
        ((10, 2), kl.Conv1D(4, 3, padding="causal"), 10 * 3 * 2 * 4, "standard"),
        ((5, 5, 5, 2), kl.Conv3D(4, 3), 27 * 27 * 2 * 4, "standard"),
        ((10, 2), kl.DepthwiseConv1D(3), 8 * 3 * 2, "depthwise"),
        ((4, 4, 2), kl.Conv2DTranspose(5, 3, strides=2), 4 * 4 * 9 * 2 * 5, "transposed"),
        ((7,), kl.Dense(3), 21, "dense"),
        ((6, 7), kl.Dense(3), 6 * 21, "dense"),
        ((1, 1, 7), kl.Conv2D(3, 1), 21, "dense"),
        ((1, 1, 7), kl.Conv2D(3, 1, use_bias=False), 21, "pointwise"),
        ((2, 10, 10), kl.Conv2D(5, 3, data_format="channels_first"), 64 * 90, "standard"),
    ],
)
def test_kinds_of_layers(shape, layer, multiply_adds, kind):
    (row,) = counted(shape, layer)
    assert (row.multiply_adds, row.kind) == (multiply_adds, kind)
    assert row.parameters == layer.count_params()


def test_what_has_no_kernel_is_free():
    rows = counted(
        (8, 8, 3),
        kl.Normalization(mean=0.0, variance=1.0),
        kl.BatchNormalization(),
        kl.ReLU(6.0),
        kl.Lambda(keras.ops.relu),
        kl.RandomFlip(),
        kl.MaxPooling2D(2),
        kl.Flatten(),
        kl.Dense(2),
    )
    assert [row.kind for row in rows] == ["dense"]


def test_a_shared_layer_counts_each_call_but_its_weights_once():
    shared = kl.Conv2D(3, 3, padding="same")
    rows = counted((8, 8, 3), shared, kl.MaxPooling2D(2), shared)
    assert [row.multiply_adds for row in rows] == [9 * 3 * 3 * 64, 9 * 3 * 3 * 16]
    assert [row.parameters for row in rows] == [84, 0]


def test_several_inputs():
    photo, number = keras.Input((8, 8, 3), name="photo"), keras.Input((5,), name="number")
    outputs = [kl.Conv2D(2, 3)(photo), kl.Dense(4)(number)]
    rows = cost.count(keras.Model({"photo": photo, "number": number}, outputs))
    assert sorted(row.multiply_adds for row in rows) == [5 * 4, 6 * 6 * 9 * 3 * 2]


def test_models_inside_models():
    inner = [kl.Conv2D(4, 3, padding="same", use_bias=False), kl.AveragePooling2D(2)]
    inner = keras.Sequential([keras.Input((8, 8, 4)), *inner])
    inputs = keras.Input((8, 8, 4))
    middle = keras.Model(inputs, inner(inputs))
    once = counted((8, 8, 4), middle, kl.GlobalAveragePooling2D(), kl.Dense(2))
    assert [row.kind for row in once] == ["standard", "dense"]
    assert cost.totals(once) == (9 * 16 * 64 + 8, 9 * 16 + 8 + 2)

    photo = keras.Input((8, 8, 4))
    twice = cost.count(keras.Model(photo, kl.Add()([middle(photo), middle(photo)])))
    assert cost.totals(twice) == (2 * 9 * 16 * 64, 9 * 16)


def test_a_call_in_another_model_is_not_counted():
    shared, small, large = kl.Conv2D(3, 3), keras.Input((8, 8, 3)), keras.Input((10, 10, 3))
    models = [keras.Model(photo, shared(photo)) for photo in (small, large)]
    found = [cost.totals(cost.count(model)).multiply_adds for model in models]
    assert found == [9 * 3 * 3 * 36, 9 * 3 * 3 * 64]


@pytest.mark.parametrize("make", [mobilenets.mobilenet_v1, mobilenets.mobilenet_v2])
def test_a_plain_classifier_counts_as_its_network_does(make):
    """As notebooks 3 and 4 build it: augmentation, scaling, and the network as one layer."""
    network, photo = make(64, 0.35), keras.Input((64, 64, 3))
    augmentation = keras.Sequential([kl.RandomFlip("horizontal"), kl.RandomRotation(0.1)])
    x = network(augmentation(photo) / 127.5 - 1, training=False)
    assert cost.count(keras.Model(photo, kl.Dropout(0.2)(x))) == cost.count(network)


def test_counting_changes_nothing_and_is_repeatable():
    model = cost.build("mobilenet_v1", 0.25, 32)
    before = model.count_params(), model.to_json()
    assert cost.count(model) == cost.count(model)
    assert before == (model.count_params(), model.to_json())


@pytest.mark.parametrize("shape", [(None, None, 3), (None, 8, 3)])
def test_an_undefined_size_is_refused(shape):
    with pytest.raises(UserError, match=r"no defined input size.*\.$"):
        counted(shape, kl.Conv2D(4, 3))


def test_a_model_without_inputs_is_refused():
    with pytest.raises(UserError, match="no defined input size"):
        cost.count(keras.Sequential([kl.Conv2D(4, 3)]))


class Own(kl.Layer):
    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 4), name="matrix")

    def call(self, inputs):
        return inputs @ self.matrix


class Block(kl.Layer):
    def __init__(self):
        super().__init__()
        self.convolution = kl.Conv2D(4, 3, padding="same")

    def call(self, inputs):
        return inputs + self.convolution(inputs)


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((5, 3), kl.LSTM(4)),
        ((5, 3), kl.EinsumDense("abc,cd->abd", output_shape=(None, 4))),
        ((5, 3), kl.TimeDistributed(kl.Dense(2))),
        ((5, 8, 8, 3), kl.ConvLSTM2D(2, 3)),
        ((3,), Own()),
        ((8, 8, 4), Block()),
    ],
)
def test_an_unknown_kernel_is_refused(shape, layer):
    with pytest.raises(UserError, match=r"^Cannot count the multiply-adds of .*\.$"):
        counted(shape, layer)


# --- Bytes and seconds ---


def test_bytes_of_a_pointwise_layer():
    (row,) = counted((7, 7, 4), kl.Conv2D(6, 1, use_bias=False))
    assert cost.bytes_moved(row) == 4 * (7 * 7 * 4 + 7 * 7 * 6 + 4 * 6)
    assert cost.bytes_moved(row, photos=8) == 4 * (8 * (7 * 7 * 4 + 7 * 7 * 6) + 4 * 6)


def test_timing_goes_in_rounds():
    calls = []
    times = measuring.median_seconds(
        [lambda: calls.append("a"), lambda: calls.append("b")], repeats=5
    )
    assert calls == ["a", "b"] * 6
    assert len(times) == 2
    assert min(times) >= 0
    with pytest.raises(UserError, match="5 or more"):
        measuring.median_seconds([], repeats=4)


# --- The command ---


def command(*arguments, **options):
    line = [sys.executable, "-m", "mobilenet.cost", *arguments]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, **options)


def test_the_command_prints_a_table(capsys):
    assert main(["--model", "mobilenet_v2", "--alpha", "1.0", "--size", "224"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].split()[:4] == ["layer", "kind", "output", "multiply-adds"]
    assert len(lines) == 1 + 53 + 1 + 4 + 1
    assert lines[1].split()[:4] == ["Conv1", "standard", "112×112×32", "10,838,016"]
    assert lines[-1].split() == ["all", "300,774,272", "100.00%", "3,470,760", "100.00%"]
    assert max(map(len, lines)) <= 100


def test_the_command_prints_one_json_object(capsys):
    line = ["--model", "mobilenet_v1", "--alpha", "0.5", "--size", "160", "--json"]
    assert main(line) == 0
    said = capsys.readouterr()
    assert said.err == ""
    report = json.loads(said.out)
    assert (report["multiply_adds"], report["parameters"]) == (76_524_800, 1_320_648)
    assert len(report["layers"]) == 28
    for part in ("layers", "kinds"):
        rows = report[part] if part == "layers" else report[part].values()
        assert sum(row["multiply_adds"] for row in rows) == report["multiply_adds"]
        assert sum(row["parameters"] for row in rows) == report["parameters"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--alpha", "0"],
        ["--alpha", "-1"],
        ["--alpha", "nan"],
        ["--alpha", "inf"],
        ["--alpha", "wide"],
        ["--size", "100"],
        ["--size", "0"],
        ["--size", "-32"],
        ["--size", "224.0"],
        ["--size", "9" * 30],
        ["--model", "mobilenet_v9"],
        ["--colour"],
        ["photo.jpg"],
    ],
)
def test_bad_usage_is_one_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    assert (stop.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert arguments[-1] in said.err or "--model" in said.err
    assert said.err.endswith(".\n")


def test_bad_usage_from_outside():
    done = command("--alpha", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "python -m mobilenet.cost: argument --alpha: 0 is not a number above 0 and up to 4.\n"
    )


def test_a_network_that_cannot_be(capsys):
    assert main(["--model", "mobilenet_v1", "--alpha", "0.001"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_a_reader_that_stops_early_sees_no_traceback():
    line = [sys.executable, "-m", "mobilenet.cost", "--alpha", "0.35", "--size", "32"]
    writer = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    writer.stdout.close()  # before a byte is written: what `| head` does, at its worst
    said = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait() == 0
    assert said == b""


def test_a_reader_of_json_that_stops_early(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["--alpha", "0.35", "--size", "32", "--json"]) == 0
    assert capsys.readouterr().err == ""
