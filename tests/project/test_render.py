"""Drawn pictures: the same on every machine, different from each other, all there and small."""

import hashlib
import io
import math

import numpy as np
import pytest
from PIL import Image, features

from dataset import render
from dataset.rendering import (
    animals,
    bodies,
    framing,
    herds,
    props,
    scenes,
    shapes,
    things,
    tracing,
)
from mobilenet import ROOT

RENDERED = ROOT / "dataset" / "rendered"
OTHER = ROOT / "dataset" / "rendered_other"
ONE_OF_EACH = ["alpaca/001.jpg", *(f"not alpaca/{kind}-01.jpg" for kind in render.OTHERS)]
ONE_OF_EACH_OTHER = [name for name in render.other_names() if name.endswith("-1.jpg")]

# sha256 of the pixels of ONE_OF_EACH and ONE_OF_EACH_OTHER, 32 px and one ray a pixel. Whoever
# changes what is drawn runs `make rendered` and puts the new values here.
PIXELS = "9512ea4f46306faecfbeb1ab2bf5b3dd56cf777b4b0e11be0c97201981663a0a"
OTHER_PIXELS = "6a22b8dfdcff48e64d19017107a5a595a961ed4a8ead67a05caf696cd6044d08"
LIBJPEG = "libjpeg-turbo 3.2.0"  # wrote the files in dataset/rendered/


@pytest.fixture(scope="module")
def small() -> dict[str, np.ndarray]:
    """One small picture of each kind, by its name."""
    return {name: render.picture(name, 32, 1) for name in (*ONE_OF_EACH, *ONE_OF_EACH_OTHER)}


@pytest.mark.parametrize("name", [*ONE_OF_EACH, *ONE_OF_EACH_OTHER])
def test_the_same_name_gives_the_same_pixels(name, small):
    again = render.picture(name, 32, 1)
    assert again.shape == (32, 32, 3) and again.dtype == np.uint8
    assert np.array_equal(again, small[name])


def test_every_machine_draws_the_same_pixels(small):
    for names, known in ((ONE_OF_EACH, PIXELS), (ONE_OF_EACH_OTHER, OTHER_PIXELS)):
        pixels = b"".join(small[name].tobytes() for name in names)
        assert hashlib.sha256(pixels).hexdigest() == known


def test_other_names_give_other_pictures(small):
    pictures = [*small.values(), *(render.picture(f"alpaca/00{i}.jpg", 32, 1) for i in (2, 3))]
    for i, one in enumerate(pictures):
        assert one.std() > 8, "a picture of nothing"
        for other in pictures[:i]:
            assert np.abs(one.astype(int) - other).mean() > 8


def test_more_rays_a_pixel_show_the_same_scene(small):
    name = ONE_OF_EACH[0]
    smooth = render.picture(name, 32, 2).astype(int)
    assert np.abs(smooth - small[name]).mean() < 16


def test_names_are_unique_and_tell_the_animal():
    names = render.names()
    assert len(set(names)) == len(names) == 480
    assert sum(name.startswith("alpaca/") for name in names) == len(names) / 2
    assert {render.species(name) for name in names} == {"mixed", None, *animals.SPECIES}


@pytest.fixture(scope="module")
def composed() -> dict[str, list[scenes.Scene]]:
    """The scenes of alpacas and of other animals, and those of nobody."""
    found = {"alpaca": [], "not alpaca": [], "nobody": []}
    for name in render.names():
        species = render.species(name)
        scene = scenes.compose(shapes.Dice(render.SEED, name), species)
        found[name.split("/")[0] if species else "nobody"].append(scene)
    return found


SHARES = {
    "time": (scenes.TIMES, 0.10),
    "place": (scenes.PLACES, 0.10),
    "weather": (scenes.WEATHER, 0.10),
    "framing": (framing.FRAMINGS, 0.10),
    "screen": (props.SCREENS, 0.10),
    "count": (herds.GROUP, 0.10),
    "shaded": ((True,), 0.10),
    "backlit": ((True,), 0.12),
}


