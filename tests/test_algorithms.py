"""The iterations against closed forms, brute force and each other."""

import numpy as np
import pytest
import scipy.sparse as sp
from test_federation import random_problem

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.policies import log_softmax
from tabular_fedrl.runner import run

FREE = {"compare": False, "record": "iterates"}


def bandit(r, c, d, visible=None):
    """A single state with gamma = 0: V_f is the mean of f under the policy."""
    r, c = np.atleast_2d(r), np.asarray(c, dtype=float)[:, None, :]
    return FederatedCMDP(CMDP(np.ones((1, r.shape[1], 1)), r, c, d, [1.0], 0.0), visible)


def same(a, b, tolerance=0.0):
    return np.abs(np.exp(a) - np.exp(b)).max() <= tolerance


@pytest.mark.parametrize("aggregation", ["arithmetic", "geometric"])
def test_fednpg_with_one_agent_is_npg_pd(aggregation):
    problem = random_problem(visible=[[0, 1, 2]])
    steps = {"eta": 0.5, "eta_dual": [0.1, 0.2, 0.3], "dual_cap": 4.0}
    one = run("fednpg", problem, 50, aggregation=aggregation, **steps, **FREE)
    central = run("npg-pd", problem, 50, **steps, **FREE)
    assert same(one.iterates.log_policies, central.iterates.log_policies)
    assert np.array_equal(one.multipliers, central.multipliers)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("visible", [[[0], [1], [2]], [[0, 1], [1, 2]], [[0, 1, 2]] * 4])
def test_geometric_fednpg_with_one_step_is_centralised(seed, visible):
    """F2: eta/N, and n_j times the dual step and cap of every constraint."""
    problem = random_problem(seed, visible=visible)
    n = problem.observers
    eta, eta_dual, cap = 2.0, np.array([0.1, 0.2, 0.05]), np.array([1.0, 0.4, 3.0])
    lam = np.array([0.3, 0.1, 0.2])
    steps = {"eta": eta, "eta_dual": eta_dual, "dual_cap": cap, "initial_multipliers": lam}
    federated = run("fednpg", problem, 60, aggregation="geometric", **steps, **FREE)
    together = {"eta_dual": n * eta_dual, "dual_cap": n * cap, "initial_multipliers": n * lam}
    central = run("npg-pd", problem, 60, eta=eta / problem.N, **together, **FREE)
    assert same(federated.iterates.log_policies, central.iterates.log_policies, 1e-12)
    total = np.nansum(federated.multipliers, axis=1)
    assert np.abs(total - central.multipliers[:, 0]).max() <= 1e-12
    arithmetic = run("fednpg", problem, 60, **steps, **FREE)
    coincide = (
        problem.N == 4
    )  # agents with the same constraints have the same policies, and any mean returns them
    assert same(arithmetic.iterates.log_policies, central.iterates.log_policies, 1e-6) == coincide


def test_arithmetic_mean_agrees_to_second_order():
    problem = random_problem()
    gaps = []
    for eta in (4e-4, 2e-4, 1e-4):
        ends = [
            run(
                "fednpg",
                problem,
                1,
                aggregation=mean,
                eta=eta,
                eta_dual=0,
                dual_cap=3,
                initial_multipliers=[1, 2, 3],
                **FREE,
            ).final_log_policy
            for mean in ("arithmetic", "geometric")
        ]
        gaps.append(np.abs(np.exp(ends[0]) - np.exp(ends[1])).sum(axis=1).max())
    orders = np.log2(np.array(gaps[:-1]) / np.array(gaps[1:]))
    assert (np.abs(orders - 2) < 0.1).all()


