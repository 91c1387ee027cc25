r"""Building blocks for many small problems in lockstep.

Every array has the problem's index last: entry ``w`` along that axis belongs to problem w of W, its *lane*.
All lanes do the same operations in the same order, so that the innermost loop over w compiles to vector
instructions; nothing here branches on data. Plain float64; a lane that overflows becomes NaN and leaves the
others alone.

The exponential and the logarithm are written out because the compiler cannot vectorise calls of the C
library's. Where many terms make one number, lanes are taken in packs (:mod:`tabular_fedrl.kernels.packs`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from tabular_fedrl.kernels.cached import cached
from tabular_fedrl.kernels.packs import PACK, load, spread, store
from tabular_fedrl.measured import Array

compiled: Any = cached(nogil=True, error_model="numpy", fastmath={"contract"})
"""Compiled once, kept on disk, free of the interpreter lock; 1/0 is infinite, a*b + c may round once."""

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""log 2 in two parts, the first with 21 trailing zero bits, so that small multiples of it are exact."""

SHIFT = 6755399441055744.0
"""1.5 * 2**52: adding it rounds to a whole number, which then stands in the last bits."""

EXP_TERMS = tuple(1.0 / float(np.prod(np.arange(1.0, n + 1))) for n in range(13, -1, -1))
"""1/13!, ..., 1/1!, 1/0!."""

LOG_TERMS = tuple(1.0 / n for n in range(21, 2, -2))
"""1/21, 1/19, ..., 1/3."""


@compiled
def exp(x: float) -> float:
    r""":math:`e^x` within two units in the last place; 0 below -708, for x up to 709.

    :math:`e^x = 2^k e^y` with k whole and :math:`|y| \le \tfrac12 \log 2`, where the Taylor polynomial of
    degree 13 errs by less than 1e-17.
    """
    shifted = x * 1.4426950408889634 + SHIFT
    k = shifted - SHIFT
    y = (x - k * LN2_HIGH) - k * LN2_LOW
    series = 0.0
    for term in EXP_TERMS:
        series = series * y + term
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return 0.0 if x < -708.0 else series * power


@compiled
def log(x: float) -> float:
    r""":math:`\log x` of a positive normal number, within two units in the last place (of 1 where x is near
    it).

    :math:`x = 2^k y` with :math:`y \in [\sqrt{1/2}, \sqrt 2)`, and :math:`\log y = 2 \operatorname{artanh} t`
    with :math:`t = (y-1)/(y+1)`, :math:`|t| < 0.172`, summed to :math:`t^{21}`.
    """
    bits = np.float64(x).view(np.int64)
    # 0x3FE6A09E667F3BCD is sqrt(1/2): the difference holds k in its exponent field.
    k = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)
    y = np.int64(bits - (k << np.int64(52))).view(np.float64)
    t = (y - 1.0) / (y + 1.0)
    square = t * t
    series = 0.0
    for term in LOG_TERMS:
        series = (series + term) * square
    return k * LN2_HIGH + (2.0 * t + (2.0 * t * series + k * LN2_LOW))


@compiled
def copy(x: Array, out: Array) -> None:
    """``x (m, n, W)`` into ``out``. (NumPy's slice assignment takes seconds to compile, for its messages.)"""
    m, n, W = x.shape
    for i in range(m):
        for k in range(n):
            for w in range(W):
                out[i, k, w] = x[i, k, w]


@compiled
def log_softmax(logits: Array, pi: Array, scratch: Array) -> None:
    """Turn ``logits (S, A, W)`` into their log-policy, in place, and write its probabilities into ``pi``.

    ``scratch``: ``(2, W)``.
    """
    S, A, W = logits.shape
    top, total = scratch[0], scratch[1]
    for s in range(S):
        for w in range(W):
            top[w] = logits[s, 0, w]
            total[w] = 0.0
        for a in range(1, A):
            for w in range(W):
                x = logits[s, a, w]
                top[w] = x if x > top[w] else top[w]
        for a in range(A):
            for w in range(W):
                p = exp(logits[s, a, w] - top[w])
                pi[s, a, w] = p
                total[w] += p
        for w in range(W):
            top[w] += log(total[w])
            total[w] = 1.0 / total[w]
        for a in range(A):
            for w in range(W):
                logits[s, a, w] -= top[w]
                pi[s, a, w] *= total[w]


