"""`mobilenet.extract` and `mobilenet.predict` on a Ray cluster, by Ray Data.

A row is a chunk of photos. One process on each machine, or for each GPU, holds the network,
computes and writes parts. Where there are GPUs, tasks on all cores of the cluster read and decode
for them; without, the process that computes does it first, by threads: cores that do both at once
take longer. What comes back to the process that was started is small. A chunk whose machine dies is
done again by another: its part has the same name, so that nothing is there twice.

Every machine sees the project, the photos and the folder of parts under the same paths; weights are
sent. Needs Ray (requirements-cluster.txt). TensorFlow is loaded only where a GPU computes, or a
model of others.
"""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import BATCH, ROOT, UserError
from mobilenet.inference import prediction
from mobilenet.networks import frozen
from mobilenet.scale import extraction, parts
from mobilenet.scale.chunking import Chunk
from mobilenet.system.guards import quiet

ROUND = 2048  # chunks for each machine, half a million photos, for which the network is loaded once
ROW = 8 * BATCH  # photos of a row of `predict`
SHARE = 0.6  # of the memory of the smallest machine
SECONDS = 5  # within which a cluster answers


def _ray(data: bool = False) -> Any:
    """Ray, with `data` if wanted. Raises UserError if it is not installed."""
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # 20: minutes if no cluster answers
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # else it writes between the lines of an output
    try:
        import ray

        if data:
            import ray.data
    except ImportError as error:
        raise UserError(
            "Ray is not installed: install it with "
            "`.venv/bin/pip install -r requirements-cluster.txt`."
        ) from error
    return ray


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a driver of the Ray cluster at an address, HOST:PORT or "auto", without Ray's chatter.

    Raises UserError if Ray is not installed or there is no such cluster, and, in the block, if the
    cluster is lost or its machines cannot work.
    """
    where, ray = _address(address), _ray()
    lost = threading.Event()
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ray, where, ended, lost), daemon=True)
    with _last_word(where), _silenced():
        try:
            _connect(ray, where)
            watcher.start()
            yield
        except KeyboardInterrupt:
            if lost.is_set():
                raise _gone(where) from None
            raise
        except ray.exceptions.RayError as error:
            raise _gone(where) if lost.is_set() else _failed(error) from error
        finally:
            ended.set()
            if watcher.is_alive():  # Ray ends a process whose thread asks it for something later
                watcher.join(SECONDS)  # no longer: it may wait for a cluster that is lost
            ray.shutdown()


@contextmanager
def _last_word(address: str) -> Iterator[None]:
    """Where Ray's C++ side ends this process, since its machine is no part of the cluster any more,
    another process says so.
    """
    text = (
        f"error: The Ray cluster at {address} is lost, or this process was killed: run this again "
        "with a cluster that works, what is done is kept."
    )
    waits = "import sys; sys.stdin.read() or print(sys.argv[1], file=sys.stderr)"
    command = [sys.executable, "-S", "-c", waits, text]
    # In a session of its own, so that an interrupt from the keyboard does not reach it.
    other = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        other.communicate(b"ended in order")


def _address(address: str) -> str:
    """HOST:PORT of a cluster that answers. Raises UserError if there is none."""
    try:
        if address == "auto":
            services = _ray()._private.services
            address = services.canonicalize_bootstrap_address_or_die(address)
        _call(address)
        return address
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{address!r} is no address of a Ray cluster: give HOST:PORT, as `ray start` said it, "
            "or auto."
        ) from error
    except OSError as error:
        raise _gone(address) from error


def _call(address: str) -> None:
    """Raise OSError if nobody answers at HOST:PORT, ValueError if it is none."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host:
        raise ValueError
    socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()


def _gone(address: str) -> UserError:
    return UserError(
        f"There is no Ray cluster at {address}, or none of its machines works: start it with "
        "`ray start` and run this again, what is done is kept."
    )


