"""What is measured of a run's policies, with rigorous radii, for one small problem."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.divergence import INFLATE, Target, divergence
from tabular_fedrl.kernels.lanes import compiled, largest_move, log_softmax
from tabular_fedrl.kernels.single import (
    assign,
    enclosed_averages,
    largest,
    operator_room,
    policy_values,
    system_room,
)
from tabular_fedrl.loops.single_tables import Problem
from tabular_fedrl.measured import Array


@compiled
def enclosed_values(x: Problem, start: Array, local: Array, values: Array, drift: Array) -> None:
    r"""What n rounds did, from their log-policies: ``start (n, A, S)`` and ``local (n, N, E+1, A, S)``.

    ``values (n, N, E, 1+m, 2)``: at rho before each local step, radii last, bounded as in
    :mod:`tabular_fedrl.loops.single`; ``drift (n,)``: :math:`\max_{i,s} \|\pi_i^{k,E} - \pi_k\|_1`.
    """
    n, N, E, K, _ = values.shape
    A, S = start.shape[1], start.shape[2]
    log_p, p, p_start = np.empty((1, A, S)), np.empty((1, A, S)), np.empty((1, A, S))
    V, error, lines = np.empty((K, S)), np.empty(K), np.empty((2, S))
    operator, system, moved = operator_room(S), system_room(S, K), np.empty(S)
    for k in range(n):
        for s in range(S):
            moved[s] = 0.0
        for i in range(N):
            for e in range(E):
                if i > 0 and e == 0:
                    for c in range(K):
                        values[k, i, 0, c, 0] = values[k, 0, 0, c, 0]
                        values[k, i, 0, c, 1] = values[k, 0, 0, c, 1]
                    continue
                table = start[k] if e == 0 else local[k, i, e]
                assign(table, log_p[0])
                log_softmax(log_p, p, lines)
                if e == 0:
                    assign(p[0], p_start[0])
                policy_values(x.P, x.f, p[0], x.gamma, operator, system, V, error)
                for c in range(K):
                    size = x.f_size[c] + 2.0 * largest(V[c])
                    error[c] = INFLATE * (error[c] + x.slack * size) / (1.0 - x.gamma)
                enclosed_averages(x.rho, V, error, x.row_error, values[k, i, e])
            assign(local[k, i, E], log_p[0])
            log_softmax(log_p, p, lines)
            largest_move(p, p_start, lines, moved)
        drift[k] = largest(moved)


@compiled
def enclosed_divergences(target: Target, log_q: Array, kl: Array) -> None:
    r"""``kl (n, 2)``: :math:`E_{s\sim d^*} KL(\pi^*\|q)` of log-policies ``(n, A, S)`` and its radius, which
    is infinite where q has a probability 0."""
    n, _, S = log_q.shape
    line = np.empty(S)
    for k in range(n):
        mean, radius = divergence(target, log_q[k], line)
        known = mean - mean == 0.0
        kl[k, 0] = mean if known else 0.0
        kl[k, 1] = radius if known else np.inf
