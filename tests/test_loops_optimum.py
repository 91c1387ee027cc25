"""The enumerated optimum of tiny problems against the solver, weak duality and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import bandit
from strategies import cmdps
from test_loops import random_batch

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem
from tabular_fedrl.loops import Batch, optima
from tabular_fedrl.solvers import optimise, solve, value_range


def check(cmdp: CMDP, ours, i: int) -> bool:
    """Problem i of ``ours`` is ``cmdp``: every number against the solver's. Whether it is feasible."""
    reach = 1e-8 * (1 + np.abs(cmdp.signals).max() / (1 - cmdp.gamma))
    for k, f in enumerate(cmdp.signals):
        low, high = value_range(cmdp, f)
        assert abs(ours.lowest[i, k] - low.value) <= reach
        assert abs(ours.highest[i, k] - high.value) <= reach
    ends = np.stack([ours.lowest[i, 1:], ours.highest[i, 1:]])
    assert np.array_equal(ours.gaps[i], np.abs(ends - cmdp.d).max(axis=0))
    try:
        solution = solve(cmdp)
    except InfeasibleCMDP:
        assert ours.slack[i] < 0
        assert np.isnan(ours.value[i])
        assert np.isnan(ours.multipliers[i]).all()
        return False
    assert abs(ours.value[i] - solution.value.value) <= reach
    assert abs(ours.slack[i] - solution.slater_slack) <= reach
    # The multipliers need not be unique: the bound they give is.
    lam = ours.multipliers[i]
    assert (lam >= 0).all()
    bound = optimise(CMDP(cmdp.P, cmdp.r - np.tensordot(lam, cmdp.c, 1), [], [], cmdp.rho, cmdp.gamma))
    assert abs(bound.value.value + lam @ cmdp.d - ours.value[i]) <= reach * (1 + lam.sum())
    assert abs(ours.duality_gap[i]) <= 1e-10 * (1 + np.abs(cmdp.r).max() / (1 - cmdp.gamma))
    return True


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    S=st.integers(1, 5),
    A=st.integers(2, 4),
    m=st.integers(1, 3),
)
def test_random_problems(seed, S, A, m):
    batch = random_batch(seed, 4, S, A, m, 1)
    ours = optima(batch)
    for i in range(4):
        check(batch.problem(i).cmdp, ours, i)


@settings(max_examples=60)
@given(cmdp=cmdps(max_states=3, max_constraints=3, min_constraints=1))
def test_problems_with_ties(cmdp):
    """Signals on a grid: many policies share their values."""
    assert check(cmdp, optima(Batch.of([federated(cmdp)])), 0)


def test_both_kinds_occur():
    batch = random_batch(1, 40, 3, 2, 2, 1)
    ours = optima(batch)
    feasible = [check(batch.problem(i).cmdp, ours, i) for i in range(40)]
    assert 5 <= sum(feasible) <= 35


def test_closed_forms():
    """Bandits with r = (1, 0) and c = (1, 0): V* = d with multiplier 1 up to d = 1, slack d."""
    d = np.array([0.0, 0.25, 1.0, 2.0, -0.5])
    ours = optima(Batch.of([federated(bandit([1, 0], [[1, 0]], [x])) for x in d]))
    assert np.allclose(ours.value, [0, 0.25, 1, 1, np.nan], rtol=0, atol=1e-15, equal_nan=True)
    assert np.allclose(ours.slack, d, rtol=0, atol=1e-15)
    assert np.allclose(ours.multipliers[[1, 3], 0], [1, 0], rtol=0, atol=1e-15)
    assert np.allclose(ours.gaps[:, 0], [1, 0.75, 1, 2, 1.5], rtol=0, atol=1e-15)


def test_the_same_constraint_many_times_and_one_that_never_binds():
    """Degenerate at every vertex: equal rows, and a cost equal to its threshold whatever the policy."""
    c = [[0.5, 1.0, 0.0]] * 4 + [[0.3, 0.3, 0.3]]
    ours = optima(Batch.of([federated(bandit([1.0, 2.0, 0.0], c, [0.5] * 4 + [0.3]))]))
    assert ours.value[0] == pytest.approx(1.0, abs=1e-14)
    assert ours.slack[0] == pytest.approx(0.0, abs=1e-14)
    assert abs(ours.duality_gap[0]) <= 1e-14


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_constraints_on_different_scales(scale):
    """The optimum does not feel the unit of a constraint; its multiplier is measured in it."""
    batch = random_batch(2, 30, 3, 2, 2, 1)
    units = np.array([1.0, scale])
    scaled = Batch(
        batch.P,
        batch.r,
        batch.c * units[:, None, None],
        batch.d * units,
        batch.rho,
        batch.gamma,
        batch.mask,
    )
    ours, theirs = optima(batch), optima(scaled)
    feasible = ~np.isnan(ours.value)
    assert 5 <= feasible.sum() <= 25
    assert np.array_equal(feasible, ~np.isnan(theirs.value))
    assert np.allclose(ours.value[feasible], theirs.value[feasible], rtol=1e-9, atol=1e-9)
    assert np.allclose(ours.multipliers[feasible], theirs.multipliers[feasible] * units, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("S, A, m", [(2, 2, 1), (3, 2, 2), (2, 3, 3), (3, 3, 4)])
def test_vertices_of_the_problems(S, A, m):
    """Deterministic kernels, signals 0 or 1, constraints on scales from 1e-6 to 1, thresholds on the values:
    every tie there is. Primal and dual agree all the same."""
    g, B = np.random.default_rng(6), 2000
    gamma = g.choice([0.0, 0.5, 0.9, 0.99, 0.9999], size=B)
    c = g.integers(0, 2, size=(B, m, S, A)) * 10.0 ** g.integers(-6, 1, size=(B, m, 1, 1))
    batch = Batch(
        P=np.eye(S)[g.integers(S, size=(B, S, A))],
        r=g.integers(0, 2, size=(B, S, A)),
        c=c,
        d=g.choice([0, 0.25, 0.5, 1], size=(B, m)) / (1 - gamma[:, None]) * c.max(axis=(2, 3)),
        rho=np.eye(S)[g.integers(S, size=B)],
        gamma=gamma,
        mask=np.ones((1, m)),
    )
    ours = optima(batch)
    feasible = ~np.isnan(ours.value)
    assert 0.1 < feasible.mean() < 0.9
    assert (np.abs(ours.duality_gap) * (1 - gamma))[feasible].max() <= 1e-11
    assert (ours.slack[~feasible] < 0).all()
    assert (ours.value[feasible] <= ours.highest[feasible, 0] + 1e-9).all()


def test_without_constraints_it_is_the_best_policy():
    g = np.random.default_rng(3)
    cmdp = CMDP(g.dirichlet(np.ones(3), size=(3, 2)), g.random((3, 2)), [], [], [1, 0, 0], 0.8)
    ours = optima(Batch.of([FederatedCMDP(cmdp)]))
    assert ours.value[0] == pytest.approx(float(optimise(cmdp).value.value), abs=1e-12)
    assert np.isnan(ours.slack[0])


def test_the_largest_that_is_enumerated():
    batch = random_batch(4, 3, 6, 4, 3, 1)
    ours = optima(batch)
    for i in range(3):
        check(batch.problem(i).cmdp, ours, i)
    with pytest.raises(InvalidProblem, match="4 actions in 7 states make 16384 deterministic policies"):
        optima(random_batch(5, 1, 7, 4, 1, 1))
