"""A classifier as a LiteRT model: what is exported, what answers, what is refused."""

import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

from mobilenet import ROOT, evaluate, export, predict, train
from mobilenet.inference import classifier, litert, saved
from mobilenet.networks import backbone, cost, mobilenets
from mobilenet.phone import convert
from mobilenet.photos import datasets, loading, splits
from mobilenet.photos.photos import Photos
from mobilenet.system.engine import keras, tf
from mobilenet.transfer import features, training
from tests.helpers.drawn import ALPHA, SIZE, draw, one_sentence, refusal, write

KINDS = convert.KINDS
MODELS = "nested, two classes", "nested, five classes", "from scratch"
device = pytest.mark.device  # of the suite that exports


@pytest.fixture(scope="module")
def network():
    """A trained backbone: an untrained one makes much of what is rounded otherwise."""
    return backbone.load(alpha=ALPHA, size=SIZE, weights="bundled")


def nested(network, shown: Photos, path: Path) -> Path:
    """A classifier as notebook 3 saves it, with a head that knows these photos."""
    classes = len(shown.class_names)
    rows = features.activations(network, shown.images, None)
    head, knobs = training.build_head(network.channels, classes, 0.2, 0), {"learning_rate": 0.01}
    training.fit(head, rows[None], shown.labels, rows, shown.labels, epochs=200, seed=0, **knobs)
    classifier.save(path, classifier.assemble(network, head), shown.class_names)
    return path


@pytest.fixture(scope="module")
def made(network, tmp_path_factory):
    """Of each of MODELS a saved classifier and the photos it learned from."""
    folder = tmp_path_factory.mktemp("models")
    two, five = draw(25), draw(10, classes=5)
    data = write(folder / "photos", draw(60, classes=3, size=32))
    plan = ("--model", "mobilenetv1", "--alpha", "0.25", "--size", "32", "--epochs", "60")
    assert train.main([*plan, "--data", str(data), "--out", str(folder / "run")]) == 0
    learned = datasets.load(str(data), 32, 0)["train"]
    return {
        MODELS[0]: (nested(network, two, folder / "two.keras"), two),
        MODELS[1]: (nested(network, five, folder / "five.keras"), five),
        MODELS[2]: (folder / "run" / "model.keras", learned),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that `mobilenet.train` made in one epoch, of few blocks, and the photos' folder."""
    folder = tmp_path_factory.mktemp("run")
    data = write(folder / "photos", draw(25, classes=3, size=32))
    plan = ("--model", "mobilenetv1", "--alpha", "0.25", "--size", "32", "--epochs", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:3])
        assert train.main([*plan, "--data", str(data), "--out", str(folder / "out")]) == 0
    return folder / "out" / "model.keras", data


def about(path: Path) -> dict:
    return {k: v for k, v in saved.read_card(path).items() if k in convert.KEPT}


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """A function of the name of a model and a kind to the file, which is written once."""
    folder = tmp_path_factory.mktemp("exported")

    @functools.cache
    def make(name: str, kind: str) -> Path:
        path, learned = made[name]
        data = convert.convert(*classifier.load(path), kind, learned.images, **about(path))
        (out := folder / f"{MODELS.index(name)}_{kind}.tflite").write_bytes(data)
        return out

    return make


def others(learned: Photos) -> Photos:
    """Photos like those that were learned from."""
    return draw(8, len(learned.class_names), learned.images.shape[1], seed=1)


def unpacked(data: bytes):
    """The model as TensorFlow's schema has it."""
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


# --- The answers ---


@device
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_file_answers_as_the_keras_model(made, exported, name, kind):
    path, learned = made[name]
    model, names = classifier.load(path)
    compute, found, size = litert.load(exported(name, kind))
    assert (found, size) == (names, model.input_shape[1])
    new = others(learned)
    expected, p = classifier.compiled(model)(new.images), compute(new.images)
    assert (p.dtype, p.shape) == (np.float64, expected.shape)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)), abs=1e-5 if kind != "int8" else 0.02)
    sure = expected.max(axis=1) > 0.7
    assert sure.mean() > 0.2, "else this shows nothing"
    assert (p.argmax(axis=1) == expected.argmax(axis=1))[sure].all()
    if kind == "none":
        assert p == pytest.approx(expected, abs=1e-4)
    elif kind == "float16":
        assert np.abs(p - expected).max() < convert.CLOSE / 2


@device
def test_any_number_of_photos_on_any_number_of_threads(made, exported):
    new, path = others(made[MODELS[0]][1]), exported(MODELS[0], "int8")
    whole = litert.load(path)[0](new.images)
    for threads in (1, 2):
        compute, names, _ = litert.load(path, threads)
        assert (compute(new.images) == whole).all()
        assert (compute(new.images[:1]) == whole[:1]).all()
        assert compute(new.images[:0]).shape == (0, len(names))


