r"""Elimination for policies of a problem whose states can be lined up so that every step leads nearby.

With at most w places between a state and its successors the matrix :math:`I - \gamma P_\pi` has half
bandwidth w; it is eliminated row by row, each row built from P when its turn comes, so that nothing but one
triangular factor is stored, in blocks: they fit where vectors have been. Beside a table of a policy there is
room for few of them, and the others are made again from the w rows before them. No pivots are needed: the
matrix is strictly diagonally dominant by rows, and stays so (growth at most 2; Higham, *Accuracy and
Stability of Numerical Algorithms*, section 9.5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse_rows import Rows, U, first_entry, unpacked
from tabular_fedrl.measured import Array

Order = NDArray[np.int32]
"""``(S,)``: the state at each place of the line."""

BLOCK = 1 << 18
"""Entries of a block of the factor."""

KEPT = 8
"""Blocks that are kept beside a policy's table."""


def solve_values(
    rows: Rows, policy: NDArray[Any], f: Array, gamma: float, order: Order, width: int, V: Array
) -> None:
    r"""``V (S, k)``: solves :math:`V = f_\pi + \gamma P_\pi V` for ``f (k, S, A)`` and a policy ``(S, A)``;
    or for ``f (k, S, 1)`` and the actions ``(S,)`` of a deterministic one."""
    system = rows, *_read(policy)
    spans, places = _spans(rows.S, width), _places(order)
    kept = len(spans) if policy.ndim == 1 else KEPT
    before = [np.zeros((width, width))]
    blocks: list[Array] = []
    for n, (first, last) in enumerate(spans):
        upper = _block(before[n], first, last)
        _eliminate(*system, f, gamma, order, places, first, upper, V)
        before.append(upper[-width:].copy())
        if n >= len(spans) - kept:
            blocks.append(upper)
    nothing = f[:0], np.empty((rows.S, 0))
    for n, (first, last) in reversed(list(enumerate(spans))):
        if blocks:
            upper = blocks.pop()
        else:
            upper = _block(before[n], first, last)
            _eliminate(*system, nothing[0], gamma, order, places, first, upper, nothing[1])
        _substitute(order, first, upper, V)


def solve_visits(
    rows: Rows, policy: NDArray[Any], mu: Array, gamma: float, order: Order, width: int, d: Array
) -> None:
    r"""``d (S,)``: solves :math:`d = (1-\gamma)\mu + \gamma P_\pi^T d` for ``mu (S,)`` and such a policy."""
    system, places = (rows, *_read(policy)), _places(order)
    np.multiply(mu, 1 - gamma, out=d)
    recent, blocks = np.zeros((width, width)), []
    for first, last in _spans(rows.S, width):
        lower = np.empty((last - first, width + 1))
        _eliminate_flow(*system, gamma, order, places, first, recent, lower, d)
        blocks.append((first, lower))
    while blocks:
        _substitute_flow(order, *blocks.pop(), d)


