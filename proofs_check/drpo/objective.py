r"""What several clients maximise together when every one of them holds on to its own data.

With behaviour policies :math:`b_i`, weights :math:`\omega_i` that are the same in every state, and
:math:`\bar b \propto \prod_i b_i^{\omega_i}`, :math:`H_b = -\log\sum_a\prod_i b_i^{\omega_i}`,

.. math:: J_\alpha(\pi) = J(\pi) - \tfrac{\alpha}{1-\gamma} E_{d^\pi} \textstyle\sum_i \omega_i KL(\pi\|b_i)
          = \tfrac{1}{1-\gamma} E_{d^\pi} [\langle\pi, r - \alpha H_b\rangle - \alpha KL(\pi\|\bar b)] .

One client: :math:`\bar b = b` and :math:`H_b = 0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from proofs_check.drpo.laws import Law, kl, log_sum, pool
from proofs_check.drpo.step import Round
from tabular_fedrl.algorithms.drpo_steps import regularised_optimum
from tabular_fedrl.arithmetic import concatenate, magnitude
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import Values, evaluate
from tabular_fedrl.measured import UNIT, Measured, dot

RARE = 2.0**-52
"""Transitions less likely than this do not decide which states communicate."""


@dataclass(frozen=True)
class Objective:
    r""":math:`J_\alpha`, for the problem, the behaviours, the weights and the :math:`\alpha` of a round."""

    round: Round

    @property
    def cmdp(self) -> CMDP:
        return self.round.cmdp

    @cached_property
    def pooled(self) -> Law:
        r""":math:`\bar b`, ``(S, A)``"""
        return pool(self.round.behaviour, self.round.omega)

    @cached_property
    def disagreement(self) -> Measured:
        r""":math:`H_b`, ``(S,)``"""
        behaviour = self.round.behaviour
        return -log_sum(self.round.over_clients(behaviour.log), behaviour.support.all(axis=0))

    @cached_property
    def charge(self) -> Measured:
        r""":math:`\alpha H_b`, ``(S, 1)``"""
        return (self.disagreement * self.round.alpha).reshape(-1, 1)

    def penalty(self, law: Law) -> Measured:
        r""":math:`\alpha [KL(\pi\|\bar b) + H_b]`, ``(S,)``"""
        return kl(law, self.pooled) * self.round.alpha + self.charge[:, 0]

    def values(self, log_pi: Any) -> Values:
        r""":math:`V_\alpha^\pi` ``(1, S)``, :math:`Q_\alpha^\pi = r - \alpha H_b + \gamma P V_\alpha^\pi`
        ``(1, S, A)`` and :math:`J_\alpha(\pi)` ``(1,)``: regularised evaluation with :math:`\bar b`."""
        penalty = self.penalty(Law.of(log_pi)).reshape(-1, 1)
        signal = Measured(self.cmdp.r) - penalty
        found = evaluate(self.cmdp, log_pi, signal.plain[None])
        far = self._far(float(signal.error.max()))
        return Values(
            V=found.V.rounded_by(far),
            Q=found.Q.rounded_by(far) + penalty - self.charge,
            at_rho=found.at_rho.rounded_by(far),
        )

    def discounted(self, log_pi: Any, f: Measured) -> Measured:
        r""":math:`\frac{1}{1-\gamma} E_{d^\pi} f` of ``f (S,)``: the value of f as a signal."""
        signal = f.reshape(-1, 1) + np.zeros((self.cmdp.S, self.cmdp.A))
        found = evaluate(self.cmdp, log_pi, signal.plain[None]).at_rho[0]
        return found.rounded_by(self._far(float(f.error.max())))

    @cached_property
    def optimum(self) -> Best:
        r"""What maximises :math:`J_\alpha`: the fixed point of :math:`V = \alpha\log\sum_a \bar b\,
        e^{(r - \alpha H_b + \gamma P V)/\alpha}`.

        The solver, which bounds its own error, takes the reward and :math:`\log\bar b` as floats; the fixed
        point moves by no more than the horizon times what one application of the operator does.
        """
        x, b = self.round, self.pooled
        charged, nearest = Measured(self.cmdp.r) - self.charge, b.plain
        problem = self.cmdp.replace(r=charged.plain)
        log_pi, V, Q = regularised_optimum(problem, nearest, nearest, x.alpha.plain, Measured(0.0).plain)
        off = magnitude((Law.of(nearest).log - b.log) * x.alpha) + float(charged.error.max())
        V, Q = (found.rounded_by(self._far(off)) for found in (V, Q))
        return Best(Law.normalised(b.log + Q / x.alpha, b.support), V, log_pi)

    def _far(self, off: float) -> float:
        """What values move by when rewards move by ``off``."""
        return off * magnitude(Measured(self.cmdp.horizon)) * (1 + 16 * UNIT)


@dataclass(frozen=True)
class Best:
    r"""The regularised optimum :math:`\pi^\star \propto \bar b\, e^{Q^\star/\alpha}` ``(S, A)`` and
    :math:`V^\star` ``(S,)``, enclosed; ``log_policy``: as the solver returns it."""

    law: Law
    V: Measured
    log_policy: Any


def kernel(cmdp: CMDP, law: Law) -> Measured:
    r""":math:`P_\pi`, ``(S, S)``"""
    P = Measured(cmdp.P.toarray().reshape(cmdp.S, cmdp.A, cmdp.S) if cmdp.is_sparse else cmdp.P)
    rows = dot(law.p.reshape(*law.p.shape, 1), P, axis=1)
    return rows if cmdp.is_exact else rows.rounded_by(2 * cmdp.row_error * rows.value)


def stationary(P: Measured) -> Any:
    """A law ``(S,)`` that is stationary for the chain, up to :data:`RARE` transitions and rounding: the mean
    of the stationary laws of its recurrent classes.

    By the elimination of Grassmann, Taksar and Heyman, which subtracts nothing. What is stated with it says
    how far from stationary it is.
    """
    edges = P.value > RARE
    count, label = connected_components(sp.csr_array(edges), connection="strong")
    closed = [k for k in range(count) if not edges[label == k][:, label != k].any()]
    plain = P.centre.plain
    nu = Measured(np.zeros(len(label)))
    for k in closed:
        states = np.flatnonzero(label == k)
        weights = _eliminated(plain[np.ix_(states, states)])
        share = Measured(weights) / (Measured(weights).sum() * float(len(closed)))
        # Every entry once: (class, state) -> state.
        nu = nu + dot(share, (states[:, None] == np.arange(len(label))).astype(float).T)
    return nu.centre


def _eliminated(P: Any) -> Any:
    """The stationary law of an irreducible chain, not normalised, in plain numbers."""
    if len(P) == 1:
        return P[0] * 0.0 + 1.0
    row, column = P[-1, :-1], P[:-1, -1]
    column = column / row.sum()
    head = _eliminated(P[:-1, :-1] + column.reshape(-1, 1) * row)
    return concatenate([head, (head * column).sum().reshape(1)])


def unrest(P: Measured, nu: Measured, f: Measured) -> Measured:
    r""":math:`E_{\nu P} f - E_\nu f`, 0 for a stationary law: f ``(S,)``."""
    return dot(nu, dot(P, f) - f)
