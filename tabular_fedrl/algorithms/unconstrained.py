r"""Policy optimisation without constraints: NPG with entropy, and mirror descent with growing steps.

One agent maximises :math:`V_r(\rho)`; the constraints of the problem are not looked at. (NPG itself is NPG-PD
on a problem without constraints.)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.npg_pd import npg_pd
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import log_actions, number, positive_or, positive_weight, span
from tabular_fedrl.arithmetic import array
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import policy_values, visitation
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_probabilities, recentred
from tabular_fedrl.solvers import solve

ROUNDED_UP = 1 + 1e-13
"""Growing a little faster than prescribed is allowed, a little slower is not."""


def reward_alone(problem: FederatedCMDP, _: dict[str, Any]) -> FederatedCMDP:
    """The problem of one agent without constraints."""
    cmdp = problem.cmdp
    empty = array(np.zeros((0, cmdp.S, cmdp.A))), array(np.zeros(0))
    return FederatedCMDP(cmdp.replace(c=empty[0], d=empty[1]), [()])


def entropy_npg(federation: Federation, tau: float) -> Iterator[Round]:
    r"""Natural policy gradient for the value with entropy, weight :math:`\tau`:

    .. math:: \pi \leftarrow \pi^{1 - \eta\tau/(1-\gamma)} \exp(\eta Q_\tau/(1-\gamma))/Z .

    Source: Cen, Cheng, Chen, Wei, Chi, "Fast global convergence of natural policy gradient methods with
    entropy regularization", Operations Research 2022 (mark: *recalled*).
    """
    return npg_pd(federation, partial(entropy_step, tau=tau))


def entropy_step(agent: Agent, log_pi: Array, tau: float) -> Array:
    r"""One step. :math:`Q_\tau - \tau\log\pi` is the plain Q of the signal :math:`r - \tau\log\pi`."""
    view = agent.view
    soft = view.r - tau * log_probabilities(log_pi)
    _, Q = policy_values(view, log_pi, soft[None])
    return recentred(log_pi + agent.eta / (1.0 - view.gamma) * Q[0])


def mirror_descent(federation: Federation, theta: float | None) -> Iterator[Round]:
    r"""Policy mirror descent with the KL divergence and geometrically growing steps:

    .. math:: \pi_{k+1} = \pi_k \exp(\eta_k Q^{\pi_k})/Z, \qquad
              \eta_k = \eta_0 \Big(\frac{\theta}{\theta-1}\Big)^k, \qquad
              \theta = \frac{1}{1-\gamma} \Big\|\frac{d_\rho^{\pi^\star}}{\rho}\Big\|_\infty

    unless ``theta`` is given. Source: Xiao, "On the convergence rates of policy gradient methods", JMLR 2022
    (form *recalled*).
    """
    (agent,) = federation.agents
    growth = mirror_growth(agent.view, theta)

    def step(agent: Agent, log_pi: Array) -> Array:
        _, Q = policy_values(agent.view, log_pi)
        return recentred(log_pi + agent.eta * growth**federation.server.round * Q[0])

    return npg_pd(federation, step)


def mirror_growth(cmdp: CMDP, theta: float | None) -> Any:
    r""":math:`\theta/(\theta-1)`; ``theta`` None for the theory's.

    Raises
    ------
    InvalidProblem: theta is at most 1; see also :func:`mismatch`.
    """
    theta = mismatch(cmdp) if theta is None else theta
    if not theta > 1:
        raise InvalidProblem(f"theta = {theta!r}: steps grow by theta/(theta - 1), which needs theta > 1")
    return array(theta) / (array(theta) - 1.0) * ROUNDED_UP


def mismatch(cmdp: CMDP) -> float:
    r""":math:`\|d_\rho^{\pi^\star}/\rho\|_\infty/(1-\gamma)`, rounded up, for the optimal policy that is
    computed.

    Raises
    ------
    InvalidProblem: no episode starts in some state.
    """
    if (cmdp.rho <= 0).any():
        state = int(np.flatnonzero(np.asarray(cmdp.floats().rho) <= 0)[0])
        raise InvalidProblem(f"rho[{state}] = 0: no episode starts there, so theta is infinite; set theta")
    d = Measured.of(visitation(cmdp, solve(cmdp).log_policy))
    return float(((d / cmdp.rho).max() / (Measured(1.0) - cmdp.gamma)).upper)


def npg_steps(problem: FederatedCMDP, _: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta = (1-\gamma)^2 \log|A|/\mathrm{span}\,r`: both terms of the bound are then equal."""
    cmdp = problem.cmdp
    return _reward_steps((1.0 - cmdp.gamma) ** 2 * log_actions(cmdp) / _span(cmdp), given)


def entropy_steps(problem: FederatedCMDP, _: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta = (1-\gamma)/(2\tau)`: every step halves the distance to the soft greedy policy."""
    return _reward_steps((1.0 - problem.cmdp.gamma) / (2.0 * positive_weight(given["tau"])), given)


def mirror_steps(problem: FederatedCMDP, _: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta_0 = (1-\gamma)/\mathrm{span}\,r`: exponents of size 1."""
    return _reward_steps((1.0 - problem.cmdp.gamma) / _span(problem.cmdp), given)


def _span(cmdp: CMDP) -> Any:
    return positive_or(span(cmdp.r), 1.0)


def _reward_steps(default: Any, given: dict[str, Any]) -> PublicSteps:
    eta = default if given["eta"] is None else given["eta"]
    return PublicSteps(number(eta), array(np.zeros(0)), array(np.zeros(0)))
