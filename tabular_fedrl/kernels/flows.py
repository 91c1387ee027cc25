r"""Flows of mass over the states of a large sparse problem: :math:`P_\pi^T x` and what it is compared with.

Parts of the states sum what flows out of them apart, and the parts are added up: an order that does not
depend on the number of threads. Of its sums a part writes only the chunks of states that it reaches, few
where successors are near. Policies are given as in :mod:`tabular_fedrl.kernels.sparse`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.packs import prefetch, prefetch_once
from tabular_fedrl.kernels.sparse import table
from tabular_fedrl.kernels.sparse_rows import (
    AHEAD,
    BLOCK,
    Rows,
    U,
    expect,
    first_entry,
    inlined,
    lie_anywhere,
    over_rows,
    states_of_block,
    unpacked,
)
from tabular_fedrl.kernels.sparse_values import larger
from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks, over_parts
from tabular_fedrl.measured import Array

PARTS = 4
"""Parts of the states, whatever the number of threads."""

LOOKED = 640
"""Entries of a block, or a single state's: its successors are all looked at before the first is used."""

EARLY = 1280
"""Entries ahead of which successors are fetched, so that even a look at the next block finds them."""

LEAD = 160
"""Entries ahead of which sums that lie anywhere are asked for."""

FAR = 1 << 18
"""Sums from which on that pays: they fit into no processor's own cache."""

_NOTHING = np.zeros(0)

Flow = tuple[Array, Array, NDArray[np.bool_]]
"""Sums of the parts, to be added up: of the first ``(S,)``, which lies where the result is to be, and of the
others ``(PARTS - 1, S)``; and which of their chunks are written, ``(PARTS, C)``."""


def flow_residual(
    rows: Rows, pi: Array | None, mu: Array, gamma: float, x: Array, out: Array
) -> tuple[Array, float]:
    r"""``out (S, 1)``: :math:`(1-\gamma)\mu + \gamma P_\pi^T x - x` for ``x (S, 1)``, ``mu (S,)``.
    Returns its largest size, ``(1,)``, and its 1-norm."""
    return _residual(rows, _flow(rows, table(pi), x.reshape(-1), out), mu, gamma, x, out)


def occupancy_residual(rows: Rows, x: Array, mu: Array, gamma: float, out: Array) -> tuple[Array, float]:
    r"""``out (S, 1)``: :math:`(1-\gamma)\mu(s) + \gamma \sum_{s',a} P(s|s',a)\, x(s',a) - \sum_a x(s,a)`
    for an occupancy ``x (S, A)``. Returns as :func:`flow_residual`."""
    return _residual(rows, _flow(rows, table(x), _NOTHING, out), mu, gamma, x.sum(axis=1), out)


def flow_product(rows: Rows, pi: Array | None, gamma: float, x: Array, out: Array, other: Array) -> Array:
    r"""``out (S, 1)``: :math:`x - \gamma P_\pi^T x` for ``x (S, 1)``. Returns the inner products of ``out``
    with ``other (S, 1)`` and with itself, ``(2, 1)``."""
    sums = np.empty((chunks(rows.S), 2, 1))
    flow = _flow(rows, table(pi), x.reshape(-1), out)
    over_chunks(_flow_product, rows.S, *flow, gamma, x.reshape(-1), other.reshape(-1), sums)
    return sums.sum(axis=0)


