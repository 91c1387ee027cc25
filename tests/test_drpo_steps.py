"""DRPO's steps against numerical maximisers, their optimality conditions, and balls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax

from tabular_fedrl.algorithms.drpo_steps import (
    aggregate,
    anchor,
    cql_values,
    enclosed_reverse_step,
    entropy_forward_step,
    forward_step,
    log_ratio,
    regularised_optimum,
    regularised_values,
    reverse_step,
)
from tabular_fedrl.balls import Balls, precision
from tabular_fedrl.cmdp import CMDP, exact
from tabular_fedrl.errors import InvalidProblem, Undecided
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, kl

WEIGHTS = [(0.6, 0.4), (1e-3, 1e-4), (30.0, 5.0), (0.0, 1.0), (1.0, 0.0)]


def draw(seed, S=3, A=4, sharpness=1.0):
    """log pi_k, log b, Q."""
    rng = np.random.default_rng(seed)
    tables = [np.log(np.maximum(rng.dirichlet(np.full(A, sharpness), S), 1e-300)) for _ in range(2)]
    return *tables, rng.normal(size=(S, A))


def mdp(seed, S=5, A=3, gamma=0.9):
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(S), (S, A))
    return CMDP(P, rng.uniform(size=(S, A)), [], [], rng.dirichlet(np.ones(S)), gamma)


def maximiser(objective, A):
    """The best distribution over A actions, found from several starts in logits."""
    rng = np.random.default_rng(0)
    found = [
        minimize(lambda x: -objective(softmax(x)), start, method="BFGS", options={"gtol": 1e-11})
        for start in rng.normal(size=(4, A))
    ]
    return softmax(min(found, key=lambda result: result.fun).x)


def in_balls(log_p):
    """The policy a float log-policy stands for, zeros exact."""
    return enclosed(log_p)[0].where(np.isneginf(log_p), -np.inf)


# ---- the R-step --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha, beta", [w for w in WEIGHTS if w[0] + w[1] > 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_reverse_step_is_the_numerical_maximiser(seed, alpha, beta):
    log_pi, log_b, Q = draw(seed)
    step = np.exp(reverse_step(log_pi, log_b, Q, alpha, beta))
    for s in range(len(Q)):

        def objective(p, s=s):
            return p @ (Q[s] - alpha * (np.log(p) - log_b[s]) - beta * (np.log(p) - log_pi[s]))

        assert step[s] == pytest.approx(maximiser(objective, Q.shape[1]), abs=3e-6)


@pytest.mark.parametrize("alpha, beta", WEIGHTS)
def test_three_point_identity(alpha, beta):
    log_pi, log_b, Q = draw(1)
    step = reverse_step(log_pi, log_b, Q, alpha, beta)
    other = draw(2)[0]

    def f(log_p):
        return (np.exp(log_p) * Q).sum(-1) - alpha * kl(log_p, log_b) - beta * kl(log_p, log_pi)

    assert f(step) - f(other) == pytest.approx((alpha + beta) * kl(other, step), rel=1e-9, abs=1e-12)


def test_reverse_step_is_a_tilt_by_the_pseudo_critic():
    log_pi, log_b, Q = draw(3)
    U = Q + 0.7 * log_ratio(log_b, log_pi)
    logits = log_pi + U / (0.7 + 0.2)
    assert reverse_step(log_pi, log_b, Q, 0.7, 0.2) == pytest.approx(
        logits - np.log(np.exp(logits).sum(-1, keepdims=True)), abs=1e-12
    )


def test_supports_of_the_reverse_step():
    log_pi = np.log([[0.5, 0.5, 1e-30], [0.2, 0.3, 0.5]])
    with np.errstate(divide="ignore"):
        log_b = np.log([[0.0, 0.4, 0.6], [1.0, 0.0, 0.0]])
    Q = np.array([[100.0, 0, 0], [0, 100.0, 100.0]])
    both = reverse_step(log_pi, log_b, Q, 0.1, 0.9)
    assert np.array_equal(np.isneginf(both), np.isneginf(log_b))
    assert both[1, 0] == 0.0
    # Discontinuous at alpha = 0: the behaviour policy is then left out altogether.
    assert np.isfinite(reverse_step(log_pi, log_b, Q, 0.0, 0.9)).all()
    assert np.array_equal(reverse_step(log_pi, log_b, Q, 1.0, 0.0) == -np.inf, np.isneginf(log_b))


def test_anchor_is_the_geometric_mixture():
    log_pi, log_b, _ = draw(4)
    m = np.exp(log_b) ** 0.75 * np.exp(log_pi) ** 0.25
    assert np.exp(anchor(log_pi, log_b, 3.0, 1.0)) == pytest.approx(m / m.sum(-1, keepdims=True))


@pytest.mark.parametrize("alpha, beta", WEIGHTS)
def test_enclosures_of_the_reverse_step_hold_the_exact_one(alpha, beta):
    log_pi, log_b, Q = draw(5, sharpness=0.3)
    log_b[0, 1] = -np.inf
    log_p, p = enclosed_reverse_step(log_pi, log_b, Measured(Q), alpha, beta)
    with precision(200):
        exact_p = reverse_step(in_balls(log_pi), in_balls(log_b), Balls(Q), alpha, beta).exp()
        assert (abs(exact_p - Balls(p.value)) <= Balls(p.error)).all()
        inside, inside_p = enclosed_reverse_step(log_pi, log_b, Q, alpha, beta)
        assert (abs(inside_p - exact_p) <= 1e-50).all()
        assert inside.shape == Q.shape
    assert p.error.max() < 1e-11
    assert (p.value[0, 1] == 0 and p.error[0, 1] == 0) == (alpha > 0)
    assert np.exp(log_p.value) == pytest.approx(p.value, abs=1e-12)


# ---- the F-step --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha, beta", WEIGHTS)
@pytest.mark.parametrize("tau_H", [0.0, 0.05, 2.0])
def test_forward_step_is_the_numerical_maximiser(alpha, beta, tau_H):
    if alpha + beta + tau_H < 0.1:
        pytest.skip("the maximiser is too near the boundary for a search in logits")
    log_pi, log_b, Q = draw(6)
    c = alpha * np.exp(log_b) + beta * np.exp(log_pi)
    p = step_of(log_pi, log_b, Q, alpha, beta, tau_H)[0]
    for s in range(len(Q)):
        best = maximiser(lambda q, s=s: q @ (Q[s] - tau_H * np.log(q)) + c[s] @ np.log(q), Q.shape[1])
        assert p[s] == pytest.approx(best, abs=3e-6)


def step_of(log_pi, log_b, Q, alpha, beta, tau_H):
    if tau_H:
        return entropy_forward_step(log_pi, log_b, Q, alpha, beta, tau_H)
    return forward_step(log_pi, log_b, Q, alpha, beta)


@given(
    st.integers(0, 10_000),
    st.sampled_from(WEIGHTS),
    st.sampled_from([0.05, 1.0]),
    st.sampled_from([1e-3, 1.0, 1e3]),
    st.sampled_from([0.0, 0.01, 10.0]),
)
def test_optimality_conditions_of_the_forward_step(seed, weights, sharpness, size, tau_H):
    log_pi, log_b, Q = draw(seed, sharpness=sharpness)
    Q = size * Q
    c = weights[0] * np.exp(log_b) + weights[1] * np.exp(log_pi)
    p, nu = step_of(log_pi, log_b, Q, *weights, tau_H)
    assert p.sum(-1) == pytest.approx(1, abs=1e-11)
    assert (p >= 0).all()
    inside = p > 1e-300
    multiplier = (Q + np.where(inside, c / np.where(inside, p, 1), 0))[inside]
    multiplier -= tau_H * np.log(p[inside])
    wanted = np.broadcast_to(nu[:, None], p.shape)[inside]
    assert multiplier == pytest.approx(wanted, abs=1e-9 * (size + 1 + tau_H), rel=1e-9)
    if not tau_H:
        assert (nu >= Q.max(-1) - 1e-12 * size).all()


@pytest.mark.parametrize("q", [0.5, 0.999999, 1.0, 1.000001, 1.5, 1e6])
def test_forward_step_leaks_beyond_the_sum_of_the_weights(q):
    """CE4: b = pi_k = (1, 0), Q = (0, q): p(2) = max(0, 1 - (alpha + beta)/q)."""
    with np.errstate(divide="ignore"):
        only = np.log([[1.0, 0.0]])
    Q = np.array([[0.0, q]])
    p, nu = forward_step(only, only, Q, 0.75, 0.25)
    assert p[0, 1] == pytest.approx(max(0.0, 1 - 1 / q), abs=1e-15)
    assert (p[0, 1] > 0) == (q > 1)
    assert nu[0] == pytest.approx(max(1.0, q))
    assert np.exp(reverse_step(only, only, Q, 0.75, 0.25))[0, 1] == 0
    held, _ = forward_step(only, only, Measured(Q), 0.75, 0.25)
    with precision(100):
        certain, _ = forward_step(Balls(only), Balls(only), Balls(Q), 0.75, 0.25)
        exactly = max(Balls(0), 1 - 1 / Balls(q), key=lambda x: float(x.value))
        assert (abs(certain[0, 1] - exactly) <= 1e-25).all()
        assert (abs(exactly - Balls(held.value[0, 1])) <= Balls(held.error[0, 1])).all()


def test_the_first_of_tied_actions_takes_the_leak():
    with np.errstate(divide="ignore"):
        only = np.log([[1.0, 0.0, 0.0, 0.0]])
    Q = np.array([[0.0, 1.0, 3.0, 3.0]])
    p, _ = forward_step(only, only, Q, 0.5, 0.5)
    assert p[0].tolist() == pytest.approx([1 / 3, 0, 2 / 3, 0])
    held = forward_step(only, only, Measured(Q), 0.5, 0.5)[0]
    assert held.value[0] == pytest.approx(p[0])
    with pytest.raises(Undecided, match="state 0"):
        forward_step(only, only, Measured(Q, 1e-9), 0.5, 0.5)
    # No leak, no question.
    forward_step(only, only, Measured(Q / 10, 1e-9), 0.5, 0.5)


@pytest.mark.parametrize("alpha, beta", WEIGHTS)
@pytest.mark.parametrize("tau_H", [0.0, 1e-3, 5.0])
def test_enclosures_of_the_forward_step_hold_the_exact_one(alpha, beta, tau_H):
    log_pi, log_b, Q = draw(7, sharpness=0.2)
    p, nu = step_of(log_pi, log_b, Measured(Q), alpha, beta, tau_H)
    assert step_of(log_pi, log_b, Q, alpha, beta, tau_H)[0] == pytest.approx(p.value, abs=1e-11)
    widths = []
    for bits in (150, 400):
        with precision(bits):
            sure, sure_nu = step_of(in_balls(log_pi), in_balls(log_b), Balls(Q), alpha, beta, tau_H)
            assert (abs(sure - Balls(p.value)) <= Balls(p.error)).all()
            assert (abs(sure_nu - Balls(nu.value)) <= Balls(nu.error)).all()
            assert (abs(sure.sum(-1) - 1) <= 2.0 ** (30 - bits)).all()
            widths.append(max(float(x.rad()) for x in sure.items.ravel()))
    assert widths[1] < 1e-60 * widths[0]


# ---- aggregation -------------------------------------------------------------------------------------------
def test_aggregation_keeps_the_union_or_the_intersection():
    """CE3: two clients, three actions."""
    with np.errstate(divide="ignore"):
        log_p = np.log([[[0.5, 0.5, 0.0, 0.0]], [[0.0, 0.25, 0.75, 0.0]]])
    mean = aggregate("arithmetic", log_p)
    assert np.exp(mean)[0].tolist() == pytest.approx([0.25, 0.375, 0.375, 0])
    assert mean[0, 3] == -np.inf
    geometric = aggregate("geometric", log_p)
    assert geometric[0].tolist() == [-np.inf, 0.0, -np.inf, -np.inf]
    with precision(100):
        sure = aggregate("arithmetic", Balls(log_p))
        assert sure.is_minus_infinity[0].tolist() == [False, False, False, True]
        assert aggregate("geometric", Balls(log_p)).is_minus_infinity[0].tolist() == [True, False, True, True]
    log_p[1, 0, 1] = -np.inf
    with pytest.raises(InvalidProblem, match="state 0"):
        aggregate("geometric", log_p)


@pytest.mark.parametrize("kind", ["arithmetic", "geometric"])
def test_weights_may_differ_between_states(kind):
    log_p = np.stack([draw(seed)[0] for seed in range(3)])
    omega = np.random.default_rng(0).dirichlet(np.ones(3), 3).T
    mean = aggregate(kind, log_p, omega)
    for s in range(3):
        assert mean[s] == pytest.approx(aggregate(kind, log_p[:, s : s + 1], omega[:, s])[0], abs=1e-13)
    p = np.exp(log_p)
    table = (
        np.einsum("is,isa->sa", omega, p) if kind == "arithmetic" else np.prod(p ** omega[:, :, None], axis=0)
    )
    assert np.exp(mean) == pytest.approx(table / table.sum(-1, keepdims=True))


def test_a_client_without_weight_has_no_say():
    log_p = np.stack([draw(0)[0], np.full((3, 4), -np.inf)])
    for kind in ("arithmetic", "geometric"):
        assert aggregate(kind, log_p, [1.0, 0.0]) == pytest.approx(log_p[0], abs=1e-14)


# ---- values ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("gamma", [0.0, 0.7, 0.95])
def test_regularised_and_cql_values_solve_their_equations(gamma):
    cmdp = mdp(0, gamma=gamma)
    log_pi, log_b, _ = draw(8, S=5, A=3)
    p, b = np.exp(log_pi), np.exp(log_b)
    V, Q = regularised_values(cmdp, log_pi, log_b, 0.3)
    assert Q.value == pytest.approx(cmdp.r + gamma * cmdp.P @ V.value, abs=1e-11)
    assert V.value == pytest.approx((p * Q.value).sum(1) - 0.3 * (p * np.log(p / b)).sum(1), abs=1e-11)
    V, Q = cql_values(cmdp, log_pi, log_b, 0.3)
    P_pi = np.einsum("sa,sat->st", p, cmdp.P)
    shortfall = np.linalg.solve(np.eye(5) - gamma * P_pi, (p**2 / b).sum(1) - 1)
    plain = evaluate(cmdp, log_pi).V.value[0]
    assert V.value == pytest.approx(plain - 0.3 * shortfall, abs=1e-10)
    assert Q.value == pytest.approx(cmdp.r - 0.3 * (p / b - 1) + gamma * cmdp.P @ V.value, abs=1e-10)
    with precision(100):
        sure = cql_values(exact(cmdp).cmdp, in_balls(log_pi), in_balls(log_b), 0.3)
        assert (abs(sure[1] - Balls(Q.value)) <= Balls(Q.error)).all()


@pytest.mark.parametrize("alpha, beta", [*WEIGHTS, (1e-6, 1e-6)])
@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_regularised_optimum_against_value_iteration(alpha, beta, gamma):
    cmdp = mdp(1, gamma=gamma)
    log_pi, log_b, _ = draw(9, S=5, A=3)
    log_plus, V, _ = regularised_optimum(cmdp, log_b, log_pi, alpha, beta)
    tau = alpha + beta
    v = np.zeros(5)
    for _ in range(600):
        logits = (alpha * log_b + beta * log_pi + cmdp.r + gamma * cmdp.P @ v) / tau
        top = logits.max(1)
        v = tau * (top + np.log(np.exp(logits - top[:, None]).sum(1)))
    assert V.value == pytest.approx(v, rel=1e-9, abs=1e-9)
    penalty = alpha * kl(log_plus, log_b) + beta * kl(log_plus, log_pi)
    J = evaluate(cmdp, log_plus, (cmdp.r - penalty[:, None])[None]).at_rho.value[0]
    assert pytest.approx(cmdp.rho @ V.value, rel=1e-9) == J
    with precision(160):
        sure, V_sure, _ = regularised_optimum(
            exact(cmdp).cmdp, in_balls(log_b), in_balls(log_pi), alpha, beta
        )
        assert (abs(V_sure - Balls(V.value)) <= Balls(V.error)).all()
        assert max(float(x.rad()) for x in V_sure.items) < 1e-35
        assert np.exp(log_plus) == pytest.approx(sure.exp().value, abs=1e-9)


def test_regularised_optimum_stays_in_the_common_support():
    cmdp = mdp(2)
    log_pi, log_b, _ = draw(10, S=5, A=3)
    log_b[2, 0] = log_pi[3, 1] = -np.inf
    log_plus, V, _ = regularised_optimum(cmdp, log_b, log_pi, 0.2, 0.2)
    assert np.argwhere(np.isneginf(log_plus)).tolist() == [[2, 0], [3, 1]]
    assert V.error.max() < 1e-10


# ---- bad input ---------------------------------------------------------------------------------------------
def test_bad_input_is_named():
    log_pi, log_b, Q = draw(0)
    for step in (reverse_step, forward_step, enclosed_reverse_step):
        for weights in ((-0.1, 1.0), (0.0, 0.0), (np.nan, 1.0)):
            with pytest.raises(InvalidProblem, match="alpha = "):
                step(log_pi, log_b, Q, *weights)
    with pytest.raises(InvalidProblem, match="tau_H"):
        entropy_forward_step(log_pi, log_b, Q, 1.0, 1.0, 0.0)
    log_pi[1], log_b[1] = [0, -np.inf, -np.inf, -np.inf], [-np.inf, 0, -np.inf, -np.inf]
    with pytest.raises(InvalidProblem, match="state 1: the behaviour and the global policy share no action"):
        reverse_step(log_pi, log_b, Q, 1.0, 1.0)
    with pytest.raises(InvalidProblem, match="state 1: the policy takes action 0"):
        regularised_values(mdp(0, S=3, A=4), log_pi, log_b, 1.0)
    with pytest.raises(InvalidProblem, match="aggregation 'median'"):
        aggregate("median", np.stack([log_pi]))
    for weights, says in (([0.5, 0.6], "sum to 1"), ([-0.5, 1.5], "negative"), ([1.0], "shape")):
        with pytest.raises(InvalidProblem, match=says):
            aggregate("arithmetic", np.stack([log_pi, log_pi]), weights)
