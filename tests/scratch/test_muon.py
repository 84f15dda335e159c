"""Muon moves kernels in all directions equally, and leaves depthwise ones to AdamW."""

import numpy as np
import pytest

from mobilenet.scratch.muon import Muon
from mobilenet.system.engine import keras

RATE = 1e-2


def moved(layer, exclude=()) -> np.ndarray:
    """How one step of Muon changes the kernel of a layer, per unit of the rate."""
    layer.build((None, 8, 8, 12))
    kernel = layer.kernel
    optimizer = Muon(RATE, weight_decay=0, adam_weight_decay=0, exclude_layers=list(exclude))
    sizes = np.geomspace(0.01, 1, kernel.shape[-1])  # of the channels' gradients
    gradient = np.random.default_rng(0).choice([-1.0, 1.0], kernel.shape) * sizes
    before = kernel.numpy()
    optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [kernel])
    return (before - kernel.numpy()) / RATE


@pytest.mark.parametrize(("filters", "size"), [(8, 1), (20, 1), (8, 3)])
def test_all_directions_of_a_kernel_change_alike(filters, size):
    change = moved(keras.layers.Conv2D(filters, size, name="Conv"))
    matrix = change.reshape(-1, filters)
    values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * np.sqrt(max(matrix.shape)))
    assert values.min() > 0.5 and values.max() < 1.3  # what five Newton-Schulz steps reach
    assert 0.1 < np.sqrt(np.mean(change**2)) < 0.3, "an entry changes as much as AdamW's: 0.2"


def test_depthwise_and_excluded_kernels_are_adamws():
    """Whose first step is the sign of the gradient."""
    for layer in (keras.layers.DepthwiseConv2D(3), keras.layers.Conv2D(8, 1, name="predictor")):
        change = moved(layer, exclude=("predictor",))
        assert np.abs(change) == pytest.approx(np.ones(change.shape), abs=1e-2)
