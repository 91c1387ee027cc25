"""Which states change their minds between two multipliers: against policies priced there; what it saves."""

from __future__ import annotations

import numpy as np
import pytest

from tabular_fedrl.instances import garnet, grid, ring
from tabular_fedrl.solvers import search, solve
from tabular_fedrl.solvers.inexact import improve
from tabular_fedrl.solvers.kinks import End, beside_kink
from tabular_fedrl.solvers.occupancies import occupied

FAMILIES = {
    "random": lambda S, seed: garnet(S=S, A=4, b=4, m=1, seed=seed, gamma=0.97, sparse=True),
    "ring": lambda S, seed: ring(S=S, A=4, b=4, m=1, seed=seed, gamma=0.97),
    "grid": lambda S, seed: grid(rows=int(S**0.5), columns=int(S**0.5), A=4, b=4, m=1, seed=seed, gamma=0.97),
}


def priced(cmdp, multiplier):
    """The end there, found to rounding, and its visitation."""
    best = improve(cmdp, cmdp.r - multiplier * cmdp.c[0])
    column = occupied(cmdp, best.actions)
    return End(multiplier, best.V, best.actions, float(cmdp.d[0] - column.values[1])), column.visits


def crossing(cmdp, left, right):
    """Where the planes at the ends cross: the master's own multiplier."""
    heights = [float(end.V @ cmdp.rho) + end.multiplier * cmdp.d[0] for end in (left, right)]
    rise = heights[1] - heights[0] - right.slope * right.multiplier + left.slope * left.multiplier
    return rise / (left.slope - right.slope)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_optimum_is_where_it_is_looked_for(family):
    """Nearer than where the planes cross, and beyond the optimum as seen from the nearer end."""
    ours, planes, beyond = [], [], 0
    for seed in (1, 2, 3):
        cmdp = FAMILIES[family](2500, seed)
        optimum = float(solve(cmdp).multipliers[0])
        for near, far in ((0.002, 0.006), (0.004, 0.003), (0.0005, 0.004), (0.01, 0.03)):
            (left, visits), (right, _) = priced(cmdp, optimum - near), priced(cmdp, optimum + far)
            assert left.slope < 0 < right.slope
            found = beside_kink(cmdp, left, right, visits)
            assert left.multiplier < found < right.multiplier
            ours.append(abs(found - optimum) / (near + far))
            planes.append(abs(crossing(cmdp, left, right) - optimum) / (near + far))
            beyond += (priced(cmdp, found)[0].slope > 0) == (near < far)
    assert np.mean(ours) < 0.7 * np.mean(planes)
    assert beyond >= 8


def test_nothing_to_predict_where_planes_cross_at_the_kink():
    cmdp = FAMILIES["random"](400, 1)
    end, visits = priced(cmdp, 0.3)
    assert beside_kink(cmdp, end, end._replace(multiplier=0.4, slope=1.0), visits) is None
    actions = end.actions.copy()
    actions[7] = (actions[7] + 1) % cmdp.A
    assert beside_kink(cmdp, end, end._replace(multiplier=0.4, actions=actions), visits) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_policies_are_priced(monkeypatch, family):
    rounds = []
    price = search.Search.price
    monkeypatch.setattr(search.Search, "price", lambda *given: rounds.append(1) or price(*given))
    problems = [FAMILIES[family](2500, seed) for seed in (1, 2, 3, 4)]
    values = [solve(cmdp).value for cmdp in problems]
    ours = len(rounds)
    monkeypatch.setattr(search.Search, "ends", lambda *_: None)
    for cmdp, value in zip(problems, values):
        other = solve(cmdp.replace(d=cmdp.d * (1 + 1e-15))).value
        assert abs(float(other.value - value.value)) <= 1e-8
    assert ours <= 0.85 * (len(rounds) - ours)
