r"""Sweeps over the states of a large sparse problem: Bellman operators, their products, flows.

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
from tabular_fedrl.kernels.sparse_rows import (
    Rows,
    U,
    first_entry,
    inlined,
    mean_1,
    mean_2,
    mean_3,
    mean_4,
    row_mean,
    unpacked,
)
from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks, over_parts
from tabular_fedrl.measured import Array

PARTS = 4
"""Parts of the states that sum their flows apart, whatever the number of threads."""

_NONE = np.zeros((1, 1))


def policy_sweep(rows: Rows, pi: Array | None, f: Array, gamma: float, V: Array, out: Array) -> Array:
    r"""``out (S, k)``: :math:`f_\pi + \gamma P_\pi V` for ``f (k, S, A)``, ``V (S, k)``. Returns
    :math:`\max_s |\mathrm{out} - V|`, ``(k,)``."""
    change = np.empty((chunks(rows.S), V.shape[1]))
    over_chunks(_policy, rows.S, rows, table(pi), f, gamma, V.reshape(-1), out, False, change)
    return change.max(axis=0)


def policy_residual(rows: Rows, pi: Array | None, f: Array, gamma: float, V: Array, out: Array) -> Array:
    r"""``out (S, k)``: the residual :math:`f_\pi + \gamma P_\pi V - V`. Returns its sizes, ``(k,)``."""
    size = np.empty((chunks(rows.S), V.shape[1]))
    over_chunks(_policy, rows.S, rows, table(pi), f, gamma, V.reshape(-1), out, True, size)
    return size.max(axis=0)


def policy_product(rows: Rows, pi: Array | None, gamma: float, x: Array, out: Array, other: Array) -> Array:
    r"""``out (S, k)``: :math:`x - \gamma P_\pi x` for ``x (S, k)``. Returns the inner products of ``out``
    with ``other (S, k)`` and with itself, ``(2, k)``."""
    sums = np.empty((chunks(rows.S), 2, x.shape[1]))
    over_chunks(_product, rows.S, rows, table(pi), gamma, x.reshape(-1), out, other, sums)
    return sums.sum(axis=0)


def greedy_sweep(
    rows: Rows, r: Array, gamma: float, V: Array, out: Array, actions: NDArray[np.int32]
) -> tuple[float, float]:
    r"""``out (S,)``: :math:`\max_a r(s,a) + \gamma \sum_t P(t|s,a) V(t)` for ``r (S, A)``, ``V (S,)``; and
    the first action that attains it. Returns the least and the largest ``out - V``."""
    change = np.empty((chunks(rows.S), 2))
    over_chunks(_greedy, rows.S, rows, r, gamma, V, out, actions, change)
    return float(change[:, 0].min()), float(change[:, 1].max())


def action_values(rows: Rows, g: Array, gamma: float, V: Array, out: Array) -> None:
    r"""``out (S, A)``: :math:`g(s,a) + \gamma \sum_t P(t|s,a) V(t)` for ``g (S, A)``, ``V (S,)``; ``out`` may
    be ``g``."""
    over_chunks(_action_values, rows.S, rows, g, gamma, V, out)


def flow_residual(
    rows: Rows, pi: Array | None, mu: Array, gamma: float, x: Array, out: Array
) -> tuple[Array, float]:
    r"""``out (S, 1)``: :math:`(1-\gamma)\mu + \gamma P_\pi^T x - x` for ``x (S, 1)``, ``mu (S,)``.
    Returns its largest size, ``(1,)``, and its 1-norm."""
    sums = np.empty((chunks(rows.S), 2))
    parts = _flow(rows, pi, x.reshape(-1))
    over_chunks(_flow_residual, rows.S, parts, mu, gamma, x.reshape(-1), out.reshape(-1), sums)
    return sums[:, :1].max(axis=0), float(sums[:, 1].sum())


def flow_product(rows: Rows, pi: Array | None, gamma: float, x: Array, out: Array, other: Array) -> Array:
    r"""``out (S, 1)``: :math:`x - \gamma P_\pi^T x` for ``x (S, 1)``. Returns the inner products of ``out``
    with ``other (S, 1)`` and with itself, ``(2, 1)``."""
    sums = np.empty((chunks(rows.S), 2, 1))
    parts = _flow(rows, pi, x.reshape(-1))
    over_chunks(_flow_product, rows.S, parts, gamma, x.reshape(-1), out.reshape(-1), other.reshape(-1), sums)
    return sums.sum(axis=0)


def _flow(rows: Rows, pi: Array | None, x: Array) -> Array:
    r""":math:`P_\pi^T x` in parts to be added up, ``(PARTS, S)``."""
    count = min(PARTS, chunks(rows.S))
    parts = np.zeros((count, rows.S))
    each = -(-rows.S // count)
    over_parts(_scatter, count, rows.S, each, rows, table(pi), x, parts)
    return parts


def table(pi: Array | None) -> Array:
    """The policy as kernels take it."""
    return _NONE if pi is None else pi


@compiled
def _policy(
    first: int, last: int, rows: Rows, pi: Array, f: Array, gamma: float, V: Array, out: Array,
    subtract: bool, change: Array,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    k = U(out.shape[1])
    for chunk in range(U(first), U(last)):
        if k == 1:
            change[chunk, 0] = _policy_alone(
                weights, successors, starts, width, S, A, chunk, pi, f, gamma, V, out, subtract
            )
            continue
        for j in range(k):
            change[chunk, j] = 0.0
        for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)):
            i: Any = U(0)
            while i + U(4) <= k:
                t0, t1, t2, t3 = mean_4(weights, successors, starts, width, A, pi, s, V, k, i)
                _put(t0, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i)
                _put(t1, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i + U(1))
                _put(t2, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i + U(2))
                _put(t3, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i + U(3))
                i += U(4)
            if i + U(3) <= k:
                t0, t1, t2 = mean_3(weights, successors, starts, width, A, pi, s, V, k, i)
                _put(t0, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i)
                _put(t1, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i + U(1))
                _put(t2, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i + U(2))
                i += U(3)
            if i + U(2) <= k:
                t0, t1 = mean_2(weights, successors, starts, width, A, pi, s, V, k, i)
                _put(t0, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i)
                _put(t1, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i + U(1))
                i += U(2)
            if i < k:
                t0 = mean_1(weights, successors, starts, width, A, pi, s, V, k, i)
                _put(t0, pi, f, gamma, V, out, subtract, change, chunk, s, A, k, i)


@inlined
def _policy_alone(
    weights: Any, successors: Any, starts: Any, width: Any, S: Any, A: Any, chunk: Any, pi: Array, f: Array,
    gamma: float, V: Array, out: Array, subtract: bool,
) -> float:  # fmt: skip
    """A chunk of :func:`_policy` for one signal, whose change then stays in a register."""
    change = 0.0
    for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)):
        ahead, mean = 0.0, 0.0
        p = first_entry(starts, width, s * A)
        for a in range(A):
            end = first_entry(starts, width, s * A + a + U(1))
            part = row_mean(weights, successors, p, end, V)
            p = end
            ahead += part if A == 1 else pi[s, a] * part
            mean += f[0, s, a] if A == 1 else pi[s, a] * f[0, s, a]
        new = mean + gamma * ahead
        moved = new - V[s]
        out[s, 0] = moved if subtract else new
        # NaN, which compares as false, must not hide.
        change = change if abs(moved) <= change else abs(moved)
    return change


@inlined
def _product_alone(
    weights: Any, successors: Any, starts: Any, width: Any, S: Any, A: Any, chunk: Any, pi: Array,
    gamma: float, x: Array, out: Array, other: Array,
) -> tuple[float, float]:  # fmt: skip
    """A chunk of :func:`_product` for one signal."""
    inner, own = 0.0, 0.0
    for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)):
        ahead = 0.0
        p = first_entry(starts, width, s * A)
        for a in range(A):
            end = first_entry(starts, width, s * A + a + U(1))
            part = row_mean(weights, successors, p, end, x)
            p = end
            ahead += part if A == 1 else pi[s, a] * part
        new = x[s] - gamma * ahead
        out[s, 0] = new
        inner += other[s, 0] * new
        own += new * new
    return inner, own


@inlined
def _put(
    ahead: float, pi: Array, f: Array, gamma: float, V: Array, out: Array, subtract: bool, change: Array,
    chunk: Any, s: Any, A: Any, k: Any, j: Any,
) -> None:  # fmt: skip
    mean = 0.0
    for a in range(A):
        mean += f[j, s, a] if A == 1 else pi[s, a] * f[j, s, a]
    new = mean + gamma * ahead
    moved = new - V[s * k + j]
    out[s, j] = moved if subtract else new
    # NaN, which compares as false, must not hide.
    change[chunk, j] = change[chunk, j] if abs(moved) <= change[chunk, j] else abs(moved)


@compiled
def _product(
    first: int, last: int, rows: Rows, pi: Array, gamma: float, x: Array, out: Array, other: Array,
    sums: Array,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    k = U(out.shape[1])
    for chunk in range(U(first), U(last)):
        if k == 1:
            sums[chunk, 0, 0], sums[chunk, 1, 0] = _product_alone(
                weights, successors, starts, width, S, A, chunk, pi, gamma, x, out, other
            )
            continue
        for j in range(k):
            sums[chunk, 0, j], sums[chunk, 1, j] = 0.0, 0.0
        for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)):
            i: Any = U(0)
            while i + U(4) <= k:
                t0, t1, t2, t3 = mean_4(weights, successors, starts, width, A, pi, s, x, k, i)
                _put_product(t0, gamma, x, out, other, sums, chunk, s, k, i)
                _put_product(t1, gamma, x, out, other, sums, chunk, s, k, i + U(1))
                _put_product(t2, gamma, x, out, other, sums, chunk, s, k, i + U(2))
                _put_product(t3, gamma, x, out, other, sums, chunk, s, k, i + U(3))
                i += U(4)
            if i + U(3) <= k:
                t0, t1, t2 = mean_3(weights, successors, starts, width, A, pi, s, x, k, i)
                _put_product(t0, gamma, x, out, other, sums, chunk, s, k, i)
                _put_product(t1, gamma, x, out, other, sums, chunk, s, k, i + U(1))
                _put_product(t2, gamma, x, out, other, sums, chunk, s, k, i + U(2))
                i += U(3)
            if i + U(2) <= k:
                t0, t1 = mean_2(weights, successors, starts, width, A, pi, s, x, k, i)
                _put_product(t0, gamma, x, out, other, sums, chunk, s, k, i)
                _put_product(t1, gamma, x, out, other, sums, chunk, s, k, i + U(1))
                i += U(2)
            if i < k:
                t0 = mean_1(weights, successors, starts, width, A, pi, s, x, k, i)
                _put_product(t0, gamma, x, out, other, sums, chunk, s, k, i)


@inlined
def _put_product(
    ahead: float, gamma: float, x: Array, out: Array, other: Array, sums: Array, chunk: Any, s: Any, k: Any,
    j: Any,
) -> None:  # fmt: skip
    new = x[s * k + j] - gamma * ahead
    out[s, j] = new
    sums[chunk, 0, j] += other[s, j] * new
    sums[chunk, 1, j] += new * new


@compiled
def _greedy(
    first: int, last: int, rows: Rows, r: Array, gamma: float, V: Array, out: Array,
    actions: NDArray[np.int32], change: Array,
) -> None:  # fmt: skip
    weights, successors, starts, width, S, A = unpacked(rows)
    for chunk in range(U(first), U(last)):
        low, high = np.inf, -np.inf
        for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), S)):
            p = first_entry(starts, width, s * A)
            best, chosen = -np.inf, 0
            for a in range(A):
                end = first_entry(starts, width, s * A + a + U(1))
                value = r[s, a] + gamma * row_mean(weights, successors, p, end, V)
                p = end
                if value > best:
                    best, chosen = value, a
            moved = best - V[s]
            low, high = min(low, moved), max(high, moved)
            out[s] = best
            actions[s] = chosen
        change[chunk, 0], change[chunk, 1] = low, high


@compiled
def _action_values(first: int, last: int, rows: Rows, g: Array, gamma: float, V: Array, out: Array) -> None:
    weights, successors, starts, width, S, A = unpacked(rows)
    for s in range(U(first * CHUNK), min(U(last * CHUNK), S)):
        p = first_entry(starts, width, s * A)
        for a in range(A):
            end = first_entry(starts, width, s * A + a + U(1))
            out[s, a] = g[s, a] + gamma * row_mean(weights, successors, p, end, V)
            p = end


@compiled
def _scatter(first: int, last: int, each: int, rows: Rows, pi: Array, x: Array, parts: Array) -> None:
    weights, successors, starts, width, S, A = unpacked(rows)
    for part in range(U(first), U(last)):
        for s in range(part * U(each), min((part + U(1)) * U(each), S)):
            p = first_entry(starts, width, s * A)
            for a in range(A):
                end = first_entry(starts, width, s * A + a + U(1))
                mass = x[s] if A == 1 else pi[s, a] * x[s]
                while p < end:
                    parts[part, successors[p]] += mass * weights[p]
                    p += U(1)


@inlined
def _inflow(parts: Array, s: Any) -> float:
    total = 0.0
    for i in range(U(parts.shape[0])):
        total += parts[i, s]
    return total


@compiled
def _flow_residual(
    first: int, last: int, parts: Array, mu: Array, gamma: float, x: Array, out: Array, sums: Array
) -> None:
    for chunk in range(U(first), U(last)):
        top, total = 0.0, 0.0
        for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), U(x.size))):
            left = (1 - gamma) * mu[s] + gamma * _inflow(parts, s) - x[s]
            out[s] = left
            # NaN, which compares as false, must not hide.
            top = top if abs(left) <= top else abs(left)
            total += abs(left)
        sums[chunk, 0], sums[chunk, 1] = top, total


@compiled
def _flow_product(
    first: int, last: int, parts: Array, gamma: float, x: Array, out: Array, other: Array, sums: Array
) -> None:
    for chunk in range(U(first), U(last)):
        inner, own = 0.0, 0.0
        for s in range(chunk * U(CHUNK), min((chunk + U(1)) * U(CHUNK), U(x.size))):
            new = x[s] - gamma * _inflow(parts, s)
            out[s] = new
            inner += other[s] * new
            own += new * new
        sums[chunk, 0, 0], sums[chunk, 1, 0] = inner, own
