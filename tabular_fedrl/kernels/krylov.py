r"""BiCGSTAB for several right-hand sides at once, matrix-free, restarted on the true residual.

Columns share every pass over the operator and have their own coefficients; a column that has converged
stands still. Vectors are ``(S, k)``; besides the solution five of them are kept. Source: van der Vorst
(1992).
"""

from __future__ import annotations

from typing import Any, Protocol

import numba
import numpy as np

from tabular_fedrl.kernels.cached import cached
from tabular_fedrl.kernels.sparse_rows import U
from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks
from tabular_fedrl.measured import Array

summing: Any = cached(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
"""Like :data:`~tabular_fedrl.kernels.lanes.compiled`, but sums within a chunk may be taken in the order that
vectorises (one order for one machine)."""

column: Any = cached(error_model="numpy", fastmath={"contract", "reassoc"}, forceinline=True)
"""The same for one column of several, compiled into its caller."""

LONGEST_CYCLE = 400
"""Steps after which the residual is computed afresh."""

CYCLES = 40
"""Cycles at most."""

NORMED = 1 << 16
"""States whose sizes are taken at once."""

RELIEF = 6, 48
"""Steps of the fixed-point iteration after the first cycle that came to nothing; twice as many after each
other one, at most so many."""


class Operator(Protocol):
    r"""A linear system :math:`b - M x = 0` for which :math:`x \mapsto x + (b - Mx)` contracts."""

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        """``out = b - M x``; returns its sizes and those of x, ``(k,)`` each, in the norm that is watched:
        what they are to be where M is a transformed system."""

    def product(self, x: Array, out: Array, other: Array) -> Array:
        """``out = M x``; returns the inner products of ``out`` with ``other`` and with itself, ``(2, k)``."""


def solve(
    operator: Operator, x: Array, tolerance: Array, relative: float, most: float = np.inf,
    summed: bool = False,
) -> tuple[Array, int]:  # fmt: skip
    r"""Improve ``x (S, k)`` in place until the residual of every column is at most ``tolerance (k,)`` or
    ``relative`` times the column's size, or rounding lets it fall no more, or a cycle ends after ``most``
    products. Sizes are :math:`\max|x|`, where they are ``summed`` the 1-norm.

    Returns the sizes ``(k,)`` of the true residuals and the number of products with M.
    """
    r, unit = np.empty_like(x), 0.5 * float(np.finfo(x.dtype).eps)
    size, far = operator.residual(x, r)
    products = 1
    if (size <= np.maximum(tolerance, relative * far)).all():
        return size, products
    p, v, t = (np.empty_like(x) for _ in range(3))
    shadow = np.empty(x.shape, dtype=np.float32)  # any vector near the residual serves
    relief = RELIEF[0]
    for _ in range(CYCLES):
        products += _cycle(operator, x, shadow, r, p, v, t, size, far, tolerance, relative, summed)
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
            for _ in range(relief):
                x += r
                size, far = operator.residual(x, r)
                if (size <= np.maximum(tolerance, relative * far)).all():
                    return size, products
            relief = min(2 * relief, RELIEF[1])
    return size, products


def _cycle(
    operator: Operator, x: Array, shadow: Any, r: Array, p: Array, v: Array, t: Array, size: Array,
    far: Array, tolerance: Array, relative: float, summed: bool,
) -> int:  # fmt: skip
    """BiCGSTAB from the residual ``r`` until it seems to have converged, breaks down or grows."""
    S, k = x.shape
    # Residuals in any unit fit into float32 by a power of two, which changes no quotient.
    _, exponent = np.frexp(largest(r))
    np.multiply(r, np.ldexp(1.0, -np.maximum(exponent, -1000)), out=shadow, casting="same_kind")
    p[:] = r
    rho = np.einsum("sk,sk->k", shadow, r, dtype=np.float64)
    active = size > np.maximum(tolerance, relative * far)
    alpha, omega, beta = np.empty(k), np.empty(k), np.empty(k)
    sums = np.empty((chunks(S), 3, k))
    flat = [vector.reshape(-1) for vector in (shadow, p, t, x, r)]
    for step in range(LONGEST_CYCLE):
        if not _length(rho, operator.product(p, v, shadow)[0], active, alpha):
            return 2 * step + 1
        over_chunks(_half_step, S, alpha, v.reshape(-1), flat[-1])
        st, tt = operator.product(r, t, r)
        _length(st, tt, active & (tt > 0), omega)
        over_chunks(_step, S, alpha, omega, *flat, summed, sums)
        if not _turn(sums, summed, size, tolerance, relative, alpha, omega, rho, active, beta):
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
    sums: Array, summed: bool, size: Array, tolerance: Array, relative: float, alpha: Array, omega: Array,
    rho: Array, active: Any, beta: Array,
) -> bool:  # fmt: skip
    """The coefficients ``beta (k,)`` of the next directions from the ``sums`` of :func:`_step`, and which
    columns are still ``active``. Whether to go on."""
    go_on = True
    for j in range(rho.size):
        following, now, far = 0.0, 0.0, 0.0
        for chunk in range(len(sums)):
            following += sums[chunk, 0, j]
            top, reach = sums[chunk, 1, j], sums[chunk, 2, j]
            # NaN, which compares as false, is kept.
            now = now + top if summed else top if top > now or np.isnan(top) else now
            far = far + reach if summed else reach if reach > far or np.isnan(reach) else far
        active[j] = active[j] and now > max(tolerance[j], relative * far)
        beta[j] = following / rho[j] * (alpha[j] / omega[j]) if active[j] else 0.0
        rho[j] = following
        go_on = go_on and np.isfinite(beta[j]) and not now > 1e3 * size[j]
    return go_on and bool(active.any())


