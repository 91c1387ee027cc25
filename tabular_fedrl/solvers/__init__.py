"""Optima: of an MDP by policy iteration, of a CMDP by its occupancy program, of the regularised problem by
its saddle point."""

from __future__ import annotations

from functools import lru_cache

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.solvers.constrained import Solution, solve_constrained, solve_unconstrained
from tabular_fedrl.solvers.infeasible import FarkasCertificate
from tabular_fedrl.solvers.lp import SOLVERS
from tabular_fedrl.solvers.policy_iteration import Optimum, optimise, value_range
from tabular_fedrl.solvers.saddle import Saddle, saddle


@lru_cache(maxsize=256)
def solve(cmdp: CMDP, solver: str = "highs") -> Solution:
    """The optimum of a CMDP: value with its enclosure, policy, multipliers, Slater slack.

    ``solver``: ``"highs"`` (default) or ``"clarabel"`` proposes the answer, which is then proved apart from
    it. Answers are remembered by the problem's content.

    Raises
    ------
    InvalidProblem: unknown solver.
    InfeasibleCMDP: no policy meets all constraints; the certificate has been checked.
    SolverFailure: a numerical solver stopped without an answer that passes its check.
    """
    if solver not in SOLVERS:
        raise InvalidProblem(f"unknown solver {solver!r}: choose one of {', '.join(SOLVERS)}")
    return solve_constrained(cmdp, solver) if cmdp.m else solve_unconstrained(cmdp)


__all__ = ["FarkasCertificate", "Optimum", "Saddle", "Solution", "optimise", "saddle", "solve", "value_range"]
