"""CrossLM: updates against their definitions, the loop against plain fractions, C3 against all samples."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from proofs_check.crosslm.budget import ForgettingBudget
from proofs_check.crosslm.collapse import Collapse
from proofs_check.crosslm.enhancement_study import enhancement_study, forgetting_study
from proofs_check.crosslm.gain import Gain
from proofs_check.crosslm.pooled import EQUAL, FOUR_ITEMS, TWO_ITEMS, PooledEstimator, items
from proofs_check.crosslm.pooling import Pool, samples
from proofs_check.crosslm.records import interval, records
from proofs_check.crosslm.updates import client_scores, positive
from tabular_fedrl.algorithms.crosslm import crosslm, filtered, pooled, relative_likelihood, tilt
from tabular_fedrl.balls import Balls, precision
from tabular_fedrl.claims import verify
from tabular_fedrl.claims.certify import certify
from tabular_fedrl.errors import InvalidProblem, Undecided
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured

COUNTS = np.array([[[3.0, 1, 0], [1, 1, 2]], [[1, 0, 4], [2, 5, 1]]])
START = np.array([[0.25, 0.25, 0.5], [0.5, 0.375, 0.125]])


def fractions(table):
    return [[Fraction(float(x)) for x in row] for row in table]


# ---- the updates -------------------------------------------------------------------------------------------
def test_enclosures_that_tell_nothing_do_not_tell_that_the_filter_leaves_nothing():
    doubtful = Measured(np.zeros((1, 2)), np.full((1, 2), np.inf))
    assert filtered(doubtful, Measured(np.ones((1, 2)))).shape == (1, 2)
    with pytest.raises(InvalidProblem, match="context 0"):
        filtered(Measured(np.array([[1.0, 0.0]])), Measured(np.array([[0.0, 1.0]])))


@pytest.mark.parametrize("eta", [0.3, 4.0])
def test_the_tilt_maximises_the_score_less_the_divergence(eta):
    score = np.array([0.1, 0.9, 0.4])
    for row in START:

        def loss(x, row=row):
            p = softmax(x)
            return -(eta * p @ score - p @ np.log(p / row))

        best = softmax(minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-12}).x)
        np.testing.assert_allclose(tilt(row[None], score[None], eta)[0], best, atol=1e-6)


def test_the_filter_is_the_law_of_what_is_accepted():
    """An item drawn from G and kept with probability s: enumerated over 1/16 steps of a uniform number."""
    score = np.array([[1 / 16, 0.5, 0.0]])
    accepted = [sum(g for u in range(16) if u < 16 * s) / 16 for g, s in zip(START[0], score[0])]
    np.testing.assert_allclose(filtered(START[:1], score)[0], np.array(accepted) / sum(accepted), rtol=1e-15)


def test_a_filter_that_leaves_nothing_names_the_context():
    with pytest.raises(InvalidProblem, match="context 1: every generated item has score 0"):
        filtered(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))


# ---- the loop ----------------------------------------------------------------------------------------------
def by_hand(rounds, weight, m):
    """The filter's generators and the clients' models, in fractions, one context at a time."""
    generator, models = fractions(START), []
    counts = [fractions(own) for own in COUNTS]
    current = [[[x / sum(row) for x in row] for row in own] for own in counts]
    for _ in range(rounds):
        for s in range(2):
            score = [sum(own[s][x] / max(own[s]) for own in current) / 2 for x in range(3)]
            kept = [g * y for g, y in zip(generator[s], score)]
            generator[s] = [g / sum(kept) for g in kept]
        pools = [
            [[n + Fraction(weight) * m * g for n, g in zip(row, generator[s])] for s, row in enumerate(own)]
            for own in counts
        ]
        current = [[[x / sum(row) for x in row] for row in own] for own in pools]
        models.append(current)
    return generator, models


def test_the_filters_loop_is_exact_in_rationals():
    generator, models = by_hand(3, 0.25, 7)
    given = {"rounds": 3, "update": "filter", "weight": 0.25, "items": 7}
    with precision(128):
        exact = crosslm(Balls.of(COUNTS), Balls.of(START), **given)
    assert exact.generators[-1].is_rational
    for found, wanted in ((exact.generators[-1], generator), (exact.models[-1], models[-1])):
        flat = np.array(wanted, dtype=object).ravel()
        assert [Fraction(int(x.p), int(x.q)) for x in found.items.ravel()] == list(flat)
    floats = crosslm(COUNTS, START, **given)
    np.testing.assert_allclose(floats.models[-1], np.array(models[-1], dtype=float), rtol=1e-14)
    enclosed = crosslm(Measured(COUNTS), Measured(START), **given)
    gap = np.abs(enclosed.generators[-1].value - np.array(generator, dtype=float))
    assert (gap <= enclosed.generators[-1].error + 1e-16).all()
    assert enclosed.generators[-1].error.max() < 1e-10


def test_the_tilts_loop_agrees_in_floats_and_balls():
    given = {"rounds": 4, "eta": 1.5, "weight": 0.5, "items": 6}
    floats = crosslm(COUNTS, START, **given)
    with precision(256):
        balls = crosslm(Balls.of(COUNTS), Balls.of(START), **given)
        np.testing.assert_allclose(balls.generators[-1].value, floats.generators[-1], rtol=1e-13)
        np.testing.assert_allclose(balls.models[-1].value, floats.models[-1], rtol=1e-13)
    # T tilts are one, by the sum of the scores: a closed form that shares nothing with the loop.
    total = START * np.exp(1.5 * np.sum(floats.mean_scores, axis=0))
    np.testing.assert_allclose(floats.generators[-1], total / total.sum(-1, keepdims=True), rtol=1e-13)


def test_only_scores_and_generated_items_cross_the_wire():
    run = crosslm(COUNTS, START, rounds=5)
    assert run.ledger.kinds == ("generated items", "scores")
    assert run.ledger.bytes_up == run.ledger.bytes_down == 8 * 5 * 2 * START.size
    scores = np.stack(run.scores)
    assert scores.max(-1) == pytest.approx(1.0)
    assert (scores >= 0).all()
    # What the scores of all items give away.
    for sent, model in zip(run.scores, run.models):
        np.testing.assert_allclose(sent / sent.sum(-1, keepdims=True), model, rtol=1e-14)


def test_drawn_items_are_reproducible_and_right_in_the_mean():
    def last(seed):
        rng = np.random.default_rng(seed)
        return crosslm(COUNTS, START, rounds=1, items=5, weight=2.0, rng=rng).models[-1]

    np.testing.assert_array_equal(last(3), last(3))
    drawn = np.stack([last(seed) for seed in range(2000)])
    law = crosslm(COUNTS, START, rounds=1, items=5, weight=2.0).models[-1]
    assert (np.abs(drawn.mean(0) - law) < 5 * drawn.std(0) / np.sqrt(2000) + 1e-12).all()
    assert drawn.std(0).max() > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator": START[:1]}, "expected .K, S, A. and .S, A."),
        ({"counts": COUNTS * [[[1], [0]]]}, "client 0 has no item of context 1"),
        ({"counts": -COUNTS}, "at least 0"),
        ({"generator": 2 * START}, "not laws"),
        ({"update": "sort"}, "'sort'"),
        ({"rounds": 0}, "rounds = 0"),
        ({"weight": -1.0}, r"weight = -1\.0"),
        ({"eta": float("nan")}, "eta = nan"),
        ({"items": 0}, "items = 0"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"counts": COUNTS, "generator": START, "rounds": 1} | change
    with pytest.raises(InvalidProblem, match=message):
        crosslm(given.pop("counts"), given.pop("generator"), **given)


# ---- C3 ----------------------------------------------------------------------------------------------------
P, G = (
    [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)],
    [Fraction(1, 5), Fraction(1, 5), Fraction(3, 5)],
)


def squared(x):
    return sum(y * y for y in x)


@pytest.mark.parametrize(("n", "m", "w"), [(1, 2, Fraction(1)), (3, 2, Fraction(1, 4)), (2, 3, Fraction(5))])
def test_the_mean_squared_error_is_that_of_all_samples(n, m, w):
    """In fractions, without the package."""
    M, V, U = w * m, 1 - squared(P), 1 - squared(G)
    D = squared([a - b for a, b in zip(G, P)])
    by_law, by_items = Fraction(0), Fraction(0)
    for xs in product(range(3), repeat=n):
        p = np.prod([P[x] for x in xs])
        law = [(xs.count(i) + M * G[i]) / (n + M) - P[i] for i in range(3)]
        by_law += p * squared(law)
        for ys in product(range(3), repeat=m):
            off = [(xs.count(i) + w * ys.count(i)) / (n + M) - P[i] for i in range(3)]
            by_items += p * np.prod([G[y] for y in ys]) * squared(off)
    assert by_law == (n * V + M**2 * D) / (n + M) ** 2
    assert by_items == by_law + w**2 * m * U / (n + M) ** 2
    assert by_law - V / n == (M / (n + M)) ** 2 * (D - V * (Fraction(1, n) + 2 / M))
    x = Pool(Measured([list(map(float, P))]), Measured([list(map(float, G))]), n, m, float(w))
    for found, wanted in (
        (x.error, by_law),
        (x.by_force(), by_law),
        (x.sampled_error, by_items),
        (x.by_force_sampled(), by_items),
    ):
        assert float(found.value[0]) == pytest.approx(float(wanted), rel=1e-13)


def test_two_generators_at_the_same_distance_on_either_side_of_the_threshold():
    p, one, other = (np.array(x[0]) for x in (EQUAL, TWO_ITEMS, FOUR_ITEMS))
    assert np.abs(one - p).sum() == pytest.approx(np.abs(other - p).sum(), abs=1e-15)
    threshold = (1 - (p**2).sum()) * (1 / 20 + 2 / 40)
    assert ((other - p) ** 2).sum() < threshold < ((one - p) ** 2).sum()
    rng = np.random.default_rng(0)
    private = rng.multinomial(20, p, 20_000)
    local = ((private / 20 - p) ** 2).sum(1).mean()
    harmed, helped = ((((private + 40 * g) / 60 - p) ** 2).sum(1).mean() for g in (one, other))
    assert helped < 0.8 * local < 1.2 * local < harmed


@pytest.mark.parametrize(
    ("client", "generator", "claims"),
    [
        ([[1.0, 0.0]], [[1.0, 0.0]], {"no_better_weight", "best_weight"}),
        ([[0.5, 0.5]], [[0.5, 0.5]], {"best_weight"}),
        ([[1.0, 0.0]], [[0.5, 0.5]], set()),
    ],
)
def test_the_best_weight_is_spoken_of_only_where_there_is_one(client, generator, claims):
    verdicts = verify("crosslm.pooled", items(2), n=3, m=2, client=client, generator=generator)
    assert {v.claim for v in verdicts if v.status == "not applicable"} == claims
    assert {v.status for v in verdicts} <= {"holds", "not applicable"}


def test_what_the_formula_leaves_out_where_the_generator_knows_the_items():
    """The mean of 2nM <P-hat - P, G' - P>/(n+M)^2."""
    x = PooledEstimator().setup(load("random-mdp:seed=1"), n=3, m=5)
    p, counts = samples(x.P, x.n)

    def steered(counts):
        return filtered(x.G.reshape(len(x.G), 1, -1), relative_likelihood(pooled(counts, counts, 0.0)))

    off, drift = (y - x.P.reshape(len(x.P), 1, -1) for y in (steered(counts), counts / 3.0))
    D = (p * (off * off).sum(-1)).sum(-1)
    cross = (p * (off * drift).sum(-1)).sum(-1)
    whole = (x.V * x.n + x.M * x.M * D + cross * x.M * (2.0 * x.n)) / (x.M + x.n) ** 2
    np.testing.assert_allclose(x.by_force(steered).value, whole.value, rtol=1e-13)
    assert cross.value.min() > 0.01


