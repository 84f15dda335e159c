"""Training from scratch as a command: it learns, it can be killed, it says what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO

import numpy as np
import pytest
from PIL import Image

from mobilenet import ROOT, UserError, evaluate, train
from mobilenet.inference import classifier
from mobilenet.networks import mobilenets, pretrained
from mobilenet.photos import datasets
from mobilenet.scratch import learning, trainer
from mobilenet.scratch.learning import RECIPE
from mobilenet.scratch.plan import Plan
from mobilenet.system.progress import ahead
from mobilenet.transfer.metrics import probabilities
from tests.helpers.drawn import draw, one_sentence, write

ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PHOTOS", "KERAS_HOME")}
BLOCKS = 3  # of MobileNetV1's 13, where the depth is nothing to what is shown
SHORT = ["--model", "mobilenetv1", "--alpha", "0.25", "--size", "32"]


def command(*arguments: str, module: str = "train") -> list[str]:
    return [sys.executable, "-m", f"mobilenet.{module}", *map(str, arguments)]


def run(*arguments: str, module: str = "train") -> subprocess.CompletedProcess:
    line = command(*arguments, module=module)
    return subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes that differ in brightness."""
    return write(tmp_path_factory.mktemp("data") / "photos", draw(60, classes=3, size=32))


def weights(out) -> list[np.ndarray]:
    return classifier.load(out / "model.keras")[0].get_weights()


def test_what_a_run_leaves(undisturbed):
    out, _, said, _ = undisturbed
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert json.dumps(row) in said
        assert 0 <= row["val_accuracy"] <= 1
        assert np.isfinite(row["loss"])
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not (out / "checkpoint.npz").exists()
    about = json.loads((out / "result.json").read_text())
    command = (
        "--model mobilenetv1 --data photos --alpha 0.25 --size 32 --stride 8 --epochs 4 --seed 0"
    )
    assert about["command"] == f"python -m mobilenet.train {command}"
    assert about["photos"] == {"train": 114, "val": 30, "test": 36}
    best = rows[about["best_epoch"] - 1]
    assert best["val_loss"] == min(row["val_loss"] for row in rows)
    assert about["val_accuracy"] == best["val_accuracy"]
    assert f"Test photos, asked once: {about['test_correct']} of 36 right" in said
    assert f"mirror images: {about['two_views']['correct']} of 36 right" in said
    assert "This training has 4 steps" in said
    with Image.open(out / "curves.png") as picture:
        picture.load()
    model, names = classifier.load(out / "model.keras")
    assert names == ("class a", "class b", "class c")
    assert model.output_shape == (None, 3)


# The command with a network of few blocks, which stops itself whenever it has said a line.
STOPPING = f"""
import os, signal, sys
from mobilenet.networks import mobilenets as networks
from mobilenet import train
from mobilenet.scratch import trainer
networks.V1_BODY = networks.V1_BODY[:{BLOCKS}]
def say(*words, **options):
    print(*words, **options)
    os.kill(os.getpid(), signal.SIGSTOP)
train.print = trainer.print = say
sys.exit(train.main())
"""


@pytest.fixture
def few_blocks(monkeypatch):
    monkeypatch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:BLOCKS])


def four_epochs(data, out, *more: str) -> list[str]:
    return [*SHORT, "--data", str(data), "--epochs", "4", "--out", str(out), *more]


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """A run with few blocks, a copy of it as it was when all epochs were done, what it said, what
    it learned with.
    """
    out, finish = tmp_path_factory.mktemp("runs") / "undisturbed", trainer.finish
    batches, compile_step, seen = learning.batches, learning.compile_step, {"sides": []}

    def keep(plan, model, p, parts, folder, **about):
        shutil.copytree(folder, folder.parent / "done")
        seen["rate"] = float(seen["optimizer"].learning_rate)
        finish(plan, model, p, parts, folder, **about)

    def watch_batches(photos, seed, epoch, side, recipe):
        seen["sides"].append(side)
        return batches(photos, seed, epoch, side, recipe)

    def watch_step(network, optimizer, recipe):
        seen.update(network=network, optimizer=optimizer, first=network.get_weights())
        return compile_step(network, optimizer, recipe)

    said, errors = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(errors):
        patch.setattr(mobilenets, "V1_BODY", mobilenets.V1_BODY[:BLOCKS])
        patch.setattr(trainer, "finish", keep)
        patch.setattr(learning, "batches", watch_batches)
        patch.setattr(learning, "compile_step", watch_step)
        assert train.main(four_epochs(data, out)) == 0
    assert errors.getvalue() == ""
    return out, out.parent / "done", said.getvalue(), seen


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory):
    """The folder that a killed process left, and as it would have, by the epochs that were done."""
    place = tmp_path_factory.mktemp("killed")
    line = [sys.executable, "-c", STOPPING, *four_epochs(data, place / "3")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, cwd=ROOT, env=ENVIRONMENT, **pipes) as process:
        try:
            for epochs in range(4):
                assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
                if epochs < 3:
                    shutil.copytree(place / "3", place / str(epochs))
                    process.send_signal(signal.SIGCONT)
        finally:
            process.kill()
        said, errors = process.stdout.read().splitlines(), process.stderr.read()
    assert errors == b""
    assert [b'"epoch"' in line for line in said] == [False, False, True, False, True, True]
    assert said[3] == b"Epochs left: 3, about 1 min."
    assert process.returncode == -signal.SIGKILL
    return place


