"""Laws with zeros and rounds of DRPO, against NumPy and SciPy written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import entropy

from proofs_check.drpo.laws import (
    Law,
    change,
    covariance,
    highest,
    jeffreys,
    kl,
    log_sum,
    mixture,
    pool,
    span,
    tempered,
    total_variation,
)
from proofs_check.drpo.step import draw, rounds
from tabular_fedrl import balls
from tabular_fedrl.instances import load, load_exact
from tabular_fedrl.measured import Measured

P = np.array([[0.2, 0.5, 0.3, 0.0], [0.0, 0.9, 0.1, 0.0]])
Q = np.array([[0.4, 0.1, 0.4, 0.1], [0.25, 0.5, 0.25, 0.0]])
F = np.array([[1.0, -2.0, 0.5, 9.0], [-9.0, 0.3, 0.7, 8.0]])
SUPPORT = P > 0


def laws() -> tuple[Law, Law]:
    with np.errstate(divide="ignore"):
        return Law.of(np.log(P)), Law.of(np.log(Q))


def agree(enclosure: Measured, value: np.ndarray) -> None:
    assert (np.abs(enclosure.value - value) <= enclosure.error + 1e-14).all()
    assert (enclosure.error < 1e-12).all()


@pytest.mark.parametrize("bits", [None, 128])
def test_laws_are_what_they_say(bits: int | None) -> None:
    def check() -> None:
        p, q = laws()
        f = Measured(F)
        agree(kl(p, q), np.array([entropy(*pair) for pair in zip(P, Q, strict=True)]))
        agree(total_variation(p, q), 0.5 * np.abs(P - Q).sum(axis=1))
        agree(change(p, q, f), ((P - Q) * F).sum(axis=1))
        mean = (P * F).sum(axis=1, keepdims=True)
        agree(covariance(p, f, f), (P * (F - mean) ** 2).sum(axis=1))
        agree(highest(f, p.support), np.array([1.0, 0.7]))
        agree(span(f, p.support), np.array([3.0, 0.4]))
        agree(log_sum(f, p.support), logsumexp(np.where(SUPPORT, F, -np.inf), axis=1))
        root = np.sqrt(P * Q)
        agree(tempered(p, q, Measured(0.5)).p, root / root.sum(axis=1, keepdims=True))

    if bits is None:
        check()
    else:
        with balls.precision(bits):
            check()


def test_means_keep_the_union_and_the_intersection_of_supports() -> None:
    p, q = laws()
    both = Law.of(np.stack([p.plain, q.plain]))
    weights = np.array([[0.3, 0.6], [0.7, 0.4]])
    a, g = mixture(both, Measured(weights)), pool(both, Measured(weights))
    agree(a.p, weights[0][:, None] * P + weights[1][:, None] * Q)
    agree(a.log.where(~a.support, 0.0).exp().where(~a.support, 0.0), a.p.value)
    product = P ** weights[0][:, None] * Q ** weights[1][:, None]
    agree(g.p, product / product.sum(axis=1, keepdims=True))
    assert (a.support == (P + Q > 0)).all()
    assert (g.support == (P * Q > 0)).all()


def test_divergence_from_a_law_with_smaller_support_is_unknown() -> None:
    p, q = laws()
    assert np.isinf(kl(q, p).error).all()
    assert np.isinf(jeffreys(p, q).error).all()


def test_a_round_against_matrices() -> None:
    """Steps, gains and both values with nothing but NumPy."""
    x = draw(load("random-mdp:seed=3"), seed=7, statewise=True)
    c = x.cmdp
    gamma, pi, b = c.gamma, np.exp(x.log_pi), np.exp(x.log_b)

    def solve(policy: np.ndarray) -> np.ndarray:
        kernel = np.einsum("sa,sat->st", policy, c.P)
        return np.linalg.solve(np.eye(c.S) - gamma * kernel, (policy * c.r).sum(axis=1))

    V = solve(pi)
    advantage = c.r + gamma * c.P @ V - V[:, None]
    alpha, beta = float(x.alpha), float(x.beta)
    step = (b**alpha * pi**beta) ** (1 / (alpha + beta)) * np.exp(x.Q.value / (alpha + beta))
    step /= step.sum(axis=-1, keepdims=True)
    after = (x.omega.value[..., None] * step).sum(axis=0)
    np.testing.assert_allclose(x.clients.p.value, step, rtol=1e-10)
    np.testing.assert_allclose(x.gains.value, (step * advantage).sum(axis=-1), atol=1e-12)
    np.testing.assert_allclose(x.arithmetic.p.value, after, rtol=1e-10)
    np.testing.assert_allclose(x.improvement(x.arithmetic).value, c.rho @ (solve(after) - V), atol=1e-11)
    np.testing.assert_allclose(x.omega.value.sum(axis=0), 1.0, rtol=1e-15)


@pytest.mark.parametrize("support", ["full", "nested", "crossing"])
def test_drawn_supports(support: str) -> None:
    drawn = rounds(load("random-mdp:seed=1"), 30, 0, support=support)
    full = [bool(x.behaviour.support.all() and x.old.support.all()) for x in drawn]
    within = [bool((x.behaviour.support | ~x.old.support).all()) for x in drawn]
    common = [bool((x.behaviour.support.all(axis=0) & x.old.support).any(axis=-1).all()) for x in drawn]
    assert all(common)
    assert all(full) is (support == "full")
    assert all(within) is (support != "crossing")


def test_half_of_the_rounds_are_at_the_vertices() -> None:
    drawn = rounds(load("garnet:S=12,A=3,b=2,seed=2"), 40, 0)
    binary = [bool(np.isin(x.cmdp.r, [0.0, 1.0]).all()) for x in drawn]
    assert binary == [k % 2 == 1 for k in range(40)]
    assert sum(x.cmdp.gamma == 0.99 for x in drawn) >= 5
    tau = [float(x.tau) / float(np.ptp(x.q.value)) for x in drawn[1::2]]
    assert min(tau) < 0.1
    assert max(tau) > 10
    assert max(float(x.old.p.value.max()) for x in drawn) > 1 - 1e-9


def test_the_same_round_in_balls() -> None:
    names = ("gains", "jeff", "C_bar", "R_U", "R_Q")
    x = draw(load("textbook:three-state"), seed=4)
    floats = [getattr(x, name) for name in names]
    with balls.precision(128):
        y = draw(load_exact("textbook:three-state"), seed=4)
        for name, number in zip(names, floats, strict=True):
            assert ((getattr(y, name) - number.value).abs() <= Measured(number.error) + 1e-12).all()
