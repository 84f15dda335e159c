"""Names of the classes of a model: those in its file, or those that its user gives.

Nothing here needs TensorFlow.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mobilenet import UserError

CLASSES = (
    "of a model that does not name its classes: their names in the order of its outputs, with "
    "commas, or a .txt file with one a line"
)


def read_names(said: str) -> list[str]:
    """Names of classes, a type for the option `--classes`: of a text file, a line each, or from a
    list with commas. "0 cat" and "1 dog", as some programs number their lines, are cat and dog.

    Raises argparse.ArgumentTypeError if the file cannot be read, or there are no two names.
    """
    names = _lines(said) if said.endswith(".txt") else [name.strip() for name in said.split(",")]
    if wrong := _wrong(names):
        raise argparse.ArgumentTypeError(wrong)
    return names


def _lines(file: str) -> list[str]:
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(
            f"there is no file {file}: name another, or the classes with commas"
        ) from error
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"{file} cannot be read: name a text file in UTF-8, a class a line"
        ) from error
    lines = [line.strip() for line in lines if line.strip()]
    if all(line.split(" ", 1)[0] == str(i) and " " in line for i, line in enumerate(lines)):
        lines = [line.split(" ", 1)[1].strip() for line in lines]
    return lines


def _wrong(names: Sequence[str]) -> str:
    """What is wrong with names of classes, or ""."""
    if len(set(names)) >= max(2, len(names)) and all(names):
        return ""
    shown = ", ".join(map(repr, names)) or "an empty file"
    return f"it must name two classes or more, each by another name: {shown} does not"


def named(path: Path, said: Sequence[str], asked: Sequence[str] | None) -> Sequence[str]:
    """The names of a model's classes, by the file or as asked for. Raises UserError if there are
    both or none.
    """
    if said and asked is not None:
        raise UserError(
            f"{path} names its classes ({', '.join(map(str, said))}): leave --classes out."
        )
    if asked is None and not said:
        raise UserError(
            f"{path} does not name its classes: name them in the order of its outputs by "
            "--classes, with commas or in a .txt file."
        )
    if asked is not None and (wrong := _wrong(asked)):
        raise UserError(f"--classes: {wrong}.")
    return said or list(asked)