@pytest.mark.parametrize("what", SHARES)
def test_the_background_says_nothing_of_the_class(what, composed):
    def value(scene):
        if what == "shaded":
            return scene.shade is not None
        return scene.sun[2] > 0 if what == "backlit" else getattr(scene, what)

    keys, most = SHARES[what]
    for key in keys:
        share = [
            sum(value(scene) == key for scene in composed[of]) / len(composed[of])
            for of in ("alpaca", "not alpaca")
        ]
        assert abs(share[0] - share[1]) < most, f"{what} {key}: {share[0]:.0%} and {share[1]:.0%}"
        assert min(share) > 0.01, f"{what} {key} is never drawn"


def test_nobody_is_where_nobody_is_said_to_be(composed):
    assert all(scene.count == 0 for scene in composed["nobody"])
    assert all(scene.count > 0 for of in ("alpaca", "not alpaca") for scene in composed[of])


def test_companions_of_alpacas_are_those_of_other_herds():
    kinds = {"alpaca": [], "mixed": []}
    for species, found in kinds.items():
        for i in range(400):
            found += herds.kinds(shapes.Dice(species, str(i)), species, True)
    assert {*kinds["alpaca"]} == {"alpaca", *herds.COMPANIONS}
    assert {*kinds["mixed"]} == {*herds.COMPANIONS}
    for found in kinds.values():
        others = [kind for kind in found if kind != "alpaca"]
        for kind in herds.COMPANIONS:
            assert abs(others.count(kind) / len(others) - 1 / len(herds.COMPANIONS)) < 0.05


@pytest.mark.parametrize("how", [key for key in props.SCREENS if key != "none"])
def test_what_stands_before_an_animal_leaves_its_head_in_sight(how):
    hidden = 0
    for i in range(8):
        dice = shapes.Dice(how, str(i))
        herd = herds.gather(dice, ["alpaca"], False, 1.0)
        camera = framing.frame(dice, herd, "near")
        screen = props.hide(dice, how, camera, herd, "sheep")
        body, head = framing.seen(camera, herd[0], screen)
        assert head >= props.LEAST_HEAD and body >= props.LEAST
        hidden += body <= props.MOST
    assert hidden >= 6, "it hides nothing"


def test_an_animal_in_a_wide_scene_is_small():
    for i in range(8):
        dice = shapes.Dice("wide", str(i))
        herd = herds.gather(dice, ["alpaca", "alpaca"], False, 1.5)
        camera = framing.frame(dice, herd, "wide")
        low, high = herd[0].box()
        size = max(high[0] - low[0], high[1] - low[1]) * camera.zoom / camera.distance / 2
        assert 0.14 < size < 0.42
        assert framing.seen(camera, herd[0], [])[0] == 1, "some of it is outside the picture"


@pytest.mark.parametrize("kind", ["stand", "walk", "graze", "lie"])
def test_all_animals_touch_the_ground(kind):
    for name, animal in animals.SPECIES.items():
        solid = animal(shapes.Dice(name), bodies.Pose(kind, look=0.4)).place(0, 0, 0.0)
        lowest = solid.box()[0][1]
        assert -0.1 < lowest < 0.01, f"a {name} floats or sinks: {lowest:.2f} m"


def test_things_are_no_animals_and_stand_on_the_ground():
    names = render.other_names()
    assert len(set(names)) == len(names) == 3 * len({*things.SOLIDS, *things.PATTERNS})
    assert not {*things.SOLIDS, *things.PATTERNS} & {*animals.SPECIES, "nobody"}
    for name, thing in things.SOLIDS.items():
        lowest = thing(shapes.Dice(name)).place(0, 0, 0.0).box()[0][1]
        assert -0.25 < lowest < 0.03, f"the {name} floats or sinks: {lowest:.2f} m"


@pytest.mark.parametrize(
    ("folder", "wanted", "bytes_in_all"),
    [(RENDERED, render.names(), 9_000_000), (OTHER, render.other_names(), 600_000)],
)
def test_the_committed_pictures_are_all_there_and_small(folder, wanted, bytes_in_all):
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert files == sorted(wanted)
    for file in files:
        with Image.open(folder / file) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (256, 256), "RGB")
    assert sum((folder / file).stat().st_size for file in files) < bytes_in_all


