r"""Agents, the server between them, and the ledger of what crossed the wire.

Agent i is built from ``FederatedCMDP.view(i)``: the common model with the costs in :math:`\Gamma_i` only, its
data copied, so that no other cost can be reached from the object. Its multipliers are private: they never
leave it and are never reset. Step sizes and dual caps are public set-up constants (the Slater slack behind
them depends on all costs); the ledger lists them apart from the rounds. The only messages are policies,
:math:`|S||A|` numbers each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from tabular_fedrl.arithmetic import array, empty, stack
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import arithmetic_logits, geometric_logits, mean_weights, recentred, uniform

Direction: TypeAlias = Literal["down", "up"]

BITS_PER_NUMBER = 64


@dataclass(frozen=True)
class PublicSteps:
    """The constants every agent is given before the first round.

    ``eta``: primal step; ``eta_dual`` and ``dual_cap``: ``(m,)``, dual step and largest multiplier of each
    constraint (an agent receives the entries of its own constraints).
    """

    eta: float
    eta_dual: Array
    dual_cap: Array


class Agent:
    r"""What agent i holds, and nothing else.

    Attributes
    ----------
    index: i. ``view``: the common CMDP with its own constraints only. ``constraints``: their numbers,
    :math:`\Gamma_i`.
    reward_factor: the weight of the reward in its Lagrangian, 1/N in a federation.
    eta: primal step. ``eta_dual``, ``dual_cap``: ``(|Gamma_i|,)``.
    multipliers: private :math:`\lambda_{ij}`, ``(|Gamma_i|,)``.
    rng: its own random stream (sampled evaluation only).
    """

    __slots__ = (
        "constraints",
        "dual_cap",
        "eta",
        "eta_dual",
        "index",
        "multipliers",
        "reward_factor",
        "rng",
        "transitions",
        "view",
    )

    def __init__(
        self,
        index: int,
        view: CMDP,
        constraints: Sequence[int],
        steps: PublicSteps,
        *,
        reward_factor: float,
        multipliers: Array,
        rng: np.random.Generator,
    ) -> None:
        own = list(constraints)
        self.index = index
        self.view = view
        self.constraints = tuple(own)
        self.reward_factor = reward_factor
        self.eta = steps.eta
        self.eta_dual = steps.eta_dual[own]
        self.dual_cap = steps.dual_cap[own]
        self.multipliers = multipliers[own]
        self.rng = rng
        self.transitions = 0  # simulated so far, by sampled evaluation


Traffic: TypeAlias = tuple[Direction, str, int, int]
"""Direction, kind, agent, and how many messages in a round."""


@dataclass
class Ledger:
    """Everything that crossed the wire, and what was known before.

    ``setup`` holds the public constants. Messages are kept as totals of messages, entries and bits per
    (direction, kind, agent), and per round as stretches of rounds with equal traffic in bits, so that a
    million rounds take no more memory than one. A number costs 64 bits, a sign (an entry of a boolean array)
    one.
    """

    setup: dict[str, Any] = field(default_factory=dict)
    totals: dict[tuple[str, str, int], list[int]] = field(default_factory=dict)
    stretches: list[dict[str, int]] = field(default_factory=list)

    def carry(self, k: int, direction: Direction, agent: int, kind: str, message: Array) -> Array:
        """Carry ``message`` in round k: what arrives is a copy, and its size is recorded."""
        signs = getattr(message, "dtype", None) == np.bool_
        bits = message.size * (1 if signs else BITS_PER_NUMBER)
        self._add(direction, kind, agent, 1, message.size, bits)
        self._round(k)[direction] += bits
        return message.copy()

    def _add(self, direction: str, kind: str, agent: int, messages: int, entries: int, bits: int) -> None:
        total = self.totals.setdefault((direction, kind, agent), [0, 0, 0])
        for i, amount in enumerate((messages, entries, bits)):
            total[i] += amount

    def book(self, first: int, last: int, traffic: Sequence[Traffic], size: int) -> None:
        """What :meth:`carry` enters when all this is sent in each of the rounds first..last-1, in messages of
        ``size`` numbers."""
        bits = {"down": 0, "up": 0}
        for way, kind, agent, each in traffic:
            messages = (last - first) * each
            if messages:
                self._add(way, kind, agent, messages, messages * size, messages * size * BITS_PER_NUMBER)
            bits[way] += each * size * BITS_PER_NUMBER
        for k in sorted({first, first + 1, last - 1} & set(range(first, last)) if any(bits.values()) else ()):
            if k > first + 1:
                self.stretches[-1]["last"] = k - 1
            self._round(k).update(bits)

    def _round(self, k: int) -> dict[str, int]:
        """The stretch that round k belongs to, opened when k is new."""
        if self.stretches and self.stretches[-1]["last"] == k:
            return self.stretches[-1]
        if len(self.stretches) >= 2 and all(
            self.stretches[-1][x] == self.stretches[-2][x] for x in ("down", "up")
        ):
            repeated = self.stretches.pop()
            self.stretches[-1]["last"] = repeated["last"]
        self.stretches.append({"first": k, "last": k, "down": 0, "up": 0})
        return self.stretches[-1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of message that ever crossed the wire."""
        return tuple(sorted({kind for _, kind, _ in self.totals}))

    def bits(self, direction: Direction) -> int:
        """Bits sent in one direction over all rounds and agents."""
        return sum(bits for (way, _, _), (_, _, bits) in self.totals.items() if way == direction)

    @property
    def bytes_down(self) -> int:
        """Bytes from the server to all agents, the first broadcast included; rounded up."""
        return -(-self.bits("down") // 8)

    @property
    def bytes_up(self) -> int:
        """Bytes from all agents to the server; rounded up."""
        return -(-self.bits("up") // 8)

    def per_round(self, direction: Direction) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Bytes in one direction in each round, rounded up, ``(K,)``."""
        runs = [
            np.full(s["last"] - s["first"] + 1, -(-s[direction] // 8), dtype=np.int64) for s in self.stretches
        ]
        return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data: set-up constants, messages, bytes."""
        messages = [
            {"direction": way, "kind": kind, "agent": agent, "messages": count, "numbers": size, "bits": bits}
            for (way, kind, agent), (count, size, bits) in sorted(self.totals.items())
        ]
        return {
            "setup": dict(self.setup),
            "messages": messages,
            "rounds": [dict(stretch) for stretch in self.stretches],
            "bytes_down": self.bytes_down,
            "bytes_up": self.bytes_up,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ledger:
        """The ledger that :meth:`to_dict` wrote."""
        totals = {
            (m["direction"], m["kind"], int(m["agent"])): [
                int(m[key]) for key in ("messages", "numbers", "bits")
            ]
            for m in data["messages"]
        }
        return cls(dict(data["setup"]), totals, [dict(stretch) for stretch in data["rounds"]])


class Server:
    """Holds the global log-policy ``(S, A)`` and averages what agents send.

    ``aggregation``: ``"arithmetic"`` (mean of probabilities) or ``"geometric"`` (mean of log-policies,
    renormalised), with ``weights (N,)``, default 1/N; ``"mixture"`` of episodes is left to the algorithm.
    ``memory``: what an algorithm carries from round to round beside policies and multipliers, if anything.
    """

    def __init__(self, log_policy: Array, aggregation: str, weights: Any) -> None:
        self.round = 0
        self.memory: Array | None = None
        self.log_policy = log_policy
        self.aggregation = aggregation
        self.weights = weights

    def aggregate(self, uploads: Sequence[Array]) -> None:
        """The next global policy; opens the next round."""
        mean = arithmetic_logits if self.aggregation == "arithmetic" else geometric_logits
        several = len(uploads) > 1
        self.log_policy = recentred(mean(stack(uploads), self.weights)) if several else uploads[0]
        self.round += 1


@dataclass(frozen=True)
class State:
    """All that a run needs to go on: enough to continue it bit for bit.

    ``round``: the next round; ``log_policy``: ``(S, A)``, or ``(N, S, A)`` where agents do not communicate;
    ``multipliers``: ``(N, m)``, nan where unseen; ``random``: the agents' random streams as JSON text;
    ``transitions``: ``(N,)``; ``values``: the server's memory, or what the next evaluations start from,
    where they depend on it.
    """

    round: int
    log_policy: Array
    multipliers: Array
    random: str
    transitions: tuple[int, ...]
    values: Array | None = None


@dataclass
class Federation:
    """Agents, server and ledger of one run; ``local_steps`` is E, ``m`` the number of constraints of the
    whole problem."""

    agents: list[Agent]
    server: Server
    ledger: Ledger
    local_steps: int
    m: int

    def multipliers(self) -> Array:
        """All private multipliers, for the observer who measures: ``(N, m)``, nan where unseen."""
        table: Array = empty((len(self.agents), self.m))
        for i, agent in enumerate(self.agents):
            table[i, list(agent.constraints)] = agent.multipliers
        return table

    def state(self) -> State:
        """What :meth:`restore` needs to continue from here."""
        return State(
            round=self.server.round,
            log_policy=self.server.log_policy.copy(),
            multipliers=self.multipliers(),
            random=json.dumps([agent.rng.bit_generator.state for agent in self.agents]),
            transitions=tuple(agent.transitions for agent in self.agents),
            values=None if self.server.memory is None else self.server.memory.copy(),
        )

    def restore(self, state: State) -> None:
        """Continue from ``state`` (the ledger is restored by whoever stored it)."""
        self.server.round = state.round
        self.server.log_policy = state.log_policy.copy()
        self.server.memory = state.values
        streams = json.loads(state.random)
        for agent, row, stream, count in zip(
            self.agents, state.multipliers, streams, state.transitions, strict=True
        ):
            agent.multipliers = row[list(agent.constraints)]
            agent.rng.bit_generator.state = stream
            agent.transitions = count


def federate(
    problem: FederatedCMDP,
    steps: PublicSteps,
    *,
    local_steps: int = 1,
    aggregation: str = "arithmetic",
    weights: Sequence[float] | Array | None = None,
    initial_multipliers: Array | None = None,
    reward_factor: float | None = None,
    seed: int = 0,
    share: bool = True,
) -> Federation:
    """A federation at its start: uniform policies, multipliers ``initial_multipliers`` ``(N, m)`` (default
    0).

    ``reward_factor`` is 1/N by default. ``share=False`` gives agents that each keep a policy of their own
    (``(N, S, A)`` in place of a global one). Agent i draws from the i-th stream spawned from ``seed``.
    """
    N, m = problem.N, problem.cmdp.m
    if aggregation not in ("arithmetic", "geometric", "mixture"):
        raise InvalidProblem(f"aggregation {aggregation!r}: expected 'arithmetic' or 'geometric'")
    start = array(np.zeros((N, m)) if initial_multipliers is None else initial_multipliers)
    factor = array(1.0) / N if reward_factor is None else reward_factor
    streams = np.random.SeedSequence(seed).spawn(N)
    agents = [
        Agent(
            i,
            problem.view(i),
            problem.visible[i],
            steps,
            reward_factor=factor,
            multipliers=start[i],
            rng=np.random.default_rng(streams[i]),
        )
        for i in range(N)
    ]
    policy = uniform(problem.cmdp.S, problem.cmdp.A)
    server = Server(policy if share else stack([policy] * N), aggregation, mean_weights(N, weights))
    return Federation(agents, server, Ledger(), local_steps, m)
