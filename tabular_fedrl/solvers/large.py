r"""The constrained optimum of a large problem, by column generation.

Nothing of the search (:mod:`tabular_fedrl.solvers.search`) has to be believed: the upper end of the answer is
the bound of a priced optimum, the lower end the value of the mixed policy, whose occupancy proves it
(:mod:`tabular_fedrl.solvers.occupancies`).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.evaluation import signal_sizes
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import CompactPolicy
from tabular_fedrl.solvers.columns import master
from tabular_fedrl.solvers.exact import can_be_exact, solve_rounded
from tabular_fedrl.solvers.infeasible import infeasible
from tabular_fedrl.solvers.occupancies import Occupied, from_bits, mixture, policy_of, values_at_start
from tabular_fedrl.solvers.search import Outcome, Search, search_optimum, search_slack
from tabular_fedrl.solvers.solution import (
    SLACK_TOLERANCE,
    PolicyMixture,
    Solution,
    active_set,
    cost_scale,
    lower_bound,
)


def solve_large(cmdp: CMDP) -> Solution:
    """The optimum of a CMDP with m > 0, without an LP. Errors as in :func:`tabular_fedrl.solvers.solve`."""
    problem = cmdp if cmdp.is_sparse else cmdp.replace(P=sp.csr_array(cmdp.rows))
    unit = float(signal_sizes(cmdp)[0]) / (1 - cmdp.gamma) or 1.0
    costs = cost_scale(cmdp)
    cheap = Search(problem, with_reward=False)
    found = search_slack(cheap, costs)
    if found.upper < 0:
        raise infeasible(problem, found.multipliers)
    x = mixture(problem, cheap.columns, found.weights)
    slater, slater_policy = values_at_start(problem, x), CompactPolicy.of(policy_of(x, found.actions))
    del x
    slack = float((cmdp.d - slater[1:]).lower.min())
    if slack < -SLACK_TOLERANCE * costs:
        raise SolverFailure(f"the cheapest mixture found exceeds a threshold by {-slack:.2e}")
    if slack <= SLACK_TOLERANCE * costs:
        slack = 0.0
        if can_be_exact(cmdp):
            return solve_rounded(cmdp, slack, slater_policy)
    # Without slack the only feasible mixtures lie on the boundary: the master is to see that one as feasible.
    thresholds = cmdp.d if slack > 0 else np.maximum(cmdp.d, slater[1:].upper)
    search = Search(problem, with_reward=True, columns=cheap.columns)
    del cheap
    best = search_optimum(search, thresholds, slater.value, unit, slack == 0)
    x, values, mixed = _inside(search, best, thresholds)
    lower = lower_bound(cmdp, values, slater, slack, best.multipliers)
    if lower > best.upper:
        raise SolverFailure(f"weak duality is violated: {lower!r} > {best.upper!r}")
    return Solution(
        cmdp=cmdp,
        value=Measured.between(lower, best.upper),
        policy=CompactPolicy.of(policy_of(x, best.actions)),
        costs=values[1:],
        multipliers=best.multipliers,
        slater_slack=slack,
        slater_policy=slater_policy,
        active=active_set(cmdp, values[1:]),
        duality_gap=best.upper - lower,
        solver="columns",
        mixture=mixed,
    )


def _inside(
    search: Search, best: Outcome, thresholds: Array, attempts: int = 4
) -> tuple[Array, Measured, PolicyMixture]:
    """The mixture's occupancy and values, aimed inside the thresholds by the proof's own error."""
    columns = [search.columns[k] for k in np.flatnonzero(best.weights > 0)]
    table, weights = np.array([column.values for column in columns]), best.weights[best.weights > 0]
    target = thresholds
    for _ in range(attempts):
        taken, x = weights, mixture(search.cmdp, columns, weights)
        values = values_at_start(search.cmdp, x)
        excess = np.maximum(values[1:].upper - search.cmdp.d, 0.0)
        if not excess.any():
            break
        target = target - 2 * excess
        try:
            weights, _, _ = master(table, target, True)
        except SolverFailure:  # no room inside
            break
    return x, values, _drawn(columns, taken, search.cmdp)


def _drawn(columns: list[Occupied], weights: Array, cmdp: CMDP) -> PolicyMixture:
    """The mixture as its policies."""
    used = [(w, column) for w, column in zip(weights, columns) if w > 0]
    short = np.min_scalar_type(cmdp.A - 1)
    actions = np.array([from_bits(column.bits, cmdp.S).astype(short) for _, column in used])
    return PolicyMixture(np.array([w for w, _ in used]), actions)
