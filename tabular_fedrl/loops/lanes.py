"""Problems in and out of lanes."""

from __future__ import annotations

import numba
import numpy as np

from tabular_fedrl.kernels.packs import PACK, aligned
from tabular_fedrl.measured import Array

LANES = 256
"""Most problems side by side in one block: every inner loop has a price of its own."""

NEAR = 3 << 18
"""Bytes of the kernels P of a block, at most: they are read twice in every step, and should stay near."""


def lanes(B: int, size: int) -> int:
    """The width of a block for B problems with kernels of ``size`` numbers: a power of two from PACK to
    :data:`LANES`, at most what :data:`NEAR` holds, and at most what gives every thread a block."""
    share = -(-B // numba.get_num_threads())
    fitting = 1 << max(NEAR // (8 * size), 1).bit_length() - 1
    return max(PACK, min(LANES, fitting, 1 << (share - 1).bit_length()))


def to_lanes(x: Array, W: int) -> Array:
    """``(B, ...)`` as ``(blocks, ..., W)``; the last problem fills the lanes that are left over."""
    B = x.shape[0]
    index = np.minimum(np.arange(-(-B // W) * W), B - 1).reshape(-1, W)
    last = np.moveaxis(x[index], 1, -1)
    out = aligned(last.shape)
    out[...] = last
    return out


def from_lanes(x: Array, B: int) -> Array:
    """The inverse of :func:`to_lanes`."""
    blocks, *rest, W = x.shape
    return np.ascontiguousarray(np.moveaxis(x, -1, 1).reshape(blocks * W, *rest)[:B])
