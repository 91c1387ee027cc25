r"""The rows of a sparse kernel as compiled code reads them, and the means of values over their successors.

Values of k signals stand side by side, ``V (S, k)``: one pass over the rows then serves all of them, and one
scattered read brings the k numbers of a successor. Four rows are read at a time: a processor that waits for
one successor's values then has those of three others under way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.kernels.packs import packs_of, store
from tabular_fedrl.measured import Array

inlined: Any = numba.njit(cache=True, error_model="numpy", fastmath={"contract"}, forceinline=True)
"""Compiled into its caller, for what is called in every turn of a loop."""

U = np.uint64
"""Indices are unsigned in the loops: signed ones would be tested for counting from the end, which costs
nearly half the speed."""


class Rows(NamedTuple):
    """Laws of the successors of state-action pairs, one row ``s*A + a`` each.

    Row i holds the entries ``p`` from ``starts[i]`` up to ``starts[i+1]``, and ``width`` is 0; or, where all
    rows are even, from ``i*width`` up to ``(i+1)*width``, and ``starts`` is empty.

    weights: ``(entries,)``, float64 or float32. successors: ``(entries,)`` uint32.
    """

    weights: NDArray[Any]
    successors: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    width: int
    S: int
    A: int


def rows_of(cmdp: CMDP, storage: Any = np.float64) -> Rows:
    """The rows of a sparse problem: its own arrays, read in place. With ``storage=np.float32`` the weights
    are a rounded copy; sums are in float64 all the same."""
    P = cmdp.P

    def view() -> Rows:
        weights = P.data.astype(storage, copy=False)
        counts = np.diff(P.indptr)
        width = int(counts[0]) if (counts == counts[0]).all() else 0
        starts = P.indptr[:0] if width else P.indptr
        return Rows(weights, P.indices.view(np.uint32), starts.view(np.uint32), width, cmdp.S, cmdp.A)

    return cmdp._remember(("rows", np.dtype(storage).name), view)


@inlined
def unpacked(rows: Rows) -> Any:
    """Weights, successors, starts; width, S and A as unsigned. Loops work on these: references to the fields
    of a tuple would be counted in every turn."""
    return rows.weights, rows.successors, rows.starts, U(rows.width), U(rows.S), U(rows.A)


@inlined
def first_entry(starts: Any, width: Any, row: Any) -> Any:
    """Where a row begins (``row = S*A``: where the last one ends)."""
    return row * U(width) if width else U(starts[row])


LANES = 4
"""Signals at most in one pass over the rows: lanes of a pack."""

BLOCK = 512
"""Means that are made before they are used: they stay in the fastest cache."""


def _means_of(signals: int) -> Any:
    """:func:`means` of so many signals from j on."""
    lanes = 1 if signals == 1 else LANES
    load, spread = packs_of(lanes, signals)

    # Not cached: what it is compiled into is.
    @numba.njit(error_model="numpy", fastmath={"contract"}, forceinline=True)
    def means(
        weights: Any, successors: Any, starts: Any, width: Any, row: Any, n: Any, V: Array, k: Any, j: Any,
        out: Array,
    ) -> None:  # fmt: skip
        i: Any = U(0)
        while i < n:
            p0 = first_entry(starts, width, row + i)
            wide = first_entry(starts, width, row + i + U(1)) - p0
            p1, p2, p3 = p0 + wide, p0 + U(2) * wide, p0 + U(3) * wide
            if i + U(4) <= n and (
                width
                or (
                    starts[row + i + U(2)] == p2
                    and starts[row + i + U(3)] == p3
                    and starts[row + i + U(4)] == p3 + wide
                )
            ):
                t0, t1, t2, t3 = spread(0.0), spread(0.0), spread(0.0), spread(0.0)
                for e in range(wide):
                    t0 += spread(weights[p0 + e]) * load(V, (U(successors[p0 + e]) * k + j,))
                    t1 += spread(weights[p1 + e]) * load(V, (U(successors[p1 + e]) * k + j,))
                    t2 += spread(weights[p2 + e]) * load(V, (U(successors[p2 + e]) * k + j,))
                    t3 += spread(weights[p3 + e]) * load(V, (U(successors[p3 + e]) * k + j,))
                store(t0, out, (i * U(lanes),))
                store(t1, out, ((i + U(1)) * U(lanes),))
                store(t2, out, ((i + U(2)) * U(lanes),))
                store(t3, out, ((i + U(3)) * U(lanes),))
                i += U(4)
            else:
                total = spread(0.0)
                for p in range(p0, p1):
                    total += spread(weights[p]) * load(V, (U(successors[p]) * k + j,))
                store(total, out, (i * U(lanes),))
                i += U(1)

    return means


_means_1, _means_2, _means_3, _means_4 = (_means_of(signals) for signals in range(1, LANES + 1))


@inlined
def states_of_block(A: Any, lanes: Any) -> Any:
    """States whose rows' means, of so many lanes, make a block."""
    return max(U(1), U(BLOCK) // (A * lanes))


@inlined
def row_means(
    weights: Any, successors: Any, starts: Any, width: Any, row: Any, n: Any, V: Array, out: Array
) -> None:
    r""":math:`\sum_t P(t|i)\, V(t)`, ``out (n,)``, of n rows i from ``row`` on. Every sum takes its terms in
    the order of the row."""
    _means_1(weights, successors, starts, width, row, n, V, U(1), U(0), out)


@inlined
def means(
    weights: Any, successors: Any, starts: Any, width: Any, row: Any, n: Any, V: Array, k: Any, j: Any,
    out: Array,
) -> tuple[Any, Any]:  # fmt: skip
    r""":func:`row_means` of the signals l from j on, at most :data:`LANES` of the k; ``V (S*k,)``.

    Returns how many signals and the lanes of ``out``, which are 1 or :data:`LANES`: the mean of row i and
    signal j + l is ``out[i*lanes + l]``.
    """
    signals = min(k - j, U(LANES))
    if k == U(1):
        row_means(weights, successors, starts, width, row, n, V, out)
        return signals, U(1)
    if signals == U(1):
        _means_1(weights, successors, starts, width, row, n, V, k, j, out)
        return signals, U(1)
    if signals == U(2):
        _means_2(weights, successors, starts, width, row, n, V, k, j, out)
    elif signals == U(3):
        _means_3(weights, successors, starts, width, row, n, V, k, j, out)
    else:
        _means_4(weights, successors, starts, width, row, n, V, k, j, out)
    return signals, U(LANES)
