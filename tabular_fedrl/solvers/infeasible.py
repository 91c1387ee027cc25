r"""Proof that no policy meets all constraints.

If some :math:`\mu \ge 0`, :math:`\sum_j \mu_j = 1` has

.. math:: \min_\pi V^\pi_{\mu\cdot c}(\rho) > \mu\cdot d ,

then no policy satisfies :math:`V_{c_j} \le d_j` for all j, since it would satisfy the weighted sum. By
Farkas' lemma such a :math:`\mu` exists whenever the problem is infeasible. The left side is an unconstrained
MDP: policy iteration decides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InfeasibleCMDP, SolverFailure
from tabular_fedrl.measured import Array, dot
from tabular_fedrl.solvers.columns import price


@dataclass(frozen=True)
class FarkasCertificate:
    r"""Multipliers ``(m,)`` that prove infeasibility.

    ``lowest``: rigorous lower bound of :math:`\min_\pi V_{\mu\cdot c}(\rho)`; ``budget``: :math:`\mu\cdot d`;
    ``margin``: rigorous lower bound of their difference. Units of value.
    """

    multipliers: Array
    lowest: float
    budget: float
    margin: float

    def check(self, cmdp: CMDP) -> bool:
        """Recompute the minimum by policy iteration: is the problem proved infeasible by these
        multipliers?"""
        mu = np.asarray(self.multipliers, dtype=np.float64)
        if mu.shape != (cmdp.m,) or not np.isfinite(mu).all() or (mu < 0).any() or abs(mu.sum() - 1) > 1e-9:
            return False
        fresh = _measure(cmdp, mu)
        claimed = np.array([self.lowest, self.budget, self.margin])
        found = np.array([fresh.lowest, fresh.budget, fresh.margin])
        # The numbers written down may differ from ours by rounding (another machine's), the decision is ours.
        same = np.abs(claimed - found) <= 1e-9 * max(1.0, float(np.abs(found).max()))
        return fresh.margin > 0 and self.margin > 0 and bool(same.all())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "multipliers": self.multipliers.tolist(),
            "lowest": self.lowest,
            "budget": self.budget,
            "margin": self.margin,
        }


def certificate(cmdp: CMDP, multipliers: Array) -> FarkasCertificate:
    """The certificate of these multipliers, with its numbers computed.

    Raises
    ------
    SolverFailure: the multipliers prove nothing.
    """
    mu = np.maximum(np.asarray(multipliers, dtype=np.float64), 0.0)
    mu = mu / mu.sum()
    proof = _measure(cmdp, mu)
    if not proof.check(cmdp):
        raise SolverFailure(f"no proof of infeasibility: the margin is {proof.margin:.3e}")
    return proof


def infeasible(cmdp: CMDP, multipliers: Array) -> InfeasibleCMDP:
    """The error to raise for a problem that these multipliers prove infeasible.

    Raises
    ------
    SolverFailure: they prove nothing.
    """
    proof = certificate(cmdp, multipliers)
    return InfeasibleCMDP(
        f"no policy meets all constraints: weighted by {np.round(proof.multipliers, 4).tolist()} the costs "
        f"are at least {proof.lowest:.6g}, the thresholds allow {proof.budget:.6g}",
        proof,
    )


def _measure(cmdp: CMDP, mu: Array) -> FarkasCertificate:
    margin = -price(cmdp, mu, with_reward=False)[1]
    lowest = dot(mu, cmdp.d) + margin
    return FarkasCertificate(mu, float(lowest.lower), float(mu @ cmdp.d), margin)
