"""Finite-horizon problems against oracles that share nothing with dynamic programming: every trajectory
enumerated in fractions, the discounted solver on the time-augmented chain, simulated episodes, values by
hand."""

from __future__ import annotations

import pickle
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl import balls
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.episodic import (
    EpisodicMDP,
    FederatedEpisodicMDP,
    action_values,
    curvature,
    exact,
    extreme_returns,
    gradient,
    occupancy,
    repeated,
    return_grid,
    return_law,
    sample_returns,
    start_value,
    stationary_gradient,
)
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances.episodic_families import bandit, chain, episodic_garnet, tree
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, softmax
from tests.strategies import episodic_mdps


# ---- the oracle: all trajectories -------------------------------------------------------------------------
def fractions(x):
    """The entries of an exact array."""
    return np.vectorize(lambda q: Fraction(int(q.p), int(q.q)), otypes=[object])(x.items)


def trajectories(mdp, pi):
    """``(probability, return, states, actions)`` of every episode of an exact problem that can happen."""
    P, r, rho = fractions(mdp.P), fractions(mdp.r), fractions(mdp.rho)
    for states in product(range(mdp.S), repeat=mdp.H):
        for actions in product(range(mdp.A), repeat=mdp.H):
            p, total = rho[states[0]], Fraction(0)
            for h, (s, a) in enumerate(zip(states, actions)):
                p *= pi[h, s, a] * (P[h, s, a, states[h + 1]] if h + 1 < mdp.H else 1)
                total += r[h, s, a]
            if p:
                yield p, total, states, actions


def score(pi, states, actions):
    """The gradient of a trajectory's log-probability in the logits, ``(H, S, A)``."""
    g = np.zeros(pi.shape, dtype=object) * Fraction(0)
    for h, (s, a) in enumerate(zip(states, actions)):
        g[h, s] -= pi[h, s]
        g[h, s, a] += 1
    return g


