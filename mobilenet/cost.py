"""What MobileNet costs, layer by layer: multiply-adds and parameters.

    python -m mobilenet.cost --model mobilenet_v2 --alpha 1.0 --size 224

What counts is said in `networks.cost`.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence

from mobilenet.networks.cost import MODELS, Cost, Row, build, by_kind, count, totals
from mobilenet.system.command import Parser, run


def _alpha(text: str) -> float:
    try:
        alpha = float(text)
    except ValueError:
        alpha = math.nan
    if not 0 < alpha <= 4:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and up to 4")
    return alpha


def _size(text: str) -> int:
    size = int(text) if text.isdecimal() else 0
    if size % 32 or not 32 <= size <= 8192:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of 32 from 32 to 8192")
    return size


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        "python -m mobilenet.cost",
        "Multiply-adds and parameters of MobileNet, layer by layer and kind by kind.",
    )
    parser.add_argument("--model", choices=MODELS, default="mobilenet_v2", help="%(default)s")
    parser.add_argument(
        "--alpha", type=_alpha, default=1.0, help="width multiplier, above 0 (%(default)s)"
    )
    parser.add_argument(
        "--size", type=_size, default=224, help="side in pixels, a multiple of 32 (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser.parse_args(arguments)


def _table(rows: Sequence[Row]) -> str:
    """Layers, then kinds, then the total, each with its shares."""
    line = "{:<24} {:<11} {:>13} {:>15} {:>8} {:>12} {:>8}".format
    total = totals(rows)

    def numbers(cost: Row | Cost) -> list[str]:
        both = [(cost.multiply_adds, total.multiply_adds), (cost.parameters, total.parameters)]
        return [text for part, whole in both for text in (f"{part:,}", f"{part / whole:.2%}")]

    lines = [line("layer", "kind", "output", "multiply-adds", "share", "parameters", "share")]
    for row in rows:
        shape = "×".join(map(str, row.output_shape))
        lines.append(line(row.name, row.kind, shape, *numbers(row)))
    lines.append("")
    for kind, cost in by_kind(rows).items():
        lines.append(line("all", kind, "", *numbers(cost)))
    lines.append(line("all", "", "", *numbers(total)))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    chosen = _arguments(arguments)
    return run(lambda: _report(chosen))


def _report(chosen: argparse.Namespace) -> int:
    rows = count(build(chosen.model, chosen.alpha, chosen.size))
    if chosen.json:
        report = {"model": chosen.model, "alpha": chosen.alpha, "size": chosen.size}
        report |= totals(rows)._asdict()
        report["kinds"] = {kind: cost._asdict() for kind, cost in by_kind(rows).items()}
        report["layers"] = [row._asdict() for row in rows]
        text = json.dumps(report, indent=1)
    else:
        text = _table(rows)
    print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
