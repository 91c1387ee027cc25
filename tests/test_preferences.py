"""Links, panels, majorities, comparisons: exact against sampled, floats against rationals and balls."""

from fractions import Fraction
from math import comb

import flint
import numpy as np
import pytest
from scipy.stats import binom

from tabular_fedrl import balls
from tabular_fedrl.balls import Balls
from tabular_fedrl.claims import confidence
from tabular_fedrl.episodic import EpisodicMDP, exact, return_grid, return_law, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, softmax
from tabular_fedrl.preferences import (
    TIES,
    Comparison,
    Inversion,
    Linear,
    Logistic,
    Panel,
    Weibull,
    batch_law,
    link_of,
    majority,
)
from tabular_fedrl.preferences.sampled import sampled_answers, sampled_vote

LINKS = (Linear(0.25), Linear(0.5, clipped=True), Logistic(0.5), Weibull(2.0))
X = np.array([-1.5, -0.4, -1e-9, 0.0, 1e-12, 0.3, 1.9])


def problem(seed: int = 0, S: int = 3, A: int = 2, H: int = 3) -> EpisodicMDP:
    rng = np.random.default_rng(seed)
    kernel = rng.dirichlet(np.ones(S), (S, A))
    return EpisodicMDP(kernel, rng.integers(0, 3, (S, A)) / 4, np.eye(S)[0], H)


def logits(mdp: EpisodicMDP, n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, mdp.H, mdp.S, mdp.A))


