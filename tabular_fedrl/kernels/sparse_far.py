r"""Sweeps over several signals of a problem whose values fit into no cache and whose successors lie anywhere.

Every successor's values are then waited for in memory. They are copied side by side, padded to whole packs
that no cache line cuts in two, and asked for some states ahead; the means of a state's rows and its policy's
mean of them stay in registers. What else a state needs is asked for on the way: while values come from
memory there is room for that, and afterwards nothing to hide it behind.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.packs import aligned, packs_of, prefetch, prefetch_once, store
from tabular_fedrl.kernels.sparse_rows import (
    BLOCK,
    KEPT,
    LANES,
    STREAMED,
    Rows,
    U,
    inner,
    lie_anywhere,
    unpacked,
)
from tabular_fedrl.kernels.sparse_values import put
from tabular_fedrl.kernels.threads import CHUNK, over_chunks
from tabular_fedrl.measured import Array

WIDEST = 8
"""Successors of a row, and actions, up to which there is code of just so many."""

AHEAD = 160
"""Entries ahead of which values are asked for."""

EARLY = 8
"""States ahead of which their policies are."""

_load, _, _spread = packs_of(LANES)


def lies_far(rows: Rows, V: Array) -> bool:
    """Whether :func:`sweep_far` is for these rows and values ``V (S, k)``."""
    large = rows.weights.size >= STREAMED and V.size > KEPT
    return large and V.shape[1] > 1 and 0 < rows.width <= WIDEST and lie_anywhere(rows)


def sweep_far(
    rows: Rows, pi: Array, f: Array, gamma: float, V: Array, out: Array, subtract: bool, change: Array
) -> None:
    r"""What :func:`tabular_fedrl.kernels.sparse.policy_sweep` writes into ``out (S, k)``, or the residual
    (``subtract``), and chunk by chunk the sizes of the changes, ``change (chunks, k)``."""
    S, k = V.shape
    padded, values = aligned((S * LANES,)), V.reshape(-1)
    kernel = _sweep_of(rows.width, rows.A if rows.A <= WIDEST else None)
    for j in range(0, k, LANES):
        over_chunks(_pad, S, S, values, k, j, padded)
        over_chunks(kernel, S, rows, pi, f, gamma, values, padded, j, out, subtract, change)


@compiled
def _pad(first: int, last: int, S: int, V: Array, k: int, j: int, padded: Array) -> None:
    """The signals from j on, side by side, and zeros."""
    n = min(U(k - j), U(LANES))
    for s in range(U(first * CHUNK), min(U(last * CHUNK), U(S))):
        for i in range(U(LANES)):
            padded[s * U(LANES) + i] = V[s * U(k) + U(j) + i] if i < n else 0.0


@cache
def _sweep_of(width: int, actions: int | None) -> Any:
    """The sweep over rows of so many successors and so many actions, None for any number of them."""

    @compiled
    def sweep(
        first: int, last: int, rows: Rows, pi: Array, f: Array, gamma: float, V: Array, padded: Array, j: int,
        out: Array, subtract: bool, change: Array,
    ) -> None:  # fmt: skip
        weights, successors, _, _, S, any_number = unpacked(rows)
        A = any_number if actions is None else U(actions)
        p, g, k = pi.reshape(-1), f.reshape(-1), U(out.shape[1])
        signals, many = min(k - U(j), U(LANES)), U(BLOCK // LANES)
        ahead, mean = np.empty(BLOCK), np.empty(many)
        for chunk in range(U(first), U(last)):
            s, end = chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)
            # The last ones ask for what they are at: nothing lies beyond.
            lead = U(AHEAD) if end * A * U(width) + U(AHEAD) <= U(weights.size) else U(0)
            q = s * A * U(width)
            for i in range(signals):
                change[chunk, U(j) + i] = 0.0
            while s < end:
                n = min(many, end - s)
                for i in range(n):
                    total = _spread(0.0)
                    for e in range(signals):
                        prefetch_once(g, (((U(j) + e) * S + s + i) * A,))
                    prefetch_once(V, ((s + i) * k,))
                    prefetch(out, (s + i, U(j)))
                    prefetch_once(p, ((s + i + U(EARLY)) * A,))
                    for a in range(A):
                        for e in range(U(width)):
                            prefetch(padded, (U(successors[q + lead + e]) * U(LANES),))
                        row = _spread(0.0)
                        for _ in range(U(width)):
                            row += _spread(weights[q]) * _load(padded, (U(successors[q]) * U(LANES),))
                            q += U(1)
                        total = total + _spread(p[(s + i) * A + a]) * row if A > 1 else row
                    store(total, ahead, (i * U(LANES),))
                for i in range(signals):
                    own = g[((U(j) + i) * S + s) * A :]
                    if A > 1:
                        inner(p[s * A :], own, n, A, U(1), mean)
                    change[chunk, U(j) + i] = put(
                        own if A == 1 else mean, ahead, i, U(LANES), s, n, gamma, V, k, U(j) + i, out,
                        subtract, change[chunk, U(j) + i],
                    )  # fmt: skip
                s += n

    return sweep
