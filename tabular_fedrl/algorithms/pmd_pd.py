r"""PMD-PD: policy mirror descent primal-dual, one agent, every policy step solved exactly.

With :math:`f_j(\pi) = V_{c_j}(\rho) - d_j` and :math:`\lambda_0 = \max(0, -\eta' f(\pi_0))`,

.. math:: \pi_{k+1} &= \arg\max_\pi V_r(\rho) - \sum_j (\lambda_j + \eta' f_j(\pi_k)) f_j(\pi)
             - \frac{\alpha}{1-\gamma} E_{d^\pi} KL(\pi\|\pi_k), \\
          \lambda_j &\leftarrow \max(-\eta' f_j(\pi_{k+1}),\ \lambda_j + \eta' f_j(\pi_{k+1})),

:math:`\alpha = \eta' \sum_j \mathrm{span}(c_j)^2/(4(1-\gamma)^3)`: large enough that the quadratic in
:math:`f(\pi_k) - f(\pi_{k+1})` is paid for by the divergence. The inner problem is solved by soft policy
iteration.

Source: Liu, Zhou, Kalathil, Kumar, Tian, "Policy optimization for constrained MDPs with provable fast global
convergence", 2021; with exact proximal steps and spans, mark *ours*.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_values import regularised_optimum
from tabular_fedrl.algorithms.local import exact
from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import number, positive_or, span, spans
from tabular_fedrl.arithmetic import array, maximum, sum
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array


def pmd_pd(federation: Federation) -> Iterator[Round]:
    """The rounds of PMD-PD."""

    def step(agent: Agent, log_pi: Array) -> Array:
        view, eta = agent.view, agent.eta_dual
        f = exact(agent, log_pi).cost_values - view.d
        if federation.server.round == 0:
            agent.multipliers = maximum(-eta * f, 0.0)
        weights = agent.multipliers + eta * f
        mixed = view.replace(r=view.r - sum(weights[:, None, None] * view.c, axis=0))
        after, _, _ = regularised_optimum(mixed, log_pi, log_pi, 0.0, proximal_weight(view, eta))
        f = exact(agent, after).cost_values - view.d
        agent.multipliers = maximum(agent.multipliers + eta * f, -eta * f)
        return after

    return npg_pd(federation, step)


def proximal_weight(cmdp: CMDP, eta: Any) -> Any:
    r""":math:`\alpha = \sum_j \eta'_j\,\mathrm{span}(c_j)^2/(4(1-\gamma)^3)`."""
    return number(sum(eta * spans(cmdp.c) ** 2)) / (4.0 * (1.0 - cmdp.gamma) ** 3)


def proximal_steps(problem: FederatedCMDP, _: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta' = (1-\gamma)\,\mathrm{span}(r)/\sum_j \mathrm{span}(c_j)^2` unless given; no primal step
    and no cap."""
    cmdp, eta = problem.cmdp, given["eta_dual"]
    if cmdp.m == 0 or not (spans(cmdp.c) > 0).any():
        raise InvalidProblem("pmd-pd needs a constraint whose cost is not constant")
    if eta is None:
        eta = (1.0 - cmdp.gamma) * positive_or(span(cmdp.r), 1.0) / number(sum(spans(cmdp.c) ** 2))
    if not eta > 0:
        raise InvalidProblem(f"eta_dual = {eta:g}: expected a positive number")
    return PublicSteps(0.0, eta + array(np.zeros(cmdp.m)), array(np.full(cmdp.m, np.inf)))
