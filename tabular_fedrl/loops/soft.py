r"""Policies that are optimal but for a divergence from another one, of one small problem."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.lanes import compiled, log_softmax
from tabular_fedrl.kernels.single import inner, largest, policy_values
from tabular_fedrl.measured import Array

ITERATIONS = 500
"""Soft policy iteration takes about eight."""


@compiled
def soft_optimum(
    P: Array, f: Array, gamma: float, anchor: Array, weight: float, operator: Array, system: Array,
    lines: Array, log_pi: Array, pi: Array,
) -> None:  # fmt: skip
    r"""``log_pi``, ``pi (1, A, S)``: the policy that maximises
    :math:`V_f(\rho) - \frac{w}{1-\gamma} E_{d^\pi} KL(\pi\|\pi_0)`, :math:`\log\pi_0` the ``anchor (A, S)``,
    by soft policy iteration, as in ``algorithms/drpo_values.py``; NaN if that does not settle.

    P ``(S, A, S)``; f ``(A, S)``; scratch: ``operator (S, S)``, ``system (S, S + 1)``, ``lines (2, S)``.
    """
    A, S = f.shape
    V, missed, signal = np.empty((1, S)), np.empty(1), np.empty((1, A, S))
    soft, best = np.empty(S), np.full(S, np.nan)
    V[0, :] = largest(f.reshape(A * S)) / (1.0 - gamma)
    scale, left = V[0, 0] + weight, np.inf
    _soft_greedy(P, f, gamma, anchor, weight, V[0], lines, log_pi, pi, soft)
    for _ in range(ITERATIONS):
        for a in range(A):
            for s in range(S):
                signal[0, a, s] = f[a, s] - weight * (log_pi[0, a, s] - anchor[a, s])
        policy_values(P, signal, pi[0], gamma, operator, system, V, missed)
        _soft_greedy(P, f, gamma, anchor, weight, V[0], lines, log_pi, pi, soft)
        off = 0.0
        for s in range(S):
            off = max(off, abs(soft[s] - V[0, s]))
        if off >= left and left <= 1e-6 * scale:  # rounding lets it come no nearer
            _soft_greedy(P, f, gamma, anchor, weight, best, lines, log_pi, pi, soft)
            return
        if off < left:
            left = off
            for s in range(S):
                best[s] = V[0, s]
    log_pi[:] = np.nan


@compiled
def _soft_greedy(
    P: Array, f: Array, gamma: float, anchor: Array, weight: float, V: Array, lines: Array, log_pi: Array,
    pi: Array, soft: Array,
) -> None:  # fmt: skip
    r"""The policy :math:`\propto \pi_0 e^{Q/w}`, Q of the values ``V (S,)``, and ``soft (S,)``:
    :math:`w \log\sum_a \pi_0 e^{Q/w}`."""
    A, S = f.shape
    for s in range(S):
        for a in range(A):
            log_pi[0, a, s] = anchor[a, s] + (f[a, s] + gamma * inner(P[s, a], V)) / weight
        soft[s] = log_pi[0, 0, s]
    log_softmax(log_pi, pi, lines)
    for s in range(S):
        soft[s] = weight * (soft[s] - log_pi[0, 0, s])
