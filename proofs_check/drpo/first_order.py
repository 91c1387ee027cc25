r"""A round of DRPO to first order in the step size :math:`\eta`, to full relative accuracy for small ones.

As :math:`\eta \to 0` the gain of a round vanishes like :math:`\eta`, and the difference of two evaluations
drowns in rounding. Here the change of the policy is computed, and not the policies. The policy
:math:`\propto \pi_k e^{\eta U}` is called the tilt of :math:`\pi_k` by U.
"""

from __future__ import annotations

import numpy as np

from proofs_check.drpo.laws import Law, centred, covariance, span
from proofs_check.drpo.step import Round, positive
from tabular_fedrl.measured import Measured


def signal(x: Round, U: Measured) -> Measured:
    r""":math:`\bar C = E_{d^{\pi_k}} \sum_i \omega_i \mathrm{Cov}_{\pi_k}(U_i, Q^{\pi_k})`"""
    return x.expected(x.old, x.over_clients(covariance(x.old, U, x.q)))


def reach(x: Round, U: Measured) -> Measured:
    r""":math:`R_U = \max_{i,s} \mathrm{span}\,U_i` over the support of :math:`\pi_k`."""
    return span(U, x.old.support & np.ones(U.shape, dtype=bool)).max()


def tilt(x: Round, U: Measured, eta: Measured) -> Measured:
    r""":math:`\pi - \pi_k` for the tilt by ``U (..., S, A)``; meant for :math:`\eta\,\mathrm{span}\,U` of a
    few units at most."""
    exponent = (centred(x.old, U) * eta).where(~x.old.support, 0.0)
    log_z = x.old.mean(exponent.expm1()).log1p()
    return x.old.p * (exponent - log_z.reshape(*log_z.shape, 1)).expm1()


def means(x: Round, U: Measured, eta: Measured) -> tuple[Measured, Measured]:
    r""":math:`\pi_{k+1} - \pi_k`, ``(S, A)``, for the arithmetic and the geometric mean of the clients'
    tilts."""
    return x.over_clients(tilt(x, U, eta)), tilt(x, x.over_clients(U), eta)


def gain(x: Round, change: Measured) -> Measured:
    r""":math:`J(\pi') - J(\pi_k) = E_{d^{\pi'}} \langle \pi' - \pi_k, Q^{\pi_k}\rangle / (1-\gamma)` for
    :math:`\pi' = \pi_k + \mathrm{change}`, on the support of :math:`\pi_k`."""
    p, outside = x.old.p + change, ~x.old.support
    moved = Law(p.where(outside, 1.0).log(), p.where(outside, 0.0), x.old.support)
    return x.expected(moved, (change * centred(x.old, x.q)).sum(-1)) / x.discount


def gains(x: Round, U: Measured, eta: Measured) -> Measured:
    """The gains of both means, ``(2,)``."""
    return Measured.stack([gain(x, change) for change in means(x, U, eta)])


def sign(C: Measured) -> float:
    """1 or -1, or 0 where the enclosure does not settle six digits (at the certified level: not at the
    precision at work)."""
    low, high = float(C.lower), float(C.upper)
    settled = high - low <= 1e-6 * max(abs(low), abs(high))
    return float(np.sign(low)) if settled else 0.0


def apart(rounds: list[Round]) -> list[Round]:
    r"""Those in which :math:`Q^{\pi_k}` tells actions apart, at the precision at work; in the others there is
    nothing to gain or to lose."""
    return [x for x in rounds if sign(x.R_Q) > 0]


def assured(
    x: Round, U: Measured, alpha: Measured, expected: float | None = None
) -> tuple[Measured, Measured]:
    r"""Both sides of :math:`\frac{\eta|\bar C|}{2(1-\gamma)} \le \mathrm{sign}(\bar C)\,[J(\pi_{k+1}) -
    J(\pi_k)]` for both means, at the largest :math:`\eta \le 1/\alpha` for which Theorem C promises it; no
    entry where :math:`\bar C` may be 0. ``expected``: a sign to put in place of that of :math:`\bar C`."""
    C = signal(x, U)
    if not (s := sign(C)):
        return Measured(np.zeros(0)), Measured(np.zeros(0))
    eta = C * s * 4.0 * x.discount / (reach(x, U) ** 2 * x.R_Q)
    if positive(alpha):
        eta = eta.minimum(alpha.reciprocal())
    gained = gains(x, U, eta) * (s if expected is None else expected)
    return eta * C * s / (x.discount * 2.0) + np.zeros(2), gained