def counted(q: Fraction, n: int, ties: str) -> Fraction:
    """The chance of a majority by the definition: the sum over the outcomes."""
    mass = [comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    tie = mass[n // 2] if n % 2 == 0 else Fraction(0)
    return sum(mass[n // 2 + 1 :]) + {"fair": tie / 2, "no": Fraction(0), "yes": tie}[ties]


# ---- links -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("link", LINKS, ids=str)
def test_links_increase_from_zero_and_are_inverted(link):
    inside = X[np.abs(X) < 1]
    y = link.deviation(inside)
    assert link.deviation(0.0) == 0
    assert (np.diff(y) > 0).all()
    np.testing.assert_allclose(link.inverse(y), inside, rtol=1e-13, atol=1e-25)


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_links_agree_across_number_systems(link):
    measured = link.deviation(Measured(X))
    with balls.precision(128):
        ball = link.deviation(Balls(X))
        gap = ball - measured.value
        assert (gap.value <= measured.error).all()
        assert (-gap.value <= measured.error).all()
    np.testing.assert_allclose(link.deviation(X), ball.value, rtol=1e-14, atol=1e-300)
    assert (measured.error < 1e-13).all()


def test_which_links_are_symmetric():
    for link in LINKS:
        odd = np.allclose(link.deviation(-X), -np.asarray(link.deviation(X)), rtol=0, atol=1e-15)
        assert odd == link.symmetric
    assert not Weibull().symmetric


def test_links_refuse_what_is_no_probability():
    with pytest.raises(InvalidProblem, match=r"is 0\.75, more than 1/2"):
        Linear(0.5).deviation(1.5)
    assert Linear(0.5, clipped=True).deviation(1.5) == 0.5
    with pytest.raises(InvalidProblem, match="no difference of returns"):
        Logistic().inverse(0.5)
    with pytest.raises(InvalidProblem, match="scale = -1"):
        Logistic(-1.0)
    with pytest.raises(InvalidProblem, match="expected one of linear"):
        link_of("probit", 1.0)
    assert link_of("linear", 4.0) == Linear(0.25)


# ---- majorities --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 12])
def test_majorities_are_what_counting_gives(n, ties):
    q = [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(5, 8), Fraction(1)]
    wanted = [counted(x, n, ties) - Fraction(1, 2) for x in q]
    with balls.precision(64):
        found = majority(Balls([x - Fraction(1, 2) for x in q]), n, ties)
        assert found.is_rational
        assert [Fraction(int(x.p), int(x.q)) for x in found.items] == wanted
    floats = majority(np.array([float(x) - 0.5 for x in q]), n, ties)
    np.testing.assert_allclose(floats, [float(x) for x in wanted], rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [63, 64, 65, 67, 1999, 2003, 10**6 + 1, 10**9, 10**18 + 1])
def test_majorities_of_any_size_keep_their_relative_accuracy(n):
    spread = np.array([1e-6, 1e-3, 0.3, 1.0, 2.0, 5.0, 8.0, 15.0, 40.0]) / (2 * np.sqrt(n))
    m = np.concatenate([spread[spread < 0.5], [1e-13, 0.4, 0.5]])
    with balls.precision(160):
        ball = majority(Balls(m), n)
        assert (ball.error < 1e-15).all()
        truth = ball.value
    np.testing.assert_allclose(majority(m, n), truth, rtol=2e-14)
    measured = majority(Measured(m), n)
    assert (np.abs(measured.value - truth) <= measured.error).all()


@pytest.mark.parametrize("n", [10, 501, 2000])
def test_majorities_agree_with_scipy(n):
    m = np.linspace(-0.5, 0.5, 41)
    np.testing.assert_allclose(majority(m, n, "no") + 0.5, binom.sf(n // 2, n, 0.5 + m), rtol=0, atol=1e-12)


def test_an_even_number_with_fair_ties_is_as_good_as_one_less():
    m = np.linspace(-0.5, 0.5, 11)
    np.testing.assert_array_equal(majority(m, 10), majority(m, 9))


def test_majorities_refuse_bad_numbers():
    for n in (0, 2.5):
        with pytest.raises(InvalidProblem, match="voters"):
            majority(0.1, n)
    with pytest.raises(InvalidProblem, match="ties 'coin'"):
        majority(0.1, 4, "coin")


# ---- panels ------------------------------------------------------------------------------------------------
def test_a_hundred_people_whose_ties_count_as_no_are_not_symmetric():
    panel = Panel(Linear(0.25), 100, "no")
    assert not panel.symmetric
    with balls.precision(64):
        at_zero = panel.deviation(Balls([0])).items[0]
        assert at_zero == -flint.fmpq(comb(100, 50), 2**101)
    assert panel.deviation(0.0) == pytest.approx(-0.0398, abs=5e-5)
    assert Panel(Logistic(), 100).symmetric
    assert Panel(Logistic(), 100).deviation(0.0) == 0
    assert Panel(Logistic(), 101, "no").symmetric
    assert not Panel(Weibull(), 3).symmetric


@pytest.mark.parametrize("people", [1, 2, 3, 100, 1001])
@pytest.mark.parametrize("link", LINKS, ids=str)
def test_panels_are_inverted(link, people):
    panel = Panel(link, people)
    for y in (1e-8, 0.01, 0.2, 0.4):
        x = panel.inverse(y)
        assert x.error < 1e-10
        around = panel.deviation(np.array([x.lower, x.upper]))
        assert around[0] <= y * (1 + 1e-12)
        assert around[1] >= y * (1 - 1e-12)
        with balls.precision(128):
            ball = panel.inverse(y)
            assert ball.lower <= x.upper
            assert ball.upper >= x.lower
    if people > 1 or not (isinstance(link, Linear) and not link.clipped):
        with pytest.raises(InvalidProblem, match="no difference of returns"):
            panel.inverse(0.6)


# ---- batches and comparisons -------------------------------------------------------------------------------
def test_batches_are_convolutions_of_the_law():
    mass = return_law(problem(), softmax(logits(problem(), 2)))
    by_hand = mass
    for _ in range(6):
        by_hand = np.stack([np.convolve(a, b) for a, b in zip(by_hand, mass)])
    np.testing.assert_allclose(batch_law(mass, 7), by_hand, rtol=1e-13)


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("people, ties", [(1, "fair"), (3, "fair"), (4, "no"), (4, "yes")])
def test_comparisons_agree_across_number_systems(link, people, ties):
    mdp, theta = problem(), logits(problem(), 2)
    comparison = Comparison(Panel(link, people, ties), batch=3, questions=9)
    with balls.precision(128):
        ball = comparison.vote(exact(mdp).mdp, *enclosed(theta)[1])
    measured = comparison.vote(mdp, *(enclosed(t)[1] for t in theta))
    floats = comparison.vote(mdp, *softmax(theta))
    assert abs(ball.value - measured.value) <= measured.error + ball.error
    assert measured.error < 1e-11
    assert abs(floats - ball.value) < 1e-13


def test_comparisons_are_exact_rationals_for_rational_policies():
    """A two-armed bandit with arms 1 and 0, by hand: a linear link asks for the difference of the values."""
    arms = EpisodicMDP(np.ones((1, 2, 1)), [[1.0, 0.0]], [1.0], 1)
    with balls.precision(64):
        pi = [Balls([[["3/4", "1/4"]]]), Balls([[["1/3", "2/3"]]])]
        answer = Comparison(Panel(Linear(0.5)), batch=5).answer(exact(arms).mdp, *pi)
        assert answer.items[()] == flint.fmpq(5, 24)
        # One episode each and a sure judge: P(1 beats 0) - P(0 beats 1) over two.
        sharp = Comparison(Panel(Linear(0.5)), questions=3).vote(exact(arms).mdp, *pi)
        q = Fraction(1, 2) + Fraction(5, 24)
        assert Fraction(int(sharp.items[()].p), int(sharp.items[()].q)) == counted(q, 3, "fair") - Fraction(
            1, 2
        )


def test_leading_axes_broadcast():
    mdp, pi = problem(), softmax(logits(problem(), 6))
    comparison = Comparison(Panel(Logistic(), 3), batch=2, questions=5)
    together = comparison.vote(mdp, pi.reshape(2, 3, *pi.shape[1:]), pi[:1])
    for i, found in enumerate(together.ravel()):
        assert found == pytest.approx(comparison.vote(mdp, pi[i], pi[0]), abs=1e-15)
    assert together[0, 0] == pytest.approx(0, abs=1e-15)


def test_the_linear_answer_is_the_difference_of_the_values():
    mdp, pi = problem(), softmax(logits(problem(), 2))
    for D in (1, 4):
        found = Comparison(Panel(Linear(0.25)), batch=D).answer(mdp, pi[0], pi[1])
        values = start_value(mdp, pi)
        assert found == pytest.approx(0.25 * (values[0] - values[1]), abs=1e-15)


@pytest.mark.parametrize("link", LINKS, ids=str)
@pytest.mark.parametrize("people, ties", [(1, "fair"), (2, "fair"), (2, "yes"), (5, "fair")])
def test_sampled_people_answer_as_often_as_computed(link, people, ties):
    mdp, pi = problem(), softmax(logits(problem(), 2))
    asked = Comparison(Panel(link, people, ties), batch=2, questions=40_000)
    answers = sampled_answers(asked, mdp, pi[0], pi[1], np.random.default_rng(5))
    chance = confidence.binomial(answers.sum(), answers.size, 0.9999)
    assert chance.lower <= 0.5 + asked.answer(mdp, pi[0], pi[1]) <= chance.upper
    assert chance.error < 0.02


@pytest.mark.parametrize("questions, ties", [(1, "fair"), (4, "fair"), (4, "no"), (4, "yes"), (9, "fair")])
def test_sampled_decisions_fall_as_often_as_computed(questions, ties):
    mdp, pi = problem(), softmax(logits(problem(), 2))
    asked = Comparison(Panel(Logistic(0.5), 3), 1, questions, ties)
    rng, trials = np.random.default_rng(7), 3000
    yes = sum(sampled_vote(asked, mdp, pi[0], pi[1], rng) for _ in range(trials))
    chance = confidence.binomial(yes, trials, 0.9999)
    assert chance.lower <= 0.5 + asked.vote(mdp, pi[0], pi[1]) <= chance.upper
    # A wrong rule for ties would be seen.
    if questions == 4:
        other = Comparison(asked.panel, 1, 4, "no" if ties == "yes" else "yes")
        assert not chance.lower <= 0.5 + other.vote(mdp, pi[0], pi[1]) <= chance.upper


def test_comparisons_refuse_absurd_batches():
    with pytest.raises(InvalidProblem, match="0 episodes in a batch"):
        Comparison(Panel(Logistic()), batch=0)
    grid = return_grid(problem())
    with pytest.raises(InvalidProblem, match=f"{(grid.n - 1) * 10**6 + 1} mean returns"):
        Comparison(Panel(Logistic()), batch=10**6).points(problem(), Logistic())


def test_too_much_is_refused_before_it_is_begun():
    mdp, pi, rng = problem(), softmax(logits(problem(), 2)), np.random.default_rng(0)
    with pytest.raises(InvalidProblem, match="mean returns; at most"):
        Comparison(Panel(Logistic()), batch=10**12).vote(mdp, *pi)
    with pytest.raises(InvalidProblem, match="mean returns; at most"):
        Inversion(Comparison(Panel(Logistic()), batch=10**12), Logistic()).drawn(mdp, *pi, rng)
    many = Comparison(Panel(Logistic()), questions=10**12)
    with pytest.raises(InvalidProblem, match="2000000000000 episodes"):
        sampled_vote(many, mdp, *pi, rng)
    with pytest.raises(InvalidProblem, match="1000000000000 questions"):
        Inversion(many, Logistic()).drawn(mdp, *pi, rng)


# ---- inverted frequencies ----------------------------------------------------------------------------------
@pytest.mark.parametrize("believed", [Linear(0.25), Logistic(2.0)], ids=str)
def test_inverted_frequencies_have_the_computed_mean(believed):
    mdp, pi = problem(), softmax(logits(problem(), 2))
    asked = Comparison(Panel(Linear(0.25), 5), batch=2, questions=200)
    inversion = Inversion(asked, believed)
    expected = float(inversion.expected(mdp, *pi))
    many = np.broadcast_to(pi[:, None], (2, 400, *pi.shape[1:]))
    drawn = inversion.drawn(mdp, many[0], many[1], np.random.default_rng(0))
    assert drawn.shape == (400,)
    assert abs(drawn.mean() - expected) < 5 * drawn.std() / 20
    with balls.precision(128):
        ball = inversion.expected(exact(mdp).mdp, *enclosed(np.log(pi))[1])
    assert abs(ball.value - expected) < 1e-13


def test_what_is_believed_decides_what_is_estimated():
    mdp, pi = problem(), softmax(3 * logits(problem(), 2, seed=4))
    asked = Comparison(Panel(Linear(0.25), 5))
    difference = float(np.subtract(*start_value(mdp, pi)))
    assert Inversion(asked, Linear(0.25)).expected(mdp, *pi) == pytest.approx(difference, abs=1e-14)
    assert Inversion(asked, Linear(0.5)).expected(mdp, *pi) == pytest.approx(difference / 2, abs=1e-14)
    assert abs(Inversion(asked, Logistic(1.0)).expected(mdp, *pi) - difference) > 0.05 * abs(difference)