def test_first_step_is_the_natural_gradient():
    """Fisher pseudo-inverse times a central difference of the local Lagrangian, on a tiny instance."""
    problem = random_problem(S=2, A=3, m=2, visible=[[0], [1]])
    cmdp, eta, lam = problem.cmdp, 0.3, 0.7
    kwargs = {"eta": eta, "eta_dual": 0.2, "dual_cap": 5, "initial_multipliers": lam, "local_steps": 2}
    start, end = run("fednpg", problem, 1, **kwargs, **FREE).iterates.local[0, 1, 1:]

    def lagrangian(theta):
        pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        P = np.einsum("sa,sat->st", pi, cmdp.P)
        f = cmdp.r / 2 - lam_now * cmdp.c[1]
        return cmdp.rho @ np.linalg.solve(np.eye(2) - cmdp.gamma * P, (pi * f).sum(axis=1))

    lam_now = run("fednpg", problem, 1, **kwargs, **FREE).multipliers[0, 1, 1, 1]
    basis = np.eye(6).reshape(6, 2, 3)
    gradient = np.array([(lagrangian(start + 1e-5 * b) - lagrangian(start - 1e-5 * b)) / 2e-5 for b in basis])
    pi = np.exp(start)
    P = np.einsum("sa,sat->st", pi, cmdp.P)
    d = np.linalg.solve(np.eye(2) - cmdp.gamma * P.T, (1 - cmdp.gamma) * cmdp.rho)
    fisher = np.zeros((6, 6))
    for s in range(2):
        for a in range(3):
            score = np.zeros((2, 3))
            score[s] = -pi[s]
            score[s, a] += 1
            fisher += d[s] * pi[s, a] * np.outer(score, score)
    theta = start + eta * (np.linalg.pinv(fisher, rcond=1e-10) @ gradient).reshape(2, 3)
    assert same(log_softmax(theta), end, 1e-8)

    kwargs["eta"] = 0.9
    start, end = run("fedpg", problem, 1, **kwargs, **FREE).iterates.local[0, 1, 1:]
    lam_now = run("fedpg", problem, 1, **kwargs, **FREE).multipliers[0, 1, 1, 1]
    gradient = np.array([(lagrangian(start + 1e-5 * b) - lagrangian(start - 1e-5 * b)) / 2e-5 for b in basis])
    assert same(log_softmax(start + 0.9 * gradient.reshape(2, 3)), end, 1e-8)


@pytest.mark.parametrize("E", [1, 7, 40, 200])
def test_bandit_of_section_6(E):
    """f_i = r/2 - lam c_i = (1,0,.9) and (0,1,.9): a round multiplies pi(3)/pi(1) by 2 e^{.9x}/(e^x+1), x = E
    eta."""
    problem = bandit([2, 2, 1.8], [[0, 1, 0], [1, 0, 0]], [0.5, 0.5])
    x = E * 0.05
    fixed = {"local_steps": E, "eta": 0.05, "eta_dual": 0, "dual_cap": 1, "initial_multipliers": 1.0}
    arithmetic = run("fednpg", problem, 3, **fixed, **FREE).iterates.log_policies[:, 0]
    ratio = np.diff(arithmetic[:, 2] - arithmetic[:, 0])
    # The closed form is for arms 1 and 2 alike, which symmetry keeps true round after round.
    assert np.allclose(ratio, np.log(2 * np.exp(0.9 * x) / (np.exp(x) + 1)), atol=1e-11)
    assert (ratio[0] > 0) == (x < 6.9)
    geometric = run("fednpg", problem, 3, aggregation="geometric", **fixed, **FREE).iterates.log_policies[
        :, 0
    ]
    assert np.allclose(np.diff(geometric[:, 2] - geometric[:, 0]), 0.4 * x, atol=1e-11)


def test_dual_step_by_hand():
    """Simultaneous: V at the policy before the step; clipped at 0 and at the cap; private and never reset."""
    problem = bandit([0, 1], [[0, 1], [1, 0]], [0.2, 0.9])
    result = run("fednpg", problem, 2, local_steps=2, eta=1.0, eta_dual=2.0, dual_cap=0.5, **FREE)
    # Agent 0 starts at V_c = 1/2: 0 + 2 (.5 - .2) = .6, clipped to .5; agent 1: 0 + 2 (.5 - .9) < 0.
    assert result.multipliers[0, 0, :, 0].tolist() == [0.0, 0.5]
    assert result.multipliers[0, 1, :, 1].tolist() == [0.0, 0.0]
    assert np.isnan(result.multipliers[:, 0, :, 1]).all()
    # Its first step saw lam = 0, f = r/2: odds e^{1/2}; its second f = (0, 1/2 - 1/2): no move.
    local = np.exp(result.iterates.local[0, 0, :, 0, 1])
    assert local == pytest.approx([0.5, np.e**0.5 / (1 + np.e**0.5)] + [np.e**0.5 / (1 + np.e**0.5)])
    assert result.multipliers[1, 0, 0, 0] == 0.5


