"""FedNPG as the public code runs it: all agents hold one logit table and update it in place, one after
another.

There every agent's logits are the same array, so that agent i+1 starts where agent i stopped, all N policies
coincide at the end of a round, the mean is a no-op and E has almost no effect. The mode reproduces published
insensitivity to E and tells it apart from the algorithm (mark: *code*).
"""

from __future__ import annotations

from collections.abc import Iterator

from tabular_fedrl.algorithms.local import primal_dual_step
from tabular_fedrl.algorithms.rounds import Round, local_steps, record
from tabular_fedrl.federation import Federation


def sequential_shared(federation: Federation) -> Iterator[Round]:
    """The rounds of agents that share one table; ``local[i]`` is the table while agent i works on it."""
    server, ledger, E = federation.server, federation.ledger, federation.local_steps
    while True:
        k, log_pibar = server.round, server.log_policy
        table, phases = log_pibar, []
        for agent in federation.agents:
            ledger.carry(k, "down", agent.index, "policy", log_pibar)
            phase = local_steps(agent, table, E, primal_dual_step)
            table = phase.log_policies[E]
            phases.append(phase)
        for agent in federation.agents:
            # Every agent uploads the same table: any weighted mean of them is the table.
            ledger.carry(k, "up", agent.index, "policy", table)
        server.log_policy = table
        server.round += 1
        yield record(federation, k, log_pibar, phases)