@st.composite
def problems(draw):
    """An exact problem of few trajectories with a policy and a direction of fractions."""
    mdp = exact(draw(episodic_mdps(max_states=2, max_actions=2))).mdp
    shape = (mdp.H, mdp.S, mdp.A)
    weights = draw(st.lists(st.integers(1, 5), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    table = np.reshape([Fraction(w) for w in weights], shape)
    direction = draw(st.lists(st.integers(-2, 2), min_size=table.size, max_size=table.size))
    return mdp, table / table.sum(axis=-1, keepdims=True), np.reshape([Fraction(u) for u in direction], shape)


@settings(max_examples=25)
@given(problems())
def test_values_and_derivatives_are_those_of_all_trajectories(drawn):
    mdp, pi, u = drawn
    value, slope, bend = Fraction(0), np.zeros(pi.shape, dtype=object), Fraction(0)
    visits, law = np.zeros((mdp.H, mdp.S), dtype=object), {}
    for p, total, states, actions in trajectories(mdp, pi):
        g = score(pi, states, actions)
        along = (u * g).sum()
        spread = sum(
            (pi[h, s] * u[h, s] ** 2).sum() - (pi[h, s] * u[h, s]).sum() ** 2 for h, s in enumerate(states)
        )
        value += p * total
        slope = slope + p * total * g
        bend += p * total * (along**2 - spread)
        visits[range(mdp.H), states] += p
        law[total] = law.get(total, 0) + p
    with balls.precision(64):
        table = Balls(pi)
        assert (start_value(mdp, table) == value).all()
        assert (occupancy(mdp, table) == Balls(visits)).all()
        assert (gradient(mdp, table) == Balls(slope)).all()
        assert (curvature(mdp, table, Balls(u)) == bend).all()
        points, masses = return_grid(mdp).points, return_law(mdp, table)
        found = {x: m for x, m in zip(fractions(points), fractions(masses)) if m}
        least, largest = extreme_returns(mdp)
        assert found == law
        assert (least == min(law)).all()
        assert (largest == max(law)).all()


@settings(max_examples=15)
@given(problems())
def test_floats_are_within_their_stated_error(drawn):
    mdp, pi, u = drawn
    with balls.precision(64):
        table = Balls(pi)
        truth = {
            "start_value": start_value(mdp, table),
            "occupancy": occupancy(mdp, table),
            "gradient": gradient(mdp, table),
            "law": return_law(mdp, table),
            "curvature": curvature(mdp, table, Balls(u)),
        }
        truth = {key: x.value for key, x in truth.items()}
    plain = mdp.floats()
    _, p = enclosed(np.log(pi.astype(np.float64)))
    found = {
        "start_value": start_value(plain, p),
        "occupancy": occupancy(plain, p),
        "gradient": gradient(plain, p),
        "law": return_law(plain, p),
        "curvature": curvature(plain, p, u.astype(np.float64)),
    }
    for key, x in found.items():
        assert (np.abs(x.value - truth[key]) <= x.error + 1e-16).all(), key
        assert x.error.max() < 1e-12, key


def test_rows_that_sum_to_one_within_rounding_stand_for_the_normalised_ones():
    S, H, off = 200, 20, 1 + 150 * 2.0**-53
    mdp = EpisodicMDP(np.full((S, 1, S), off / S), np.ones((S, 1)), np.full(S, off / S), H)
    assert mdp.P[0].sum(axis=-1).min() > 1 + 1e-14  # kept as it is
    pi = Measured(np.ones((H, S, 1)))
    value, laws = start_value(mdp, pi), occupancy(mdp, pi)
    # The exact answers are H and the uniform law.
    assert 1e-12 < abs(float(value.value) - H) <= float(value.error) < 5e-11
    assert np.abs(laws.value - 1 / S).max() > 1e-15
    assert (np.abs(laws.value - 1 / S) <= laws.error).all()


# ---- other oracles ----------------------------------------------------------------------------------------
def random_policy(mdp, seed=0, *batch):
    return np.random.default_rng(seed).normal(size=(*batch, mdp.H, mdp.S, mdp.A))


@pytest.mark.parametrize("varying", [True, False])
def test_the_discounted_solver_on_the_time_augmented_chain_agrees(varying):
    mdp = episodic_garnet(S=4, A=3, H=5, seed=2, varying=varying)
    H, S, A, gamma = mdp.H, mdp.S, mdp.A, 0.5
    end = H * S
    P, r = np.zeros((end + 1, A, end + 1)), np.zeros((end + 1, A))
    P[end, :, end] = 1
    for h in range(H):
        here, onward = slice(h * S, (h + 1) * S), slice((h + 1) * S, (h + 2) * S)
        if h + 1 < H:
            P[here, :, onward] = mdp.P[h]
        else:
            P[here, :, end] = 1
        r[here] = mdp.r[h] / gamma**h
    rho = np.concatenate([mdp.rho, np.zeros(end + 1 - S)])
    theta = random_policy(mdp, 1)
    log_pi = np.log(softmax(np.concatenate([theta.reshape(end, A), np.zeros((1, A))])))
    discounted = evaluate(CMDP(P, r, [], [], rho, gamma), log_pi).at_rho
    assert start_value(mdp, softmax(theta)) == pytest.approx(float(discounted.value[0]), abs=1e-12)


def test_the_gradient_is_the_limit_of_differences():
    mdp = episodic_garnet(S=3, A=3, H=4, seed=5)
    theta, u = random_policy(mdp, 3), random_policy(mdp, 4)
    step = 1e-5
    ends = [start_value(mdp, softmax(theta + t * u)) for t in (-step, 0.0, step)]
    assert (ends[2] - ends[0]) / (2 * step) == pytest.approx(
        (gradient(mdp, softmax(theta)) * u).sum(), rel=1e-7
    )
    along = random_policy(mdp, 6)[0]
    values = [start_value(mdp, repeated(softmax(theta[0] + t * along), mdp.H)) for t in (-step, step)]
    slope = (stationary_gradient(mdp, softmax(theta[0])) * along).sum()
    assert (values[1] - values[0]) / (2 * step) == pytest.approx(slope, rel=1e-7)


def test_simulated_returns_follow_the_law():
    mdp, size = episodic_garnet(S=4, A=2, H=6, seed=1), 40_000
    pi = softmax(random_policy(mdp, 2))
    law = return_law(mdp, pi)
    drawn = sample_returns(mdp, pi, size, np.random.default_rng(0))
    seen = np.cumsum(np.bincount(drawn, minlength=len(law))) / size
    # Dvoretzky, Kiefer, Wolfowitz, Massart: exceeded with probability at most 1e-6.
    band = np.sqrt(np.log(2e6) / (2 * size))
    assert np.abs(seen - np.cumsum(law)).max() < band
    other = return_law(mdp, softmax(random_policy(mdp, 3)))
    assert np.abs(seen - np.cumsum(other)).max() > band


@pytest.mark.parametrize("q", [0.25, 0.5, 0.8])
def test_textbook_values_by_hand(q):
    def policy(mdp):
        return np.broadcast_to([1 - q, q], (mdp.H, mdp.S, 2)).copy()

    for H in (1, 2, 4):
        assert start_value(tree(H), policy(tree(H))) == pytest.approx((1 + (1 - 2 * q) ** H) / 2)
        assert start_value(chain(H), policy(chain(H))) == pytest.approx((1 - q) ** H)
    assert start_value(bandit(2), policy(bandit(2))) == pytest.approx(q)
    assert start_value(bandit(5), np.full((1, 1, 5), 0.2)) == pytest.approx(0.5)
    before_the_last_turn = gradient(tree(3), policy(tree(3)))[:-1]
    assert (np.abs(before_the_last_turn).max() < 1e-15) == (q == 0.5)


# ---- leading axes, several environments -------------------------------------------------------------------
def test_leading_axes_are_policies_of_their_own():
    mdp = episodic_garnet(S=3, A=2, H=3, seed=4)
    theta = random_policy(mdp, 0, 2, 3)
    for make in (softmax, lambda t: enclosed(t)[1]):
        many = [f(mdp, make(theta)) for f in (start_value, gradient, occupancy, return_law)]
        alone = [f(mdp, make(theta[1, 2])) for f in (start_value, gradient, occupancy, return_law)]
        for x, y in zip(many, alone):
            assert np.allclose(np.asarray(getattr(x, "value", x))[1, 2], getattr(y, "value", y), atol=1e-15)


def test_several_environments_in_one_call():
    mdps = [episodic_garnet(S=3, A=2, H=3, seed=k, varying=k != 1) for k in range(3)]
    problem = FederatedEpisodicMDP(mdps)
    assert problem.P.shape == (3, 3, 3, 2, 3)
    theta = random_policy(mdps[0], 0, 2, 3)
    for f in (start_value, gradient, occupancy, lambda m, pi: action_values(m, pi)[0]):
        together = f(problem, softmax(theta))
        bounded = f(problem, enclosed(theta)[1])
        for i, mdp in enumerate(mdps):
            assert np.allclose(together[:, i], f(mdp, softmax(theta[:, i])), atol=1e-15)
        assert (np.abs(bounded.value - together) <= bounded.error).all()
    with balls.precision(128):
        ball = gradient(exact(problem), enclosed(theta)[1])
    assert np.allclose(ball.value, gradient(problem, softmax(theta)), atol=1e-14)
    with pytest.raises(InvalidProblem, match="3 environments, where a single one"):
        _ = problem.mdp


# ---- the grid of returns ----------------------------------------------------------------------------------
def test_decimal_rewards_are_taken_as_decimals():
    r = np.array([[[0.1, 0.3]], [[0.7, 0.2]]])
    grid = return_grid(EpisodicMDP(np.ones((1, 2, 1)), r, [1.0], 2))
    assert (grid.low, grid.unit, grid.n) == (Fraction(3, 10), Fraction(1, 10), 8)
    assert grid.levels.tolist() == [[[0, 2]], [[5, 0]]]


def test_the_grid_needs_no_common_origin():
    r = np.array([[[1 / 3, 1.0]], [[0.5, 0.5]]])
    grid = return_grid(EpisodicMDP(np.ones((1, 2, 1)), r, [1.0], 2))
    assert (grid.low, grid.unit, grid.n) == (Fraction(5, 6), Fraction(2, 3), 2)
    assert return_grid(EpisodicMDP(np.ones((1, 1, 1)), [[np.pi]], [1.0], 3)).n == 1


def test_rewards_on_no_grid_are_refused():
    mdp = EpisodicMDP(np.ones((1, 2, 1)), [[0.0, 2**-0.5]], [1.0], 1)
    assert return_grid(mdp).n == 2
    rough = EpisodicMDP(np.ones((1, 3, 1)), [[0.0, 2**-0.5, 1.0]], [1.0], 1)
    with pytest.raises(InvalidProblem, match=r"on a grid of step .*e-16, on which an episode has .* returns"):
        return_law(rough, np.full((1, 1, 3), 1 / 3))


# ---- what a problem is ------------------------------------------------------------------------------------
P, R, RHO = np.full((2, 2, 2), 0.5), np.zeros((2, 2)), [0.5, 0.5]


def changed(x, place, value):
    out = np.array(x, dtype=float)
    out[place] = value
    return out


@pytest.mark.parametrize(
    "data, message",
    [
        ((P, R, RHO, 0), "H = 0: an episode has a whole number of steps"),
        ((P, R, RHO, 2.5), "H = 2.5"),
        ((P, R, RHO, float("nan")), "H = nan"),
        ((P, R, RHO, "two"), "H = 'two' is not a number"),
        ((P[0], R, RHO, 2), r"P has 2 dimensions \(shape \(2, 2\)\)"),
        (([P, P], R, RHO, 3), r"P has 2 steps \(shape .*\) but H = 3"),
        ((P, [R, R], RHO, 3), "r has 2 steps"),
        ((P, [[1.0], [2.0, 3.0]], RHO, 3), "r is not an array of numbers"),
        (([P, changed(P, (1, 0, 0), -0.1)], R, RHO, 2), r"step 1: P\[s=1, a=0, s'=0\] = -0.1 is negative"),
        (([P, changed(P, (1, 0, 0), 0.2)], R, RHO, 2), r"step 1: row P\[s=1, a=0\] sums to 0.7"),
        ((P, [R, changed(R, (0, 1), np.inf)], RHO, 2), r"step 1: r\[0, 1\] = inf is not finite"),
        ((P, R, [0.5, 0.6], 2), "rho sums to 1.1"),
        ((P, np.zeros((3, 2)), [0.5, 0.5, 0.0], 2), r"P has shape \(2, 2, 2\): expected"),
    ],
)
def test_bad_data_are_refused_with_the_place(data, message):
    with pytest.raises(InvalidProblem, match=message) as caught:
        EpisodicMDP(*data)
    assert "\n" not in str(caught.value)


def test_a_federation_has_common_sizes():
    two = EpisodicMDP(P, R, RHO, 2)
    with pytest.raises(InvalidProblem, match=r"environment 1 has \(S, A, H\) = \(2, 2, 3\)"):
        FederatedEpisodicMDP([two, two.replace(H=3)])
    with pytest.raises(InvalidProblem, match="both exact or both floats"):
        FederatedEpisodicMDP([two, exact(two).mdp])
    with pytest.raises(InvalidProblem, match="at least one"):
        FederatedEpisodicMDP([])


def test_policies_of_another_shape_or_number_system_are_refused():
    mdp = EpisodicMDP(P, R, RHO, 2)
    with pytest.raises(InvalidProblem, match=r"shape \(2, 2\): expected \(..., 2, 2, 2\)"):
        start_value(mdp, np.full((2, 2), 0.5))
    with pytest.raises(InvalidProblem, match="evaluated in balls"):
        start_value(exact(mdp).mdp, np.full((2, 2, 2), 0.5))


def test_problems_are_values():
    once, twice = EpisodicMDP(P, R, RHO, 2), EpisodicMDP([P, P], [R, R], RHO, 2)
    assert once == twice
    assert hash(once) == hash(twice)
    assert once != once.replace(r=R + 1)
    assert once.replace(H=3).H == 3
    assert pickle.loads(pickle.dumps(twice)) == twice
    assert exact(once) == exact(twice)
    assert exact(once).mdp.floats() == once
    with pytest.raises(AttributeError, match="frozen"):
        once.H = 5
    with pytest.raises(ValueError, match="read-only"):
        once.P[0, 0, 0, 0] = 1
    with pytest.raises(InvalidProblem, match="no field 'gamma'"):
        once.replace(gamma=0.5)
