"""Evaluation against exact rational arithmetic: the stated error covers the true one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from flint import arb
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import (
    at_start,
    average,
    entropy,
    evaluate,
    evaluate_soft,
    policy_values,
    visitation,
)
from tabular_fedrl.instances import grid, ring
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_softmax, uniform
from tests.exact import ExactValues, encloses, policy, rational
from tests.problems import GAMMAS, random_cmdp


def some_policy(cmdp: CMDP, seed: int, scale: float = 3.0) -> np.ndarray:
    g = np.random.default_rng([seed, 1])
    return log_softmax(scale * g.normal(size=(cmdp.S, cmdp.A)))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("sparse", [False, True])
def test_error_bound_covers_the_exact_value_on_many_instances(gamma, sparse):
    """5 discounts x 2 representations x 20 instances = 200."""
    for seed in range(20):
        cmdp = random_cmdp(seed, S=2 + seed % 5, A=2 + seed % 3, m=1 + seed % 2, gamma=gamma, sparse=sparse)
        log_pi = some_policy(cmdp, seed, scale=[0.0, 1.0, 30.0][seed % 3])
        if seed % 4 == 0:  # a deterministic policy
            log_pi = np.where(log_pi == log_pi.max(axis=1, keepdims=True), 0.0, -np.inf)
            log_pi[:, 1:][log_pi[:, :1].ravel() == 0] = -np.inf
        exact = ExactValues(cmdp, policy(log_pi))
        values = evaluate(cmdp, log_pi)
        assert encloses(values.V, exact.V)
        assert encloses(values.Q, exact.Q)
        assert encloses(values.at_rho, exact.at_rho)
        d = visitation(cmdp, log_pi)
        off = sum(abs(x - rational(v)) for x, v in zip(exact.visitation, d.value))
        assert off <= rational(d.error[0])
        # A bound that covers everything would cover anything: it must also be small.
        horizon = 1 / (1 - gamma)
        assert values.V.error.max() <= 1e-12 * horizon**2
        shifted = Measured(values.V.value + 2 * values.V.error + 1e-300, values.V.error)
        assert gamma == 0 or not encloses(shifted, exact.V)
        assert d.error.max() <= 1e-12 * horizon


def test_rows_that_sum_to_one_only_nearly_stand_for_normalised_ones():
    g = np.random.default_rng(0)
    P = g.dirichlet(np.ones(4), size=(4, 2)) * (1 + 1e-10 * g.uniform(-1, 1, size=(4, 2, 1)))
    cmdp = CMDP(P, g.random((4, 2)), np.zeros((0, 4, 2)), [], np.full(4, 0.25), 0.99)
    log_pi = some_policy(cmdp, 0)
    assert encloses(evaluate(cmdp, log_pi).V, ExactValues(cmdp, policy(log_pi)).V)


def test_two_state_chain_by_hand():
    """From state 0 (reward 1) to state 1 (reward 0, absorbing) with probability 1/2: V(0) = 1/(1 -
    gamma/2)."""
    P = np.array([[[0.5, 0.5]], [[0.0, 1.0]]])
    cmdp = CMDP(P, [[1.0], [0.0]], np.zeros((0, 2, 1)), [], [1.0, 0.0], 0.5)
    values = evaluate(cmdp, uniform(2, 1))
    assert values.at_rho.value[0] == pytest.approx(4 / 3, abs=1e-15)
    # d(0) = (1 - gamma)/(1 - gamma/2) = 2/3
    assert visitation(cmdp, uniform(2, 1)).value == pytest.approx([2 / 3, 1 / 3], abs=1e-15)


def test_batches_agree_with_single_policies():
    cmdp = random_cmdp(3, S=5, A=3, m=2, gamma=0.9)
    batch = np.stack([some_policy(cmdp, s) for s in range(4)]).reshape(2, 2, 5, 3)
    together = evaluate(cmdp, batch)
    assert together.V.shape == (2, 2, 3, 5)
    assert together.Q.shape == together.advantage.shape == (2, 2, 3, 5, 3)
    for i in range(2):
        for j in range(2):
            alone = evaluate(cmdp, batch[i, j])
            assert np.abs(together.V.value[i, j] - alone.V.value).max() <= 2 * alone.V.error.max()
            V, Q = policy_values(cmdp, batch[i, j])
            assert np.abs(V - alone.V.value).max() <= 2 * alone.V.error.max()
            assert np.abs(Q - alone.Q.value).max() <= 2 * alone.Q.error.max()


@pytest.mark.parametrize("gamma", GAMMAS)
def test_advantage_has_mean_zero_and_visitation_sums_to_one(gamma):
    cmdp = random_cmdp(5, S=6, A=3, m=1, gamma=gamma)
    log_pi = some_policy(cmdp, 5)
    values = evaluate(cmdp, log_pi)
    mean = (np.exp(log_pi) * values.advantage.value).sum(axis=-1)
    assert np.abs(mean).max() <= values.advantage.error.max()
    d = visitation(cmdp, log_pi)
    assert abs(d.value.sum() - 1) <= d.error[0]
    # V_f(rho) = <x, f>/(1-gamma)
    f_pi = (np.exp(log_pi) * cmdp.signals).sum(axis=-1)
    through_d = average(d, f_pi) / (1 - gamma)
    gap = np.abs(through_d.value - values.at_rho.value)
    assert (gap <= through_d.error + values.at_rho.error + 1e-15 / (1 - gamma)).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("tau", [0.01, 1.0])
def test_soft_values_satisfy_their_equations(gamma, tau):
    cmdp = random_cmdp(7, S=5, A=3, m=2, gamma=gamma)
    log_pi = some_policy(cmdp, 7)
    soft = evaluate_soft(cmdp, log_pi, cmdp.signals, tau)
    pi = np.exp(log_pi)
    V = (pi * (soft.Q.value - tau * log_pi)).sum(axis=-1)
    Q = cmdp.signals + gamma * np.einsum("sat,kt->ksa", cmdp.P, soft.V.value)
    assert np.abs(V - soft.V.value).max() <= 1e-12 / (1 - gamma)
    assert np.abs(Q - soft.Q.value).max() <= 1e-12 / (1 - gamma)
    # the same values from the policy-dependent signal f - tau log pi, through the exact oracle
    exact = ExactValues(cmdp, policy(log_pi), cmdp.signals - tau * log_pi)
    for k in range(3):
        for s in range(5):
            assert abs(rational(soft.V.value[k, s]) - exact.V[k][s]) <= rational(
                soft.V.error[k, s]
            ) + rational(1e-15)


def test_entropy_of_known_policies():
    with np.errstate(divide="ignore"):
        log_pi = np.log(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
    H = entropy(log_pi)
    assert (np.abs(H.value - [np.log(2), 0.0, np.log(3)]) <= H.error + 1e-16).all()
    assert H.error.max() < 1e-13


@given(st.integers(0, 10_000), st.sampled_from([1.0, 40.0, 1e3]), st.integers(1, 9))
def test_entropy_is_that_of_the_normalised_rows(seed, size, A):
    """Logits of any size, some of them impossible, against 300 bits."""
    g = np.random.default_rng(seed)
    logits = size * g.standard_normal((4, A)) + size
    logits[g.random((4, A)) < 0.2] = -np.inf
    logits[:, 0] = 0.0
    H = entropy(logits)
    for s, row in enumerate(policy(logits)):
        exact = -sum((p * p.log() for p in map(arb, row) if p > 0), arb(0))
        assert abs(exact - arb(float(H.value[s]))) <= arb(float(H.error[s]))


def circle(S: int, gamma: float) -> CMDP:
    """Action 0 goes one state on, action 1 back, each with probability .9; else it stays."""
    states = np.arange(S)
    rows = np.repeat(np.arange(2 * S), 2)
    forth = np.stack([(states + 1) % S, states], axis=1)
    back = np.stack([(states - 1) % S, states], axis=1)
    cols = np.stack([forth, back], axis=1).ravel()
    P = sp.csr_array((np.tile([0.9, 0.1], 2 * S), (rows, cols)), shape=(2 * S, S))
    r = np.sin(states)[:, None] * np.ones((1, 2))
    return CMDP(P, r, np.zeros((0, S, 2)), [], states == 0, gamma)


@pytest.mark.parametrize("gamma", [0.9, 0.999])
def test_large_sparse_problems(gamma):
    """1e5 states: a ring (eliminated) and a random graph (Krylov), to a small stated error."""
    on_ring = circle(100_000, gamma)
    values = evaluate(on_ring, uniform(100_000, 2))
    assert values.V.error.max() <= 1e-10 / (1 - gamma)
    g = np.random.default_rng(1)
    S, b = 100_000, 3
    P = sp.csr_array(
        (np.full(b * S, 1 / 3), (np.repeat(np.arange(S), b), g.integers(0, S, b * S))), shape=(S, S)
    )
    cmdp = CMDP(P, g.random((S, 1)), np.zeros((0, S, 1)), [], np.full(S, 1 / S), gamma)
    values = evaluate(cmdp, uniform(S, 1))
    assert values.V.error.max() <= 1e-10 / (1 - gamma) ** 2
    d = visitation(cmdp, uniform(S, 1))
    assert abs(d.value.sum() - 1) <= d.error[0] < 1e-6
    gap = abs(average(d, cmdp.r[:, 0]).value / (1 - gamma) - values.at_rho.value[0])
    assert gap <= d.error[0] / (1 - gamma) + values.at_rho.error[0]


def test_a_policy_of_the_wrong_shape_is_refused():
    cmdp = random_cmdp(0, S=3, A=2, m=1, gamma=0.5)
    with pytest.raises(InvalidProblem, match=r"expected \(\.\.\., 3, 2\)"):
        evaluate(cmdp, uniform(2, 3))


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.999])
def test_values_at_the_start_alone_are_enclosed_too(gamma):
    for seed in range(6):
        cmdp = random_cmdp(seed, S=6, A=3, m=2, gamma=gamma, sparse=True)
        log_pi = some_policy(cmdp, seed)
        exact = ExactValues(cmdp, policy(log_pi))
        alone = at_start(cmdp, log_pi)
        assert encloses(alone, exact.at_rho)
        assert alone.error.max() <= 1e-12 / (1 - gamma) ** 2
        actions = np.arange(6) % 3
        sure = at_start(cmdp, actions, cmdp.c)
        exact = ExactValues(cmdp, [[int(a == b) for b in range(3)] for a in actions], cmdp.c)
        assert encloses(sure, exact.at_rho)
        assert not encloses(Measured(sure.value + 2 * sure.error + 1e-300, sure.error), exact.at_rho)
        # A loose tolerance costs accuracy, which the radius says.
        loose = at_start(cmdp, actions, cmdp.c, start=np.full((6, 2), 0.5 / (1 - gamma)), tolerance=10.0)
        assert encloses(loose, exact.at_rho)


@pytest.mark.parametrize("problem", [ring(S=300, A=3, b=2, m=1), grid(rows=17, columns=19, m=1)])
def test_both_structures_against_dense_elimination(problem):
    log_pi = some_policy(problem, 4)
    S, A = problem.S, problem.A
    stored = problem.replace(P=problem.P.toarray().reshape(S, A, S))
    sparse, dense = evaluate(problem, log_pi), evaluate(stored, log_pi)
    for ours, theirs in ((sparse.V, dense.V), (sparse.Q, dense.Q), (sparse.at_rho, dense.at_rho)):
        assert (np.abs(ours.value - theirs.value) <= ours.error + theirs.error).all()
        assert ours.error.max() <= 3 * theirs.error.max()
    d, e = visitation(problem, log_pi), visitation(stored, log_pi)
    assert np.abs(d.value - e.value).sum() <= d.error[0] + e.error[0]
    assert d.error[0] <= 1e-11
