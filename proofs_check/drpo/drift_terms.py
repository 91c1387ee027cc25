r"""The drift of DRPO's clients and the quantities of D3."""

from __future__ import annotations

import numpy as np

from proofs_check.drpo.laws import Law, covariance, mixture, span, total_variation
from proofs_check.drpo.step import Round
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured


def drift(x: Round, laws: Law) -> Measured:
    r""":math:`J(\bar\pi) - \sum_i \omega_i J(\pi_i)` of local policies ``(N, S, A)``."""
    return x.J(mixture(laws, x.omega)) - (x.J(laws) * x.weights).sum()


def value_span(x: Round) -> Measured:
    r""":math:`R_Q`: the largest span of :math:`Q^{\pi_k}` over all actions of a state."""
    return span(x.q, np.ones((x.cmdp.S, x.cmdp.A), dtype=bool)).max()


def most(x: Round, laws: Law, R_Q: Measured | None = None) -> Measured:
    """The bound of D3 on its absolute value; with another R_Q on demand."""
    factor = Measured(x.cmdp.gamma) * 2.0 / (x.discount * x.discount)
    return factor * (value_span(x) if R_Q is None else R_Q) * distances(x, laws)


def distances(x: Round, laws: Law) -> Measured:
    r""":math:`\sum_i \omega_i \tau_i \max_s \mathrm{TV}(\bar\pi, \pi_i)`"""
    moved = total_variation(laws, x.old).max(-1)
    return (x.weights * moved * total_variation(mixture(laws, x.omega), laws).max(-1)).sum()


def curvature(x: Round) -> Measured:
    r""":math:`L`, the coefficient of :math:`\eta^2` in the drift of the steps."""
    signals = covariance(x.old, x.U, x.q)
    ahead = x.over_clients(x.U) - x.U
    local = covariance(x.old, ahead, _action_values(x, signals))
    return x.expected(x.old, x.over_clients(local)) / x.discount


def _action_values(x: Round, c: Measured) -> Measured:
    """Action values ``(N, S, A)`` under the global policy of rewards ``c (N, S)``."""
    signals = c.reshape(*c.shape, 1) + np.zeros((*c.shape, x.cmdp.A))
    Q = evaluate(x.cmdp, x.log_pi, signals.plain).Q
    return Q.rounded_by((Measured(signals.error.max()) / x.discount).upper)