def _failed(error: Exception) -> UserError:
    """What stopped the work on the cluster, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1].rstrip(".") if lines else type(error).__name__
    return UserError(
        f"The work on the cluster stopped ({last}): every machine needs this project at {ROOT}, "
        "the same packages, and the photos under the same path."
    )


def _connect(ray: Any, address: str) -> None:
    config = ray.job_config.JobConfig(_py_driver_sys_path=[str(ROOT)])
    try:
        ray.init(address, job_config=config, log_to_driver=False, configure_logging=False)
    except (ValueError, OSError, ray.exceptions.RayError) as error:
        raise _gone(address) from error
    except RuntimeError as error:
        if "mismatch" not in str(error):
            raise _gone(address) from error
        raise UserError(
            f"The Ray cluster at {address} runs another Python or Ray: "
            "use the same versions on all machines."
        ) from error
    # After ray.init: meanwhile the machines start their processes.
    context = _ray(data=True).data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep Ray's own log and what its C++ side writes to standard error away."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with quiet(UserError, OSError, streams=[2]):  # which a command puts in words
            yield
    finally:
        logging.disable(level)


def _watch(ray: Any, address: str, ended: threading.Event, lost: threading.Event) -> None:
    """Interrupt the work, which would wait for ever, when no machine of the cluster is left."""
    failures = 0
    while not ended.wait(1):
        try:
            _call(address)
            failures = 0 if ray.cluster_resources().get("CPU") else failures + 1
        except (OSError, RuntimeError, ray.exceptions.RayError):
            failures += 1
        if failures > SECONDS and not ended.is_set():
            lost.set()
            os.kill(os.getpid(), signal.SIGINT)
            return


def _stream(
    ray: Any,
    rows: Iterator[Any],
    read: Callable,
    reading: dict[str, Any],
    kind: type,
    made: tuple,
    on_gpus: bool = True,
) -> Iterator[Any]:
    """What `kind`, made once for each process, makes of what `read` makes of each row; in order.

    kind takes whether it has a GPU, `made`, and then a row that was read. on_gpus: whether it
    computes on GPUs where there are.
    """
    while True:
        machines, gpus = _machines(ray)
        gpus = gpus if on_gpus else 0
        machines = [machine for machine in machines if machine.get("CPU")]
        some = list(islice(rows, ROUND * max(1, gpus, len(machines))))
        if not some:
            return
        memory = min((machine.get("memory", 0) for machine in machines), default=0)
        items = [{"row": pickle.dumps(row)} for row in some]
        data = ray.data.from_items(items, override_num_blocks=len(items))
        if gpus:
            data = data.map(read, fn_kwargs=reading, num_cpus=1)
        # One on each machine, by asking for most of its memory; without a core of its own it starts
        # in any case, after another machine died, too.
        data = data.map(
            _Work,
            fn_constructor_args=(None if gpus else partial(read, **reading), kind, made),
            compute=ray.data.ActorPoolStrategy(size=gpus or max(1, len(machines))),
            num_cpus=0,
            num_gpus=1 if gpus else 0,
            memory=0 if gpus else int(SHARE * memory),
        )
        # Without fetching ahead, since the thread that would do it goes on after `ray.shutdown`.
        answers = data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        with closing(iter(answers)) as batches:
            for batch in batches:
                for answer in batch["row"].to_pylist():
                    result = pickle.loads(answer)
                    if isinstance(result, UserError):
                        raise result
                    yield result


def _machines(ray: Any) -> tuple[list[dict[str, float]], int]:
    """What each machine that is there has, and how many GPUs all have."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return machines, int(sum(machine.get("GPU", 0) for machine in machines))


def on_gpus() -> bool:
    """Whether the cluster that this process is `connected` to computes on GPUs."""
    return _machines(_ray())[1] > 0


class _Work:
    """What is made once for each process that computes; it reads first if nobody else did."""

    def __init__(self, read: Callable | None, kind: type, made: tuple):
        on_gpu = read is None
        self.blind = on_gpu and not frozen.sees_gpu()
        self.pool, self.read = ThreadPoolExecutor(os.cpu_count()), read
        self.work = None if self.blind else kind(on_gpu, *made)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        if self.blind:
            error = UserError(
                f"The machine {socket.gethostname()} has a GPU that TensorFlow cannot use: install "
                "tensorflow[and-cuda] there, or start Ray on it with --num-gpus=0."
            )
            return {"row": pickle.dumps(error)}
        return self.work(self.read(row, each=self.pool.map) if self.read else row)


def compute(
    backbone: Any, folder: Path, out: Path, chunks: Iterator[Chunk], on_gpu: bool
) -> Iterator[None]:
    """Compute and write chunks on the cluster that this process is `connected` to: one item for
    each photo that is done with, as `extraction.here` gives.
    """
    ray = _ray()
    folder, out = folder.resolve(), out.resolve()
    about = parts.about(folder, backbone, on_gpu)
    made = about, [ray.put(backbone.model.get_weights())], out
    reading = {"folder": folder, "size": backbone.size}
    for photos in _stream(ray, chunks, _read_chunk, reading, _Features, made, on_gpu):
        yield from [None] * photos


