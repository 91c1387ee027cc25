r"""The constrained optimum with a rigorous enclosure of its value.

An LP solver (or, for large problems, column generation alone) proposes multipliers; what is returned is
proved apart from it:

* **upper**: for every :math:`\lambda \ge 0`,
:math:`V_r^* \le \max_\pi V_{r-\lambda\cdot c} + \lambda\cdot d`, by policy
  iteration;
* **lower**: the value of the returned policy, evaluated exactly. The mixture is aimed a few rounding errors
inside the
  thresholds, so that its evaluated costs are below them, error included. If it still violates by at most
  v > 0 and a policy with slack :math:`\xi > 0` and value :math:`V^\xi` is known, then
  :math:`V_r^* \ge V - \frac{v}{v+\xi}(V - V^\xi)`: mixing the two occupancies with weights
  :math:`\frac{\xi}{v+\xi}` and :math:`\frac{v}{v+\xi}` gives a policy whose excess is at most
  :math:`\frac{\xi v - v \xi}{v+\xi} = 0`, i.e. a feasible one. (The perturbation function is concave.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InfeasibleCMDP, SolverFailure
from tabular_fedrl.evaluation import visitation
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import softmax
from tabular_fedrl.solvers.columns import Column, Mixture, column, generate, master, mixed_policy, policy_of
from tabular_fedrl.solvers.infeasible import certificate
from tabular_fedrl.solvers.lp import LPAnswer, optimum_lp, slack_lp
from tabular_fedrl.solvers.policy_iteration import optimise

LP_LIMIT = 3000
"""State-action pairs up to which the LP is solved; larger problems go to column generation alone."""

SLACK_TOLERANCE = 1e-9
"""Slater slack below this fraction of the costs' range counts as none."""


@dataclass(frozen=True)
class Solution:
    r"""The optimum of a CMDP.

    ``value``: enclosure (scalar) of :math:`V_r^*(\rho)`; ``log_policy (S, A)``: a stationary policy that
    attains it; ``costs``: enclosures ``(m,)`` of that policy's :math:`V_{c_j}(\rho)`; ``occupancy (S, A)``:
    its normalised occupancy measure; ``multipliers (m,)``: optimal, non-negative, reward per unit of cost;
    ``slater_slack``: what ``slater_log_policy`` provably attains (:math:`V_{c_j} \le d_j - \xi` for all j),
    at most 1e-9 of the costs' range below the largest possible, 0 if there is none, None if m = 0;
    ``active``: constraints that hold with equality; ``duality_gap``: upper minus lower end of ``value``;
    ``solver``: what proposed the answer.
    """

    cmdp: CMDP
    value: Measured
    log_policy: Array
    costs: Measured
    occupancy: Array
    multipliers: Array
    slater_slack: float | None
    slater_log_policy: Array
    active: tuple[int, ...]
    duality_gap: float
    solver: str


def solve_constrained(cmdp: CMDP, solver: str) -> Solution:
    """The optimum of a CMDP with m > 0. Errors as in :func:`tabular_fedrl.solvers.solve`."""
    slack, slater = slater_policy(cmdp, solver)
    proposal = _propose(cmdp, solver, slack)
    if slack == 0:
        # The only feasible mixtures lie on the boundary: let the master see the slater policy as feasible.
        thresholds = np.maximum(cmdp.d, slater.values.value[1:])
    else:
        thresholds = cmdp.d
    columns = [slater]
    guess = None if proposal is None else proposal.multipliers
    mixture = generate(cmdp, columns, guess, thresholds)
    answer = _inside(cmdp, mixture, thresholds)
    lower = _lower(cmdp, answer, slater, slack, mixture.multipliers)
    if proposal is not None:
        other = column(cmdp, policy_of(proposal.occupancy, mixture.priced.log_policy))
        if (second := _lower(cmdp, other, slater, slack, mixture.multipliers)) > lower:
            answer, lower = other, second
    if lower > mixture.upper:
        raise SolverFailure(f"weak duality is violated: {lower!r} > {mixture.upper!r}")
    value = Measured.between(lower, mixture.upper)
    return Solution(
        cmdp=cmdp,
        value=value,
        log_policy=answer.log_policy,
        costs=answer.values[1:],
        occupancy=occupancy(cmdp, answer.log_policy),
        multipliers=mixture.multipliers,
        slater_slack=slack,
        slater_log_policy=slater.log_policy,
        active=active_set(cmdp, answer.values[1:]),
        duality_gap=mixture.upper - lower,
        solver=solver if proposal is not None else "columns",
    )


