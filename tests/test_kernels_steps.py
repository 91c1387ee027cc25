"""The kernels on tables against the definitions in ``policies``, for any number of states and actions."""

from __future__ import annotations

import numpy as np
import pytest

from tabular_fedrl import policies
from tabular_fedrl.kernels import steps, threads
from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks
from tabular_fedrl.measured import UNIT
from tabular_fedrl.policies import CompactPolicy, enclosed_kl, random_log_policy

SIZES = [(1, 3), (CHUNK - 1, 2), (CHUNK + 1, 5), (5000, 10), (9 * CHUNK + 7, 1)]


@pytest.fixture(params=SIZES, ids=lambda size: f"S={size[0]},A={size[1]}")
def tables(request):
    S, A = request.param
    rng = np.random.default_rng(S)
    return random_log_policy(rng, S, A, 3.0), random_log_policy(rng, S, A), rng


def compact(log_policy):
    x = CompactPolicy.of(log_policy)
    return x.actions, x.mixed, x.rows


def partials(S, *shape):
    return np.full((chunks(S), *shape), np.nan)


def test_a_natural_step_is_the_definitions(tables):
    log_pi, _, rng = tables
    S, A = log_pi.shape
    Q, V = rng.normal(size=(S, A)), rng.normal(size=S)
    out, flaws = np.empty_like(log_pi), partials(S, 1)
    over_chunks(steps.primal_step, S, log_pi, Q, V, np.empty(0), 0.3, out, flaws)
    assert np.abs(out - policies.natural_gradient_step(log_pi, Q - V[:, None], 0.3)).max() < 1e-14
    assert (flaws == 0).all()
    assert np.abs(out - policies.natural_gradient_step(log_pi, Q - V[:, None], -0.3)).max() > 0.1 or A == 1


def test_a_step_in_place_of_its_policy_or_of_its_values(tables):
    log_pi, _, rng = tables
    S = len(log_pi)
    Q, V, d = rng.normal(size=log_pi.shape), rng.normal(size=S), rng.uniform(size=S)
    expected = policies.log_softmax(log_pi + 0.3 * d[:, None] * np.exp(log_pi) * (Q - V[:, None]))
    for place in (0, 1):
        given = [log_pi.copy(), Q.copy()]
        over_chunks(steps.primal_step, S, *given, V, d, 0.3, given[place], partials(S, 1))
        assert np.abs(given[place] - expected).max() < 1e-14


