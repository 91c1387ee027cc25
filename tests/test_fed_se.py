"""Fed-SE against enumerated episodes, independent optimisers, and itself in other number systems."""

from __future__ import annotations

import json
from itertools import islice
from itertools import product as pairs

import numpy as np
import pytest
from scipy.optimize import minimize

from proofs_check.fed_se.buffer import CumulativeBuffer
from proofs_check.fed_se.learner import Learner, row
from proofs_check.fed_se.rounds import ONE_OF_FOUR, late_bloomer
from proofs_check.fed_se.spectrum import squared_singular_values
from proofs_check.fed_se.transfer_study import base_values, gradient_conflict, last_values
from tabular_fedrl import balls
from tabular_fedrl.algorithms.fed_se import Choice, fed_se
from tabular_fedrl.algorithms.fed_se_adapters import (
    adapted,
    centred,
    closed_form,
    improved,
    initial_adapter,
    product,
)
from tabular_fedrl.algorithms.fed_se_buffer import exact_weights, sampled_weights
from tabular_fedrl.algorithms.fed_se_server import AGGREGATIONS, truncated, weighted
from tabular_fedrl.balls import Balls
from tabular_fedrl.cli import main
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, environments, exact, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.instances import load_episodic
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import run

SUITE = "success-garnet:S=3,A=4,H=2,goals=1,clients=4,heterogeneity=0.7,seed=5"


def small(H: int = 3) -> EpisodicMDP:
    rng = np.random.default_rng(3)
    r = np.zeros((H, 2, 2))
    r[-1] = [[0.1, 0.7], [1.0, 0.2]]
    return EpisodicMDP(rng.dirichlet([1, 1], size=(H, 2, 2)), r, [0.3, 0.7], H)


def some_policy(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), size=shape[:-1])


# ---- what a buffer holds -----------------------------------------------------------------------------------
def test_weights_are_those_of_all_enumerated_episodes():
    mdp, pi = small(), some_policy((3, 2, 2))
    W, visits = np.zeros((3, 2, 2)), np.zeros((3, 2, 2))
    for states in pairs(range(2), repeat=3):
        for actions in pairs(range(2), repeat=3):
            p = mdp.rho[states[0]]
            for h in range(3):
                p *= pi[h, states[h], actions[h]]
                if h < 2:
                    p *= mdp.P[h, states[h], actions[h], states[h + 1]]
            for h in range(3):
                W[h, states[h], actions[h]] += p * mdp.r[2, states[2], actions[2]]
                visits[h, states[h], actions[h]] += p
    np.testing.assert_allclose(exact_weights(mdp, pi), W, atol=1e-15)
    np.testing.assert_allclose(exact_weights(mdp, pi, filtered=False), visits, atol=1e-15)


def test_sampled_weights_agree_with_the_exact_ones_within_a_stated_confidence():
    mdp, pi, n = small(), some_policy((3, 2, 2)), 40_000
    radius = np.sqrt(np.log(2 * 24 / 1e-9) / (2 * n))  # Hoeffding, for 24 entries together
    for filtered in (True, False):
        drawn = sampled_weights(mdp, pi, n, np.random.default_rng(1), filtered=filtered)
        assert np.abs(drawn - exact_weights(mdp, pi, filtered=filtered)).max() < radius
    # Failures kept would be noticed.
    assert np.abs(drawn - exact_weights(mdp, pi)).max() > radius


# ---- fits --------------------------------------------------------------------------------------------------
def likelihood(W: np.ndarray, pi: np.ndarray) -> float:
    return float((W * np.log(pi)).sum())


def test_the_closed_form_is_what_an_optimiser_of_the_logits_finds():
    mdp, pi = small(), some_policy((3, 2, 2))
    W = exact_weights(mdp, pi)
    n, A = 6, 2

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        nu = adapted(z.reshape(n, A), np.zeros((n, 1)), np.zeros((1, A)))
        rows = W.reshape(n, A)
        return -likelihood(rows, nu), -(rows - rows.sum(1, keepdims=True) * nu).ravel()

    found = minimize(
        loss, np.zeros(n * A), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12}
    )
    best = closed_form(W, pi)
    assert -found.fun == pytest.approx(likelihood(W, best), abs=1e-10)
    assert -found.fun <= likelihood(W, best) + 1e-13
    np.testing.assert_allclose(best.sum(-1), 1, atol=1e-15)


