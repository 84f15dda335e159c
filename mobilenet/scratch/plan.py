"""What makes two runs from scratch the same run, and the files that a run leaves."""

import shlex
from typing import NamedTuple

MODELS = ("mobilenetv1", "mobilenetv2", "head")
CHECKPOINT, RESULT = "checkpoint.npz", "result.json"  # of a run that goes on, that has ended
HISTORY = "history.jsonl"
SMALL = 64  # px; photos from here on are cropped closer, and have the paper's total stride


def usual_stride(size: int) -> int:
    """The total stride for photos of so many pixels: the paper's 32 leaves one position of 32."""
    return 32 if size >= SMALL else 8


class Plan(NamedTuple):
    """What makes two runs the same run. alpha, size and stride, the total one, are None for the
    backbone's own; files is the fingerprint of the photos' names and of their pixels, part by part.
    """

    model: str
    alpha: float | None
    size: int | None
    epochs: int
    data: str
    seed: int
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    stride: int | None = None

    def command(self) -> str:
        """The command that makes this run, without folders of this machine."""
        data = shlex.quote(self.data)
        words = [f"python -m mobilenet.train --model {self.model} --data {data}"]
        words += [f"--alpha {self.alpha:g}"] if self.alpha else []
        words += [f"--size {self.size}"] if self.size else []
        words += [f"--stride {self.stride}"] if self.stride else []
        return " ".join([*words, f"--epochs {self.epochs} --seed {self.seed}"])
