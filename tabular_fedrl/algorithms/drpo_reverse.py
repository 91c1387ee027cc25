r"""The R-step of DRPO: reverse KL to the behaviour policy b and to the global policy :math:`\pi_k`.

**Lemma 1.** With :math:`\tau = \alpha + \beta`, :math:`w = \alpha/\tau`,

.. math:: \arg\max_p\; \langle p,Q\rangle - \alpha KL(p\|b) - \beta KL(p\|\pi_k)
          \;\propto\; b^w \pi_k^{1-w} e^{Q/\tau} \;\propto\; \pi_k e^{U/\tau}, \qquad
          U = Q + \alpha\ell, \quad \ell = \log(b/\pi_k) :

one natural-gradient step of size :math:`1/\tau` from the global policy on the pseudo-Q U (mark: *ours*).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import array, exp, is_minus_infinity, log, sum, where
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, log_softmax


def reverse_step(log_pi: Any, log_b: Any, Q: Any, alpha: Any, beta: Any) -> Any:
    r"""The log-policy of :math:`b^w \pi_k^{1-w} e^{Q/\tau}`, normalised.

    ``log_pi``, ``log_b``, ``Q``: floats or balls that broadcast against each other to ``(..., S, A)``.
    ``alpha = 0`` leaves out b and its support, ``beta = 0`` the global policy and its support.

    Raises
    ------
    InvalidProblem: weights out of range, or no common action in some state.
    """
    alpha, beta = positive_weights(alpha, beta)
    none, tilt = _tilt(log_pi, log_b, alpha, beta)
    logits = where(none, -np.inf, (tilt + Q) / (alpha + beta))
    return where(none, -np.inf, log_softmax(logits))


def enclosed_reverse_step(
    log_pi: Any, log_b: Any, Q: Any, alpha: Any, beta: Any
) -> tuple[Measured, Measured]:
    """Enclosures of the logarithm and the probabilities of the exact R-step of the policies that the floats
    stand for, with an enclosed critic; zeros as in :func:`tabular_fedrl.policies.enclosed`."""
    if balls.working():
        return enclosed(reverse_step(array(log_pi), array(log_b), array(Q), alpha, beta))
    none, _ = _tilt(log_pi, log_b, *positive_weights(alpha, beta))
    tilt = Measured(alpha) * enclosed(log_b)[0] + Measured(beta) * enclosed(log_pi)[0]
    logits = ((tilt + Q) / (Measured(alpha) + beta)).where(none, 0.0)
    none = none | np.zeros(logits.shape, dtype=bool)
    # Any shift is right: floats near the maximum will do.
    shift = where(none, -np.inf, logits.value).max(axis=-1, keepdims=True)
    weights = exp((logits - shift).where(none, 0.0)).where(none, 0.0)
    log_p = (logits - shift - log(sum(weights, axis=-1)).reshape(*none.shape[:-1], 1)).where(none, -800.0)
    return log_p, exp(log_p).where(none, 0.0)


def anchor(log_pi: Any, log_b: Any, alpha: Any, beta: Any) -> Any:
    r"""Lemma 2: :math:`m \propto b^w \pi_k^{1-w}`, the R-step of a critic that does not tell actions
    apart."""
    return reverse_step(log_pi, log_b, 0.0, alpha, beta)


def log_ratio(log_b: Any, log_pi: Any) -> Any:
    r""":math:`\ell = \log(b/\pi_k)`; 0 where both are 0, where it never counts."""
    neither = is_minus_infinity(log_b) & is_minus_infinity(log_pi)
    with np.errstate(invalid="ignore"):
        return where(neither, 0.0, log_b - log_pi)


def positive_weights(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Both weights in the number system at work, so that their sum is exact where it has to be.

    Raises
    ------
    InvalidProblem: one is negative, or none is positive.
    """
    if not (alpha >= 0 and beta >= 0 and (alpha > 0 or beta > 0)):
        raise InvalidProblem(
            f"alpha = {alpha}, beta = {beta}: expected weights from 0 on, at least one of them positive"
        )
    return (array(alpha), array(beta)) if balls.working() else (alpha, beta)


def _tilt(log_pi: Any, log_b: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    r"""Where the step has probability 0, and :math:`\alpha \log b + \beta \log \pi_k` (0 there). A weight of
    0 leaves its policy out, zeros included."""
    terms = [weight * log_p for weight, log_p in ((alpha, log_b), (beta, log_pi)) if weight > 0]
    tilt = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    none = is_minus_infinity(tilt)
    empty = none.all(axis=-1)
    if empty.any():
        s = int(np.argwhere(empty)[0][-1])
        raise InvalidProblem(f"state {s}: the behaviour and the global policy share no action")
    return none, where(none, 0.0, tilt)
