"""What an algorithm yields: one :class:`Round` after another, without end and without measuring anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tabular_fedrl.arithmetic import empty, exp, finite, stack
from tabular_fedrl.federation import Agent, Federation
from tabular_fedrl.measured import Array

LocalStep: TypeAlias = Callable[[Agent, Array], Array]
"""One local step: from the agent and its log-policy to the next log-policy; the agent's multipliers move with
it."""


@dataclass(frozen=True)
class Round:
    """Round k as it happened.

    log_policy: the global log-policy at its start, ``(S, A)``; without communication the agents' own,
    ``(N, S, A)``.
    local: local log-policies from the start to the end of the local steps, ``(N, E+1, S, A)``.
    multipliers: before each local step, ``(N, E, m)``, nan where unseen.
    next_log_policy, next_multipliers: at the start of round k+1, as ``log_policy`` and ``(N, m)``.
    transitions: simulated by each agent in this round, ``(N,)``; 0 with exact evaluation.
    """

    k: int
    log_policy: Array
    local: Array
    multipliers: Array
    next_log_policy: Array
    next_multipliers: Array
    transitions: tuple[int, ...]


@dataclass(frozen=True)
class LocalPhase:
    """An agent's local work in one round: ``log_policies (E+1, S, A)``, ``multipliers (E, |Gamma_i|)``,
    ``transitions``."""

    log_policies: Array
    multipliers: Array
    transitions: int


def local_steps(agent: Agent, log_pi: Array, E: int, step: LocalStep) -> LocalPhase:
    """E steps of one agent from ``log_pi``, everything at the agent's own current policy."""
    policies: Array = empty((E + 1, *log_pi.shape))
    multipliers: Array = empty((E, len(agent.constraints)))
    before = agent.transitions
    policies[0] = log_pi
    for e in range(E):
        multipliers[e] = agent.multipliers
        policies[e + 1] = step(agent, policies[e])
        if agent.view.is_sparse and not finite(exp(policies[e + 1])):
            # A sparse solver would stop with an error of its own; the runner names the round instead.
            break
    return LocalPhase(policies, multipliers, agent.transitions - before)


def record(federation: Federation, k: int, log_policy: Array, phases: list[LocalPhase]) -> Round:
    """The :class:`Round` of what the agents did in round k, once the server holds the next policy."""
    multipliers: Array = empty((len(phases), federation.local_steps, federation.m))
    for i, (agent, phase) in enumerate(zip(federation.agents, phases)):
        multipliers[i][:, list(agent.constraints)] = phase.multipliers
    return Round(
        k=k,
        log_policy=log_policy,
        local=stack([phase.log_policies for phase in phases]),
        multipliers=multipliers,
        next_log_policy=federation.server.log_policy,
        next_multipliers=federation.multipliers(),
        transitions=tuple(phase.transitions for phase in phases),
    )
