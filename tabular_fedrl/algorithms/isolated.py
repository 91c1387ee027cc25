"""Isolated agents: each solves the problem with its own constraints alone (reward factor 1) and never
communicates.

The baseline that shows what federation is for: every agent's policy meets its own constraints, and none need
meet the others'. There is no global policy; a round reports the agents' own, ``(N, S, A)``.
"""

from __future__ import annotations

from collections.abc import Iterator

from tabular_fedrl.algorithms.local import primal_dual_step
from tabular_fedrl.algorithms.rounds import Round, local_steps, record
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.federation import Federation


def isolated(federation: Federation) -> Iterator[Round]:
    """The rounds of agents that do not talk, E steps each."""
    server, E = federation.server, federation.local_steps
    while True:
        k, log_policies = server.round, server.log_policy
        phases = [
            local_steps(agent, log_pi, E, primal_dual_step)
            for agent, log_pi in zip(federation.agents, log_policies)
        ]
        server.log_policy = stack([phase.log_policies[E] for phase in phases])
        server.round += 1
        yield record(federation, k, log_policies, phases)
