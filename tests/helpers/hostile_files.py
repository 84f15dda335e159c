"""Classifiers, weights and archives made to harm whoever opens them.

A kind is a function of the path of a good classifier, which it spoils; KINDS has it by name, with
a part of the sentence by which it is refused. What runs code would touch the file that the
environment variable CANARY names. KINDS are of classifiers, WEIGHTS of arrays in them.
"""

import io
import json
import os
import pickle
import re
import stat
import warnings
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from mobilenet.inference import classifier
from mobilenet.system.engine import keras

DAMAGED = "is no model, or damaged"
KINDS: dict[str, tuple[Callable[[Path], None], str]] = {}


def kind(name: str, said: str = DAMAGED):
    """Count a function among KINDS under this name."""

    def add(make):
        assert name not in KINDS
        KINDS[name] = make, said
        return make

    return add


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object], **options) -> None:
    """The archive with its members as `change` makes them of {name: bytes}."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_member(name: str, content: bytes, **options):
    return lambda path: rewritten(path, lambda members: members.update({name: content}), **options)


@contextmanager
def little_memory(megabytes: int):
    """Assert that what is done here takes no more, at any moment."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = status.read_text()
    yield
    before, after = (int(re.search(r"VmHWM:\s+(\d+)", t)[1]) for t in (before, status.read_text()))
    assert after - before < megabytes * 1024


class Canary:
    def __reduce__(self):
        return exec, ("import os, pathlib; pathlib.Path(os.environ['CANARY']).touch()",)


def touching() -> dict:
    """A Lambda layer that touches the canary when it is called."""
    layer = keras.layers.Lambda(
        lambda x: (__import__("pathlib").Path(__import__("os").environ["CANARY"]).touch(), x)[1],
        name="logits",
    )
    return keras.saving.serialize_keras_object(layer)


# --- The archive ---

