"""The offline algorithms of ``algorithms/`` as :mod:`tabular_fedrl.loops.drpo` runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_choice import choice_of
from tabular_fedrl.algorithms.offline_baselines import spibb_policy
from tabular_fedrl.algorithms.offline_clients import Client
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.federation import PublicSteps
from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.clients import Clients, Models
from tabular_fedrl.loops.drpo_blocks import Weights
from tabular_fedrl.loops.drpo_reading import (
    ARITHMETIC,
    CAUTIOUS,
    CONFINED,
    CQL,
    ENTROPY,
    FIXED,
    FORWARD,
    GEOMETRIC,
    MIXTURE,
    OPTIMUM,
    PLAIN,
    REGULARISED,
    REVERSE,
    WORTH,
    Reading,
)
from tabular_fedrl.measured import Array

CRITICS = {"plain": PLAIN, "regularised": REGULARISED, "cql": CQL}
MEANS = {"arithmetic": ARITHMETIC, "geometric": GEOMETRIC, "mixture": MIXTURE}

BASELINES = {
    "behaviour-cloning": (FIXED, PLAIN, ARITHMETIC),
    "spibb": (FIXED, PLAIN, ARITHMETIC),
    "fedavg-cql": (CONFINED, CQL, ARITHMETIC),
    "fedora": (CAUTIOUS, PLAIN, WORTH),
}
"""Step, critic and mean."""

NAMES = ("drpo", *BASELINES)
ONCE = ("local-only", "pooled-oracle")
"""Algorithms without a loop."""


def refusal(name: str, given: Mapping[str, Any]) -> str | None:
    """Why these loops do not run an algorithm with these parameters; None if they do."""
    if name in ONCE:
        return "it solves once and then repeats itself: there is no loop to compile"
    if given.get("balance") == "certificate":
        return "balance = 'certificate' chooses by enclosed guarantees, and its numbers are floats"
    return None


def reading_of(name: str, given: Mapping[str, Any], shared: bool) -> Reading:
    """What a round does; ``shared``: the clients plan in the true problem."""
    if name != "drpo":
        return Reading(*BASELINES[name], False, shared)
    step = {"reverse": REVERSE, "forward": ENTROPY if given["entropy"] > 0 else FORWARD}[given["step"]]
    if given["local"] == "optimum":
        step = OPTIMUM
    mean = MEANS[given["aggregation"]]
    return Reading(step, CRITICS[given["critic"]], mean, given["balance"] == "theorem-c", shared)


def held(
    name: str, teams: Sequence[tuple[FederatedCMDP, list[Client]]], givens: Sequence[Mapping[str, Any]]
) -> Clients:
    """What the clients of every problem hold, as arrays; of ``spibb`` their policies in place of their
    behaviours, as it fixes them once for all rounds."""
    batch = Batch.of([problem for problem, _ in teams])
    first = teams[0][1][0]
    log_b = [
        [spibb_policy(c, given["least_count"]) if name == "spibb" else c.log_b for c in clients]
        for (_, clients), given in zip(teams, givens)
    ]
    models = None
    if first.model.S > first.S:
        models = Models(
            P=np.array([[_kernel(c.model) for c in clients] for _, clients in teams]),
            f=np.array([[_signals(p, i, c) for i, c in enumerate(clients)] for p, clients in teams]),
        )
    pairs = None
    if first.counts is not None:
        pairs = np.array([[c.counts.pairs for c in clients if c.counts] for _, clients in teams])
    seen = np.array([[c.seen for c in clients] for _, clients in teams])
    return Clients(batch, np.array(log_b), models, seen, pairs)


def weights_of(
    name: str, clients: Clients, givens: Sequence[Mapping[str, Any]], steps: Sequence[PublicSteps]
) -> Weights:
    """All weights of every problem."""
    by_data = name in ("behaviour-cloning", "spibb")
    numbers = {
        key: np.array([given.get(key, default) for given in givens], dtype=np.float64)
        for key, default in (("cql", 0.0), ("entropy", 0.0), ("temperature", 1.0))
    }
    return Weights(
        omega=clients.weights(givens[0]["weights"], by_data),
        alpha=_schedules(name, givens, "alpha"),
        beta=_schedules(name, givens, "beta"),
        eta_dual=np.array([s.eta_dual for s in steps]),
        dual_cap=np.array([s.dual_cap for s in steps]),
        **numbers,
    )


def _schedules(name: str, givens: Sequence[Mapping[str, Any]], key: str) -> Array:
    """``(B, rounds)``; 0 where the algorithm has no such weight."""
    if name == "drpo":
        rows = [getattr(choice_of(dict(given)), key) for given in givens]
    else:
        rows = [(float(given.get(key, 0.0)),) for given in givens]
    longest = max(len(row) for row in rows)
    return np.array([[*row, *[row[-1]] * (longest - len(row))] for row in rows])


def _kernel(model: CMDP) -> Array:
    P = model.P.toarray() if model.is_sparse else model.P
    return np.asarray(P).reshape(model.S, model.A, model.S)


def _signals(problem: FederatedCMDP, i: int, client: Client) -> Array:
    """``(1+m, S+1, A)``: 0 for the costs that client i does not see."""
    table = np.zeros((1 + problem.cmdp.m, client.model.S, client.model.A))
    table[[0, *(1 + j for j in problem.visible[i])]] = client.model.signals
    return table
