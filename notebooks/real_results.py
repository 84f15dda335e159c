"""Execute notebooks on the real photos with ImageNet's weights, and put what came out into boxes.

    make real-results
    python notebooks/real_results.py [NAME…]

A box is what stands in a markdown cell between `<!-- real: KEY -->` and `<!-- /real -->`: numbers
and curves, dated; no photo, since photos belong to those who took them. They are written to
notebooks/real_results.json and, curves, to images/real_KEY.png. Needs photos in PHOTOS or
dataset/photos/, and weights in Keras's cache or a network. With NAMEs, 04 say, the results of the
other notebooks stay as they are.
"""

import json
import os
import re
import sys
import tempfile
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nbformat

from mobilenet import ROOT, UserError, from_root
from mobilenet.networks import pretrained
from mobilenet.photos import loading
from mobilenet.system import command, measuring
from mobilenet.system.files import write_json
from notebooks import run

FILE = run.HERE / "real_results.json"
BOX = re.compile(r"<!-- real: (\w+) -->.*?(?:<!-- /real -->|(?=\n\n)|\Z)", re.S)

# By notebook and box what a cell at its end would give: text, and figures by the box's name.
TELL = {
    "02_mobilenet_architecture": {
        "bottleneck_relu": "f'the features differ by {relative(changed):.0%}.'",
        "relu6": "relu6()",
    },
    "03_alpaca_classifier": {
        "setup": "utils.describe(photos).splitlines()[0] + ' ' + str(network)",
        "imagenet": "', '.join(f'{name} {share:.0%}' for name, share in shares.items()) + '.'",
        "frozen": "f'Baseline {baseline}. Frozen {frozen}.'",
    },
    "04_fine_tuning": {
        "fine_tuning": "loss",
        "wrong": "table(('way', 'validation loss', 'validation accuracy'), [*rows, everything()])",
        "rates": "f'the dip is at a learning rate of {RATES[int(np.argmin(after))]:g}.'",
        "fine_tuned": "f'Frozen {frozen}. Fine-tuned {fine_tuned}.'",
    },
    "05_how_far_to_trust_it": {
        "folds": "f'trained {folds}; solved {solved_folds}.'",
        "planted": "'the planted labels are numbers ' + ', '.join(map(str, np.argsort(doubted)"
        "[flipped] + 1)) + f' of {len(photos)}.'",
        "reliability": "f'mean predicted probability {mean:.3f}, accuracy "
        "{folds.correct / folds.total:.3f}.'",
        "temperature": "table(('head', 'logits', 'loss', 'calibration error'), rows)",
        "threshold": "f'from {threshold:.3f} on, {found.correct} of {found.total} test photos are "
        "found, with {(called & ~there).sum()} false alarms among {(~there).sum()} others.'",
        "unseen": "f'{unseen.told(distance > known.limit)} test photos are marked.'",
    },
    "06_from_scratch": {
        "scratch_curves": "f'which side is up {sides}; which class {scratch[\"from scratch\"]}.'",
        "staircase": "'random features {}, pretrained {}.'.format(*control.values(), "
        "frozen['pretrained, frozen'])",
        "accuracy_by_count": "f'with {counts[0]} photos pretrained features reach '"
        'f\'{ways["pretrained"][0]}, random ones with all {ways["random weights"][-1]}.\'',
    },
    "07_to_a_phone": {
        "collapse": "'with {} bits and one scale per tensor for the depthwise layers, {} of {} "
        "validation photos are right; with one per channel {}.'.format(BITS[0], right['depthwise', "
        "False, BITS[0]], len(val), right['depthwise', True, BITS[0]])",
        "phone_test": "table(header, rows)",
        "phone_poster": "f'int8 takes {times[3] / times[1]:.2f} of the time of float32.'",
    },
}
FIGURES = {
    "fine_tuning": "utils.learning_curves(head_history, history)",
    "rates": "utils.loss_by_rate_plot(RATES, after, ways['before fine-tuning'][0])",
    "reliability": "utils.reliability_plot(p_folds, photos.labels)",
    "scratch_curves": "utils.ways_plot(histories)",
    "staircase": "utils.staircase_plot(groups, baseline)",
    "accuracy_by_count": "utils.accuracy_by_count_plot(counts, ways, baseline, scratch)",
    "collapse": "utils.bits_plot(errors, right, len(val), marks)",
    "phone_poster": "utils.size_time_plot(dots)",
}
HELP = """
def everything():
    whole = min(network.cuts, key=[layer.name for layer in network.model.layers].index)
    x, v = (features.view_activations(network, of.images, whole, 1, SEED) for of in (train, val))
    model = training.build_top(network, whole, half, DROPOUT)
    training.fit(model, x, train.labels, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=SEED)
    p = metrics.probabilities(training.predict_logits(model, v[0]))
    n = metrics.count_right(p, val.labels)
    loss = metrics.cross_entropy(p, val.labels).mean()
    way = f'unfrozen from {whole} up, without augmentation'
    return way, f'{loss:.3f}', f'{n.correct} of {n.total}'


def relative(found):
    return anatomy.relative_error(found, exact)


def relu6():
    told = []
    for name, tops in {'[0, 6]': dict.fromkeys(own, 6.0), 'one for each layer': own}.items():
        steps = {layer: anatomy.rounded_relu6(top / (2**BITS - 1)) for layer, top in tops.items()}
        rounded = anatomy.with_activations(network.model, steps)
        error = relative(np.mean(rounded(some), axis=(1, 2)))
        told.append(f'with the range {name} the features differ by {error:.1%}')
    return ', '.join(told) + '.'


def table(header, rows):
    lines = [header, ['---'] * len(header), *rows]
    return '\\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in lines)
"""