@device
@pytest.mark.parametrize("kind", KINDS)
def test_one_photo_of_bytes_in_and_probabilities_out(exported, kind):
    one = tf.lite.Interpreter(str(exported(MODELS[1], kind)))
    (taken,), (given,) = one.get_input_details(), one.get_output_details()
    assert (taken["dtype"], tuple(taken["shape"])) == (np.uint8, (1, SIZE, SIZE, 3))
    assert (given["dtype"], tuple(given["shape"])) == (np.float32, (1, 5))
    # The learned photos are neither black nor white, and 8 bits are a photo's own all the same.
    assert taken["quantization"] == ((1.0, 0) if kind == "int8" else (0.0, 0))
    assert one.get_signature_list()["serving_default"]["inputs"] == ["photo"], "as apps name it"


@device
def test_8_bits_have_a_scale_for_each_channel(exported):
    for name in (MODELS[0], MODELS[2]):
        model = unpacked(exported(name, "int8").read_bytes())
        graph, counts = model.subgraphs[0], {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0}
        codes = {3: ("CONV_2D", 0), 4: ("DEPTHWISE_CONV_2D", 3)}  # and the axis of the channels
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            if code in codes:
                kernel, (kind, axis) = graph.tensors[operator.inputs[1]], codes[code]
                assert kernel.type == 9, "int8"
                assert len(kernel.quantization.scale) == kernel.shape[axis] > 1
                assert kernel.quantization.quantizedDimension == axis
                counts[kind] += 1
        assert min(counts.values()) >= 13
        inside = {graph.tensors[i].type for one in graph.operators for i in one.outputs}
        assert inside <= {0, 9}, "all that is computed is 8 bits, but the answer"
        floats = [i for one in graph.operators for i in one.outputs if graph.tensors[i].type == 0]
        assert floats == list(graph.outputs)


@device
def test_smaller_with_fewer_bits(exported):
    sizes = [exported(MODELS[0], kind).stat().st_size for kind in KINDS]
    assert sizes[1] < 0.56 * sizes[0]
    assert sizes[2] < 0.37 * sizes[0]  # of a small network; the names in it take their share


@device
def test_what_is_shared_in_the_file_changes_no_answer(exported):
    data, builder = exported(MODELS[1], "int8").read_bytes(), flatbuffers.Builder()
    builder.Finish(unpacked(data).Pack(builder), b"TFL3")
    plain, answers = bytes(builder.Output()), []
    for content in (data, plain):
        one = tf.lite.Interpreter(model_content=content)
        one.allocate_tensors()
        one.set_tensor(one.get_input_details()[0]["index"], draw(1).images[:1])
        one.invoke()
        answers.append(one.get_tensor(one.get_output_details()[0]["index"]))
    assert len(data) < 0.9 * len(plain)
    assert (answers[0] == answers[1]).all()


# --- The card ---


@device
@pytest.mark.parametrize("name", MODELS)
def test_the_file_says_what_it_is(made, exported, name):
    model, names = classifier.load(made[name][0])
    card, size = litert.read_card(exported(name, "float16")), model.input_shape[1]
    total = cost.totals(cost.count(model))
    del card["sha256"]
    assert card == {
        "class_names": list(names),
        "size": size,
        "geometry": {"shorter_side": size, "crop": "center", "channels": "RGB", "range": [0, 255]},
        "quantize": "float16",
        "multiply_adds": total.multiply_adds,
        "parameters": total.parameters,
        **about(made[name][0]),
    }


@device
def test_names_of_any_kind(light_classifier, tmp_path):
    names = ('é "🦙"', "a\udcff\\")
    convert.save(
        tmp_path / "x.tflite", convert.convert(classifier.load(light_classifier)[0], names)
    )
    assert litert.load(tmp_path / "x.tflite")[1] == names


