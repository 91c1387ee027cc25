r"""BiCGSTAB for several right-hand sides at once, matrix-free, restarted on the true residual.

Columns share every pass over the operator and have their own coefficients; a column that has converged
stands still. Vectors are ``(S, k)``; besides the solution five of them are kept. Source: van der Vorst
(1992).
"""

from __future__ import annotations

from typing import Any, Protocol

import numba
import numpy as np

from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks
from tabular_fedrl.measured import Array

summing: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
"""Like :data:`~tabular_fedrl.kernels.lanes.compiled`, but sums within a chunk may be taken in the order that
vectorises (one order for one machine)."""

column: Any = numba.njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc"}, forceinline=True)
"""The same for one column of several, compiled into its caller."""

LONGEST_CYCLE = 400
"""Steps after which the residual is computed afresh."""

CYCLES = 40
"""Cycles at most."""

RELIEF = 50
"""Steps of the fixed-point iteration after a cycle that came to nothing."""


class Operator(Protocol):
    r"""A linear system :math:`b - M x = 0` for which :math:`x \mapsto x + (b - Mx)` contracts."""

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        """``out = b - M x``; returns its largest sizes and those of x, ``(k,)`` each: what they are to be
        where M is a transformed system."""

    def product(self, x: Array, out: Array, other: Array) -> Array:
        """``out = M x``; returns the inner products of ``out`` with ``other`` and with itself, ``(2, k)``."""


def solve(
    operator: Operator, x: Array, tolerance: Array, relative: float, most: float = np.inf
) -> tuple[Array, int]:
    r"""Improve ``x (S, k)`` in place until the residual of every column is at most ``tolerance (k,)`` or
    ``relative`` times the column's size :math:`\max|x|`, or rounding lets it fall no more,
    or a cycle ends after ``most`` products.

    Returns the largest sizes ``(k,)`` of the true residuals and the number of products with M.
    """
    r, unit = np.empty_like(x), 0.5 * float(np.finfo(x.dtype).eps)
    size, far = operator.residual(x, r)
    products = 1
    if (size <= np.maximum(tolerance, relative * far)).all():
        return size, products
    p, v, t = (np.empty_like(x) for _ in range(3))
    shadow = np.empty(x.shape, dtype=np.float32)  # any vector near the residual serves
    for _ in range(CYCLES):
        products += _cycle(operator, x, shadow, r, p, v, t, size, tolerance, relative)
        before = size
        size, far = operator.residual(x, r)
        products += 1
        goal = np.maximum(tolerance, relative * far)
        if (size <= goal).all() or products > most:
            break
        stuck = ~(size <= 0.5 * before) & ~(size <= goal)
        if stuck.any():
            if (size[stuck] <= 16 * unit * far[stuck]).all():
                break
            # x + residual is a step of the fixed-point iteration, which contracts: it cannot fail.
            for _ in range(RELIEF):
                x += r
                size, _ = operator.residual(x, r)
    return size, products


def _cycle(
    operator: Operator, x: Array, shadow: Any, r: Array, p: Array, v: Array, t: Array, size: Array,
    tolerance: Array, relative: float,
) -> int:  # fmt: skip
    """BiCGSTAB from the residual ``r`` until it seems to have converged, breaks down or grows."""
    S, k = x.shape
    # Residuals in any unit fit into float32 by a power of two, which changes no quotient.
    _, exponent = np.frexp(largest(r))
    np.multiply(r, np.ldexp(1.0, -np.maximum(exponent, -1000)), out=shadow, casting="same_kind")
    p[:] = r
    rho = np.einsum("sk,sk->k", shadow, r, dtype=np.float64)
    active = size > np.maximum(tolerance, relative * largest(x))
    alpha, omega, beta = np.empty(k), np.empty(k), np.empty(k)
    sums = np.empty((chunks(S), 3, k))
    flat = [vector.reshape(-1) for vector in (shadow, p, t, x, r)]
    for step in range(LONGEST_CYCLE):
        if not _length(rho, operator.product(p, v, shadow)[0], active, alpha):
            return 2 * step + 1
        over_chunks(_half_step, S, alpha, v.reshape(-1), flat[-1])
        st, tt = operator.product(r, t, r)
        _length(st, tt, active & (tt > 0), omega)
        over_chunks(_step, S, alpha, omega, *flat, sums)
        if not _turn(sums, size, tolerance, relative, alpha, omega, rho, active, beta):
            return 2 * step + 2
        over_chunks(_direction, S, beta, omega, flat[-1], v.reshape(-1), flat[1])
    return 2 * LONGEST_CYCLE


