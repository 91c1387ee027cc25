r"""Sweeps over several signals of a problem whose values fit into no processor's own cache and whose
successors lie anywhere.

Every successor's values are then waited for, in the shared cache or in memory. They are copied side by side,
padded to whole packs that no cache line cuts in two, and asked for some states ahead; the means of a state's
rows and its policy's mean of them stay in registers. What else a state needs is asked for on the way: while
values come from afar there is room for that, and afterwards nothing to hide it behind.
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
    _inside,
    first_entry,
    inner,
    lie_anywhere,
    unpacked,
)
from tabular_fedrl.kernels.sparse_values import put
from tabular_fedrl.kernels.threads import CHUNK, over_chunks
from tabular_fedrl.measured import Array

WIDEST = 8
"""Successors of even rows, and actions, up to which there is code of just so many."""

OWN = 1 << 17
"""Values that fit into a processor's own cache."""

AHEAD = 160
"""Entries ahead of which values are asked for."""

PASSING = 512
"""Entries ahead of which rows are fetched."""

EARLY = 8
"""States ahead of which their policies are."""

_load, _, _spread = packs_of(LANES)


def lies_far(rows: Rows, V: Array) -> bool:
    """Whether :func:`sweep_far` is for these rows and values ``V (S, k)``."""
    # Padding makes two signals twice as large: not while they stay in the shared cache.
    kept = OWN if V.shape[1] > 2 else KEPT
    large = rows.weights.size >= STREAMED and V.size > kept
    return large and V.shape[1] > 1 and lie_anywhere(rows)


def sweep_far(
    rows: Rows, pi: Array, f: Array, gamma: float, V: Array, out: Array, subtract: bool, change: Array
) -> None:
    r"""What :func:`tabular_fedrl.kernels.sparse.policy_sweep` writes into ``out (S, k)``, or the residual
    (``subtract``), and chunk by chunk the sizes of the changes, ``change (chunks, k)``."""
    S, k = V.shape
    padded, values = aligned((S * LANES,)), V.reshape(-1)
    kernel = _sweep_of(*(n if 0 < n <= WIDEST else None for n in (rows.width, rows.A)))
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


def _row_of(width: int | None) -> Any:
    """The mean over a row of so many entries, None for any number of them, from p on; values are asked for
    ``lead`` entries ahead. Without a loop over the entries more of the processor's window is left."""

    @_inside
    def row(wide: Any, p: Any, lead: Any, weights: Any, successors: Any, padded: Array) -> Any:
        n = wide if width is None else U(width)
        # Rows go past the caches, which are left to the values.
        prefetch_once(weights, (p + U(PASSING),))
        prefetch_once(successors, (p + U(PASSING),))
        for e in range(n):
            prefetch(padded, (U(successors[p + lead + e]) * U(LANES),))
        total = _spread(0.0)
        for e in range(n):
            total += _spread(weights[p + e]) * _load(padded, (U(successors[p + e]) * U(LANES),))
        return total

    return row


_row, _row_1, _row_2, _row_3, _row_4, _row_5 = (_row_of(width) for width in (None, 1, 2, 3, 4, 5))


@_inside
def _uneven(wide: Any, *data: Any) -> Any:
    """The mean over a row among others of other numbers of entries."""
    if wide == U(1):
        return _row_1(wide, *data)
    if wide == U(2):
        return _row_2(wide, *data)
    if wide == U(3):
        return _row_3(wide, *data)
    if wide == U(4):
        return _row_4(wide, *data)
    if wide == U(5):
        return _row_5(wide, *data)
    return _row(wide, *data)


@cache
def _sweep_of(width: int | None, actions: int | None) -> Any:
    """The sweep over rows of so many successors and so many actions, None for any number of them."""
    row = _uneven if width is None else _row_of(width)

    @compiled
    def sweep(
        first: int, last: int, rows: Rows, pi: Array, f: Array, gamma: float, V: Array, padded: Array, j: int,
        out: Array, subtract: bool, change: Array,
    ) -> None:  # fmt: skip
        weights, successors, starts, any_width, S, any_number = unpacked(rows)
        even = any_width if width is None else U(width)
        A = any_number if actions is None else U(actions)
        p, g, k = pi.reshape(-1), f.reshape(-1), U(out.shape[1])
        signals, many = min(k - U(j), U(LANES)), U(BLOCK // LANES)
        ahead, mean = np.empty(BLOCK), np.empty(many)
        for chunk in range(U(first), U(last)):
            s, end = chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)
            # The last ones ask for what they are at: nothing lies beyond.
            last_entry = first_entry(starts, even, end * A)
            lead = U(AHEAD) if last_entry + U(AHEAD) <= U(weights.size) else U(0)
            q = first_entry(starts, even, s * A)
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
                        wide = first_entry(starts, even, (s + i) * A + a + U(1)) - q
                        mean_of_row = row(wide, q, lead, weights, successors, padded)
                        q += wide
                        total = total + _spread(p[(s + i) * A + a]) * mean_of_row if A > 1 else mean_of_row
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