def test_what_a_run_learns_with_is_the_recipe(undisturbed):
    """Not only are there functions for each step of it: a run calls them."""
    seen = undisturbed[3]
    network, optimizer = seen["network"], seen["optimizer"]
    assert seen["sides"] == [24, 24, 32, 32]
    assert seen["rate"] == pytest.approx(learning.rate(3, 4))
    first = dict(zip((v.path for v in network.weights), seen["first"], strict=True))
    depthwise = [layer for layer in network.layers if "Depthwise" in type(layer).__name__]
    for layer in depthwise:
        start = first[layer.kernel.path]
        assert start[1, 1].mean() > start[0].mean() + start[0].std(), "higher in the middle"
    norms = [layer for layer in network.layers if "BatchNorm" in type(layer).__name__]
    assert len(norms) > len(depthwise) == BLOCKS
    assert all(layer.momentum < 0.1 for layer in norms), "the steps are few"
    decays = {v.path: optimizer._use_weight_decay(v) for v in network.trainable_variables}
    assert decays == {path: path.endswith("kernel") for path in decays}


def test_a_loss_that_is_no_number_ends_the_run(data, few_blocks, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(learning, "rate", lambda *arguments: float("inf"))
    assert train.main(four_epochs(data, tmp_path / "run")) == 1
    text = capsys.readouterr().err.strip()
    assert "another --seed" in text and one_sentence(text)


def test_time_left():
    assert trainer.time_left([32] * 39, 32, 144.2) == "Epochs left: 39, about 1 h 34 min."
    assert trainer.time_left([32] * 25, 32, 144.2) == "Epochs left: 25, about 1 h 0 min."
    assert trainer.time_left([32], 32, 2.0) == "Epochs left: 1, about 1 min."
    assert trainer.time_left([16] * 9 + [32] * 10, 16, 60) == "Epochs left: 19, about 49 min."


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_a_run_that_was_killed_ends_with_the_same_weights(
    epochs, killed, undisturbed, data, few_blocks, capsys
):
    """Killed when so many epochs are done, or when it has read the photos."""
    out = killed / str(epochs)
    assert not (out / "model.keras").exists()
    assert train.main(four_epochs(data, out, "--resume")) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count('"epoch"') == 4 - epochs
    assert all(map(np.array_equal, weights(out), weights(undisturbed[0])))


def test_a_run_that_was_killed_before_its_history_was_written(
    undisturbed, data, few_blocks, tmp_path, capsys
):
    """The checkpoint has all epochs, the history none of them."""
    out = shutil.copytree(undisturbed[1], tmp_path / "run")
    line = four_epochs(data, out)
    (out / "history.jsonl").unlink()
    assert not (out / "model.keras").exists()
    assert train.main(line) == 1, "a run is there, and --resume was not said"
    head = ["--model", "head", "--data", str(data), "--out", str(out)]
    capsys.readouterr()
    assert train.main([*head, "--resume"]) == 1, "another kind of run"
    assert "another folder" in (text := capsys.readouterr().err) and "--resume" not in text
    assert train.main([*line, "--resume"]) == 0
    assert '"epoch"' not in capsys.readouterr().out
    assert len((out / "history.jsonl").read_text().splitlines()) == 4
    assert json.loads((out / "result.json").read_text())["epochs"] == 4
    assert all(map(np.array_equal, weights(out), weights(undisturbed[0])))


@pytest.mark.parametrize("steps", [1, 8, 24])
def test_statistics_settle_however_few_the_steps(steps, few_blocks):
    """Fed the same photos at each step, BatchNorm has their statistics in the end."""
    from mobilenet.system.engine import tf

    photos = draw(8, size=32).images / np.float32(127.5) - 1
    network = trainer.build(Plan("mobilenetv1", 0.25, 32, 1, "data", 0, ("a", "b")))
    fresh = network.get_weights()

    def answers(steps: float, times: int) -> np.ndarray:
        network.set_weights(fresh)
        trainer.set_momentum(network, steps)
        step = partial(network, training=True)
        step = tf.function(step) if times > 8 else step  # to trace it takes as long as 8 of them
        for _ in range(times):
            step(photos)
        return network(photos, training=False).numpy()

    found = answers(steps, steps)
    settled = answers(1e-9, 1)  # so few steps that nothing of the start is kept
    assert np.ptp(settled) > 0.1, "the photos get different answers"
    assert np.abs(found - settled).max() < 1e-3 * np.ptp(settled)


def refused(done: subprocess.CompletedProcess, code: int) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith(".")
    return line


def test_two_views_are_a_photo_and_its_mirror_image(undisturbed, data):
    """What the result says of them, by the saved model, photos mirrored beforehand."""
    out = undisturbed[0]
    about = json.loads((out / "result.json").read_text())
    model, test = classifier.load(out / "model.keras")[0], datasets.load(str(data), 32, 0)["test"]
    views = [test.images[:], test.images[:][:, :, ::-1]]
    p = [probabilities(model(photos.astype(np.float32)).numpy()) for photos in views]
    right = [(one.argmax(axis=1) == test.labels).sum() for one in (p[0], np.mean(p, axis=0))]
    assert right == [about["test_correct"], about["two_views"]["correct"]]


def test_a_folder_that_holds_a_run_is_left_alone(undisturbed, data):
    """By the command as it is called."""
    out = undisturbed[0]
    before = (out / "model.keras").read_bytes()
    text = refused(run(*SHORT, "--data", data, "--out", out), 1)
    assert "finished" in text
    assert (out / "model.keras").read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        ["--model", "mobilenetv4"],
        ["--alpha", "0"],
        ["--alpha", "1e6"],
        ["--alpha", "wide"],
        ["--size", "100"],
        ["--size", "31"],
        ["--stride", "5"],
        ["--model", "head", "--stride", "8"],
        ["--epochs", "0"],
        ["--epochs", "many"],
        ["--seed", "-1"],
        ["--seed", "99999999999"],
    ],
    ids=" ".join,
)
def test_usage(wrong, capsys):
    arguments = ["--model", "mobilenetv2", "--data", "nowhere", *wrong]
    with pytest.raises(SystemExit) as stopped:
        train.main(arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(".")


def test_data_that_is_not_there(capsys, tmp_path):
    assert train.main(["--model", "mobilenetv2", "--data", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


class TestCheckpoints:
    PLAN = Plan("mobilenetv1", 0.25, 32, 4, "data", 0, ("a", "b"), ("1", "2", "3"))

    @pytest.fixture
    def state(self):
        from mobilenet.system.engine import keras

        return [keras.Variable(np.arange(3.0)), keras.Variable(np.ones((2, 2)))]

    @pytest.fixture
    def saved(self, state, tmp_path):
        path = tmp_path / "checkpoint.npz"
        trainer.save(path, self.PLAN, RECIPE, state, [{"epoch": 1}], [np.full(3, 7.0)])
        return path

    def test_what_was_saved_comes_back(self, state, saved):
        state[0].assign(np.zeros(3))
        history, best = trainer.restore(saved, self.PLAN, RECIPE, state, 1)
        assert history == [{"epoch": 1}]
        assert np.array_equal(best[0], np.full(3, 7.0))
        assert np.array_equal(state[0].numpy(), np.arange(3.0))

    def test_of_another_run(self, state, saved):
        with pytest.raises(UserError, match=r"another run \(alpha 0\.25, not 0\.5\)"):
            trainer.restore(saved, self.PLAN._replace(alpha=0.5), RECIPE, state, 1)

    def test_of_other_photos(self, state, saved):
        with pytest.raises(UserError, match=r"another run \(other photos\)"):
            trainer.restore(saved, self.PLAN._replace(files=("1", "2", "4")), RECIPE, state, 1)

    def test_of_another_recipe(self, state, saved):
        with pytest.raises(UserError, match=r"another run \(rate 0\.2, not 0\.1\)"):
            trainer.restore(saved, self.PLAN, RECIPE._replace(rate=0.1), state, 1)

    def test_of_a_recipe_that_lacked_a_step(self, state, saved):
        with np.load(saved) as file:
            about, *values = file.values()
        about = json.loads(str(about))
        del about["run"]["centre"]
        np.savez(saved, np.array(json.dumps(about)), *values)
        with pytest.raises(UserError, match=r"another run \(centre None, not 2\)"):
            trainer.restore(saved, self.PLAN, RECIPE, state, 1)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    def test_damaged(self, state, saved, share):
        saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
        with pytest.raises(UserError, match="damaged"):
            trainer.restore(saved, self.PLAN, RECIPE, state, 1)
        assert np.array_equal(state[1].numpy(), np.ones((2, 2)))

    def test_a_full_disk_leaves_the_last_good_one(self, state, saved, monkeypatch):
        before = saved.read_bytes()

        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", full)
        with pytest.raises(UserError, match="space"):
            trainer.save(saved, self.PLAN, RECIPE, state, [], [])
        assert saved.read_bytes() == before
        assert [path.name for path in saved.parent.iterdir()] == ["checkpoint.npz"]


def test_a_head_on_the_pretrained_backbone(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WEIGHTS", "bundled")
    pretrained.find_weights.cache_clear()
    arguments = ["--model", "head", "--data", str(data), "--size", "64", "--epochs", "20"]
    assert train.main([*arguments, "--out", str(tmp_path)]) == 0
    about = json.loads((tmp_path / "result.json").read_text())
    assert about["test_correct"] == 36
    assert (about["weights"], about["alpha"], about["size"]) == ("bundled", 0.35, 64)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 20
    said = evaluate.main([str(tmp_path / "model.keras"), "--data", str(data)])
    assert said == 0
    assert "36 of 36 right" in capsys.readouterr().out
    assert train.main([*arguments, "--out", str(tmp_path)]) == 1
    assert "finished run" in capsys.readouterr().err
    assert train.main([*arguments, "--alpha", "0.5"]) == 1, "there are no such weights"
    assert one_sentence(capsys.readouterr().err.strip())
    pretrained.find_weights.cache_clear()


def test_curves_have_a_dot_at_the_epoch_that_is_kept(tmp_path):
    """In both panels: that of one epoch, the first of forty, and the last of them."""
    places = []
    for count, kept in ((1, 0), (40, 0), (40, 39)):
        rows = [
            {"epoch": i + 1, "loss": 2 - i / 40, "accuracy": i / 40, "val_accuracy": i / 50}
            | {"val_loss": 1 + abs(i - kept) / 40}
            for i in range(count)
        ]
        trainer.write_history(tmp_path, rows)
        with Image.open(tmp_path / "curves.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        panels = pixels[: int(0.85 * len(pixels))]  # without the legend
        yellow = np.abs(panels - np.array([0xF0, 0xE4, 0x42])).max(axis=2) < 4
        places.append(
            [np.argwhere(half)[:, 1].mean() for half in np.array_split(yellow, 2, axis=1)]
        )
    assert len(places) == 3 and np.isfinite(places).all()
    assert (np.subtract(places[2], places[1]) > 200).all()


def test_evaluating(undisturbed, data, tmp_path, capsys):
    model = undisturbed[0] / "model.keras"
    assert evaluate.main([str(model), "--data", str(data)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "of 36 right" in out
    assert "95 % interval" in out
    for said in ("multiply-adds", "parameters", "MB on disk", "ms for one photo", "class c"):
        assert said in out
    assert "not the test photos" not in out, "the split is that of the training"
    more = write(tmp_path / "more", draw(61, classes=3, size=32))
    assert evaluate.main([str(model), "--data", str(more)]) == 0
    said = capsys.readouterr().out
    assert "None of these files trained or validated it" in said
    assert "of 183 right" in said
    other = write(tmp_path / "other", draw(10, size=32))
    for path in other.iterdir():
        path.rename(path.with_name(f"odd {path.name}"))
    for arguments, said in (
        ([str(model), "--data", str(other)], "class c"),
        ([str(tmp_path / "x.keras")], "no model"),
    ):
        assert evaluate.main(arguments) == 1
        (text,) = capsys.readouterr().err.strip().splitlines()
        assert said in text
        assert text.endswith(".")
    text = refused(run(tmp_path / "x.keras", module="evaluate"), 1)
    assert "no model" in text


def test_work_done_ahead_keeps_its_order_and_its_errors():
    assert list(ahead(pow, [(i, 2) for i in range(10)], 3)) == [i * i for i in range(10)]
    assert list(ahead(pow, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda i: 1 // (5 - i), [(i,) for i in range(10)]))
