"""A basis proposed in floats by HiGHS.

The occupancy program of :mod:`tabular_fedrl.solvers.rational_program`, scaled for floats: right-hand sides of
mean 1 whatever S, signals divided by their largest entries. What comes back is a guess.

HiGHS may hold the equation of a state that is never visited in its basis instead of one of its actions, and
lets the other such states follow. There the actions come from policy iteration for the Lagrangian.
"""

from __future__ import annotations

import highspy
import numpy as np
from flint import fmpq

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers.policy_iteration import optimise
from tabular_fedrl.solvers.rational_program import Rationals

OPTIONS: dict[str, str | int | float] = {
    "solver": "simplex",
    "threads": 1,
    "primal_feasibility_tolerance": 1e-10,
    "dual_feasibility_tolerance": 1e-10,
}
"""HiGHS' settings: the least tolerances it takes."""

VISITED = 1e-12
"""Expected visits, as a fraction of 1/S, below which a state counts as never visited."""


def propose(
    P: Rationals, r: Rationals | None, c: Rationals, d: Rationals, rho: Rationals, gamma: fmpq
) -> tuple[int, ...]:
    """Variables in the order in which to take them into a basis, those that HiGHS finds basic first.

    Arguments and numbering as in ``occupancy_program``.
    """
    S, A = P.shape[:2]
    m = len(d)
    kernel, costs, start = P.astype(np.float64), c.astype(np.float64).reshape(m, S, A), rho.astype(np.float64)
    reward = np.zeros((S, A)) if r is None else r.astype(np.float64)
    budget, discount = d.astype(np.float64), float(gamma)
    highs, units = _run(kernel, None if r is None else reward, costs, budget, start, discount)
    status, answer = highs.getBasis(), highs.getSolution()
    if not (status.valid and answer.value_valid and answer.dual_valid):
        return ()
    basic = [x == highspy.HighsBasisStatus.kBasic for x in (*status.col_status, *status.row_status)]
    n = len(status.col_status)
    pairs = np.reshape(basic[: S * A], (S, A))
    slacks = [S * A + j for j in range(m) if basic[n + S + j]]
    visited = np.asarray(answer.col_value)[: S * A].reshape(S, A).sum(axis=1) > VISITED
    multipliers = np.maximum(np.asarray(answer.row_dual)[S:], 0.0) * units
    greedy = np.zeros(S, dtype=int)
    if not visited.all():
        mdp = CMDP(kernel, reward, costs, budget, start, discount)
        best = optimise(mdp, reward - np.tensordot(multipliers, costs, axes=1))
        greedy = best.log_policy.argmax(axis=1)
    certain = np.flatnonzero(pairs & visited[:, None]).tolist()
    slope = [S * A + m] if r is None else []
    return (*certain, *slope, *slacks, *(np.arange(S) * A + greedy).tolist())


def _run(
    P: Array, r: Array | None, c: Array, d: Array, rho: Array, gamma: float
) -> tuple[highspy.Highs, Array]:
    """HiGHS after solving, and what its multipliers of the costs must be multiplied with ``(m,)``."""
    S, A = P.shape[:2]
    m, pairs = len(d), S * A
    flow = np.repeat(np.eye(S), A, axis=0) - gamma * P.reshape(pairs, S)
    largest = np.abs(c).max(axis=(1, 2), initial=0.0)
    largest = np.where(largest > 0, largest, 1.0)
    unit = 1.0
    dense = np.hstack([flow, (c / largest[:, None, None]).reshape(m, pairs).T])
    gain = np.zeros(pairs)
    if r is None:
        # t is in units of the largest cost of all.
        unit = float(largest.max())
        dense = np.vstack([dense, np.concatenate([np.zeros(S), unit / largest])])
        gain = np.append(gain, 1.0)
    elif r.any():
        unit = float(np.abs(r).max())
        gain = r.ravel() / unit
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = gain.size, S + m
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = gain
    lp.col_lower_ = np.append(np.zeros(pairs), [-np.inf] * (gain.size - pairs))
    lp.col_upper_ = np.full(gain.size, np.inf)
    lp.row_lower_ = np.append(S * rho, np.full(m, -np.inf))
    lp.row_upper_ = np.append(S * rho, S * d / largest)
    used = dense != 0
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.append(0, np.cumsum(used.sum(axis=1))).astype(np.int32)
    lp.a_matrix_.index_ = np.nonzero(used)[1].astype(np.int32)
    lp.a_matrix_.value_ = dense[used]
    highs = highspy.Highs()
    highs.silent()
    for name, value in OPTIONS.items():
        highs.setOptionValue(name, value)
    highs.passModel(lp)
    highs.run()
    return highs, unit / largest
