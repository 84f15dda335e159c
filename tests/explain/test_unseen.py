"""Whether a photo is unlike all known ones: on clusters with a known answer, and on files that
nobody would call photos.
"""

import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import utils
from mobilenet import BATCH, UserError
from mobilenet.explain import own_photos, unseen
from mobilenet.figures import lettering
from mobilenet.photos import decoding
from mobilenet.transfer.metrics import wilson_interval
from tests.helpers.drawn import draw, one_sentence
from tests.helpers.figure_contract import FigureContract

NAMES = ("alpaca", "not alpaca", "a class with a long name", "été", "$5 to $6")


def clusters(count, classes=2, channels=40, seed=0, centre=0):
    """Features of `count` photos of each class, about directions of their own."""
    centres = np.random.default_rng(centre).normal(0, 1, (classes, channels))
    noise = np.random.default_rng([seed, 1]).normal(0, 0.4, (classes * count, channels))
    return (np.repeat(centres, count, axis=0) + noise).astype(np.float16)


def own(count, classes=2, odd=0, left_out=(), names=None):
    """So many photos of one's own, the last `odd` of those shown unlike the known ones."""
    rng = np.random.default_rng(count)
    shown = min(count, own_photos.SHOWN)
    flags = np.zeros(count, bool)
    flags[shown - odd : shown] = True
    files = names or [f"deep/IMG_2024{i:04}.JPG" for i in range(count)]
    return own_photos.OwnPhotos(
        "my_photos",
        tuple(files),
        rng.integers(0, 256, (shown, 16, 16, 3), np.uint8),
        rng.dirichlet(np.ones(classes), count),
        flags,
        tuple(left_out),
    )


ODD_NAMES = ["W" * 60 + ".jpg", "$5 to $6.png", "照片.jpg", "i", "a\ufffdb.webp", "é" * 30]
FIGURES = {
    "own_grid": lambda: utils.own_grid(own(9, odd=3), NAMES[:2]),
    "own_grid of one": lambda: utils.own_grid(own(1), NAMES[:2]),
    "own_grid of one, unlike": lambda: utils.own_grid(own(1, odd=1), NAMES[:2]),
    "own_grid, five classes": lambda: utils.own_grid(own(24, 5, odd=24), NAMES),
    "own_grid, many": lambda: utils.own_grid(own(400, odd=5), NAMES[:2]),
    "own_grid, odd names": lambda: utils.own_grid(own(6, 2, 6, names=ODD_NAMES), NAMES[:2], True),
}


@pytest.mark.parametrize("figure", FIGURES, indirect=True)
class TestEveryFigure(FigureContract):
    FIGURES = FIGURES


# --- Near and far ---


@pytest.mark.parametrize(("count", "classes"), [(6, 2), (100, 2), (40, 5), (2500, 2)])
def test_what_is_elsewhere_is_unlike_and_what_is_here_is_not(count, classes):
    known = unseen.fit(clusters(count, classes))
    elsewhere = clusters(50, classes, centre=1)
    assert unseen.unseen(known, elsewhere).all()
    assert unseen.unseen(known, clusters(200, classes, seed=1)).mean() < 0.2
    assert not unseen.unseen(known, known.features).any(), "each is known"
    assert 0 < known.limit < unseen.distance(known, elsewhere).min() <= 2


def test_about_one_in_twenty_of_what_is_like_the_known_warns():
    shares = [
        unseen.unseen(unseen.fit(clusters(100, seed=i)), clusters(200, seed=100 + i)).mean()
        for i in range(20)
    ]
    assert np.mean(shares) == pytest.approx(unseen.ALARMS, abs=0.015)


@pytest.mark.parametrize("times", [2, 5])
def test_photos_that_are_there_several_times_do_not_tighten_the_limit(times):
    known = clusters(60)
    nudged = [known + 0.02 * clusters(60, seed=i).astype(np.float64) for i in range(times - 1)]
    once, often = unseen.fit(known), unseen.fit(np.concatenate([known, *nudged]))
    assert often.limit == pytest.approx(once.limit, rel=0.05)
    fresh = clusters(200, seed=9)
    assert unseen.unseen(often, fresh).mean() < 0.12