def solve_unconstrained(cmdp: CMDP) -> Solution:
    """The optimum of an MDP (m = 0), by policy iteration."""
    best = optimise(cmdp)
    return Solution(
        cmdp=cmdp,
        value=best.value,
        log_policy=best.log_policy,
        costs=Measured(np.zeros(0)),
        occupancy=occupancy(cmdp, best.log_policy),
        multipliers=np.zeros(0),
        slater_slack=None,
        slater_log_policy=best.log_policy,
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
    start = np.full(cmdp.m, 1.0 / cmdp.m)
    if cmdp.S * cmdp.A <= LP_LIMIT:
        start = slack_lp(cmdp, solver).multipliers
    mixture = generate(cmdp, [], start, cmdp.d, with_reward=False)
    if mixture.upper < 0:
        proof = certificate(cmdp, mixture.multipliers)
        raise InfeasibleCMDP(
            f"no policy meets all constraints: weighted by "
            f"{np.round(proof.multipliers, 4).tolist()} the costs "
            f"are at least {proof.lowest:.6g}, the thresholds allow {proof.budget:.6g}",
            proof,
        )
    best = column(cmdp, mixed_policy(cmdp, mixture, mixture.weights))
    slack = float((cmdp.d - best.values[1:]).lower.min())
    return (slack if slack > SLACK_TOLERANCE * cost_scale(cmdp) else 0.0), best


def cost_scale(cmdp: CMDP) -> float:
    """The largest cost value or threshold: what a slack is small against."""
    return max(float(np.abs(cmdp.d).max()), float(np.abs(cmdp.c).max()) / (1 - cmdp.gamma))


def active_set(cmdp: CMDP, costs: Measured) -> tuple[int, ...]:
    """Constraints whose value equals the threshold, to 1e-8 of the costs' range."""
    scale = np.maximum(np.abs(cmdp.d), np.abs(cmdp.c).max(axis=(1, 2)) / (1 - cmdp.gamma))
    return tuple(int(j) for j in np.flatnonzero(costs.value >= cmdp.d - 1e-8 * scale))


def occupancy(cmdp: CMDP, log_policy: Array) -> Array:
    """Normalised occupancy measure ``(S, A)`` of a policy."""
    return visitation(cmdp, log_policy).value[:, None] * softmax(log_policy)


def _propose(cmdp: CMDP, solver: str, slack: float) -> LPAnswer | None:
    if cmdp.S * cmdp.A > LP_LIMIT:
        return None
    if slack > 0:
        return optimum_lp(cmdp, solver)
    # Without slack a solver may call the problem infeasible by its tolerance: ask a hair beside it.
    return optimum_lp(cmdp.replace(d=cmdp.d + SLACK_TOLERANCE * cost_scale(cmdp)), solver)


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
            weights, _, _ = master(mixture.columns, target, True)
        except SolverFailure:  # no room inside
            return best
        best = column(cmdp, mixed_policy(cmdp, mixture, weights))
    return best


def _lower(cmdp: CMDP, policy: Column, slater: Column, slack: float, multipliers: Array) -> float:
    """Lower bound of the optimum from a nearly feasible policy (the module's docstring has the proof)."""
    excess = np.maximum(policy.values[1:].upper - cmdp.d, 0.0)
    value = policy.values[0]
    violation = float(excess.max())
    if violation == 0:
        return float(value.lower)
    if slack > 0:
        weight = Measured(violation) / (Measured(violation) + slack)
        return float((value - weight * (value - slater.values[0]).positive()).lower)
    # No policy is strictly feasible: the sensitivity at 0 is that of the exact multipliers, of which ours are
    # an approximation. Ten times their charge, and a relative 1e-12, are allowed for; this end is not proved.
    charge = 10 * float(multipliers @ excess) + 1e-12 * max(1.0, abs(float(value.value)))
    return float(value.lower) - charge
