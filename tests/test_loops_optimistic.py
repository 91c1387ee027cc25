"""OPG-PD in lockstep against the specification, problem by problem."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cmdps
from test_loops import drifts, random_batch, random_steps

from tabular_fedrl.algorithms.opg_pd import opg_pd
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import PublicSteps, federate
from tabular_fedrl.loops import Iterated, optimistic
from tabular_fedrl.runner import run, run_batch


def specification(batch, i, K, eta, eta_dual, cap, lam):
    """The rounds of NumPy: values ``(K, 1+m)``, policies ``(K+1, S, A)``, the last multipliers."""
    cmdp = batch.problem(i).cmdp
    problem = batch.central().problem(i)
    federation = federate(
        problem, PublicSteps(eta[i], eta_dual[i], cap[i]), reward_factor=1.0, initial_multipliers=lam[i][None]
    )
    rounds = list(islice(opg_pd(federation), K))
    policies = np.exp([r.log_policy for r in rounds] + [rounds[-1].next_log_policy])
    values = []
    for pi in policies[:K]:
        P, f = np.einsum("sa,sat->st", pi, batch.P[i]), np.einsum("sa,ksa->ks", pi, cmdp.signals)
        values.append(np.linalg.solve(np.eye(batch.S) - cmdp.gamma * P, f.T).T @ batch.rho[i])
    return np.array(values), policies, rounds[-1].next_multipliers


def check(batch, K, eta, eta_dual, cap, lam):
    """The loop against NumPy; the last policies."""
    ours = optimistic(batch, K, eta, eta_dual, cap, initial_multipliers=lam)
    policies = np.exp(ours.log_policy)
    for i in range(batch.B):
        values, iterates, multipliers = specification(batch, i, K, eta, eta_dual, cap, lam)
        size = 1e-10 * np.abs(batch.signals[i]).max() / (1 - batch.gamma[i])
        for value, costs in ((ours.value, ours.costs), (ours.local_value, ours.local_costs)):
            assert abs(value[i] - values[:, 0].mean()) <= size
            assert np.abs(costs[i] - values[:, 1:].mean(axis=0)).max(initial=0.0) <= size
        moved = np.abs(np.diff(iterates, axis=0)).sum(axis=-1).max()
        assert abs(ours.drift[i] - moved) <= 1e-10
        assert abs(ours.step[i, 0] - moved) <= 1e-10
        assert np.abs(policies[i] - iterates[-1]).max() <= 1e-10
        assert np.allclose(ours.multipliers[i], multipliers, rtol=1e-10, atol=1e-10)
    assert ours.value_drift.shape == (batch.B, 1, 1 + batch.m)
    assert not ours.value_drift.any()
    return policies


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    B=st.integers(1, 10),
    S=st.integers(1, 5),
    A=st.integers(1, 6),
    m=st.integers(1, 3),
    long=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_the_loop_is_the_specification(seed, B, S, A, m, long):
    batch = random_batch(seed, B, S, A, m, 1)
    eta, eta_dual, cap = random_steps(seed + 1, batch)
    lam = cap * np.random.default_rng(seed).choice([0.0, 0.5, 1.0], size=cap.shape)
    check(batch, 12, long * eta, eta_dual, cap, lam)


@settings(max_examples=30)
@given(cmdp=cmdps(), eta=st.floats(0.01, 3.0))
def test_numbers_on_a_grid(cmdp, eta):
    """Ties, rows with zeros, no constraint; through the runner, whose own evaluation measures."""
    problems = [cmdp.replace(r=k * cmdp.r) for k in (1.0, -0.5, 0.0)]
    each = [{"eta": eta / k, "dual_cap": float(k), "initial_multipliers": 0.1 * k} for k in (1, 2, 3)]
    ours = run_batch("opg-pd", problems, 10, each)
    for i, (problem, own) in enumerate(zip(problems, each)):
        spec = run("opg-pd", problem, 10, compare=False, record="iterates", **own)
        size = 1e-10 / (1 - cmdp.gamma)
        assert abs(ours.value[i] - spec.average_value.value) <= size
        assert np.abs(ours.costs[i] - spec.average_costs.value).max(initial=0.0) <= size
        assert np.abs(ours.step[i] - drifts(spec)[0]).max() <= 1e-10
        assert np.abs(np.exp(ours.log_policy[i]) - np.exp(spec.final_log_policy)).max() <= 1e-10
        assert np.allclose(ours.multipliers[i], spec.final_multipliers, rtol=0, atol=1e-10)


def test_actions_that_are_given_up():
    """Their logarithm is -inf, which spoils nothing: they come back, and others go."""
    batch = random_batch(1, 20, 4, 5, 2, 1)
    eta, eta_dual, cap = random_steps(2, batch)
    policies = [check(batch, K, eta, eta_dual, cap, 0.5 * cap) for K in (5, 40)]
    zeros = [x == 0 for x in policies]
    assert (zeros[1] & ~zeros[0]).any()
    assert (zeros[0] & ~zeros[1]).any()
    assert max(np.abs(x.sum(axis=-1) - 1).max() for x in policies) < 1e-14


@pytest.mark.parametrize("K, spoiled", [(1, [2, 5]), (2, [2, 5, 7]), (9, [2, 5, 7])])
def test_an_overflow_stays_in_its_lane(K, spoiled):
    """One that comes with the first step, one that loses the 1 in it, one that comes with the multipliers."""
    batch = random_batch(3, 10, 4, 3, 2, 1)
    steps = random_steps(4, batch)
    eta, eta_dual, cap = wild = [x.copy() for x in steps]
    eta[2], eta[5], eta_dual[7], cap[7] = 1e308, 1e20, 1e300, 1e300
    batch.d[7] = -100.0
    ours, calm = optimistic(batch, K, *wild), optimistic(batch, K, *steps)
    assert np.flatnonzero(np.isnan(ours.log_policy).any(axis=(1, 2))).tolist() == spoiled
    for x, y in zip(vars(ours).values(), vars(calm).values()):
        assert np.array_equal(np.delete(x, [2, 5, 7], axis=0), np.delete(y, [2, 5, 7], axis=0))


def test_one_agent_sees_everything_whatever_the_mask():
    batch = random_batch(5, 4, 3, 3, 3, 3)
    steps = random_steps(6, batch)
    ours, central = optimistic(batch, 20, *steps), optimistic(batch.central(), 20, *steps)
    assert ours.multipliers.shape == (4, 1, 3)
    assert all(np.array_equal(getattr(ours, x), getattr(central, x)) for x in Iterated.__annotations__)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"rounds": 0}, "rounds = 0: expected a whole number from 1 on"),
        ({"eta": -1.0}, r"eta\[0\] = -1: expected numbers from 0 on"),
        ({"eta_dual": [[1.0, np.nan]]}, r"eta_dual\[0, 1\] = nan"),
        ({"initial_multipliers": np.zeros((1, 2, 1))}, r"initial_multipliers has shape .* expected \(2, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    steps = {"rounds": 1, "eta": 0.1, "eta_dual": 0.1, "dual_cap": 1.0}
    with pytest.raises(InvalidProblem, match=message):
        optimistic(random_batch(7, 2, 3, 2, 2, 1), **(steps | given))