def largest(x: Array, axis: int | tuple[int, ...] | None = 0) -> Array:
    """``max |x|`` along the axis (None: of all), without a copy; ``(k,)`` for ``x (S, k)``."""
    return np.asarray(np.maximum(x.max(axis=axis), -x.min(axis=axis)), dtype=np.float64)


def one_norm(x: Array) -> Array:
    """The sum of the sizes of a vector ``x (S, 1)``, ``(1,)``, without a copy."""
    flat = x.reshape(-1)
    parts = (flat[i : i + NORMED] for i in range(0, flat.size, NORMED))
    return np.full(1, sum(float(np.abs(part).sum(dtype=np.float64)) for part in parts))


@summing
def _half_step(first: int, last: int, alpha: Array, v: Array, r: Array) -> None:
    k = alpha.size
    for chunk in range(first, last):
        begin, end = chunk * CHUNK * k, min((chunk + 1) * CHUNK * k, r.size)
        if k == 1:  # a stride known when this is compiled: it is vectorised
            _half_step_of(begin, end, 1, r.dtype.type(alpha[0]), v, r)
            continue
        for j in range(k):
            _half_step_of(begin + j, end, k, r.dtype.type(alpha[j]), v, r)


@column
def _half_step_of(begin: int, end: int, k: int, alpha: float, v: Array, r: Array) -> None:
    # In the unit of the vectors and over unsigned indices: with others the loops here do not vectorise.
    for e in range(U(begin), U(end), U(k)):
        r[e] -= alpha * v[e]


@summing
def _step(
    first: int, last: int, alpha: Array, omega: Array, shadow: Any, p: Array, t: Array, x: Array, r: Array,
    summed: bool, sums: Array,
) -> None:  # fmt: skip
    k = alpha.size
    for chunk in range(first, last):
        begin, end = chunk * CHUNK * k, min((chunk + 1) * CHUNK * k, r.size)
        if k == 1:
            steps = r.dtype.type(alpha[0]), r.dtype.type(omega[0])
            sums[chunk, 0, 0] = _step_of(begin, end, 1, steps, shadow, p, t, x, r)
            sums[chunk, 1, 0], sums[chunk, 2, 0] = _sizes(begin, end, 1, summed, r, x)
            continue
        for j in range(k):
            steps = r.dtype.type(alpha[j]), r.dtype.type(omega[j])
            sums[chunk, 0, j] = _step_of(begin + j, end, k, steps, shadow, p, t, x, r)
            sums[chunk, 1, j], sums[chunk, 2, j] = _sizes(begin + j, end, k, summed, r, x)


@column
def _step_of(
    begin: int, end: int, k: int, steps: tuple[float, float], shadow: Any, p: Array, t: Array, x: Array,
    r: Array,
) -> float:  # fmt: skip
    """The residual's product with the shadow."""
    inner = 0.0
    alpha, omega = steps
    for e in range(U(begin), U(end), U(k)):
        x[e] += alpha * p[e] + omega * r[e]
        left = r[e] - omega * t[e]
        r[e] = left
        inner += shadow[e] * left
    return inner


@column
def _sizes(begin: int, end: int, k: int, summed: bool, r: Array, x: Array) -> tuple[float, float]:
    """Of part of the residual and of x, which were written just before."""
    if summed:
        total, reach = r.dtype.type(0), r.dtype.type(0)
        for e in range(U(begin), U(end), U(k)):
            total += abs(r[e])
            reach += abs(x[e])
        return total, reach
    top, far = _bits(r[begin]), _bits(x[begin])
    for e in range(U(begin), U(end), U(k)):
        top, far = max(top, _bits(r[e])), max(far, _bits(x[e]))
    return _size(top), _size(far)


def _bits(x: Any) -> Any:
    """|x| as a whole number: these are ordered as sizes are, NaN on top, and their largest one vectorises."""
    return abs(x).view(np.int32 if x.dtype == np.float32 else np.int64)


def _size(bits: Any) -> Any:
    """The size of which these are the bits."""
    return bits.view(np.float32 if bits.dtype == np.int32 else np.float64)


@numba.extending.overload(_bits, strict=False)
def _bits_compiled(x: Any) -> Any:
    if x == numba.float32:
        return lambda x: np.float32(abs(x)).view(np.int32)
    return lambda x: np.float64(abs(x)).view(np.int64)


@numba.extending.overload(_size, strict=False)
def _size_compiled(bits: Any) -> Any:
    if bits == numba.int32:
        return lambda bits: np.int32(bits).view(np.float32)
    return lambda bits: np.int64(bits).view(np.float64)


@summing
def _direction(first: int, last: int, beta: Array, omega: Array, r: Array, v: Array, p: Array) -> None:
    k = beta.size
    for chunk in range(first, last):
        begin, end = chunk * CHUNK * k, min((chunk + 1) * CHUNK * k, r.size)
        if k == 1:
            _direction_of(begin, end, 1, p.dtype.type(beta[0]), p.dtype.type(omega[0]), r, v, p)
            continue
        for j in range(k):
            _direction_of(begin + j, end, k, p.dtype.type(beta[j]), p.dtype.type(omega[j]), r, v, p)


@column
def _direction_of(
    begin: int, end: int, k: int, beta: float, omega: float, r: Array, v: Array, p: Array
) -> None:
    for e in range(U(begin), U(end), U(k)):
        p[e] = r[e] + beta * (p[e] - omega * v[e])
