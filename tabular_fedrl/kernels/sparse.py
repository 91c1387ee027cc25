r"""Sweeps over the states of a large sparse problem: Bellman operators and their products.

Every sweep reads the rows once, on plain threads, in chunks of :data:`CHUNK` states; sums and maxima over
states are taken chunk by chunk and combined in the order of the chunks, so that no result depends on the
number of threads. Tables of policies are probabilities ``pi (S, A)``, left out (None) for rows with A = 1,
such as :mod:`tabular_fedrl.kernels.packed` makes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.sparse_far import lies_far, sweep_far
from tabular_fedrl.kernels.sparse_rows import (
    BLOCK,
    LANES,
    Rows,
    U,
    expect,
    inlined,
    inner,
    means,
    row_means,
    scattered,
    states_of_block,
    unpacked,
)
from tabular_fedrl.kernels.sparse_values import put
from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks
from tabular_fedrl.measured import Array

_NONE = np.zeros((1, 1))


def policy_sweep(rows: Rows, pi: Array | None, f: Array, gamma: float, V: Array, out: Array) -> Array:
    r"""``out (S, k)``: :math:`f_\pi + \gamma P_\pi V` for ``f (k, S, A)``, ``V (S, k)``. Returns
    :math:`\max_s |\mathrm{out} - V|`, ``(k,)``."""
    return _swept(rows, pi, f, gamma, V, out, False)


def policy_residual(rows: Rows, pi: Array | None, f: Array, gamma: float, V: Array, out: Array) -> Array:
    r"""``out (S, k)``: the residual :math:`f_\pi + \gamma P_\pi V - V`. Returns its sizes, ``(k,)``."""
    return _swept(rows, pi, f, gamma, V, out, True)


def _swept(
    rows: Rows, pi: Array | None, f: Array, gamma: float, V: Array, out: Array, subtract: bool
) -> Array:
    change, f = np.empty((chunks(rows.S), V.shape[1])), np.ascontiguousarray(f)
    if lies_far(rows, V):
        sweep_far(rows, table(pi), f, gamma, V, out, subtract, change)
    else:
        far = scattered(rows, V)
        over_chunks(_policy, rows.S, rows, far, table(pi), f, gamma, V.reshape(-1), out, subtract, change)
    return change.max(axis=0)


def policy_product(rows: Rows, pi: Array | None, gamma: float, x: Array, out: Array, other: Array) -> Array:
    r"""``out (S, k)``: :math:`x - \gamma P_\pi x` for ``x (S, k)``. Returns the inner products of ``out``
    with ``other (S, k)`` and with itself, ``(2, k)``."""
    sums = np.empty((chunks(rows.S), 2, x.shape[1]))
    far = scattered(rows, x)
    over_chunks(_product, rows.S, rows, far, table(pi), gamma, x.reshape(-1), out, other, sums)
    return sums.sum(axis=0)


def greedy_sweep(
    rows: Rows, r: Array, gamma: float, V: Array, out: Array, actions: NDArray[np.int32]
) -> tuple[float, float]:
    r"""``out (S,)``: :math:`\max_a r(s,a) + \gamma \sum_t P(t|s,a) V(t)` for ``r (S, A)``, ``V (S,)``; and
    the first action that attains it. Returns the least and the largest ``out - V``."""
    change = np.empty((chunks(rows.S), 2))
    far = scattered(rows, V)
    over_chunks(_greedy, rows.S, rows, far, np.ascontiguousarray(r), gamma, V, out, actions, change)
    return float(change[:, 0].min()), float(change[:, 1].max())


def action_values(rows: Rows, g: Array, gamma: float, V: Array, out: Array) -> None:
    r"""``out (S, A)``: :math:`g(s,a) + \gamma \sum_t P(t|s,a) V(t)` for ``g (S, A)``, ``V (S,)``; ``out`` may
    be ``g``."""
    over_chunks(_action_values, rows.S, rows, scattered(rows, V), np.ascontiguousarray(g), gamma, V, out)


def table(pi: Array | None) -> Array:
    """The policy as kernels take it."""
    return _NONE if pi is None else np.ascontiguousarray(pi)


@compiled
def _policy(
    first: int, last: int, rows: Rows, far: Any, pi: Array, f: Array, gamma: float, V: Array, out: Array,
    subtract: bool, change: Array,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    k = U(out.shape[1])
    many = states_of_block(A, U(1) if k == 1 else U(LANES))
    ahead, mean = np.empty(max(U(BLOCK), A * U(LANES))), np.empty(many)
    p, g = pi.reshape(-1), f.reshape(-1)
    for chunk in range(U(first), U(last)):
        for i in range(k):
            change[chunk, i] = 0.0
        s, end = chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)
        while s < end:
            n = min(many, end - s)
            if k > U(1) or far is not None:
                if A > 1:
                    expect(p, s * A, n * A)
                for i in range(k):
                    expect(g, (i * S + s) * A, n * A)
            j: Any = U(0)
            while j < k:
                signals, lanes = means(weights, successors, starts, width, s * A, n * A, V, k, j, ahead, far)
                if A > 1:
                    inner(p[s * A :], ahead, n, A, lanes, ahead)
                for i in range(signals):
                    own = g[((j + i) * S + s) * A :]
                    if A > 1:
                        inner(p[s * A :], own, n, A, U(1), mean)
                    change[chunk, j + i] = put(
                        own if A == 1 else mean, ahead, i, lanes, s, n, gamma, V, k, j + i, out, subtract,
                        change[chunk, j + i],
                    )  # fmt: skip
                j += signals
            s += n


@compiled
def _product(
    first: int, last: int, rows: Rows, far: Any, pi: Array, gamma: float, x: Array, out: Array,
    other: Array, sums: Array,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    k = U(out.shape[1])
    many = states_of_block(A, U(1) if k == 1 else U(LANES))
    ahead = np.empty(max(U(BLOCK), A * U(LANES)))
    p = pi.reshape(-1)
    for chunk in range(U(first), U(last)):
        for i in range(k):
            sums[chunk, 0, i], sums[chunk, 1, i] = 0.0, 0.0
        s, end = chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)
        while s < end:
            n = min(many, end - s)
            j: Any = U(0)
            while j < k:
                signals, lanes = means(weights, successors, starts, width, s * A, n * A, x, k, j, ahead, far)
                if A > 1:
                    inner(p[s * A :], ahead, n, A, lanes, ahead)
                for i in range(signals):
                    sums[chunk, 0, j + i], sums[chunk, 1, j + i] = _put_product(
                        ahead, i, lanes, s, n, gamma, x, k, j + i, out, other,
                        sums[chunk, 0, j + i], sums[chunk, 1, j + i],
                    )  # fmt: skip
                j += signals
            s += n


@inlined
def _put_product(
    ahead: Array, at: Any, lanes: Any, s: Any, n: Any, gamma: float, x: Array, k: Any, j: Any, out: Array,
    other: Array, product: float, own: float,
) -> tuple[float, float]:  # fmt: skip
    """The product of signal j in n states from s on, and the sums that it adds to."""
    for i in range(n):
        new = x[(s + i) * k + j] - gamma * ahead[i * lanes + at]
        out[s + i, j] = new
        product += other[s + i, j] * new
        own += new * new
    return product, own


@compiled
def _greedy(
    first: int, last: int, rows: Rows, far: Any, r: Array, gamma: float, V: Array, out: Array,
    actions: NDArray[np.int32], change: Array,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    many = states_of_block(A, U(1))
    ahead, q = np.empty(max(U(BLOCK), A)), r.reshape(-1)
    for chunk in range(U(first), U(last)):
        low, high = np.inf, -np.inf
        s, end = chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)
        while s < end:
            n = min(many, end - s)
            if far is not None:
                expect(q, s * A, n * A)
            row_means(weights, successors, starts, width, s * A, n * A, V, ahead, far)
            for i in range(n):
                best, chosen = -np.inf, 0
                for a in range(A):
                    value = q[(s + i) * A + a] + gamma * ahead[i * A + a]
                    if value > best:
                        best, chosen = value, a
                moved = best - V[s + i]
                low, high = min(low, moved), max(high, moved)
                out[s + i] = best
                actions[s + i] = chosen
            s += n
        change[chunk, 0], change[chunk, 1] = low, high


@compiled
def _action_values(
    first: int, last: int, rows: Rows, far: Any, g: Array, gamma: float, V: Array, out: Array
) -> None:
    weights, successors, starts, width, S, A = unpacked(rows)
    many = states_of_block(A, U(1))
    ahead, q = np.empty(max(U(BLOCK), A)), g.reshape(-1)
    s, end = U(first * CHUNK), min(U(last * CHUNK), S)
    while s < end:
        n = min(many, end - s)
        row_means(weights, successors, starts, width, s * A, n * A, V, ahead, far)
        for i in range(n):
            for a in range(A):
                out[s + i, a] = q[(s + i) * A + a] + gamma * ahead[i * A + a]
        s += n
