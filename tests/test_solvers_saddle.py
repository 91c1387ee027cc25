"""The regularised saddle point: closed forms, brute force, first-order conditions, error bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import entropy, evaluate, evaluate_soft, visitation
from tabular_fedrl.policies import kl, log_softmax, uniform
from tabular_fedrl.solvers import saddle, solve
from tabular_fedrl.solvers.saddle import soft_optimum
from tests.problems import bandit, random_cmdp


def lagrangian(problem: FederatedCMDP, tau: float, log_pi: np.ndarray, multipliers: np.ndarray) -> float:
    """L_tau as theory F4 writes it, over the pairs (i, j)."""
    cmdp = problem.cmdp
    values = evaluate(cmdp, log_pi).at_rho.value
    H = evaluate(
        cmdp, log_pi, np.broadcast_to(entropy(log_pi).value[:, None], (1, cmdp.S, cmdp.A))
    ).at_rho.value[0]
    pairs = np.where(problem.mask, multipliers, 0.0)
    return float(values[0] - (pairs * (values[1:] - cmdp.d)).sum() + tau * H + tau / 2 * (pairs**2).sum())


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_bandit_in_closed_form(tau):
    """Reward (1, 0), cost (1, 0): pi(0) = sigmoid((1 - lam)/tau), and lam solves pi(0) - d = tau lam."""
    d = 0.3
    lam = brentq(lambda x: 1 / (1 + np.exp(-(1 - x) / tau)) - d - tau * x, 0, 10, xtol=1e-15, rtol=1e-15)
    point = saddle(bandit([1.0, 0.0], [[1, 0]], [d]), tau, 10.0)
    assert point.multipliers[0, 0] == pytest.approx(lam, abs=1e-12)
    assert np.exp(point.log_policy[0, 0]) == pytest.approx(d + tau * lam, abs=1e-12)
    # g(lam) = tau log(e^{(1-lam)/tau} + 1) + lam d + tau lam^2/2
    value = tau * np.logaddexp((1 - lam) / tau, 0) + lam * d + tau * lam**2 / 2
    assert abs(float(point.value) - value) <= float(point.value.error) + 1e-14


def test_bandit_against_brute_force():
    """A grid over the multipliers of the notes' bandit, each with its softmax."""
    tau, r = 0.2, np.array([1, 1, 0.9])
    c, d = np.array([[0, 1, 0], [1, 0, 0.0]]), np.array([0.2, 0.2])
    problem = bandit(r, c, d)
    point = saddle(problem, tau, 10.0)
    grid = np.linspace(0, 1, 401)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    score = (r - x[..., None] * c[0] - y[..., None] * c[1]) / tau
    dual = tau * np.log(np.exp(score).sum(-1)) + x * d[0] + y * d[1] + tau / 2 * (x**2 + y**2)
    i, j = np.unravel_index(dual.argmin(), dual.shape)
    assert dual.min() >= float(point.value.lower)
    assert dual.min() <= float(point.value) + 1e-5
    assert abs(grid[i] - point.multipliers[0, 0]) <= 2 / 400
    assert abs(grid[j] - point.multipliers[1, 1]) <= 2 / 400


def overlapping(seed: int, gamma: float) -> FederatedCMDP:
    cmdp = random_cmdp(seed, S=4, A=3, m=3, gamma=gamma)
    return FederatedCMDP(cmdp, [[0, 1], [1, 2], [1]])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_first_order_conditions_and_errors(gamma, tau):
    """To 1e-10: pi is the softmax of its soft Q, the multipliers are stationary and shared by observers."""
    for seed in range(4):
        problem, cap = overlapping(seed, gamma), 5.0
        cmdp = problem.cmdp
        point = saddle(problem, tau, cap)
        assert np.isnan(point.multipliers).tolist() == (~problem.mask).tolist()
        lam = np.nanmax(point.multipliers, axis=0)
        assert np.nanmin(point.multipliers, axis=0).tolist() == lam.tolist()
        reward = cmdp.r - np.tensordot(problem.observers * lam, cmdp.c, axes=1)
        soft = evaluate_soft(cmdp, point.log_policy, reward[None], tau)
        assert np.abs(log_softmax(soft.Q.value[0] / tau) - point.log_policy).max() <= 1e-10
        costs = evaluate(cmdp, point.log_policy, cmdp.c).at_rho.value
        fixed = np.clip((costs - cmdp.d) / tau, 0.0, cap)
        assert np.abs(fixed - lam).max() <= 1e-10
        assert point.residual <= 1e-10
        assert point.multiplier_error <= 1e-7
        assert float(point.value.error) <= 1e-10
        assert abs(lagrangian(problem, tau, point.log_policy, point.multipliers) - float(point.value)) <= 1e-9


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_it_is_a_saddle(tau):
    """No other policy raises L_tau, no other multipliers lower it; with the moduli of F4."""
    problem = overlapping(1, 0.9)
    cmdp, cap = problem.cmdp, 5.0
    point = saddle(problem, tau, cap)
    centre = float(point.value)
    g = np.random.default_rng(0)
    for size in (1e-3, 0.1, 2.0):
        for _ in range(10):
            log_pi = log_softmax(point.log_policy + size * g.normal(size=point.log_policy.shape))
            # L(pi*, lam*) - L(pi, lam*) = tau/(1-gamma) E_{d^pi} KL(pi || pi*) exactly
            drop = (
                tau * float(visitation(cmdp, log_pi).value @ kl(log_pi, point.log_policy)) / (1 - cmdp.gamma)
            )
            assert lagrangian(problem, tau, log_pi, point.multipliers) == pytest.approx(
                centre - drop, abs=1e-9
            )
            moved = np.clip(point.multipliers + size * g.normal(size=point.multipliers.shape), 0, cap)
            rise = tau / 2 * float(np.nansum((moved - point.multipliers) ** 2))
            assert lagrangian(problem, tau, point.log_policy, moved) >= centre + rise - 1e-9