def test_every_claim_on_pooling_is_exact_in_rationals():
    for case in PooledEstimator.certified:
        for verdict in certify(PooledEstimator, case).verdicts:
            assert verdict.status == "holds"
            if verdict.kind == "identity":
                assert verdict.error == 0


# ---- the pages ---------------------------------------------------------------------------------------------
def test_scores_are_what_agents_see_scaled_to_the_unit_interval():
    problem = load("random-mdp:seed=1,visible=0+1/1+2/3")
    scores, c = client_scores(problem).value, problem.cmdp.c
    assert scores.shape == (3, problem.cmdp.S, problem.cmdp.A)
    assert scores.min(axis=(1, 2)) == pytest.approx(0.0)
    assert scores.max(axis=(1, 2)) == pytest.approx(1.0)
    seen = (c[0] + c[1]) / 2
    np.testing.assert_allclose(scores[0], (seen - seen.min()) / (seen.max() - seen.min()), atol=1e-15)
    assert (client_scores(load("textbook:constant-reward")).value == 1).all()


@pytest.mark.parametrize(
    ("page", "parameters", "message"),
    [
        (Gain, {"score": [[0.5, 1.5]]}, "2 numbers in .0, 1."),
        (Gain, {"eta": 1e3}, r"eta = 1000\.0"),
        (ForgettingBudget, {"task": [[0.5]]}, "1 x 2 numbers"),
        (PooledEstimator, {"client": [[0.5, 0.6]]}, "sums to"),
        (Collapse, {"scores": [[0.0, 0.0]]}, "not all 0"),
        (Collapse, {"scores": [[1.0, 0.0], [0.0, 1.0]]}, "every generated item has score 0"),
    ],
)
def test_pages_refuse_what_makes_no_sense(page, parameters, message):
    with pytest.raises(InvalidProblem, match=message):
        verify(page, "textbook:two-arm", **parameters)


