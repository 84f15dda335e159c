"""The head from parts: that of `solver`, in whatever parts the photos lie, in bounded memory."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilenet import ROOT, UserError, extract, head, predict
from mobilenet.inference import saved
from mobilenet.networks import backbone as backbones
from mobilenet.networks import pretrained
from mobilenet.photos import corrections
from mobilenet.scale import chunking, labelled, parts, passes
from mobilenet.transfer import features as pooling
from mobilenet.transfer import metrics, solver
from tests.helpers.drawn import ALPHA, draw, one_sentence, write

cluster = pytest.mark.cluster
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=10)  # each is a solution or more


def some_photos(classes, count, channels, seed=0, apart=0.3):
    """Features, float32 (N, channels), and labels (N,) of classes `apart` in each one's middle."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    middle = apart * rng.normal(size=(classes, channels))
    scales = np.exp(rng.normal(size=channels))
    noise = rng.normal(size=(count, channels))
    return (3 + (middle[labels] + noise) * scales).astype(np.float32), labels


def solved(features, labels, classes, l2, block=100, sample=None):
    """As the command: from a sample's head, by passes over blocks."""
    sample = sample or len(labels) // 4
    first = solver.solve(features[:sample], labels[:sample], classes, l2)
    centre = features.mean(axis=0, dtype=np.float64)

    def rows():
        for i in range(0, len(labels), block):
            yield features[i : i + block], labels[i : i + block]

    return passes.solve(rows, len(labels), centre, classes, l2, first)


def close(found, wanted, features):
    """Assert that two heads are the same to 1e-4, and answer the same."""
    assert found[0] == pytest.approx(wanted[0], abs=1e-4)
    assert found[1] == pytest.approx(wanted[1], abs=1e-4)
    p, q = (metrics.probabilities(features @ one[0] + one[1]) for one in (found, wanted))
    assert p == pytest.approx(q, abs=1e-4)


# --- The head of solver ---


