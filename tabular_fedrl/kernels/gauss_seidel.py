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

from tabular_fedrl.kernels.krylov import largest
from tabular_fedrl.kernels.lanes import compiled
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
    """Entries divided by the diagonal. ``near (S,)``: that of the state swept just before s, whose value is
    still in a register; to read it back from memory would be what everything waits for. Of the others the row
    of s holds ``width`` from ``s * width`` on, filled up with 0 at state S: loops of one length are what a
    processor predicts. The few it has beyond that stand in ``more_states`` from ``more[s]`` up to
    ``more[s+1]``."""

    near: Array
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
            np.zeros(S),
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
    r"""The equations :math:`b - M x = 0` for ``b (S,)``, as a
    :class:`~tabular_fedrl.kernels.krylov.Operator` in the unknown :math:`\hat x`, ``(S, 1)``. The sizes of
    residuals and solutions are those of the equations themselves; ``total``: the last residual's 1-norm.
    Residuals are those of M as it is made up from its triangles, a rounding or two off that of the rows."""

    def __init__(self, made: Sweeps, b: Array) -> None:
        self.made, self.b = made, np.ascontiguousarray(b).reshape(-1)
        self.total = np.inf
        # One place more, for what fills up the rows.
        self.x, self.z = np.zeros(self.b.size + 1), np.zeros(self.b.size + 1)
        blocks = [(i,) for i in range(made.parts)]
        self.first, self.second = blocks[::2], blocks[1::2]

    def hidden(self, x: Array) -> Array:
        r""":math:`\hat x` of ``x (S, 1)``."""
        out = np.empty_like(x)
        self.x[:-1] = x[:, 0]
        in_parallel(_hide, [*self.first, *self.second], self.made, self.x, out[:, 0])
        return out

    def found(self, hidden: Array) -> Array:
        r"""x of :math:`\hat x`; the next call of any method overwrites it."""
        for colour in (self.second, self.first):
            in_parallel(_backward, colour, self.made, hidden[:, 0], self.x)
        return self.x[:-1, None]

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        solution = self.found(x)
        in_parallel(_residual, [*self.first, *self.second], self.made, self.b, self.x, out[:, 0])
        size, self.total = largest(out), float(np.linalg.norm(out[:, 0], 1))
        for colour in (self.first, self.second):
            in_parallel(_forward, colour, self.made, out[:, 0], self.z)
        out[:, 0] = self.z[:-1]
        return size, largest(solution)

    def product(self, x: Array, out: Array, other: Array) -> Array:
        sums = np.empty((self.made.parts, 2, 1))
        y, rest = x[:, 0], (self.z, out[:, 0], other[:, 0], sums)
        in_parallel(_backward, self.second, self.made, y, self.x)
        # What the first colour needs of the second one is known by now.
        in_parallel(_there_and_back, self.first, self.made, y, self.x, *rest)
        in_parallel(_product, self.second, self.made, y, self.x, *rest)
        return sums.sum(axis=0)


@compiled
def _count(part: int, rows: Rows, each: int, counts: NDArray[np.uint32]) -> None:
    """Entries ``counts (2, S)`` of the rows of a part that are swept earlier and later, not just before."""
    _, successors, starts, width, S, _ = unpacked(rows)
    begin, end = U(part * each), min(U((part + 1) * each), S)
    beyond = part % 2 == 0  # what lies in another part is swept later
    for s in range(begin, end):
        low, high = 0, 0
        p, last = first_entry(starts, width, s), first_entry(starts, width, s + U(1))
        while p < last:
            t = U(successors[p])
            if begin <= t < end:
                low += int(t + U(1) < s)
                high += int(t > s + U(1))
            elif beyond:
                high += 1
            else:
                low += 1
            p += U(1)
        counts[0, s], counts[1, s] = low, high


