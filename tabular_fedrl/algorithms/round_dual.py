r"""FedNPG with the multipliers updated once a round, at the broadcast policy.

When it receives :math:`\bar\pi_k`, agent i evaluates its costs there and moves its multipliers by E dual
steps at once,

.. math:: \lambda_{ij} \leftarrow
          \operatorname{clip}(\lambda_{ij} + E \eta_\lambda (V_{c_j}^{\bar\pi_k}(\rho) - d_j), 0, \Lambda),

then takes E natural-gradient steps with the multipliers held. The dual sees the averaged policy, which in
FedNPG it never does: a repair of one of its two biases under heterogeneity. Mark: *ours* (theory notes,
fednpg section 6).
"""

from __future__ import annotations

from collections.abc import Iterator

from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.local import dual_step, exact, lagrangian_advantage, natural
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.federation import Agent, Federation
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import recentred


def round_dual(federation: Federation) -> Iterator[Round]:
    """The rounds of FedNPG with one dual evaluation a round."""

    def receive(agent: Agent, log_pibar: Array) -> None:
        dual_step(agent, exact(agent, log_pibar).cost_values, federation.local_steps)

    return fednpg(federation, primal_step, receive)


def primal_step(agent: Agent, log_pi: Array) -> Array:
    """One natural-gradient step with the multipliers held."""
    A_i = lagrangian_advantage(agent, exact(agent, log_pi).advantages)
    return recentred(log_pi + agent.eta * natural(agent.view, log_pi, A_i))
