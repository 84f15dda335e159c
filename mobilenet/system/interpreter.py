"""LiteRT's interpreter: a network that is not trained, photo by photo, without TensorFlow.

A photo is computed by one thread alone, others meanwhile by the other cores, so that its results do
not depend on what is beside it.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.system.guards import quiet
from mobilenet.system.progress import ahead, progress

One = Callable[[np.ndarray], list[np.ndarray]]  # all results for one photo


def opened(
    data: bytes, threads: int = 1, own_kernels: bool = False
) -> tuple[One, dict[str, Any], list[dict[str, Any]]]:
    """A model that is ready to compute: a function of one photo that several threads may call, and
    LiteRT's details of what it takes and of what it gives.

    The function takes (size, size, 3) of any kind of number and gives the results for it, without
    an axis for the batch. threads: of one photo. own_kernels: without XNNPACK. Raises ValueError or
    RuntimeError if LiteRT cannot run it, UserError if LiteRT is not installed.
    """
    interpreter = runtime()
    options = {"experimental_op_resolver_type": _without_xnnpack()} if own_kernels else {}

    def make() -> Any:
        made = interpreter(model_content=data, num_threads=threads, **options)
        made.allocate_tensors()
        return made

    with quiet(ValueError, RuntimeError):  # it says once how it computes
        free = [make()]  # one computes one photo at a time
    (taken,), given = free[0].get_input_details(), free[0].get_output_details()

    def one(photo: np.ndarray) -> list[np.ndarray]:
        try:
            model = free.pop()
        except IndexError:
            model = make()
        model.set_tensor(taken["index"], photo[None].astype(taken["dtype"], copy=False))
        model.invoke()
        rows = [model.get_tensor(result["index"])[0] for result in given]
        free.append(model)
        return rows

    return one, taken, given


def each(one: One, photos: np.ndarray, threads: int | None = None) -> Iterator[list[np.ndarray]]:
    """What `one` gives for each photo, in their order; threads: at once, by default one a core."""
    threads = threads or os.cpu_count() or 1
    return ahead(one, zip(photos, strict=True), threads, threads)


def rows(one: One, photos: np.ndarray, length: int, threads: int | None = None) -> np.ndarray:
    """The one result of each photo, (N, length), while a bar shows how many are done; threads: as
    in `each`.
    """
    found = progress(each(one, photos, threads), len(photos), "Answers")
    found = [row for (row,) in found]
    return np.stack(found) if found else np.empty((0, length))


def runtime() -> Any:
    """LiteRT's class of interpreters. Raises UserError if it is not installed."""
    try:
        with quiet(ImportError):
            from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            "LiteRT is not installed: install it with `.venv/bin/pip install -r requirements.txt`."
        ) from error
    return Interpreter


def _without_xnnpack() -> Any:
    from ai_edge_litert.interpreter import OpResolverType

    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def whose_kernels(interpreter: Any) -> str:
    """Whose kernels an interpreter, LiteRT's or TensorFlow's, computes with: "XNNPACK's" if any
    part of the network was handed to it.
    """
    kinds = {one["op_name"] for one in interpreter._get_ops_details()}
    return "XNNPACK's" if "DELEGATE" in kinds else "LiteRT's own"
