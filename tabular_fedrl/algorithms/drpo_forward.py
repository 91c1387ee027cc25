r"""The F-step of DRPO: forward KL to the behaviour policy b and to the global policy :math:`\pi_k`.

This is the actor's loss of the released code, one state at a time (mark: *code*; the closed form is *ours*).
With :math:`c = \alpha b + \beta\pi_k` and an entropy weight :math:`\tau_H \ge 0`,

.. math:: \arg\max_p\; \langle p,Q\rangle + \langle c, \log p\rangle + \tau_H H(p) .

**Proposition F** (:math:`\tau_H = 0`). :math:`p = c/(\nu - Q)` where c > 0, with :math:`\nu \ge \max Q` and
:math:`\sum p = 1`. If that sum falls short of 1 at :math:`\nu = \max Q`, what is missing goes to an action
outside the support (c = 0) that attains the maximum: the step *leaks*. Of several such actions the first one
takes it (the maximiser is not unique then).

With the entropy bonus :math:`Q + c/p - \tau_H \log p = \nu`, that is :math:`p = c/(\tau_H W(e^z))`,
:math:`z = (\nu - Q)/\tau_H + \log(c/\tau_H)`, W Lambert's function; no action has probability 0.

**Error.** The mass :math:`P(\nu) = \sum_a p_a(\nu)` is convex and decreasing with
:math:`|P'| \ge P^2/(\tau_H P + \sum c)` (Cauchy-Schwarz). Newton's method climbs to the root from the left.
A root :math:`\nu` proposed by whatever means is at most :math:`|P - 1| (\tau_H P + \sum c)/P^2` away from the
exact one, with the smaller of P and 1 in the fraction; hence, by convexity, at most
:math:`|P - 1|/|P'(\nu^+)|` with :math:`\nu^+` at the right end of that interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy.special import wrightomega

from tabular_fedrl import balls
from tabular_fedrl.algorithms.drpo_reverse import positive_weights
from tabular_fedrl.arithmetic import exp, is_minus_infinity, log, maximum, minimum, sum, where
from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem, SolverFailure, Undecided
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import enclosed

MOST_STEPS = 200
"""Newton's steps are monotone and number about ten."""

Mass: TypeAlias = Callable[[Any], tuple[Any, Any]]
r"""From :math:`\nu` to the probabilities it gives and their rates :math:`-\partial p_a/\partial\nu`."""


