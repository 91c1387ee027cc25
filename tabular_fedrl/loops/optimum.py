r"""The constrained optimum of many tiny problems, from all their deterministic policies.

The value vectors :math:`(V_r, V_{c_1}, .., V_{c_m})(\rho)` that policies attain are the convex hull of those
of the deterministic ones, so that with n = A^S of them, p = 1..n, the optimum and the Slater slack are linear
programs over mixtures with m + 1 rows,

.. math:: V^\star = \max_{x, s \ge 0, t \ge 0} \sum_p x_p V_{r,p} \quad\text{and}\quad
          \xi = \max_{x, s \ge 0,\, t \in \mathbb R} t \qquad\text{subject to}\quad
          \sum_p x_p V_{c_j,p} + t + s_j = d_j, \quad \sum_p x_p = 1.

A primal simplex method solves the second from the policy with the largest slack, and the first from the basis
where the second ended, which is feasible for it when :math:`\xi \ge 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.lanes import at_start, compiled, copy, policy_values
from tabular_fedrl.kernels.packs import aligned
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.lanes import from_lanes, lanes, to_lanes
from tabular_fedrl.measured import Array

MOST_POLICIES = 4096
"""Deterministic policies of one problem up to which they are enumerated."""

BLAND_AFTER, STEPS_AT_MOST = 100, 1000
"""Pivots after which the entering and leaving columns are the first possible ones (Bland's rule: no cycles),
and after which a program is given up."""

TOLERANCE = 1e-12
"""What counts as 0 in a program whose numbers are of size 1."""

PIVOT = 1e-9
"""Entries below this fraction of their column's largest are no pivots."""


@dataclass(frozen=True)
class Optima:
    r"""The optima of B problems with m constraints.

    value: V_r*, ``(B,)``; multipliers: optimal ones, ``(B, m)``; both NaN where no policy is feasible.
    slack: :math:`\xi = \max_\pi \min_j (d_j - V_{c_j}^\pi)`, ``(B,)``, negative where no policy is feasible;
        NaN without constraints.
    lowest, highest: range of every value over the policies, the reward's first, ``(B, 1+m)``.
    gaps: :math:`G_j = \max_\pi |V_{c_j}^\pi - d_j|`, ``(B, m)``.
    duality_gap: how far the multipliers' upper bound lies above ``value``, ``(B,)``: rounding, or a sign that
        the program was given up.
    """

    value: Array
    multipliers: Array
    slack: Array
    lowest: Array
    highest: Array
    gaps: Array
    duality_gap: Array


class Block(NamedTuple):
    """W problems as in :class:`Batch` (f: the signals, reward first), the lane last."""

    P: Array
    f: Array
    d: Array
    rho: Array
    gamma: Array


class Answers(NamedTuple):
    """As in :class:`Optima`, the lane last."""

    value: Array
    multipliers: Array
    slack: Array
    lowest: Array
    highest: Array
    duality_gap: Array


def optima(batch: Batch) -> Optima:
    """The constrained optimum of every problem of the batch.

    Raises
    ------
    InvalidProblem: there are more than 4096 deterministic policies.
    """
    policies = batch.A**batch.S
    if policies > MOST_POLICIES:
        raise InvalidProblem(
            f"{batch.A} actions in {batch.S} states make {policies} deterministic policies: "
            f"at most {MOST_POLICIES} are enumerated"
        )
    given = (batch.P, batch.signals, batch.d, batch.rho, batch.gamma)
    W, m = lanes(batch.B, batch.S * batch.A * batch.S), batch.m
    blocks = [Block(*x) for x in zip(*(to_lanes(x, W) for x in given))]
    shapes = (), (m,), (), (1 + m,), (1 + m,), ()
    answers = [Answers(*(np.full((*shape, W), np.nan) for shape in shapes)) for _ in blocks]
    in_parallel(_solve, list(zip(blocks, answers)))
    value, multipliers, slack, lowest, highest, duality_gap = (
        from_lanes(np.stack(x), batch.B) for x in zip(*answers)
    )
    gaps = np.maximum(highest[:, 1:] - batch.d, batch.d - lowest[:, 1:])
    return Optima(value, multipliers, slack, lowest, highest, gaps, duality_gap)


@compiled
def _solve(x: Block, answers: Answers) -> None:
    """Enumerate the policies of W problems in lockstep, then solve their programs one after another.

    The programs are scaled: rewards from 0 to 1, and costs less their thresholds from -1 to 1 in every row.
    """
    S, A, _, W = x.P.shape
    m = x.d.shape[0]
    values = aligned((A**S, 1 + m, W))
    _deterministic_values(x, values)
    columns, y = np.empty((A**S, 1 + m)), np.empty(1 + m)
    scale, units = np.empty(1 + m), np.empty(m)
    basis, weights = np.empty(1 + m, dtype=np.int64), np.empty(1 + m)
    for w in range(W):
        for k in range(1 + m):
            low, high = np.inf, -np.inf
            for p in range(columns.shape[0]):
                low, high = min(low, values[p, k, w]), max(high, values[p, k, w])
            answers.lowest[k, w], answers.highest[k, w] = low, high
            origin = low if k == 0 else x.d[k - 1, w]
            scale[k] = max(high - origin, origin - low)
            if scale[k] == 0.0:
                scale[k] = 1.0
            for p in range(columns.shape[0]):
                columns[p, k] = (values[p, k, w] - origin) / scale[k]
        largest = _start(columns, scale, units, basis)
        for phase in range(0 if m > 0 else 1, 2):
            for_slack = phase == 0
            _simplex(columns, units, for_slack, basis, weights, y)
            best = _objective(columns, for_slack, basis, weights)
            if for_slack:
                answers.slack[w] = best * largest
                if best < -TOLERANCE / units.max():
                    break
            else:
                answers.value[w] = answers.lowest[0, w] + best * scale[0]
                for j in range(m):
                    y[j] = max(y[j], 0.0)
                    answers.multipliers[j, w] = y[j] * scale[0] / scale[1 + j]
                answers.duality_gap[w] = (_lagrangian_bound(columns, y) - best) * scale[0]


@compiled
def _deterministic_values(x: Block, out: Array) -> None:
    """Values ``(A**S, 1+m, W)`` at rho of all deterministic policies; the actions count up, that of state 0
    fastest."""
    S, A, _, W = x.P.shape
    K = x.f.shape[0]
    matrix, V = aligned((S, S, W)), aligned((K, S, W))
    chosen, only = np.zeros(S, dtype=np.int64), np.ones((S, 1, W))
    P, f = x.P[:, :1].copy(), x.f[:, :, :1].copy()
    for p in range(out.shape[0]):
        policy_values(P, f, only, x.gamma, matrix, V)
        at_start(x.rho, V, out[p])
        for s in range(S):
            chosen[s] = (chosen[s] + 1) % A
            a = chosen[s]
            copy(x.P[s, a : a + 1], P[s])
            copy(x.f[:, s, a : a + 1], f[:, s])
            if chosen[s] > 0:
                break


@compiled
def _lagrangian_bound(columns: Array, lam: Array) -> float:
    r""":math:`\max_p V_{r,p} - \sum_j \lambda_j (V_{c_j,p} - d_j)`, an upper bound of V* for every
    :math:`\lambda \ge 0`."""
    bound = -np.inf
    for p in range(columns.shape[0]):
        total = columns[p, 0]
        for k in range(1, columns.shape[1]):
            total -= lam[k - 1] * columns[p, k]
        bound = max(bound, total)
    return bound


# ---- the simplex method ------------------------------------------------------------------------------------
# Columns 0..n-1 are the policies, n is t, n+1+j is s_j; rows 0..m-1 are the constraints, m the sum. Every row
# has its own scale, so that t enters row j with ``units[j]``.


@compiled
def _start(columns: Array, scale: Array, units: Array, basis: Array) -> float:
    """A basis feasible for the slack's program: the policy with the largest slack, t, and every s_j but that
    of its tightest constraint. Sets ``units`` as well, and returns the largest scale, which is t's own."""
    n, m = columns.shape[0], units.size
    largest = 0.0
    for j in range(m):
        largest = max(largest, scale[1 + j])
    for j in range(m):
        units[j] = largest / scale[1 + j]
    best, policy, tightest = -np.inf, 0, 0
    for p in range(n):
        slack, where = np.inf, 0
        for j in range(m):
            if -columns[p, 1 + j] / units[j] < slack:
                slack, where = -columns[p, 1 + j] / units[j], j
        if slack > best:
            best, policy, tightest = slack, p, where
    for j in range(m):
        basis[j] = n if j == tightest else n + 1 + j
    basis[m] = policy
    return largest


@compiled
def _simplex(columns: Array, units: Array, for_slack: bool, basis: Array, weights: Array, y: Array) -> None:
    """Pivot from a feasible ``basis`` to an optimal one; ``weights`` of its columns and prices ``y`` of the
    rows at the end.

    ``for_slack``: maximise t, which is then free and stays in the basis; otherwise the reward.
    """
    n, size = columns.shape[0], basis.size
    inverse, entering, along = np.empty((size, size)), np.empty(size), np.empty(size)
    for step in range(STEPS_AT_MOST):
        first = step >= BLAND_AFTER
        _invert(columns, units, basis, inverse)
        for i in range(size):
            weights[i], y[i] = inverse[i, size - 1], 0.0
            for k in range(size):
                y[i] += _gain(columns, basis[k], for_slack) * inverse[k, i]
        q = _entering(columns, units, for_slack, y, first)
        if q < 0:
            return
        _column(columns, units, q, entering)
        for i in range(size):
            along[i] = 0.0
            for j in range(size):
                along[i] += inverse[i, j] * entering[j]
        leaving = _leaving(along, weights, basis, n if for_slack else -1, first)
        if leaving < 0:
            return
        basis[leaving] = q


@compiled
def _leaving(along: Array, weights: Array, basis: Array, stays: int, first: bool) -> int:
    """The place of the column that reaches 0 first as the weights move along ``-along``; -1 if none does.

    Among those that are within rounding of being first the one with the largest pivot is taken (Harris), or
    the first of the exact ties. ``stays``: the column that may be negative.
    """
    largest = 0.0
    for i in range(basis.size):
        largest = max(largest, abs(along[i]))
    reach = np.inf
    for i in range(basis.size):
        if along[i] > PIVOT * largest and basis[i] != stays:
            allowed = 0.0 if first else TOLERANCE
            reach = min(reach, (max(weights[i], 0.0) + allowed) / along[i])
    leaving = -1
    for i in range(basis.size):
        if along[i] > PIVOT * largest and basis[i] != stays and max(weights[i], 0.0) / along[i] <= reach:
            better = basis[i] < basis[leaving] if first else along[i] > along[leaving]
            if leaving < 0 or better:
                leaving = i
    return leaving


@compiled
def _objective(columns: Array, for_slack: bool, basis: Array, weights: Array) -> float:
    total = 0.0
    for i in range(basis.size):
        total += weights[i] * _gain(columns, basis[i], for_slack)
    return total


@compiled
def _gain(columns: Array, q: int, for_slack: bool) -> float:
    """What column q adds to the objective."""
    if for_slack:
        return 1.0 if q == columns.shape[0] else 0.0
    return columns[q, 0] if q < columns.shape[0] else 0.0


@compiled
def _entering(columns: Array, units: Array, for_slack: bool, y: Array, first: bool) -> int:
    """The column with the largest positive reduced cost, or the first with one; -1 if there is none."""
    n, m = columns.shape[0], units.size
    sum_prices, t_price = 0.0, 0.0
    for j in range(m):
        sum_prices += abs(y[j])
        t_price += y[j] * units[j]
    chosen, largest = -1, 0.0
    for q in range(n + 1 + m if m > 0 else n):
        cost, size = _gain(columns, q, for_slack), 1.0 + sum_prices
        if q < n:
            cost -= y[m]
            for j in range(m):
                cost -= y[j] * columns[q, 1 + j]
        elif q == n:
            cost, size = cost - t_price, 1.0 + sum_prices * units.max()
        else:
            cost -= y[q - n - 1]
        if cost > largest and cost > TOLERANCE * size:
            chosen, largest = q, cost
            if first:
                return chosen
    return chosen


@compiled
def _column(columns: Array, units: Array, q: int, out: Array) -> None:
    """Column q of the program, ``(m+1,)``."""
    n, m = columns.shape[0], units.size
    for j in range(m):
        if q < n:
            out[j] = columns[q, 1 + j]
        elif q == n:
            out[j] = units[j]
        else:
            out[j] = 1.0 if q == n + 1 + j else 0.0
    out[m] = 1.0 if q < n else 0.0


@compiled
def _invert(columns: Array, units: Array, basis: Array, inverse: Array) -> None:
    """The inverse of the basis matrix, by Gauss-Jordan elimination with row pivoting."""
    size = basis.size
    work, column = np.empty((size, 2 * size)), np.empty(size)
    for i in range(size):
        _column(columns, units, basis[i], column)
        for k in range(size):
            work[k, i] = column[k]
            work[i, size + k] = 1.0 if i == k else 0.0
    for i in range(size):
        pivot = i
        for k in range(i + 1, size):
            if abs(work[k, i]) > abs(work[pivot, i]):
                pivot = k
        for j in range(2 * size):
            work[i, j], work[pivot, j] = work[pivot, j], work[i, j]
        factor = 1.0 / work[i, i]
        for j in range(2 * size):
            work[i, j] *= factor
        for k in range(size):
            if k != i:
                factor = work[k, i]
                for j in range(2 * size):
                    work[k, j] -= factor * work[i, j]
    for i in range(size):
        for k in range(size):
            inverse[i, k] = work[i, size + k]