@pytest.mark.parametrize("l2", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_is_the_head_of_solver(classes, l2):
    features, labels = some_photos(classes, 1200, 40)
    found = solved(features, labels, classes, l2)
    wanted = solver.solve(features, labels, classes, l2)
    assert found.kernel.shape == wanted[0].shape and found.bias.shape == wanted[1].shape
    close(found, wanted, features)
    assert found.distance <= passes.CLOSE
    assert found.passes <= (15 if classes == 2 else 80)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_that_are_told_apart_without_error(monkeypatch, classes):
    features, labels = some_photos(classes, 200, 30, apart=2.0)
    found = solved(features, labels, classes, 0.01, sample=30)
    monkeypatch.setattr(solver, "TOLERANCE", 1e-11)  # else its bias is off by more than this
    kernel, bias = solver.solve(features, labels, classes, 0.01)
    if classes > 2:  # a number added to all of them is nothing
        bias += (found.bias - bias).mean()
    close(found, (kernel, bias), features)


def test_many_photos_few_of_which_are_in_doubt():
    features, labels = some_photos(5, 8000, 20, apart=1.0)
    found = solved(features, labels, 5, 0.1, block=1000)
    wanted = solver.solve(features, labels, 5, 0.1)
    assert np.median(metrics.probabilities(features @ wanted[0] + wanted[1]).max(axis=1)) > 0.99
    close(found, wanted, features)
    assert found.passes <= 80


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("wrong", [-1.0, 0.0, 100.0])
def test_a_first_guess_may_be_wrong(classes, wrong):
    features, labels = some_photos(classes, 500, 20)
    wanted = solver.solve(features, labels, classes, 1.0)
    first = wrong * wanted[0], wrong * wanted[1]
    centre = features.mean(axis=0, dtype=np.float64)
    found = passes.solve(lambda: [(features, labels)], 500, centre, classes, 1.0, first)
    close(found, wanted, features)


@few
@given(seed=seeds, block=st.integers(1, 400), classes=st.sampled_from([2, 4]))
def test_order_and_blocks_are_nothing(seed, block, classes):
    features, labels = some_photos(classes, 300, 15)
    order = np.random.default_rng(seed).permutation(300)
    found = solved(features[order], labels[order], classes, 1.0, block, sample=60)
    close(found, solved(features, labels, classes, 1.0), features)


def test_the_same_blocks_give_the_same_bits():
    features, labels = some_photos(3, 300, 15)
    one, two = (solved(features, labels, 3, 0.1) for _ in range(2))
    assert (one.kernel == two.kernel).all() and (one.bias == two.bias).all()


@pytest.mark.parametrize(("name", "value"), [("MATRICES", 0), ("ENOUGH", 2), ("ROWS", 7)])
def test_rough_curvature_leads_to_the_same_head(monkeypatch, name, value):
    monkeypatch.setattr(passes, name, value)
    features, labels = some_photos(5, 1200, 20)
    found = solved(features, labels, 5, 1.0)
    close(found, solver.solve(features, labels, 5, 1.0), features)


def test_it_ends_after_so_many_passes(monkeypatch):
    monkeypatch.setattr(passes, "PASSES", 3)
    found = solved(*some_photos(5, 600, 20), 5, 0.01)
    assert found.passes == 3 and found.distance > passes.CLOSE


def test_photos_that_come_or_go_meanwhile_are_noticed():
    features, labels = some_photos(2, 100, 5)
    left = iter([100, 100, 90])

    def rows():
        count = next(left)
        yield features[:count], labels[:count]

    first = np.zeros((5, 1)), np.zeros(1)
    with pytest.raises(UserError, match="changed while") as caught:
        passes.solve(rows, 100, np.zeros(5), 2, 1.0, first)
    assert one_sentence(caught.value)


# --- Parts ---


def sha256(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def write_parts(out, features, names, ends=(), order=None):
    """Parts of these photos, whose label is a name each, cut at these positions."""
    order = np.arange(len(names)) if order is None else order
    for number, some in enumerate(np.split(order, sorted(ends))):
        folders = [f"{names[i]}/" if names[i] else "" for i in some]
        paths = tuple(f"{one}{i}.jpg" for one, i in zip(folders, some, strict=True))
        found = [chunking.Found(sha256(i), "") for i in some]
        parts.write(out, chunking.Chunk(f"{number:020x}", paths), found, features[some])
    return out


def from_parts(out, channels, l2):
    """What the command solves, and what it knows of the photos."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled, "SAMPLE", 40 * (channels + 1) * 8)  # 40 photos
        known = labelled.survey(out, channels)
    classes = len(known.class_names)
    first = solver.solve(known.features, known.labels, classes, l2)
    rows = lambda: labelled.read(out, known)  # noqa: E731
    return known, passes.solve(rows, known.count, known.centre, classes, l2, first)


@cluster
@few
@given(seed=seeds, ends=st.lists(st.integers(0, 300), max_size=12))
def test_order_and_sizes_of_parts_are_nothing(tmp_path_factory, seed, ends):
    features, labels = some_photos(3, 300, 12)
    names = [f"class {'cab'[label]}" for label in labels]
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    order = np.random.default_rng(seed).permutation(300)
    known, found = from_parts(write_parts(one, features, names), 12, 1.0)
    again, other = from_parts(write_parts(two, features, names, ends, order), 12, 1.0)
    assert (known.sums == again.sums).all() and (known.features == again.features).all()
    assert (known.labels == again.labels).all() and known.class_names == again.class_names
    close(found, other, features)
    sorted_ = np.array([2, 0, 1])[labels]  # as class names are sorted
    close(found, solver.solve(features, sorted_, 3, 1.0), features)


@cluster
def test_a_class_in_one_part_and_an_empty_part(tmp_path):
    features, labels = some_photos(2, 200, 12)
    order = np.argsort(labels, kind="stable")
    write_parts(tmp_path, features, ["ba"[k] for k in labels], (0, 100, 100, 133), order)
    assert parts.count(tmp_path) == 200 and len(parts.listed(tmp_path)) == 5
    known, found = from_parts(tmp_path, 12, 0.3)
    assert (known.count, len(known.labels)) == (200, 40)
    close(found, solver.solve(features, labels, 2, 0.3), features)


@cluster
def test_the_sample_has_the_smallest_sums_and_some_of_each_class(monkeypatch, tmp_path):
    monkeypatch.setattr(passes, "ROWS", 64)
    monkeypatch.setattr(labelled, "SAMPLE", 40 * 13 * 8)
    features, _ = some_photos(2, 500, 12)
    names = ["rare" if i % 80 == 7 else "common" for i in range(500)]
    known = labelled.survey(write_parts(tmp_path, features, names, (100, 350)), 12)
    sums = sorted(sha256(i) for i in range(500))
    chosen = [one.decode() for one in known.sums]
    assert chosen[:40] == sums[:40] and chosen == sorted(chosen)
    assert (known.labels == 1).sum() >= 5 and len(chosen) <= 45
    where = {sha256(i): i for i in range(500)}
    assert (known.features == features[[where[one] for one in chosen]]).all()
    assert known.centre == pytest.approx(features.mean(axis=0), abs=1e-5)


@cluster
def test_decisions_on_labels_are_applied(monkeypatch, tmp_path):
    features, labels = some_photos(2, 200, 12)
    names = ["ba"[k] for k in labels]  # of two classes the first by name has label 1
    write_parts(tmp_path / "parts", features, names, (70,))
    lines = [f"{sha256(3)},x,{names[3]},{'ba'[1 - labels[3]]}", f"{sha256(5)},x,{names[5]},"]
    monkeypatch.setattr(corrections, "FILE", tmp_path / "corrections.csv")
    corrections.FILE.write_text("\n".join([",".join(corrections.Decision._fields), *lines, ""]))
    known, found = from_parts(tmp_path / "parts", 12, 1.0)
    labels[3] = 1 - labels[3]
    rest = np.arange(200) != 5
    assert known.count == 199
    assert sum(len(labels) for _, labels in labelled.read(tmp_path / "parts", known)) == 199
    close(found, solver.solve(features[rest], labels[rest], 2, 1.0), features)


def damage(out):
    part = out / parts.listed(out)[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)


BAD = {
    "without a label": lambda features, names: names.__setitem__(7, ""),
    "photos of one class, 'a',": lambda features, names: names.__setitem__(slice(None), ["a"] * 60),
    "3 different photos": lambda features, names: names.__setitem__(slice(3, None), ["b"] * 57),
    "not finite numbers": lambda features, names: features.__setitem__((9, 2), np.nan),
}


@cluster
@pytest.mark.parametrize("said", BAD)
def test_what_no_head_can_be_solved_on(tmp_path, said):
    features, _ = some_photos(2, 60, 12)
    names = ["a"] * 30 + ["b"] * 30
    BAD[said](features, names)
    with pytest.raises(UserError, match=said) as caught:
        labelled.survey(write_parts(tmp_path, features, names, (20,)), 12)
    assert one_sentence(caught.value)


@cluster
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damage, "is damaged: delete it"),
        (lambda out: [(out / name).unlink() for name in parts.listed(out)], "holds no photos"),
        (lambda out: write_parts(out, np.ones((60, 7)), ["a"] * 60), "other backbones"),
    ],
)
def test_parts_that_are_not_as_they_were(tmp_path, spoil, said):
    features, labels = some_photos(2, 60, 12)
    spoil(write_parts(tmp_path, features, ["ab"[k] for k in labels], (20,)))
    with pytest.raises(UserError, match=said) as caught:
        labelled.survey(tmp_path, 12)
    assert one_sentence(caught.value)


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from mobilenet.scale import labelled, passes
labelled.SAMPLE, passes.PASSES = 2_000_000, 3
out, channels = Path(sys.argv[1]), 256
known = labelled.survey(out, channels)
first = np.zeros((channels, 3)), np.zeros(3)
rows = lambda: labelled.read(out, known)
passes.solve(rows, known.count, known.centre, 3, 100.0, first)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@cluster
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_few_photos(tmp_path):
    """45,000 photos more are 46 MB of features."""
    peaks = []
    for count in (5_000, 50_000):
        features, labels = some_photos(3, count, 256)
        out = write_parts(
            tmp_path / str(count), features, ["abc"[k] for k in labels], range(500, count, 500)
        )
        line = [sys.executable, "-c", MEASURE, str(out)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1000)  # MB
    assert peaks[1] - peaks[0] < 15, peaks


# --- The command ---


@pytest.fixture(scope="module")
def bundled():
    return backbones.load(ALPHA, 96, "bundled")


@pytest.fixture
def about(bundled, tmp_path):
    """A folder of parts of 60 photos and what is to be known of their backbone."""
    features, labels = some_photos(2, 60, bundled.channels)
    out = write_parts(tmp_path / "parts", features, ["ab"[k] for k in labels], (25,))
    parts.finish(out, parts.about(tmp_path, bundled, False))
    return out


def ask(capsys, *arguments):
    """The command's exit code and what it says: (code, lines of output, of errors)."""
    code = head.main([str(one) for one in arguments])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


def refused(capsys, *arguments):
    """The one sentence that the command stops with."""
    code, out, (line,) = ask(capsys, *arguments)
    assert (code, out) == (1, []) and one_sentence(line)
    return line


@cluster
@pytest.mark.parametrize("classes", [2, 3])
def test_from_photos_to_answers(monkeypatch, capsys, tmp_path, bundled, classes):
    monkeypatch.setattr(pretrained, "find_weights", lambda: "bundled")
    monkeypatch.setattr(labelled, "SAMPLE", 20 * 1281 * 8)
    monkeypatch.setattr(chunking, "CUT", 4)
    photos = draw(12, classes)
    folder, out, model = (tmp_path / name for name in ("photos", "parts", "head.keras"))
    write(folder, photos)
    assert extract.main([str(folder), "--out", str(out), "--size", "96"]) == 0
    capsys.readouterr()
    code, said, errors = ask(capsys, out, "--out", model)
    assert (code, errors) == (0, [])
    card = saved.read_card(model)
    assert card["class_names"] == list(photos.class_names)
    assert card["photos"] == 12 * classes and card["folds_total"] == 20
    assert said[0].startswith(f"{12 * classes} photos of {classes} classes, L2 penalty")
    assert said[0].endswith(f"passes over them to solve the head: {card['passes']}.")
    assert f"{card['folds_correct']} of 20 right" in said[1] and "sample" in said[1]
    assert str(model) in said[2]
    pooled = pooling.pooled(bundled, photos.images)
    kernel, bias = solver.solve(pooled, photos.labels, classes, card["l2"])
    wanted = metrics.probabilities(pooled @ kernel + bias)
    assert predict.main([str(folder), "--model", str(model), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["path"]: list(line["p"].values()) for line in lines}
    assert np.array([found[str(folder / file)] for file in photos.files]) == pytest.approx(
        wanted, abs=1e-4
    )


@cluster
def test_another_backbone(capsys, tmp_path, about):
    there = json.loads((about / parts.ABOUT).read_text())
    there["backbone"]["fingerprint"] = "0" * 64
    (about / parts.ABOUT).write_text(json.dumps(there))
    assert "is not here" in refused(capsys, about, "--out", tmp_path / "m.keras")
    assert not (tmp_path / "m.keras").exists()


@cluster
def test_a_place_that_cannot_be_written_is_named_first(monkeypatch, capsys, tmp_path, about):
    monkeypatch.setattr(labelled, "survey", None)
    (tmp_path / "d.keras").mkdir()
    (tmp_path / "file").touch()
    assert "folder of that name" in refused(capsys, about, "--out", tmp_path / "d.keras")
    assert "move the file away" in refused(capsys, about, "--out", tmp_path / "file" / "m.keras")


@cluster
def test_parts_of_a_run_that_was_stopped(capsys, tmp_path, about):
    parts.begin(about, parts.read_about(about))
    assert "run to its end" in refused(capsys, about, "--out", tmp_path / "m.keras")


@cluster
def test_it_says_that_it_did_not_settle(monkeypatch, capsys, tmp_path, about):
    monkeypatch.setattr(passes, "PASSES", 1)
    monkeypatch.setattr(passes, "CLOSE", 1e-300)
    code, said, _ = ask(capsys, about, "--out", tmp_path / "m.keras")
    assert code == 0 and said[1].startswith("The head did not settle: its kernel may be")
    assert all(map(one_sentence, said))


def test_a_model_is_called_keras(capsys, tmp_path):
    assert "end in .keras" in refused(capsys, tmp_path, "--out", tmp_path / "model.h5")


def test_without_pyarrow(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "requirements-cluster.txt" in refused(capsys, tmp_path)


@cluster
def test_a_folder_without_parts(capsys, tmp_path):
    assert "holds no features" in refused(capsys, tmp_path)
