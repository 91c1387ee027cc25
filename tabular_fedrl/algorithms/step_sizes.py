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

from functools import lru_cache
from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import array, log, maximum, stack, sum
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem, NotSlater
from tabular_fedrl.federation import PublicSteps
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers import solve, value_range
from tabular_fedrl.solvers.solution import cost_scale

SLATER_TOLERANCE = 1e-9
"""A slack below this, relative to the thresholds' size, counts as none: the cap 2 span(r)/((1-gamma) xi)
would explode."""


def number(x: Any) -> Any:
    """A scalar as a Python float; balls as they are."""
    return x if isinstance(x, Balls) else float(x)


def span(f: Array) -> Any:
    """``max f - min f`` of one signal ``(S, A)``."""
    return number(f.max() - f.min())


def spans(c: Array) -> Any:
    """Spans of signals ``(m, S, A)``, shape ``(m,)``."""
    return c.max(axis=(1, 2)) - c.min(axis=(1, 2))


def positive_or(x: Any, standin: float) -> Any:
    """A number that is not negative, or ``standin`` where it is 0."""
    return x if x > 0 else standin


def positive_weight(tau: Any) -> float:
    """An entropy weight, checked."""
    if not (np.isfinite(tau) and tau > 0):
        raise InvalidProblem(f"tau = {tau!r}: expected a positive number")
    return float(tau)


def slater_slack(cmdp: CMDP) -> Any:
    """The Slater slack xi, in units of value; :class:`NotSlater` if no policy is strictly feasible."""
    xi = solve(cmdp).slater_slack
    if xi is None:
        raise InvalidProblem("a problem without constraints has no Slater slack")
    # In exact arithmetic a slack is positive or it is not.
    least = 0.0 if cmdp.is_exact else SLATER_TOLERANCE * (1.0 + float(abs(cmdp.d).max()))
    if xi <= least:
        raise NotSlater(
            f"the Slater slack is {0.0 if cmdp.is_exact else max(xi, 0.0):.3g}: no policy is strictly "
            "feasible, so theory gives no "
            "dual cap; set one with --dual-cap (dual_cap=...)"
        )
    return xi


def slater_dual_cap(cmdp: CMDP) -> Array:
    r""":math:`\Lambda = 2\,\mathrm{span}(r)/((1-\gamma)\xi)` for every constraint, ``(m,)``."""
    if cmdp.m == 0:
        return np.zeros(0)
    return per_constraint(
        "dual_cap", 2.0 * positive_or(span(cmdp.r), 1.0) * cmdp.horizon / slater_slack(cmdp), cmdp.m
    )


def lagrangian_spans(problem: FederatedCMDP, dual_cap: Any, reward_factor: float | None = None) -> Any:
    r""":math:`B_i`, ``(N,)``: the largest span of agent i's signal :math:`r/N - \sum_j \lambda_{ij} c_j`."""
    factor = array(1.0) / problem.N if reward_factor is None else reward_factor
    costs = dual_cap * spans(problem.cmdp.c)
    reward = factor * span(problem.cmdp.r)
    return stack([reward + sum(costs[list(seen)]) for seen in problem.visible])


def cost_gaps(cmdp: CMDP) -> Any:
    r""":math:`G_j = \max(|\min_\pi V_{c_j} - d_j|, |\max_\pi V_{c_j} - d_j|)`, ``(m,)``, rounded up in
    floats."""
    if cmdp.is_exact:
        ranges = [value_range(cmdp, f) for f in cmdp.c]
        each = [(high - d).maximum(d - low) for (low, high), d in zip(ranges, array(cmdp.d), strict=True)]
        return stack(each) if each else array(np.zeros(0))
    return _cost_gaps(cmdp)


@lru_cache(maxsize=256)
def _cost_gaps(cmdp: CMDP) -> Array:
    """Remembered, as the optimum is: a sweep asks for every setting."""
    gaps = np.zeros(cmdp.m)
    for j in range(cmdp.m):
        low, high = value_range(cmdp, cmdp.c[j])
        gaps[j] = max(float((high - cmdp.d[j]).upper), float((cmdp.d[j] - low).upper), 0.0)
    gaps.setflags(write=False)
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
    return PublicSteps(number(eta), dual_step(problem.cmdp, given, cap, T), cap)


def single_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """The same for agents that run alone (reward factor 1, never averaged): F1 with N = E = 1 over their T =
    K E steps, and the largest of their B_i."""
    T = rounds * int(given["local_steps"])
    cap = dual_cap(problem.cmdp, given)
    eta = given["eta"]
    if eta is None:
        b2 = _squares(lagrangian_spans(problem, cap, 1.0).max().reshape(1))
        eta = (1.0 - problem.cmdp.gamma) ** 2 * (8.0 * log_actions(problem.cmdp) / (T * b2)) ** 0.5
    return PublicSteps(number(eta), dual_step(problem.cmdp, given, cap, T), cap)


def dual_cap(cmdp: CMDP, given: dict[str, Any]) -> Array:
    """The dual cap ``(m,)``: the given one, else the theory's."""
    if given["dual_cap"] is None:
        return slater_dual_cap(cmdp)
    cap = per_constraint("dual_cap", given["dual_cap"], cmdp.m)
    if not np.isfinite(np.asarray(cap.upper if isinstance(cap, Balls) else cap)).all() and (
        given.get("eta") is None or given.get("eta_dual", 0.0) is None
    ):
        raise InvalidProblem("dual_cap is infinite, so theory gives no steps: set eta and eta_dual as well")
    return cap


def dual_step(cmdp: CMDP, given: dict[str, Any], cap: Array, T: int) -> Array:
    r"""The dual step ``(m,)``: the given one, else :math:`\Lambda_j/(G \sqrt T)`, :math:`G = \max_j G_j`."""
    if given["eta_dual"] is not None:
        return per_constraint("eta_dual", given["eta_dual"], cmdp.m)
    if cmdp.m == 0:
        return np.zeros(0)
    # In floats a gap of 0 comes out as the rounding of values.
    least = 0.0 if cmdp.is_exact else SLATER_TOLERANCE * cost_scale(cmdp)
    largest = number(cost_gaps(cmdp).max())
    G = largest if largest > least else 1.0
    return cap / (G * array(T) ** 0.5)


def per_constraint(name: str, value: Any, m: int) -> Any:
    """A number, or one for each constraint, as ``(m,)``; not negative."""
    if isinstance(value, Balls):
        return value + np.zeros(m)
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
    return array(np.array(np.broadcast_to(x, (m,))))


def log_actions(cmdp: CMDP) -> Any:
    r""":math:`\log|A|`, with :math:`\log 2` for a single action."""
    return number(log(maximum(array(float(cmdp.A)), 2.0)))


def _squares(B: Any) -> Any:
    return positive_or(number(sum(B * B)), 1.0)