def _spans(S: int, width: int) -> list[tuple[int, int]]:
    """Places of the blocks' first rows and of those after their last."""
    each = max(width, BLOCK // (width + 1))
    return [(first, min(first + each, S)) for first in range(0, S, each)]


def _block(before: Array, first: int, last: int) -> Array:
    """Room for a block's rows, and the w ``before`` them."""
    w = len(before)
    upper = np.empty((w + last - first, w))
    upper[:w] = before
    return upper


def _read(policy: NDArray[Any]) -> tuple[Array, Order]:
    """Probabilities and no actions, or actions and no probabilities."""
    if policy.ndim == 1:
        return np.empty((0, 0)), policy.astype(np.int32, copy=False)
    return policy, np.empty(0, dtype=np.int32)


def _places(order: Order) -> Order:
    places = np.empty_like(order)
    places[order] = np.arange(order.size, dtype=order.dtype)
    return places


@compiled
def _row(
    rows: Rows, pi: Array, actions: Order, gamma: float, s: Any, i: int, places: Order, line: Array
) -> None:
    """The matrix's row of state s, at place i, into ``line (2w+1,)``: entry w is the diagonal."""
    weights, successors, starts, width, _, A = unpacked(rows)
    w = line.size // 2
    for t in range(line.size):
        line[t] = 0.0
    line[w] = 1.0
    first, last = U(0), A
    if actions.size:
        first = U(actions[s])
        last = first + U(1)
    p = first_entry(starts, width, U(s) * A + first)
    for a in range(first, last):
        end = first_entry(starts, width, U(s) * A + a + U(1))
        share = gamma if actions.size else gamma * pi[s, a]
        while p < end:
            line[w + places[successors[p]] - i] -= share * weights[p]
            p += U(1)


@compiled
def _eliminate(
    rows: Rows, pi: Array, actions: Order, f: Array, gamma: float, order: Order, places: Order, first: int,
    upper: Array, V: Array,
) -> None:  # fmt: skip
    """The factor's rows from the place ``first`` on into ``upper``, where w before them stand, and the right
    sides of ``f`` into V."""
    w, k, A = upper.shape[1], V.shape[1], f.shape[2]
    line, right = np.empty(2 * w + 1), np.empty(k)
    for i in range(first, first + upper.shape[0] - w):
        s = order[i]
        _row(rows, pi, actions, gamma, s, i, places, line)
        for j in range(k):
            right[j] = 0.0
            for a in range(A):
                right[j] += f[j, s, a] if actions.size else pi[s, a] * f[j, s, a]
        for t in range(max(0, w - i), w):
            x = line[t]
            if x != 0.0:
                for n in range(w):
                    line[t + 1 + n] -= x * upper[i - first + t, n]
                for j in range(k):
                    right[j] -= x * V[order[i - w + t], j]
        scale = 1.0 / line[w]
        for n in range(w):
            upper[i - first + w, n] = scale * line[w + 1 + n]
        for j in range(k):
            V[s, j] = scale * right[j]


@compiled
def _substitute(order: Order, first: int, upper: Array, V: Array) -> None:
    S, w = order.size, upper.shape[1]
    k, last = V.shape[1], first + upper.shape[0] - w
    for turn in range(last - first):
        i = last - 1 - turn
        s = order[i]
        for n in range(min(w, S - 1 - i)):
            x = upper[i - first + w, n]
            for j in range(k):
                V[s, j] -= x * V[order[i + 1 + n], j]


@compiled
def _eliminate_flow(
    rows: Rows, pi: Array, actions: Order, gamma: float, order: Order, places: Order, first: int,
    recent: Array, lower: Array, d: Array,
) -> None:  # fmt: skip
    """The same for the transposed factors: the forward pass needs the last w rows of U, ``recent``, while
    they are made, and only L is kept."""
    S, w = order.size, lower.shape[1] - 1
    line = np.empty(2 * w + 1)
    for i in range(first, first + lower.shape[0]):
        s = order[i]
        _row(rows, pi, actions, gamma, s, i, places, line)
        for t in range(max(0, w - i), w):
            x = line[t]
            if x != 0.0:
                turn = (i - w + t) % w
                for n in range(w):
                    line[t + 1 + n] -= x * recent[turn, n]
        for t in range(w + 1):
            lower[i - first, t] = line[t]
        scale = 1.0 / line[w]
        for n in range(min(w, S - 1 - i)):
            x = scale * line[w + 1 + n]
            recent[i % w, n] = x
            d[order[i + 1 + n]] -= x * d[s]


@compiled
def _substitute_flow(order: Order, first: int, lower: Array, d: Array) -> None:
    w = lower.shape[1] - 1
    for turn in range(lower.shape[0]):
        i = first + lower.shape[0] - 1 - turn
        s = order[i]
        d[s] /= lower[i - first, w]
        for t in range(max(0, w - i), w):
            d[order[i - w + t]] -= lower[i - first, t] * d[s]
