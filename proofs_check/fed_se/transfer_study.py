"""Negative transfer, harm and the gradients' conflict on suites of clients, and what the parts of Fed-SE
add."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.fed_se import Choice, fed_se
from tabular_fedrl.claims import StudyData
from tabular_fedrl.claims.confidence import binomial
from tabular_fedrl.episodic import FederatedEpisodicMDP, gradient, start_value
from tabular_fedrl.federation import Ledger
from tabular_fedrl.instances import load_episodic
from tabular_fedrl.measured import Array, Measured

ROUNDS, SWEEPS, RANK = 8, 5, 1
SPREADS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Heterogeneity of the suites."""
SUITES, SEEDS, TRIALS = 8, 8, 40
"""Random suites behind each point, seeds of a run, and suites behind each share of harmed clients."""
CONFIDENCE = 0.95

AVERAGES: dict[str, dict[str, Any]] = {
    "factors": {"aggregation": "factors"},
    "factors, by successes": {"aggregation": "factors", "by_successes": True},
    "products": {"aggregation": "products"},
    "products, by successes": {"aggregation": "products", "by_successes": True},
    "products cut to rank r": {"aggregation": "truncated"},
    "products cut, by successes": {"aggregation": "truncated", "by_successes": True},
}
RANKS: dict[str, int | None] = {"1": 1, "2": 2, "3": 3, "full": None}
NAMED = (
    "opposed-grid:side=4,clients=6,opposed=1",
    "opposed-grid:side=4,clients=6,opposed=3",
    "frozen-lakes:clients=5",
    "frozen-lakes:clients=5,slippery=false",
)
OPPOSED = "opposed-grid:side=3,clients=6,opposed={},H=4"
LAKES = "frozen-lakes:clients=5,H=8,slippery=false,seed={}"


def transfer_study() -> StudyData:
    """Negative transfer against heterogeneity for each average, and the share of clients that end below the
    base.

    A share counts the first client of each suite only: clients of one suite are not independent, those of
    different suites are, and which client is the first is a matter of chance.
    """
    loss = np.empty((len(AVERAGES), len(SPREADS), SUITES))
    conflict = np.empty((len(SPREADS), SUITES))
    for j, spread in enumerate(SPREADS):
        for seed in range(SUITES):
            problem = _garnets(spread, seed)
            local = last_values(problem, rank=RANK, aggregation=None)
            conflict[j, seed] = gradient_conflict(problem)
            for i, choice in enumerate(AVERAGES.values()):
                loss[i, j, seed] = (local - last_values(problem, rank=RANK, **choice)).mean()
    ranks = ("1", "2")
    harmed = np.array([[_harmed(spread, RANKS[rank]) for spread in SPREADS] for rank in ranks])
    shares = [[binomial(int(k), TRIALS, CONFIDENCE) for k in row] for row in harmed]
    low, high = (np.array([[float(end(x)) for x in row] for row in shares]) for end in (_low, _high))
    saved = loss[0] - loss
    named = [_row(source) for source in NAMED]
    arrays = {
        "heterogeneity": np.array(SPREADS),
        "labels": np.array(list(AVERAGES)),
        "loss": loss.mean(axis=-1),
        "low": loss.min(axis=-1),
        "high": loss.max(axis=-1),
        "saved": saved.mean(axis=-1),
        "saved_low": saved.min(axis=-1),
        "saved_high": saved.max(axis=-1),
        "conflict": conflict.mean(axis=-1),
        "ranks": np.array([f"rank {rank}" for rank in ranks]),
        "harmed": harmed / TRIALS,
        "harmed_low": low,
        "harmed_high": high,
        "name": np.array(
            f"{SUITES} Garnet suites of 4 clients, {ROUNDS} rounds at rank {RANK}: means, least and largest"
        ),
    }
    return StudyData(arrays, {"tables": [_shares(harmed, ranks), _elsewhere(), _table(named)]})


def evolution_study() -> StudyData:
    """The mean probability of success: round by round with and without the filter, and against the rank."""
    problem = _garnets(0.5, 0)
    settings: dict[str, dict[str, Any]] = {
        "exact": {},
        "40 episodes a round": {"episodes": 40},
        "exact, no filter": {"filtered": False},
        "40 episodes, no filter": {"episodes": 40, "filtered": False},
    }
    runs = [
        [_values(problem, 2 * ROUNDS, seed=seed, **choice).mean(axis=-1) for seed in range(SEEDS)]
        for choice in settings.values()
    ]
    values = np.mean(runs, axis=1)
    by_rank = np.empty((2, 2, len(RANKS)))
    for j, spread in enumerate((0.25, 1.0)):
        suites = [_garnets(spread, seed) for seed in range(SUITES)]
        for i, aggregation in enumerate((None, "factors")):
            for k, rank in enumerate(RANKS.values()):
                ends = [last_values(suite, rank=rank, aggregation=aggregation).mean() for suite in suites]
                by_rank[j, i, k] = np.mean(ends)
    arrays = {
        "labels": np.array(list(settings)),
        "value": values,
        "low": np.min(runs, axis=1),
        "high": np.max(runs, axis=1),
        "ranks": np.array(list(RANKS)),
        "by_rank": by_rank.reshape(4, -1),
        "rank_labels": np.array(
            [f"{who}, heterogeneity {x}" for x in ("0.25", "1") for who in ("alone", "together")]
        ),
        "name": np.array(
            f"Fed-SE on Garnets of 4 clients: {SEEDS} seeds of one suite, and means of {SUITES} suites"
        ),
    }
    return StudyData(arrays, dict(zip(settings, (f"after {2 * ROUNDS} rounds {v[-1]:.3f}" for v in values))))


