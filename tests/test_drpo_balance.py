"""Theorem C's quantities against their definitions, CE1, and the weights recommended."""

import numpy as np
import pytest
from problems import bandit

from tabular_fedrl.algorithms.drpo_balance import balance
from tabular_fedrl.algorithms.drpo_steps import aggregate, reverse_step
from tabular_fedrl.balls import Balls, precision
from tabular_fedrl.cmdp import CMDP, exact
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.policies import enclosed


def setting(seed, S=4, A=3, N=3, gamma=0.8, noise=0.2):
    rng = np.random.default_rng(seed)
    cmdp = CMDP(
        rng.dirichlet(np.ones(S), (S, A)), rng.random((S, A)), [], [], rng.dirichlet(np.ones(S)), gamma
    )
    log_pi = np.log(rng.dirichlet(np.ones(A), S))
    log_b = np.log(rng.dirichlet(np.ones(A), (N, S)))
    Q = evaluate(cmdp, log_pi).Q.value[0] + noise * rng.normal(size=(N, S, A))
    return cmdp, log_pi, log_b, Q, rng.dirichlet(np.ones(N))


def J(cmdp, log_pi):
    return float(evaluate(cmdp, log_pi, cmdp.r[None]).at_rho.value[0])


def test_the_terms_are_those_of_the_definition():
    cmdp, log_pi, log_b, Q, omega = setting(0)
    b = balance(cmdp, log_pi, log_b, Q, omega)
    p, d, q = np.exp(log_pi), visitation(cmdp, log_pi).value, evaluate(cmdp, log_pi).Q.value[0]
    U = Q + 0.3 * (log_b - log_pi)
    covariances = [(p * u * q).sum(1) - (p * u).sum(1) * (p * q).sum(1) for u in U]
    assert b.C_bar(0.3).value == pytest.approx(d @ (omega @ np.array(covariances)))
    assert b.R_U(0.3).value == pytest.approx(np.ptp(U, axis=2).max())
    assert b.R_Q.value == pytest.approx(np.ptp(q, axis=1).max())


@pytest.mark.parametrize("epsilon", [0.1, 0.01, 0.3])
def test_the_critical_weight_of_the_two_armed_bandit(epsilon):
    """CE1, T7: alpha_crit = 1/log((1 - eps)/eps); the gain changes sign there, for every beta."""
    cmdp = bandit([1.0, 0.0])
    log_pi, log_b = np.log([[1 - epsilon, epsilon]]), np.log([[[0.5, 0.5]]])
    critical = float(balance(cmdp, log_pi, log_b, cmdp.r[None]).alpha_crit.value)
    assert critical == pytest.approx(1 / np.log((1 - epsilon) / epsilon), rel=1e-12)
    for beta in (0.01, 1.0, 100.0):
        for factor in (0.9, 1.1):
            after = reverse_step(log_pi, log_b[0], cmdp.r, factor * critical, beta)
            assert (J(cmdp, after) > J(cmdp, log_pi)) == (factor < 1)


def test_the_printed_gains_of_the_two_armed_bandit():
    cmdp = bandit([1.0, 0.0])
    log_pi, log_b = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    gains = [
        J(cmdp, reverse_step(log_pi, log_b, cmdp.r, x / np.log(9), 1.0)) - J(cmdp, log_pi) for x in (0.9, 1.1)
    ]
    assert gains == pytest.approx([0.0062, -0.0062], abs=5e-5)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["arithmetic", "geometric"])
def test_recommended_weights_improve_as_guaranteed(seed, kind):
    cmdp, log_pi, log_b, Q, omega = setting(seed)
    b = balance(cmdp, log_pi, log_b, Q, omega)
    recommended = b.weights(0.5)
    if recommended is None:
        assert b.C_bar(0.0).value <= 0 or b.C_bar(0.5).value <= 0
        return
    alpha, beta = recommended
    assert 0 <= alpha <= 0.5
    assert beta >= 0
    local = reverse_step(log_pi, log_b, Q, alpha, beta)
    gain = J(cmdp, aggregate(kind, local, omega)) - J(cmdp, log_pi)
    promised = float(b.guarantee(alpha, 1 / (alpha + beta)).value)
    assert gain >= promised > 0
    for factor in (0.5, 2.0):
        if 1 / (alpha + beta) * factor <= 1 / alpha:
            assert b.guarantee(alpha, factor / (alpha + beta)).value <= promised + 1e-15


def test_data_with_more_actions_take_a_server():
    """Two good arms and a bad one that only the data pull: the best eta asks for beta = 0, at which the step
    goes to the bad arm."""
    cmdp = bandit([1.0, 0.8, 0.0])
    with np.errstate(divide="ignore"):
        log_pi, log_b = np.log([[0.5, 0.5, 0.0]]), np.log([[[0.05, 0.05, 0.9]]])
    b = balance(cmdp, log_pi, log_b, cmdp.r[None])
    alpha, beta = b.weights(100.0)
    assert alpha == 100.0
    assert 0 < beta < 1e-3
    assert float(b.guarantee(alpha, 1 / alpha).value) > 0
    gains = [J(cmdp, reverse_step(log_pi, log_b[0], cmdp.r, alpha, x)) - J(cmdp, log_pi) for x in (beta, 0.0)]
    assert gains[0] >= float(b.guarantee(alpha, 1 / (alpha + beta)).value) > 0
    assert gains[1] < -0.7


def test_balls_agree_with_floats():
    cmdp, log_pi, log_b, Q, omega = setting(3)
    floats = balance(cmdp, log_pi, log_b, Q, omega)
    with precision(150):
        sure = balance(exact(cmdp).cmdp, enclosed(log_pi)[0], enclosed(log_b)[0], Balls(Q), omega)
        for x, y in (
            (floats.alpha_crit, sure.alpha_crit),
            (floats.C_bar(0.2), sure.C_bar(0.2)),
            (floats.guarantee(0.2, 0.1), sure.guarantee(0.2, 0.1)),
        ):
            assert (abs(y - Balls(x.value)) <= Balls(x.error)).all()
            assert float(y.items.item().rad()) < 1e-38


def test_a_covariance_that_is_not_told_from_zero_gives_no_critical_weight():
    cmdp = bandit([1.0, 0.0])
    log_pi = np.log([[0.5, 0.5]])
    b = balance(cmdp, log_pi, log_pi[None], cmdp.r[None])
    assert b.alpha_crit is None
    assert b.weights(0.5) is not None


def test_supports_are_named():
    cmdp, log_pi, log_b, Q, _ = setting(1)
    log_b[2, 1, 0] = -np.inf
    with pytest.raises(InvalidProblem, match="client 2, state 1: the global policy takes action 0"):
        balance(cmdp, log_pi, log_b, Q)