def test_rows_without_weight_keep_their_policy():
    W, pi = np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([[0.2, 0.8], [0.5, 0.5]])
    np.testing.assert_array_equal(closed_form(W, pi), [[0.2, 0.8], [0.25, 0.75]])
    B, A = initial_adapter(2, 2, None, 0)
    after = adapted(np.log(pi), *improved(W, np.log(pi), B, A, 50, fit_A=False))
    np.testing.assert_allclose(after, [[0.2, 0.8], [0.25, 0.75]], atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_sweeps_never_lower_the_likelihood_and_end_where_it_is_stationary(rank):
    rng = np.random.default_rng(rank)
    n, actions = 7, 5
    W = rng.exponential(size=(n, actions)) * rng.exponential(size=(n, 1))
    base, B, A = (
        rng.standard_normal((n, actions)),
        rng.standard_normal((n, rank)),
        rng.standard_normal((rank, actions)),
    )
    A = centred(A)
    values = []
    for _ in range(400):
        values.append(likelihood(W, adapted(base, B, A)))
        B, A = improved(W, base, B, A, 1)
    assert (np.diff(values) > -1e-12).all()
    np.testing.assert_allclose(A.sum(-1), 0, atol=1e-12)

    def loss(x: np.ndarray) -> float:
        b, a = x[: n * rank].reshape(n, rank), x[n * rank :].reshape(rank, actions)
        return -likelihood(W, adapted(base, b, a))

    # No direction from there leads up by more than what is left of the climb.
    end = minimize(loss, np.concatenate([B.ravel(), A.ravel()]), method="L-BFGS-B")
    assert -end.fun - values[-1] < 0.05 * (values[-1] - values[0])


@pytest.mark.parametrize("rank", [1, 2, None])
def test_without_the_filter_no_round_moves_the_policy(rank):
    problem = load_episodic(SUITE)
    choice = Choice(rank=rank, filtered=False, aggregation="factors")
    start = np.random.default_rng(0).standard_normal((problem.H, problem.S, problem.A))
    first, *_, last = islice(fed_se(problem, choice, Ledger(), start), 6)
    np.testing.assert_allclose(last.policies, first.policies, atol=1e-13)
    moved = list(islice(fed_se(problem, Choice(rank=rank), Ledger(), start), 2))[1]
    assert np.abs(moved.policies - first.policies).max() > 1e-3


# ---- the server --------------------------------------------------------------------------------------------
def test_averages_by_hand():
    rng = np.random.default_rng(0)
    base, B, A = rng.standard_normal((6, 4)), rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 2, 4))
    w = np.array([0.5, 0.3, 0.2])
    M = sum(w[k] * B[k] @ A[k] for k in range(3))
    merged = {name: merge(base, B, A, w) for name, merge in AGGREGATIONS.items()}
    logits = {name: z + b @ a for name, (z, b, a) in merged.items()}
    U, s, V = np.linalg.svd(M, full_matrices=False)
    np.testing.assert_allclose(logits["products"], base + M, atol=1e-14)
    np.testing.assert_allclose(
        logits["factors"], base + np.tensordot(w, B, 1) @ np.tensordot(w, A, 1), atol=1e-14
    )
    np.testing.assert_allclose(logits["truncated"], base + (U[:, :2] * s[:2]) @ V[:2], atol=1e-13)
    assert all(b.shape == (6, 2) and a.shape == (2, 4) for _, b, a in merged.values())


def test_at_full_rank_averaging_factors_is_averaging_logits():
    problem = load_episodic(SUITE)
    played = next(fed_se(problem, Choice(rank=None), Ledger()))
    w = np.full(problem.N, 1 / problem.N)
    _, B, A = AGGREGATIONS["factors"](played.base[0], played.B, played.A, w)
    np.testing.assert_allclose(product(B, A), weighted(product(played.B, played.A), w), atol=1e-15)


def test_at_full_rank_all_averages_are_the_same():
    problem = load_episodic(SUITE)
    last = [
        next(islice(fed_se(problem, Choice(rank=None, aggregation=name), Ledger()), 2, None)).policies
        for name in AGGREGATIONS
    ]
    for other in last[1:]:
        np.testing.assert_allclose(other, last[0], atol=1e-13)


def test_a_cut_keeps_its_rank_where_there_are_fewer_rows_than_that():
    one_row = EpisodicMDP(np.ones((1, 4, 1)), [[0.1, 0.9, 0.5, 0.0]], [1.0], 1)
    ledger, choice = Ledger(), Choice(rank=2, aggregation="truncated")
    rounds = list(islice(fed_se(FederatedEpisodicMDP([one_row] * 2), choice, ledger), 4))
    assert all(x.B.shape == (2, 1, 2) and x.A.shape == (2, 2, 4) for x in rounds)
    assert ledger.bits("up") == ledger.bits("down") == 3 * 2 * 64 * 2 * (1 + 4)
    np.testing.assert_allclose(rounds[1].policies[0], rounds[0].local.mean(0), atol=1e-14)


