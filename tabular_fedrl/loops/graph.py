"""Decentralised FedNPG on one small problem, round after round without Python, with the radii of
:mod:`tabular_fedrl.loops.single_tables`; the iteration is that of ``algorithms/decentralised.py``."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.divergence import Target
from tabular_fedrl.kernels.lanes import compiled, largest_move, log_softmax
from tabular_fedrl.kernels.single import assign, inner, is_finite, largest
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.loops.single_tables import (
    Kept,
    Problem,
    Rows,
    Steps,
    Values,
    evaluate,
    record_end,
    record_start,
    room,
)
from tabular_fedrl.loops.variants import Variant
from tabular_fedrl.measured import Array


@compiled
def advance_on_graph(
    x: Problem,
    steps: Steps,
    variant: Variant,
    target: Target,
    mixing: Array,
    log_pi: Array,
    multipliers: Array,
    memory: Array,
    keep: Mask,
    rows: Rows,
    kept: Kept,
) -> int:
    r"""As :func:`tabular_fedrl.loops.single.advance`, with the matrix ``mixing (N, N)``.

    ``log_pi (N, 1, A, S)`` and ``memory (2, N, A, S)`` move along: the trackers of the last round and the Q
    functions they were made from. A tracker is mixed when the next Q functions are known: in the next round.
    """
    N, _, A, S = log_pi.shape
    K, n = x.f.shape[0], x.f.shape[0] + (variant.tau > 0)
    z, values = room(x, n), Values(np.empty((n, S)), np.empty(n), np.empty(n), np.empty((K, 2)))
    pi, Q, change = np.empty((N, 1, A, S)), np.empty((N, A, S)), np.empty((N, A, S))
    after, p, moved = np.empty((N, 1, A, S)), np.empty((1, A, S)), np.empty(S)
    for i in range(N):
        assign(log_pi[i, 0], after[i, 0])
        log_softmax(after[i], pi[i], z.lines)
    r = -1
    for k in range(keep.size):
        r += keep[k]
        if keep[k]:
            record_start(target, log_pi, r, kept, z.lines[0])
        for i in range(N):
            evaluate(x, x.P, variant, log_pi[i, 0], pi[i, 0], z, values)
            rows.local[k, i, 0] = values.at_rho
            _own_q(x, x.mask[i], variant.tau, values.V, z.lines[0], Q[i])
            if keep[k]:
                for j in range(K - 1):
                    kept.multipliers[r, i, 0, j] = multipliers[i, j] if x.mask[i, j] else np.nan
                if kept.local.size > 0:
                    assign(log_pi[i, 0], kept.local[r, i, 0])
        if steps.first + k == 0:
            memory[0] = Q
        else:
            change[:] = memory[0] + Q - memory[1]
            _mix(mixing, change, memory[0])
        memory[1] = Q
        for i in range(N):
            for a in range(A):
                for s in range(S):
                    step = steps.exponents[k] * memory[0, i, a, s]
                    change[i, a, s] = (1.0 - steps.exponents[k] * variant.tau) * log_pi[i, 0, a, s] + step
        _mix(mixing, change, log_pi[:, 0])
        for i in range(N):
            moved[:] = 0.0
            log_softmax(log_pi[i], p, z.lines)
            largest_move(p, pi[i], z.lines, moved)
            rows.step[k, i] = largest(moved)
            assign(p[0], pi[i, 0])
            if keep[k]:
                record_end(target, log_pi[i, 0], r, i, kept, z.lines[0])
        rows.drift[k] = largest(rows.step[k])
        if not is_finite(log_pi.reshape(N * A * S)):
            return k
    return keep.size


@compiled
def _own_q(x: Problem, seen: Mask, tau: float, V: Array, line: Array, Q: Array) -> None:
    r"""``Q (A, S)``: the soft Q of :math:`r - \sum_{j \in \Gamma} c_j`, from the values ``V`` of all signals,
    entropy's the last."""
    A, S = Q.shape
    for s in range(S):
        line[s] = V[0, s]
        for j in range(seen.size):
            if seen[j]:
                line[s] -= V[1 + j, s]
        if tau > 0:
            line[s] += tau * V[V.shape[0] - 1, s]
    for a in range(A):
        for s in range(S):
            Q[a, s] = x.f[0, a, s] + x.gamma * inner(x.P[s, a], line)
            for j in range(seen.size):
                if seen[j]:
                    Q[a, s] -= x.f[1 + j, a, s]


@compiled
def _mix(mixing: Array, tables: Array, out: Array) -> None:
    """``out (N, A, S)``: of every agent, the mean of its neighbours' ``tables``."""
    N, A, S = tables.shape
    for i in range(N):
        for a in range(A):
            for s in range(S):
                total = 0.0
                for j in range(N):
                    total += mixing[i, j] * tables[j, a, s]
                out[i, a, s] = total
