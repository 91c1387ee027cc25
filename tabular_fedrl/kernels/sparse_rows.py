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
from tabular_fedrl.kernels.cached import cached
from tabular_fedrl.kernels.packs import LINE, packs_of, prefetch, prefetch_once, store
from tabular_fedrl.measured import Array

inlined: Any = cached(error_model="numpy", fastmath={"contract"}, forceinline=True)
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


STREAMED = 1 << 21
"""Entries from which on rows do not stay in the caches from one sweep to the next."""

KEPT = 1 << 21
"""Values that may stay there, as long as the rows that go by do not drive them out."""

FAR = 1 << 12
"""States between two whose values do not lie in the fastest cache together."""

AHEAD = 512
"""Entries ahead of which rows are fetched past the caches."""


def scattered(rows: Rows, V: Array) -> bool | None:
    """True where a sweep over the rows had better leave the caches to the values V, None otherwise: a
    kernel is compiled for each, so that the one does not pay for the other.

    That pays where successors are scattered, rows are too many to stay and values are few enough.
    """
    return True if rows.weights.size >= STREAMED and V.size <= KEPT and lie_anywhere(rows) else None


def lie_anywhere(rows: Rows) -> bool:
    """Whether most successors of states near each other are not; of at least 320 entries."""
    successors, step = rows.successors, rows.successors.size // 64
    # Entries of rows a few states apart.
    apart = np.abs(np.subtract(successors[256::step], successors[:-256:step], dtype=np.int64))
    return bool(2 * np.count_nonzero(apart > FAR) > apart.size)


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


SEVERAL = 8
"""Even rows in a run from which on there is code of just their width for them."""

_njit: Any = numba.njit
"""Its stubs leave out an option."""

_within: Any = _njit(_nrt=False, error_model="numpy", fastmath={"contract"})
"""Not cached: what it is compiled into is. Arrays are the caller's: references to them are not counted, which
the compiler does not always find out for itself and which takes longer than to sum."""

_inside: Any = _njit(_nrt=False, error_model="numpy", fastmath={"contract"}, forceinline=True)
"""The same, compiled into its caller."""


def each_width(work: Any) -> Any:
    """``work(wide, p, i, n, *data)``, on the sums i to n of so many terms each, compiled for every small
    number of terms on its own: without a loop over the terms, more of the processor's window is left to look
    ahead for what is to be fetched."""

    @_within
    def chosen(wide: Any, p: Any, i: Any, n: Any, *data: Any) -> None:
        if wide == U(1):
            work(U(1), p, i, n, *data)
        elif wide == U(2):
            work(U(2), p, i, n, *data)
        elif wide == U(3):
            work(U(3), p, i, n, *data)
        elif wide == U(4):
            work(U(4), p, i, n, *data)
        elif wide == U(5):
            work(U(5), p, i, n, *data)
        else:
            work(wide, p, i, n, *data)

    return chosen


def over_rows(work: Any, single: Any) -> Any:
    """For all ``n`` rows from ``row`` on, as ``over(starts, width, row, n, *data)``: ``work(wide, p, i, n,
    *data)`` on even rows i to n of the block whose entries begin at p, and ``single(p, stop, i, *data)`` on
    rows that have few such neighbours, for which to choose a width would take longer than to sum."""
    chosen = each_width(work)

    @_within
    def over(starts: Any, width: Any, row: Any, n: Any, *data: Any) -> None:
        i: Any = U(0)
        while i < n:
            p = first_entry(starts, width, row + i)
            wide = first_entry(starts, width, row + i + U(1)) - p
            stop = n if width else i + U(1)
            while stop < n and U(starts[row + stop + U(1)]) - U(starts[row + stop]) == wide:
                stop += U(1)
            if width or stop - i >= U(SEVERAL):
                chosen(wide, p, i, stop, *data)
            else:
                for j in range(stop - i):
                    single(p + j * wide, p + (j + U(1)) * wide, i + j, *data)
            i = stop

    return over


@_inside
def _at_once(p: Any, n: Any, *data: Any) -> None:
    """Nothing is asked for ahead."""


def _sums_of(lanes: int, term: Any, expect: Any = _at_once) -> tuple[Any, Any]:
    """Sums of ``term(p, *data)`` into ``out``, of even rows four at a time, and of a single row; see
    :func:`over_rows`. Before four rows of n entries in all, from p on, ``expect(p, n, *data)``."""
    _, _, spread = packs_of(lanes)

    @_inside
    def single(p: Any, stop: Any, i: Any, out: Array, *data: Any) -> None:
        total = spread(0.0)
        for q in range(p, stop):
            total += term(q, *data)
        store(total, out, (i * U(lanes),))

    @_inside
    def sums(wide: Any, p: Any, i: Any, n: Any, out: Array, *data: Any) -> None:
        while i + U(4) <= n:
            expect(p, U(4) * wide, *data)
            p1, p2, p3 = p + wide, p + U(2) * wide, p + U(3) * wide
            t0, t1, t2, t3 = spread(0.0), spread(0.0), spread(0.0), spread(0.0)
            for e in range(wide):
                t0 += term(p + e, *data)
                t1 += term(p1 + e, *data)
                t2 += term(p2 + e, *data)
                t3 += term(p3 + e, *data)
            store(t0, out, (i * U(lanes),))
            store(t1, out, ((i + U(1)) * U(lanes),))
            store(t2, out, ((i + U(2)) * U(lanes),))
            store(t3, out, ((i + U(3)) * U(lanes),))
            i += U(4)
            p += U(4) * wide
        while i < n:
            single(p, p + wide, i, out, *data)
            i += U(1)
            p += wide

    return sums, single


