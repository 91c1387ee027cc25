"""Policies, their divergences and their means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tabular_fedrl.balls import Balls, precision
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.policies import (
    CompactPolicy,
    arithmetic_mean,
    chi_squared,
    enclosed_kl,
    geometric_mean,
    jeffreys,
    kl,
    log_policy,
    log_softmax,
    mean_weights,
    natural_gradient_step,
    softmax,
    total_variation,
    uniform,
)

logits = arrays(np.float64, (3, 4), elements=st.floats(-20, 20))
tables = arrays(np.float64, (2, 3, 4), elements=st.floats(-20, 20))
HALF, THIRDS = np.array([0.5, 0.5]), np.array([1 / 3, 2 / 3])


@given(logits)
def test_softmax_is_a_distribution_and_ignores_shifts(x):
    p = softmax(x)
    assert np.abs(p.sum(axis=1) - 1).max() <= 1e-14
    np.testing.assert_allclose(log_softmax(x + 7.5), log_softmax(x), atol=1e-13)
    np.testing.assert_allclose(np.exp(log_softmax(x)), p, atol=1e-15)


def test_softmax_survives_large_logits():
    log_p = log_softmax(np.array([0.0, -5000.0, 800.0]))
    np.testing.assert_allclose(log_p, [-800.0, -5800.0, 0.0])


def test_divergences_by_hand():
    """p = (1/2, 1/2), q = (1/3, 2/3)."""
    p, q = np.log(HALF), np.log(THIRDS)
    assert kl(p, q) == pytest.approx(0.5 * np.log(9 / 8), abs=1e-15)
    assert kl(q, p) == pytest.approx(np.log(2 / 3) / 3 + 2 * np.log(4 / 3) / 3, abs=1e-15)
    assert jeffreys(p, q) == pytest.approx(np.log(2) / 6, abs=1e-15)
    assert total_variation(p, q) == pytest.approx(1 / 6, abs=1e-15)
    assert chi_squared(p, q) == pytest.approx(1 / 12 + 1 / 24, abs=1e-15)


def test_divergences_with_zeros():
    with np.errstate(divide="ignore"):
        corner, half = np.log(np.array([1.0, 0.0])), np.log(HALF)
    assert kl(corner, half) == pytest.approx(np.log(2))
    assert kl(half, corner) == np.inf
    assert jeffreys(half, corner) == np.inf
    assert kl(corner, corner) == 0
    assert chi_squared(corner, corner) == 0
    assert chi_squared(half, corner) == np.inf
    assert total_variation(half, corner) == pytest.approx(0.5)


@given(tables)
def test_enclosed_kl_contains_the_float_one(x):
    p, q = log_softmax(x[0]), log_softmax(x[1])
    ball = enclosed_kl(p, q)
    assert (np.abs(ball.value - kl(p, q)) <= ball.error + 1e-12).all()
    assert ball.error.max() <= 1e-11


def test_enclosed_kl_with_zeros():
    with np.errstate(divide="ignore"):
        corner, half = np.log(np.array([1.0, 0.0])), np.log(HALF)
    assert enclosed_kl(corner, half).value == pytest.approx(np.log(2), abs=1e-14)
    assert enclosed_kl(corner, corner).error <= 1e-14
    assert enclosed_kl(half, corner).error == np.inf


@given(tables)
def test_inequalities_between_divergences(x):
    """Pinsker, KL <= log(1 + chi^2), symmetry, non-negativity."""
    p, q = log_softmax(x[0]), log_softmax(x[1])
    slack = 1e-12
    assert (kl(p, q) >= -slack).all()
    assert (2 * total_variation(p, q) ** 2 <= kl(p, q) + slack).all()
    assert (kl(p, q) <= np.log1p(chi_squared(p, q)) + slack).all()
    np.testing.assert_allclose(jeffreys(p, q), jeffreys(q, p), rtol=1e-12, atol=1e-13)
    assert (total_variation(p, q) <= 1 + slack).all()


@given(arrays(np.float64, (3, 2, 4), elements=st.floats(-20, 20)), st.booleans())
def test_means(x, weighted):
    weights = np.array([0.5, 0.3, 0.2]) if weighted else None
    w = mean_weights(3, weights)
    policies = log_softmax(x)
    arithmetic, geometric = arithmetic_mean(policies, weights), geometric_mean(policies, weights)
    np.testing.assert_allclose(np.exp(arithmetic), np.tensordot(w, np.exp(policies), axes=1), atol=1e-14)
    expected = np.prod(np.exp(policies) ** w[:, None, None], axis=0)
    np.testing.assert_allclose(np.exp(geometric), expected / expected.sum(axis=-1, keepdims=True), atol=1e-12)
    for mean in (arithmetic_mean, geometric_mean):
        np.testing.assert_allclose(mean(np.stack([policies[0]] * 3), weights), policies[0], atol=1e-12)


def test_arithmetic_mean_does_not_underflow():
    """Probabilities of e^-2000 average to half, on the log scale."""
    policies = np.array([[0.0, -2000.0], [0.0, -3000.0]])
    np.testing.assert_allclose(arithmetic_mean(policies)[1], -2000 - np.log(2))
    np.testing.assert_allclose(geometric_mean(policies)[1], -2500)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([0.5, 0.5], "2 weights for 3 agents"), ([0.5, 0.6, -0.1], "positive and sum to 1"), ([0.5, 0.5, 0.5],
    "sum to 1")],
)  # fmt: skip
def test_bad_weights(weights, message):
    with pytest.raises(InvalidProblem, match=message):
        arithmetic_mean(np.stack([uniform(2, 2)] * 3), weights)


@given(logits, st.floats(0, 5))
def test_natural_gradient_step_is_multiplicative(x, step):
    """pi' = pi exp(step A)/Z; a constant added to A changes nothing."""
    log_pi, advantage = uniform(3, 4), x / 10
    moved = natural_gradient_step(log_pi, advantage, step)
    p = np.exp(log_pi + step * advantage)
    np.testing.assert_allclose(np.exp(moved), p / p.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(natural_gradient_step(log_pi, advantage + 3.0, step), moved, atol=1e-12)


def test_log_policy_of_a_table():
    log_pi = log_policy([[0.25, 0.75], [1.0, 0.0]], 2, 2)
    np.testing.assert_allclose(log_pi[0], np.log([0.25, 0.75]))
    assert log_pi[1].tolist() == [0.0, -np.inf]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0.5, 0.5]], r"shape \(1, 2\): expected \(S, A\) = \(2, 2\)"),
        ([[0.5, 0.5], [1.5, -0.5]], r"policy\[1, 1\] = -0\.5 is not a probability"),
        ([[0.5, np.nan], [0.5, 0.5]], r"policy\[0, 1\] = nan is not a probability"),
        ([[0.5, 0.5], [0.5, 0.6]], r"policy row 1 sums to 1\.1, not to 1"),
    ],
)
def test_bad_tables(table, message):
    with pytest.raises(InvalidProblem, match=message):
        log_policy(table, 2, 2)


