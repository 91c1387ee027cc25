r"""Fed-SE: clients that learn from their own successes, each in an environment of its own.

**Problem.** K environments share S, A and H. An episode of environment k succeeds or fails; :math:`J_k(\pi)`
is the probability of success (:mod:`~tabular_fedrl.algorithms.fed_se_buffer` says how rewards tell it).

**Algorithm.** A base policy is frozen; what is learned is an adapter of its logits
(:mod:`~tabular_fedrl.algorithms.fed_se_adapters`). In round t = 0, 1, ...

1. The server sends the adapter. Client k plays episodes with :math:`\pi_t` and adds those that succeed to its
   buffer.
2. It fits the adapter, from where it is, by the log-likelihood of its buffer.
3. The server averages the adapters (:mod:`~tabular_fedrl.algorithms.fed_se_server`), each counting the same
   or by the successes behind it.

Of a buffer the likelihood sees only how often each pair occurs at each step. A buffer of the exact law of all
episodes so far has the weights

.. math:: W_k(h, s, a) = \sum_{i \le t} d_h^{\pi_i}(s)\, \pi_{i,h}(a|s)\, Q_h^{\pi_i}(s, a) ,

the mass of the episodes that pass through (s, a) at step h and succeed.

Source: Chen et al., "Fed-SE: Federated Self-Evolution for Privacy-Constrained Multi-Environment LLM Agents",
arXiv 2512.08870, which announces no theorem (method: *paper*; tabular form and exact buffers: *ours*).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.fed_se_adapters import adapted, improved, initial_adapter
from tabular_fedrl.algorithms.fed_se_buffer import exact_weights, require_success, sampled_weights
from tabular_fedrl.algorithms.fed_se_server import AGGREGATIONS
from tabular_fedrl.arithmetic import array, stack, sum
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger


@dataclass(frozen=True)
class Choice:
    """What is chosen of the method.

    ``rank`` of the adapters, None: full. ``aggregation``: one of AGGREGATIONS, None: each client by itself.
    ``by_successes``: clients count by the mass of their buffers. ``filtered``: failures are left out.
    ``cumulative``: buffers keep earlier rounds. ``episodes``: drawn in a round, None: their exact law.
    ``sweeps`` of the fit in a round. ``seed``: of the initial A and of the episodes.
    """

    rank: int | None = 2
    aggregation: str | None = "factors"
    by_successes: bool = False
    filtered: bool = True
    cumulative: bool = True
    episodes: int | None = None
    sweeps: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Round:
    """Round t as it happened.

    ``policies``: played with, ``(K, H, S, A)``; ``buffers``: the weights fitted to, of the same shape;
    ``base (K, n, A)``: of the logits; ``B (K, n, r)``, ``A (K, r, A)``: the adapters after the fit, and the
    clients' policies with them, ``local (K, H, S, A)``.
    """

    t: int
    policies: Any
    buffers: Any
    base: Any
    B: Any
    A: Any
    local: Any


def fed_se(
    problem: FederatedEpisodicMDP, choice: Choice, ledger: Ledger, start: Any = None
) -> Iterator[Round]:
    """The rounds of Fed-SE on the base logits ``start (H, S, A)``, default 0.

    Raises
    ------
    InvalidProblem: rewards that are no success, an unknown aggregation, a rank that is not in 1..A.
    """
    require_success(problem)
    K, n, actions = problem.N, problem.H * problem.S, problem.A
    if choice.aggregation is not None and choice.aggregation not in AGGREGATIONS:
        known = ", ".join(AGGREGATIONS)
        raise InvalidProblem(f"aggregation {choice.aggregation!r}: expected one of {known}, or none")
    if choice.rank is not None and not 1 <= choice.rank <= actions:
        raise InvalidProblem(
            f"rank = {choice.rank}: expected a whole number from 1 to A = {actions}, or full"
        )
    first = array(np.zeros((n, actions)) if start is None else start).reshape(n, actions)
    adapter = initial_adapter(n, actions, choice.rank, choice.seed)
    held: list[Any] = [stack([x] * K) for x in (first, *adapter)]
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(choice.seed).spawn(K)]
    buffers: Any = 0.0
    t = 0
    while True:
        policies = _policies(problem, held)
        played = _played(problem, policies, streams, choice)
        buffers = buffers + played if choice.cumulative else played
        W = buffers.reshape(K, n, actions)
        base, B, A = held
        B, A = improved(W, base, B, A, choice.sweeps, fit_A=choice.rank is not None)
        fitted = [base, B, A]
        yield Round(t, policies, buffers, base, B, A, _policies(problem, fitted))
        t += 1
        held = fitted if choice.aggregation is None else _averaged(fitted, W, t, choice, ledger)


def _averaged(fitted: list[Any], W: Any, t: int, choice: Choice, ledger: Ledger) -> list[Any]:
    """What each client holds after the server has averaged what they sent."""
    base, B, A = fitted
    K = len(B)
    successes = sum(W, axis=(1, 2))
    arrived = []
    for k in range(K):
        sent = {"B": B[k]}
        if choice.rank is not None:
            sent["A"] = A[k]
        if choice.by_successes:
            sent["successes"] = successes[k : k + 1]
        arrived.append({kind: ledger.carry(t, "up", k, kind, x) for kind, x in sent.items()})
    mass = array(np.ones(K))
    if choice.by_successes and (successes > 0).any():
        mass = stack([x["successes"][0] for x in arrived])
    merged = AGGREGATIONS[choice.aggregation or ""](
        base[0],
        stack([x["B"] for x in arrived]),
        stack([x.get("A", A[0]) for x in arrived]),
        mass / sum(mass),
    )
    held = []
    for k in range(K):
        # The base is sent where it changes, A where it is fitted.
        changes = (choice.aggregation == "products", True, choice.rank is not None)
        held.append(
            [
                ledger.carry(t, "down", k, kind, new) if sent else old
                for kind, new, old, sent in zip(("base", "B", "A"), merged, (x[k] for x in fitted), changes)
            ]
        )
    return [stack(parts) for parts in zip(*held)]


def _played(problem: FederatedEpisodicMDP, policies: Any, streams: list[Any], choice: Choice) -> Any:
    """What one round adds to the clients' buffers, ``(K, H, S, A)``."""
    if choice.episodes is None:
        return exact_weights(problem, policies, filtered=choice.filtered)
    each = zip(problem.mdps, policies, streams)
    return stack(
        [sampled_weights(m, pi, choice.episodes, rng, filtered=choice.filtered) for m, pi, rng in each]
    )


def _policies(problem: FederatedEpisodicMDP, held: list[Any]) -> Any:
    """The clients' policies ``(K, H, S, A)``."""
    base, B, A = held
    return adapted(base, B, A).reshape(-1, problem.H, problem.S, problem.A)