@compiled
def _split(part: int, rows: Rows, gamma: float, counts: NDArray[np.uint32], made: Sweeps) -> None:
    weights, successors, starts, width, S, _ = unpacked(rows)
    low_near, low_width, low_states, low_weights, low_more, low_more_states, low_more_weights = made.lower
    high_near, high_width, high_states, high_weights, high_more, high_more_states, high_more_weights = (
        made.upper
    )
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
        # Successors ascend as a rule: what was swept last is then read last.
        low = _fill_up(low_width, low_states, low_weights, s, counts[0, s], S)
        high = _fill_up(high_width, high_states, high_weights, s, counts[1, s], S)
        p = first
        while p < last:
            t, entry = U(successors[p]), -gamma * weights[p] * scale
            if t + U(1) == s and t >= begin:
                low_near[s] += entry
            elif t < s if begin <= t < end else not beyond:
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
            if t == s + U(1) and t < end:
                high_near[s] += entry
            elif t > s if begin <= t < end else beyond:
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
    """The row of s times x, but for the state next to s."""
    total = 0.0
    for p in range(U(more[s]), U(more[s + U(1)])):
        total += more_weights[p] * x[U(more_states[p])]
    begin = s * U(width)
    for p in range(begin, begin + U(width)):
        total += weights[p] * x[U(states[p])]
    return total


@compiled
def _hide(part: int, made: Sweeps, x: Array, y: Array) -> None:
    near, width, states, weights, more, more_states, more_weights = made.upper
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(y.size))):
        ahead = _sum(width, states, weights, more, more_states, more_weights, s, x)
        y[s] = x[s] + ahead + near[s] * x[s + U(1)]


@compiled
def _residual(part: int, made: Sweeps, b: Array, x: Array, out: Array) -> None:
    """``out`` = b - M x."""
    low_near, low_width, low_states, low_weights, low_more, low_more_states, low_more_weights = made.lower
    high_near, high_width, high_states, high_weights, high_more, high_more_states, high_more_weights = (
        made.upper
    )
    inverse = made.inverse
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(out.size))):
        total = _sum(low_width, low_states, low_weights, low_more, low_more_states, low_more_weights, s, x)
        total += _sum(
            high_width, high_states, high_weights, high_more, high_more_states, high_more_weights, s, x
        )
        total += high_near[s] * x[s + U(1)]
        if s > U(0):
            total += low_near[s] * x[s - U(1)]
        out[s] = b[s] - (x[s] + total) / inverse[s]


@compiled
def _backward(part: int, made: Sweeps, y: Array, x: Array) -> None:
    """:math:`x = (I + U')^{-1} y`."""
    near, width, states, weights, more, more_states, more_weights = made.upper
    begin, end = U(part * made.each), min(U((part + 1) * made.each), U(y.size))
    last = 0.0
    for turn in range(end - begin):
        s = end - U(1) - turn
        ahead = _sum(width, states, weights, more, more_states, more_weights, s, x)
        last = (y[s] - ahead) - near[s] * last
        x[s] = last


@compiled
def _forward(part: int, made: Sweeps, r: Array, z: Array) -> None:
    """:math:`z = (I + L')^{-1} D^{-1} r`."""
    near, width, states, weights, more, more_states, more_weights = made.lower
    inverse, last = made.inverse, 0.0
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(r.size))):
        behind = _sum(width, states, weights, more, more_states, more_weights, s, z)
        last = (inverse[s] * r[s] - behind) - near[s] * last
        z[s] = last


@compiled
def _product(
    part: int, made: Sweeps, y: Array, x: Array, z: Array, out: Array, other: Any, sums: Array
) -> None:
    """:math:`z = (I + L')^{-1} (y - x)`, ``out`` = x + z, and a part's inner products."""
    near, width, states, weights, more, more_states, more_weights = made.lower
    inner, own, last = 0.0, 0.0, 0.0
    for s in range(U(part * made.each), min(U((part + 1) * made.each), U(y.size))):
        behind = _sum(width, states, weights, more, more_states, more_weights, s, z)
        last = ((y[s] - x[s]) - behind) - near[s] * last
        z[s] = last
        new = x[s] + last
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