def test_multipliers_stop_at_the_cap_and_at_zero():
    problem = bandit([1.0, 0.0, 0.0], [[1, 0, 0], [0, 0, 1]], [0.05, 0.9])
    point = saddle(problem, 0.1, 0.2)
    assert point.multipliers[0, 0] == 0.2
    assert point.multipliers[1, 1] == 0.0
    assert point.residual == 0.0
    assert point.multiplier_error == 0.0


def test_observers_share_the_work():
    """Two observers of one constraint: each multiplier is below a single observer's, the sum above."""
    cmdp = bandit([1.0, 0.0], [[1, 0]], [0.3])
    one = saddle(cmdp, 0.3, 10.0).multipliers[0, 0]
    two = saddle(FederatedCMDP(cmdp, [[0], [0]]), 0.3, 10.0).multipliers
    assert two[0, 0] == two[1, 0] < one < two.sum()


@pytest.mark.parametrize("tau", [1.0, 0.1, 0.01])
def test_distance_from_the_constrained_optimum(tau):
    """V_r* - tau log A/(1-gamma) <= V_r(pi_tau) <= V_r* + tau lam* lam_tau.

    Below: L_tau(pi_tau, lam_tau) >= L_tau(pi*, lam_tau) >= V_r*, and lam (V_c - d) = tau lam^2 below the
    cap. Above: the violation is tau lam_tau, priced by lam*.
    """
    cmdp = random_cmdp(2, S=4, A=3, m=1, gamma=0.5)
    optimum, point = solve(cmdp), saddle(cmdp, tau, 50.0)
    gap = float(evaluate(cmdp, point.log_policy).at_rho.value[0]) - float(optimum.value)
    assert gap >= -tau * np.log(3) / 0.5
    assert gap <= tau * optimum.multipliers[0] * point.multipliers[0, 0] + 1e-10


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
def test_error_bounds_cover_a_nearby_perturbed_answer(gamma):
    """Two computations (dense, sparse) are within the bounds of each other."""
    dense = saddle(random_cmdp(6, S=5, A=3, m=2, gamma=gamma), 0.5, 10.0)
    sparse = saddle(random_cmdp(6, S=5, A=3, m=2, gamma=gamma, sparse=True), 0.5, 10.0)
    apart = np.sqrt(np.nansum((dense.multipliers - sparse.multipliers) ** 2))
    assert apart <= dense.multiplier_error + sparse.multiplier_error
    log_apart = np.abs(dense.log_policy - sparse.log_policy).max()
    assert log_apart <= dense.log_policy_error + sparse.log_policy_error
    assert abs(float(dense.value) - float(sparse.value)) <= float(dense.value.error) + float(
        sparse.value.error
    )


def test_without_constraints_it_is_the_soft_optimum():
    cmdp = random_cmdp(3, S=4, A=3, m=1, gamma=0.9).only([])
    point = saddle(cmdp, 0.2, 1.0)
    assert point.multipliers.shape == (1, 0)
    # soft value iteration, long enough
    V = np.zeros(4)
    for _ in range(400):
        Q = cmdp.r + 0.9 * cmdp.P @ V
        V = 0.2 * np.log(np.exp(Q / 0.2).sum(axis=1))
    assert np.abs(log_softmax(Q / 0.2) - point.log_policy).max() <= 1e-10
    assert abs(float(cmdp.rho @ V) - float(point.value)) <= 1e-10
    assert np.abs(soft_optimum(cmdp, np.ones((4, 3)), 0.2) - uniform(4, 3)).max() <= 1e-12


@pytest.mark.parametrize(
    ("tau", "cap", "message"), [(0.0, 1.0, "tau = 0"), (0.1, -1.0, "dual_cap"), (np.inf, 1.0, "tau")]
)
def test_bad_parameters(tau, cap, message):
    with pytest.raises(InvalidProblem, match=message):
        saddle(bandit([1.0, 0.0], [[1, 0]], [0.3]), tau, cap)