def forward_step(log_pi: Any, log_b: Any, Q: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    r"""The probabilities ``(..., S, A)`` of the F-step and its multiplier :math:`\nu` ``(..., S)``.

    Floats give floats; an enclosed critic (:class:`~tabular_fedrl.measured.Measured`) or balls give
    enclosures of the exact step.

    Raises
    ------
    InvalidProblem: weights out of range. Undecided: enclosures do not tell which action takes the leak.
    """
    c, outside = _anchor(log_pi, log_b, Q, alpha, beta)
    Q_top = _largest(Q, outside)
    gap = where(outside, 1.0, Q_top - Q)
    nu = _root(partial(_hard, c, gap, outside), partial(_hard, _mid(c), _mid(gap), outside), c, gap, 0.0)
    # nu and all that follows are relative to the largest Q of the support; nu > 0 exceeds the -1 of a state
    # in which no action is outside.
    leading = where(~outside, -1.0, Q - Q_top).max(axis=-1)
    p, _ = _hard(c, gap, outside, maximum(nu, leading))
    missing = maximum(1.0 - sum(p, axis=-1), 0.0)
    leaks = _upper(leading) >= _lower(nu)
    missing = where(~leaks, 0.0, missing)
    taker = _first_maximiser(Q, outside, leaks)
    share = where(~taker, 0.0, missing.reshape(*missing.shape, 1) + np.zeros(taker.shape))
    return p + share, maximum(nu, leading) + Q_top.reshape(nu.shape)


def entropy_forward_step(
    log_pi: Any, log_b: Any, Q: Any, alpha: Any, beta: Any, tau_H: Any
) -> tuple[Any, Any]:
    r"""The F-step with entropy weight :math:`\tau_H > 0`: probabilities ``(..., S, A)`` and :math:`\nu`
    ``(..., S)`` of :math:`Q + c/p - \tau_H\log p = \nu`. Types and errors as for :func:`forward_step`."""
    if not tau_H > 0:
        raise InvalidProblem(f"tau_H = {tau_H}: expected a positive entropy weight")
    c, outside = _anchor(log_pi, log_b, Q, alpha, beta)
    Q_top = _largest(Q, np.zeros(outside.shape, dtype=bool))
    gap = Q_top - Q
    soft, middle = (partial(_soft, x, y, outside, tau_H) for x, y in ((c, gap), (_mid(c), _mid(gap))))
    nu = _root(soft, middle, c, gap, tau_H)
    return soft(nu)[0], nu + Q_top.reshape(nu.shape)


# ---- the mass as a function of nu --------------------------------------------------------------------------
def _hard(c: Any, gap: Any, outside: Any, nu: Any) -> tuple[Any, Any]:
    room = where(outside, 1.0, nu.reshape(*nu.shape, 1) + gap)
    p = c / room
    return p, p / room


def _soft(c: Any, gap: Any, outside: Any, tau_H: Any, nu: Any) -> tuple[Any, Any]:
    u = (nu.reshape(*nu.shape, 1) + gap) / tau_H
    log_c = log(where(outside, 1.0, c) / tau_H)
    y = log_lambert(u + log_c)
    p = exp(where(outside, 0.0, log_c - y) + where(~outside, 0.0, -u))
    return p, p / (tau_H * (1.0 + where(outside, 0.0, exp(y))))


def log_lambert(z: Any) -> Any:
    """The y with ``exp(y) + y = z``, the logarithm of Lambert's function of ``exp(z)``."""
    x = _float(z)
    omega = wrightomega(x)
    y = np.asarray(x - omega)
    y[x > 1] = log(omega[x > 1])
    if not isinstance(z, Measured):
        return y
    found = Measured(y)
    for _ in range(_doublings()):
        found = (found - (exp(found) + found - z) / (1.0 + exp(found))).centre
    # The left side grows at least at rate 1, hence at least as at the left end of what that leaves.
    off = (exp(found) + found - z).abs()
    return found.widened((off / (1.0 + exp(found - off))).upper)


# ---- the root ----------------------------------------------------------------------------------------------
def _root(mass: Mass, middle: Mass, c: Any, gap: Any, tau_H: Any) -> Any:
    """The nu of mass 1. ``middle`` is the mass at the midpoints of the data, on which Newton's method runs;
    ``mass``, where it is enclosed, says how far the result is from the exact root."""
    nu = (_mid(c) - _mid(gap)).max(axis=-1)
    settled = 2.0 ** -((balls.working() or 53) // 2 + 5)
    for _ in range(MOST_STEPS):
        p, rate = middle(nu)
        excess = sum(p, axis=-1) - 1.0
        nu = nu + excess / sum(rate, axis=-1)
        nu = nu.centre if isinstance(nu, Balls) else nu
        # The excess shrinks quadratically: after this step there is nothing left to gain.
        if not (abs(_float(excess)) > settled).any():
            break
    else:
        raise SolverFailure(f"the F-step's multiplier was not found in {MOST_STEPS} Newton steps")
    if not isinstance(c, Measured):
        return nu
    found = Measured(nu)
    P = sum(mass(found)[0], axis=-1)
    off = (P - 1.0).abs()
    least = minimum(P, 1.0)
    reach = off * (tau_H * least + sum(c, axis=-1)) / (least * least)
    return found.widened((off / sum(mass(found + reach.upper)[1], axis=-1)).upper)


def _anchor(log_pi: Any, log_b: Any, Q: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    r""":math:`c = \alpha b + \beta\pi_k` ``(..., S, A)``, and where it is exactly 0."""
    alpha, beta = positive_weights(alpha, beta)
    tables = [_probabilities(x, Q) for x in (log_b, log_pi)]
    c = alpha * tables[0] + beta * tables[1]
    outside = (is_minus_infinity(log_b) | (not alpha > 0)) & (is_minus_infinity(log_pi) | (not beta > 0))
    if not isinstance(c, Measured):
        outside = c == 0  # an underflow counts as no support
    shape = np.broadcast_shapes(c.shape, Q.shape)
    outside = np.broadcast_to(outside, shape)
    return where(outside, 0.0, c + np.zeros(shape)), outside


def _probabilities(log_p: Any, Q: Any) -> Any:
    return enclosed(log_p)[1] if isinstance(Q, Measured) else exp(log_p)


def _largest(Q: Any, but: Any) -> Any:
    """One of the largest Q, ``(..., S, 1)``, leaving out ``but``: any entry near the maximum is as good an
    origin."""
    top = where(but, -np.inf, _float(Q)).argmax(axis=-1)
    return Q[(*np.indices(top.shape), top)].reshape(*top.shape, 1)


def _first_maximiser(Q: Any, outside: Any, leaks: Any) -> Any:
    """For each state the first action outside the support with the largest Q, as a mask; decided where the
    step leaks."""
    chosen = where(~outside, -np.inf, _float(Q)).argmax(axis=-1)
    mask = np.zeros(outside.shape, dtype=bool)
    mask[(*np.indices(chosen.shape), chosen)] = True
    if isinstance(Q, Measured):
        for place in np.argwhere(leaks):
            s = tuple(place)
            rivals = [a for a in np.flatnonzero(outside[s]) if a != chosen[s]]
            if not all(_behind(Q[s][a], Q[s][chosen[s]], a < chosen[s]) for a in rivals):
                raise Undecided(f"state {s[-1]}: which action outside the support has the largest Q is open")
    return mask & outside


def _behind(rival: Measured, best: Measured, earlier: bool) -> bool:
    """Whether an action comes after the chosen one: a smaller Q, or the same and a later place."""
    if isinstance(rival, Balls):
        return bool(rival < best) if earlier else bool(rival <= best)
    tie = float(rival.error) == 0 == float(best.error) and float(rival.value) == float(best.value)
    return bool(rival.upper < best.lower) or (tie and not earlier)


# ---- number systems ----------------------------------------------------------------------------------------
def _float(x: Any) -> Array:
    return x.value if isinstance(x, Measured) else np.asarray(x, dtype=np.float64)


def _mid(x: Any) -> Any:
    """The midpoints, to compute on with."""
    return x.centre if isinstance(x, Balls) else _float(x)


def _lower(x: Any) -> Array:
    return x.lower if isinstance(x, Measured) else x


def _upper(x: Any) -> Array:
    return x.upper if isinstance(x, Measured) else x


def _doublings() -> int:
    """Newton steps from float precision to the one at work."""
    return max(0, math.ceil(math.log2((balls.working() or 40) / 40)))
