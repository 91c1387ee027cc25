r"""NPG-PD: centralised natural policy gradient primal-dual, one agent that sees all constraints.

.. math:: \pi \leftarrow \pi \exp(\eta_1 A/(1-\gamma))/Z,
          \qquad A = A_r - \textstyle\sum_j \lambda_j A_{c_j}, \qquad
          \lambda_j \leftarrow \operatorname{clip}(\lambda_j + \eta_2 (V_{c_j}^\pi(\rho) - d_j), 0, \Lambda).

With E = 1 steps between records it is NPG-PD; with more, the *omniscient* agent that FedNPG is compared with.
Nothing is communicated.

Source: Ding, Zhang, Basar, Jovanovic, "Natural policy gradient primal-dual method for constrained Markov
decision processes", NeurIPS 2020 (mark: *recalled*).
"""

from __future__ import annotations

from collections.abc import Iterator

from tabular_fedrl.algorithms.local import primal_dual_step
from tabular_fedrl.algorithms.rounds import LocalStep, Round, local_steps, record
from tabular_fedrl.federation import Federation


def npg_pd(federation: Federation, step: LocalStep = primal_dual_step) -> Iterator[Round]:
    """The rounds of a single agent, E steps each; its relatives have another ``step``."""
    (agent,) = federation.agents
    server, E = federation.server, federation.local_steps
    while True:
        k, log_pi = server.round, server.log_policy
        phase = local_steps(agent, log_pi, E, step)
        server.log_policy = phase.log_policies[E]
        server.round += 1
        yield record(federation, k, log_pi, [phase])
