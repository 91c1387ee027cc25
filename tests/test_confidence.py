"""Enclosures of expectations: closed forms, and how often they miss."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from tabular_fedrl.claims import confidence

rng = np.random.default_rng(0)


def test_hoeffding_and_empirical_bernstein_are_the_printed_formulas():
    delta = 0.05
    spread = np.array([0.0, 1.0] * 50)  # variance 1/4: Hoeffding is smaller
    assert confidence.bounded(spread, 1.0, 0.95).error == pytest.approx(
        math.sqrt(math.log(4 / delta) / 200), rel=1e-9
    )
    flat = np.full(100, 0.3)  # variance 0: empirical Bernstein is smaller
    assert confidence.bounded(flat, 1.0, 0.95).error == pytest.approx(
        7 * math.log(8 / delta) / (3 * 99), rel=1e-9
    )


def test_entries_share_the_probability_of_error():
    one = confidence.bounded(np.tile([0.0, 1.0], 50), 1.0, 0.9)
    ten = confidence.bounded(np.tile([[0.0], [1.0]], (50, 10)), 1.0, 0.99)
    assert ten.error[0] > one.error
    assert ten.error[0] == pytest.approx(math.sqrt(math.log(2 / 0.0005) / 200), rel=1e-9)


@pytest.mark.parametrize("n", [2, 30, 1000])
def test_bounded_means_are_rarely_missed(n):
    samples = rng.beta(0.3, 2.0, (n, 2000))
    misses = 0
    for column in samples.T:
        mean = confidence.bounded(column, 1.0, 0.9)
        misses += abs(mean.value - 0.3 / 2.3) > mean.error
    assert misses <= 0.1 * 2000


def test_geometric_sums_satisfy_the_moment_condition_and_are_rarely_missed():
    p, n = 0.2, 50
    lengths = rng.geometric(p, (2000, n))
    mean = confidence.moments(lengths.mean(axis=1), n, 8 / p**2, 2 / p, 0.9)
    # 2000 entries share the error: all hold at once with probability 0.9.
    assert (np.abs(mean.value - 1 / p) <= mean.error).all()
    # E l(l+1)...(l+k-1) = k!/p^k, the fact behind the condition, from the exact law.
    k = np.arange(1, 4000)
    law = p * (1 - p) ** (k - 1)
    for order in (1, 2, 3, 4):
        rising = np.prod([k + i for i in range(order)], axis=0, dtype=float)
        assert law @ rising == pytest.approx(math.factorial(order) / p**order, rel=1e-9)


def test_chebyshev_and_tails():
    mean = confidence.square_integrable(2.0, 100, 4.0, 0.99)
    assert mean.error == pytest.approx(2.0, rel=1e-9)
    samples = rng.geometric(0.5, 10000).astype(float)
    above = confidence.tail(samples, np.array([0.0, 1.0, 2.0]), 0.99)
    assert above.value[0] == 1.0
    assert (np.abs(above.value - [1.0, 0.5, 0.25]) <= above.error).all()
    assert above.error[1] == pytest.approx(math.sqrt(math.log(200) / 20000), rel=1e-6)


@pytest.mark.parametrize("sure", [0.0, 1.0, -1.0])
def test_a_confidence_is_a_probability_inside_0_and_1(sure):
    with pytest.raises(ValueError, match="confidence"):
        confidence.square_integrable(1.0, 10, 1.0, sure)
    with pytest.raises(ValueError, match="confidence"):
        confidence.tail(np.ones(3), np.ones(1), sure)


def test_clopper_pearson_by_the_definition():
    n, delta = 40, 0.05
    for k in (0, 1, 7, 20, 39, 40):
        p = confidence.binomial(k, n, 1 - delta)
        low, high = float(p.lower), float(p.upper)
        if k > 0:
            assert binom.sf(k - 1, n, low) == pytest.approx(delta / 2, rel=1e-5)
        else:
            assert low <= 0 < high
        if k < n:
            assert binom.cdf(k, n, high) == pytest.approx(delta / 2, rel=1e-5)
        else:
            assert low < 1 <= high
    none = confidence.binomial(0, 1000, 0.99)
    assert float(none.upper) == pytest.approx(1 - 0.005 ** (1 / 1000), rel=1e-6)


@pytest.mark.parametrize("p", [0.001, 0.05, 0.5, 0.97])
def test_binomial_intervals_cover_for_every_true_probability(p):
    n = 60
    law = binom.pmf(np.arange(n + 1), n, p)
    # Asked for one at a time: entries of an array would share the probability of error.
    covers = np.array(
        [abs(x.value - p) <= x.error for x in (confidence.binomial(k, n, 0.9) for k in range(n + 1))]
    )
    assert law @ covers >= 0.9


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="successes"):
        confidence.binomial(11, 10, 0.9)