def test_contexts_in_which_no_item_is_liked_are_left_out_of_the_filter():
    given = {"generator": [[1.0, 0.0]], "score": [[0.0, 1.0]]}
    verdicts = {v.claim: v for v in verify(Gain, "textbook:two-arm", **given)}
    assert verdicts["filter_gain"].status == "not applicable"
    assert verdicts["tilt_at_least"].status == "holds"


def test_what_is_still_made_is_not_decided_by_a_midpoint():
    assert positive(Measured([0.0, 1e-9], [0.0, 1e-12])).tolist() == [False, True]
    with pytest.raises(Undecided):
        positive(Measured([1e-9], [1e-8]))
    with precision(64):
        assert positive(Balls.of([0.0, 1e-9])).tolist() == [False, True]
        with pytest.raises(Undecided):
            positive(Balls(np.array([1e-9]), 1e-8))


# ---- the experiment ----------------------------------------------------------------------------------------
def test_the_federations_are_what_they_say():
    data = records(1)
    assert data.counts.shape == data.laws.shape == (5, 200, 48)
    assert (data.counts.sum(-1) == 30).all()
    assert data.laws.sum(-1) == pytest.approx(1.0)
    np.testing.assert_array_equal(records(1).counts, data.counts)
    assert not np.array_equal(records(2).counts, data.counts)
    V = 1 - (data.laws**2).sum(-1)
    mean, low, high = interval(data.error(data.run("tilt", 0.0, 1, 0.0).models[-1]))
    assert low < (V / 30).mean() < high
    assert mean == pytest.approx((V / 30).mean(), rel=0.05)


