r"""The two triangles of :math:`I - \gamma P` in the order of the sweeps of
:mod:`tabular_fedrl.kernels.gauss_seidel`, as these read them.

Large problems are swept in parts of consecutive states, every other one first: no successor lies two parts
away, so that parts of one colour can be swept side by side. The colouring of parts is standard.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    def room(counts: NDArray[np.uint32], storage: Any) -> Triangle:
        """For rows of so many entries ``(S,)``."""
        S, rows = counts.size, np.bincount(counts).cumsum()
        width = int(np.searchsorted(rows, FILLED * S))
        more = np.zeros(S + 1, dtype=np.uint32)
        np.cumsum(np.maximum(counts, width) - width, out=more[1:])
        fixed, rest = S * width, int(more[-1])
        return Triangle(
            np.zeros(S, storage),
            width,
            np.empty(fixed, np.uint32),
            np.empty(fixed, storage),
            more,
            np.empty(rest, np.uint32),
            np.empty(rest, storage),
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


def sweeps(rows: Rows, gamma: float, reach: int, storage: Any = np.float64) -> Sweeps:
    """The triangles of rows with A = 1 whose successors lie at most ``reach`` places away, their numbers
    rounded to ``storage``."""
    S, parts = rows.S, 1
    while parts < PARTS and 2 * parts * max(PART, reach) <= S:
        parts *= 2
    each = -(-S // parts)
    blocks = [(i,) for i in range(-(-S // each))]
    counts = np.empty((2, S), dtype=np.uint32)
    in_parallel(_count, blocks, rows, each, counts)
    made = Sweeps(
        Triangle.room(counts[0], storage), Triangle.room(counts[1], storage), np.empty(S, storage), each
    )
    in_parallel(_split, blocks, rows, gamma, counts, made)
    return made


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
