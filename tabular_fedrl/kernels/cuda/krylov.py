r"""The vector work of BiCGSTAB on :math:`(I - \gamma P_\pi) V = f_\pi`, k signals side by side.

Every signal has scalars of its own, which never leave the device: row by row of ``scalars (6, k)``

    RHO, ALPHA, OMEGA, BETA    the method's own,
    NORM2                      squared 2-norm of the residual that the recursion carries,
    TARGET2                    the same at which the signal rests.

A quotient by 0, or one that overflows, is 0: the signal rests instead of breaking the others, and whoever
calls finds it in the true residual. Vectors are ``(S, k)``; ``partial``: scratch ``(PARTIALS, 2, k)``.
Source: van der Vorst (1992).
"""

from __future__ import annotations

import math

from numba import float64

from tabular_fedrl.kernels.cuda import BLOCK, cuda
from tabular_fedrl.kernels.cuda.reductions import block_sum

RHO, ALPHA, OMEGA, BETA, NORM2, TARGET2 = range(6)


@cuda.jit(device=True)
def ratio(x, y):
    """``x/y``, or 0 where that is no finite number."""
    if y == 0.0:
        return 0.0
    z = x / y
    if not abs(z) < math.inf:
        return 0.0
    return z


@cuda.jit
def start(b, x, r, shadow, p, v, partial):
    """From ``b`` = one sweep of x: the residual ``r = b - x``, its copy ``shadow``, and ``p = v = 0``;
    ``partial``: shares of its squared norm, twice."""
    shared = cuda.shared.array(BLOCK, float64)
    for q in range(x.shape[1]):
        norm2 = 0.0
        for s in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
            residual = b[s, q] - x[s, q]
            r[s, q] = residual
            shadow[s, q] = residual
            p[s, q] = 0.0
            v[s, q] = 0.0
            norm2 += residual * residual
        norm2 = block_sum(shared, norm2)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, 0, q] = norm2
            partial[cuda.blockIdx.x, 1, q] = norm2


@cuda.jit
def first(sums, scalars):
    """The scalars before the first iteration, from the sums of :func:`start`."""
    q = cuda.grid(1)
    if q < sums.shape[1]:
        scalars[RHO, q] = sums[0, q]
        scalars[NORM2, q] = sums[1, q]
        scalars[ALPHA, q] = 0.0
        scalars[OMEGA, q] = 0.0
        scalars[BETA, q] = 0.0


@cuda.jit
def direction(scalars, r, v, p):
    """``p = r + beta (p - omega v)``."""
    s = cuda.grid(1)
    if s < r.shape[0]:
        for q in range(r.shape[1]):
            p[s, q] = r[s, q] + scalars[BETA, q] * (p[s, q] - scalars[OMEGA, q] * v[s, q])


@cuda.jit
def alpha(sums, scalars):
    """``alpha = rho / <shadow, v>``; 0 for a signal that rests."""
    q = cuda.grid(1)
    if q < sums.shape[1]:
        step = ratio(scalars[RHO, q], sums[0, q])
        scalars[ALPHA, q] = step if scalars[NORM2, q] > scalars[TARGET2, q] else 0.0


@cuda.jit
def half_step(scalars, v, r):
    """``r -= alpha v``."""
    s = cuda.grid(1)
    if s < r.shape[0]:
        for q in range(r.shape[1]):
            r[s, q] -= scalars[ALPHA, q] * v[s, q]


@cuda.jit
def pair_partials(t, r, partial):
    """Shares of ``<t, r>`` and ``<t, t>``."""
    shared = cuda.shared.array(BLOCK, float64)
    for q in range(r.shape[1]):
        cross, square = 0.0, 0.0
        for s in range(cuda.grid(1), r.shape[0], cuda.gridsize(1)):
            cross += t[s, q] * r[s, q]
            square += t[s, q] * t[s, q]
        cross = block_sum(shared, cross)
        square = block_sum(shared, square)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, 0, q] = cross
            partial[cuda.blockIdx.x, 1, q] = square


@cuda.jit
def omega(sums, scalars):
    """``omega = <t, r> / <t, t>``; 0 for a signal that rests."""
    q = cuda.grid(1)
    if q < sums.shape[1]:
        step = ratio(sums[0, q], sums[1, q])
        scalars[OMEGA, q] = step if scalars[ALPHA, q] != 0.0 else 0.0


@cuda.jit
def full_step(scalars, p, t, shadow, x, r, partial):
    """``x += alpha p + omega r``, ``r -= omega t``; shares of ``<shadow, r>`` and ``<r, r>``."""
    shared = cuda.shared.array(BLOCK, float64)
    for q in range(r.shape[1]):
        along, across = scalars[ALPHA, q], scalars[OMEGA, q]
        cross, square = 0.0, 0.0
        for s in range(cuda.grid(1), r.shape[0], cuda.gridsize(1)):
            x[s, q] += along * p[s, q] + across * r[s, q]
            left = r[s, q] - across * t[s, q]
            r[s, q] = left
            cross += shadow[s, q] * left
            square += left * left
        cross = block_sum(shared, cross)
        square = block_sum(shared, square)
        if cuda.threadIdx.x == 0:
            partial[cuda.blockIdx.x, 0, q] = cross
            partial[cuda.blockIdx.x, 1, q] = square


@cuda.jit
def beta(sums, scalars):
    """``beta = (rho'/rho) (alpha/omega)`` and the next rho and norm."""
    q = cuda.grid(1)
    if q < sums.shape[1]:
        scalars[BETA, q] = ratio(sums[0, q], scalars[RHO, q]) * ratio(scalars[ALPHA, q], scalars[OMEGA, q])
        scalars[RHO, q] = sums[0, q]
        scalars[NORM2, q] = sums[1, q]


@cuda.jit
def restore(bad, source, target):
    """``target[s, q] = source[s, q]`` for the signals with ``bad[q]``."""
    s = cuda.grid(1)
    if s < target.shape[0]:
        for q in range(target.shape[1]):
            if bad[q]:
                target[s, q] = source[s, q]
