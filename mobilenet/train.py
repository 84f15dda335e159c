"""Train MobileNetV1 or V2 from scratch, or a head on the pretrained backbone, to compare.

    python -m mobilenet.train --model mobilenetv1 --epochs 40 --data cifar10

Every epoch from scratch ends with a checkpoint; a run that was stopped goes on with --resume, from
the epoch it was in, to the same weights. What is random depends on the seed and the epoch alone.
"""

import sys
from contextlib import suppress
from pathlib import Path

from mobilenet import BUILD, UserError
from mobilenet.photos import datasets
from mobilenet.scratch.plan import CHECKPOINT, MODELS, RESULT, Plan, usual_stride
from mobilenet.system import cache, command
from mobilenet.system.files import alone


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.Parser("python -m mobilenet.train", __doc__.splitlines()[0])
    parser.add_argument(
        "--model", choices=MODELS, required=True, help="head: on the frozen, pretrained backbone"
    )
    parser.add_argument("--data", required=True, help="cifar10, or a folder or tar file of classes")
    parser.add_argument("--epochs", type=command.number(int, 1, 10_000), default=40)
    parser.add_argument(
        "--alpha",
        type=command.number(float, 0.05, 4),
        help="width, α; for cifar10 0.625, for others 1, for head the backbone's",
    )
    parser.add_argument(
        "--size",
        type=command.number(int, 32, 1024),
        help="px, a multiple of 32; for cifar10 32, for others 160, for head the backbone's",
    )
    parser.add_argument(
        "--stride",
        type=int,
        choices=(2, 4, 8, 16, 32),
        help="pixels to a position of the last feature map; 8 below 64 px, else 32",
    )
    parser.add_argument("--seed", type=command.number(int, 0, 2**32 - 1), default=0)
    parser.add_argument("--out", type=Path, help="folder (build/runs/MODEL-DATA-…)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    chosen = parser.parse_args(arguments)
    alpha, size, data = chosen.alpha, chosen.size, Path(chosen.data).resolve().name
    stride = chosen.stride
    if chosen.model != "head":
        # A narrow network with a total stride of 8 learns more than a wide one with 16, and faster.
        usual = (0.625, 32) if data.startswith("cifar10") else (1.0, 160)
        alpha, size = alpha or usual[0], size or usual[1]
        stride = stride or usual_stride(size)
    elif stride:
        parser.error("--stride is for networks from scratch: leave it out with --model head")
    if size and size % 32:
        parser.error(f"--size is {size}: take a multiple of 32")
    plan = Plan(chosen.model, alpha, size, chosen.epochs, data, chosen.seed, stride=stride)
    words = [plan.model, data.split(".")[0]]
    words += [f"alpha{alpha:g}"] if alpha else []
    words += [f"{size}px"] if size else []
    out = chosen.out or BUILD / "runs" / "-".join([*words, f"seed{plan.seed}"])
    return command.run(lambda: work(plan, chosen.data, out, chosen.resume))


def work(plan: Plan, data: str, out: Path, resume: bool) -> int:
    """Load and train; returns the exit code, 0. Raises UserError if out holds a run, unless it is
    to be gone on with, or another process is at work there.
    """
    with alone(out, wait=False) as free:
        if not free:
            raise UserError(f"Another run is at work in {out}: name another folder by --out.")
        try:
            return _work(plan, data, out, resume)
        finally:
            with suppress(OSError):  # unless it is empty
                out.rmdir()


def _work(plan: Plan, data: str, out: Path, resume: bool) -> int:
    if (out / RESULT).exists():
        raise UserError(f"{out} holds a finished run: name another folder by --out.")
    if (out / CHECKPOINT).exists() and plan.model == "head":
        raise UserError(f"{out} holds a run from scratch: name another folder by --out.")
    if (out / CHECKPOINT).exists() and not resume:
        raise UserError(f"{out} holds a run: add --resume, or name another folder by --out.")
    from mobilenet.networks import backbone
    from mobilenet.scratch import learning, trainer  # TensorFlow, which takes seconds

    network = backbone.load(plan.alpha, plan.size) if plan.model == "head" else None
    if network:
        print(network, flush=True)
        plan = plan._replace(alpha=network.alpha, size=network.size)
    parts = datasets.load(data, plan.size, plan.seed)
    some = [parts[part] for part in datasets.SPLITS]
    files = tuple(f"{datasets.fingerprint(p)}-{cache.digest(p.images)[:12]}" for p in some)
    plan = plan._replace(classes=parts["train"].class_names, files=files)
    said = [datasets.describe(parts)]
    if network:
        print(*said, flush=True)
        return trainer.train_head(plan, network, parts, out)
    if few := learning.too_few(learning.steps(parts["train"]) * plan.epochs):
        said.append(few)
    print(*said, sep="\n", flush=True)
    return trainer.train(plan, parts, out)


if __name__ == "__main__":
    sys.exit(main())
