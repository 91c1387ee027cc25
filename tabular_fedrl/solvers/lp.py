r"""The occupancy-measure linear program of a CMDP, through cvxpy.

In the variables :math:`y = \frac{S}{1-\gamma} x` (x the normalised occupancy measure) values are
:math:`V_f(\rho) = \langle y, f\rangle/S` and the flow constraints

.. math:: \sum_a y(s,a) - \gamma \sum_{s',a'} P(s|s',a')\, y(s',a') = S\rho(s)

have right-hand sides of mean 1 whatever S and :math:`\gamma`. Reward and costs are divided by their largest
entries, so that a solver's absolute tolerances mean the same on every problem. Two programs share them: the
optimum, :math:`\max V_r` subject to :math:`V_{c_j} \le d_j`, and the Slater slack, :math:`\max t` subject to
:math:`V_{c_j} + t \le d_j`, which is feasible for every CMDP. Source: Altman (1999), chapter 3.

What comes back is a solver's word. ``solve`` in :mod:`tabular_fedrl.solvers` starts from it and proves its
own answer.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.measured import Array

SOLVERS: dict[str, tuple[str, dict[str, float]]] = {
    "highs": ("HIGHS", {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}),
    "clarabel": (
        "CLARABEL",
        {
            "tol_gap_abs": 1e-12,
            "tol_gap_rel": 1e-12,
            "tol_feas": 1e-12,
            "max_iter": 500,
            "accept_unknown": True,
        },
    ),
}
"""Names of the solvers, cvxpy's names for them, and the tolerances they are asked for."""


@dataclass(frozen=True)
class LPAnswer:
    """A solver's answer: ``value`` (of the objective, in units of value), ``occupancy`` x ``(S, A)``
    (non-negative, sums to 1 within the solver's tolerance), ``multipliers`` ``(m,)`` of the cost constraints
    (non-negative)."""

    value: float
    occupancy: Array
    multipliers: Array


def optimum_lp(cmdp: CMDP, solver: str = "highs") -> LPAnswer:
    """The constrained optimum.

    Raises
    ------
    InvalidProblem: unknown solver.
    SolverFailure: the solver gives no optimum (it calls the problem infeasible, or stops early).
    """
    scale_r, scale_c = _largest(cmdp.r[None])[0], _largest(cmdp.c)
    y, flow = _flow(cmdp)
    costs = sp.csr_array(cmdp.c.reshape(cmdp.m, -1) / scale_c[:, None])
    budget = costs @ y <= cmdp.S * cmdp.d / scale_c
    problem = cp.Problem(cp.Maximize(cmdp.r.ravel() / scale_r @ y), [flow, budget])
    _run(problem, solver)
    unit = scale_r / cmdp.S
    return _answer(cmdp, problem.value * unit, y, budget.dual_value * scale_r / scale_c)


def slack_lp(cmdp: CMDP, solver: str = "highs") -> LPAnswer:
    """The Slater slack (negative if no policy meets all constraints); its multipliers sum to 1.

    Raises
    ------
    InvalidProblem: unknown solver.
    SolverFailure: the solver stops early.
    """
    scale = float(_largest(cmdp.c).max())
    y, flow = _flow(cmdp)
    t = cp.Variable()
    budget = sp.csr_array(cmdp.c.reshape(cmdp.m, -1) / scale) @ y + t <= cmdp.S * cmdp.d / scale
    problem = cp.Problem(cp.Maximize(t), [flow, budget])
    _run(problem, solver)
    multipliers = np.maximum(budget.dual_value, 0.0)
    return _answer(cmdp, problem.value * scale / cmdp.S, y, multipliers / multipliers.sum())


def _flow(cmdp: CMDP) -> tuple[cp.Variable, cp.Constraint]:
    S, A = cmdp.S, cmdp.A
    leaving = sp.csr_array((np.ones(S * A), (np.repeat(np.arange(S), A), np.arange(S * A))), shape=(S, S * A))
    y = cp.Variable(S * A, nonneg=True)
    return y, (leaving - cmdp.gamma * sp.csr_array(cmdp.rows).T) @ y == S * cmdp.rho


def _largest(signals: Array) -> Array:
    """Largest magnitude of each signal, 1 where it vanishes: ``(k, S, A)`` to ``(k,)``."""
    top = np.abs(signals).max(axis=(1, 2))
    return np.where(top > 0, top, 1.0)


def _run(problem: cp.Problem, solver: str) -> None:
    if solver not in SOLVERS:
        raise InvalidProblem(f"unknown solver {solver!r}: choose one of {', '.join(SOLVERS)}")
    name, options = SOLVERS[solver]
    try:
        with warnings.catch_warnings():
            # "may be inaccurate" is no news: every answer is checked before it is believed
            warnings.simplefilter("ignore", UserWarning)
            problem.solve(solver=name, **options)
    except cp.SolverError as error:
        raise SolverFailure(f"{solver} stopped: {error}") from None
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise SolverFailure(f"{solver} found no optimum of the occupancy program: {problem.status}")


def _answer(cmdp: CMDP, value: float, y: cp.Variable, multipliers: Array) -> LPAnswer:
    x = np.maximum(np.asarray(y.value), 0.0).reshape(cmdp.S, cmdp.A) * (1 - cmdp.gamma) / cmdp.S
    return LPAnswer(float(value), x, np.maximum(np.asarray(multipliers, dtype=np.float64), 0.0))
