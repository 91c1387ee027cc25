r"""Column generation from nothing: the policies whose mixtures make up the optimum of a large problem.

The master program of :mod:`tabular_fedrl.solvers.columns` over policies held as occupancies; multipliers from
:mod:`tabular_fedrl.solvers.prices` and, with one constraint, :mod:`tabular_fedrl.solvers.kinks`; pricing by
:mod:`tabular_fedrl.solvers.inexact`, no more exactly than the gap at the time calls for, from the functions
found at multipliers nearby.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.evaluation import signal_sizes
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers.columns import MAX_COLUMNS, dual_bound, master, priced_signal
from tabular_fedrl.solvers.inexact import Greedy, improve
from tabular_fedrl.solvers.kinks import End, beside_kink
from tabular_fedrl.solvers.occupancies import Occupied, from_bits, occupied, to_bits
from tabular_fedrl.solvers.prices import Prices
from tabular_fedrl.solvers.solution import SLACK_TOLERANCE, cost_scale

GAP = 1e-10
"""Duality gap that is aimed at, relative to the reward's largest value."""

LOOSE = 2e-3
"""Pricing is as exact as this share of the gap at the time."""

FINEST = 1e-12
"""The accuracy of the columns that make up the answer, relative to the size of values."""

LAST = 3e3
"""From a gap of so many times the goal on, the master's own multipliers are tried in turn."""

SLACK_SHARE = 0.9
"""The slack search ends when this share of the largest possible slack is attained."""


SLACK_ERROR = 1e-3
"""Share of the slack that the columns which attain it may be off by."""


