"""What sweeps over sparse rows make of the means of successors' values."""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.kernels.sparse_rows import inlined
from tabular_fedrl.measured import Array


@inlined
def larger(size: float, x: float) -> float:
    """The larger of a size and that of x; NaN, once met, stays."""
    # As whole numbers, bits of absolute values are ordered as they are, NaN on top.
    return np.int64(max(np.float64(size).view(np.int64), np.float64(abs(x)).view(np.int64))).view(np.float64)


@inlined
def put(
    mean: Array, ahead: Array, at: Any, lanes: Any, s: Any, n: Any, gamma: float, V: Array, k: Any, j: Any,
    out: Array, subtract: bool, change: float,
) -> float:  # fmt: skip
    """The values of signal j in n states from s on."""
    for i in range(n):
        new = mean[i] + gamma * ahead[i * lanes + at]
        moved = new - V[(s + i) * k + j]
        out[s + i, j] = moved if subtract else new
        change = larger(change, moved)
    return change