@given(st.integers(2, 60), st.integers(1, 25))
def test_in_blocks_as_at_once(count, block):
    known, asked = clusters(count), clusters(count, seed=1)
    whole = unseen.fit(known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unseen, "BLOCK", block)
        parts = unseen.fit(known)
        assert parts.limit == pytest.approx(whole.limit, abs=1e-9)
        in_parts = unseen.distance(parts, asked)
    assert in_parts == pytest.approx(unseen.distance(whole, asked), abs=1e-9)


@given(st.permutations(range(24)), st.floats(0.01, 100))
def test_neither_order_nor_brightness_of_features_counts(order, scale):
    known, asked = np.float64(clusters(12)), np.float64(clusters(12, seed=1))
    first, second = unseen.fit(known), unseen.fit(scale * known[order])
    assert second.limit == pytest.approx(first.limit)
    assert unseen.distance(second, scale * asked) == pytest.approx(unseen.distance(first, asked))


def test_the_distance_is_the_cosine_to_the_nearest():
    known = unseen.Known(np.array([[1.0, 0], [0, 2]]), 0.1)
    asked = np.array([[3.0, 0], [1, 1], [-1, 0], [0, 0]])
    assert unseen.distance(known, asked) == pytest.approx([0, 1 - 0.5**0.5, 1, 1])
    assert unseen.unseen(known, asked).tolist() == [False, True, True, True]
    assert unseen.distance(known, np.zeros((0, 2))).shape == (0,)


def test_too_little_to_go_by():
    for count in (0, 1):
        with pytest.raises(UserError, match="two or more") as raised:
            unseen.fit(np.ones((count, 4)))
        assert one_sentence(raised.value)
    assert unseen.fit(np.ones((12, 4))).limit == 2, "one photo twelve times: nothing warns"


def test_a_share_in_words():
    low, high = wilson_interval(3, 65)
    said = unseen.told(np.arange(65) < 3)
    assert said == f"3 of 65 (4.6 %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %)"


# --- Your own photos ---


@pytest.fixture(scope="module")
def asked(small):
    """(network, known, answer): dark photos are known, predictions say how bright a photo is."""
    from mobilenet.transfer import features

    dark = draw(20, size=small.size).images[:20]
    known = unseen.fit(features.activations(small, dark, None))

    def answer(images):
        assert 0 < len(images) <= BATCH, "a batch at a time"
        bright = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - bright, bright], axis=1)

    return small, known, answer


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_a_folder_a_file_and_what_is_no_photo(asked, tmp_path):
    images = draw(3, size=32, seed=4).images
    save(tmp_path / "b.png", images[0])
    save(tmp_path / "a" / "deep" / "c.JPG", images[5])
    save(tmp_path / ".hidden" / "d.png", images[1])
    save(tmp_path / "two\nlines $x$.png", images[1])
    (tmp_path / "text.jpg").write_text("I am no photo")
    (tmp_path / "empty.png").touch()
    (tmp_path / "phone.heic").write_bytes(b"heic")
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    found = own_photos.own_photos(tmp_path, *asked)
    assert found.files == ("a/deep/c.JPG", "b.png", "two\\nlines $x$.png")
    assert found.images.shape == (3, asked[0].size, asked[0].size, 3)
    assert found.p.argmax(axis=1).tolist() == [1, 0, 0]
    assert found.unseen.shape == (3,)
    reasons = dict(found.left_out)
    assert sorted(reasons) == ["empty.png", "link.png", "phone.heic", "pipe.png", "text.jpg"]
    assert reasons["link.png"] == "it is not there"
    lines = utils.own_words(found).splitlines()
    assert all(one_sentence(line) for line in lines)
    assert f"phone.heic could not be read: {decoding.why_not('phone.heic')}." in lines
    assert lines[-1] == "Passed over: 1 file that is no photo (pipe.png) and 2 hidden files."
    alone = own_photos.own_photos(tmp_path / "b.png", *asked)
    assert alone.files == ("b.png",)
    assert alone.p == pytest.approx(found.p[1:2])
    broken = own_photos.own_photos(tmp_path / "text.jpg", *asked)
    assert (broken.files, [file for file, _ in broken.left_out]) == ((), ["text.jpg"])