def ask(tell: dict[str, str], figures: dict[str, str], out: Path) -> nbformat.NotebookNode:
    """A cell that writes what these expressions give to files in a folder."""
    lines = ["import json, pathlib", HELP, f"out = pathlib.Path({str(out)!r})"]
    values = ", ".join(f"{key!r}: str({code})" for key, code in tell.items())
    lines.append(f"(out / 'told.json').write_text(json.dumps({{{values}}}))")
    for key, code in figures.items():
        lines.append(f"figure = {code}")
        lines.append(f"figure.savefig(out / {key + '.png'!r}, dpi=192)")
        lines.append(f"(out / {key + '.txt'!r}).write_text(figure.get_label())")
    return nbformat.v4.new_code_cell("\n".join(lines))


def filled(source: str, results: dict) -> str:
    """A markdown cell's source with its boxes as the results say."""
    return BOX.sub(
        lambda found: box(found[1], results) if found[1] in results["boxes"] else found[0], source
    )


def box(key: str, results: dict) -> str:
    """A box in Markdown, between its two marks."""
    told = results["boxes"][key].strip()
    made = next(results["made"][name] for name, tell in TELL.items() if key in tell)
    apart = "\n\n" if told.startswith("|") else " "  # a table begins a paragraph
    body = f"**{results['title']}** ({made['date']}):{apart}{told}"
    lines = [f"<!-- real: {key} -->", *(f"> {line}".rstrip() for line in body.splitlines())]
    if key in results["pictures"]:
        lines += [">", f"> ![{results['pictures'][key]}](../images/real_{key}.png)"]
    return "\n".join([*lines, "<!-- /real -->"])


def work(names: list[str]) -> int:
    """Execute, write the results and fill the boxes; returns the exit code, 0."""
    folder, _ = loading.find_folder()
    if folder == ROOT / "dataset" / "rendered":
        raise UserError("There are no real photos: run `make photos`, or set PHOTOS to a folder.")
    if pretrained.find_weights() != "imagenet":
        raise UserError("ImageNet's weights cannot be had: connect to a network.")
    for name in ("PHOTOS", "KERAS_HOME"):  # kernels work in another folder
        if os.environ.get(name):
            os.environ[name] = str(from_root(os.environ[name]))
    results = {"boxes": {}, "pictures": {}, "made": {}}
    if names and FILE.is_file():
        results = json.loads(FILE.read_text(encoding="utf-8"))
    made = {"date": date.today().isoformat(), "machine": measuring.machine()}
    results["title"] = "With the 327 real photos and ImageNet's weights"
    with tempfile.TemporaryDirectory() as place:
        os.environ["MOBILENET_LOG"] = f"{place}/log"
        for name in names or TELL:
            tell = TELL[name]
            out = Path(place, name)
            out.mkdir()
            figures = {key: code for key, code in FIGURES.items() if key in tell}
            path = run.named(name)
            print(f"{path.stem} …", flush=True)
            notebook = nbformat.read(path, as_version=4)
            notebook.cells.append(ask(tell, figures, out))
            copy = out / path.name
            nbformat.write(notebook, copy)
            run.execute(copy, run.HERE, lambda k, n: None)
            results["boxes"] |= json.loads((out / "told.json").read_text(encoding="utf-8"))
            results["made"][name] = made
            for key in figures:
                (ROOT / "images" / f"real_{key}.png").write_bytes((out / f"{key}.png").read_bytes())
                results["pictures"][key] = (out / f"{key}.txt").read_text(encoding="utf-8")
    write_json(FILE, results)
    fill(results)
    return 0


def fill(results: dict) -> None:
    """Put the results into the boxes of all notebooks."""
    for path in run.notebooks():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = filled(cell.source, results)
        run.write(notebook, path)


if __name__ == "__main__":
    parser = command.Parser("python notebooks/real_results.py", __doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TELL)}")
    options = parser.parse_args()
    if unknown := set(options.names) - set(TELL):
        parser.error(f"there are no results of {', '.join(unknown)}: use of {', '.join(TELL)}")
    sys.exit(command.run(lambda: work(options.names)))