@dataclass
class Search:
    """One problem's columns, and what to start from: ``known`` holds multipliers with the optimal values
    ``(S,)`` found there, ``places`` multipliers with the number of the column found there. Visitations are
    held of the columns that carry weight and of the newest one.
    """

    cmdp: CMDP
    with_reward: bool
    columns: list[Occupied] = field(default_factory=list)
    known: list[tuple[Array, Array]] = field(default_factory=list)
    places: list[tuple[Array, int]] = field(default_factory=list)

    @property
    def table(self) -> Array:
        """Values of the columns ``(K, 1+m)``."""
        return np.array([column.values for column in self.columns])

    def price(self, multipliers: Array, accuracy: float) -> tuple[Greedy, float]:
        r"""The best policy for :math:`r - \lambda\cdot c` (or :math:`-\lambda\cdot c`) to ``accuracy``, in
        units of value, and the rigorous upper bound of the optimum (or slack) that it proves."""
        cmdp = self.cmdp
        start = self._start(multipliers)
        del self.known[: -cmdp.m - 1]
        greedy = improve(cmdp, lambda: priced_signal(cmdp, multipliers, self.with_reward), start, accuracy)
        self.known.append((multipliers, greedy.V))
        return greedy, dual_bound(cmdp, greedy.at_start(cmdp), multipliers, self.with_reward)

    def _start(self, multipliers: Array) -> Array | None:
        """Functions found nearby, extrapolated: where no action changes, optimal values are linear in the
        multipliers."""
        if not self.known:
            return None
        nearest = sorted(self.known, key=lambda point: float(np.linalg.norm(point[0] - multipliers)))
        points = np.array([point for point, _ in nearest[: self.cmdp.m + 2]])
        system = np.vstack([np.ones(len(points)), (points - multipliers).T])
        size = np.linalg.norm(system[1:], axis=0).min() or 1.0
        system[1:] /= size
        shares = np.linalg.lstsq(system, np.append(1.0, np.zeros(self.cmdp.m)), rcond=1e-6)[0]
        if np.abs(shares).sum() > 4 or abs(shares.sum() - 1) > 1e-3:
            return nearest[0][1].copy()
        V = np.zeros(self.cmdp.S)
        for share, (_, values) in zip(shares, nearest):
            V += share * values
        return V

    def add(self, multipliers: Array, greedy: Greedy, accuracy: float) -> Occupied:
        """The policy priced at these multipliers as a column, its costs to ``accuracy`` of their size.

        The value of what it was priced for is known better than its costs are, so that the column's plane
        touches the dual function where it should, and is only tilted.
        """
        bits = to_bits(greedy.actions, self.cmdp.A)
        known = [k for k, c in enumerate(self.columns) if np.array_equal(c.bits, bits)]
        if known:
            self._sharpen([k for k in known if self.columns[k].accuracy > FINEST])
            self.places.append((multipliers, known[0]))
            return self.columns[known[0]]
        column = occupied(self.cmdp, greedy.actions, self._near(multipliers), accuracy)
        if self.with_reward:
            priced = float(greedy.at_start(self.cmdp).value)
            column.values[0] = priced + float(multipliers @ column.values[1:])
        self.places.append((multipliers, len(self.columns)))
        self.columns.append(column)
        return column

    def _near(self, multipliers: Array) -> Array | None:
        """The visitation of the column found nearest, of those that are held."""
        held = [place for place in self.places if self.columns[place[1]].visits is not None]
        near = min(held, key=lambda place: float(np.linalg.norm(place[0] - multipliers)), default=None)
        return None if near is None else self.columns[near[1]].visits

    def ends(self, thresholds: Array) -> tuple[End, End] | None:
        """With one constraint, the nearest multipliers priced on both sides of the optimum; None if there is
        no such pair. Other functions are let go of."""
        functions = {float(point[0]): V for point, V in self.known}
        sides: list[list[tuple[float, int, float]]] = [[], []]
        for point, k in self.places if self.cmdp.m == 1 else ():
            slope = float(thresholds[0] - self.columns[k].values[1])
            sides[int(slope > 0)].append((float(point[0]), k, slope))
        if not all(sides):
            return None
        nearest = max(sides[0]), min(sides[1])
        if nearest[0][0] >= nearest[1][0] or any(at not in functions for at, _, _ in nearest):
            return None
        self.known = [(np.array([at]), functions[at]) for at, _, _ in nearest]
        left, right = (
            End(at, functions[at], from_bits(self.columns[k].bits, self.cmdp.S), slope)
            for at, k, slope in nearest
        )
        return left, right

    def beside_kink(self, left: End, right: End) -> Array | None:
        """The next multipliers by :func:`kinks.beside_kink`, with the visitation of the newest column."""
        visits = self.columns[-1].visits
        found = None if visits is None else beside_kink(self.cmdp, left, right, visits)
        return None if found is None else np.array([found])

    def sharpen(self, weights: Array, accuracy: float = FINEST) -> bool:
        """The columns that carry weight, their values to an ``accuracy``, and their visitations; False if
        they all were."""
        coarse = [k for k in _used(weights) if self.columns[k].accuracy > accuracy]
        return self._sharpen(coarse, accuracy) or self.recall(weights)

    def recall(self, weights: Array) -> bool:
        """The visitations of the columns that carry weight; False if they were all held."""
        return self._sharpen([k for k in _used(weights) if self.columns[k].visits is None], np.inf)

    def _sharpen(self, numbers: list[int], accuracy: float = FINEST) -> bool:
        """These columns anew, to an ``accuracy`` or the one that they had."""
        for k in numbers:
            column = self.columns[k]
            start = self.columns[-1].visits if column.visits is None else column.visits
            actions, enough = from_bits(column.bits, self.cmdp.S), min(accuracy, column.accuracy)
            self.columns[k] = occupied(self.cmdp, actions, start, enough)
        return bool(numbers)

    def forget(self, weights: Array) -> None:
        """Let go of the visitations of columns without weight, but for the newest one."""
        for k in set(range(weights.size - 1)).difference(_used(weights)):
            self.columns[k] = replace(self.columns[k], visits=None)


@dataclass(frozen=True)
class Outcome:
    """What a search found: ``weights`` of its columns, the best ``multipliers (m,)``, the rigorous ``upper``
    bound that they prove, and ``actions (S,)`` that are best for them."""

    weights: Array
    multipliers: Array
    upper: float
    actions: NDArray[np.int32]


