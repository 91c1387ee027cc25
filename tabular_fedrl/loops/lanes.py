"""Problems in and out of lanes, and blocks of lanes over threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np

from tabular_fedrl.measured import Array

LANES = 128
"""Problems side by side in one block: enough to fill the vector units several times over, few enough that a
block stays in the cache."""


def lanes(B: int) -> int:
    """The width of a block for B problems: a power of two, at most :data:`LANES`, and at most what gives
    every thread a block."""
    share = -(-B // numba.get_num_threads())
    return min(LANES, 1 << (share - 1).bit_length())


def to_lanes(x: Array) -> Array:
    """``(B, ...)`` as ``(blocks, ..., W)``; the last problem fills the lanes that are left over."""
    B = x.shape[0]
    W = lanes(B)
    index = np.minimum(np.arange(-(-B // W) * W), B - 1).reshape(-1, W)
    return np.ascontiguousarray(np.moveaxis(x[index], 1, -1))


def from_lanes(x: Array, B: int) -> Array:
    """The inverse of :func:`to_lanes`."""
    blocks, *rest, W = x.shape
    return np.ascontiguousarray(np.moveaxis(x, -1, 1).reshape(blocks * W, *rest)[:B])


def in_parallel(kernel: Callable[..., None], blocks: Sequence[tuple[Any, ...]], *rest: Any) -> None:
    """``kernel(*block, *rest)`` for every block, over Numba's number of threads.

    Plain threads: the kernels release the interpreter lock, and unlike Numba's own parallel loops these may
    be started from several threads and after a fork, and do not spin while another process is busy.
    """
    for _ in _pool(numba.get_num_threads()).map(lambda block: kernel(*block, *rest), blocks):
        pass


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that last: to start them for every batch would cost a fifth of its time."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    # The threads stay with the parent.
    os.register_at_fork(after_in_child=_pool.cache_clear)
