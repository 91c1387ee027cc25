r"""The local primal-dual step, put together from a way to evaluate and a direction to move in.

Agent i ascends in :math:`\pi` and descends in :math:`\lambda_i` on its own Lagrangian

.. math:: L_i(\pi, \lambda_i) = \tfrac1N V_r(\rho) - \sum_{j \in \Gamma_i} \lambda_{ij} (V_{c_j}(\rho) - d_j).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tabular_fedrl.arithmetic import clip, matmul, sum
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import policy_values, visitation
from tabular_fedrl.federation import Agent
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import probabilities, recentred


@dataclass(frozen=True)
class Estimate:
    """What an agent knows of its policy: ``advantages (1+|Gamma_i|, S, A)`` of the reward and its costs,
    ``cost_values (|Gamma_i|,)`` at rho."""

    advantages: Array
    cost_values: Array


Evaluator: TypeAlias = Callable[[Agent, Array], Estimate]
Direction: TypeAlias = Callable[[CMDP, Array, Array], Array]


def exact(agent: Agent, log_pi: Array) -> Estimate:
    """Exact evaluation, by solving the Bellman equations."""
    V, Q = policy_values(agent.view, log_pi)
    return Estimate(Q - V[:, :, None], matmul(V[1:], agent.view.rho))


def natural(view: CMDP, log_pi: Array, advantage: Array) -> Array:
    r"""The softmax natural gradient, :math:`A/(1-\gamma)` (in logits, up to a constant per state)."""
    return advantage / (1.0 - view.gamma)


def vanilla(view: CMDP, log_pi: Array, advantage: Array) -> Array:
    r"""The gradient in the logits, :math:`d_\rho^\pi(s)\, \pi(a|s) A(s,a)/(1-\gamma)`."""
    d = visitation(view, log_pi).plain
    return d[:, None] * probabilities(log_pi) * advantage / (1.0 - view.gamma)


def lagrangian_advantage(agent: Agent, advantages: Array) -> Array:
    r""":math:`A_i = A_r/N - \sum_{j \in \Gamma_i} \lambda_{ij} A_{c_j}`."""
    A_r, A_c = advantages[0], advantages[1:]
    lam = agent.multipliers
    return agent.reward_factor * A_r - sum(lam[:, None, None] * A_c, axis=0)


def dual_step(agent: Agent, cost_values: Array, steps: float = 1.0) -> None:
    r"""Move :math:`\lambda_i` along :math:`V_c - d`, ``steps`` dual steps at once, within the cap."""
    violation = cost_values - agent.view.d
    agent.multipliers = clip(agent.multipliers + steps * agent.eta_dual * violation, 0.0, agent.dual_cap)


def primal_dual_step(
    agent: Agent, log_pi: Array, evaluate: Evaluator = exact, direction: Direction = natural
) -> Array:
    r"""One step in :math:`\pi` and :math:`\lambda_i` at once: both use V, A at the policy and multipliers
    before it."""
    estimate = evaluate(agent, log_pi)
    A_i = lagrangian_advantage(agent, estimate.advantages)
    dual_step(agent, estimate.cost_values)
    return recentred(log_pi + agent.eta * direction(agent.view, log_pi, A_i))
