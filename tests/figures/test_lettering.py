"""Names in figures: in fonts that have their letters, told apart however they are cut, and figures
of many classes.
"""

import unicodedata
import warnings
from functools import cache, partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import fontManager

import utils
from mobilenet.figures import lettering
from mobilenet.photos.photos import Photos
from mobilenet.photos.splits import split
from mobilenet.transfer import metrics
from tests.helpers.drawn import one_sentence
from tests.helpers.figure_contract import FigureContract, texts

NAMES = ("三毛猫", "三毛犬", "柴犬のこども", "שלום עולם", "مرحبا", "e\u0301te\u0301")
NAMES = (*NAMES, "ไทย", "a\u200bb", "\udcff.")
FAMILY = "Made for a test"


def of_classes(names, count=6):
    """Photos of classes, at least five of each, more of some than of others."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(names)), rng.integers(5, count, len(names), endpoint=True))
    images = rng.integers(0, 255, (len(labels), 8, 8, 3)).astype(np.uint8)
    files = tuple(f"{names[k]}/{i}.jpg" for i, k in enumerate(labels))
    return Photos(files, images, labels, tuple(names))


def answers(photos):
    logits = np.random.default_rng(1).normal(0, 1, (len(photos), len(photos.class_names)))
    logits[np.arange(len(photos)), photos.labels] += 3
    return metrics.probabilities(logits)


def long(count):
    return [f"a class with a rather long name, number {i}" for i in range(count)]


def feature_map(photos):
    before = np.random.default_rng(2).normal(0, 1, (len(photos), 8))
    before += 3 * np.eye(len(photos.class_names), 8)[photos.labels]
    return utils.feature_map(photos, before, before[::-1])


KINDS = {
    "class_balance": lambda photos: utils.class_balance(photos, split(photos, 0)),
    "confusion_photos": lambda photos: utils.confusion_photos(photos, answers(photos)),
    "prediction_grid": lambda photos: utils.prediction_grid(photos, answers(photos), rows=2),
    "feature_map": feature_map,
    "threshold_plot": lambda photos: utils.threshold_plot(
        answers(photos)[:, 1], photos.labels == 1, 0.5, photos.class_names[1]
    ),
}
CASES = {"6, long": long(6), "9": NAMES, "30, long": long(30)}
WIDE = {"120": [f"{i}" for i in range(120)]}
FIGURES = {
    f"{kind}, {case}": partial(KINDS[kind], of_classes(names))
    for case, names in {**CASES, **WIDE}.items()
    for kind in KINDS
    if case in CASES or kind in ("class_balance", "confusion_photos", "feature_map")
}


@cache
def made(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as one that a glyph is missing
        figure = FIGURES[name]()
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = {name: partial(made, name) for name in FIGURES}  # noqa: RUF012


def test_a_bar_for_each_class_counts_its_photos():
    photos = of_classes(long(30), 40)
    (axes,) = utils.class_balance(photos, split(photos, 0)).axes
    counts = np.bincount(photos.labels)
    assert [int(one.get_text()) for one in axes.texts] == counts.tolist()
    assert len({one.get_text() for one in axes.get_yticklabels()}) == 30


def test_of_very_many_classes_the_most_frequent_mistakes_are_named():
    photos = of_classes([f"{i}" for i in range(60)])
    labels, p = photos.labels, np.eye(60)[photos.labels]
    p[labels == 7] = np.eye(60)[41]
    p[np.flatnonzero(labels == 3)[0]] = np.eye(60)[2]
    (axes,) = utils.confusion_photos(photos, p).axes
    assert [one.get_text() for one in axes.get_yticklabels()] == ["7 as 41", "3 as 2"]
    assert [int(one.get_text()) for one in axes.texts] == [(labels == 7).sum(), 1]


# --- Names ---


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8, unique=True), st.integers(4, 20))
def test_no_two_names_are_alike(names, limit):
    said = [lettering.short(name, limit, names) for name in names]
    assert len(set(said)) == len(names)
    for one in said:
        assert lettering.width(one.replace(r"\$", "$")) <= lettering.LETTER * limit + 1
        assert one.replace(r"\$", "").count("$") == 0


def test_ends_are_kept_where_beginnings_are_alike():
    names = ["Siberian pointer, male", "Siberian pointer, female"]
    said = [lettering.short(name, 14, names) for name in names]
    assert [one[-4:] for one in said] == ["male", "male"]
    assert len(set(said)) == 2
    assert lettering.short(names[0], 14) == "Siberian poin…"


def test_a_mark_stays_with_its_letter():
    name = "q\u0303" * 20
    said = lettering.short(name, 9).rstrip("…")
    assert said == name[: len(said)]
    assert unicodedata.combining(said[-1])


# --- Fonts ---


def made_font(path: Path, letters: str) -> Path:
    """A font of one face that has these letters, each a square."""
    names = {ord(letter): f"u{ord(letter):x}" for letter in letters}
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for corner in ((50, 700), (750, 700), (750, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = [".notdef", *names.values()]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap(names)
    font.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 50)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular"})
    font.setupPost()
    font.save(path)
    return path


# Letters of an old script, which no usual font has.
LINEAR_A = "\U00010600\U00010601\U00010602"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A font that has two letters of LINEAR_A and those of ASCII, among the fonts of matplotlib."""
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    monkeypatch.setattr(lettering, "_found", [])
    lettering._find.cache_clear()
    lettering._short.cache_clear()
    lettering._files.cache_clear()
    ascii_ = "".join(map(chr, range(32, 127)))
    fontManager.addfont(made_font(tmp_path / "made.ttf", ascii_ + LINEAR_A[:2]))


def families_of(figure):
    return {tuple(one.get_fontfamily()) for one in texts(figure)}


def drawn(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = utils.photo_grid(of_classes(names))
        figure.draw_without_rendering()
    return figure, {one.get_text() for one in texts(figure)}


def test_a_font_that_is_there_is_found(installed):
    figure, said = drawn([LINEAR_A[:2], LINEAR_A[0]])
    assert said == {LINEAR_A[:2], LINEAR_A[0]}
    (families,) = families_of(figure)
    assert families[0] == matplotlib.rcParams["font.family"][0]
    assert families[-1] == FAMILY


def test_letters_that_no_font_has_are_spelled(installed, capsys, caplog):
    names = [LINEAR_A[:2], LINEAR_A[1:]]
    assert drawn(names)[1] == {names[0], f"{LINEAR_A[1]}\\U00010602"}
    told = utils.describe(of_classes(names)).splitlines()
    assert told[0].endswith(f"{names[1]}; 0 files left out.")
    assert f"class names: figures write {LINEAR_A[1]}\\U00010602 for {names[1]}." in told[1]
    assert one_sentence(told[1])
    assert (*capsys.readouterr(), caplog.text) == ("", "", "")


@pytest.mark.parametrize("setting", ["font.family", "font.sans-serif"])
def test_the_font_that_matplotlib_is_set_to_comes_first(installed, setting):
    with matplotlib.rc_context({setting: [FAMILY]}):
        figure, said = drawn([LINEAR_A[0], "llama ✓"])  # the mark is in DejaVu Sans alone
        (families,) = families_of(figure)
    assert said == {LINEAR_A[0], "llama ✓"}
    assert families[0] == (FAMILY if setting == "font.family" else "sans-serif")
