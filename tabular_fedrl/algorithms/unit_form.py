r"""The affine rescaling to rewards and costs in [0, 1], for statements given only in that form.

With :math:`r = r_0 + s_0 \tilde r` and :math:`c_j = c_{0j} + s_j \tilde c_j`, values satisfy
:math:`V_r = r_0/(1-\gamma) + s_0 V_{\tilde r}` (costs and thresholds alike), so that the Lagrangians agree up
to a factor :math:`s_0` and a constant when :math:`\lambda_j = \tilde\lambda_j s_0/s_j`. Hence steps and caps
map back as

.. math:: \eta = \tilde\eta/s_0, \qquad \eta_{\lambda j} = \tilde\eta_\lambda\, s_0/s_j^2, \qquad
          \Lambda_j = \tilde\Lambda\, s_0/s_j ,

and both problems then have the same iterates. A signal that already lies in [0, 1] is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.step_sizes import (
    log_actions,
    number,
    per_constraint,
    positive_or,
    slater_slack,
)
from tabular_fedrl.arithmetic import array
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.federation import PublicSteps
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class UnitForm:
    """The rescaled problem and the maps back: reward ``shift + scale * r~``, costs ``cost_shifts (m,)``,
    ``cost_scales (m,)``."""

    problem: FederatedCMDP
    shift: float
    scale: float
    cost_shifts: Array
    cost_scales: Array

    def value_back(self, value: Any) -> Any:
        """V_r of the original problem from V_r of the rescaled one."""
        return value * self.scale + self.shift * self.problem.cmdp.horizon

    def costs_back(self, costs: Any) -> Any:
        """Every V_c ``(..., m)`` of the original problem from those of the rescaled one."""
        return costs * self.cost_scales + self.cost_shifts * self.problem.cmdp.horizon

    def steps_back(self, steps: PublicSteps) -> PublicSteps:
        """Steps and caps for the original problem that give the iterates of ``steps`` on the rescaled one."""
        return PublicSteps(
            steps.eta / self.scale,
            steps.eta_dual * self.scale / self.cost_scales**2,
            steps.dual_cap * self.scale / self.cost_scales,
        )


def unit_form(problem: FederatedCMDP) -> UnitForm:
    """``problem`` with every signal in [0, 1], its thresholds moved along."""
    cmdp = problem.cmdp
    shift, scale = _affine(cmdp.r)
    affine = [_affine(f) for f in cmdp.c]
    shifts = array([a for a, _ in affine])
    scales = array([s for _, s in affine])
    if all(a == 0 and s == 1 for a, s in [(shift, scale), *affine]):
        return UnitForm(problem, shift, scale, shifts, scales)
    rescaled = cmdp.replace(
        r=(cmdp.r - shift) / scale,
        c=(cmdp.c - shifts.reshape(-1, 1, 1)) / scales.reshape(-1, 1, 1),
        d=(cmdp.d - shifts * cmdp.horizon) / scales,
    )
    return UnitForm(FederatedCMDP(rescaled, problem.visible), shift, scale, shifts, scales)


def unit_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    r"""NPG-PD's own choice in unit form, mapped back:
    :math:`\eta_1 = 2\log|A|`, :math:`\eta_2 = (1-\gamma)/\sqrt T`, :math:`\Lambda = 2/((1-\gamma)\xi)`."""
    m, eta, eta_dual, dual_cap = problem.cmdp.m, given["eta"], given["eta_dual"], given["dual_cap"]
    if eta is None or eta_dual is None or dual_cap is None:
        default = _unit_defaults(problem, rounds, dual_cap is None)
        eta = default.eta if eta is None else eta
        eta_dual = default.eta_dual if eta_dual is None else eta_dual
        dual_cap = default.dual_cap if dual_cap is None else dual_cap
    return PublicSteps(
        number(eta), per_constraint("eta_dual", eta_dual, m), per_constraint("dual_cap", dual_cap, m)
    )


def _unit_defaults(problem: FederatedCMDP, rounds: int, capped: bool) -> PublicSteps:
    """All three as theory has them, but for the cap, which needs the slack, only where it is asked for."""
    form = unit_form(problem)
    cmdp, m = form.problem.cmdp, problem.cmdp.m
    cap = array(np.ones(m))
    if m and capped:
        cap = per_constraint("dual_cap", 2.0 * cmdp.horizon / slater_slack(cmdp), m)
    eta_dual = per_constraint("eta_dual", (1.0 - cmdp.gamma) / array(rounds) ** 0.5, m)
    return form.steps_back(PublicSteps(2.0 * log_actions(cmdp), eta_dual, cap))


def _affine(f: Any) -> tuple[Any, Any]:
    low, high = number(f.min()), number(f.max())
    if low >= 0.0 and high <= 1.0:
        return 0.0, 1.0
    return low, positive_or(high - low, 1.0)