# --- The photos that 8 bits take their ranges from ---


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The photos that the command hands to the conversion, which is left out."""
    seen = []

    def convert(model, names, quantize, photos, **about):
        seen.append(np.array(photos))
        return b"a model"

    monkeypatch.setattr(export, "convert", convert)
    monkeypatch.setattr(export, "kernels", lambda data: "nobody's")
    monkeypatch.setattr(export, "BUILD", tmp_path / "build")
    return seen


def calibrated(model: Path, folder: Path, asked, monkeypatch) -> np.ndarray:
    monkeypatch.setenv("PHOTOS", str(folder))
    out = folder.parent / "out.tflite"
    assert export.main([str(model), "--quantize", "int8", "--out", str(out)]) == 0
    assert out.read_bytes() == b"a model"
    return asked.pop()


def test_the_photos_are_those_of_the_training(short, asked, tmp_path, monkeypatch, capsys):
    folder = write(tmp_path / "photos", draw(30))
    everything = loading.load_photos(folder, SIZE)
    names = everything.class_names
    model = classifier.assemble(short, training.build_head(short.channels, 2, 0.2, 0))
    classifier.save(tmp_path / "model.keras", model, names[::-1])
    seeds = [splits.split(everything, seed) for seed in (0, 2)]
    images = [everything.images[parts["train"]] for parts in seeds]

    def found() -> np.ndarray:
        return calibrated(tmp_path / "model.keras", folder, asked, monkeypatch)

    assert np.array_equal(found(), images[0]), "nothing is said of the split"
    classifier.save(tmp_path / "model.keras", model, names, seed=2)
    assert np.array_equal(found(), images[1]), "the model says how"
    classifier.save(tmp_path / "model.keras", model, names)
    classifier.save(tmp_path / "all.keras", model, names, part="all")
    whole = calibrated(tmp_path / "all.keras", folder, asked, monkeypatch)
    assert np.array_equal(whole, everything.images[:]), "mobilenet.head solved it on all"
    assert f"with 60 photos of {folder}: if others trained" in capsys.readouterr().out


def test_the_photos_of_a_run(run, asked, monkeypatch, capsys):
    path, folder = run
    learned = datasets.load(str(folder), 32, 0)["train"].images
    assert np.array_equal(calibrated(path, folder, asked, monkeypatch), learned)
    said = f"It was calibrated with {min(convert.MOST, len(learned))} photos of {folder}.\n"
    assert said in capsys.readouterr().out


@device
def test_only_photos_of_the_training_change_the_file(made, tmp_path, monkeypatch):
    """Those of validation and test become noise, and not a byte differs; then those of training."""
    path, _ = made[MODELS[2]]
    folder = tmp_path / "photos"
    shutil.copytree(path.parents[1] / "photos", folder)
    parts, rng = datasets.load(str(folder), 32, 0), np.random.default_rng(0)
    monkeypatch.setenv("PHOTOS", str(folder))

    def written() -> bytes:
        out = tmp_path / "out.tflite"
        assert export.main([str(path), "--quantize", "int8", "--out", str(out)]) == 0
        return out.read_bytes()

    def spoil(part: str) -> None:
        noise = rng.integers(0, 256, parts[part].images.shape, np.uint8)
        write(folder, Photos(parts[part].files, noise, None, ()))

    before = written()
    spoil("val")
    spoil("test")
    assert written() == before
    spoil("train")
    assert written() != before


# --- The commands ---


@device
def test_the_command_writes_one_line_and_no_file_of_another_kind(made, tmp_path, capfd):
    model = shutil.copy(made[MODELS[0]][0], tmp_path / "a.keras")
    for kind, name in (("none", "a.tflite"), ("float16", "a_float16.tflite")):
        assert export.main([str(model), "--quantize", kind]) == 0
        said = capfd.readouterr()
        out = tmp_path / name
        count = f"{out.stat().st_size:,}"
        assert re.fullmatch(rf"{re.escape(str(out))}: {kind}, {count} bytes, .*\n", said.out)
        assert said.err == ""
        assert litert.read_card(out)["quantize"] == kind
    assert len(list(tmp_path.iterdir())) == 3


def digits_aside(text: str) -> str:
    return re.sub(r"[\d.,]+", "0", text)


@device
def test_the_commands_say_of_both_files_the_same(made, exported, tmp_path, capsys):
    path, learned = made[MODELS[2]]
    shown = write(tmp_path / "shown", others(learned))
    said = []
    for model in (path, exported(MODELS[2], "none")):
        assert predict.main([str(shown), "--model", str(model)]) == 0
        said.append(capsys.readouterr())
    assert digits_aside(said[0].out) == digits_aside(said[1].out)
    assert said[0].err == said[1].err == ""
    rows = []
    for model in (path, exported(MODELS[2], "none")):
        assert predict.main([str(shown), "--model", str(model), "--json"]) == 0
        rows.append([json.loads(row) for row in capsys.readouterr().out.splitlines()])
    for ours, theirs in zip(*rows, strict=True):
        assert ours["path"] == theirs["path"]
        assert ours["p"] == pytest.approx(theirs["p"], abs=1e-4)  # Keras, folded or not: 2e-5
    said = []
    for model in (path, exported(MODELS[2], "none")):
        data = str(path.parents[1] / "photos")
        assert evaluate.main([str(model), "--data", data]) == 0
        said.append(capsys.readouterr().out.splitlines())
    assert digits_aside(said[0][0]) == digits_aside(said[1][0]), "what it costs"
    assert said[0][0].split(",")[:2] == said[1][0].split(",")[:2]
    assert said[0][1:] == said[1][1:], "what it answers"


@device
def test_predicting_needs_no_tensorflow(exported, tmp_path):
    photo = write(tmp_path, draw(1)) / "class a" / "000.png"
    program = (
        "import sys; from mobilenet import predict; code = predict.main(sys.argv[1:]); "
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules; sys.exit(code)"
    )
    line = [sys.executable, "-c", program, str(photo), "--model", str(exported(MODELS[0], "int8"))]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("P(class a) = ")


# --- What is refused ---


def test_without_litert_a_sentence_names_what_to_install(
    light_classifier, tmp_path, monkeypatch, capsys
):
    """And the file is exported all the same."""
    out = tmp_path / "x.tflite"
    for name in [name for name in sys.modules if name.split(".")[0] == "ai_edge_litert"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert export.main([str(light_classifier), "--out", str(out)]) == 0
    capsys.readouterr()
    photo = write(tmp_path, draw(1)) / "class a" / "000.png"
    for main, arguments in (
        (predict.main, [str(photo), "--model", str(out)]),
        (evaluate.main, [str(out)]),
    ):
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert one_sentence(said.err[:-1])
        assert "requirements.txt" in said.err
    assert (ROOT / "requirements.txt").is_file()


@pytest.mark.parametrize("count", [None, 0, 31])
def test_too_few_photos(light_classifier, count):
    few = None if count is None else draw(16).images[:count]
    said = refusal(convert.convert, *classifier.load(light_classifier), "int8", few)
    assert f"there are {count or 0}:" in said
    assert "32 or more" in said


def test_photos_of_other_classes_and_of_another_training(
    run, short, light_classifier, tmp_path, monkeypatch, capsys
):
    five = tmp_path / "five.keras"
    head = training.build_head(short.channels, 5, dropout=0.2, seed=0)
    classifier.save(five, classifier.assemble(short, head), draw(1, classes=5).class_names)
    monkeypatch.setenv("PHOTOS", str(write(tmp_path / "photos", draw(12, classes=4, size=32))))
    for path in (light_classifier, five, run[0]):
        assert export.main([str(path), "--quantize", "int8"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert one_sentence(said.err[:-1])
        assert "'class d'" in said.err
    write(tmp_path / "more", draw(26, classes=3, size=32))
    monkeypatch.setenv("PHOTOS", str(tmp_path / "more"))
    assert export.main([str(run[0]), "--quantize", "int8"]) == 1
    said = capsys.readouterr().err
    assert one_sentence(said[:-1])
    assert "not those that the model was trained on" in said


def test_a_seed_that_is_none(light_classifier, tmp_path, capsys):
    model, names = classifier.load(light_classifier)
    classifier.save(tmp_path / "x.keras", model, names, seed=-1, quantize="?", photos=[])
    assert export.main([str(tmp_path / "x.keras"), "--quantize", "int8"]) == 1
    assert one_sentence(capsys.readouterr().err[:-1])


class Values(keras.layers.Layer):
    """Singular values, which LiteRT does not know."""

    def call(self, photos):
        return tf.linalg.svd(photos[..., 0], compute_uv=False)

    def compute_output_shape(self, shape):
        return shape[0], shape[1]


def test_no_such_kind(light_classifier):
    assert "'int4'" in refusal(convert.convert, *classifier.load(light_classifier), "int4")


def test_a_model_that_cannot_be_converted(capfd):
    photo = keras.Input((32, 32, 3))
    model = keras.Model(photo, keras.layers.Dense(1)(Values()(photo)), name="odd")
    assert "'odd' holds a layer" in refusal(convert.convert, model, ("a", "b"))
    assert capfd.readouterr() == ("", "")


def test_a_model_that_16_bits_cannot_hold(light_classifier):
    model, names = classifier.load(light_classifier)
    last = model.get_layer("logits")
    kernel, bias = last.get_weights()
    kernel[:] = -1e9
    kernel[::5] = 1e10  # more than the others together, unless both are cut off at 65504
    last.set_weights([kernel, bias])
    assert "in float16" in refusal(convert.convert, model, names, "float16")


@pytest.mark.parametrize("file", ["nowhere.keras", "notes.txt", "broken.keras"])
def test_no_model(file, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "broken.keras").write_text("no model")
    assert export.main([str(tmp_path / file)]) == 1
    said = capsys.readouterr()
    assert one_sentence(said.err[:-1])
    assert file in said.err
    assert not list(tmp_path.glob("*.tflite"))


def test_bad_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        export.main(["--quantize", "int4"])
    assert stop.value.code == 2
    assert one_sentence(capsys.readouterr().err[:-1])


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_model_without_a_name(name, capsys):
    assert export.main([name]) == 1
    assert one_sentence(capsys.readouterr().err.rstrip("\n"))
