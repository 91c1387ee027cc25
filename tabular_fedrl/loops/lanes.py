"""Problems in and out of lanes."""

from __future__ import annotations

import numba
import numpy as np

from tabular_fedrl.measured import Array

LANES = 256
"""Problems side by side in one block: many, as every inner loop has a price of its own; few enough that what
is used together stays near (tried from 32 to 512 for S from 3 to 50)."""


def lanes(B: int) -> int:
    """The width of a block for B problems: a power of two, at most :data:`LANES`, and at most what gives
    every thread a block."""
    share = -(-B // numba.get_num_threads())
    return min(LANES, 1 << (share - 1).bit_length())


def to_lanes(x: Array, W: int | None = None) -> Array:
    """``(B, ...)`` as ``(blocks, ..., W)``, by default of width :func:`lanes`; the last problem fills the
    lanes that are left over."""
    B = x.shape[0]
    W = lanes(B) if W is None else W
    index = np.minimum(np.arange(-(-B // W) * W), B - 1).reshape(-1, W)
    return np.ascontiguousarray(np.moveaxis(x[index], 1, -1))


def from_lanes(x: Array, B: int) -> Array:
    """The inverse of :func:`to_lanes`."""
    blocks, *rest, W = x.shape
    return np.ascontiguousarray(np.moveaxis(x, -1, 1).reshape(blocks * W, *rest)[:B])