def _read_chunk(
    row: dict[str, bytes], folder: Path, size: int, each: Callable = map
) -> dict[str, bytes]:
    chunk = pickle.loads(row["row"])
    found, photos = parts.read(folder, chunk, size, each)
    return {"row": pickle.dumps((chunk, found)), "photos": photos.tobytes()}


class _Features:
    """Pooled features of chunks, written as parts, by a backbone that is built from its weights."""

    def __init__(self, on_gpu: bool, about: dict[str, Any], weights: Sequence[Any], out: Path):
        card, arrays = about["backbone"], _ray().get(weights[0])
        backbone = frozen.of_weights(card["alpha"], card["weights"], card["size"], arrays)
        here = parts.about(Path(about["photos"]), backbone, on_gpu)
        self.same = (
            here["versions"] == about["versions"]
            and here["backbone"]["fingerprint"] == card["fingerprint"]
        )
        self.size, self.out = card["size"], out
        self.pooled = extraction.pooling(backbone, on_gpu) if self.same else None

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        chunk, found = pickle.loads(row["row"])
        return {"row": pickle.dumps(self._write(chunk, found, row["photos"]))}

    def _write(self, chunk: Chunk, found: Sequence[Any], photos: bytes) -> int | UserError:
        """How many photos were done, or why not."""
        if not self.same:
            return UserError(
                f"The machine {socket.gethostname()} has other versions of the packages or of this "
                "project, or the last GPU is gone: install the same on all machines."
            )
        images = np.frombuffer(photos, np.uint8).reshape(-1, self.size, self.size, 3)
        try:
            parts.write(self.out, chunk, found, self.pooled(images))
        except UserError as error:
            return error
        return len(chunk.paths)


def predict(
    paths: Sequence[Path], model: Path, classes: Sequence[str] | None = None
) -> Iterator[tuple[Path, dict[str, float] | UserError]]:
    """As `mobilenet.predict.predict`, on the cluster that this process is `connected` to: the same
    in the same order.
    """
    ray = _ray()
    # Here, where it is said what is wrong with it.
    _, names, size = prediction.answers(model, classes)
    made = [ray.put(model.read_bytes())], model.suffix, classes
    starts = range(0, len(paths), ROW)
    rows = ([str(path.absolute()) for path in paths[start : start + ROW]] for start in starts)
    of_keras = model.suffix != ".tflite"  # LiteRT computes on processors
    results = _stream(ray, rows, _read_photos, {"size": size}, _Answers, made, of_keras)
    for start, answers in zip(starts, results, strict=True):
        for path, answer in zip(paths[start : start + ROW], answers, strict=True):
            if isinstance(answer, str):  # it names the file by its absolute path
                yield path, UserError(f"{path}{answer.removeprefix(str(path.absolute()))}")
            else:
                yield path, dict(zip(names, answer, strict=True))


def _read_photos(row: dict[str, bytes], size: int, each: Callable = map) -> dict[str, bytes]:
    def read(path: str) -> tuple[str, bytes]:
        try:
            return "", prediction.read(path, size).tobytes()
        except UserError as error:
            return str(error), b""

    errors, photos = zip(*each(read, pickle.loads(row["row"])), strict=True)
    return {"row": pickle.dumps(errors), "photos": b"".join(photos)}


class _Answers:
    """Probabilities of photos, by a model that is sent as the bytes of its file."""

    def __init__(
        self, on_gpu: bool, content: Sequence[Any], suffix: str, classes: Sequence[str] | None
    ):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"model{suffix}")
            file.write_bytes(_ray().get(content[0]))
            if on_gpu:
                from mobilenet.inference import classifier

                model, _ = classifier.load(file, classes)
                self.compute, self.size = classifier.traced(model), model.input_shape[1]
            else:
                self.compute, _, self.size = prediction.answers(file, classes)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """For each photo the probabilities of the classes, or why it could not be read."""
        errors = pickle.loads(row["row"])
        photos = np.frombuffer(row["photos"], np.uint8).reshape(-1, self.size, self.size, 3)
        results, at = [], 0
        for start in range(0, len(errors), BATCH):  # as where there is no cluster
            batch = errors[start : start + BATCH]
            good = batch.count("")
            answers = iter(self.compute(photos[at : at + good]).tolist() if good else [])
            results += [error or next(answers) for error in batch]
            at += good
        return {"row": pickle.dumps(results)}