def test_rows_of_the_adapter_stay_centred_where_the_fit_has_nothing_to_do():
    """Every episode succeeds: the slope of the likelihood is rounding, and the steps make it larger."""
    mdp = small()
    sure = mdp.replace(r=np.concatenate([mdp.r[:-1], np.ones((1, 2, 2))]))
    for seed in range(4):
        last = next(islice(fed_se(environments(sure), Choice(rank=2, seed=seed), Ledger()), 3, None))
        np.testing.assert_allclose(last.A.sum(axis=-1), 0.0, atol=1e-13)


@pytest.mark.parametrize("aggregation", [*AGGREGATIONS, None])
def test_clients_in_one_environment_gain_nothing_and_lose_nothing_together(aggregation):
    one = load_episodic(SUITE).mdps[0]
    four, alone = FederatedEpisodicMDP([one] * 4), environments(one)
    together = last_values(four, 5, aggregation=aggregation)
    if aggregation != "truncated":  # which changes the factors, and with them the next fit
        np.testing.assert_allclose(together, last_values(alone, 5, aggregation=None)[0], atol=1e-12)
    np.testing.assert_allclose(together, together[0], atol=1e-14)
    assert gradient_conflict(four) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("choice", "up", "down"),
    [
        (Choice(rank=2), 2 * (6 + 4), 2 * (6 + 4)),
        (Choice(rank=1, aggregation="truncated"), 6 + 4, 6 + 4),
        (Choice(rank=2, aggregation="products"), 2 * (6 + 4), 2 * (6 + 4) + 6 * 4),
        (Choice(rank=2, by_successes=True), 2 * (6 + 4) + 1, 2 * (6 + 4)),
        (Choice(rank=None), 6 * 4, 6 * 4),
        (Choice(aggregation=None), 0, 0),
    ],
)
def test_bits_of_a_round(choice, up, down):
    problem, ledger = load_episodic(SUITE), Ledger()  # n = HS = 6, A = 4, K = 4
    next(islice(fed_se(problem, choice, ledger), 3, None))
    assert (ledger.bits("up"), ledger.bits("down")) == (3 * 4 * 64 * up, 3 * 4 * 64 * down)


def test_a_client_without_successes_counts_for_nothing_where_successes_count():
    good = load_episodic(SUITE).mdps[0]
    bad = good.replace(r=np.zeros(good.r.shape))
    both = FederatedEpisodicMDP([good, bad])
    played = list(islice(fed_se(both, Choice(by_successes=True), Ledger()), 2))
    np.testing.assert_allclose(played[1].policies[1], played[0].local[0], atol=1e-14)
    nobody = list(islice(fed_se(environments(bad), Choice(by_successes=True), Ledger()), 2))
    np.testing.assert_allclose(nobody[1].policies, 0.25, atol=1e-15)


# ---- number systems, streams, refusals ---------------------------------------------------------------------
@pytest.mark.parametrize("aggregation", [*AGGREGATIONS, None])
def test_floats_and_balls_agree(aggregation):
    problem = load_episodic("success-garnet:S=2,A=4,H=2,b=2,goals=1,clients=2,heterogeneity=1,seed=2")
    choice = Choice(rank=2, aggregation=aggregation, by_successes=True, sweeps=2)
    plain = next(islice(fed_se(problem, choice, Ledger()), 2, None)).policies
    with balls.precision(192):
        policies = next(islice(fed_se(exact(problem), choice, Ledger()), 2, None)).policies
        assert isinstance(policies, Balls)
        assert policies.error.max() < 1e-15
        np.testing.assert_allclose(plain, policies.value, atol=1e-12)


def test_episodes_come_from_the_seed():
    problem = load_episodic(SUITE)
    runs = [
        next(islice(fed_se(problem, Choice(episodes=20, seed=s), Ledger()), 3, None)).policies
        for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(aggregation="median"), "aggregation 'median': expected one of factors, products, truncated"),
        (Choice(rank=5), "rank = 5: expected a whole number from 1 to A = 4, or full"),
        (Choice(rank=0), "rank = 0"),
    ],
)
def test_bad_choices_are_refused(choice, message):
    with pytest.raises(InvalidProblem, match=message):
        next(fed_se(load_episodic(SUITE), choice, Ledger()))


def test_rewards_that_are_no_success_are_refused():
    mdp = small()
    early, large = mdp.r.copy(), mdp.r.copy()
    early[1, 0, 1], large[2, 1, 0] = 0.5, 1.5
    for r, message in (
        (early, r"r\[h=1, s=0, a=1\] = 0.5: expected 0"),
        (large, r"r\[h=2, s=1, a=0\] = 1.5"),
    ):
        with pytest.raises(InvalidProblem, match=message):
            next(fed_se(environments(mdp.replace(r=r)), Choice(), Ledger()))


