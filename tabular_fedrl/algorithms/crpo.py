r"""CRPO: constraint-rectified policy optimisation, one agent, natural-gradient steps, no multipliers.

At :math:`\pi_t` one signal is chosen: the reward if every
:math:`V_{c_j}(\rho) \le d_j + \epsilon\,\mathrm{span}\,c_j`, else the first cost that exceeds this; then

.. math:: \pi \leftarrow \pi \exp\Big(\pm\frac{\alpha}{1-\gamma} \frac{A_f}{\mathrm{span}\,f}\Big)/Z,

up for the reward, down for a cost. The defaults are :math:`\alpha = (1-\gamma)^2 \sqrt{8\log|A|/T}` and
:math:`\epsilon = \alpha/(4(1-\gamma)^4) = \sqrt{\log|A|/(2T)}/(1-\gamma)^2`.
There are no multipliers: what is reported in their place says along which signal the last step went, 1 at a
cost and all 0 at the reward.

Source: Xu, Liang, Lan, "CRPO: a new approach for safe reinforcement learning with convergence guarantee",
ICML 2021 (mark: *recalled*); the division by the spans and the steps are *ours*.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.local import exact, natural
from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import log_actions, number, positive_or, span
from tabular_fedrl.arithmetic import array
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import recentred


def crpo(federation: Federation, tolerance: float | None) -> Iterator[Round]:
    r"""The rounds of CRPO; ``tolerance`` is :math:`\epsilon`, default the theory's for its step."""
    return npg_pd(federation, partial(rectified_step, tolerance=tolerance))


def rectified_step(agent: Agent, log_pi: Array, tolerance: Any = None) -> Array:
    """One step up the reward, or down the first cost that is not nearly met."""
    view, estimate = agent.view, exact(agent, log_pi)
    scales, limits = rectified_scales(view), rectified_limits(view, agent.eta, tolerance)
    j = next((j for j in range(view.m) if estimate.cost_values[j] > limits[j]), None)
    agent.multipliers = array(np.array([float(i == j) for i in range(view.m)]))
    k, sign = (0, 1.0) if j is None else (1 + j, -1.0)
    direction = natural(view, log_pi, estimate.advantages[k]) / scales[k]
    return recentred(log_pi + sign * agent.eta * direction)


def rectified_scales(cmdp: CMDP) -> list[Any]:
    """The spans of reward and costs, 1 for a constant."""
    return [positive_or(span(f), 1.0) for f in cmdp.signals]


def rectified_limits(cmdp: CMDP, eta: Any, tolerance: Any) -> list[Any]:
    r""":math:`d_j + \epsilon\,\mathrm{span}\,c_j`; ``tolerance`` None for the theory's."""
    epsilon = balanced_tolerance(eta, cmdp) if tolerance is None else tolerance
    return [d + epsilon * scale for d, scale in zip(cmdp.d, rectified_scales(cmdp)[1:])]


def balanced_tolerance(alpha: Any, cmdp: CMDP) -> Any:
    r""":math:`\alpha/(4(1-\gamma)^4)`: what T steps of the default length cannot exceed on average."""
    return alpha / (4.0 * (1.0 - cmdp.gamma) ** 4)


def rectified_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\alpha = (1-\gamma)^2 \sqrt{8\log|A|/T}` unless given, and no dual step."""
    cmdp, eta = problem.cmdp, given["eta"]
    if eta is None:
        eta = (1.0 - cmdp.gamma) ** 2 * (8.0 * log_actions(cmdp) / array(float(rounds))) ** 0.5
    return PublicSteps(number(eta), array(np.zeros(cmdp.m)), array(np.ones(cmdp.m)))