def test_isolated_agents_solve_their_own_problem():
    problem = random_problem(visible=[[0], [1], [2]])
    kwargs = {"local_steps": 3, "eta": 0.3, "eta_dual": 0.1, "dual_cap": 4}
    together = run("isolated", problem, 8, **kwargs, **FREE)
    for i in range(3):
        alone = FederatedCMDP(problem.view(i))
        single = run("omniscient", alone, 8, **kwargs, **FREE)
        assert np.array_equal(together.iterates.local[:, i], single.iterates.local[:, 0])
        assert np.array_equal(together.iterates.log_policies[:, i], single.iterates.log_policies)
    values = evaluate(problem.cmdp, together.iterates.log_policies[:-1]).at_rho.value.mean(axis=1)
    assert together.value.value == pytest.approx(values[:, 0])
    assert together.costs.value == pytest.approx(values[:, 1:])


def test_shared_table_is_updated_in_turn():
    problem = random_problem(visible=[[0], [1], [2]])
    result = run("sequential-shared", problem, 5, local_steps=2, eta=0.3, eta_dual=0.1, dual_cap=4, **FREE)
    local, pibar = result.iterates.local, result.iterates.log_policies
    assert np.array_equal(local[:, 0, 0], pibar[:-1])
    assert np.array_equal(local[:, 1:, 0], local[:, :-1, -1])
    assert np.array_equal(local[:, -1, -1], pibar[1:])  # the common table is their mean


def test_regularised_bandit_has_a_closed_form():
    """Without constraints log pi_k = (1 - (1 - eta tau)^k) r/tau, normalised, for one agent."""
    r = np.array([0.3, 1.0, -0.4])
    problem = bandit(r, np.zeros((0, 3)), [])
    result = run("regularised-fednpg", problem, 30, tau=0.5, eta=0.4, **FREE)
    k = np.arange(31)[:, None]
    expected = log_softmax((1 - (1 - 0.4 * 0.5) ** k) / 0.5 * r)
    assert np.abs(result.iterates.log_policies[:, 0] - expected).max() < 1e-13


def test_regularised_step_by_hand():
    """Two agents on a bandit: f_i = r/2 - lam c - (tau/2) log pi, exponent eta f_i, dual step eta/2."""
    problem = bandit([0, 1], [[0, 1], [1, 0]], [0.2, 0.9])
    eta, tau, lam = 0.6, 0.3, 0.4
    result = run(
        "regularised-fednpg", problem, 1, tau=tau, eta=eta, dual_cap=2, initial_multipliers=lam, **FREE
    )
    first = log_softmax(eta * np.array([0, 0.5 - lam]))
    assert same(result.iterates.local[0, 0, 1, 0], first, 1e-15)
    expected = lam + eta / 2 * (np.array([0.5 - 0.2, 0.5 - 0.9]) - tau * lam)
    assert np.diag(result.final_multipliers) == pytest.approx(expected, abs=1e-15)


def test_regularised_fixed_point_is_the_soft_optimum():
    """Soft value iteration, an independent method, finds the policy the iteration settles at."""
    problem = FederatedCMDP(random_problem(m=1, visible=[[0]]).cmdp.only([]))
    cmdp, tau = problem.cmdp, 0.2
    V = np.zeros(cmdp.S)
    for _ in range(2000):
        Q = cmdp.r + cmdp.gamma * cmdp.P @ V
        V = tau * np.log(np.exp(Q / tau).sum(axis=1))
    result = run("regularised-fednpg", problem, 200, tau=tau, eta=4.0, **FREE)
    assert np.abs(result.final_log_policy - log_softmax(Q / tau)).max() < 1e-9


@pytest.mark.parametrize("name", ["fednpg", "fedpg", "regularised-fednpg"])
def test_sparse_and_dense_agree(name):
    problem = random_problem()
    rows = problem.cmdp.P.reshape(12, 4)
    sparse = FederatedCMDP(problem.cmdp.replace(P=sp.csr_array(rows)), problem.visible)
    steps = {"eta": 0.3, "dual_cap": 3.0} | ({} if name == "regularised-fednpg" else {"eta_dual": 0.1})
    a, b = (run(name, p, 10, **steps, **FREE) for p in (problem, sparse))
    assert same(a.iterates.log_policies, b.iterates.log_policies, 1e-10)