# ---- what the pages rest on --------------------------------------------------------------------------------
def test_fits_that_only_improve_can_lose_certainly():
    with balls.precision(128):
        x = CumulativeBuffer().setup(exact(late_bloomer()), rounds=3, draws=1, sweeps=10)
        falls = [(old.J - new.J).lower.max() for old, new in x.run.pairs]
        rises = [(new.J - old.J).lower.min() for old, new in x.full.pairs]
        explained = (row(new.J for new in x.run.fitted) - x.run.floor).lower.min()
    assert max(falls) > 5e-4
    assert min(rises) > -1e-30
    assert explained >= 0


def test_old_successes_call_a_client_back_from_where_the_others_took_it():
    x = CumulativeBuffer().setup(ONE_OF_FOUR, rounds=4, draws=1, sweeps=300, rank=None, aggregation="factors")
    before, after = x.run.pairs[2]
    assert float((before.J - after.J).lower.ravel()[0]) > 0.05
    # It is no lack of sweeps: the largest likelihood of the buffer is no better for J.
    best = Learner(ONE_OF_FOUR, closed_form(x.run.buffers[2].value, before.pi))
    assert float((before.J - best.J).lower.ravel()[0]) > 0.05


def test_singular_values_are_enclosed():
    rng = np.random.default_rng(0)
    Q, R = np.linalg.qr(rng.standard_normal((6, 6)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0]
    values = np.array([3.0, 2.0, 1e-3, 0.0])
    found = squared_singular_values(Measured((Q[:, :4] * values) @ R))
    assert (found.error < 1e-13).all()
    # The matrix itself is rounded: its singular values are not quite those.
    assert (np.abs(found.value - values**2) <= found.error + 1e-14).all()
    same = squared_singular_values(Measured(np.diag([1.0, 5.0, 5.0])))
    assert (np.abs(same.value - [25, 25, 1]) <= same.error).all()


def test_cutting_is_the_nearest_of_its_rank():
    M = np.random.default_rng(1).standard_normal((6, 4))
    B, A = truncated(M, 2)
    tail = (np.linalg.svd(M)[1][2:] ** 2).sum()
    assert ((M - B @ A) ** 2).sum() == pytest.approx(tail, rel=1e-12)


def test_minorities_lose_and_by_themselves_nobody_does():
    problem = load_episodic("opposed-grid:side=3,clients=6,opposed=1,H=4")
    base = base_values(problem)
    ours = last_values(problem, by_successes=True)
    assert (ours[:5] > base[:5]).all()
    assert ours[5] < base[5]
    assert (last_values(problem, aggregation=None) > base).all()
    assert start_value(problem, np.full((6, 4, 9, 4), 0.25)) == pytest.approx(base)


# ---- runs --------------------------------------------------------------------------------------------------
def test_a_run_measures_the_policies_that_are_played():
    problem = load_episodic(SUITE)
    result = run("fed-se", problem, rounds=3, rank=1, sweeps=4, by_successes=True)
    played = list(islice(fed_se(problem, Choice(rank=1, sweeps=4, by_successes=True), Ledger()), 4))
    for t, step in enumerate(played):
        values = start_value(problem, step.policies)
        assert (np.abs(result.value.value[t] - values) <= result.value.error[t] + 1e-15).all()
    assert result.value.error.max() < 1e-13
    assert list(np.diff(result.bits)) == [4 * 64 * (2 * (6 + 4) + 1)] * 3
    assert result.bits[0] == 0
    with balls.precision(128):
        certain = run("fed-se", exact(problem), rounds=2, rank=1, sweeps=2)
    assert certain.value.error.max() < 1e-15


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rnk": 1}, "no parameter 'rnk'; did you mean 'rank'"),
        ({"sweeps": 0}, "sweeps"),
        ({"filtered": 1}, "filtered = 1: expected true or false"),
        ({"rounds": 0}, "rounds"),
    ],
)
def test_bad_settings_of_a_run_are_named(given, message):
    with pytest.raises(InvalidProblem, match=message):
        run("fed-se", load_episodic(SUITE), **{"rounds": 2, **given})


def test_the_command_shows_every_client(capsys):
    assert main(["run", "fed-se", SUITE, "--rounds", "2", "--set", "rank=none", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["clients"] == len(data["success"]["last"]) == 4
    assert data["parameters"]["rank"] is None
    assert main(["run", "fed-se", SUITE, "--rounds", "2", "--eta", "0.1"]) == 2
    assert main(["run", "fed-se", "episodic-tree:H=2", "--rounds", "2"]) == 2
    assert "expected 0 before the last step" in capsys.readouterr().err
