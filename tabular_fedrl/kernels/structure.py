"""How the states of a sparse problem can be lined up so that successors stand near.

A narrow line (few places between a state and its successors) is eliminated, a local one is swept faster than
a scattered one. The order the problem comes in is tried first, then the same wound around a circle, then
reverse Cuthill-McKee, which takes as long as hundreds of sweeps and is tried only where a search in breadth
from some state keeps a narrow front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import reverse_cuthill_mckee

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse_rows import Rows, U, first_entry, unpacked

FRONT = 0.05
"""Part of the states in the front of the search above which a graph counts as scattered; up to which
information travels slowly."""

NEAR = 1 << 15
"""Places that count as near: so many values fit into a processor's own cache."""

WORTH = 200_000
"""States from which on values leave that cache by far, and locality pays."""

Order = NDArray[np.int32]
"""``(S,)``: the state at each place of the line."""


@dataclass(frozen=True)
class Line:
    """States in the order ``order``, which is left empty where it is the problem's own and too wide to be
    eliminated in: at most ``width`` places lie between a state and any successor. ``moved``: whether values
    are to be swept in this order rather than the problem's own; ``reach``: how many places a step leads at
    most in the one they are swept in. ``slow``: whether few states are reached in a step, so that many steps
    are needed to reach all."""

    order: Order
    width: int
    moved: bool
    reach: int
    slow: bool


def line_up(rows: Rows, narrow: int) -> Line:
    """The line to work in; its width is the best found if that is at most ``narrow``."""
    S = rows.S
    own = np.arange(S, dtype=np.int32)
    front = int(FRONT * S)
    # How far a scattered graph reaches does not matter, but where it is large enough to be moved.
    enough = max(narrow, front) if S < WORTH else S
    straight, around, far = _reach(rows, own, NEAR, enough)
    if straight <= narrow:
        return Line(own, straight, False, straight, True)
    if 2 * around <= narrow:
        return Line(_wound(S), 2 * around, False, straight, True)
    scattered = far > 0.5 * rows.weights.size and S >= WORTH
    most = 2 * narrow
    widest = _front(rows, max(front, most))
    slow = min(straight, around, widest) <= front
    if slow and around > enough:
        straight, around, far = _reach(rows, own, NEAR, S)
    if widest > most and not (scattered and slow):
        return Line(own[:0].copy(), straight, False, straight, slow)
    order = _cuthill_mckee(rows)
    places = np.empty_like(order)
    places[order] = own
    width, _, distant = _reach(rows, places, NEAR, S)
    moved = scattered and distant < 0.1 * rows.weights.size
    return Line(order, width, moved, width if moved else straight, slow)


def _wound(S: int) -> Order:
    """0, S-1, 1, S-2, ..: what is near on the circle is near."""
    order = np.empty(S, dtype=np.int32)
    order[0::2] = np.arange(-(-S // 2))
    order[1::2] = S - 1 - np.arange(S // 2)
    return order


def _cuthill_mckee(rows: Rows) -> Order:
    """Reverse Cuthill-McKee on the graph of all actions."""
    S, A = rows.S, rows.A
    starts = rows.starts[::A] if not rows.width else np.arange(0, rows.weights.size + 1, A * rows.width)
    ones = np.ones(rows.weights.size, dtype=np.bool_)
    graph = sp.csr_array((ones, rows.successors.astype(np.int32), starts.astype(np.int32)), shape=(S, S))
    return reverse_cuthill_mckee(sp.csr_matrix(graph + graph.T), symmetric_mode=True).astype(np.int32)


@compiled
def _reach(rows: Rows, places: Order, near: int, enough: int) -> Any:
    """With the states at ``places (S,)``: the longest step along the line, the longest around the circle, and
    how many entries lead farther than ``near``; of the first states only, once both are longer than
    ``enough``."""
    _, successors, starts, width, S, A = unpacked(rows)
    straight, around, far = np.int64(0), np.int64(0), np.int64(0)
    for s in range(S):
        p, end = first_entry(starts, width, s * A), first_entry(starts, width, (s + U(1)) * A)
        while p < end:
            away = abs(np.int64(places[successors[p]]) - np.int64(places[s]))
            straight = max(straight, away)
            around = max(around, min(away, np.int64(S) - away))
            far += np.int64(away > near)
            p += U(1)
        if around > enough:
            break
    return straight, around, far


@compiled
def _front(rows: Rows, most: int) -> Any:
    """The largest number of states that searches in breadth add in one step; more than ``most`` is enough."""
    _, successors, starts, width, S, A = unpacked(rows)
    seen = np.zeros(rows.S, dtype=np.bool_)
    queue = np.empty(rows.S, dtype=np.uint32)
    widest = np.int64(0)
    for root in range(S):
        if seen[root]:
            continue
        seen[root], queue[0] = True, root
        first, last = 0, 1
        while first < last:
            widest = max(widest, np.int64(last - first))
            if widest > most:
                return widest
            end_of_queue = last
            for q in range(first, end_of_queue):
                s = U(queue[q])
                p, end = first_entry(starts, width, s * A), first_entry(starts, width, (s + U(1)) * A)
                while p < end:
                    t = successors[p]
                    if not seen[t]:
                        seen[t], queue[last] = True, t
                        last += 1
                    p += U(1)
            first = end_of_queue
    return widest