def last_values(problem: FederatedEpisodicMDP, rounds: int = ROUNDS, **choice: Any) -> Array:
    """J of each client after some rounds, ``(K,)``."""
    given = Choice(**{"sweeps": SWEEPS, **choice})
    last = next(islice(fed_se(problem, given, Ledger()), rounds, None))
    return np.asarray(start_value(problem, last.policies))


def base_values(problem: FederatedEpisodicMDP) -> Array:
    """J of the uniform policy, ``(K,)``."""
    return np.asarray(start_value(problem, _uniform(problem)))


def gradient_conflict(problem: FederatedEpisodicMDP) -> float:
    """The mean cosine between the gradients of two clients at the uniform policy."""
    g = gradient(problem, _uniform(problem)).reshape(problem.N, -1)
    g = g / np.linalg.norm(g, axis=1, keepdims=True)
    return float((g @ g.T)[np.triu_indices(problem.N, 1)].mean())


def _values(problem: FederatedEpisodicMDP, rounds: int, **choice: Any) -> Array:
    """``(rounds + 1, K)``"""
    played = islice(fed_se(problem, Choice(sweeps=SWEEPS, **choice), Ledger()), rounds + 1)
    return np.array([start_value(problem, r.policies) for r in played])


def _uniform(problem: FederatedEpisodicMDP) -> Array:
    return np.full((problem.N, problem.H, problem.S, problem.A), 1.0 / problem.A)


def _garnets(spread: float, seed: int) -> FederatedEpisodicMDP:
    return load_episodic(f"success-garnet:S=6,A=4,H=4,clients=4,goals=1,heterogeneity={spread},seed={seed}")


def _harmed(spread: float, rank: int | None) -> int:
    """How many first clients of the suites end below the base."""
    return sum(_is_harmed(_garnets(spread, 1000 + seed), 0, rank=rank) for seed in range(TRIALS))


def _is_harmed(problem: FederatedEpisodicMDP, client: int, **choice: Any) -> bool:
    """Whether a client ends below the base by more than rounding."""
    return bool(last_values(problem, **choice)[client] < base_values(problem)[client] - 1e-9)


def _elsewhere() -> dict[str, Any]:
    """The share of harmed clients on grids whose goals are drawn by a coin for each client, and on lakes."""
    rng = np.random.default_rng(0)
    # The clients with the other goal are the last ones: which client is looked at is drawn as well.
    drawn = [(OPPOSED.format(rng.binomial(6, 0.5)), int(rng.integers(6)), k) for k in range(TRIALS)]
    suites = {"grids with two goals": drawn, "frozen lakes": [(LAKES.format(k), 0, k) for k in range(TRIALS)]}
    rows = []
    for name, cases in suites.items():
        problems = [(load_episodic(source), client, seed) for source, client, seed in cases]
        counts = [
            sum(_is_harmed(p, k, rank=RANK, seed=seed, by_successes=weighted) for p, k, seed in problems)
            for weighted in (False, True)
        ]
        rows.append([name, *map(_counted, counts)])
    return {
        "title": f"The same at rank {RANK} on other suites",
        "head": ["suite", "factors", "factors, by successes"],
        "rows": rows,
    }


def _counted(count: int) -> str:
    share = binomial(count, TRIALS, CONFIDENCE)
    return f"{count}/{TRIALS} [{float(_low(share)):.2f}, {float(_high(share)):.2f}]"


def _low(share: Measured) -> Array:
    return np.maximum(share.lower, 0.0)


def _high(share: Measured) -> Array:
    return np.minimum(share.upper, 1.0)


def _row(source: str) -> list[str]:
    problem = load_episodic(source)
    base, local = base_values(problem), last_values(problem, rank=RANK, aggregation=None)
    cells = [source, f"{base.mean():.3f}", f"{local.mean():.3f}"]
    for choice in AVERAGES.values():
        ours = last_values(problem, rank=RANK, **choice)
        harmed = int((ours < base - 1e-9).sum())
        cells.append(f"{ours.mean():.3f}" + (f", {harmed} harmed" if harmed else ""))
    return [*cells, f"{gradient_conflict(problem):.2f}"]


def _table(rows: list[list[str]]) -> dict[str, Any]:
    head = ["suite", "base", "alone", *AVERAGES, "cosine of gradients"]
    return {
        "title": f"Mean probability of success after {ROUNDS} rounds at rank {RANK}",
        "head": head,
        "rows": rows,
    }


def _shares(harmed: Any, ranks: tuple[str, ...]) -> dict[str, Any]:
    rows = [[rank, *(_counted(int(k)) for k in row)] for rank, row in zip(ranks, harmed)]
    head = ["rank", *(f"heterogeneity {x:g}" for x in SPREADS)]
    title = (
        f"Clients that end below the base (averaged factors), Clopper-Pearson intervals at {CONFIDENCE:.0%}"
    )
    return {"title": title, "head": head, "rows": rows}
