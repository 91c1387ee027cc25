r"""What a run measures against a fixed comparator :math:`\pi^*` with visitation :math:`d^*`, with rigorous
radii, for one small problem (tables ``(A, S)`` as in :mod:`tabular_fedrl.kernels.single`).

The numbers are those of ``runner.measure.Comparator``, which says what they mean; there every operation
carries its radius along, here the radius is a bound worked out for the whole expression (mark: *ours*).
Throughout, u is the unit roundoff and a sum of n terms is charged :math:`n u` times the sum of their sizes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tabular_fedrl.kernels.lanes import compiled, exp, log
from tabular_fedrl.kernels.single import INFLATE
from tabular_fedrl.measured import UNIT, Array


class Target(NamedTuple):
    r"""The comparator: ``d (S,)`` within ``d_error`` in the 1-norm; ``pi``, ``log_pi (A, S)`` and their
    radii; ``weight (S,)``: upper bounds of :math:`d^*(s) \sum_a \pi^*(a|s)`."""

    d: Array
    d_error: float
    pi: Array
    pi_error: Array
    log_pi: Array
    log_pi_error: Array
    weight: Array


@compiled
def log_sum_exp(logits: Array, out: Array) -> float:
    r"""``out (S,)``: :math:`\log \sum_a e^{x(a, s)}`; returns a bound c such that each errs by at most
    :math:`c + u |out|`.

    An exponential errs relatively by u times the size of its exponent, which is at most :math:`-\log p(a)`,
    with mean at most :math:`\log A`, and by 4u of its own; the logarithm by 4u times its size or 1.
    """
    A, S = logits.shape
    for s in range(S):
        top = logits[0, s]
        for a in range(1, A):
            x = logits[a, s]
            top = x if x > top else top
        total = 0.0
        for a in range(A):
            total += exp(logits[a, s] - top)
        out[s] = top + log(total)
    return (5.0 * np.log(A) + A + 20.0) * UNIT


@compiled
def divergence(x: Target, log_q: Array, lse: Array) -> tuple[float, float]:
    r""":math:`E_{s \sim d^*} KL(\pi^*\|q)` and its radius, for a log-policy in floats ``(A, S)``, which
    stands for its normalisation; ``lse``: scratch ``(S,)``. Of infinite radius where q lacks an action of
    pi*."""
    A, S = log_q.shape
    blur = log_sum_exp(log_q, lse)
    mean = size = error = reach = 0.0
    for s in range(S):
        inside = absolute = around = 0.0
        for a in range(A):
            if x.pi[a, s] + x.pi_error[a, s] == 0.0:
                continue  # whatever q makes of an action that pi* never takes
            difference = x.log_pi[a, s] - (log_q[a, s] - lse[s])
            ulps = UNIT * (3.0 * abs(difference) + 2.0 * abs(log_q[a, s]) + 2.0 * abs(lse[s]))
            inside += x.pi[a, s] * difference
            absolute += x.pi[a, s] * abs(difference)
            around += x.pi_error[a, s] * abs(difference)
            around += (x.pi[a, s] + x.pi_error[a, s]) * (x.log_pi_error[a, s] + blur + ulps)
        around += (A + 2) * UNIT * absolute
        mean += x.d[s] * inside
        size += x.d[s] * absolute
        error += x.d[s] * around
        reach = max(reach, absolute + around)
    radius = INFLATE * (error + (S + 2) * UNIT * size + x.d_error * reach)
    return (mean, radius) if radius < np.inf else (0.0, np.inf)


@compiled
def normaliser(
    x: Target, start: Array, logits: Array, end: Array, off: float, lse: Array
) -> tuple[float, float]:
    r""":math:`E_{s \sim d^*} \log Z` of a step :math:`\pi' = \pi e^x/Z`, and its radius.

    ``start``, ``end``: the log-policies before and after, ``logits``: start plus exponents; the exponents err
    by at most ``off`` (all ``(A, S)``). The radius also covers how far the step in floats is from the exact
    one, at :math:`\pi^*`. ``lse``: scratch ``(3, S)``.
    """
    A, S = logits.shape
    blur = log_sum_exp(start, lse[0])
    log_sum_exp(logits, lse[1])
    log_sum_exp(end, lse[2])
    mean = size = error = reach = 0.0
    for s in range(S):
        log_z = lse[1, s] - lse[0, s]
        missed = largest = 0.0
        for a in range(A):
            missed = max(missed, abs((logits[a, s] - lse[1, s]) - (end[a, s] - lse[2, s])))
            largest = max(largest, abs(logits[a, s]), abs(start[a, s]), abs(end[a, s]))
        ulps = UNIT * (4.0 * largest + 2.0 * (abs(lse[0, s]) + abs(lse[1, s]) + abs(lse[2, s])))
        around = off + 2.0 * blur + 2.0 * ulps
        mean += x.d[s] * log_z
        size += x.d[s] * abs(log_z)
        error += x.d[s] * around + x.weight[s] * (missed + 2.0 * around)
        reach = max(reach, abs(log_z) + around)
    return mean, INFLATE * (error + (S + 2) * UNIT * size + x.d_error * reach)
