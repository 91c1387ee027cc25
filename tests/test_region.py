"""The polygon of what policies achieve: hand-checked corners, no policy outside, every corner attained."""

import numpy as np
import pytest
from hypothesis import given, settings

from tabular_fedrl.claims.strategies import cmdps
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.policies import random_log_policy
from tabular_fedrl.solvers import solve
from tabular_fedrl.solvers.region import achievable_region


def corners(points):
    return {tuple(np.round(p, 9)) for p in points}


def test_bandits_are_the_hull_of_their_arms():
    region = achievable_region(load("textbook:heterogeneous-bandit").cmdp)
    assert corners(region) == {(0.0, 1.0), (1.0, 1.0), (0.0, 0.9)}


def test_three_state_example():
    # The cost z is what the summit is visited, at most 1/2. The reward is at most 1 + z (the textbook's
    # derivation), and at least the 3 z that the summit pays.
    region = achievable_region(load("textbook:three-state").cmdp)
    assert corners(region) == {(0.0, 0.0), (0.0, 1.0), (0.5, 1.5)}


def outside(region, points):
    """How far points lie outside a convex polygon, given counter-clockwise."""
    a, b = region, np.roll(region, -1, axis=0)
    normal = np.stack([b[:, 1] - a[:, 1], a[:, 0] - b[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    return float(((points[:, None] - a) * normal).sum(axis=-1).max())


@settings(max_examples=25)
@given(cmdps(min_constraints=1))
def test_no_policy_is_outside(cmdp):
    region = achievable_region(cmdp, directions=2000)
    rng = np.random.default_rng(0)
    policies = np.stack([random_log_policy(rng, cmdp.S, cmdp.A, 5.0) for _ in range(50)])
    values = evaluate(cmdp, policies).at_rho.value[:, [1, 0]]
    if len(region) > 2:
        assert outside(region, values) <= 1e-7 * (1 + cmdp.horizon)
    low, high = region.min(axis=0), region.max(axis=0)
    assert (values >= low - 1e-7).all()
    assert (values <= high + 1e-7).all()


@pytest.mark.parametrize("source", ["windy-cliff:ncost=1", "random-mdp:seed=5,agents=1"])
def test_the_optimum_is_on_the_boundary_at_the_threshold(source):
    cmdp = load(source).cmdp.only([0])
    region, best = achievable_region(cmdp, 0, 2000), solve(cmdp)
    crossing = [
        a[1] + (cmdp.d[0] - a[0]) / (b[0] - a[0]) * (b[1] - a[1])
        for a, b in zip(region, np.roll(region, -1, axis=0), strict=True)
        if min(a[0], b[0]) <= cmdp.d[0] < max(a[0], b[0])
    ]
    if best.active:
        assert max(crossing) == pytest.approx(float(best.value), abs=1e-6)


def test_few_directions_give_an_inner_polygon():
    cmdp = load("windy-cliff:ncost=1").cmdp
    few, all_of_it = achievable_region(cmdp, directions=8), achievable_region(cmdp, directions=400)
    assert len(few) < len(all_of_it)
    assert outside(all_of_it, few) <= 1e-7


def test_an_unknown_constraint_is_named():
    with pytest.raises(InvalidProblem, match="constraint 3 does not exist"):
        achievable_region(load("textbook:two-arm").cmdp, 3)