@compiled
def policy_values(P: Array, f: Array, pi: Array, gamma: Array, matrix: Array, V: Array) -> None:
    r"""``V (k, S, W)`` of the signals ``f (k, S, A, W)``: solves :math:`(I - \gamma P_\pi) V = f_\pi`.

    P: ``(S, A, S, W)``; pi: ``(S, A, W)``; gamma: ``(W,)``; matrix: ``(S, S, W)``, as :func:`factor` leaves
    it. W is a multiple of :data:`~tabular_fedrl.kernels.packs.PACK`.
    """
    factor(P, pi, gamma, matrix)
    expected(pi, f, V)
    solve(matrix, V)


@compiled
def factor(P: Array, pi: Array, gamma: Array, matrix: Array) -> None:
    r"""The factors of :math:`I - \gamma P_\pi`, into the memory of ``matrix (S, S, W)``, for
    :func:`solve`.

    That memory holds pack after pack, each ``(S, S, PACK)``: U above the diagonal and, as reciprocals, on it;
    below it L, whose diagonal is 1. By elimination without pivoting, which is stable here: the matrix is
    strictly diagonally dominant by rows, and stays so (growth at most 2; Higham, *Accuracy and Stability of
    Numerical Algorithms*, section 9.5).
    """
    S, A, W = pi.shape
    packs, one = _packs(matrix), spread(1.0)
    for n in range(W // PACK):
        system, w = packs[n], n * PACK
        minus_gamma = spread(0.0) - load(gamma, (w,))
        for s in range(S):
            row = system[s]
            for t in range(S):
                x = spread(0.0)
                for a in range(A):
                    x = x + load(pi, (s, a, w)) * load(P, (s, a, t, w))
                store(minus_gamma * x, row, (t, 0))
            store(load(row, (s, 0)) + one, row, (s, 0))
            # Two pivots at a time, so that the row goes through memory half as often.
            for i in range(0, s - 1, 2):
                u, v = system[i], system[i + 1]
                x = load(row, (i, 0)) * load(u, (i, 0))
                y = (load(row, (i + 1, 0)) - x * load(u, (i + 1, 0))) * load(v, (i + 1, 0))
                store(x, row, (i, 0))
                store(y, row, (i + 1, 0))
                for t in range(i + 2, S):
                    store(load(row, (t, 0)) - x * load(u, (t, 0)) - y * load(v, (t, 0)), row, (t, 0))
            if s % 2 == 1:
                u = system[s - 1]
                x = load(row, (s - 1, 0)) * load(u, (s - 1, 0))
                store(x, row, (s - 1, 0))
                for t in range(s, S):
                    store(load(row, (t, 0)) - x * load(u, (t, 0)), row, (t, 0))
            store(one / load(row, (s, 0)), row, (s, 0))


@compiled
def _packs(matrix: Array) -> Array:
    """The memory of a matrix ``(S, S, W)`` as ``(W/PACK, S, S, PACK)``."""
    S, _, W = matrix.shape
    if W % PACK != 0:
        raise ValueError("lanes come in packs of eight")
    return matrix.reshape(W // PACK, S, S, PACK)


@compiled
def expected(pi: Array, f: Array, out: Array) -> None:
    """``out (k, S, W)``: the signals ``f (k, S, A, W)`` averaged over the policy ``(S, A, W)``."""
    S, A, W = pi.shape
    for k in range(f.shape[0]):
        for s in range(S):
            for w in range(W):
                out[k, s, w] = 0.0
            for a in range(A):
                for w in range(W):
                    out[k, s, w] += pi[s, a, w] * f[k, s, a, w]


@compiled
def solve(matrix: Array, V: Array) -> None:
    """Solve with what :func:`factor` left, in place, for right-hand sides ``V (k, S, W)``."""
    K, S, W = V.shape
    packs = _packs(matrix)
    for n in range(W // PACK):
        system, w = packs[n], n * PACK
        for i in range(S):
            for k in range(K):
                x = load(V, (k, i, w))
                for t in range(i):
                    x = x - load(system, (i, t, 0)) * load(V, (k, t, w))
                store(x, V, (k, i, w))
        for i in range(S - 1, -1, -1):
            for k in range(K):
                x = load(V, (k, i, w))
                for t in range(i + 1, S):
                    x = x - load(system, (i, t, 0)) * load(V, (k, t, w))
                store(x * load(system, (i, i, 0)), V, (k, i, w))


@compiled
def solve_transposed(matrix: Array, x: Array) -> None:
    """Solve with the transpose of what :func:`factor` left, in place, for right-hand sides
    ``x (k, S, W)``."""
    K, S, W = x.shape
    packs = _packs(matrix)
    for n in range(W // PACK):
        system, w = packs[n], n * PACK
        for k in range(K):
            for i in range(S):
                y = load(x, (k, i, w)) * load(system, (i, i, 0))
                store(y, x, (k, i, w))
                for t in range(i + 1, S):
                    store(load(x, (k, t, w)) - load(system, (i, t, 0)) * y, x, (k, t, w))
            for i in range(S - 1, -1, -1):
                y = load(x, (k, i, w))
                for t in range(i):
                    store(load(x, (k, t, w)) - load(system, (i, t, 0)) * y, x, (k, t, w))


@compiled
def advantage(P: Array, f: Array, V: Array, weights: Array, gamma: Array, scratch: Array, out: Array) -> None:
    r"""``out (S, A, W)``: the advantage of the signal :math:`g = \sum_k w_k f_k`,
    :math:`g(s,a) + \gamma \sum_t P(t|s,a) V_g(t) - V_g(s)`.

    f: ``(K, S, A, W)`` with values V ``(K, S, W)``; weights: ``(K, W)``; scratch: ``(S, W)``; W as for
    :func:`policy_values`.
    """
    S, A, W = out.shape
    for w in range(0, W, PACK):
        for s in range(S):
            x = spread(0.0)
            for k in range(f.shape[0]):
                x = x + load(weights, (k, w)) * load(V, (k, s, w))
            store(x, scratch, (s, w))
        for s in range(S):
            for a in range(A):
                x = successors(P, s, a, w, scratch)
                x = load(gamma, (w,)) * x - load(scratch, (s, w))
                for k in range(f.shape[0]):
                    x = x + load(weights, (k, w)) * load(f, (k, s, a, w))
                store(x, out, (s, a, w))


@compiled
def add_backup(P: Array, V: Array, gamma: Array, out: Array) -> None:
    r"""Add :math:`\gamma P V` to ``out (S, A, W)``; ``V``: ``(S, W)``, W as for :func:`policy_values`."""
    S, A, W = out.shape
    for w in range(0, W, PACK):
        for s in range(S):
            for a in range(A):
                x = load(gamma, (w,)) * successors(P, s, a, w, V)
                store(load(out, (s, a, w)) + x, out, (s, a, w))


@register_jitable
def successors(P: Array, s: int, a: int, w: int, V: Array) -> Any:
    r"""The pack of :math:`\sum_t P(t|s,a) V(t)` from lane w on."""
    x = spread(0.0)
    for t in range(P.shape[2]):
        x = x + load(P, (s, a, t, w)) * load(V, (t, w))
    return x


@compiled
def at_start(rho: Array, V: Array, out: Array) -> None:
    r"""``out (k, W)``: :math:`\sum_s \rho(s) V(s)` of ``V (k, S, W)``, ``rho (S, W)``."""
    K, S, W = V.shape
    for k in range(K):
        for w in range(W):
            out[k, w] = 0.0
        for s in range(S):
            for w in range(W):
                out[k, w] += rho[s, w] * V[k, s, w]


@compiled
def largest_move(p: Array, q: Array, scratch: Array, out: Array) -> None:
    r"""Raise ``out (W,)`` to :math:`\max_s \|p(\cdot|s) - q(\cdot|s)\|_1` of policies ``(S, A, W)``;
    ``scratch``: ``(1, W)`` or more."""
    S, A, W = p.shape
    total = scratch[0]
    for s in range(S):
        for w in range(W):
            total[w] = 0.0
        for a in range(A):
            for w in range(W):
                total[w] += abs(p[s, a, w] - q[s, a, w])
        for w in range(W):
            out[w] = total[w] if total[w] > out[w] else out[w]


@compiled
def mean_logits(log_pi: Array, weights: Array, geometric: bool, scratch: Array, out: Array) -> None:
    """Logits ``(S, A, W)`` of the mean of log-policies ``(N, S, A, W)`` with ``weights (N,)``, of their
    probabilities or geometric; ``scratch``: ``(2, W)``."""
    N, S, A, W = log_pi.shape
    top, total = scratch[0], scratch[1]
    for s in range(S):
        for a in range(A):
            for w in range(W):
                top[w] = log_pi[0, s, a, w]
                total[w] = 0.0
            if geometric:
                for i in range(N):
                    for w in range(W):
                        total[w] += weights[i] * log_pi[i, s, a, w]
                for w in range(W):
                    out[s, a, w] = total[w]
            else:
                for i in range(1, N):
                    for w in range(W):
                        x = log_pi[i, s, a, w]
                        top[w] = x if x > top[w] else top[w]
                for i in range(N):
                    for w in range(W):
                        total[w] += weights[i] * exp(log_pi[i, s, a, w] - top[w])
                for w in range(W):
                    out[s, a, w] = top[w] + log(total[w])