def search_slack(search: Search, unit: float) -> Outcome:
    """Columns until they attain :data:`SLACK_SHARE` of the largest slack, or the bound on it is negative, or
    both meet; ``unit`` is the size of the costs' values."""
    cmdp, gap = search.cmdp, unit
    multipliers = np.full(cmdp.m, 1.0 / cmdp.m)
    best: tuple[float, Array, NDArray[np.int32]] | None = None
    for _ in range(MAX_COLUMNS):
        greedy, upper = search.price(multipliers, max(GAP * unit, LOOSE * gap))
        if best is None or upper < best[0]:
            best = upper, multipliers, greedy.actions
        if best[0] < 0:
            return Outcome(np.zeros(0), best[1], best[0], best[2])
        search.add(multipliers, greedy, _digits(gap / unit))
        while True:
            weights, multipliers, slack = master(search.table, cmdp.d, False)
            gap = max(best[0] - slack, 0.0)
            attained = slack > SLACK_TOLERANCE * unit and slack >= SLACK_SHARE * best[0]
            done = attained or gap <= 10 * GAP * unit
            # Columns are known to a few digits of their size, of which slack may be a small part.
            if not (done and search.sharpen(weights, max(SLACK_ERROR * slack / unit, FINEST))):
                break
        search.forget(weights)
        if done:
            return Outcome(weights, best[1], best[0], best[2])
    raise SolverFailure(f"the slack of {len(search.columns)} policies is still {gap:.2e} from its bound")


def search_optimum(search: Search, thresholds: Array, cheap: Array, unit: float, boundary: bool) -> Outcome:
    """Columns until the bound meets the value of the best mixture that meets ``thresholds``, to
    :data:`GAP`, or rounding stops it; ``cheap (1+m,)`` are the values of such a mixture of the columns there
    are, ``unit`` is the size of the reward's values. On the ``boundary`` of what is feasible multipliers grow
    without end: there the search also stops where the master program's own tolerance does not see what is
    feasible any more."""
    cmdp, gap, goal = search.cmdp, unit, 0.4 * GAP * unit
    sizes = signal_sizes(cmdp)[1:] / (1 - cmdp.gamma)
    multipliers, prices = np.zeros(cmdp.m), None
    best: NDArray[np.uint8] | None = None
    again = False
    for step in range(MAX_COLUMNS):
        greedy, upper = search.price(multipliers, max(0.1 * goal, 0.0 if again else LOOSE * gap))
        far = 1.0 if prices is None else float(np.abs(multipliers - prices.best) @ sizes) / unit
        before = len(search.columns)
        column = search.add(multipliers, greedy, _digits(gap / unit / max(far, 1e-12)))
        if prices is None:
            prices = Prices.between(cheap, column.values, np.append(unit, cost_scale(cmdp)), thresholds)
        if upper < prices.upper:
            best = to_bits(greedy.actions, cmdp.A)
        del greedy
        prices.observe(multipliers, column.values, upper)
        # What rounding permits is relative to the priced signal's values.
        goal = GAP * max(0.4 * unit, 0.1 * (unit + float(prices.best @ sizes)))
        try:
            weights, duals, value = master(search.table, thresholds, True)
        except SolverFailure:
            if not boundary or best is None or step == 0:
                raise
            search.recall(weights)
            return Outcome(weights, prices.best, prices.upper, from_bits(best, cmdp.S))
        known = len(search.columns) == before
        while (known or prices.upper - value <= goal) and search.sharpen(weights):
            weights, duals, value = master(search.table, thresholds, True)
        search.forget(weights)
        gap = max(prices.upper - value, 0.0)
        # Nothing new, priced exactly where the master asks for it again: more is not to be had.
        stuck = again and known and np.allclose(duals, multipliers, rtol=1e-12, atol=0.0)
        if gap <= goal or (stuck and gap <= 100 * goal):
            assert best is not None
            return Outcome(weights, prices.best, prices.upper, from_bits(best, cmdp.S))
        # Where a policy comes back, or few kinks are left and nothing says which one to look at, the master's
        # own multipliers are worth trying.
        proposed = None
        if not known and (ends := search.ends(thresholds)) is not None:
            proposed = search.beside_kink(*ends)
        elif not known and (gap >= LAST * goal or step % 2 == 0):
            proposed = prices.following(search.table[[k for _, k in search.places]])
        following = duals if proposed is None else proposed
        again = bool((following == multipliers).all())
        multipliers = following
    raise SolverFailure(f"after {MAX_COLUMNS} policies the duality gap is still {gap:.2e}")


def _used(weights: Array) -> list[int]:
    """The columns that carry weight."""
    return [int(k) for k in np.flatnonzero(weights > 0)]


def _digits(share: float) -> float:
    """The accuracy of a column's values where the gap is this share of their size."""
    return float(np.clip(0.1 * share, FINEST, 1e-3))
