"""A backbone in two at a cut: what stays frozen, what is fine-tuned, and what each costs."""

from typing import Any, NamedTuple

from mobilenet.networks import cost
from mobilenet.networks.backbone import Backbone
from mobilenet.system.engine import keras


def split_at(backbone: Backbone, cut: str) -> tuple[Any, Any]:
    """The backbone in two: (below, above), Keras models that share its layers and weights.

    below: (B, size, size, 3) in [-1, 1] → activations at the cut's input. above: these → feature
    map (B, size/32, size/32, channels). Raises UserError unless cut is one of backbone.cuts.
    """
    backbone.check_cut(cut)
    model = backbone.model
    edge = model.get_layer(cut).input
    return keras.Model(model.input, edge), keras.Model(edge, model.output)


class CutRow(NamedTuple):
    """A possible cut: activations there, weights above it (without BatchNorm), and the share of
    the backbone's multiply-adds above it, in [0, 1].
    """

    cut: str
    shape: tuple[int, int, int]
    weights: int
    share: float


def cut_table(backbone: Backbone) -> list[CutRow]:
    """All cuts of a backbone, the shallowest fine-tuning first."""
    costs = {row.name: row for row in cost.count(backbone.model)}
    whole = sum(row.multiply_adds for row in costs.values())
    names = [layer.name for layer in backbone.model.layers]
    rows = []
    for cut in backbone.cuts:
        above = [costs[name] for name in names[names.index(cut) :] if name in costs]
        rows.append(
            CutRow(
                cut,
                tuple(backbone.model.get_layer(cut).input.shape[1:]),
                sum(row.parameters for row in above),
                sum(row.multiply_adds for row in above) / whole,
            )
        )
    return rows
