"""A basis proposed in floats by HiGHS.

The occupancy program of :mod:`tabular_fedrl.solvers.rational_program`, scaled for floats: right-hand sides of
mean 1 whatever S, signals divided by their largest entries. HiGHS starts from the policy that is best without
constraints (for the slack: of the least sum of costs), which policy iteration finds far sooner. What comes
back is a guess.

HiGHS may hold the equation of a state that is never visited in its basis instead of one of its actions, and
lets the other such states follow. There the actions come from policy iteration for the Lagrangian.
"""

from __future__ import annotations

import highspy
import numpy as np
from flint import fmpq

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers.highs import maximise
from tabular_fedrl.solvers.policy_iteration import optimise
from tabular_fedrl.solvers.rational_program import Rationals

VISITED = 1e-12
"""Expected visits, in units of 1/S, below which a pair counts as never taken."""


def propose(
    P: Rationals, r: Rationals | None, c: Rationals, d: Rationals, rho: Rationals, gamma: fmpq
) -> tuple[int, ...]:
    """Variables in the order in which to take them into a basis, those that HiGHS finds basic first.

    Arguments and numbering as in ``occupancy_program``.
    """
    S, A = P.shape[:2]
    m = len(d)
    kernel, start, discount = P.astype(np.float64), rho.astype(np.float64), float(gamma)
    # The slack's costs keep their common unit, which is t's.
    tops = [_largest(c)] * m if r is None else [_largest(x) for x in c]
    costs = np.array([(x / top).astype(np.float64) for x, top in zip(c, tops)]).reshape(m, S, A)
    budgets = np.array([_nearest(x / top) for x, top in zip(d, tops)])
    reward = np.zeros((S, A)) if r is None else (r / _largest(r)).astype(np.float64)
    highs = _run(kernel, reward, costs, budgets, start, discount, with_slack=r is None)
    status, answer = highs.getBasis(), highs.getSolution()
    if not status.valid:
        return ()
    # Of a problem that floats call infeasible there is a basis all the same, near one that proves it.
    solved = answer.value_valid and answer.dual_valid
    basic = [x == highspy.HighsBasisStatus.kBasic for x in (*status.col_status, *status.row_status)]
    pairs = np.flatnonzero(basic[: S * A])
    used = np.asarray(answer.col_value)[pairs] > VISITED if solved else np.ones(pairs.size, dtype=bool)
    margin = [S * A + m] if r is None else []
    slacks = [S * A + j for j in range(m) if basic[len(basic) - m + j]]
    greedy: Array = np.empty(0, dtype=int)
    if solved and len(set((pairs[used] // A).tolist())) < S:
        multipliers = np.maximum(np.asarray(answer.row_dual)[S:], 0.0)
        greedy = _greedy(kernel, reward - np.tensordot(multipliers, costs, axes=1), start, discount)
    order = (pairs[used], margin, slacks, greedy, pairs[~used])
    return tuple(int(i) for part in order for i in part)


def _greedy(P: Array, f: Array, rho: Array, gamma: float) -> Array:
    """Best pairs, one for each state, for the signal f ``(S, A)``; none if floats cannot say."""
    S, A = f.shape
    if gamma >= 1 or not np.isfinite(f).all():
        return np.empty(0, dtype=int)
    mdp = CMDP(P, f, np.empty((0, S, A)), np.empty(0), rho, gamma)
    return np.arange(S) * A + optimise(mdp).log_policy.argmax(axis=1)


def _run(
    P: Array, r: Array, c: Array, d: Array, rho: Array, gamma: float, *, with_slack: bool
) -> highspy.Highs:
    """HiGHS after solving: columns are pairs and, ``with_slack``, t; rows are flows and costs."""
    S, A = r.shape
    m, pairs = len(d), S * A
    flow = np.repeat(np.eye(S), A, axis=0) - gamma * P.reshape(pairs, S)
    dense = np.hstack([flow, c.reshape(m, pairs).T])
    gain, lower = r.ravel(), np.zeros(pairs)
    start = _greedy(P, -c.sum(axis=0) if with_slack else r, rho, gamma)
    if with_slack:
        dense = np.vstack([dense, np.append(np.zeros(S), np.ones(m))])
        gain, lower = np.append(gain, 1.0), np.append(lower, -np.inf)
    limits = np.append(S * rho, np.full(m, -np.inf)), np.append(S * rho, S * d)
    if start.size:  # and the costs' slacks, t for the first
        start = np.append(start, [gain.size + S + j if j or not with_slack else pairs for j in range(m)])
    bounds = lower, np.full(gain.size, np.inf)
    return maximise(gain, bounds, dense, limits, start.astype(int).tolist())


def _largest(signal: Rationals) -> fmpq:
    """Largest magnitude, 1 where the signal vanishes."""
    return max(abs(x) for x in signal.ravel()) or fmpq(1)


def _nearest(x: fmpq) -> float:
    """The nearest float, infinite beyond the range of floats."""
    try:
        return float(x)
    except OverflowError:
        return np.inf if x > 0 else -np.inf
