r"""OPG-PD: optimistic policy gradient primal-dual, one agent, Euclidean projections.

With :math:`Q^t` the Q of :math:`r - \sum_j \lambda^t_j c_j` and :math:`g^t = V_c^{\pi_t}(\rho) - d`, both at
the current pair :math:`(\pi_t, \lambda_t)`, and :math:`P` the projection on the simplex in every state or on
:math:`[0, \Lambda]`,

.. math:: \hat\pi_{t+1} &= P(\hat\pi_t + \eta Q^t), & \pi_{t+1} &= P(\hat\pi_{t+1} + \eta Q^t), \\
          \hat\lambda_{t+1} &= P(\hat\lambda_t + \eta g^t), &
          \lambda_{t+1} &= P(\hat\lambda_{t+1} + \eta g^t).

Source: Ding, Wei, Zhang, Ribeiro, "Last-iterate convergent policy gradient primal-dual methods for
constrained MDPs", NeurIPS 2023 (mark: *recalled*).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import (
    dual_cap,
    lagrangian_spans,
    number,
    per_constraint,
    positive_or,
)
from tabular_fedrl.arithmetic import clip, concatenate, log, matmul, sum
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import probabilities, projected


def opg_pd(federation: Federation) -> Iterator[Round]:
    """The rounds of OPG-PD, in floats; the pair with hats is the server's memory."""
    if balls.working():
        raise InvalidProblem("opg-pd projects on the simplex, which is done in floats only")
    server = federation.server

    def step(agent: Agent, log_pi: Array) -> Array:
        view, eta = agent.view, agent.eta
        shape, size = (view.S, view.A), view.S * view.A
        if server.memory is None:
            server.memory = concatenate([probabilities(log_pi).ravel(), agent.multipliers])
        hat, lam_hat = server.memory[:size].reshape(shape), server.memory[size:]
        f = view.r - sum(agent.multipliers[:, None, None] * view.c, axis=0)
        V, Q = policy_values(view, log_pi, concatenate([f[None], view.c]))
        ascent, violation = eta * Q[0], agent.eta_dual * (matmul(V[1:], view.rho) - view.d)
        hat, lam_hat = projected(hat + ascent), clip(lam_hat + violation, 0.0, agent.dual_cap)
        server.memory = concatenate([hat.ravel(), lam_hat])
        agent.multipliers = clip(lam_hat + violation, 0.0, agent.dual_cap)
        with np.errstate(divide="ignore"):  # of zeros
            return log(projected(hat + ascent))

    return npg_pd(federation, step)


def optimistic_steps(problem: FederatedCMDP, _: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta = (1-\gamma)^2/(4B)` for policy and multipliers, B the largest span of the Lagrangian;
    the published condition is far smaller."""
    cap, eta = dual_cap(problem.cmdp, {**given, "eta_dual": 0.0}), given["eta"]
    if eta is None:
        B = positive_or(number(lagrangian_spans(problem, cap, 1.0).max()), 1.0)
        eta = (1.0 - problem.cmdp.gamma) ** 2 / (4.0 * B)
    return PublicSteps(number(eta), per_constraint("eta", eta, problem.cmdp.m), cap)
