"""Sums and extremes over states, in two stages: ``PARTIALS`` blocks, then one.

The order of the additions is fixed by the sizes alone. ``partial``: scratch for the sums of the blocks.
"""

from __future__ import annotations

import math

from numba import float64

from tabular_fedrl.kernels.cuda import BLOCK, cuda


@cuda.jit(device=True)
def block_sum(shared, value):
    """The sum of ``value`` over the threads of the block, for all of them; every thread must call it."""
    i = cuda.threadIdx.x
    cuda.syncthreads()
    shared[i] = value
    half = cuda.blockDim.x // 2
    while half > 0:
        cuda.syncthreads()
        if i < half:
            shared[i] += shared[i + half]
        half //= 2
    cuda.syncthreads()
    return shared[0]


@cuda.jit(device=True)
def larger(x, y):
    """The larger of two numbers; NaN wins."""
    if x != x or y <= x:
        return x
    return y


@cuda.jit(device=True)
def block_max(shared, value):
    """As :func:`block_sum`, the largest ``value``."""
    i = cuda.threadIdx.x
    cuda.syncthreads()
    shared[i] = value
    half = cuda.blockDim.x // 2
    while half > 0:
        cuda.syncthreads()
        if i < half:
            shared[i] = larger(shared[i], shared[i + half])
        half //= 2
    cuda.syncthreads()
    return shared[0]


@cuda.jit
def dot_partials(x, y, partial):
    """``partial[b, 0, q]``: block b's share of ``sum_s x[s, q] y[s, q]``; ``y (S, 1)`` serves every q."""
    shared = cuda.shared.array(BLOCK, float64)
    for q in range(x.shape[1]):
        column = q if y.shape[1] > 1 else 0
        total = 0.0
        for s in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            total += x[s, q] * y[s, column]
        total = block_sum(shared, total)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, 0, q] = total


@cuda.jit
def sums(partial, out):
    """``out[i, q] = sum_b partial[b, i, q]``, in one block."""
    shared = cuda.shared.array(BLOCK, float64)
    for i in range(out.shape[0]):
        for q in range(out.shape[1]):
            total = 0.0
            for b in range(cuda.threadIdx.x, partial.shape[0], cuda.blockDim.x):
                total += partial[b, i, q]
            total = block_sum(shared, total)
            if cuda.threadIdx.x == 0:
                out[i, q] = total


@cuda.jit
def extreme_partials(x, y, partial):
    """``partial[b, :, q]``: block b's largest ``y - x``, ``x - y`` and ``|x|``, for ``x, y (S, k)``."""
    shared = cuda.shared.array(BLOCK, float64)
    for q in range(x.shape[1]):
        up, down, size = -math.inf, -math.inf, 0.0
        for s in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            difference = y[s, q] - x[s, q]
            up = larger(up, difference)
            down = larger(down, -difference)
            size = larger(size, abs(x[s, q]))
        up = block_max(shared, up)
        down = block_max(shared, down)
        size = block_max(shared, size)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, 0, q] = up
            partial[cuda.blockIdx.x, 1, q] = down
            partial[cuda.blockIdx.x, 2, q] = size


@cuda.jit
def maxima(partial, out):
    """``out[i, q] = max_b partial[b, i, q]``, in one block."""
    shared = cuda.shared.array(BLOCK, float64)
    for i in range(out.shape[0]):
        for q in range(out.shape[1]):
            top = -math.inf
            for b in range(cuda.threadIdx.x, partial.shape[0], cuda.blockDim.x):
                top = larger(top, partial[b, i, q])
            top = block_max(shared, top)
            if cuda.threadIdx.x == 0:
                out[i, q] = top
