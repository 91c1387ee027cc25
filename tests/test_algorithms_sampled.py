"""Sampled evaluation: the compiled rollouts against their plain twin, and the estimators against exact
values."""

import numba
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from test_federation import random_problem, steps

from tabular_fedrl.algorithms.local import exact
from tabular_fedrl.algorithms.sampled import magnitudes, sampled, simulator
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import federate
from tabular_fedrl.kernels.rollouts import FEW, place, rollouts, rollouts_plain
from tabular_fedrl.policies import log_softmax
from tabular_fedrl.runner import run

_compiled_place = numba.njit(place)


def policy(seed, S, A):
    return log_softmax(np.random.default_rng(seed).normal(size=(S, A)))


@given(seed=st.integers(0, 10**6), S=st.integers(1, 4), A=st.integers(1, 3), n=st.integers(1, 4))
def test_compiled_and_plain_rollouts_draw_the_same(seed, S, A, n):
    view = random_problem(seed, S, A, m=1, visible=[[0]]).view(0)
    states = np.arange(S)
    pi = np.cumsum(np.exp(policy(seed, S, A)), axis=1)
    compiled, plain = (
        f(*simulator(view), pi, view.gamma, states, states % A - 1, n, np.random.default_rng(seed))
        for f in (rollouts, rollouts_plain)
    )
    assert np.array_equal(compiled[0], plain[0])
    assert compiled[1] == plain[1]


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 3 * int(FEW)),
    before=st.integers(0, 3),
    levels=st.sampled_from([2, 5, 1000]),
)
def test_draws_fall_where_a_search_finds_them(seed, n, before, levels):
    """Few entries and many, alike ones among them, draws on an entry too."""
    g = np.random.default_rng(seed)
    row = np.sort(g.integers(levels, size=n + 1)) / levels
    table = np.concatenate([np.ones(before), row, np.zeros(1)])
    for x in (*g.integers(levels, size=4) / levels, *g.random(4)):
        expected = min(np.searchsorted(row, x, side="right"), n)
        for of in (place, _compiled_place):
            assert of(table, np.uint64(before), np.uint64(n), x) == expected


def test_rollouts_follow_the_model():
    """A cycle s -> s+1 under a signal that names the state: a rollout of length l from 0 visits 0, 1, ..,
    l-1."""
    S = 5
    P = np.roll(np.eye(S), 1, axis=1)[:, None, :]
    cmdp = CMDP(P, np.arange(S)[:, None], np.ones((1, S, 1)), [1.0], np.ones(S) / S, 0.6)
    rng, totals = np.random.default_rng(5), []
    for _ in range(200):
        means, total = rollouts_plain(
            *simulator(cmdp), np.ones((S, 1)), 0.6, np.array([0]), np.array([-1]), 1, rng
        )
        assert total == means[0, 1]  # the cost counts the visits
        assert means[0, 0] == sum(t % S for t in range(total))
        totals.append(total)
    assert min(totals) == 1
    assert max(totals) > S


@pytest.mark.parametrize("f", [rollouts, rollouts_plain])
def test_a_draw_beyond_the_sums_takes_the_last_entry(f):
    """As rounding may leave them below 1: here all are 0, and every draw is beyond."""
    S, A = 3, 2
    indptr, successors = 2 * np.arange(S * A + 1), np.tile([0, 1], S * A)
    signals, nothing = np.eye(S * A), np.zeros(2 * S * A)
    means, total = f(
        *(indptr, successors, nothing, signals, np.zeros((S, A)), 0.9),
        *(np.array([0]), np.array([-1]), 50, np.random.default_rng(3)),
    )
    assert total > 50
    # From state 0 to state 1, and there it stays.
    assert means[0] == pytest.approx([0, 1, 0, total / 50 - 1, 0, 0])


def test_estimators_are_unbiased_and_count_their_transitions():
    """Every estimate lies within 5 standard errors (at most max|f| sqrt((1+gamma)/n)/(1-gamma)) of the exact
    value, and so does the number of transitions: by Chebyshev's and normal tails a fair sampler fails this
    about once in 10^5 seeds."""
    problem, n = random_problem(gamma=0.7), 20_000
    for i in range(3):
        agent = federate(problem, steps(), seed=7).agents[i]
        log_pi = policy(1, 4, 3)
        truth, guess = exact(agent, log_pi), sampled(agent, log_pi, samples=n)
        error = (1.7 / n) ** 0.5 / 0.3
        assert np.abs(guess.cost_values - truth.cost_values).max() < 5 * error
        # An advantage is the difference of two independent estimates.
        assert np.abs(guess.advantages - truth.advantages).max() < 5 * 2**0.5 * error
        assert np.abs(guess.advantages - truth.advantages).max() > 0
        starts = n * 4 * (3 + 1)
        assert abs(agent.transitions - starts / 0.3) < 5 * (starts * 0.7) ** 0.5 / 0.3


def test_sparse_simulator_draws_the_same():
    dense = random_problem().cmdp
    sparse = dense.replace(P=sp.csr_array(dense.P.reshape(12, 4)))
    assert all(np.array_equal(a, b) for a, b in zip(simulator(dense), simulator(sparse)))


def test_sampled_run_depends_on_its_seed_only():
    problem = random_problem()
    kwargs = {
        "local_steps": 2,
        "samples": 2,
        "eta": 0.01,
        "eta_dual": 0.01,
        "dual_cap": 1.0,
        "compare": False,
    }
    a, b, c = (run("sampled-fednpg", problem, 5, seed=s, **kwargs) for s in (1, 1, 2))
    assert np.array_equal(a.value.value, b.value.value)
    assert not np.array_equal(a.value.value, c.value.value)
    assert (a.transitions > 0).all()
    assert a.to_dict()["transitions"] == a.transitions.sum()
    assert a.log_normaliser is None
    assert a.seed == 1


def test_steps_use_maxima_not_spans():
    problem = FederatedCMDP(random_problem().cmdp.replace(r=np.ones((4, 3))), [[0], [1, 2], [0, 2]])
    B = magnitudes(problem, np.full(3, 2.0))
    largest = np.abs(problem.cmdp.c).max(axis=(1, 2))
    expected = [1 / 3 + 2 * sum(largest[j] for j in seen) for seen in problem.visible]
    assert pytest.approx(expected) == B
    result = run("sampled-fednpg", problem, 3, dual_cap=2.0, compare=False)
    # F3 with E = 1 and rhat^2 = B^2 |A| (1+gamma)/(1-gamma)^2: eta^2 = 8 N log|A| (1-gamma)^2/(T sum rhat^2).
    r_hat = np.array(expected) ** 2 * 3 * 1.8 / 0.04
    assert result.parameters["eta"] == pytest.approx((8 * 3 * np.log(3) * 0.04 / (3 * r_hat.sum())) ** 0.5)


@pytest.mark.parametrize("samples", [0, 1.5, "many"])
def test_bad_sample_sizes_are_refused(samples):
    with pytest.raises(InvalidProblem, match="samples"):
        run("sampled-fednpg", random_problem(), 3, samples=samples)