KINDS["pickle"] = lambda path: path.write_bytes(pickle.dumps(Canary())), DAMAGED
KINDS["text"] = lambda path: path.write_text("no model"), DAMAGED
KINDS["no bytes"] = lambda path: path.write_bytes(b""), DAMAGED
KINDS["folder"] = lambda path: (path.unlink(), path.mkdir()), "is a folder: name a"
KINDS["../"] = with_member("../evil.txt", b"x"), "holds '../evil.txt'"
KINDS["absolute name"] = with_member("/tmp/evil.txt", b"x"), "holds '/tmp/evil.txt'"
KINDS["assets"] = with_member("assets/vocabulary.txt", b"x"), "holds 'assets/vocabulary.txt'"
KINDS["odd name"] = with_member("\x1b[2J\n" * 99, b"x"), r"holds '\x1b[2J\n"
KINDS["config of spaces, packed"] = (
    with_member("config.json", b" " * 50_000_000, compression=zipfile.ZIP_DEFLATED),
    "larger than it can be",
)
KINDS["classes without end"] = (
    with_member("classes.json", json.dumps({"class_names": ["x"] * 400_000}).encode()),
    "larger than it can be",
)
for tenth in range(10):
    KINDS[f"cut at {tenth}0 %"] = (
        lambda path, tenth=tenth: os.truncate(path, path.stat().st_size * tenth // 10),
        DAMAGED,
    )


@kind("npz", "holds 'a.npy'")
def npz(path):
    with path.open("wb") as file:
        np.savez(file, a=np.array([Canary()], object))


@kind("pipe", "There is no model")
def pipe(path):
    path.unlink()
    os.mkfifo(path)


@kind("link out of the archive", "holds 'link'")
def link(path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")


@kind("a part twice", "holds a part twice")
def twice(path):
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("config.json", archive.read("config.json"))


@kind("a header of 10 GB", "larger than it can be")
def header(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo("model.weights.h5").file_size = 10 << 30
        archive.getinfo("model.weights.h5").compress_size = 10 << 30
        archive._didModify = True


@kind("a million members")
def million(path):
    entry = bytearray(zipfile.stringCentralDir + bytes(42))
    entry[28] = 1  # a letter of a name
    count, size = 1_000_000, 47 * 1_000_000
    end = b"PK\5\6" + bytes(4) + 2 * b"\xff\xff" + size.to_bytes(4, "little") + bytes(6)
    assert len(end) == 22
    with path.open("wb") as file:
        file.write(bytes(entry + b"x") * count + end)


@kind("more members than are counted")
def sixty_four(path):
    data = path.read_bytes()
    path.write_bytes(data[:-22] + b"PK\6\7" + bytes(16) + data[-22:])


# --- What describes the network ---


def described(edit):
    """config.json as `edit` changes it: (the whole, the layers of the backbone, the last layer)."""

    def change(members):
        config = json.loads(members["config.json"])
        layers = config["config"]["layers"]
        inner = next(one for one in layers if one["class_name"] == "Functional")
        edit(config, inner["config"]["layers"], layers[-1])
        members["config.json"] = json.dumps(config).encode()

    return lambda path: rewritten(path, change)


def last_is(module, name, /, **config):
    """The last layer, in its place in the network, is another."""
    new = {"module": module, "class_name": name, "registered_name": None, "config": config}
    return described(lambda config, inner, last: last.update(new))


def activation_is(module, name):
    new = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return described(lambda config, inner, last: last["config"].update(activation=new))


def foreign(name):
    return f"holds a layer or function of the kind {name!r}"


def first(layers, name):
    return next(one for one in layers if one["class_name"] == name)


KINDS["Lambda"] = described(lambda config, inner, last: last.update(touching())), foreign("Lambda")
KINDS["Lambda in the backbone"] = (
    described(lambda config, inner, last: inner[-1].update(touching())),
    foreign("Lambda"),
)
KINDS["bare lambda"] = (
    described(
        lambda config, inner, last: last["config"].update(
            activation=touching()["config"]["function"]
        )
    ),
    foreign("__lambda__"),
)
for module, name in {
    "os": "system",
    "builtins": "eval",
    "keras.utils": "get_file",
    "keras.config": "enable_unsafe_deserialization",
    "numpy": "load",
}.items():
    KINDS[f"function {module}.{name}"] = activation_is(module, name), foreign("function")
for module, name, config in (
    ("keras.layers", "TFSMLayer", {"filepath": "/tmp/evil"}),
    ("keras.layers", "TextVectorization", {"vocabulary": "/etc/passwd"}),
    ("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}),
    ("keras.layers", "TorchModuleWrapper", {"module": "x"}),
    ("keras.layers", "Wrapper", {"layer": touching()}),
    ("evil", "Evil", {}),
    ("keras.layers", "../Dense", {}),
):
    KINDS[f"{module}.{name}"] = last_is(module, name, **config), foreign(name)
KINDS["Dense of another module"] = last_is("evil", "Dense", units=1), foreign("Dense")
KINDS["Dense registered"] = (
    described(lambda config, inner, last: last.update(registered_name="evil>Dense")),
    foreign("Dense"),
)
KINDS["a class that is a list"] = last_is("keras.layers", ["Dense"]), DAMAGED
KINDS["optimizer in the backbone"] = (
    described(
        lambda config, inner, last: inner[-1].update(
            compile_config={"optimizer": {"class_name": "Adam", "config": {}}}
        )
    ),
    foreign("Adam"),
)
LARGER = "describes a network larger than its weights"
for units in (10**9, -(10**9), 1e300, float("nan")):
    KINDS[f"{units:g} outputs"] = (
        described(lambda config, inner, last, units=units: last["config"].update(units=units)),
        LARGER,
    )
KINDS["numbers that are no numbers"] = (
    described(
        lambda config, inner, last: (
            last["config"].update(units=10**9),
            first(inner, "Conv2D")["config"].update(filters=float("nan")),
        )
    ),
    LARGER,
)
KINDS["a kernel of 100,000"] = (
    described(
        lambda config, inner, last: first(inner, "Conv2D")["config"].update(
            kernel_size=[100_000, 100_000]
        )
    ),
    LARGER,
)
KINDS["built for 10 GB"] = (
    described(lambda config, inner, last: last.update(build_config={"input_shape": [None, 10**9]})),
    LARGER,
)
WOUND = "describes a network that is wound up in itself"
KINDS["a layer called again and again"] = (
    described(
        lambda config, inner, last: inner[3].update(inbound_nodes=inner[3]["inbound_nodes"] * 1000)
    ),
    WOUND,
)
KINDS["networks in networks"] = (
    described(
        lambda config, inner, last: inner.append({**config, "config": {"layers": []}, "name": "a"})
    ),
    WOUND,
)
KINDS["an adapter of any size"] = (
    described(lambda config, inner, last: last["config"].update(lora_rank=10**9)),
    WOUND,
)
KINDS["photos of 100,000 pixels"] = (
    described(
        lambda config, inner, last: [
            one["config"].update(batch_shape=[None, 100_000, 100_000, 3])
            for one in (config["config"]["layers"][0], inner[0])
        ]
    ),
    "takes more memory than a photo may",
)
KINDS["padded to any size"] = (
    described(
        lambda config, inner, last: first(inner, "ZeroPadding2D")["config"].update(
            padding=[[0, 10_000], [0, 10_000]]
        )
    ),
    "takes more memory than a photo may",
)
for what, config in {
    "nested": b'{"config":' * 90_000 + b"1" + b"}" * 90_000,
    "list": b"[" * 400_000 + b"]" * 400_000,
    "number": b"1" * 900_000,
    "nothing": b"null",
    "no text": b"\xff\xfe",
}.items():
    KINDS[f"config: {what}"] = with_member("config.json", config), DAMAGED
    KINDS[f"classes: {what}"] = with_member("classes.json", config), DAMAGED


def plain(side: tuple, layer=None, compiled: bool = False):
    """A network of somebody else that names two classes."""

    def make(path):
        inputs = keras.Input(side)
        outputs = layer(inputs) if layer else inputs
        outputs = keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(outputs))
        classifier.save(path, keras.Model(inputs, outputs), ("a", "b"))

    return make


KINDS["of another project"] = (
    plain((32, 32, 3), keras.layers.MaxPooling2D()),
    foreign("MaxPooling2D"),
)
KINDS["photos that are not square"] = plain((32, 48, 3)), "takes photos of 48 × 32 pixels"
KINDS["photos that are grey"] = plain((32, 32, 1)), "takes photos with 1 channel,"
KINDS["photos of any size"] = plain((None, None, 3)), "takes photos of any size"

# --- The names of the classes ---

UNNAMED = "does not name its classes"
for what, names in {
    "none": [],
    "one": ["a"],
    "numbers": [1, 2],
    "empty": ["a", ""],
    "a word": "ab",
    "a dict": {"a": 1, "b": 2},
    "null": None,
    "lists": [["a"], ["b"]],
}.items():
    KINDS[f"names: {what}"] = (
        with_member("classes.json", json.dumps({"class_names": names}).encode()),
        UNNAMED,
    )
KINDS["names: the same"] = (
    with_member("classes.json", b'{"class_names": ["a", "a"]}'),
    UNNAMED,
)

# --- Weights ---

# What takes the place of the array "1" in a group of an HDF5 file, and what is said of it.
WEIGHTS: dict[str, tuple[Callable[[h5py.Group], object], str]] = {}
ELSEWHERE, LINK = "takes weights from another file", "holds a link in the place of weights"
ODD, LARGE = "holds something else than plain weights", "says that its weights are larger"
TEN_GB = (10 << 28,)  # of float32


def array(group, **options):
    group.create_dataset("1", **options)


def other_files(group):
    layout = h5py.VirtualLayout((1,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (1,))
    group.create_virtual_dataset("1", layout)


def circle(group):
    group["1"] = group.file["/"]


def named_type(group):
    group["1"] = np.dtype("f4")


for what, make, said in (
    ("link to a file", lambda group: group.update({"1": h5py.ExternalLink("x.h5", "a")}), LINK),
    ("link within", lambda group: group.update({"1": h5py.SoftLink("/layers")}), LINK),
    ("bytes of a file", partial(array, shape=(1,), external=[("/etc/passwd", 0, 4)]), ELSEWHERE),
    ("arrays of files", other_files, ELSEWHERE),
    ("a type", named_type, ELSEWHERE),
    ("10 GB in chunks", partial(array, shape=TEN_GB, dtype="f4", chunks=(1 << 20,)), ODD),
    ("a packed array", partial(array, data=np.zeros(10**6, "f4"), compression="gzip"), ODD),
    ("10 GB", partial(array, shape=TEN_GB, dtype="f4"), LARGE),
    ("texts", partial(array, data=["x"], dtype=h5py.string_dtype()), ODD),
    ("a circle", circle, "holds the same weights twice"),
    ("one array twice", lambda group: group.update({"1": group["0"]}), "holds the same weights"),
):
    WEIGHTS[what] = make, said


def spoil_weights(file: h5py.File, group: str, make: Callable[[h5py.Group], object]) -> None:
    """Put what `make` makes in the place of the array "1" of a group."""
    del file[group]["1"]
    make(file[group])


def weighed(edit):
    """model.weights.h5 as `edit` changes it."""

    def change(members):
        data = io.BytesIO(members["model.weights.h5"])
        with h5py.File(data, "r+") as file:
            edit(file)
        members["model.weights.h5"] = data.getvalue()

    return lambda path: rewritten(path, change)


LAST = "layers/dense/vars"
for what, (make, said) in WEIGHTS.items():
    KINDS[f"weights: {what}"] = weighed(partial(spoil_weights, group=LAST, make=make)), said
KINDS["weights: none"] = weighed(lambda file: file[LAST].clear()), DAMAGED
KINDS["weights: of another shape"] = (
    weighed(partial(spoil_weights, group=LAST, make=partial(array, data=np.zeros((3, 3), "f4")))),
    DAMAGED,
)
for value in (np.nan, np.inf):
    KINDS[f"weights: {value}"] = (
        weighed(partial(spoil_weights, group=LAST, make=partial(array, data=np.float32([value])))),
        "holds weights that are no numbers",
    )
