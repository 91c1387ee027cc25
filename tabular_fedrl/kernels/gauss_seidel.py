r"""Symmetric Gauss-Seidel sweeps as a preconditioner, for policies under which information travels slowly.

For rows P with A = 1 let :math:`M = I - \gamma P = L + D + U`, L and U what leads to states earlier and later
in the order of the sweeps. Instead of :math:`Mx = b` one solves :math:`B \hat x = \hat b`,

.. math:: B = (I + L')^{-1} D^{-1} M\, (I + U')^{-1}, \quad L' = D^{-1}L,\ U' = D^{-1}U,\
          \hat x = (I + U')\,x,

which costs no more than M itself, because with :math:`x = (I + U')^{-1} \hat x` it is

.. math:: B \hat x = x + (I + L')^{-1} (\hat x - x) .

On grids BiCGSTAB needs a third or a quarter of the products. M is an M-matrix, whether P is stochastic or
transposed, so that this is a regular splitting and :math:`\hat x \mapsto \hat x + \hat b - B \hat x`
contracts. Large problems are swept in parts of consecutive states, every other one first: no successor lies
two parts away, so that parts of one colour can be swept side by side. Source: Eisenstat (1981); the colouring
of parts is standard.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse import policy_residual
from tabular_fedrl.kernels.sparse_rows import Rows, U, first_entry, inlined, unpacked
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.measured import Array

PART = 1 << 14
"""States of a part at least."""

PARTS = 16
"""Parts at most."""

FILLED = 0.95
"""Part of the rows that fit into the fixed width."""


class Triangle(NamedTuple):
    """Entries divided by the diagonal. A row of s holds ``width`` of them from ``s * width`` on, filled up
    with 0 at state S: loops of one length are what a processor predicts. The few it has beyond that stand in
    ``more_states`` from ``more[s]`` up to ``more[s+1]``."""

    width: int
    states: NDArray[np.uint32]
    weights: Array
    more: NDArray[np.uint32]
    more_states: NDArray[np.uint32]
    more_weights: Array

    @staticmethod
    def room(counts: NDArray[np.uint32]) -> Triangle:
        """For rows of so many entries ``(S,)``."""
        S, rows = counts.size, np.bincount(counts).cumsum()
        width = int(np.searchsorted(rows, FILLED * S))
        more = np.zeros(S + 1, dtype=np.uint32)
        np.cumsum(np.maximum(counts, width) - width, out=more[1:])
        fixed, rest = S * width, int(more[-1])
        return Triangle(
            width,
            np.empty(fixed, np.uint32),
            np.empty(fixed),
            more,
            np.empty(rest, np.uint32),
            np.empty(rest),
        )


class Sweeps(NamedTuple):
    r""":math:`L'`, :math:`U'` and the diagonal's inverse ``(S,)``; ``each``: states of a part."""

    lower: Triangle
    upper: Triangle
    inverse: Array
    each: int

    @property
    def parts(self) -> int:
        return -(-self.inverse.size // self.each)


def sweeps(rows: Rows, gamma: float, reach: int) -> Sweeps:
    """The triangles of rows with A = 1 whose successors lie at most ``reach`` places away."""
    S, parts = rows.S, 1
    while parts < PARTS and 2 * parts * max(PART, reach) <= S:
        parts *= 2
    each = -(-S // parts)
    blocks = [(i,) for i in range(-(-S // each))]
    counts = np.empty((2, S), dtype=np.uint32)
    in_parallel(_count, blocks, rows, each, counts)
    made = Sweeps(Triangle.room(counts[0]), Triangle.room(counts[1]), np.empty(S), each)
    in_parallel(_split, blocks, rows, gamma, counts, made)
    return made


class Preconditioned:
    r"""The equations :math:`b + \gamma P x - x = 0` for rows with A = 1 and ``b (S,)``, as a
    :class:`~tabular_fedrl.kernels.krylov.Operator` in the unknown :math:`\hat x`, ``(S, 1)``. The sizes of
    residuals and solutions are those of the equations themselves."""

    def __init__(self, rows: Rows, made: Sweeps, b: Array, gamma: float) -> None:
        self.rows, self.made, self.b, self.gamma = rows, made, b.reshape(1, -1, 1), gamma
        # One place more, for what fills up the rows.
        self.x, self.z = np.zeros((rows.S + 1, 1)), np.zeros((rows.S + 1, 1))

    def hidden(self, x: Array) -> Array:
        r""":math:`\hat x` of ``x (S, 1)``."""
        out = np.empty_like(x)
        self.x[:-1] = x
        in_parallel(_hide, self._parts(0, 1), self.made, self.x[:, 0], out[:, 0])
        return out

    def found(self, hidden: Array) -> Array:
        r"""x of :math:`\hat x`; the next call of any method overwrites it."""
        for first in (1, 0):
            in_parallel(_backward, self._parts(first), self.made, hidden[:, 0], self.x[:, 0])
        return self.x[:-1]

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        solution = self.found(x)
        size = policy_residual(self.rows, None, self.b, self.gamma, solution, out)
        for first in (0, 1):
            in_parallel(_forward, self._parts(first), self.made, out[:, 0], self.z[:, 0])
        out[:] = self.z[:-1]
        return size, np.abs(solution).max(axis=0)

    def product(self, x: Array, out: Array, other: Array) -> Array:
        sums = np.empty((self.made.parts, 2, 1))
        vectors = [v[:, 0] for v in (x, self.x, self.z, out, other)]
        in_parallel(_backward, self._parts(1), self.made, *vectors[:2])
        # What the first colour needs of the second one is known by now.
        in_parallel(_there_and_back, self._parts(0), self.made, *vectors, sums)
        in_parallel(_product, self._parts(1), self.made, *vectors, sums)
        return sums.sum(axis=0)

    def _parts(self, first: int, step: int = 2) -> list[tuple[int]]:
        return [(i,) for i in range(first, self.made.parts, step)]


@compiled
def _count(part: int, rows: Rows, each: int, counts: NDArray[np.uint32]) -> None:
    """Entries ``counts (2, S)`` of the rows of a part that are swept earlier and later."""
    _, successors, starts, width, S, _ = unpacked(rows)
    begin, end = U(part * each), min(U((part + 1) * each), S)
    beyond = part % 2 == 0  # what lies in another part is swept later
    for s in range(begin, end):
        low, high = 0, 0
        p, last = first_entry(starts, width, s), first_entry(starts, width, s + U(1))
        while p < last:
            t = U(successors[p])
            later = t > s if begin <= t < end else beyond
            high += int(later)
            low += int(not later and t != s)
            p += U(1)
        counts[0, s], counts[1, s] = low, high


@compiled
def _split(part: int, rows: Rows, gamma: float, counts: NDArray[np.uint32], made: Sweeps) -> None:
    weights, successors, starts, width, S, _ = unpacked(rows)
    low_width, low_states, low_weights, low_more, low_more_states, low_more_weights = made.lower
    high_width, high_states, high_weights, high_more, high_more_states, high_more_weights = made.upper
    inverse = made.inverse
    begin, end = U(part * made.each), min(U((part + 1) * made.each), S)
    beyond = part % 2 == 0
    for s in range(begin, end):
        first, last = first_entry(starts, width, s), first_entry(starts, width, s + U(1))
        own = 1.0
        p = first
        while p < last:
            own -= gamma * weights[p] if successors[p] == s else 0.0
            p += U(1)
        scale = 1.0 / own
        inverse[s] = scale
        # Successors ascend as a rule. What was swept just before s is read last, when it is there.
        low = _fill_up(low_width, low_states, low_weights, s, counts[0, s], S)
        high = _fill_up(high_width, high_states, high_weights, s, counts[1, s], S)
        p = first
        while p < last:
            t, entry = U(successors[p]), -gamma * weights[p] * scale
            if t != s and not (t > s if begin <= t < end else beyond):
                if low >= 0:
                    place = s * U(low_width) + U(low)
                    low_states[place], low_weights[place] = t, entry
                else:
                    place = U(low_more[s + U(1)]) + U(low)
                    low_more_states[place], low_more_weights[place] = t, entry
                low += 1
            p += U(1)
        while p > first:
            p -= U(1)
            t, entry = U(successors[p]), -gamma * weights[p] * scale
            if t > s if begin <= t < end else beyond:
                if high >= 0:
                    place = s * U(high_width) + U(high)
                    high_states[place], high_weights[place] = t, entry
                else:
                    place = U(high_more[s + U(1)]) + U(high)
                    high_more_states[place], high_more_weights[place] = t, entry
                high += 1


@inlined
def _fill_up(width: Any, states: Any, weights: Any, s: Any, count: Any, S: Any) -> Any:
    """Zeros before a row's entries; the place of the first one in the fixed width, negative if beyond it."""
    free = np.int64(width) - np.int64(count)
    for i in range(free):
        place = s * U(width) + U(i)
        states[place], weights[place] = S, 0.0
    return free


@inlined
def _sum(
    width: Any, states: Any, weights: Any, more: Any, more_states: Any, more_weights: Any, s: Any, x: Any
) -> float:
    """The row of s times x."""
    total = 0.0
    for p in range(U(more[s]), U(more[s + U(1)])):
        total += more_weights[p] * x[U(more_states[p])]
    begin = s * U(width)
    for p in range(begin, begin + U(width)):
        total += weights[p] * x[U(states[p])]
    return total


@compiled
def _hide(part: int, made: Sweeps, x: Array, y: Array) -> None:
    width, states, weights, more, more_states, more_weights = made.upper
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(y.size))):
        y[s] = x[s] + _sum(width, states, weights, more, more_states, more_weights, s, x)


@compiled
def _backward(part: int, made: Sweeps, y: Array, x: Array) -> None:
    """:math:`x = (I + U')^{-1} y`."""
    width, states, weights, more, more_states, more_weights = made.upper
    begin, end = U(part * made.each), min(U((part + 1) * made.each), U(y.size))
    for turn in range(end - begin):
        s = end - U(1) - turn
        x[s] = y[s] - _sum(width, states, weights, more, more_states, more_weights, s, x)


@compiled
def _forward(part: int, made: Sweeps, r: Array, z: Array) -> None:
    """:math:`z = (I + L')^{-1} D^{-1} r`."""
    width, states, weights, more, more_states, more_weights = made.lower
    inverse = made.inverse
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(r.size))):
        z[s] = inverse[s] * r[s] - _sum(width, states, weights, more, more_states, more_weights, s, z)


@compiled
def _product(
    part: int, made: Sweeps, y: Array, x: Array, z: Array, out: Array, other: Any, sums: Array
) -> None:
    """:math:`z = (I + L')^{-1} (y - x)`, ``out`` = x + z, and a part's inner products."""
    width, states, weights, more, more_states, more_weights = made.lower
    inner, own = 0.0, 0.0
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(y.size))):
        ahead = _sum(width, states, weights, more, more_states, more_weights, s, z)
        new = y[s] - ahead
        z[s] = new - x[s]
        out[s] = new
        inner += other[s] * new
        own += new * new
    sums[part, 0, 0], sums[part, 1, 0] = inner, own


@compiled
def _there_and_back(
    part: int, made: Sweeps, y: Array, x: Array, z: Array, out: Array, other: Any, sums: Array
) -> None:
    _backward(part, made, y, x)
    _product(part, made, y, x, z, out, other, sums)
