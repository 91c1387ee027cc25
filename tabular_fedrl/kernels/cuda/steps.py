r"""The softmax natural-gradient step, means of policies, and what is read off them, state by state.

Tables are ``(A, S)``, signals ``(k, A, S)``, values ``(S, k)``; one thread works on one state.
"""

from __future__ import annotations

import math

from tabular_fedrl.kernels.cuda import cuda
from tabular_fedrl.kernels.cuda.reductions import larger


@cuda.jit(device=True)
def normalise(logits, s):
    """Turn the logits of state s into its log-policy, and return their largest size."""
    A = logits.shape[0]
    top = logits[0, s]
    for a in range(1, A):
        top = max(top, logits[a, s])
    total = 0.0
    for a in range(A):
        total += math.exp(logits[a, s] - top)
    shift, size = top + math.log(total), 0.0
    for a in range(A):
        log_p = logits[a, s] - shift
        logits[a, s] = log_p
        size = larger(size, abs(log_p))
    return size


@cuda.jit
def log_softmax(logits, size):
    """Logits into log-policies, in place; ``size[s, 0]``: the largest ``|log pi|``."""
    s = cuda.grid(1)
    if s < logits.shape[1]:
        size[s, 0] = normalise(logits, s)


@cuda.jit
def softmax(logits, pi):
    """The probabilities of logits or of a log-policy; ``pi`` may be ``logits``."""
    s = cuda.grid(1)
    if s < pi.shape[1]:
        A = pi.shape[0]
        top = logits[0, s]
        for a in range(1, A):
            top = max(top, logits[a, s])
        total = 0.0
        for a in range(A):
            weight = math.exp(logits[a, s] - top)
            pi[a, s] = weight
            total += weight
        for a in range(A):
            pi[a, s] /= total


@cuda.jit
def policy_signals(f, pi, out):
    """``out[s, q] = sum_a pi[a, s] f[q, a, s]``."""
    s = cuda.grid(1)
    if s < out.shape[0]:
        for q in range(out.shape[1]):
            total = 0.0
            for a in range(pi.shape[0]):
                total += pi[a, s] * f[q, a, s]
            out[s, q] = total


@cuda.jit
def scale(factor, x, out):
    """``out = factor x``, ``(S, 1)``."""
    s = cuda.grid(1)
    if s < x.shape[0]:
        out[s, 0] = factor * x[s, 0]


@cuda.jit
def combine(weights, V, out):
    """``out[s, 0] += sum_q weights[q] V[s, q]``."""
    s = cuda.grid(1)
    if s < out.shape[0]:
        total = 0.0
        for q in range(weights.shape[0]):
            total += weights[q] * V[s, q]
        out[s, 0] += total


@cuda.jit
def primal_step(weights, f, means, gamma, v, visits, vanilla, step, log_pi, out, size):
    r"""``out``: the log-policy of :math:`\log\pi + \text{step}\, A` for the signal ``sum_q weights[q] f[q]``
    with values ``v (S, 1)`` and ``means (A, S)`` of them over successors; ``vanilla``: of
    :math:`\text{step}\, d \pi A`, d the ``visits (S, 1)``. ``size`` as in :func:`log_softmax`."""
    s = cuda.grid(1)
    if s < v.shape[0]:
        for a in range(means.shape[0]):
            change = gamma * means[a, s] - v[s, 0]
            for q in range(weights.shape[0]):
                change += weights[q] * f[q, a, s]
            if vanilla:
                change *= visits[s, 0] * math.exp(log_pi[a, s])
            out[a, s] = log_pi[a, s] + step * change
        size[s, 0] = normalise(out, s)


@cuda.jit
def soft_signal(weights, f, entropy, log_pi, out):
    """``out[0, a, s] = sum_q weights[q] f[q, a, s] - entropy log_pi[a, s]``."""
    s = cuda.grid(1)
    if s < log_pi.shape[1]:
        for a in range(log_pi.shape[0]):
            total = -entropy * log_pi[a, s]
            for q in range(weights.shape[0]):
                total += weights[q] * f[q, a, s]
            out[0, a, s] = total


@cuda.jit
def add(log_pi, weight, geometric, opening, mean):
    r"""Take one more policy into a mean: of probabilities ``mean = log(e^mean + weight e^log_pi)``, geometric
    ``mean += weight log_pi``; an ``opening`` one comes first."""
    s = cuda.grid(1)
    if s < mean.shape[1]:
        for a in range(mean.shape[0]):
            if geometric:
                term = weight * log_pi[a, s]
                mean[a, s] = term if opening else mean[a, s] + term
            else:
                term = math.log(weight) + log_pi[a, s]
                if not opening:
                    high, low = max(mean[a, s], term), min(mean[a, s], term)
                    term = high + math.log1p(math.exp(low - high))
                mean[a, s] = term


@cuda.jit
def moves(log_p, log_q, out):
    """``out[s, 0] = sum_a |p - q|`` of log-policies."""
    s = cuda.grid(1)
    if s < out.shape[0]:
        total = 0.0
        for a in range(log_p.shape[0]):
            total += abs(math.exp(log_p[a, s]) - math.exp(log_q[a, s]))
        out[s, 0] = total


@cuda.jit
def divergence(log_p, log_q, out):
    """``out[s] = KL(p||q), sum_a p (|log p| + |log q|)`` in state s of log-policies, ``(S, 2)``; ``log_p``
    may be ``-inf``."""
    s = cuda.grid(1)
    if s < out.shape[0]:
        total, size = 0.0, 0.0
        for a in range(log_p.shape[0]):
            if log_p[a, s] > -math.inf:
                p = math.exp(log_p[a, s])
                total += p * (log_p[a, s] - log_q[a, s])
                size += p * (abs(log_p[a, s]) + abs(log_q[a, s]))
        out[s, 0] = total
        out[s, 1] = size
