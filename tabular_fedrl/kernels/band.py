r"""Elimination for policies of a problem whose states can be lined up so that every step leads nearby.

With at most w places between a state and its successors the matrix :math:`I - \gamma P_\pi` has half
bandwidth w; it is eliminated row by row, each row built from P when its turn comes, so that nothing but one
triangular factor is stored. No pivots are needed: the matrix is strictly diagonally dominant by rows, and
stays so (growth at most 2; Higham, *Accuracy and Stability of Numerical Algorithms*, section 9.5).
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


def solve_values(
    rows: Rows, policy: NDArray[Any], f: Array, gamma: float, order: Order, width: int, V: Array
) -> None:
    r"""``V (S, k)``: solves :math:`V = f_\pi + \gamma P_\pi V` for ``f (k, S, A)`` and a policy ``(S, A)``;
    or for ``f (k, S, 1)`` and the actions ``(S,)`` of a deterministic one."""
    upper = np.empty((rows.S, width))
    _values(rows, *_read(policy), f, gamma, order, _places(order), upper, V)


def solve_visits(
    rows: Rows, policy: NDArray[Any], mu: Array, gamma: float, order: Order, width: int, d: Array
) -> None:
    r"""``d (S,)``: solves :math:`d = (1-\gamma)\mu + \gamma P_\pi^T d` for ``mu (S,)`` and such a policy."""
    lower = np.empty((rows.S, width + 1))
    _visits(rows, *_read(policy), mu, gamma, order, _places(order), lower, d)


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
def _values(
    rows: Rows, pi: Array, actions: Order, f: Array, gamma: float, order: Order, places: Order, upper: Array,
    V: Array,
) -> None:  # fmt: skip
    S, w = upper.shape
    k, A = V.shape[1], f.shape[2]
    line, right = np.empty(2 * w + 1), np.empty(k)
    for i in range(S):
        s = order[i]
        _row(rows, pi, actions, gamma, s, i, places, line)
        for j in range(k):
            right[j] = 0.0
            for a in range(A):
                right[j] += f[j, s, a] if actions.size else pi[s, a] * f[j, s, a]
        for t in range(max(0, w - i), w):
            x = line[t]
            if x != 0.0:
                before = i - w + t
                for n in range(w):
                    line[t + 1 + n] -= x * upper[before, n]
                for j in range(k):
                    right[j] -= x * V[order[before], j]
        scale = 1.0 / line[w]
        for n in range(w):
            upper[i, n] = scale * line[w + 1 + n]
        for j in range(k):
            V[s, j] = scale * right[j]
    for i in range(S - 2, -1, -1):
        s = order[i]
        for n in range(min(w, S - 1 - i)):
            x = upper[i, n]
            for j in range(k):
                V[s, j] -= x * V[order[i + 1 + n], j]


@compiled
def _visits(
    rows: Rows, pi: Array, actions: Order, mu: Array, gamma: float, order: Order, places: Order, lower: Array,
    d: Array,
) -> None:  # fmt: skip
    # The transposed factors: the forward pass needs the rows of U while they are made, only L is kept.
    S, w = lower.shape[0], lower.shape[1] - 1
    line, recent = np.empty(2 * w + 1), np.zeros((w, w))
    for i in range(S):
        d[order[i]] = (1 - gamma) * mu[order[i]]
    for i in range(S):
        s = order[i]
        _row(rows, pi, actions, gamma, s, i, places, line)
        for t in range(max(0, w - i), w):
            x = line[t]
            if x != 0.0:
                turn = (i - w + t) % w
                for n in range(w):
                    line[t + 1 + n] -= x * recent[turn, n]
        for t in range(w + 1):
            lower[i, t] = line[t]
        scale = 1.0 / line[w]
        for n in range(min(w, S - 1 - i)):
            x = scale * line[w + 1 + n]
            recent[i % w, n] = x
            d[order[i + 1 + n]] -= x * d[s]
    for i in range(S - 1, -1, -1):
        s = order[i]
        d[s] /= lower[i, w]
        for t in range(max(0, w - i), w):
            d[order[i - w + t]] -= lower[i, t] * d[s]
