r"""The rows of a sparse kernel as compiled code reads them, and the mean of values over a state's successors.

Values of k signals stand side by side, ``V (S, k)``: one pass over the rows then serves all of them, and one
scattered read brings the k numbers of a successor.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
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


@inlined
def row_mean(weights: Any, successors: Any, p: Any, end: Any, V: Array) -> float:
    """Sum of weight times value over the entries from p up to end; ``V (S,)``."""
    total = 0.0
    while p < end:
        total += weights[p] * V[successors[p]]
        p += U(1)
    return total


@inlined
def mean_1(
    weights: Any, successors: Any, starts: Any, width: Any, A: Any, pi: Array, s: Any, V: Array, k: Any,
    j: Any,
) -> float:  # fmt: skip
    r""":math:`\sum_a \pi(a|s) \sum_t P(t|s,a) V_j(t)` for the values ``V (S*k,)`` of k signals; ``pi (S, A)``
    is not read where A = 1."""
    total = 0.0
    p = first_entry(starts, width, s * A)
    for a in range(A):
        end = first_entry(starts, width, s * A + a + U(1))
        part = 0.0
        while p < end:
            part += weights[p] * V[U(successors[p]) * k + j]
            p += U(1)
        total += part if A == 1 else pi[s, a] * part
    return total


@inlined
def mean_2(
    weights: Any, successors: Any, starts: Any, width: Any, A: Any, pi: Array, s: Any, V: Array, k: Any,
    j: Any,
) -> tuple[float, float]:  # fmt: skip
    """:func:`mean_1` of the signals j and j+1, in one pass over the rows."""
    t0, t1 = 0.0, 0.0
    p = first_entry(starts, width, s * A)
    for a in range(A):
        end = first_entry(starts, width, s * A + a + U(1))
        x0, x1 = 0.0, 0.0
        while p < end:
            w, i = weights[p], U(successors[p]) * k + j
            x0 += w * V[i]
            x1 += w * V[i + U(1)]
            p += U(1)
        share = 1.0 if A == 1 else pi[s, a]
        t0 += share * x0
        t1 += share * x1
    return t0, t1


@inlined
def mean_3(
    weights: Any, successors: Any, starts: Any, width: Any, A: Any, pi: Array, s: Any, V: Array, k: Any,
    j: Any,
) -> tuple[float, float, float]:  # fmt: skip
    """:func:`mean_1` of the signals j, j+1, j+2, in one pass over the rows."""
    t0, t1, t2 = 0.0, 0.0, 0.0
    p = first_entry(starts, width, s * A)
    for a in range(A):
        end = first_entry(starts, width, s * A + a + U(1))
        x0, x1, x2 = 0.0, 0.0, 0.0
        while p < end:
            w, i = weights[p], U(successors[p]) * k + j
            x0 += w * V[i]
            x1 += w * V[i + U(1)]
            x2 += w * V[i + U(2)]
            p += U(1)
        share = 1.0 if A == 1 else pi[s, a]
        t0 += share * x0
        t1 += share * x1
        t2 += share * x2
    return t0, t1, t2


@inlined
def mean_4(
    weights: Any, successors: Any, starts: Any, width: Any, A: Any, pi: Array, s: Any, V: Array, k: Any,
    j: Any,
) -> tuple[float, float, float, float]:  # fmt: skip
    """:func:`mean_1` of the signals j, .., j+3, in one pass over the rows."""
    t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
    p = first_entry(starts, width, s * A)
    for a in range(A):
        end = first_entry(starts, width, s * A + a + U(1))
        x0, x1, x2, x3 = 0.0, 0.0, 0.0, 0.0
        while p < end:
            w, i = weights[p], U(successors[p]) * k + j
            x0 += w * V[i]
            x1 += w * V[i + U(1)]
            x2 += w * V[i + U(2)]
            x3 += w * V[i + U(3)]
            p += U(1)
        share = 1.0 if A == 1 else pi[s, a]
        t0 += share * x0
        t1 += share * x1
        t2 += share * x2
        t3 += share * x3
    return t0, t1, t2, t3
