r"""The constrained optimum with a rigorous enclosure of its value.

An LP solver proposes multipliers, or column generation finds them (:mod:`tabular_fedrl.solvers.large`, for
problems too large for an LP); what is returned is proved apart from it:

* **upper**: for every :math:`\lambda \ge 0`,
  :math:`V_r^* \le \max_\pi V_{r-\lambda\cdot c} + \lambda\cdot d`, by policy iteration;
* **lower**: the value of the returned policy, evaluated exactly (:mod:`tabular_fedrl.solvers.solution`). The
  mixture is aimed a few rounding errors inside the thresholds, so that its evaluated costs are below them,
  error included.

Where floats find no slack, or no optimum, the problem is solved in exact arithmetic instead
(:func:`tabular_fedrl.solvers.exact.solve_rounded`), up to as many states as that takes.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.kernels.memory import make_room
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import CompactPolicy
from tabular_fedrl.solvers.columns import (
    Column,
    Mixture,
    column,
    generate,
    master,
    mixed_policy,
    policy_of,
    table,
)
from tabular_fedrl.solvers.exact import can_be_exact, solve_rounded
from tabular_fedrl.solvers.infeasible import infeasible
from tabular_fedrl.solvers.large import solve_large
from tabular_fedrl.solvers.lp import LPAnswer, optimum_lp, slack_lp
from tabular_fedrl.solvers.policy_iteration import optimise
from tabular_fedrl.solvers.solution import SLACK_TOLERANCE, Solution, active_set, cost_scale, lower_bound

LP_LIMIT = 3000
"""State-action pairs up to which the LP is solved; larger problems go to column generation."""


def solve_constrained(cmdp: CMDP, solver: str) -> Solution:
    """The optimum of a CMDP with m > 0. Errors as in :func:`tabular_fedrl.solvers.solve`."""
    if cmdp.S * cmdp.A > LP_LIMIT:
        solution = solve_large(cmdp)
        make_room(cmdp.r.nbytes)
        return solution
    slack, slater = slater_policy(cmdp, solver)
    proposal = _propose(cmdp, solver, slack)
    if proposal is None:
        return solve_rounded(cmdp, slack, CompactPolicy.of(slater.log_policy))
    if slack == 0:
        # The only feasible mixtures lie on the boundary: let the master see the slater policy as feasible.
        thresholds = np.maximum(cmdp.d, slater.values.value[1:])
    else:
        thresholds = cmdp.d
    mixture = generate(cmdp, [slater], proposal.multipliers, thresholds)
    answer = _inside(cmdp, mixture, thresholds)
    other = column(cmdp, policy_of(proposal.occupancy, mixture.priced.log_policy))
    lower, second = (
        lower_bound(cmdp, policy.values, slater.values, slack, mixture.multipliers)
        for policy in (answer, other)
    )
    if second > lower:
        answer, lower = other, second
    if lower > mixture.upper:
        raise SolverFailure(f"weak duality is violated: {lower!r} > {mixture.upper!r}")
    return Solution(
        cmdp=cmdp,
        value=Measured.between(lower, mixture.upper),
        policy=CompactPolicy.of(answer.log_policy),
        costs=answer.values[1:],
        multipliers=mixture.multipliers,
        slater_slack=slack,
        slater_policy=CompactPolicy.of(slater.log_policy),
        active=active_set(cmdp, answer.values[1:]),
        duality_gap=mixture.upper - lower,
        solver=solver,
    )


def solve_unconstrained(cmdp: CMDP) -> Solution:
    """The optimum of an MDP (m = 0), by policy iteration."""
    best = optimise(cmdp)
    policy = CompactPolicy.of(best.log_policy)
    return Solution(
        cmdp=cmdp,
        value=best.value,
        policy=policy,
        costs=Measured(np.zeros(0)),
        multipliers=np.zeros(0),
        slater_slack=None,
        slater_policy=policy,
        active=(),
        duality_gap=float(best.value.upper - best.value.lower),
        solver="policy-iteration",
    )


def slater_policy(cmdp: CMDP, solver: str) -> tuple[float, Column]:
    """A rigorously attained Slater slack, and the policy that attains it.

    Raises
    ------
    InfeasibleCMDP: no policy meets all constraints; the certificate has been checked.
    """
    start = slack_lp(cmdp, solver).multipliers
    mixture = generate(cmdp, [], start, cmdp.d, with_reward=False)
    if mixture.upper < 0:
        raise infeasible(cmdp, mixture.multipliers)
    best = column(cmdp, mixed_policy(cmdp, mixture, mixture.weights))
    slack = float((cmdp.d - best.values[1:]).lower.min())
    return (slack if slack > SLACK_TOLERANCE * cost_scale(cmdp) else 0.0), best


def _propose(cmdp: CMDP, solver: str, slack: float) -> LPAnswer | None:
    """None where a problem that exact arithmetic can solve is to be left to it."""
    small = can_be_exact(cmdp)
    if small and slack == 0:
        return None
    # Without slack a solver may call the problem infeasible by its tolerance: ask a hair beside it.
    problem = cmdp if slack > 0 else cmdp.replace(d=cmdp.d + SLACK_TOLERANCE * cost_scale(cmdp))
    try:
        return optimum_lp(problem, solver)
    except SolverFailure:
        if small:
            return None
        raise


def _inside(cmdp: CMDP, mixture: Mixture, thresholds: Array, attempts: int = 4) -> Column:
    """The mixture as one evaluated policy, aimed inside the thresholds by the evaluation's own error."""
    weights, target = mixture.weights, thresholds
    best = column(cmdp, mixed_policy(cmdp, mixture, weights))
    for _ in range(attempts):
        excess = best.values[1:].upper - cmdp.d
        if (excess <= 0).all():
            return best
        target = target - 2 * np.maximum(excess, 0.0)
        try:
            weights, _, _ = master(table(mixture.columns), target, True)
        except SolverFailure:  # no room inside
            return best
        best = column(cmdp, mixed_policy(cmdp, mixture, weights))
    return best
