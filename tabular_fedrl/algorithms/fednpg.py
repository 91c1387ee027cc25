r"""FedNPG: federated natural policy gradient under constraint heterogeneity.

**Problem.** N agents share S, A, P, r, :math:`\gamma`; agent i sees only the constraints in :math:`\Gamma_i`.
One policy must be feasible for all of them.

**Algorithm.** Start at the uniform policy, :math:`\lambda = 0`. In round k = 0, 1, ...

1. The server sends :math:`\bar\pi_k` to every agent.
2. E local steps at each agent, everything at its own current policy :math:`\pi_i`:

   .. math:: A_i &= A_r/N - \textstyle\sum_{j\in\Gamma_i} \lambda_{ij} A_{c_j}, \\
             \pi_i &\leftarrow \pi_i \exp(\eta A_i/(1-\gamma))/Z, \\
             \lambda_{ij} &\leftarrow
                \operatorname{clip}(\lambda_{ij} + \eta_\lambda (V_{c_j}^{\pi_i}(\rho) - d_j), 0, \Lambda),

   V at the policy before the step. The multipliers never leave the agent and are never reset.
3. The server averages what it receives: the arithmetic mean of the probabilities, or the geometric mean.

Source: Jin, Zhang, Zhang, "Federated Reinforcement Learning with Constraint Heterogeneity", arXiv 2405.03236;
algorithm read in the authors' public code (mark: *code*).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tabular_fedrl.algorithms.local import primal_dual_step
from tabular_fedrl.algorithms.rounds import LocalStep, Round, local_steps, record
from tabular_fedrl.federation import Agent, Federation
from tabular_fedrl.measured import Array


def fednpg(
    federation: Federation,
    step: LocalStep = primal_dual_step,
    receive: Callable[[Agent, Array], None] | None = None,
) -> Iterator[Round]:
    """The rounds of FedNPG; its relatives have another local ``step``, or do something when they ``receive``
    the policy."""
    server, ledger, E = federation.server, federation.ledger, federation.local_steps
    while True:
        k, log_pibar = server.round, server.log_policy
        phases, uploads = [], []
        for agent in federation.agents:
            log_pi = ledger.carry(k, "down", agent.index, "policy", log_pibar)
            if receive is not None:
                receive(agent, log_pi)
            phase = local_steps(agent, log_pi, E, step)
            uploads.append(ledger.carry(k, "up", agent.index, "policy", phase.log_policies[E]))
            phases.append(phase)
        server.aggregate(uploads)
        yield record(federation, k, log_pibar, phases)
