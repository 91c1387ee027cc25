r"""Regularised FedNPG: entropy in the policy, a quadratic in the multipliers, one local step per round
(theorem F4).

With :math:`\tilde Q_i` the soft Q of :math:`r/N - \sum_j \lambda_{ij} c_j` under entropy weight
:math:`\tau/N`, minus :math:`(\tau/N) \log\pi`,

.. math:: \pi_i &= \bar\pi \exp(\eta \tilde Q_i)/Z, \\
          \lambda_{ij} &\leftarrow \operatorname{clip}\big(\lambda_{ij} +
             \tfrac{\eta}{N} (V_{c_j}^{\bar\pi}(\rho) - d_j - \tau \lambda_{ij}), 0, \Lambda\big).

The exponent has no :math:`1/(1-\gamma)`. The distance to the regularised saddle point contracts by
:math:`1 - \eta\tau/N` a round, down to a floor of order :math:`\eta/\tau`: a guarantee on the last iterate
(mark: *ours*).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import dual_cap, number, per_constraint, positive_weight
from tabular_fedrl.arithmetic import array, clip, concatenate, log, matmul, minimum, sum
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import log_probabilities, recentred


def regularised_step(agent: Agent, log_pi: Array, tau: float) -> Array:
    r"""One step in :math:`\pi` and :math:`\lambda_i` at once. :math:`\tilde Q_i` is the plain Q of the signal
    :math:`r/N - \sum_j \lambda_{ij} c_j - (\tau/N) \log\pi`."""
    view, lam = agent.view, agent.multipliers
    f_i = agent.reward_factor * view.r - sum(lam[:, None, None] * view.c, axis=0)
    soft = f_i - agent.reward_factor * tau * log_probabilities(log_pi)
    V, Q = policy_values(view, log_pi, concatenate([soft[None], view.c]))
    violation = matmul(V[1:], view.rho) - view.d - tau * lam
    agent.multipliers = clip(lam + agent.eta_dual * violation, 0.0, agent.dual_cap)
    return recentred(log_pi + agent.eta * Q[0])


def regularised_fednpg(federation: Federation, tau: float) -> Iterator[Round]:
    """The rounds of regularised FedNPG with weight ``tau``."""
    return fednpg(federation, partial(regularised_step, tau=tau))


def rpg_pd(federation: Federation, tau: float) -> Iterator[Round]:
    """The rounds of RPG-PD, the same step of a single agent that sees all constraints and talks to nobody
    (Ding, Wei, Zhang, Ribeiro, NeurIPS 2023; form *recalled*)."""
    return npg_pd(federation, partial(regularised_step, tau=tau))


def regularised_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta = (N/\tau) \min(1, \log K/K)` unless given: after K rounds the contracted start is as
    small as the floor. The dual step is :math:`\eta/N`."""
    tau = positive_weight(given["tau"])
    cap, eta = dual_cap(problem.cmdp, {**given, "eta_dual": 0.0}), given["eta"]
    if eta is None:
        K = array(float(max(rounds, 2)))
        eta = minimum(log(K) / K, 1.0) * problem.N / tau
    step = number(eta)
    return PublicSteps(step, per_constraint("eta", step / problem.N, problem.cmdp.m), cap)
