"""P(class) of your own photos, by a model that the notebooks saved or `mobilenet.export` wrote.

    python -m mobilenet.predict PATH… [--model FILE] [--json] [--cluster ADDRESS]

PATH is a photo or a folder of them. A photo that cannot be read is named on standard error, the
others still come, and the exit code is 1. What else is in a folder is said there in a line.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mobilenet import BUILD, UserError
from mobilenet.inference.naming import CLASSES, read_names
from mobilenet.inference.prediction import predict
from mobilenet.photos import folders
from mobilenet.photos.folders import Inputs, find
from mobilenet.system.command import Parser, printable, run

MODEL = BUILD / "fine_tuned.keras"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, or 1 if anything could not be read."""
    parser = Parser("python -m mobilenet.predict", "P(class) of your own photos.")
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a photo or a folder")
    parser.add_argument(
        "--model",
        type=Path,
        default=MODEL,
        help="a .keras or .tflite file (default: the one fine-tuned last)",
    )
    parser.add_argument("--classes", metavar="NAMES", type=read_names, help=CLASSES)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="work on a Ray cluster: HOST:PORT, or auto"
    )
    options = parser.parse_args(arguments)

    def work() -> int:
        inputs, names = find(options.paths), options.classes
        if options.cluster is None:
            return _tell(inputs, predict(inputs.photos, options.model, names), options.json)
        from mobilenet.scale import cluster

        # What answers is closed before the cluster is left, wherever the telling ends.
        with (
            cluster.connected(options.cluster),
            closing(cluster.predict(inputs.photos, options.model, names)) as answered,
        ):
            return _tell(inputs, answered, options.json)

    return run(work)


def _tell(
    inputs: Inputs, answered: Iterator[tuple[Path, dict[str, float] | UserError]], as_json: bool
) -> int:
    """Say what was answered, photo by photo, then what is left out; the exit status."""
    failed = False
    if sys.stderr.isatty():
        print("Loading the model …", end="\r", file=sys.stderr, flush=True)
    for path, p in answered:
        if isinstance(p, UserError):
            print(f"error: {printable(p)}", file=sys.stderr)
            failed = True
        elif as_json:  # in ASCII, so that any name survives any terminal and pipe
            print(json.dumps({"path": str(path), "p": p}), flush=True)
        else:
            best = max(p, key=p.get)
            about = list(p)[1] if len(p) == 2 else best  # of two classes the positive one
            chance = f"P({printable(about)}) = {p[about]:.3f}"
            print(f"{chance}  {printable(best):<12}  {printable(path)}", flush=True)
    for path, why in inputs.left_out:
        if folders.is_meant(why):
            print(f"error: {printable(path)} is left out: {why}.", file=sys.stderr)
            failed = True
    if said := folders.beside(inputs.left_out, inputs.hidden):
        print(printable(said), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
