"""The weights that Theorem C recommends, in lanes; formulas as in ``algorithms/drpo_balance.py``."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.layout import join
from tabular_fedrl.measured import Array


@compiled
def recommended(
    q: Array,
    pi: Array,
    log_pi: Array,
    visits: Array,
    Q: Array,
    log_b: Array,
    omega: Array,
    gamma: Array,
    apart: bool,
    alpha: Array,
    beta: Array,
) -> None:
    r"""Theorem C's weights in place of ``alpha``, ``beta`` ``(W,)``, where it recommends any.

    q: the true :math:`Q^{\pi_k}` ``(S, A, W)``; visits: :math:`d^{\pi_k}` ``(S, W)``; Q, log_b: critics and
    behaviours ``(N, S, A, W)``; omega: ``(N, S, W)``; apart: the lanes are problems
    (:mod:`tabular_fedrl.kernels.layout`).
    """
    N, S, A, W = Q.shape
    plain, pull = np.zeros(W), np.zeros(W)  # E[Var(Q) + Cov(e, Q)], E[Cov(ell, Q)]
    R_Q, R_U, lost = np.zeros(W), np.zeros(W), np.zeros(W)
    for s in range(S):
        for w in range(W):
            mean, low, high = 0.0, np.inf, -np.inf
            for a in range(A):
                mean += pi[s, a, w] * q[s, a, w]
            for a in range(A):
                if log_pi[s, a, w] == -np.inf:
                    continue
                ell, e = 0.0, 0.0
                for i in range(N):
                    ell += omega[i, s, w] * (log_b[i, s, a, w] - log_pi[s, a, w])
                    e += omega[i, s, w] * (Q[i, s, a, w] - q[s, a, w])
                    lost[w] = 1.0 if log_b[i, s, a, w] == -np.inf else lost[w]
                centred = visits[s, w] * pi[s, a, w] * (q[s, a, w] - mean)
                plain[w] += centred * (q[s, a, w] + e)
                pull[w] += centred * ell
                low, high = min(low, q[s, a, w]), max(high, q[s, a, w])
            R_Q[w] = max(R_Q[w], high - low)
    for x in (plain, pull):
        join(apart, False, x)
    for x in (R_Q, lost):
        join(apart, True, x)
    weight = np.empty(W)
    for w in range(W):
        weight[w] = min(alpha[w], -0.5 * plain[w] / pull[w]) if pull[w] < 0.0 else alpha[w]
        R_U[w] = _largest_span(Q, log_b, log_pi, max(weight[w], 0.0), w)
    join(apart, True, R_U)
    for w in range(W):
        C_bar = plain[w] + max(weight[w], 0.0) * pull[w]
        eta = 4.0 * (1.0 - gamma[w]) * C_bar / (R_U[w] * R_U[w] * R_Q[w])
        if lost[w] > 0.0:
            # Outside a client's support the theorem says nothing: the specification refuses.
            alpha[w] = np.nan
        elif weight[w] >= 0.0 and 0.0 < eta < np.inf:
            alpha[w], beta[w] = weight[w], max(1.0 / eta - weight[w], 0.0)


@compiled
def _largest_span(Q: Array, log_b: Array, log_pi: Array, weight: float, w: int) -> float:
    r""":math:`R_U` of lane w."""
    N, S, A, _ = Q.shape
    largest = 0.0
    for i in range(N):
        for s in range(S):
            low, high = np.inf, -np.inf
            for a in range(A):
                if log_pi[s, a, w] != -np.inf:
                    U = Q[i, s, a, w] + weight * (log_b[i, s, a, w] - log_pi[s, a, w])
                    low, high = min(low, U), max(high, U)
            largest = max(largest, high - low)
    return largest