@pytest.mark.parametrize(
    ("folder", "name"),
    [(RENDERED, "alpaca/003.jpg"), (OTHER, "bicycle-1.jpg"), (OTHER, "dots-2.jpg")],
)
def test_a_committed_picture_is_what_is_drawn_now(folder, name):
    data, committed = render.encode(render.picture(name)), (folder / name).read_bytes()
    mine, theirs = (np.asarray(Image.open(io.BytesIO(d))).astype(int) for d in (data, committed))
    # Decoded alike, so that what JPEG loses cancels out: only another encoder's rounding is left.
    assert np.abs(mine - theirs).mean() < 0.5
    if libjpeg() == LIBJPEG:
        assert data == committed


def libjpeg() -> str:
    """The encoder that Pillow brings, with its version."""
    turbo = features.version("libjpeg_turbo")
    return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"


def test_pictures_are_drawn_where_they_should_be_however_many_at_a_time(tmp_path):
    wanted = ["alpaca/004.jpg", "not alpaca/dog-02.jpg", "not alpaca/nobody-03.jpg"]
    (tmp_path / "one" / "alpaca").mkdir(parents=True)
    (tmp_path / "one" / "alpaca" / "mine.jpg").write_bytes(b"mine")
    render.draw_all(tmp_path / "one", wanted, size=32, processes=1)
    render.draw_all(tmp_path / "two", wanted, size=32, processes=2)
    two = sorted(p.relative_to(tmp_path / "two").as_posix() for p in tmp_path.rglob("two/*/*"))
    assert two == sorted(wanted), "no more and no less, and nothing half written"
    for name in wanted:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "alpaca" / "mine.jpg").read_bytes() == b"mine"


def test_the_command_says_what_it_drew(tmp_path, capsys):
    assert render.main(tmp_path / "drawn", ["alpaca/001.jpg"], size=32) == 0
    assert capsys.readouterr().out == "1 picture drawn into drawn/, 0.0 MB.\n"


def test_a_ray_meets_a_ball_where_it_should():
    ball = shapes.Blobs()
    ball.add((0, 1, 0), (0, 1, 0), 0.5, 0.5, (1, 1, 1))
    ball.place(2.0, 3.0, 0.0)
    rays = np.array([[0, 0], [0, 1], [1, 0]], np.float32)
    start, limit = np.array([[2], [1], [-1]], np.float32), np.full(2, np.inf, np.float32)
    way = tracing.walk(ball, start, rays, limit)
    assert way[0] == pytest.approx(3.5, abs=0.01) and np.isinf(way[1])
    assert np.isinf(tracing.walk(ball, start, rays, np.full(2, 2, np.float32))).all()


def test_leaving_out_parts_that_no_ray_comes_near_changes_nothing():
    dice = shapes.Dice("parts")
    solid = animals.SPECIES["alpaca"](dice, bodies.Pose()).place(0, 0, 0.4)
    head = solid.parts[-1].a
    few = solid.along((head[0], head[1], -6.0), (0.0, 0.0, 1.0), 0.05, 0.0)
    assert 0 < len(few.parts) < len(solid.parts)
    p = np.array([[head[0]] * 50, [head[1]] * 50, np.linspace(-6, 6, 50)], np.float32)
    surface = np.abs(solid.distance(p)) < 0.05
    assert surface.any()
    assert solid.distance(p)[surface] == pytest.approx(few.distance(p)[surface], abs=1e-5)


def test_noise_is_smooth_and_between_0_and_1():
    p = np.random.default_rng(0).uniform(-60, 60, (3, 20000)).astype(np.float32)
    for values in (shapes.noise(p), shapes.flat_noise(p[0], p[1]), shapes.curls(p, 0.1)):
        assert values.dtype == np.float32
        assert values.min() >= 0 and values.max() <= 1 and values.std() > 0.05
    assert np.abs(shapes.noise(p + np.float32(1e-3)) - shapes.noise(p)).max() < 0.02


def test_angles():
    for angle in np.linspace(-7, 7, 57):
        assert shapes.cos_sin(angle) == pytest.approx((math.cos(angle), math.sin(angle)), abs=1e-7)
