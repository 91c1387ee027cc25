r"""The steps of DRPO and of its baselines in lanes: what ``algorithms/drpo_reverse.py``, ``drpo_values.py``
and the means of ``drpo_steps.py`` do, with the conventions of
:mod:`tabular_fedrl.kernels.lanes`.

Policies are ``(S, A, W)``, their logarithms ``-inf`` where the probability is 0. Where the specification
refuses (no common action, a policy outside the behaviour's support) the state's row becomes NaN, and with it
in a few rounds the lane.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.lanes import compiled, exp, log, log_softmax
from tabular_fedrl.measured import Array


@compiled
def log_probability(p: float) -> float:
    """The logarithm of a probability, ``-inf`` of 0."""
    return log(p) if p > 0.0 else (-np.inf if p == 0.0 else np.nan)


@compiled
def abstaining(log_b: Array, seen: Array, log_pi: Array, out: Array) -> None:
    """A client's behaviour: ``log_b`` where it has seen the state (``seen (S, W)`` is 1), else ``log_pi``."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                out[s, a, w] = log_b[s, a, w] if seen[s, w] > 0.0 else log_pi[s, a, w]


@compiled
def reverse_step(
    log_pi: Array, log_b: Array, Q: Array, alpha: Array, beta: Array, scratch: Array, out: Array, p: Array
) -> None:
    r"""The R-step :math:`b^w \pi_k^{1-w} e^{Q/\tau}`: its log-policy ``out`` and probabilities ``p``.

    A weight of 0 leaves its policy out, zeros included. ``alpha``, ``beta``: ``(W,)``; ``scratch``: ``(2,
    W)``."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                tilt = alpha[w] * log_b[s, a, w] if alpha[w] > 0.0 else 0.0
                tilt += beta[w] * log_pi[s, a, w] if beta[w] > 0.0 else 0.0
                out[s, a, w] = (tilt + Q[s, a, w]) / (alpha[w] + beta[w])
    log_softmax(out, p, scratch)


@compiled
def mean_policy(
    log_policies: Array, omega: Array, geometric: bool, scratch: Array, out: Array, p: Array
) -> None:
    r"""The mean of log-policies ``(N, S, A, W)`` with weights ``omega (N, S, W)``, normalised: A1
    :math:`\sum_i \omega_i\pi_i`, or A2 :math:`\prod_i \pi_i^{\omega_i}`. ``scratch``: ``(2, W)``."""
    N, S, A, W = log_policies.shape
    top, total = scratch[0], scratch[1]
    for s in range(S):
        for a in range(A):
            for w in range(W):
                top[w] = -np.inf
                total[w] = 0.0
            if geometric:
                for i in range(N):
                    for w in range(W):
                        total[w] += omega[i, s, w] * log_policies[i, s, a, w] if omega[i, s, w] > 0.0 else 0.0
                for w in range(W):
                    out[s, a, w] = total[w]
                continue
            for i in range(N):
                for w in range(W):
                    x = log_policies[i, s, a, w] if omega[i, s, w] > 0.0 else -np.inf
                    top[w] = top[w] if x <= top[w] else x
            for w in range(W):
                top[w] = 0.0 if top[w] == -np.inf else top[w]
            for i in range(N):
                for w in range(W):
                    x = log_policies[i, s, a, w] if omega[i, s, w] > 0.0 else -np.inf
                    total[w] += omega[i, s, w] * exp(x - top[w])
            for w in range(W):
                out[s, a, w] = top[w] + log_probability(total[w])
    log_softmax(out, p, scratch)


@compiled
def add_divergence(p: Array, log_p: Array, log_q: Array, weight: Array, out: Array) -> None:
    """Add ``weight KL(p||q)`` to ``out (S, W)``; a weight of 0 adds nothing."""
    S, A, W = p.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                counts = p[s, a, w] != 0.0 and weight[w] > 0.0
                x = weight[w] * p[s, a, w] * (log_p[s, a, w] - log_q[s, a, w])
                out[s, w] += x if counts else 0.0


@compiled
def subtract_excess(log_p: Array, log_q: Array, weight: Array, out: Array) -> None:
    """Subtract CQL's penalty ``weight (p/q - 1)`` from ``out (S, A, W)``, where q is positive."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                x, y = log_p[s, a, w], log_q[s, a, w]
                ratio = 0.0 if x == -np.inf else exp(x - y)
                out[s, a, w] -= 0.0 if y == -np.inf and x == -np.inf else weight[w] * (ratio - 1.0)


@compiled
def subtract_from_rows(penalty: Array, out: Array) -> None:
    """Subtract ``penalty (S, W)`` from every action of ``out (S, A, W)``."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                out[s, a, w] -= penalty[s, w]


@compiled
def soft_maximum(Q: Array, log_b: Array, log_pi: Array, alpha: Array, beta: Array, out: Array) -> None:
    r""":math:`\tau \log\sum_a b^w \pi_k^{1-w} e^{Q/\tau}` into ``out (S, W)``."""
    S, A, W = Q.shape
    x, top, total = np.empty((A, W)), np.empty(W), np.empty(W)
    for s in range(S):
        for w in range(W):
            top[w] = -np.inf
            total[w] = 0.0
        for a in range(A):
            for w in range(W):
                y = alpha[w] * log_b[s, a, w] if alpha[w] > 0.0 else 0.0
                y += beta[w] * log_pi[s, a, w] if beta[w] > 0.0 else 0.0
                y = (y + Q[s, a, w]) / (alpha[w] + beta[w])
                x[a, w] = y
                top[w] = top[w] if y <= top[w] else y
        for a in range(A):
            for w in range(W):
                total[w] += exp(x[a, w] - top[w])
        for w in range(W):
            out[s, w] = (alpha[w] + beta[w]) * (top[w] + log(total[w]))


@compiled
def confined(log_pi: Array, log_b: Array, scratch: Array, out: Array, p: Array) -> None:
    """The policy given that it takes an action of b's support, b where it never does: log-policy ``out``,
    probabilities ``p``; ``scratch``: ``(2, W)``."""
    S, A, W = out.shape
    for s in range(S):
        for w in range(W):
            empty = True
            for a in range(A):
                x = log_pi[s, a, w] if log_b[s, a, w] != -np.inf else -np.inf
                empty = empty and x == -np.inf
                out[s, a, w] = x
            if empty:
                for a in range(A):
                    out[s, a, w] = log_b[s, a, w]
    log_softmax(out, p, scratch)


@compiled
def abstain_where_lost(log_pi: Array, log_b: Array, known: Array) -> None:
    """Where the two policies share no action, ``log_b`` becomes ``log_pi`` and ``known (S, W)`` 0."""
    S, A, W = log_b.shape
    for s in range(S):
        for w in range(W):
            lost = True
            for a in range(A):
                lost = lost and (log_b[s, a, w] == -np.inf or log_pi[s, a, w] == -np.inf)
            if lost:
                known[s, w] = 0.0
                for a in range(A):
                    log_b[s, a, w] = log_pi[s, a, w]


@compiled
def scale_rows(factor: Array, out: Array) -> None:
    """Multiply every action of ``out (S, A, W)`` by ``factor (S, W)``."""
    S, A, W = out.shape
    for s in range(S):
        for a in range(A):
            for w in range(W):
                out[s, a, w] *= factor[s, w]
