r"""How wrong an answer is, whoever gave it: residuals and feasibility by plain SciPy products.

Nothing here uses the package's solvers, evaluation or kernels, so that its own answers are judged as its
peers' are. For any v, :math:`\|v - V^*\|_\infty \le \|\mathcal T v - v\|_\infty/(1-\gamma)`, and likewise for
a policy's operator. Errors are absolute, in units of value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, bicgstab

from benchmarks.contenders import behaviour
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.measured import Array

ACCURACY = 1e-9
"""Of the values that an answer to a constrained problem is judged by, where rounding permits."""

SWEEPS, KRYLOV_CALLS = 50, 5


class WrongReference(AssertionError):
    """An answer beats the proved upper bound by more than rounding: the bound is wrong."""


def optimality_error(cmdp: CMDP, values: Array) -> float:
    """Bound on the distance of ``values (S,)`` from the optimal values, for the reward."""
    return _worst(_action_values(cmdp, cmdp.r, values).max(axis=1) - values, cmdp.gamma)


def evaluation_error(cmdp: CMDP, log_policy: Array, values: Array) -> float:
    """Bound on the distance of ``values (S,)`` from the policy's values, for the reward."""
    pi = np.exp(log_policy)
    return _worst((pi * _action_values(cmdp, cmdp.r, values)).sum(axis=1) - values, cmdp.gamma)


def values_of(cmdp: CMDP, policy: Array, f: Array) -> tuple[Array, float]:
    r"""Values ``(S,)`` of the policy ``(S, A)`` for one signal ``(S, A)``, and a bound on their error.

    BiCGSTAB from its own last answer while the true residual falls, then plain sweeps.
    """
    S, A = f.shape
    mean = sp.csr_array((policy.ravel(), np.arange(S * A), np.arange(0, S * A + 1, A)), shape=(S, S * A))
    kernel = sp.csr_array(mean @ cmdp.rows)
    f_pi = (policy * f).sum(axis=1)
    operator = LinearOperator((S, S), matvec=lambda x: x - cmdp.gamma * (kernel @ x), dtype=np.float64)
    V = np.full(S, f_pi.mean() / (1 - cmdp.gamma))
    error = _worst(f_pi - operator @ V, cmdp.gamma)
    for _ in range(KRYLOV_CALLS):
        trial = V + bicgstab(operator, f_pi - operator @ V, rtol=1e-7, atol=0.0, maxiter=2000)[0]
        after = _worst(f_pi - operator @ trial, cmdp.gamma)
        if not after < error:
            break
        V, error = trial, after
    while error > ACCURACY:
        for _ in range(SWEEPS):
            V = f_pi + cmdp.gamma * (kernel @ V)
        before, error = error, _worst(f_pi - operator @ V, cmdp.gamma)
        if error > 0.9 * before:
            break
    return V, error


def lagrangian_bound(cmdp: CMDP, multipliers: Array) -> float:
    r"""Upper bound :math:`\max_\pi V_{r - \lambda c}(\rho) + \lambda d` on the constrained optimum, for any
    :math:`\lambda \ge 0`: weak duality, by modified policy iteration to :data:`ACCURACY`."""
    f = cmdp.r - np.tensordot(multipliers, cmdp.c, 1)
    states = np.arange(cmdp.S)
    v = np.full(cmdp.S, f.max() / (1 - cmdp.gamma))
    distance = np.inf
    while True:
        Q = _action_values(cmdp, f, v)
        actions = Q.argmax(axis=1)
        change = Q[states, actions] - v
        before, distance = distance, _worst(change, cmdp.gamma)
        if distance <= ACCURACY or (distance >= before and distance <= 100 * ACCURACY):
            excess = max(float(change.max()), 0.0) / (1 - cmdp.gamma)
            return float(cmdp.rho @ v) + excess + float(multipliers @ cmdp.d)
        chosen, gain = cmdp.rows[states * cmdp.A + actions], f[states, actions]
        for _ in range(SWEEPS):
            v = gain + cmdp.gamma * (chosen @ v)


def constrained_error(cmdp: CMDP, answer: Mapping[str, Any], multipliers: Array, upper: float) -> float:
    r"""How far an answer is from feasible and optimal: the larger of its violation and its shortfall.

    ``answer`` holds a ``policy (S, A)``, or only the ``value`` that was claimed. ``upper``: the bound by
    ``multipliers``.

    Raises
    ------
    WrongReference: :math:`V_r^\pi - \lambda \cdot (V_c^\pi - d)` exceeds ``upper``, which no policy's can.
    """
    if "policy" not in answer:
        return abs(float(answer["value"]) - upper)
    found = [values_of(cmdp, answer["policy"], f) for f in cmdp.signals]
    at_rho = np.array([cmdp.rho @ V for V, _ in found])
    noise = sum(error for _, error in found) * (1 + multipliers.sum())
    excess = at_rho[1:] - cmdp.d
    if at_rho[0] - multipliers @ excess > upper + noise + 1e-7:
        raise WrongReference(f"a policy reaches {at_rho[0]:.12g}, above the bound {upper:.12g}")
    return float(max(upper - at_rho[0], excess.max(initial=0.0), 0.0))


def error_of(job: str, cmdp: CMDP, answer: Mapping[str, Any], reference: Mapping[str, Any]) -> float | None:
    """The error of an answer to a row's ``job``; None where nothing is compared. ``reference``: our own
    answer."""
    if job == "optimum":
        return optimality_error(cmdp, answer["values"])
    if job == "evaluation":
        return evaluation_error(cmdp, behaviour(cmdp), answer["values"])
    if job == "constrained":
        return constrained_error(cmdp, answer, reference["multipliers"], reference["upper"])
    if job in ("rounds", "batch"):
        pairs = [(answer[name], reference[name]) for name in ("value", "costs")]
        return float(max(np.abs(np.asarray(x) - y).max(initial=0.0) for x, y in pairs))
    return None


def _action_values(cmdp: CMDP, f: Array, values: Array) -> Array:
    return f + cmdp.gamma * np.asarray(cmdp.rows @ values).reshape(f.shape)


def _worst(residual: Array, gamma: float) -> float:
    return float(np.abs(residual).max()) / (1 - gamma)
