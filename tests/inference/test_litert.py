"""Files that LiteRT shall run: what is damaged or none of ours is refused before it reads them."""

import pytest

from mobilenet.inference import classifier, litert
from mobilenet.phone import convert
from mobilenet.system.engine import keras, tf
from mobilenet.system.guards import quiet
from tests.helpers.damages import damages
from tests.helpers.drawn import refusal

pytestmark = pytest.mark.device


def test_a_damaged_file_is_refused_before_the_runtime_sees_it(
    saved_classifier, tmp_path, monkeypatch
):
    whole = convert.convert(*classifier.load(saved_classifier))
    path = tmp_path / "x.tflite"
    path.write_bytes(whole)
    litert.load(path)

    def never(*arguments, **options):
        raise AssertionError("native code reads a damaged file")

    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", never)
    for what, content in damages(whole, 200):
        path.write_bytes(content)
        said = refusal(litert.load, path)
        assert said.startswith(str(path)), what
        assert len(said) < 300


def test_a_sum_that_is_no_sum(saved_classifier, tmp_path):
    """Half of a surrogate, which JSON takes for text and no encoding writes."""
    whole = convert.convert(*classifier.load(saved_classifier))
    start = whole.index(b'"sha256": "') + 11
    (tmp_path / "x.tflite").write_bytes(whole[:start] + b"\xed\xa0\x80" + whole[start + 3 :])
    assert "is damaged" in refusal(litert.load, tmp_path / "x.tflite")


def test_files_that_are_none_of_ours(saved_classifier, tmp_path):
    path = tmp_path / "x.tflite"
    assert "There is no model" in refusal(litert.load, path)
    path.write_text("no model at all")
    assert "is no LiteRT model" in refusal(litert.load, path)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with quiet():
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(plain).convert())
    assert "does not name its classes" in refusal(litert.load, path)
    model, names = classifier.load(saved_classifier)
    path.write_bytes(convert.convert(model, (*names, "more")))
    assert "other than it says" in refusal(litert.load, path)
    path.write_bytes(convert.convert(model, names[:1]))
    refusal(litert.load, path)
