r"""Sweeps over the transition kernel of a large sparse problem.

Rows of even length are neighbour lists of fixed width: ``indices (A, width, S)`` int32 and ``weights`` of the
same shape in float64 or float32, entry e of row (s, a) at ``[a, e, s]``, padded with weight 0. One thread
works on one state, so that a warp reads 32 neighbouring indices and weights at every step: the stream of P
comes at the device's full width, and what is scattered is the reading of x alone.

Rows of uneven length are compressed (``starts, indices, weights``, one row after another); a team of
:data:`TEAM` threads shares a row and adds up in a fixed order. Sums are float64 whatever the storage, and
there are no atomic operations: every result is the same bits each time.

Each function compiles the kernel of one width or number of signals, which the compiler can then unroll.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import float64

from tabular_fedrl.kernels.cuda import BLOCK, TEAM, cuda


@cache
def policy_sweep(k: int, width: int) -> Any:
    r"""``out[s, q] = add[s, q] + scale * sum_a pi[a, s] sum_e weights[a, e, s] x[indices[a, e, s], q]``.

    ``add, x, out``: ``(S, k)``; ``out`` must not be ``x``. A row whose probability is 0 is not read.
    """

    @cuda.jit
    def kernel(indices, weights, pi, scale, x, add, out):
        s = cuda.grid(1)
        if s < out.shape[0]:
            total = cuda.local.array(k, float64)
            for q in range(k):
                total[q] = 0.0
            for a in range(pi.shape[0]):
                p = pi[a, s]
                if p != 0.0:
                    for e in range(width):
                        w = p * weights[a, e, s]
                        t = indices[a, e, s]
                        for q in range(k):
                            total[q] += w * x[t, q]
            for q in range(k):
                out[s, q] = add[s, q] + scale * total[q]

    return kernel


@cache
def row_sweep(width: int) -> Any:
    """``out[a, s] = sum_e weights[a, e, s] x[indices[a, e, s], 0]``."""

    @cuda.jit
    def kernel(indices, weights, x, out):
        s = cuda.grid(1)
        if s < out.shape[1]:
            for a in range(out.shape[0]):
                total = 0.0
                for e in range(width):
                    total += weights[a, e, s] * x[indices[a, e, s], 0]
                out[a, s] = total

    return kernel


@cache
def greedy_sweep(width: int) -> Any:
    r"""``out[s, 0] = max_a f[a, s] + gamma sum_e weights[a, e, s] x[indices[a, e, s], 0]``.

    ``actions (S,)`` int32 is moved to the best action (the first one) where that beats the present action by
    more than ``margin``, so that rounding cannot make it wander among equals.
    """

    @cuda.jit
    def kernel(indices, weights, f, gamma, x, margin, actions, out):
        s = cuda.grid(1)
        if s < out.shape[0]:
            present, best, first = 0.0, 0.0, 0
            for a in range(f.shape[0]):
                total = 0.0
                for e in range(width):
                    total += weights[a, e, s] * x[indices[a, e, s], 0]
                total = f[a, s] + gamma * total
                if a == actions[s]:
                    present = total
                if a == 0 or total > best:
                    best, first = total, a
            out[s, 0] = best
            if best > present + margin:
                actions[s] = first

    return kernel


@cache
def team_sweep(k: int, adds: bool) -> Any:
    """``out[i, q] = add[i, q] + scale * sum_j weights[j] x[indices[j], q]`` over the entries of row i,
    ``starts[i] <= j < starts[i+1]``; ``add, out``: ``(rows, k)``; ``add`` counts as 0, and is not read,
    unless ``adds``."""
    team, rows = TEAM, BLOCK // TEAM

    @cuda.jit
    def kernel(starts, indices, weights, scale, x, add, out):
        partial = cuda.shared.array((rows, team), float64)
        row, lane = cuda.threadIdx.x // team, cuda.threadIdx.x % team
        i = cuda.blockIdx.x * rows + row
        total = cuda.local.array(k, float64)
        for q in range(k):
            total[q] = 0.0
        if i < out.shape[0]:
            for j in range(starts[i] + lane, starts[i + 1], team):
                w = float64(weights[j])
                t = indices[j]
                for q in range(k):
                    total[q] += w * x[t, q]
        # Every thread of the block takes part, also those without a row.
        for q in range(k):
            cuda.syncthreads()
            partial[row, lane] = total[q]
            half = team // 2
            while half > 0:
                cuda.syncthreads()
                if lane < half:
                    partial[row, lane] += partial[row, lane + half]
                half //= 2
            if lane == 0 and i < out.shape[0]:
                total[q] = scale * partial[row, 0]
                out[i, q] = add[i, q] + total[q] if adds else total[q]

    return kernel


@cache
def policy_mean(k: int) -> Any:
    """``out[s, q] = add[s, q] + scale * sum_a pi[a, s] rows[a, s, q]``."""

    @cuda.jit
    def kernel(pi, scale, rows, add, out):
        s = cuda.grid(1)
        if s < out.shape[0]:
            for q in range(k):
                total = 0.0
                for a in range(pi.shape[0]):
                    total += pi[a, s] * rows[a, s, q]
                out[s, q] = add[s, q] + scale * total

    return kernel


@cuda.jit
def greedy_of_rows(f, gamma, rows, margin, actions, out):
    """:func:`greedy_sweep` from row sums ``rows (A, S)``."""
    s = cuda.grid(1)
    if s < out.shape[0]:
        present, best, first = 0.0, 0.0, 0
        for a in range(f.shape[0]):
            total = f[a, s] + gamma * rows[a, s]
            if a == actions[s]:
                present = total
            if a == 0 or total > best:
                best, first = total, a
        out[s, 0] = best
        if best > present + margin:
            actions[s] = first


@cuda.jit
def one_hot(actions, pi):
    """``pi[a, s] = 1`` for ``a = actions[s]``, else 0."""
    s = cuda.grid(1)
    if s < pi.shape[1]:
        for a in range(pi.shape[0]):
            pi[a, s] = 1.0 if a == actions[s] else 0.0


@cuda.jit
def flow(d, pi, out):
    """``out[a*S + s, 0] = d[s, 0] pi[a, s]``: what a visitation sends through every row."""
    s = cuda.grid(1)
    S = pi.shape[1]
    if s < S:
        for a in range(pi.shape[0]):
            out[a * S + s, 0] = d[s, 0] * pi[a, s]