@pytest.mark.parametrize("A", [1, 3, 257])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_a_compact_policy_is_its_table(A, share):
    rng = np.random.default_rng(A)
    table = log_softmax(rng.normal(size=(50, A)))
    table[:5, 0] = -np.inf  # not normalised, and not certain
    certain = rng.random(50) < share
    table[certain] = -np.inf
    table[certain, rng.integers(A, size=50)[certain]] = 0.0
    compact = CompactPolicy.of(table)
    assert (compact.table() == table).all()
    assert len(compact.mixed) == (np.exp(table).max(axis=1) < 1).sum()
    for first, last in ((0, 7), (13, 14), (40, 90), (50, 60)):
        assert (compact.table(first, last) == table[first:last]).all()


def test_what_only_looks_certain_is_kept():
    table = np.array([[0.0, -800.0], [-np.inf, -1e-300], [0.0, 0.0], [np.nan, 0.0], [-np.inf, -np.inf]])
    compact = CompactPolicy.of(table)
    assert compact.mixed.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(compact.table(), table, equal_nan=True)


def test_a_compact_policy_in_balls_is_the_same_balls():
    with precision(64):
        table = Balls([[0.5, 0.5], [1.0, 0.0]]).log()
        assert CompactPolicy.of(table).table().same(table)
