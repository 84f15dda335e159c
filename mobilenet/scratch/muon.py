"""Muon for networks made of convolutions, from Keras's own, which knows matrices alone.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a
matrix by the nearest matrix that changes all directions equally; Liu et al. (2025, arXiv
2502.16982) scale it so that AdamW's learning rate suits it. A convolution's kernel is such a
matrix: a row for each number that it reads, a column for each channel that it makes.
"""

import math
from typing import Any

from mobilenet.system.engine import keras


class Muon(keras.optimizers.Muon):
    """Keras's Muon, for the kernels of convolutions, too; depthwise kernels and what
    `exclude_layers` names stay with AdamW.
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        if len(variable.shape) == 4 and "depthwise" not in variable.path:
            return any(name in variable.path for name in self.exclude_layers)
        return super()._should_use_adamw(variable)

    def zeropower_via_newtonschulz5(self, x: Any, steps: int) -> Any:
        """The orthogonal matrix closest to a kernel (..., channels), in the kernel's shape."""
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x: Any) -> Any:
        """The update, scaled so that its entries are as large as AdamW's (Liu et al. eq. 4)."""
        longer = max(math.prod(x.shape[:-1]), x.shape[-1])
        return x * (self.rms_rate * math.sqrt(longer))
