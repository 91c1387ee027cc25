r"""What a client's data prove about every policy's value.

**The event.** With probability at least :math:`1-\delta`, for all clients and all pairs with
:math:`n_i(s,a) \ge 1` (Hoeffding; Weissman),

.. math:: |\hat r - r| \le R\sqrt{\tfrac{\log(4SA/\delta')}{2n}}, \qquad
          \|\hat P - P\|_1 \le \sqrt{\tfrac{2(\log(2SA/\delta') + S\log 2)}{n}},

:math:`\delta' = \delta/N` where the next states are independent given the pairs (``"generative"`` data), and
:math:`\delta/(N n_i)` for trajectories of a length :math:`n_i` fixed in advance. On it, for **every** policy,

.. math:: |J(\pi, \hat M_i) - J(\pi, M)| \le \Gamma_i(\pi) = \tfrac1{1-\gamma}
          E_{\hat d_i^\pi}\langle \pi, \kappa_i\rangle, \quad
          \kappa_i = \min\{c_\delta n_i^{-1/2}, \bar V\}, \quad
          c_\delta = R\Big[\sqrt{\tfrac{\log(4SA/\delta')}{2}} + \tfrac{\gamma}{1-\gamma}
          \sqrt{\tfrac{\log(2SA/\delta') + S\log 2}{2}}\Big],

:math:`\bar V = R/(1-\gamma)`, also where nothing was seen. One event serves all rounds and all weights.

Assumed known: the range of rewards, rho, and that a state marked as an end is one. An end pays 0 for ever: as
soon as one client has seen an end, 0 counts as a reward in every client's R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import exp, is_minus_infinity, where
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.offline import Counts, behaviour, empirical, extended
from tabular_fedrl.policies import enclosed


@dataclass(frozen=True)
class Evidence:
    r"""One client's data as bounds. ``model``: its empirical MDP; ``log_b``: its behaviour there; ``kappa``:
    :math:`\kappa` there, ``(S+1, A)``; ``constant``: :math:`c_\delta`; ``rewards``: their range."""

    model: CMDP
    log_b: Array
    kappa: Array
    constant: float
    rewards: tuple[float, float]

    def means(self, log_pi: Array, signals: Sequence[Any]) -> Measured:
        r""":math:`\frac1{1-\gamma}E_{\hat d^\pi, \pi}[f]` of several signals ``(S+1,)`` or ``(S+1, A)``."""
        tables = [Measured.of(f) for f in signals]
        full = Measured.stack(
            [f if f.ndim == 2 else f.reshape(-1, 1) + np.zeros(self.kappa.shape) for f in tables]
        )
        far = full.error.max(axis=(1, 2)) / (1.0 - self.model.gamma) * (1 + 16 * UNIT)
        return evaluate(self.model, log_pi, full.value).at_rho.rounded_by(far)

    def bounds(self, log_pi: Array) -> tuple[Measured, Measured]:
        r""":math:`J(\pi, \hat M)` and :math:`\Gamma(\pi)`."""
        both = self.means(log_pi, [self.model.r, self.kappa])
        return both[0], both[1]

    def mean(self, log_pi: Array, f: Measured) -> Measured:
        r""":math:`\frac1{1-\gamma}E_{\hat d^\pi}[f]` of ``f (S+1,)``."""
        return self.means(log_pi, [f])[0]


def event_constant(S: int, A: int, gamma: float, delta: float, R: float) -> float:
    r""":math:`c_\delta` for :math:`\delta'` = ``delta``, rounded up."""
    log = Measured(2.0 * S * A / delta).log()
    reward = (Measured(4.0 * S * A / delta).log() * 0.5).sqrt()
    law = ((log + Measured(2.0).log() * float(S)) * 0.5).sqrt()
    total = (reward + law * (Measured(gamma) / (Measured(1.0) - gamma))) * R
    return float(total.upper)


def sufficient_cql(counts: Counts, constant: float) -> float:
    r"""The weight :math:`\lambda = \frac{c_\delta}2 \sqrt{|A|/\min_s n(s)}` of Theorem G, from which on the
    CQL penalty pays for the sampling error of whatever leaves the data; over the states that were seen."""
    n = counts.states[counts.states > 0]
    return float(0.5 * constant * (counts.A / n.min()) ** 0.5)


def evidence(
    counts: Sequence[Counts],
    gamma: float,
    rho: Any,
    log_pi: Array,
    delta: float,
    rewards: tuple[float, float] = (0.0, 1.0),
    kind: str = "trajectories",
    smoothing: float = 0.0,
) -> tuple[Evidence, ...]:
    """Every client's :class:`Evidence` for a round from ``log_pi`` ``(S, A)``; parameters as for
    :func:`~tabular_fedrl.algorithms.drpo_certificate.certify_improvement`."""
    if not 0 < delta < 1:
        raise InvalidProblem(f"delta = {delta}: expected a probability between 0 and 1")
    if kind not in ("trajectories", "generative"):
        raise InvalidProblem(f"kind {kind!r}: expected 'trajectories' or 'generative'")
    low, high = (float(x) for x in rewards)
    if not -np.inf < low < high < np.inf:
        raise InvalidProblem(f"rewards = {rewards}: expected their least and their largest value")
    for i, c in enumerate(counts):
        _check_rewards(c, i, low, high)
    if any(c.ends.any() for c in counts):
        low, high = min(low, 0.0), max(high, 0.0)
    log_b = behaviour(counts, log_pi, smoothing)
    share = delta / len(counts)
    return tuple(_evidence(c, b, gamma, rho, share, (low, high), kind) for c, b in zip(counts, log_b))


def value_between(known: Sequence[Evidence], log_pi: Array) -> tuple[float, float]:
    r"""Bounds on :math:`J` (``log_pi``) that all clients' data give together; no value is outside the range
    of the rewards over :math:`1-\gamma`."""
    bounds = [e.bounds(extended(log_pi)) for e in known]
    least, most = (Measured(x) / (Measured(1.0) - known[0].model.gamma) for x in known[0].rewards)
    low = max(float(least.lower), *(float((J - G).lower) for J, G in bounds))
    return low, min(float(most.upper), *(float((J + G).upper) for J, G in bounds))


def gain_over(known: Sequence[Evidence], log_policy: Array, log_pi: Array) -> float:
    r"""The bound on :math:`J` (``log_policy``) minus :math:`J` (``log_pi``) that all clients' data give
    together, 0 for the same policy."""
    if np.array_equal(log_policy, log_pi):
        return 0.0
    return value_between(known, log_policy)[0] - value_between(known, log_pi)[1]


def enclosed_chi2(log_p: Array, log_b: Array) -> Measured:
    r"""Enclosure of :math:`\chi^2(p\|b)` along the last axis."""
    none = is_minus_infinity(log_p)
    (lp, _), (lb, _) = enclosed(log_p), enclosed(log_b)
    lost = where(is_minus_infinity(log_b) & ~none, np.inf, np.zeros(none.shape))
    squares = exp((lp + lp - lb).where(none, 0.0).widened(lost)).where(none, 0.0)
    return squares.sum(-1) - 1.0


def _check_rewards(counts: Counts, i: int, low: float, high: float) -> None:
    outside = (counts.pairs > 0) & ((counts.reward < low - 1e-12) | (counts.reward > high + 1e-12))
    if outside.any():
        s, a = (int(x) for x in np.argwhere(outside)[0])
        raise InvalidProblem(
            f"client {i}: the mean reward of s={s}, a={a} is {counts.reward[s, a]:g}, "
            f"outside {low:g}..{high:g}"
        )


def _evidence(
    counts: Counts,
    log_b: Array,
    gamma: float,
    rho: Any,
    delta: float,
    rewards: tuple[float, float],
    kind: str,
) -> Evidence:
    """Of one client, which has ``delta`` to itself."""
    low, high = rewards
    S, A, R = counts.S, counts.A, high - low
    seen = counts.pairs > 0
    share = delta / (max(counts.n, 1) if kind == "trajectories" else 1)
    constant = event_constant(S, A, gamma, share, R)
    largest = R / (1.0 - gamma) * (1 + 8 * UNIT)
    kappa = np.full((S + 1, A), largest)
    kappa[:S][seen] = (constant * (1 + 8 * UNIT) / counts.pairs[seen] ** 0.5).clip(max=largest)
    kappa[:S][counts.ends] = 0.0
    kappa[S] = 0.0
    return Evidence(empirical(counts, gamma, rho, low), extended(log_b), kappa, constant, (low, high))