def test_a_gentle_tilt_helps_the_clients_and_many_rounds_harm_them():
    data = enhancement_study(seed=7).arrays
    at = int(np.argmin(np.abs(data["weight"] - 1.0)))
    was, gentle = data["labels"].tolist().index("generator as it was"), 1
    assert data["error_high"][gentle, at] < data["error_low"][was, at] < 1
    assert data["path_low"][2, -1] > 1 > data["path_high"][2, 0]
    assert (data["error_low"] <= data["error"]).all()
    assert (data["error"] <= data["error_high"]).all()


def test_c3_predicts_the_fixed_generator_and_flatters_the_one_that_listens():
    """Of the former the items are independent; the latter's are not, and its error is larger than that."""
    data = records(5)
    for update, eta, fair in (("tilt", 0.0, True), ("filter", 0.0, False)):
        run = data.run(update, eta, 1, 1.0)
        errors = data.error(run.models[-1]) / data.error(run.models[0]).mean()
        _, low, high = interval(errors)
        predicted = data.predicted(run.generators[-1], 1.0)
        assert (low < predicted < high) == fair
        assert fair or predicted < low


def test_the_tilts_divergence_stays_within_its_budgets_and_below_the_filters():
    data = forgetting_study(seed=3).arrays
    assert (data["tilt"] <= data["budget"]).all()
    tilt_, filter_ = data["divergence"]
    assert (tilt_ <= data["paid"]).all()
    assert (data["paid"] <= data["spans"]).all()
    assert (filter_ > tilt_).all()
    gain, divergence = data["filter"][:2]
    assert divergence > np.interp(gain, data["gain"], data["tilt"])


def test_a_problem_of_one_context_has_so_many_items():
    assert (items(7).S, items(7).A) == (1, 7)
