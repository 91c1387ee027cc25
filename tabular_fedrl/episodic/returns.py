r"""The law of the return of a policy, exactly, by dynamic programming over (state, accumulated reward).

Rewards must lie on a grid, :math:`r_h(s,a) = q\,k_h(s,a)` with whole :math:`k`: the return is then q times a
whole number and

.. math:: m_{h+1}(s', j + k_h(s,a)) = \sum_{s,a} m_h(s, j)\,\pi_h(a|s)\,P_h(s'|s,a) .

The grid is found exactly: data in exact rationals as they stand, a float as the fraction of smallest
denominator (up to :data:`LARGEST_DENOMINATOR`) that rounds to it, so that .1 is 1/10.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic.mdp import EpisodicMDP
from tabular_fedrl.episodic.values import Model
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Measured

LARGEST_DENOMINATOR = 10_000
"""Denominators up to which a float is read as a fraction."""

MOST_RETURNS = 1_000_000
"""Grid points between the least and the largest return, at most."""


@dataclass(frozen=True)
class Grid:
    """Rewards as whole multiples ``levels (H, S, A)`` of ``unit``."""

    unit: Fraction
    levels: NDArray[np.int64]


@dataclass(frozen=True)
class ReturnLaw:
    """Masses ``mass (..., K)`` of the returns ``unit * (first + k)``, k = 0..K-1, in the number system of the
    policy."""

    unit: Fraction
    first: int
    mass: Any

    @property
    def points(self) -> Any:
        """The returns ``(K,)``: exact in balls, else the nearest floats."""
        whole = self.first + np.arange(self.mass.shape[-1])
        if isinstance(self.mass, Balls):
            return Balls(whole.astype(np.float64)) * self.unit.numerator / self.unit.denominator
        return whole * float(self.unit)

    @property
    def mean(self) -> Any:
        """The expected return ``(...)``."""
        return (self.mass * self.points).sum(-1)


def return_law(mdp: EpisodicMDP, pi: Any) -> ReturnLaw:
    """The law of the return under a policy ``(..., H, S, A)``.

    Raises
    ------
    InvalidProblem: the rewards lie on no grid that is coarse enough.
    """
    model, grid = Model(mdp, pi), reward_grid(mdp)
    steps = grid.levels.reshape(mdp.H, -1)
    least = steps.min(axis=1)
    mass = (model.rho + model.zeros(pi.shape[:-3]))[..., None, :]
    for h in range(mdp.H):
        chosen, above = pi[..., h, :, :], steps[h] - least[h]
        longer = mass.shape[-2] + int(above.max())
        following = 0.0
        for level in np.unique(above):
            pairs = np.flatnonzero(above == level)
            s, a = np.divmod(pairs, mdp.A)
            moved = model.from_pairs(h, mass[..., s] * chosen[..., s, a][..., None, :], pairs)
            following = _padded(moved, int(level), longer) + following
        mass = following
    return ReturnLaw(grid.unit, int(least.sum()), mass.sum(-1))


def reward_grid(mdp: EpisodicMDP) -> Grid:
    """The coarsest grid through 0 that holds all rewards.

    Raises
    ------
    InvalidProblem: a reward that is no fraction of a small denominator, or more than :data:`MOST_RETURNS`
        returns; the message names the reward.
    """
    return mdp._remember("grid", lambda: _grid(mdp))


def extreme_returns(mdp: EpisodicMDP) -> tuple[Any, Any]:
    """The least and the largest return that an episode can have under any policy: enclosures, or exact
    numbers of a problem of exact data."""
    return -_largest(mdp, -1), _largest(mdp, 1)


def _largest(mdp: EpisodicMDP, sign: int) -> Any:
    exact = mdp.is_exact
    P, r, rho = ((x.items if exact else x) for x in (mdp.P, mdp.r, mdp.rho))
    below = -(abs(r).max() + 1) * mdp.H  # less than any return
    V = r[0, :, 0] * 0
    for h in reversed(range(mdp.H)):
        V = (sign * r[h] + np.where(P[h] > 0, V, below).max(axis=-1)).max(axis=-1)
    best = np.where(rho > 0, V, below).max()
    # Every step rounds one sum of rewards.
    return Balls(best) if exact else Measured(best, mdp.H * UNIT * -below)


def _grid(mdp: EpisodicMDP) -> Grid:
    exact = mdp.is_exact
    table = mdp.r.items if exact else mdp.r
    fractions = [_fraction(x, exact) for x in table.ravel()]
    common = lcm(*(x.denominator for x in fractions))
    wholes = [x.numerator * (common // x.denominator) for x in fractions]
    step = gcd(*wholes) or 1
    levels = [w // step for w in wholes]
    spans = [max(part) - min(part) for part in _parts(levels, mdp.S * mdp.A)]
    unit = Fraction(step, common)
    if sum(spans) >= MOST_RETURNS:
        raise InvalidProblem(
            f"the rewards lie on a grid of step {float(unit):.3g}, on which an episode has "
            f"{sum(spans) + 1:.3g} returns: the law of the return is computed for at most {MOST_RETURNS:.3g}"
        )
    return Grid(unit, np.array(levels, dtype=np.int64).reshape(table.shape))


def _parts(x: list[int], size: int) -> list[list[int]]:
    return [x[i : i + size] for i in range(0, len(x), size)]


def _fraction(x: Any, exact: bool) -> Fraction:
    if exact:
        return Fraction(int(x.p), int(x.q))
    near = Fraction(float(x)).limit_denominator(LARGEST_DENOMINATOR)
    return near if float(near) == x else Fraction(float(x))


def _padded(mass: Any, before: int, length: int) -> Any:
    """``mass (..., K, S)`` with zeros before and after along the axis of returns."""
    *batch, K, S = mass.shape

    def zeros(count: int) -> Any:
        table = np.zeros((*batch, count, S))
        return Measured(table) if isinstance(mass, Measured) else table

    return concatenate([zeros(before), mass, zeros(length - before - K)], -2)