def _flow(rows: Rows, pi: Array, x: Array, out: Array) -> Flow:
    r""":math:`P_\pi^T x`; what flows is the table ``pi`` itself where x is empty."""
    if rows.A == 1 and x.size:
        pi, x = x.reshape(-1, 1), _NOTHING
    count = min(PARTS, chunks(rows.S))
    flow = out.reshape(-1), np.empty((count - 1, rows.S)), np.zeros((count, chunks(rows.S)), dtype=np.bool_)
    anywhere = True if rows.S >= FAR and lie_anywhere(rows) else None
    over_parts(_scatter, count, rows.S, -(-rows.S // count), rows, anywhere, pi, x, *flow)
    return flow


def _residual(rows: Rows, flow: Flow, mu: Array, gamma: float, x: Array, out: Array) -> tuple[Array, float]:
    sums = np.empty((chunks(rows.S), 2))
    over_chunks(_flow_residual, rows.S, *flow, mu, gamma, x.reshape(-1), sums)
    return sums[:, :1].max(axis=0), float(sums[:, 1].sum())


def _adding(anywhere: bool) -> Any:
    """Code for even rows, whose successors lie ``anywhere`` or near."""

    @inlined
    def added(
        wide: Any, p: Any, i: Any, n: Any, lead: Any, mass: Array, weights: Any, successors: Any, mine: Array
    ) -> None:
        """What the rows i to n, of so many entries each, hand on to their successors."""
        while i < n:
            m = mass[i]
            # Rows go past the caches, which are left to the sums.
            prefetch_once(weights, (p + U(AHEAD),))
            prefetch_once(successors, (p + U(EARLY),))
            if anywhere:
                for e in range(wide):
                    prefetch(mine, (U(successors[p + lead + e]),))
            # One by one and not in a loop: where the width is a constant, these are all there is.
            if wide > U(0):
                mine[U(successors[p])] += m * weights[p]
            if wide > U(1):
                mine[U(successors[p + U(1)])] += m * weights[p + U(1)]
            if wide > U(2):
                mine[U(successors[p + U(2)])] += m * weights[p + U(2)]
            if wide > U(3):
                mine[U(successors[p + U(3)])] += m * weights[p + U(3)]
            if wide > U(4):
                mine[U(successors[p + U(4)])] += m * weights[p + U(4)]
            for e in range(U(5), wide):
                mine[U(successors[p + e])] += m * weights[p + e]
            i += U(1)
            p += wide

    return added


@inlined
def _added_row(
    p: Any, stop: Any, i: Any, lead: Any, mass: Array, weights: Any, successors: Any, mine: Array
) -> None:
    """What one row hands on."""
    for q in range(p, stop):
        mine[U(successors[q])] += mass[i] * weights[q]


_add, _add_anywhere = (over_rows(_adding(anywhere), _added_row) for anywhere in (False, True))


@compiled
def _scatter(
    first: int, last: int, each: int, rows: Rows, anywhere: Any, pi: Array, x: Array, out: Array,
    others: Array, touched: NDArray[np.bool_],
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    # Longer blocks would be read in bursts that wait for memory.
    many = max(U(1), min(states_of_block(A, U(1)), U(LOOKED) * S // U(weights.size)))
    mass, shares = np.empty(max(U(BLOCK), A)), pi.reshape(-1)
    for part in range(U(first), U(last)):
        mine, seen = out if part == 0 else others[part - U(1)], touched[part]
        s, end = part * U(each), min((part + U(1)) * U(each), S)
        low, high = s // U(CHUNK), s // U(CHUNK)
        while s < end:
            n = min(many, end - s)
            # A block's are read in one go, too short for the processor to foresee the next one's.
            expect(shares, (s + n) * A, n * A)
            _outflow(s, n, A, shares, x, mass)
            p, stop = first_entry(starts, width, s * A), first_entry(starts, width, (s + n) * A)
            low, high = _begun(successors, p, stop, mine, seen, low, high)
            # The last ones ask for what they are at: nothing lies beyond.
            lead = U(LEAD) if stop + U(LEAD) <= U(weights.size) else U(0)
            if anywhere is None:
                _add(starts, width, s * A, n * A, lead, mass, weights, successors, mine)
            else:
                _add_anywhere(starts, width, s * A, n * A, lead, mass, weights, successors, mine)
            s += n


@inlined
def _begun(
    successors: NDArray[np.uint32],
    p: Any,
    stop: Any,
    mine: Array,
    seen: NDArray[np.bool_],
    low: Any,
    high: Any,
) -> tuple[Any, Any]:
    """Zeros in the chunks that are reached for the first time. From ``low`` up to ``high`` all are seen:
    entries are looked at one by one only where some lead out of there."""
    if high - low == U(seen.size):
        return low, high
    least, most = successors[p], successors[p]
    for q in range(p, stop):
        least, most = min(least, successors[q]), max(most, successors[q])
    if low * U(CHUNK) <= U(least) and U(most) < high * U(CHUNK):
        return low, high
    for q in range(p, stop):
        chunk = U(successors[q]) // U(CHUNK)
        if not seen[chunk]:
            seen[chunk] = True
            for u in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), U(mine.size))):
                mine[u] = 0.0
    while low > U(0) and seen[low - U(1)]:
        low -= U(1)
    while high < U(seen.size) and seen[high]:
        high += U(1)
    return low, high


@inlined
def _outflow(first: Any, n: Any, A: Any, pi: Array, x: Array, mass: Array) -> None:
    """What leaves n states through their actions, ``mass (n*A,)``; ``pi (S*A,)`` is it where x is empty."""
    for i in range(n):
        for a in range(A):
            share = pi[(first + i) * A + a]
            mass[i * A + a] = share * x[first + i] if x.size else share


@inlined
def _inflow(
    out: Array, others: Array, touched: NDArray[np.bool_], chunk: Any, begin: Any, n: Any, total: Array
) -> None:
    """The sum of the parts in the n states of a chunk, ``total (n,)``."""
    for i in range(n):
        total[i] = out[begin + i] if touched[0, chunk] else 0.0
    for part in range(U(1), U(touched.shape[0])):
        if touched[part, chunk]:
            for i in range(n):
                total[i] += others[part - U(1), begin + i]


@compiled
def _flow_residual(
    first: int, last: int, out: Array, others: Array, touched: NDArray[np.bool_], mu: Array, gamma: float,
    x: Array, sums: Array,
) -> None:  # fmt: skip
    inflow = np.empty(CHUNK)
    for chunk in range(U(first), U(last)):
        begin = chunk * U(CHUNK)
        n = min(begin + U(CHUNK), U(x.size)) - begin
        _inflow(out, others, touched, chunk, begin, n, inflow)
        top, total = 0.0, 0.0
        for i in range(n):
            left = (1 - gamma) * mu[begin + i] + gamma * inflow[i] - x[begin + i]
            out[begin + i] = left
            top = larger(top, left)
            total += abs(left)
        sums[chunk, 0], sums[chunk, 1] = top, total


@compiled
def _flow_product(
    first: int, last: int, out: Array, others: Array, touched: NDArray[np.bool_], gamma: float, x: Array,
    other: Array, sums: Array,
) -> None:  # fmt: skip
    inflow = np.empty(CHUNK)
    for chunk in range(U(first), U(last)):
        begin = chunk * U(CHUNK)
        n = min(begin + U(CHUNK), U(x.size)) - begin
        _inflow(out, others, touched, chunk, begin, n, inflow)
        inner, own = 0.0, 0.0
        for i in range(n):
            new = x[begin + i] - gamma * inflow[i]
            out[begin + i] = new
            inner += other[begin + i] * new
            own += new * new
        sums[chunk, 0, 0], sums[chunk, 1, 0] = inner, own