@pytest.mark.parametrize("name", ["empty", "not there"])
def test_where_there_is_nothing_it_says_what_to_do(asked, tmp_path, name):
    (tmp_path / "empty").mkdir()
    found = own_photos.own_photos(tmp_path / name, *asked)
    assert len(found.files) == len(found.images) == len(found.p) == len(found.unseen) == 0
    said = utils.own_words(found)
    assert one_sentence(said)
    assert name in said
    with pytest.raises(UserError, match="no photos") as raised:
        utils.own_grid(found, NAMES[:2])
    assert one_sentence(raised.value)


def test_a_relative_path_starts_at_the_root_where_notebooks_work_below(
    asked, tmp_path, monkeypatch
):
    monkeypatch.setattr("mobilenet.ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    save(tmp_path / "mine" / "b.png", draw(1, size=32).images[0])
    for place in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(place)
        found = own_photos.own_photos("mine", *asked)
        assert (found.place, found.files) == ("mine", ("b.png",))


def test_of_many_all_are_answered_and_few_are_kept(asked, tmp_path):
    images = draw(35, size=32, seed=5).images
    for i, image in enumerate(images):
        save(tmp_path / f"{i:03}.png", image)
    found = own_photos.own_photos(tmp_path, *asked)
    assert found.files == tuple(f"{i:03}.png" for i in range(70))
    assert len(found.images) == own_photos.SHOWN
    assert (found.p[:35, 1] < 0.5).all()
    assert (found.p[35:, 1] > 0.5).all()
    assert np.ptp(found.images[0].mean(axis=(0, 1))) < 5
    assert "The first 18 are shown, 52 more are not." in utils.own_words(found)


def test_a_folder_of_any_size_takes_little_memory(asked, tmp_path):
    image = draw(1, size=32).images[0]
    for i in range(400):
        save(tmp_path / f"{i:03}.png", image)
    photo = 3 * asked[0].size ** 2
    assert peak(lambda: own_photos.own_photos(tmp_path, *asked)) < 200 * photo


def test_5000_known_photos_are_compared_in_blocks():
    known = clusters(2500)
    assert peak(lambda: unseen.fit(known)) < 5000 * 5000 * 8 / 2


def peak(work):
    """Bytes that this work holds at most, beyond those that were held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_warning_differs_by_mark_frame_and_words():
    figure = utils.own_grid(own(5, odd=2), NAMES[:2])
    looks = {True: set(), False: set()}
    for i, axes in enumerate(axes for axes in figure.axes if axes.get_images()):
        spine = axes.spines["left"]
        looks[i >= 3].add((axes.get_xlabel(), spine.get_linewidth(), str(spine.get_linestyle())))
    ((nothing, *frame),) = looks[False]
    ((warning, *other_frame),) = looks[True]
    assert nothing == ""
    assert warning.split() == ["⚠", "unlike", "the", "training", "photos"]
    assert all(a != b for a, b in zip(frame, other_frame, strict=True))
    assert "2 of them marked" in figure.get_label()


def test_each_photo_carries_its_name_and_its_answer():
    names = [
        "deep/a.jpg",
        "照片.jpg",
        "$x$.png",
        "IMG_20240101_123456.jpg",
        "IMG_20240101_123457.jpg",
    ]
    given = own(5, 5, names=names)
    titles = [axes.get_title().splitlines() for axes in utils.own_grid(given, NAMES, True).axes][:5]
    expected = ["a.jpg", lettering.spelled("照片.jpg"), r"\$x\$.png"]
    assert [title[1] for title in titles[:3]] == expected
    assert len({title[1] for title in titles}) == 5, "photos of a series can be told apart"
    for (said, _), p in zip(titles, given.p, strict=True):
        assert said.endswith(f" {100 * p.max():.0f} %")
        assert said.startswith(NAMES[p.argmax()][:9].replace("$", r"\$"))
    plain = [axes.get_title() for axes in utils.own_grid(given, NAMES).axes][:5]
    assert plain == [said for said, _ in titles], "no names unless asked for"


def test_many_files_that_cannot_be_read_are_counted():
    left_out = [(f"{i}.jpg", "it is empty") for i in range(90)]
    lines = utils.own_words(own(2, left_out=left_out)).splitlines()
    assert lines[0] == "my_photos: 2 photos read."
    assert lines[-1] == "40 more could not be read."
    assert len(lines) == 1 + utils.NAMED + 1
