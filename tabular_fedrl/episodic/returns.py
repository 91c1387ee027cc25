r"""The law of the return of a policy, exactly, by dynamic programming over (state, accumulated reward).

Rewards must lie on a grid of their own at every step, :math:`r_h(s,a) = l_h + q\,k_h(s,a)` with whole
:math:`k \ge 0`: the return is then :math:`\sum_h l_h` and a whole multiple of q, and

.. math:: m_{h+1}(s', j + k_h(s,a)) = \sum_{s,a} m_h(s, j)\,\pi_h(a|s)\,P_h(s'|s,a) .

The coarsest grid is found exactly: data in exact rationals as they stand, a float as the fraction of smallest
denominator (up to :data:`LARGEST_DENOMINATOR`) that rounds to it, so that .1 is 1/10.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic.mdp import EpisodicMDP
from tabular_fedrl.episodic.simulate import episodes
from tabular_fedrl.episodic.values import Model
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Measured

LARGEST_DENOMINATOR = 10_000
"""Denominators up to which a float is read as a fraction."""

MOST_RETURNS = 1_000_000
"""Points between the least and the largest return, at most."""


@dataclass(frozen=True)
class ReturnGrid:
    """The returns that are possible: ``low + k * unit``, k = 0..n-1, whatever the policy.

    ``levels (H, S, A)``: what every reward adds to k.
    """

    low: Fraction
    unit: Fraction
    n: int
    levels: NDArray[np.int64]

    @property
    def points(self) -> Any:
        """The returns ``(n,)`` in the number system at work: exact, or the nearest floats."""
        if balls.working():
            return Balls(np.array([self.low + k * self.unit for k in range(self.n)], dtype=object))
        return float(self.low) + np.arange(self.n) * float(self.unit)


def return_law(mdp: EpisodicMDP, pi: Any) -> Any:
    """Masses ``(..., n)`` of the points of :func:`return_grid` under a policy ``(..., H, S, A)``, in its
    number system.

    Raises
    ------
    InvalidProblem: as :func:`return_grid`.
    """
    model, grid = Model(mdp, pi), return_grid(mdp)
    mass = (model.rho + model.zeros(pi.shape[:-3]))[..., None, :]
    for h, levels in enumerate(grid.levels.reshape(mdp.H, -1)):
        chosen, longer, following = pi[..., h, :, :], mass.shape[-2] + int(levels.max()), 0.0
        for level in np.unique(levels):
            pairs = np.flatnonzero(levels == level)
            s, a = np.divmod(pairs, mdp.A)
            moved = model.from_pairs(h, mass[..., s] * chosen[..., s, a][..., None, :], pairs)
            following = _padded(moved, int(level), longer) + following
        mass = following
    return mass.sum(-1)


def sample_returns(mdp: EpisodicMDP, pi: Any, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The returns ``(size,)`` of simulated episodes under a policy ``(H, S, A)`` of floats, as numbers k of
    the points of :func:`return_grid`."""
    states, actions = episodes(mdp, pi, size, rng)
    return return_grid(mdp).levels[np.arange(mdp.H), states, actions].sum(axis=1)


def return_grid(mdp: EpisodicMDP) -> ReturnGrid:
    """The coarsest grid that holds all returns.

    Raises
    ------
    InvalidProblem: the rewards lie on no grid on which an episode has at most :data:`MOST_RETURNS` returns.
    """
    return mdp._remember("grid", lambda: _grid(mdp))


def _grid(mdp: EpisodicMDP) -> ReturnGrid:
    table = mdp.r.items if mdp.is_exact else mdp.r
    known = {x: _fraction(x) for x in set(table.ravel())}
    rewards = [[known[x] for x in step.ravel()] for step in table]
    lows = [min(step) for step in rewards]
    above = [x - low for step, low in zip(rewards, lows) for x in step]
    common = lcm(*(x.denominator for x in above))
    whole = [x.numerator * (common // x.denominator) for x in above]
    step = gcd(*whole) or common
    levels = np.array([w // step for w in whole], dtype=object).reshape(table.shape)
    n = int(levels.max(axis=(1, 2)).sum()) + 1
    if n > MOST_RETURNS:
        raise InvalidProblem(
            f"the rewards lie on a grid of step {step / common:.3g}, on which an episode has {n:.3g} "
            f"returns; their law is computed for at most {MOST_RETURNS:.3g}"
        )
    return ReturnGrid(sum(lows, Fraction(0)), Fraction(step, common), n, levels.astype(np.int64))


def _fraction(x: Any) -> Fraction:
    if not isinstance(x, float):
        return Fraction(int(x.p), int(x.q))
    near = Fraction(x).limit_denominator(LARGEST_DENOMINATOR)
    return near if float(near) == x else Fraction(x)


def extreme_returns(mdp: EpisodicMDP) -> tuple[Any, Any]:
    """The least and the largest return that an episode can have under any policy: enclosures, or exact
    numbers of a problem of exact data."""
    return 0 - _largest(mdp, -1), _largest(mdp, 1)


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


def _padded(mass: Any, before: int, length: int) -> Any:
    """``mass (..., K, S)`` with zeros before and after along the axis of returns."""
    *batch, K, S = mass.shape

    def zeros(count: int) -> Any:
        table = np.zeros((*batch, count, S))
        return Measured(table) if isinstance(mass, Measured) else table

    return concatenate([zeros(before), mass, zeros(length - before - K)], -2)
