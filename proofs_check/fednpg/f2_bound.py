r"""The constants of F2's bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.npg_pd.published import rate, violation_constant
from tabular_fedrl.algorithms.step_sizes import SLATER_TOLERANCE
from tabular_fedrl.loops import Batch, fednpg, optima
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Bounds:
    r"""F2's right sides for T = ``rounds`` on a problem in unit form, enclosed, or on a batch of them in
    plain arrays ``(B,)``.

    ``near``: :math:`1-\gamma`; ``logs``: :math:`\log|A|`; ``m`` constraints, ``pairs``: :math:`M = \sum_i
    |\Gamma_i|`; ``eta_1``, ``eta_dual``: :math:`\eta_1`, :math:`\eta_\lambda`; ``xi``: the Slater slack.
    """

    near: Any
    logs: Any
    m: int
    pairs: int
    rounds: int
    eta_1: Any
    eta_dual: Any
    xi: Any

    @property
    def T(self) -> float:
        return float(self.rounds)

    @property
    def cap(self) -> Any:
        r""":math:`\Lambda = 2/((1-\gamma)\xi)`"""
        return 2.0 / (self.near * self.xi)

    def gap(self, third: float = 2.0) -> Any:
        """The bound on the gap, with the constant of its third term."""
        near, duals = self.near, self.eta_dual * float(self.pairs)
        return (
            self.logs / (self.eta_1 * self.T)
            + 1.0 / (near**2 * self.T)
            + duals * third / near**3
            + duals / (near**2 * 2.0)
        )

    @property
    def violation(self) -> Any:
        comparator = self.cap**2 * float(self.m) / (self.eta_dual * (2.0 * self.T))
        return self.near * self.xi * (self.gap() + comparator)

    @property
    def corollary_gap(self) -> Any:
        r""":math:`4/((1-\gamma)^2 \sqrt T)`"""
        return rate(4.0, self.near, self.rounds)

    @property
    def corollary_violation(self) -> Any:
        r""":math:`(2/\xi + 4\xi)/((1-\gamma)^2 \sqrt T)`"""
        return rate(violation_constant(self.xi), self.near, self.rounds)


def lockstep(
    problems: Batch, rounds: int = 400, eta_1: Array | None = None, eta_dual: Array | None = None
) -> dict[str, tuple[Array, Array]]:
    """Both sides of F2's inequalities on many instances in unit form, in plain floats: NaN where one does not
    apply. Steps ``(B,)``; None: those of the corollary."""
    best, effective, single = optima(problems), 1.0 - problems.gamma, eta_1 is None and eta_dual is None
    usable = best.slack > SLATER_TOLERANCE * (1.0 + np.abs(problems.d).max(axis=1, initial=0.0))
    usable &= ((problems.d > 0) & (problems.d <= 1.0 / effective[:, None])).all(axis=1) & (problems.A > 1)
    xi = np.where(usable, best.slack, 1.0)
    if eta_1 is None:
        eta_1 = np.full(problems.B, 2.0 * np.log(max(problems.A, 2)))
    if eta_dual is None:
        eta_dual = effective / rounds**0.5
    pairs = int(problems.mask.sum())
    bound = Bounds(effective, np.log(problems.A), problems.m, pairs, rounds, eta_1, eta_dual, xi)
    steps = eta_1 * problems.N, eta_dual[:, None], 2.0 / (effective * xi)[:, None]
    result = fednpg(problems, rounds, 1, *steps, geometric=True)
    gap = np.where(usable, best.value - result.value, np.nan)
    violation = np.where(usable, np.maximum(result.costs - problems.d, 0.0).sum(axis=1), np.nan)
    sides = {"gap": (gap, bound.gap()), "violation": (violation, bound.violation)}
    single = single and pairs == 1
    for name, left, right in (
        ("corollary_gap", gap, bound.corollary_gap),
        ("corollary_violation", violation, bound.corollary_violation),
    ):
        sides[name] = (left if single else np.full(problems.B, np.nan), right)
    return sides
