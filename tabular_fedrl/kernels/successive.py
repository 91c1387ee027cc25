r"""Successive approximation of a policy's values, for problems that mix fast.

A sweep takes V to :math:`V' = f_\pi + \gamma P_\pi V`. Because :math:`P_\pi` keeps constants, the part of the
residual :math:`\delta = V' - V` that is one, which alone would decay like :math:`\gamma^n`, is removed after
each sweep: V' is shifted by :math:`\frac{\gamma}{1-\gamma}` times the middle of the range of :math:`\delta`,
which leaves the residual :math:`\gamma (P_\pi \delta - \mathrm{mid}\,\delta)`, half as large as the range of
:math:`\delta` at most. What remains decays like the second largest eigenvalue of :math:`P_\pi`: on random
graphs as fast as in a Krylov method, whose vectors and inner products are saved. Source: the bounds, MacQueen
(1966).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse import table
from tabular_fedrl.kernels.sparse_rows import (
    BLOCK,
    LANES,
    Rows,
    U,
    inlined,
    inner,
    means,
    scattered,
    states_of_block,
    unpacked,
)
from tabular_fedrl.kernels.sparse_values import larger
from tabular_fedrl.kernels.threads import CHUNK, ENOUGH, chunks, over_chunks
from tabular_fedrl.measured import UNIT, Array

FAST = 0.75
"""Sweeps go on while each leaves at most this part of the residual's range."""

NOISE = 16 * UNIT
"""A range this small against the values is as small as rounding lets it be."""

MAX_SWEEPS = 100

GO_ON, TAKE, KEEP = 0, 1, 2
"""What follows a sweep: another one; or its result, or what it started from, is the answer."""


def approach(
    rows: Rows, pi: Array | None, f_pi: Array, gamma: float, V: Array, spare: Array, tolerance: Array
) -> tuple[Array, Array, bool]:
    r"""Sweep from ``V (S, k)`` until the residual of every column is at most ``tolerance (k,)``, or as small
    as rounding allows, or sweeps contract slowly.

    ``f_pi (k, S)``; ``spare (S, k)`` is overwritten, as ``V`` is unless it is such an answer already. Returns
    the two in the order answer, spare, and whether the residual is that small but for rounding.
    """
    S, k = V.shape
    # What the last sweep leaves: a shift to be made, the range's width and the size of the values.
    shift, width, size = np.zeros(k), np.full(k, np.inf), np.zeros(k)
    ranges = np.empty((chunks(S), 3, k))
    given = rows, table(pi), np.ascontiguousarray(f_pi), gamma
    rest, past = (tolerance, ranges, shift, width, size), scattered(rows, V)
    if chunks(S) < 2 * ENOUGH:
        if _all(*given, V.reshape(-1), spare.reshape(-1), *rest) % 2:
            V, spare = spare, V
    else:
        for _ in range(MAX_SWEEPS):
            over_chunks(_sweep, S, *given, V.reshape(-1), shift, spare.reshape(-1), ranges, past)
            turn = _turn(gamma, *rest)
            if turn == KEEP:
                break
            V, spare = spare, V
            if turn == TAKE:
                break
    V += shift
    return V, spare, bool((width <= np.maximum(2 * tolerance, 4 * NOISE * size)).all())


@compiled
def _all(
    rows: Rows, pi: Array, f_pi: Array, gamma: float, V: Array, spare: Array, tolerance: Array,
    ranges: Array, shift: Array, width: Array, size: Array,
) -> int:  # fmt: skip
    """Sweeps by one thread, from V to ``spare`` and back; how many lead to the answer."""
    for sweep in range(MAX_SWEEPS):
        there, back = (V, spare) if sweep % 2 == 0 else (spare, V)
        _sweep(0, len(ranges), rows, pi, f_pi, gamma, there, shift, back, ranges, None)
        turn = _turn(gamma, tolerance, ranges, shift, width, size)
        if turn != GO_ON:
            return sweep + 1 if turn == TAKE else sweep
    return MAX_SWEEPS


@compiled
def _turn(gamma: float, tolerance: Array, ranges: Array, shift: Array, width: Array, size: Array) -> int:
    """What follows a sweep with these ``ranges`` of its chunks; the next ``shift (k,)``."""
    kept, settled, slow = True, True, False
    for j in range(shift.size):
        low, high, far = np.inf, -np.inf, 0.0
        for chunk in range(len(ranges)):
            low, high = min(low, ranges[chunk, 0, j]), max(high, ranges[chunk, 1, j])
            far = larger(far, ranges[chunk, 2, j])
        before = width[j]
        shift[j] = gamma / (1.0 - gamma) * 0.5 * (low + high)
        width[j], size[j] = high - low, far
        kept = kept and before == np.inf and max(-low, high) <= max(tolerance[j], NOISE * far)
        if not width[j] <= max(2 * tolerance[j], NOISE * far):
            settled = False
            slow = slow or not width[j] <= FAST * before
    if kept:
        shift[:] = 0.0
        return KEEP
    return TAKE if settled or slow else GO_ON


@compiled
def _sweep(
    first: int, last: int, rows: Rows, pi: Array, f_pi: Array, gamma: float, V: Array, shift: Array,
    out: Array, ranges: Array, past: Any,
) -> None:  # fmt: skip
    """``out``: what follows V + shift; ``ranges (chunks, 3, k)``: of the difference, and the size of it;
    ``past``: what :func:`~tabular_fedrl.kernels.sparse_rows.scattered` says."""
    weights, successors, starts, width, S, A = unpacked(rows)
    k = U(shift.size)
    many = states_of_block(A, U(1) if k == 1 else U(LANES))
    ahead, p = np.empty(max(U(BLOCK), A * U(LANES))), pi.reshape(-1)
    for chunk in range(U(first), U(last)):
        for i in range(k):
            ranges[chunk, 0, i], ranges[chunk, 1, i], ranges[chunk, 2, i] = np.inf, -np.inf, 0.0
        s, end = chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)
        while s < end:
            n = min(many, end - s)
            j: Any = U(0)
            while j < k:
                signals, lanes = means(weights, successors, starts, width, s * A, n * A, V, k, j, ahead, past)
                if A > 1:
                    inner(p[s * A :], ahead, n, A, lanes, ahead)
                for i in range(signals):
                    low, high, far = _put(
                        ahead, i, lanes, s, n, f_pi[j + i], gamma, V, shift[j + i], k, j + i, out
                    )
                    ranges[chunk, 0, j + i] = min(low, ranges[chunk, 0, j + i])
                    ranges[chunk, 1, j + i] = max(high, ranges[chunk, 1, j + i])
                    ranges[chunk, 2, j + i] = larger(far, ranges[chunk, 2, j + i])
                j += signals
            s += n


@inlined
def _put(
    ahead: Array, at: Any, lanes: Any, s: Any, n: Any, f_pi: Array, gamma: float, V: Array, shift: float,
    k: Any, j: Any, out: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """The values of signal j in n states from s on, from the means ``ahead[at::lanes]`` of what follows."""
    low, high, far = np.inf, -np.inf, 0.0
    for i in range(n):
        new = f_pi[s + i] + gamma * (ahead[i * lanes + at] + shift)
        moved = new - (V[(s + i) * k + j] + shift)
        out[(s + i) * k + j] = new
        low, high, far = min(low, moved), max(high, moved), larger(far, new)
    return low, high, far
