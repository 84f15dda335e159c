"""LiteRT files that this project did not write: what they take and what their answers mean.

That is read from the network itself: from what comes before its first layer and what is its last.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet import UserError
from mobilenet.inference.naming import named
from mobilenet.inference.phone_labels import read_labels

FLOAT32, UINT8 = 0, 3  # of the schema's kinds of numbers
ADD, DEQUANTIZE, LOGISTIC, MUL, RESHAPE, SOFTMAX, PAD, SUB, DIV, CAST, QUANTIZE = (
    *(0, 6, 14, 18, 22, 25, 34, 41, 42, 53, 114),
)
PASSING = {ADD, DEQUANTIZE, RESHAPE, PAD, SUB, CAST, QUANTIZE}  # before the scale is decided
CONVERTED = {DEQUANTIZE, QUANTIZE, RESHAPE}  # after the answer is
FEWEST_LEVELS = 100  # that a network first divides photos by, if they come with levels of 0 to 255


def card(path: Path, data: bytes, model: Any, classes: Sequence[str] | None) -> dict[str, Any]:
    """What `litert.load` must know: class_names; size; gives, "logits" or "probabilities".

    model: the file by LiteRT's schema. Raises UserError if the file says too little.
    """
    names = [name for name in read_labels(data) if name]
    names = list(named(path, [] if classes is not None else names, classes))
    if len(set(names)) < max(2, len(names)) or not all(names):
        raise UserError(f"{path} has classes without a name, or two of one: name them apart.")
    graph = model.Subgraphs(0)
    if model.SubgraphsLength() != 1 or (graph.InputsLength(), graph.OutputsLength()) != (1, 1):
        raise UserError(f"{path} takes or gives more than one array: name a classifier of photos.")
    taken, given = graph.Tensors(graph.Inputs(0)), graph.Tensors(graph.Outputs(0))
    shape = [taken.Shape(i) for i in range(taken.ShapeLength())]
    if len(shape) != 4 or shape != [1, shape[1], shape[1], 3] or shape[1] < 1:
        raise UserError(f"{path} takes no square photo: name a classifier of photos.")
    kinds = [_kind(model, graph.Operators(i)) for i in range(graph.OperatorsLength())]
    if taken.Type() not in (UINT8, FLOAT32) or given.Type() not in (UINT8, FLOAT32):
        raise UserError(f"{path} takes or gives neither bytes nor floats: convert it otherwise.")
    if taken.Type() == FLOAT32 and not _scales(model, graph, kinds):
        raise UserError(
            f"{path} takes photos in floats, and no scaling is seen in it (the converter may have "
            "merged it into the first layer), so that it is not known whether they are of 0 to "
            "255, 0 to 1 or -1 to 1: convert it again to take bytes (docs/commands.md says how)."
        )
    many = given.Shape(given.ShapeLength() - 1)
    if many != len(names) and (many, len(names)) != (1, 2):
        raise UserError(
            f"{path} gives a row of {many} for a photo, and {len(names)} classes are named: name "
            "one class for each number, or two for a single one."
        )
    last = next((kind for kind in reversed(kinds) if kind not in CONVERTED), None)
    sure = last == (LOGISTIC if many == 1 else SOFTMAX)
    return {
        "class_names": names,
        "size": shape[1],
        "gives": "probabilities" if sure else "logits",
    }


def _kind(model: Any, operator: Any) -> int:
    code = model.OperatorCodes(operator.OpcodeIndex())
    return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())


def _scales(model: Any, graph: Any, kinds: Sequence[int]) -> bool:
    """Whether what is taken is made about 1 before the first layer that has weights."""
    reached = {graph.Inputs(0)}
    for i, kind in enumerate(kinds):
        operator = graph.Operators(i)
        inputs = [operator.Inputs(j) for j in range(operator.InputsLength())]
        if not reached & set(inputs):
            continue
        if kind in (MUL, DIV):
            others = [_numbers(model, graph.Tensors(j)) for j in inputs if j not in reached]
            sizes = np.abs(np.concatenate(others)) if others else np.empty(0)
            few = sizes <= 1 / FEWEST_LEVELS if kind == MUL else sizes >= FEWEST_LEVELS
            return bool(len(sizes) and few.all())
        if kind not in PASSING:
            return False
        reached.update(operator.Outputs(j) for j in range(operator.OutputsLength()))
    return False


def _numbers(model: Any, tensor: Any) -> np.ndarray:
    """The constant floats of a tensor; none if it has others."""
    content = model.Buffers(tensor.Buffer()).DataAsNumpy()
    if tensor.Type() != FLOAT32 or not isinstance(content, np.ndarray):
        return np.empty(0, np.float32)
    return content.view(np.float32)


def probabilities(row: np.ndarray, gives: str, given: dict[str, Any]) -> np.ndarray:
    """Probabilities of the classes, float64 (K,), from what a file gives for a photo; given: the
    runtime's details of its output. One number is of the second of two classes.
    """
    from mobilenet.transfer import metrics

    row = row.astype(np.float64)
    scale, zero = given["quantization"]
    if scale:
        row = (row - zero) * scale
    if gives == "logits":
        return metrics.probabilities(row[None])[0]
    return np.array([1 - row[0], row[0]]) if len(row) == 1 else row
