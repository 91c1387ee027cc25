"""Optima: of an MDP by policy iteration, of a CMDP by its occupancy program, of the regularised problem by
its saddle point."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured
from tabular_fedrl.solvers.constrained import solve_constrained, solve_unconstrained
from tabular_fedrl.solvers.exact import solve_exact, value_range_exact
from tabular_fedrl.solvers.infeasible import FarkasCertificate
from tabular_fedrl.solvers.lp import SOLVERS
from tabular_fedrl.solvers.policy_iteration import Optimum, optimal_value, optimise
from tabular_fedrl.solvers.saddle import Saddle, saddle
from tabular_fedrl.solvers.solution import PolicyMixture, Solution


def solve(problem: CMDP | FederatedCMDP, solver: str = "highs") -> Solution:
    """The optimum of a CMDP: value with its enclosure, policy, multipliers, Slater slack. Of a federated one
    it is that of its common problem: who sees which constraint does not matter.

    ``solver``: ``"highs"`` (default) or ``"clarabel"`` proposes the answer of a problem of up to
    :data:`~tabular_fedrl.solvers.constrained.LP_LIMIT` state-action pairs; larger ones go to column
    generation, whose duality gap is at most about 1e-10 of the largest priced signal times the horizon. The
    answer is proved apart from what proposed it and says which that was. Answers are remembered by the
    problem's content. A problem of exact data is solved exactly (HiGHS proposes a basis, which is proved in
    rational arithmetic), and so is one of up to 300 states (and a million entries of P, zeros included) in
    which floats find no Slater slack: a threshold below the least cost by a rounding makes it infeasible.

    Raises
    ------
    InvalidProblem: unknown solver.
    InfeasibleCMDP: no policy meets all constraints; the certificate has been checked.
    SolverFailure: a numerical solver stopped without an answer that passes its check.
    """
    if solver not in SOLVERS:
        raise InvalidProblem(f"unknown solver {solver!r}: choose one of {', '.join(SOLVERS)}")
    cmdp = problem.cmdp if isinstance(problem, FederatedCMDP) else problem
    return solve_exact(cmdp) if cmdp.is_exact else _solve(cmdp, solver)


def value_range(cmdp: CMDP, signal: Any) -> tuple[Measured, Measured]:
    r"""Enclosures of :math:`\min_\pi V_f^\pi(\rho)` and :math:`\max_\pi V_f^\pi(\rho)` for a signal ``(S,
    A)``; exact for a problem of exact data."""
    if cmdp.is_exact:
        return value_range_exact(cmdp, Balls.of(signal))
    return -optimal_value(cmdp, signal, -1.0), optimal_value(cmdp, signal)


@lru_cache(maxsize=256)
def _solve(cmdp: CMDP, solver: str) -> Solution:
    return solve_constrained(cmdp, solver) if cmdp.m else solve_unconstrained(cmdp)


__all__ = [
    "FarkasCertificate",
    "Optimum",
    "PolicyMixture",
    "Saddle",
    "Solution",
    "optimise",
    "saddle",
    "solve",
    "value_range",
]
