r"""The drift of DRPO's clients and the quantities of D3."""

from __future__ import annotations

import numpy as np

from proofs_check.drpo.laws import Law, covariance, mixture, span, total_variation
from proofs_check.drpo.step import Round
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_policy, uniform


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


def two_rooms(gamma: float) -> CMDP:
    """The first action of state 0 leads to room 1, the second to room 2; a room's first action pays 1, and
    both lead to the end, state 3."""
    P, r = np.zeros((4, 2, 4)), np.zeros((4, 2))
    P[0] = np.eye(4)[[1, 2]]
    P[1:, :, 3] = 1.0
    r[1:3, 0] = 1.0
    return CMDP(P, r, np.zeros((0, 4, 2)), [], np.eye(4)[0], gamma)


def bent_apart(gamma: float) -> Round:
    """Two clients on the two rooms: they want different rooms, and one of them the reward. A room is entered
    with the probabilities of paying at which a tilt's second order is largest, of either sign."""
    pays = (1 - 3**-0.5) / 2
    log_pi = np.log([[0.5, 0.5], [pays, 1 - pays], [1 - pays, pays], [0.5, 0.5]])
    Q = np.zeros((2, 4, 2))
    Q[[0, 1], 0, [0, 1]] = 1.0
    Q[0, 1:3, 0] = 1.0
    return _round(gamma, log_pi, np.stack([log_pi, log_pi]), Q)


def pulled_apart(gamma: float) -> Round:
    """Two clients on the two rooms: each is pulled to the room where it alone knows what pays."""
    b = np.full((2, 4, 2), 0.5)
    b[0, 1:3] = np.eye(2)
    b[1, 1:3] = np.eye(2)[::-1]
    Q = np.zeros((2, 4, 2))
    Q[[0, 1], 0, [0, 1]] = 1.0
    return _round(gamma, uniform(4, 2), np.stack([log_policy(own, 4, 2) for own in b]), Q)


def _round(gamma: float, log_pi: Array, log_b: Array, Q: Array) -> Round:
    one = Measured(1.0)
    return Round(two_rooms(gamma), one, one, Measured([0.5, 0.5]), log_pi, log_b, Measured(Q))


def _action_values(x: Round, c: Measured) -> Measured:
    """Action values ``(N, S, A)`` under the global policy of rewards ``c (N, S)``."""
    signals = c.reshape(*c.shape, 1) + np.zeros((*c.shape, x.cmdp.A))
    Q = evaluate(x.cmdp, x.log_pi, signals.plain).Q
    return Q.rounded_by((Measured(signals.error.max()) / x.discount).upper)
