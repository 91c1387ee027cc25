r"""FedPPO on tables: clipped surrogates of the local Lagrangians, logits averaged.

An update of agent i at :math:`\pi_{old}`: the dual step first; then up to ``epochs`` gradient steps in the
logits on

.. math:: \frac{\tfrac1N E[\min(q A_r, \mathrm{clip}(q, 1-\epsilon, 1+\epsilon) A_r)]
          - \sum_j \lambda_{ij} E[q A_{c_j}]}{\tfrac1N + \sum_j \lambda_{ij}}, \qquad
          q = \frac{\pi}{\pi_{old}},

E under :math:`d^{\pi_{old}}` and :math:`\pi_{old}`, stopped early once
:math:`E_d KL(\pi\|\pi_{old})` exceeds ``target``. The server averages the logits (the geometric mean).

Source: the authors' public code beside Jin, Zhang, Zhang, arXiv 2405.03236 (mark: *code*; tabular reading
ours). There is no theorem; what can be checked exactly is on the page ``fednpg.fedppo``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.local import dual_step, exact
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import dual_cap, number
from tabular_fedrl.algorithms.step_sizes import dual_step as theory_dual_step
from tabular_fedrl.arithmetic import array, exp, sum, where
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import visitation
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import enclosed_kl, log_probabilities, log_softmax, recentred


def fedppo(federation: Federation, clip: float, epochs: int, target: float) -> Iterator[Round]:
    r"""The rounds; ``clip`` is :math:`\epsilon`, ``target`` the divergence at which an update stops."""
    return fednpg(federation, partial(ppo_update, clip=clip, epochs=epochs, target=target))


def ppo_update(agent: Agent, log_pi: Array, clip: float, epochs: int, target: float) -> Array:
    """One update of an agent."""
    view, estimate = agent.view, exact(agent, log_pi)
    dual_step(agent, estimate.cost_values)
    d, old, logits = visitation(view, log_pi).plain, log_probabilities(log_pi), log_pi
    for _ in range(epochs):
        now = log_softmax(logits)
        weights = surrogate_weights(
            estimate.advantages, agent.multipliers, agent.reward_factor, exp(now - old), clip
        )
        logits = logits + agent.eta * logit_gradient(exp(now), d, weights)
        if sum(d * enclosed_kl(logits, old).plain) > target:
            break
    return recentred(logits)


def surrogate_weights(advantages: Any, lam: Any, factor: Any, ratio: Any, clip: float) -> Any:
    r"""How the surrogate changes with :math:`\pi(a|s)`, per unit of visitation, ``(S, A)``: a probability
    that has left the clip range in the direction of its reward advantage gains nothing more from it.

    ``advantages (1+m, S, A)``, multipliers ``lam (m,)``, ``factor`` 1/N, ``ratio (S, A)``."""
    A_r, A_c = advantages[0], advantages[1:]
    clipped = ((A_r >= 0) & (ratio > 1.0 + clip)) | ((A_r < 0) & (ratio < 1.0 - clip))
    gain = where(clipped, 0.0, factor * A_r) - sum(lam[:, None, None] * A_c, axis=0)
    return gain / (factor + sum(lam))


def logit_gradient(pi: Any, d: Any, weights: Any) -> Any:
    r"""The gradient in the logits of :math:`E_d\langle\pi, w\rangle`, ``(S, A)``."""
    return d.reshape(-1, 1) * pi * (weights - sum(pi * weights, axis=-1).reshape(-1, 1))


def ppo_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """A learning rate of 1 for the logits, F1's step for the multipliers."""
    if not given["clip"] >= 0:
        raise InvalidProblem(f"clip = {given['clip']}: expected a number from 0 on")
    cap = dual_cap(problem.cmdp, {**given, "eta": 0.0})
    eta = array(1.0) if given["eta"] is None else given["eta"]
    T = rounds * int(given["local_steps"])
    return PublicSteps(number(eta), theory_dual_step(problem.cmdp, given, cap, T), cap)
