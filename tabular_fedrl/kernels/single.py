r"""Building blocks for one small problem.

Tables of states and actions are ``(A, S)``: every state is a lane of :mod:`tabular_fedrl.kernels.lanes`,
whose blocks that act on each state alone serve here too (a table is then one "state" of S lanes). Sums over
successors run along contiguous rows, in an order that the compiler may choose; bounds on their rounding hold
for any order.
"""

from __future__ import annotations

from typing import Any

from tabular_fedrl.kernels.cached import cached
from tabular_fedrl.kernels.lanes import compiled
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
        best = best if abs(x[t]) <= best else abs(x[t])
    return best


@compiled
def policy_values(
    P: Array, f: Array, pi: Array, gamma: float, operator: Array, system: Array, V: Array, residual: Array
) -> None:
    r"""``V (k, S)`` of the signals ``f (k, A, S)``, solving :math:`(I - \gamma P_\pi) V = f_\pi`, and the
    largest entry of :math:`|f_\pi + \gamma P_\pi V - V|` of each, as computed, ``residual (k,)``.

    P: ``(S, A, S)``; pi: ``(A, S)``; scratch: ``operator (S, S)``, left as :math:`I - \gamma P_\pi`, and
    ``system (S, S + k)``.
    """
    A, S = pi.shape
    K = f.shape[0]
    for s in range(S):
        for t in range(S):
            operator[s, t] = 0.0
        for a in range(A):
            p = gamma * pi[a, s]
            for t in range(S):
                operator[s, t] -= p * P[s, a, t]
        operator[s, s] += 1.0
        for t in range(S):
            system[s, t] = operator[s, t]
    for k in range(K):
        for s in range(S):
            V[k, s] = 0.0
        for a in range(A):
            for s in range(S):
                V[k, s] += pi[a, s] * f[k, a, s]
        for s in range(S):
            system[s, S + k] = V[k, s]
    eliminate(system)
    for k in range(K):
        worst = 0.0
        for s in range(S):
            expected = V[k, s]
            V[k, s] = system[s, S + k]
            system[s, S + k] = expected
        for s in range(S):
            missed = abs(system[s, S + k] - inner(operator[s], V[k]))
            worst = worst if missed <= worst else missed
        residual[k] = worst


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
    :func:`policy_values` left; ``system``: scratch ``(S, S + 1)``."""
    S = rho.size
    for s in range(S):
        for t in range(S):
            system[s, t] = operator[t, s]
        system[s, S] = (1.0 - gamma) * rho[s]
    eliminate(system)
    for s in range(S):
        d[s] = max(system[s, S], 0.0)


@compiled
def eliminate(system: Array) -> None:
    """Solve ``M X = B`` in place for ``system (S, S + n) = [M | B]``: X replaces B, M is used up.

    Gauss-Jordan without pivoting, for a matrix or a transpose whose diagonal strictly dominates its rows;
    the error is for the caller to bound, by the residual.
    """
    S, width = system.shape
    for i in range(S):
        pivot = 1.0 / system[i, i]
        for t in range(i + 1, width):
            system[i, t] *= pivot
        for s in range(S):
            if s != i:
                x = system[s, i]
                for t in range(i + 1, width):
                    system[s, t] -= x * system[i, t]


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