def _means_of(lanes: int, expect: Any = _at_once) -> Any:
    """:func:`means` in so many lanes."""
    load, load_some, spread = packs_of(lanes)

    @_inside
    def term(p: Any, weights: Any, successors: Any, V: Array, k: Any, j: Any, signals: Any) -> Any:
        place = (U(successors[p]) * k + j,)
        return spread(weights[p]) * (load(V, place) if lanes == 1 else load_some(V, place, signals))

    return over_rows(*_sums_of(lanes, term, expect))


@_inside
def _past_caches(p: Any, n: Any, weights: Any, successors: Any, *rest: Any) -> None:
    """Ask for the n entries that come so much later, weights of 8 bytes and successors of 4."""
    for i in range((n + U(LINE // 8 - 1)) // U(LINE // 8)):
        prefetch_once(weights, (p + U(AHEAD) + i * U(LINE // 8),))
    for i in range((n + U(LINE // 4 - 1)) // U(LINE // 4)):
        prefetch_once(successors, (p + U(AHEAD) + i * U(LINE // 4),))


_means_1, _means_4 = _means_of(1), _means_of(LANES)
_means_1_far, _means_4_far = _means_of(1, _past_caches), _means_of(LANES, _past_caches)


def _inner_of(lanes: int) -> Any:
    """:func:`inner` in so many lanes."""
    load, _, spread = packs_of(lanes)

    @_inside
    def term(p: Any, x: Array, y: Array) -> Any:
        return spread(x[p]) * load(y, (p * U(lanes),))

    return each_width(_sums_of(lanes, term)[0])


_inner_1, _inner_4 = _inner_of(1), _inner_of(LANES)


@inlined
def inner(x: Array, y: Array, n: Any, A: Any, lanes: Any, out: Array) -> None:
    r""":math:`\sum_a x(i,a)\, y(i,a)` of n states i in every lane of y, ``out (n*lanes,)``, which may be y;
    x: ``(n*A,)``, y: ``(n*A*lanes,)``."""
    if lanes == 1:
        _inner_1(A, U(0), U(0), n, out, x, y)
    else:
        _inner_4(A, U(0), U(0), n, out, x, y)


@inlined
def expect(x: Array, start: Any, n: Any) -> None:
    """Ask for n numbers that are needed once the means of a block are there: by then they are too. Where
    blocks are short, as with several signals, or much is read in between, as of scattered successors, the
    processor does not foresee where the tables go on."""
    for i in range(start, start + n, U(LINE // 8)):
        prefetch(x, (i,))


@inlined
def states_of_block(A: Any, lanes: Any) -> Any:
    """States whose rows' means, of so many lanes, make a block."""
    return max(U(1), U(BLOCK) // (A * lanes))


@inlined
def row_means(
    weights: Any, successors: Any, starts: Any, width: Any, row: Any, n: Any, V: Array, out: Array,
    far: Any = None,
) -> None:  # fmt: skip
    r""":math:`\sum_t P(t|i)\, V(t)`, ``out (n,)``, of n rows i from ``row`` on; ``far``: what
    :func:`scattered` says. Every sum takes its terms in the order of the row."""
    if far is None:
        _means_1(starts, width, row, n, out, weights, successors, V, U(1), U(0), U(1))
    else:
        _means_1_far(starts, width, row, n, out, weights, successors, V, U(1), U(0), U(1))


@inlined
def means(
    weights: Any, successors: Any, starts: Any, width: Any, row: Any, n: Any, V: Array, k: Any, j: Any,
    out: Array, far: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    r""":func:`row_means` of the signals l from j on, at most :data:`LANES` of the k; ``V (S*k,)``.

    Returns how many signals and the lanes of ``out``, which are 1 or :data:`LANES`: the mean of row i and
    signal j + l is ``out[i*lanes + l]``.
    """
    signals = min(k - j, U(LANES))
    if k == U(1):
        row_means(weights, successors, starts, width, row, n, V, out, far)
        return signals, U(1)
    if signals == U(1):
        _means_1(starts, width, row, n, out, weights, successors, V, k, j, U(1))
        return signals, U(1)
    if far is None:
        _means_4(starts, width, row, n, out, weights, successors, V, k, j, signals)
    else:
        _means_4_far(starts, width, row, n, out, weights, successors, V, k, j, signals)
    return signals, U(LANES)
