r"""Optima of regularised objectives in lanes, with the formulas of ``algorithms/drpo_values.py`` and
``drpo_cql.py``.

Policy iteration is Newton's method for the fixed point; a lane that has arrived keeps what it found while the
others go on, and one that does not arrive becomes NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tabular_fedrl.kernels.forward import cql_step
from tabular_fedrl.kernels.lanes import compiled, exp, expected
from tabular_fedrl.kernels.layout import backup, factor, join, solve
from tabular_fedrl.kernels.offline import (
    add_divergence,
    reverse_step,
    soft_maximum,
    subtract_from_rows,
)
from tabular_fedrl.kernels.packs import aligned
from tabular_fedrl.measured import UNIT, Array

IMPROVEMENTS = 500
"""Policy iteration takes about eight."""


class Scratch(NamedTuple):
    """``matrix``: of the shape of P without actions; ``signals (K, R, A, W)``, ``V (K, R, W)``,
    ``penalty (R, W)``, ``Q (R, A, W)``, ``rows (2, W)``; W lanes as :mod:`tabular_fedrl.kernels.layout` has
    them."""

    matrix: Array
    signals: Array
    V: Array
    penalty: Array
    Q: Array
    rows: Array


@compiled
def scratch(P: Array, R: int, W: int, K: int) -> Scratch:
    """For K signals and tables ``(R, A, W)``."""
    S, A, _, problems = P.shape
    return Scratch(
        aligned((S, S, problems)),
        aligned((K, R, A, W)),
        aligned((K, R, W)),
        aligned((R, W)),
        aligned((R, A, W)),
        aligned((2, W)),
    )


@compiled
def regularised_optimum(
    P: Array,
    r: Array,
    gamma: Array,
    log_b: Array,
    log_pi: Array,
    alpha: Array,
    beta: Array,
    V: Array,
    log_policy: Array,
    p: Array,
    x: Scratch,
) -> None:
    r"""Theorem D's optimum by soft policy iteration from ``V (S, W)``, which becomes the fixed point;
    ``log_policy``, ``p``: the R-step there."""
    S, A, W = r.shape
    apart = P.shape[0] == S
    going, left, off = np.ones(W), np.full(W, np.inf), np.empty(W)
    scale, soft = np.zeros(W), np.empty((S, W))
    for s in range(S):
        for a in range(A):
            for w in range(W):
                size = abs(r[s, a, w]) / (1.0 - gamma[w]) + alpha[w] + beta[w]
                scale[w] = scale[w] if size <= scale[w] else size
    join(apart, True, scale)
    _successors(P, r, V, gamma, x.Q)
    for _ in range(IMPROVEMENTS):
        reverse_step(log_pi, log_b, x.Q, alpha, beta, x.rows, log_policy, p)
        clear(x.penalty)
        add_divergence(p, log_policy, log_b, alpha, x.penalty)
        add_divergence(p, log_policy, log_pi, beta, x.penalty)
        _penalised_values(P, r, p, gamma, x)
        _successors(P, r, x.V[0], gamma, x.Q)
        soft_maximum(x.Q, log_b, log_pi, alpha, beta, soft)
        for w in range(W):
            off[w] = 0.0
        for s in range(S):
            for w in range(W):
                y = abs(soft[s, w] - x.V[0, s, w])
                off[w] = off[w] if y <= off[w] else y
        join(apart, True, off)
        for s in range(S):
            for w in range(W):
                V[s, w] = x.V[0, s, w] if going[w] > 0.0 and not off[w] >= left[w] else V[s, w]
        some = False
        for w in range(W):
            # As long as steps bring it nearer; NaN will not.
            stays = off[w] >= left[w] and left[w] <= 1e-6 * scale[w]
            going[w] = 0.0 if stays or off[w] != off[w] else going[w]
            left[w] = off[w] if off[w] < left[w] else left[w]
            some = some or going[w] > 0.0
        if not some:
            break
    _give_up(going, V)
    _successors(P, r, V, gamma, x.Q)
    reverse_step(log_pi, log_b, x.Q, alpha, beta, x.rows, log_policy, p)


@compiled
def cql_optimum(
    P: Array,
    r: Array,
    gamma: Array,
    log_b: Array,
    log_pi: Array,
    lam: Array,
    beta: Array,
    log_policy: Array,
    p: Array,
    x: Scratch,
) -> None:
    r"""Reading G's optimum by policy iteration with weights ``lam``, ``beta`` ``(W,)``: ``log_policy``,
    ``p``."""
    S, A, W = r.shape
    apart = P.shape[0] == S
    going, better, far = np.ones(W), np.empty(W), np.empty(W)
    reached, newest = np.full((S, W), -np.inf), np.empty((S, A, W))
    for s in range(S):
        for a in range(A):
            for w in range(W):
                x.Q[s, a, w] = 0.0
    for _ in range(IMPROVEMENTS):
        cql_step(log_pi, log_b, x.Q, lam, beta, x.rows, log_policy, p)
        clear(x.penalty)
        _add_excess_squares(log_policy, log_b, lam, x.penalty)
        add_divergence(p, log_policy, log_pi, beta, x.penalty)
        _penalised_values(P, r, p, gamma, x)
        for s in range(S):
            for a in range(A):
                for w in range(W):
                    newest[s, a, w] = log_policy[s, a, w] if going[w] > 0.0 else newest[s, a, w]
        for w in range(W):
            better[w], far[w] = 0.0, 0.0
        for s in range(S):
            for w in range(W):
                size = abs(x.V[0, s, w])
                far[w] = far[w] if size <= far[w] else size
        join(apart, True, far)
        for s in range(S):
            for w in range(W):
                V = x.V[0, s, w]
                noise = 1e-13 * (1.0 + abs(V)) + 8 * UNIT * far[w] / (1.0 - gamma[w])
                better[w] = better[w] if V - reached[s, w] <= noise else 1.0
        join(apart, True, better)
        some = False
        for w in range(W):
            going[w] = going[w] * better[w]
            some = some or going[w] > 0.0
        for s in range(S):
            for w in range(W):
                reached[s, w] = x.V[0, s, w] if going[w] > 0.0 else reached[s, w]
        if not some:
            break
        _successors(P, r, x.V[0], gamma, x.Q)
    _give_up(going, reached)
    for s in range(S):
        for a in range(A):
            for w in range(W):
                log_policy[s, a, w] = newest[s, a, w] + 0.0 * reached[s, w]
                p[s, a, w] = exp(log_policy[s, a, w])


@compiled
def _successors(P: Array, r: Array, V: Array, gamma: Array, Q: Array) -> None:
    r""":math:`Q = r + \gamma P V`."""
    S, A, W = r.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                Q[s, a, w] = r[s, a, w]
    backup(P, V, gamma, Q)


@compiled
def _penalised_values(P: Array, r: Array, p: Array, gamma: Array, x: Scratch) -> None:
    """``x.V[0]``: the values of r less ``x.penalty``."""
    S, A, W = r.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                x.signals[0, s, a, w] = r[s, a, w]
    subtract_from_rows(x.penalty, x.signals[0])
    factor(P, p, gamma, x.matrix)
    expected(p, x.signals[:1], x.V[:1])
    solve(x.matrix, x.V[:1])


@compiled
def _add_excess_squares(log_p: Array, log_q: Array, weight: Array, out: Array) -> None:
    r"""Add ``weight`` :math:`\chi^2(p\|q)` to ``out (S, W)``."""
    S, A, W = log_p.shape
    for s in range(S):
        for w in range(W):
            out[s, w] -= weight[w]
        for a in range(A):
            for w in range(W):
                x = exp(2.0 * log_p[s, a, w] - log_q[s, a, w])
                out[s, w] += 0.0 if log_p[s, a, w] == -np.inf else weight[w] * x


@compiled
def _give_up(going: Array, V: Array) -> None:
    """NaN for lanes that have not arrived."""
    for s in range(V.shape[0]):
        for w in range(going.size):
            V[s, w] = np.nan if going[w] > 0.0 else V[s, w]


@compiled
def clear(x: Array) -> None:
    """Zeros into ``x (S, W)``."""
    for s in range(x.shape[0]):
        for w in range(x.shape[1]):
            x[s, w] = 0.0
