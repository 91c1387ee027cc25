r"""The balance of the two weights: Theorem C's condition for strict improvement, and the weights it
recommends.

With :math:`\ell_i = \log(b_i/\pi_k)`, errors :math:`e_i = Q_i - Q^{\pi_k}`, means
:math:`\bar\ell, \bar e` over the clients and :math:`\mathrm{Cov}` under :math:`\pi_k(\cdot|s)`,

.. math:: \bar C = E_{d^{\pi_k}}\big[\mathrm{Var}(Q^{\pi_k}) + \alpha\,\mathrm{Cov}(\bar\ell, Q^{\pi_k})
          + \mathrm{Cov}(\bar e, Q^{\pi_k})\big], \qquad
          J(\pi_{k+1}) - J(\pi_k) \ge \frac{\eta}{1-\gamma}
          \Big[\bar C - \frac{\eta R_U^2 R_Q}{8(1-\gamma)}\Big], \quad \eta = \frac1{\alpha+\beta},

:math:`R_U = \max_{i,s} \mathrm{span}(Q_i + \alpha\ell_i)`, :math:`R_Q = \max_s \mathrm{span}\,Q^{\pi_k}`,
spans over supp :math:`\pi_k`. For R-steps and both aggregations, :math:`Q_i` not depending on
:math:`\beta`, supp :math:`\pi_k \subseteq` supp :math:`b_i`, and :math:`\beta > 0` unless the supports are
equal: without the server's weight a step goes wherever the data go (mark: *ours*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_steps import client_weights
from tabular_fedrl.arithmetic import is_minus_infinity
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import average, evaluate, visitation
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.policies import enclosed

LEAST_SHARE = 2.0**-20
r"""The least :math:`\beta` recommended where it must be positive, in units of :math:`\alpha`."""


@dataclass(frozen=True)
class Balance:
    r"""What Theorem C says about one round, enclosed.

    ``variance``, ``behaviour``, ``error``: the expectations of :math:`\mathrm{Var}(Q^{\pi_k})`,
    :math:`\mathrm{Cov}(\bar\ell, Q^{\pi_k})`, :math:`\mathrm{Cov}(\bar e, Q^{\pi_k})`. ``R_Q``: the span.
    ``Q``, ``ell``: ``(N, S, A)``; ``held``: the support of the global policy; ``wider``: whether some
    behaviour has actions beside it. ``gamma``: the discount.
    """

    variance: Measured
    behaviour: Measured
    error: Measured
    R_Q: Measured
    Q: Measured
    ell: Measured
    held: Any
    wider: bool
    gamma: Any

    def C_bar(self, alpha: Any) -> Measured:
        r""":math:`\bar C`; for all large :math:`\beta` the round improves if positive, loses if negative."""
        return self.variance + self.behaviour * alpha + self.error

    def R_U(self, alpha: Any) -> Measured:
        r""":math:`R_U`"""
        return _span(self.Q + self.ell * alpha, self.held).max()

    @property
    def alpha_crit(self) -> Measured | None:
        r"""C.2: the behaviour weight at which :math:`\bar C = 0`,
        :math:`-E[\mathrm{Var}(Q) + \mathrm{Cov}(\bar e, Q)]/E[\mathrm{Cov}(\bar\ell, Q)]`.

        Where the covariance is negative the round improves for large :math:`\beta` below it (never, if it is
        negative); where it is positive, above it; None where the covariance is 0 or not told from 0.
        """
        away = bool((self.behaviour.lower > 0) | (self.behaviour.upper < 0))
        return -(self.variance + self.error) / self.behaviour if away else None

    def best_eta(self, alpha: Any) -> Measured:
        r""":math:`\eta = 4(1-\gamma)\bar C/(R_U^2 R_Q)`, at which the guarantee is largest."""
        R_U = self.R_U(alpha)
        return self.C_bar(alpha) * (Measured(1.0) - self.gamma) * 4.0 / (R_U * R_U * self.R_Q)

    def guarantee(self, alpha: Any, eta: Any) -> Measured:
        """The bound on the improvement of J, units of value; what it says may be nothing (negative)."""
        discount, R_U = Measured(1.0) - self.gamma, self.R_U(alpha)
        return (self.C_bar(alpha) - R_U * R_U * self.R_Q * eta / (discount * 8.0)) * eta / discount

    def weights(self, alpha: float) -> tuple[float, float] | None:
        r"""Weights :math:`(\alpha', \beta)` with :math:`\alpha' \le` ``alpha`` and the best guarantee at that
        :math:`\alpha'`, as floats; None where no weights are recommended.

        :math:`\alpha'` is ``alpha``, or half of :math:`\alpha_{crit}` where ``alpha`` exceeds that;
        :math:`\beta = 1/\eta - \alpha'` with the best :math:`\eta` within :math:`1/\alpha'`; short of it
        where behaviours have more actions than the global policy, so that :math:`\beta > 0`.
        """
        critical = self.alpha_crit
        if critical is not None and float(self.behaviour.value) < 0:
            alpha = min(alpha, 0.5 * float(critical.value))
        # Any weights are admissible, so that midpoints will do.
        best = float(self.best_eta(max(alpha, 0.0)).value)
        if not (alpha >= 0 and np.isfinite(best) and best > 0):
            return None
        least = LEAST_SHARE * alpha if self.wider else 0.0
        return alpha, max(1.0 / best - alpha, least)


def balance(cmdp: CMDP, log_pi: Any, log_b: Any, Q: Any, weights: Any | None = None) -> Balance:
    r"""The balance of a round from :math:`\pi_k` = ``log_pi`` ``(S, A)``, with behaviours ``log_b`` and
    critics ``Q`` ``(N, S, A)``; ``cmdp`` is the true problem.

    Raises
    ------
    InvalidProblem: a client never takes an action that the global policy takes.
    """
    N = len(log_b)
    held = np.broadcast_to(~is_minus_infinity(log_pi), log_b.shape)
    lacking = np.argwhere(is_minus_infinity(log_b) & held)
    if lacking.size:
        i, s, a = (int(x) for x in lacking[0])
        raise InvalidProblem(f"client {i}, state {s}: the global policy takes action {a}, its data never do")
    omega = Measured.of(client_weights(N, weights))
    omega = (omega.reshape(N, -1) + np.zeros((N, cmdp.S))).reshape(N, cmdp.S, 1)
    log_p, p = enclosed(log_pi)
    ell = (enclosed(log_b)[0] - log_p).where(~held, 0.0)
    critics = Measured.of(Q).where(~held, 0.0)
    q = evaluate(cmdp, log_pi, cmdp.r[None]).Q[0].where(~held[0], 0.0)
    d = visitation(cmdp, log_pi)

    def covariance(f: Measured) -> Measured:
        centred = q - dot(p, q).reshape(-1, 1)
        return average(d, dot(p, f * centred))

    return Balance(
        variance=covariance(q),
        behaviour=covariance((ell * omega).sum(0)),
        error=covariance(((critics - q) * omega).sum(0)),
        R_Q=_span(q, held[0]).max(),
        Q=critics,
        ell=ell,
        held=held,
        wider=bool((~is_minus_infinity(log_b) & ~held).any()),
        gamma=cmdp.gamma,
    )


def _span(f: Measured, held: Any) -> Measured:
    """``max - min`` over the actions held, ``(...,)``."""
    # An action that is held stands in for one that is not.
    first = held.argmax(-1)[..., None]
    action = first + held * (np.arange(held.shape[-1]) - first)
    taken = f[(*np.indices(held.shape)[:-1], action)]
    return taken.max(-1) - taken.min(-1)