@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_reported_wherever_it_is(tables, entry):
    logits, _, rng = tables
    S, A = logits.shape
    place = int(rng.integers(S)), int(rng.integers(A))
    logits[place] = entry
    flaws = partials(S, 1)
    over_chunks(steps.normalise, S, logits, flaws)
    assert np.flatnonzero(flaws.sum(axis=1) != 0).tolist() == [place[0] // CHUNK]


def test_normalise_and_probabilities(tables):
    log_pi, _, rng = tables
    S = len(log_pi)
    logits, pi = log_pi + rng.normal(size=(S, 1)), np.empty_like(log_pi)
    over_chunks(steps.probabilities, S, logits, pi)
    over_chunks(steps.normalise, S, logits, partials(S, 1))
    assert np.abs(logits - log_pi).max() < 1e-13
    assert np.abs(pi - np.exp(log_pi)).max() < 1e-14
    over_chunks(steps.probabilities, S, logits, logits)
    assert np.abs(logits - pi).max() < 1e-14


@pytest.mark.parametrize("geometric", [False, True])
def test_a_mean_added_up_agent_by_agent(tables, geometric):
    p, q, rng = tables
    S, A = p.shape
    weights, given = np.array([0.2, 0.5, 0.3]), np.stack([p, q, random_log_policy(rng, S, A)])
    given[1, 0] = np.where(np.arange(A) == 0, 0.0, -900.0)
    mean = np.full((S, A), np.nan)
    for i, w in enumerate(weights):
        over_chunks(steps.add_policy, S, given[i], w, geometric, i == 0, mean)
    define = policies.geometric_logits if geometric else policies.arithmetic_logits
    assert np.abs(mean - define(given, weights)).max() < 1e-13 * (200 if geometric else 1)
    other = policies.arithmetic_logits if geometric else policies.geometric_logits
    assert A == 1 or np.abs(mean - other(given, weights)).max() > 0.01


def test_moves_and_mixtures(tables):
    p, q, rng = tables
    S, A = p.shape
    worst = partials(S, 1)
    over_chunks(steps.largest_move, S, p, q, worst)
    assert abs(worst.max() - 2 * policies.total_variation(p, q).max()) < 1e-14
    f, V, w = rng.normal(size=(3, S, A)), rng.normal(size=(S, 3)), rng.normal(size=3)
    table, vector = np.full((S, A), np.nan), np.ones(S)
    over_chunks(steps.mix, S, w, f, table)
    over_chunks(steps.add_values, S, w, V, vector)
    assert np.abs(table - np.tensordot(w, f, 1)).max() < 1e-14
    assert np.abs(vector - (1 + V @ w)).max() < 1e-14
    over_chunks(steps.add_table, S, -2.0, p, table)
    assert np.abs(table - np.tensordot(w, f, 1) + 2 * p).max() < 1e-13
    sums, rho = partials(S, 2, 3), rng.dirichlet(np.ones(S))
    over_chunks(steps.at_start, S, rho, V, sums)
    assert np.abs(sums[:, 0].sum(axis=0) - rho @ V).max() < 1e-14
    assert (sums[:, 1].max(axis=0) == np.abs(V).max(axis=0)).all()


def test_a_compact_policy_loads_like_its_table(tables):
    p, _, rng = tables
    S, A = p.shape
    p[rng.random(S) < 0.7] = np.where(np.arange(A) == A // 2, 0.0, -np.inf)
    one, other = np.full((2, 1, A, steps.BLOCK), np.nan)
    for first in range(0, S, steps.BLOCK):
        steps.load(p, first, one)
        steps.load_compact(*compact(p), first, other)
        inside = slice(min(steps.BLOCK, S - first))
        assert (one[..., inside] == other[..., inside]).all()


def test_a_divergence_within_its_bound(tables):
    p, q, rng = tables
    S, A = p.shape
    # Comparators are often deterministic.
    p[::2] = np.where(np.arange(A) == rng.integers(A, size=S)[::2, None], 0.0, -np.inf)
    d, sums = rng.dirichlet(np.ones(S)), partials(S, 3)
    over_chunks(steps.divergence, S, d, *compact(p), q, sums)
    each = enclosed_kl(p, q)
    off = (2 * A + 40 + CHUNK + chunks(S)) * UNIT * sums[:, 1].sum()
    assert off < 1e-11
    assert abs(sums[:, 0].sum() - float(d @ each.value)) <= off + float(d @ each.error)
    if A > 1:
        over_chunks(steps.divergence, S, d, *compact(q), p, sums)
        assert not np.isfinite(sums[:, 0].sum())  # q is positive where p is 0


def test_no_sum_depends_on_the_number_of_threads(monkeypatch):
    S, A = 9 * CHUNK + 7, 3
    rng = np.random.default_rng(0)
    p, q, d = random_log_policy(rng, S, A), random_log_policy(rng, S, A), rng.dirichlet(np.ones(S))
    answers = []
    monkeypatch.setattr(threads, "ENOUGH", 2)
    for count in (1, 2):
        monkeypatch.setattr(threads.numba, "get_num_threads", lambda count=count: count)
        sums, starts = partials(S, 3), partials(S, 2, A)
        over_chunks(steps.divergence, S, d, *compact(p), q, sums)
        over_chunks(steps.at_start, S, d, p, starts)
        answers.append((sums, starts))
    for one, two in zip(*answers):
        assert (one == two).all()