@summing
def _length(over: Array, under: Array, active: Any, length: Array) -> bool:
    """``length (k,)``: the quotient in active columns, 0 in others. Whether all are finite."""
    for j in range(over.size):
        length[j] = over[j] / under[j] if active[j] else 0.0
    return bool(np.isfinite(length).all())


@summing
def _turn(
    sums: Array, size: Array, tolerance: Array, relative: float, alpha: Array, omega: Array, rho: Array,
    active: Any, beta: Array,
) -> bool:  # fmt: skip
    """The coefficients ``beta (k,)`` of the next directions from the ``sums`` of :func:`_step`, and which
    columns are still ``active``. Whether to go on."""
    go_on = True
    for j in range(rho.size):
        following, now, far = 0.0, 0.0, 0.0
        for chunk in range(len(sums)):
            following += sums[chunk, 0, j]
            # NaN, which compares as false, is kept.
            top, reach = sums[chunk, 1, j], sums[chunk, 2, j]
            now = top if top > now or np.isnan(top) else now
            far = reach if reach > far or np.isnan(reach) else far
        active[j] = active[j] and now > max(tolerance[j], relative * far)
        beta[j] = following / rho[j] * (alpha[j] / omega[j]) if active[j] else 0.0
        rho[j] = following
        go_on = go_on and np.isfinite(beta[j]) and not now > 1e3 * size[j]
    return go_on and bool(active.any())


def largest(x: Array, axis: int | tuple[int, ...] | None = 0) -> Array:
    """``max |x|`` along the axis (None: of all), without a copy; ``(k,)`` for ``x (S, k)``."""
    return np.asarray(np.maximum(x.max(axis=axis), -x.min(axis=axis)), dtype=np.float64)


@summing
def _half_step(first: int, last: int, alpha: Array, v: Array, r: Array) -> None:
    k = alpha.size
    for chunk in range(first, last):
        begin, end = chunk * CHUNK * k, min((chunk + 1) * CHUNK * k, r.size)
        if k == 1:  # a stride known when this is compiled: it is vectorised
            _half_step_of(begin, end, 1, alpha[0], v, r)
            continue
        for j in range(k):
            _half_step_of(begin + j, end, k, alpha[j], v, r)


@column
def _half_step_of(begin: int, end: int, k: int, alpha: float, v: Array, r: Array) -> None:
    for e in range(begin, end, k):
        r[e] -= alpha * v[e]


@summing
def _step(
    first: int, last: int, alpha: Array, omega: Array, shadow: Any, p: Array, t: Array, x: Array, r: Array,
    sums: Array,
) -> None:  # fmt: skip
    k = alpha.size
    for chunk in range(first, last):
        begin, end = chunk * CHUNK * k, min((chunk + 1) * CHUNK * k, r.size)
        if k == 1:
            found = _step_of(begin, end, 1, alpha[0], omega[0], shadow, p, t, x, r)
            sums[chunk, 0, 0], sums[chunk, 1, 0], sums[chunk, 2, 0] = found
            continue
        for j in range(k):
            found = _step_of(begin + j, end, k, alpha[j], omega[j], shadow, p, t, x, r)
            sums[chunk, 0, j], sums[chunk, 1, j], sums[chunk, 2, j] = found


@column
def _step_of(
    begin: int, end: int, k: int, alpha: float, omega: float, shadow: Any, p: Array, t: Array, x: Array,
    r: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """The residual's product with the shadow and its size, and that of x."""
    inner, top, far = 0.0, np.int64(0), np.int64(0)
    for e in range(begin, end, k):
        moved = x[e] + (alpha * p[e] + omega * r[e])
        x[e] = moved
        left = r[e] - omega * t[e]
        r[e] = left
        inner += shadow[e] * left
        # As whole numbers, bits of absolute values are ordered as they are, NaN on top.
        top = max(top, np.float64(abs(left)).view(np.int64))
        far = max(far, np.float64(abs(moved)).view(np.int64))
    return inner, np.int64(top).view(np.float64), np.int64(far).view(np.float64)


@summing
def _direction(first: int, last: int, beta: Array, omega: Array, r: Array, v: Array, p: Array) -> None:
    k = beta.size
    for chunk in range(first, last):
        begin, end = chunk * CHUNK * k, min((chunk + 1) * CHUNK * k, r.size)
        if k == 1:
            _direction_of(begin, end, 1, beta[0], omega[0], r, v, p)
            continue
        for j in range(k):
            _direction_of(begin + j, end, k, beta[j], omega[j], r, v, p)


@column
def _direction_of(
    begin: int, end: int, k: int, beta: float, omega: float, r: Array, v: Array, p: Array
) -> None:
    for e in range(begin, end, k):
        p[e] = r[e] + beta * (p[e] - omega * v[e])
