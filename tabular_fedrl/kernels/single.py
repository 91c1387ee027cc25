r"""Building blocks for one small problem.

Tables of states and actions are ``(A, S)``: every state is a lane of :mod:`tabular_fedrl.kernels.lanes`,
whose blocks that act on each state alone serve here too (a table is then one "state" of S lanes). Sums over
successors run along contiguous rows, in an order that the compiler may choose; bounds on their rounding hold
for any order. Linear systems are taken eight columns at a time (:mod:`tabular_fedrl.kernels.packs`): the
rows of 20 states are too short for loops that the compiler vectorises.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from tabular_fedrl.kernels.cached import cached
from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.packs import PACK, aligned, load, load_some, spread, store
from tabular_fedrl.measured import UNIT, Array

INFLATE = 1.0 + 2.0**-20
"""Covers the rounding of a radius itself."""

reordered: Any = cached(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
"""As :data:`~tabular_fedrl.kernels.lanes.compiled`, and sums may be reordered."""


@reordered
def inner(x: Array, y: Array) -> float:
    """Sum of products of two rows."""
    total = 0.0
    for t in range(x.size):
        total += x[t] * y[t]
    return total


@compiled
def largest(x: Array) -> float:
    """Largest absolute value of a row; NaN where there is one."""
    best = 0.0
    for t in range(x.size):
        best = abs(x[t]) if not abs(x[t]) <= best else best
        if best != best:
            return best
    return best


@register_jitable
def operator_room(S: int) -> Array:
    """Room for the matrix of S states: rows of whole packs."""
    return _zeros(S, _padded(S))


@register_jitable
def system_room(S: int, n: int) -> Array:
    """Room for a system of S unknowns with n right-hand sides, for :func:`eliminate`: an even number of rows;
    the matrix in whole packs, then the right-hand sides."""
    return _zeros(S + S % 2, _padded(S) + _padded(n))


@register_jitable
def _padded(n: int) -> int:
    return -(-n // PACK) * PACK


@register_jitable
def _zeros(rows: int, columns: int) -> Array:
    room = aligned((rows, columns))
    room[:] = 0.0
    return room


@compiled
def policy_values(
    P: Array, f: Array, pi: Array, gamma: float, operator: Array, system: Array, V: Array, residual: Array
) -> None:
    r"""``V (k, S)`` of the signals ``f (k, A, S)``, solving :math:`(I - \gamma P_\pi) V = f_\pi`, and the
    largest entry of :math:`|f_\pi + \gamma P_\pi V - V|` of each, as computed, ``residual (k,)``.

    P: ``(S, A, S)``; pi: ``(A, S)``; scratch: ``operator``, from :func:`operator_room`, left as
    :math:`I - \gamma P_\pi`, and ``system``, from :func:`system_room` for k right-hand sides.
    """
    A, S = pi.shape
    K, given = f.shape[0], operator.shape[1]
    _build(P, pi, gamma, operator, system)
    for k in range(K):
        residual[k] = 0.0
        for s in range(S):
            V[k, s] = 0.0
        for a in range(A):
            for s in range(S):
                V[k, s] += pi[a, s] * f[k, a, s]
        for s in range(S):
            system[s, given + k] = V[k, s]
    eliminate(system)
    for first in range(0, K, PACK):
        for s in range(S):
            x = spread(0.0)
            for t in range(S):
                x = x + spread(operator[s, t]) * load(system, (t, given + first))
            # The matrix is used up, its columns are free.
            store(x, system, (s, 0))
            for k in range(first, min(first + PACK, K)):
                missed = abs(V[k, s] - system[s, k - first])
                residual[k] = residual[k] if missed <= residual[k] else missed
    for k in range(K):
        for s in range(S):
            V[k, s] = system[s, given + k]


@compiled
def _build(P: Array, pi: Array, gamma: float, operator: Array, system: Array) -> None:
    r""":math:`I - \gamma P_\pi` into ``operator`` and ``system``."""
    A, S = pi.shape
    full, columns = S - S % PACK, operator.shape[1]
    for s in range(S):
        for t in range(0, columns, PACK):
            x = spread(0.0)
            if t < full:
                for a in range(A):
                    x = x + spread(pi[a, s]) * load(P, (s, a, t))
            else:
                for a in range(A):
                    x = x + spread(pi[a, s]) * load_some(P, (s, a, t), S - full)
            store(spread(-gamma) * x, operator, (s, t))
        operator[s, s] += 1.0
        for t in range(0, columns, PACK):
            store(load(operator, (s, t)), system, (s, t))
    _make_even(system, S)


@compiled
def _make_even(system: Array, S: int) -> None:
    """An equation ``x = 0`` more where S is odd."""
    if S % 2 == 1:
        system[S] = 0.0
        for s in range(S):
            system[s, S] = 0.0
        system[S, S] = 1.0


@compiled
def enclosed_averages(rho: Array, V: Array, error: Array, row_error: float, out: Array) -> None:
    r"""``out (m, 2)``: :math:`\sum_s \rho(s) V(s)` and its radius for the first m of the values ``V (k, S)``,
    each within ``error (k,)``; rho sums to 1 within ``row_error``."""
    blur = (rho.size + 4) * UNIT + 2.0 * row_error
    for k in range(out.shape[0]):
        out[k, 0] = inner(rho, V[k])
        out[k, 1] = INFLATE * (error[k] * (1.0 + blur) + blur * largest(V[k]))


@compiled
def visitation(operator: Array, rho: Array, gamma: float, system: Array, d: Array) -> None:
    r"""``d (S,)``: :math:`(1-\gamma) (I - \gamma P_\pi)^{-T} \rho`, not below 0, from the ``operator`` that
    :func:`policy_values` left; ``system``: scratch, from :func:`system_room` for one right-hand side."""
    S, given = rho.size, operator.shape[1]
    for s in range(S):
        for t in range(S):
            system[s, t] = operator[t, s]
        system[s, given] = (1.0 - gamma) * rho[s]
    _make_even(system, S)
    eliminate(system)
    for s in range(S):
        d[s] = max(system[s, given], 0.0)


@compiled
def eliminate(system: Array) -> None:
    """Solve ``M X = B`` in place for ``system``, [M | B] in :func:`system_room`: X replaces B; M is used up.

    Without pivoting, for a matrix or a transpose whose diagonal strictly dominates its rows; the error is
    for the caller to bound, by the residual. Two pivots at a time, so that rows go through memory half as
    often.
    """
    S, width = system.shape
    given = _padded(S)
    for i in range(0, S, 2):
        j, first = i + 1, (i + 2) // PACK * PACK
        p = 1.0 / system[i, i]
        x, y = system[i, j] * p, system[j, i]
        q = 1.0 / (system[j, j] - y * x)
        for t in range(first, width, PACK):
            u = load(system, (i, t)) * spread(p)
            v = (load(system, (j, t)) - spread(y) * u) * spread(q)
            store(u - spread(x) * v, system, (i, t))
            store(v, system, (j, t))
        for s in range(i + 2, S):
            x, y = system[s, i], system[s, j]
            for t in range(first, width, PACK):
                z = load(system, (s, t)) - spread(x) * load(system, (i, t)) - spread(y) * load(system, (j, t))
                store(z, system, (s, t))
    for i in range(S - 2, 0, -2):
        for t in range(given, width, PACK):
            u, v = load(system, (i, t)), load(system, (i + 1, t))
            for s in range(i):
                z = load(system, (s, t)) - spread(system[s, i]) * u - spread(system[s, i + 1]) * v
                store(z, system, (s, t))


@compiled
def advantage(P: Array, V: Array, gamma: float, out: Array) -> None:
    r"""Turn the signal ``out (A, S)`` with values ``V (S,)`` into its advantage
    :math:`f(s,a) + \gamma \sum_t P(t|s,a) V(t) - V(s)`, in place."""
    A, S = out.shape
    for s in range(S):
        for a in range(A):
            out[a, s] += gamma * inner(P[s, a], V) - V[s]


@compiled
def assign(x: Array, out: Array) -> None:
    """``x (A, S)`` into ``out``."""
    A, S = x.shape
    for a in range(A):
        for s in range(S):
            out[a, s] = x[a, s]


@reordered
def is_finite(x: Array) -> bool:
    """Whether all numbers of a row are finite."""
    total = 0.0
    for t in range(x.size):
        total += x[t] - x[t]
    return total == 0.0
