r"""Column generation over policies: the CMDP as a small program in the value vectors of a few policies.

The value vectors :math:`(V_r, V_{c_1}, \dots, V_{c_m})` of all policies form a polytope. A *column* is one
policy's vector; the master program finds the best mixture of the columns known so far,

.. math:: \max_w \sum_k w_k V_r^k \quad\text{s.t.}\quad \sum_k w_k V_{c_j}^k \le d_j,\ w \ge 0,\
          \sum_k w_k = 1,

its multipliers :math:`\lambda` price the costs, and policy iteration for :math:`r - \lambda\cdot c` finds the
column that improves it most. That price also bounds the optimum: for every :math:`\lambda \ge 0`

.. math:: V_r^* \le \max_\pi V^\pi_{r-\lambda\cdot c}(\rho) + \lambda\cdot d .

A mixture of policies is one stationary policy (their occupancies are mixed). The Slater slack is the same
with :math:`\max t`, :math:`\sum_k w_k V_{c_j}^k + t \le d_j`. Started at an LP's multipliers it polishes the
LP's answer to rounding in a few columns; problems too large for an LP start from nothing
(:mod:`tabular_fedrl.solvers.search`). Source: Dantzig and Wolfe (1960); here with an exact oracle whose bound
is rigorous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.evaluation import evaluate, signal_sizes, visitation
from tabular_fedrl.measured import UNIT, Array, Measured, dot
from tabular_fedrl.policies import softmax
from tabular_fedrl.solvers.highs import maximise
from tabular_fedrl.solvers.policy_iteration import Optimum, optimise

MAX_COLUMNS = 400

OVERLOOKED = 1e-13
"""Gain for which a pivot of the master program is not made, in units of its largest value: to rounding there
is always one."""

NEGLIGIBLE = 1e-12
"""A weight this small is rounding."""


@dataclass(frozen=True)
class Column:
    """A policy and its value vector: ``log_policy (S, A)``, ``values`` enclosures ``(1+m,)``."""

    log_policy: Array
    values: Measured


@dataclass(frozen=True)
class Mixture:
    """Columns with weights ``(K,)``, the ``multipliers (m,)`` that price them, and ``upper``: a rigorous
    upper bound of the optimum proved by ``priced``, the unconstrained optimum at those multipliers."""

    columns: tuple[Column, ...]
    weights: Array
    multipliers: Array
    upper: float
    priced: Optimum


def column(cmdp: CMDP, log_policy: Array) -> Column:
    """The evaluated policy."""
    return Column(log_policy, evaluate(cmdp, log_policy).at_rho)


def price(cmdp: CMDP, multipliers: Array, with_reward: bool = True) -> tuple[Optimum, float]:
    r"""The policy that is best for :math:`r - \lambda\cdot c` (or :math:`-\lambda\cdot c`), and the rigorous
    upper bound :math:`\max_\pi V_{r-\lambda\cdot c} + \lambda\cdot d` for multipliers
    :math:`\lambda \ge 0`."""
    best = optimise(cmdp, priced_signal(cmdp, multipliers, with_reward))
    return best, dual_bound(cmdp, best.value, multipliers, with_reward)


def priced_signal(cmdp: CMDP, multipliers: Array, with_reward: bool) -> Array:
    r""":math:`r - \lambda\cdot c` (or :math:`-\lambda\cdot c`), ``(S, A)``."""
    signal = np.tensordot(-multipliers, cmdp.c, axes=1)
    if with_reward:
        signal += cmdp.r
    return signal


def dual_bound(cmdp: CMDP, best: Measured, multipliers: Array, with_reward: bool) -> float:
    r"""The rigorous upper bound :math:`\max_\pi V_f + \lambda\cdot d`, from the optimal value ``best``
    (scalar) of the float signal that :func:`priced_signal` makes of f."""
    # It differs from the exact one by at most (m + 2) roundings of its terms.
    terms = float(np.append(float(with_reward), multipliers) @ signal_sizes(cmdp))
    blur = (cmdp.m + 3) * UNIT * terms / (1 - cmdp.gamma)
    return float((best.widened(blur) + dot(multipliers, cmdp.d)).upper)


def generate(
    cmdp: CMDP,
    columns: Sequence[Column],
    multipliers: Array,
    thresholds: Array,
    *,
    with_reward: bool = True,
) -> Mixture:
    """Add columns until the upper bound meets the master's value or rounding stops it.

    ``columns`` must hold a mixture that meets ``thresholds`` (any column does for the slack); ``multipliers``
    are a first guess. The bound is for ``cmdp.d`` itself, whatever ``thresholds`` the master works
    with.
    """
    priced, upper = price(cmdp, multipliers, with_reward)
    best = upper, multipliers, priced
    pool = [*columns, *_seeds(cmdp, multipliers, with_reward), column(cmdp, priced.log_policy)]
    while True:
        weights, duals, value = master(table(pool), thresholds, with_reward)
        priced, upper = price(cmdp, duals, with_reward)
        if upper < best[0]:
            best = upper, duals, priced
        enough = 4 * float(priced.value.error) + 64 * UNIT * abs(value)
        known = any(np.array_equal(priced.log_policy, c.log_policy) for c in pool)
        if upper - value <= enough or known:
            return Mixture(tuple(pool), weights, best[1], best[0], best[2])
        if len(pool) > MAX_COLUMNS:
            raise SolverFailure(f"column generation has not ended after {MAX_COLUMNS} policies")
        pool.append(column(cmdp, priced.log_policy))


def table(pool: Sequence[Column]) -> Array:
    """Values of the columns, ``(K, 1+m)``."""
    return np.array([c.values.value for c in pool])


def _seeds(cmdp: CMDP, multipliers: Array, with_reward: bool) -> list[Column]:
    """Policies on both sides of the kinks of the dual function near the first multipliers."""
    reward, *costs = signal_sizes(cmdp)
    top = np.array(costs)
    unit = float(reward if with_reward else top.max())
    step = 1e-6 * np.maximum(multipliers, unit / np.where(top > 0, top, 1.0))
    out = []
    for j in range(cmdp.m):
        for sign in (1.0, -1.0):
            moved = multipliers.copy()
            moved[j] = max(moved[j] + sign * step[j], 0.0)
            out.append(column(cmdp, price(cmdp, moved, with_reward)[0].log_policy))
    return out


def master(table: Array, thresholds: Array, with_reward: bool) -> tuple[Array, Array, float]:
    """Best mixture of columns with values ``table (K, 1+m)``: weights ``(K,)``, multipliers ``(m,)``,
    value; as exact as its basis can be solved.

    Raises
    ------
    SolverFailure: no mixture of the columns meets the thresholds.
    """
    m, K = thresholds.size, len(table)
    costs = table[:, 1:].T
    unit = np.maximum(np.abs(costs).max(axis=1), np.abs(thresholds))
    unit = np.where(unit > 0, unit, 1.0) if with_reward else np.full(m, float(unit.max()) or 1.0)
    rows, right = np.vstack([costs / unit[:, None], np.ones(K)]), np.append(thresholds / unit, 1.0)
    if with_reward:
        scale = float(np.abs(table[:, 0]).max()) or 1.0
        gain = table[:, 0] / scale
    else:
        # The last variable is the slack, in the costs' unit.
        scale = float(unit[0])
        gain = np.append(np.zeros(K), 1.0)
        rows = np.hstack([rows, np.append(np.ones(m), 0.0)[:, None]])
    x, prices = _program(gain, rows, right, free=not with_reward)
    weights = np.where(x[:K] > NEGLIGIBLE, x[:K], 0.0)
    weights /= weights.sum()
    value = float(weights @ table[:, 0]) if with_reward else scale * float(x[-1])
    return weights, np.maximum(prices[:-1], 0.0) * scale / unit, value


def _program(gain: Array, rows: Array, right: Array, free: bool) -> tuple[Array, Array]:
    """Maximise ``gain @ x``, the last row of ``rows @ x (k,)`` equal to its right-hand side and the others at
    most theirs: x ``(n,)``, at least 0 but for the last one where that is ``free``, and the rows' prices
    ``(k,)``.

    HiGHS overlooks gains of 1e-10, as large as the gap that is aimed at: the last pivots are made here.
    """
    n, k = gain.size, right.size
    lower, least = np.zeros(n), np.append(np.full(k - 1, -np.inf), right[-1])
    lower[n - free :] = -np.inf
    highs = maximise(gain, (lower, np.full(n, np.inf)), rows.T, (least, right))
    if (status := highs.getModelStatus()) != highspy.HighsModelStatus.kOptimal:
        raise SolverFailure(
            f"the master program over {n - free} policies failed: {highs.modelStatusToString(status)}"
        )
    found, basic = highs.getBasis(), highspy.HighsBasisStatus.kBasic
    basis = np.flatnonzero([state == basic for state in (*found.col_status, *found.row_status)])
    columns, objective = np.hstack([rows, np.eye(k)]), np.append(gain, np.zeros(k))
    for _ in range(n + k):
        matrix = columns[:, basis]
        x = np.zeros(n + k)
        x[basis] = np.linalg.solve(matrix, right)
        prices = np.asarray(np.linalg.solve(matrix.T, objective[basis]), dtype=np.float64)
        left = objective - prices @ columns
        left[basis] = left[-1] = 0.0
        entering = int(left.argmax())
        change = np.linalg.solve(matrix, columns[:, entering])
        bound = (change > 1e-9) & ~(free & (basis == n - 1))
        room = np.where(bound, np.maximum(x[basis], 0.0) / np.where(bound, change, 1.0), np.inf)
        if not OVERLOOKED < left[entering] * room.min() < np.inf:
            break
        basis[room.argmin()] = entering
    return x[:n], prices


def mixed_policy(cmdp: CMDP, mixture: Mixture, weights: Array) -> Array:
    """The stationary log-policy whose occupancy is the mixture of the columns' occupancies.

    Where the mixture never goes, it does what is best for the Lagrangian at the mixture's multipliers.
    """
    occupancy = np.zeros((cmdp.S, cmdp.A))
    for w, c in zip(weights, mixture.columns):
        if w > 0:
            occupancy += w * visitation(cmdp, c.log_policy).value[:, None] * softmax(c.log_policy)
    return policy_of(occupancy, mixture.priced.log_policy)


def policy_of(occupancy: Array, elsewhere: Array) -> Array:
    """The log-policy of an occupancy ``(S, A)``; ``elsewhere`` (a log-policy) in states of mass 0."""
    mass = occupancy.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mass > 0, np.log(occupancy / mass), elsewhere)
