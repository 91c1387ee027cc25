r"""Step sizes and dual caps the theorems prescribe, for signals on any scale.

Constants of the scaled form (mark: *ours*), :math:`\Lambda_j` the dual cap of constraint j:

.. math:: \Lambda = \frac{2\,\mathrm{span}\,r}{(1-\gamma)\xi}, \qquad
          B_i = \frac{\mathrm{span}\,r}{N} + \sum_{j\in\Gamma_i} \Lambda_j\,\mathrm{span}\,c_j, \qquad
          b_2 = \sum_i B_i^2, \qquad
          G_j = \max_\pi |V_{c_j}^\pi(\rho) - d_j|,

and the steps that balance the bound of theorem F1 over T = K E local steps,

.. math:: \eta = (1-\gamma)^2 \sqrt{\frac{8 N \log|A|}{E\,T\,b_2}},
          \qquad \eta_\lambda = \frac{\Lambda}{G \sqrt T}.

Where a constant degenerates the formula would divide by zero and any value serves: with one action
:math:`\log 2` stands in for :math:`\log|A|`; where r is constant, all costs are, or every V_c equals its
threshold, 1 stands in for the span, b_2 or G.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import log, maximum, sum
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem, NotSlater
from tabular_fedrl.federation import PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers import solve, value_range

SLATER_TOLERANCE = 1e-9
"""A slack below this, relative to the thresholds' size, counts as none: the cap 2 span(r)/((1-gamma) xi)
would explode."""


def span(f: Array) -> float:
    """``max f - min f`` of one signal ``(S, A)``."""
    return float(f.max() - f.min())


def spans(c: Array) -> Array:
    """Spans of signals ``(m, S, A)``, shape ``(m,)``."""
    return np.array([span(f) for f in c])


def slater_slack(cmdp: CMDP) -> float:
    """The Slater slack xi, in units of value; :class:`NotSlater` if no policy is strictly feasible."""
    xi = solve(cmdp).slater_slack
    if xi is None:
        raise InvalidProblem("a problem without constraints has no Slater slack")
    if xi <= SLATER_TOLERANCE * (1.0 + float(abs(cmdp.d).max())):
        raise NotSlater(
            f"the Slater slack is {max(xi, 0.0):.3g}: no policy is strictly feasible, so theory gives no "
            "dual cap; set one with --dual-cap (dual_cap=...)"
        )
    return xi


def slater_dual_cap(cmdp: CMDP) -> Array:
    r""":math:`\Lambda = 2\,\mathrm{span}(r)/((1-\gamma)\xi)` for every constraint, ``(m,)``."""
    if cmdp.m == 0:
        return np.zeros(0)
    return np.full(cmdp.m, 2.0 * (span(cmdp.r) or 1.0) * cmdp.horizon / slater_slack(cmdp))


def lagrangian_spans(problem: FederatedCMDP, dual_cap: Array, reward_factor: float | None = None) -> Array:
    r""":math:`B_i`, ``(N,)``: the largest span of agent i's signal :math:`r/N - \sum_j \lambda_{ij} c_j`."""
    factor = 1.0 / problem.N if reward_factor is None else reward_factor
    costs = dual_cap * spans(problem.cmdp.c)
    reward = factor * span(problem.cmdp.r)
    return np.array([reward + float(sum(costs[list(seen)])) for seen in problem.visible])


def cost_gaps(cmdp: CMDP) -> Array:
    r""":math:`G_j = \max(|\min_\pi V_{c_j} - d_j|, |\max_\pi V_{c_j} - d_j|)`, ``(m,)``, rounded up."""
    gaps = np.zeros(cmdp.m)
    for j in range(cmdp.m):
        low, high = value_range(cmdp, cmdp.c[j])
        gaps[j] = max(float((high - cmdp.d[j]).upper), float((cmdp.d[j] - low).upper), 0.0)
    return gaps


def federated_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """The tuned steps of F1 (scaled form) where ``given`` has none."""
    E = int(given["local_steps"])
    T = rounds * E
    cap = dual_cap(problem.cmdp, given)
    eta = given["eta"]
    if eta is None:
        b2 = _squares(lagrangian_spans(problem, cap))
        eta = (1.0 - problem.cmdp.gamma) ** 2 * (
            8.0 * problem.N * log_actions(problem.cmdp) / (E * T * b2)
        ) ** 0.5
    return PublicSteps(float(eta), dual_step(problem.cmdp, given, cap, T), cap)


def single_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """The same for agents that run alone (reward factor 1, never averaged): F1 with N = E = 1 over their T =
    K E steps, and the largest of their B_i."""
    T = rounds * int(given["local_steps"])
    cap = dual_cap(problem.cmdp, given)
    eta = given["eta"]
    if eta is None:
        b2 = _squares(lagrangian_spans(problem, cap, 1.0).max(keepdims=True))
        eta = (1.0 - problem.cmdp.gamma) ** 2 * (8.0 * log_actions(problem.cmdp) / (T * b2)) ** 0.5
    return PublicSteps(float(eta), dual_step(problem.cmdp, given, cap, T), cap)


def dual_cap(cmdp: CMDP, given: dict[str, Any]) -> Array:
    """The dual cap ``(m,)``: the given one, else the theory's."""
    if given["dual_cap"] is None:
        return slater_dual_cap(cmdp)
    cap = per_constraint("dual_cap", given["dual_cap"], cmdp.m)
    if np.isinf(cap).any() and (given.get("eta") is None or given.get("eta_dual", 0.0) is None):
        raise InvalidProblem("dual_cap is infinite, so theory gives no steps: set eta and eta_dual as well")
    return cap


def dual_step(cmdp: CMDP, given: dict[str, Any], cap: Array, T: int) -> Array:
    r"""The dual step ``(m,)``: the given one, else :math:`\Lambda_j/(G \sqrt T)`, :math:`G = \max_j G_j`."""
    if given["eta_dual"] is not None:
        return per_constraint("eta_dual", given["eta_dual"], cmdp.m)
    if cmdp.m == 0:
        return np.zeros(0)
    G = float(cost_gaps(cmdp).max())
    return cap / ((G or 1.0) * T**0.5)


def per_constraint(name: str, value: Any, m: int) -> Array:
    """A number, or one for each constraint, as ``(m,)``; not negative."""
    try:
        x = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidProblem(f"{name} = {value!r}: expected numbers") from None
    if x.ndim and x.shape != (m,):
        raise InvalidProblem(
            f"{name} has shape {x.shape}: expected a number or one for each of the {m} constraints"
        )
    if not (x >= 0).all() or (name == "eta_dual" and np.isinf(x).any()):
        raise InvalidProblem(f"{name} = {x.tolist()}: expected numbers from 0 on")
    return np.array(np.broadcast_to(x, (m,)))


def log_actions(cmdp: CMDP) -> float:
    r""":math:`\log|A|`, with :math:`\log 2` for a single action."""
    return float(log(maximum(np.array(float(cmdp.A)), 2.0)))


def _squares(B: Array) -> float:
    return float(sum(B * B)) or 1.0
