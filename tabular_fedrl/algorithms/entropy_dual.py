r"""The dual method with entropy: accelerated descent on a smooth dual function, one agent.

With entropy of weight :math:`\tau` in the reward the dual function
:math:`D(\lambda) = \max_\pi V_r + \tau H - \langle\lambda, V_c - d\rangle` has the gradient
:math:`d - V_c(\pi_\lambda)`, Lipschitz with :math:`L = \sum_j \mathrm{span}(c_j)^2/(4\tau(1-\gamma)^3)`.
Round k evaluates the soft-optimal policy of :math:`y_k = \lambda_k + \frac{k-1}{k+2}(\lambda_k -
\lambda_{k-1})`, found by soft policy iteration, and
:math:`\lambda_{k+1} = \mathrm{clip}(y_k + \eta(V_c - d), 0, \Lambda)`.

Source: Ying, Ding, Lavaei, "A dual approach to constrained Markov decision processes with entropy
regularization", AISTATS 2022, and Li et al., AR-CPO, 2021 (mark: *recalled*); the step 1/L is *ours*.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tabular_fedrl.algorithms.drpo_values import regularised_optimum
from tabular_fedrl.algorithms.local import dual_step, exact
from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import (
    dual_cap,
    number,
    per_constraint,
    positive_or,
    positive_weight,
    spans,
)
from tabular_fedrl.arithmetic import clip, sum
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import uniform


def entropy_dual(federation: Federation, tau: float) -> Iterator[Round]:
    r"""The rounds with weight :math:`\tau`; the policy that a round ends with is the soft-optimal one of its
    multipliers, which the next round evaluates. The multipliers before are the server's memory."""
    server = federation.server

    def step(agent: Agent, log_pi: Array) -> Array:
        view, k = agent.view, server.round
        before = agent.multipliers if server.memory is None else server.memory
        if k > 0:
            # The policy at hand belongs to the multipliers at hand: move them, then look further ahead.
            dual_step(agent, exact(agent, log_pi).cost_values)
        ahead = agent.multipliers + (agent.multipliers - before) * (max(k - 1, 0) / (k + 2))
        server.memory = agent.multipliers
        agent.multipliers = clip(ahead, 0.0, agent.dual_cap)
        f = view.replace(r=view.r - sum(agent.multipliers[:, None, None] * view.c, axis=0))
        fair = uniform(view.S, view.A)
        return regularised_optimum(f, fair, fair, tau, 0.0)[0]

    return npg_pd(federation, step)


def smooth_steps(problem: FederatedCMDP, _: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta = 1/L` unless given."""
    cmdp, tau = problem.cmdp, positive_weight(given["tau"])
    cap, eta = dual_cap(cmdp, {**given, "eta": 0.0}), given["eta_dual"]
    if eta is None:
        squares = positive_or(number(sum(spans(cmdp.c) ** 2)), 1.0)
        eta = 4.0 * tau * (1.0 - cmdp.gamma) ** 3 / squares
    return PublicSteps(0.0, per_constraint("eta_dual", eta, cmdp.m), cap)
