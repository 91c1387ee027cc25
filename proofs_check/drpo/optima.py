r"""Regularised optima of many models at once, in plain floats, by policy iteration.

With a penalty per state the optimum of :math:`E_{\hat d^\pi}[\langle\pi,r\rangle - \mathrm{penalty}(\pi)]` is
the fixed point of "evaluate exactly, then take the best step against the action values": Newton's method for
the optimality equation, which improves in every step. All arrays have the model first, ``B`` of them; rows of
P may sum to less than 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import wrightomega

from proofs_check.drpo.ensembles import state_values
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.measured import Array

MOST_STEPS = 200


def kl_optimum(
    P: Array, r: Array, gamma: float, b: Array, pi: Array, alpha: float, beta: float
) -> tuple[Array, Array]:
    r"""Theorem D's :math:`\pi^+` ``(B, S, A)`` with the penalty
    :math:`\alpha KL(\pi\|b) + \beta KL(\pi\|\pi_k)`, and the penalty ``(B, S)`` it pays."""
    tau = alpha + beta
    with np.errstate(divide="ignore"):
        anchor = (alpha * np.log(b) + beta * np.log(pi)) / tau

    def step(Q: Array) -> Array:
        return normalised(anchor + Q / tau)

    def penalty(p: Array) -> Array:
        return alpha * divergence(p, b) + beta * divergence(p, pi)

    return _iterate(P, r, gamma, step, penalty)


def cql_optimum(
    P: Array, r: Array, gamma: float, b: Array, pi: Array, lam: float, beta: float
) -> tuple[Array, Array]:
    r"""Theorem G's :math:`\pi^+` with the penalty :math:`\lambda\chi^2(\pi\|b) + \beta KL(\pi\|\pi_k)`, both
    weights positive, and the penalty it pays."""

    def step(Q: Array) -> Array:
        return cql_step(Q, b, pi, lam, beta)

    def penalty(p: Array) -> Array:
        return lam * chi_squared(p, b) + beta * divergence(p, pi)

    return _iterate(P, r, gamma, step, penalty)


def cql_step(Q: Array, b: Array, pi: Array, lam: float, beta: float) -> Array:
    r"""The law that maximises :math:`\langle p,Q\rangle - \lambda\chi^2(p\|b) - \beta KL(p\|\pi_k)` in every
    state.

    Stationarity, :math:`2\lambda p/b + \beta\log(p/\pi_k) = Q - \nu`, says that :math:`y = 2\lambda
    p/(\beta b)` solves :math:`y + \log y = (Q-\nu)/\beta + \log(2\lambda\pi_k/(\beta b))`: Wright's omega
    function. The mass is convex and decreasing in :math:`\nu`, so that Newton's method climbs to mass 1 from
    the left, where one action alone has all of it.
    """
    b, pi = (np.broadcast_to(x, Q.shape) for x in (b, pi))
    held = (b > 0) & (pi > 0)
    b_, log_pi = np.where(held, b, 1.0), np.log(np.where(held, pi, 1.0))
    scale = beta * b_ / (2 * lam)
    tilt = np.where(held, Q / beta + log_pi - np.log(scale), -np.inf)
    nu = np.where(held, Q - 2 * lam / b_ + beta * log_pi, -np.inf).max(axis=-1, keepdims=True) / beta
    for _ in range(MOST_STEPS):
        y = wrightomega(tilt - nu)
        p = scale * y
        off = p.sum(axis=-1, keepdims=True) - 1.0
        before, nu = nu, nu + np.maximum(off, 0.0) / (p / (1.0 + y)).sum(axis=-1, keepdims=True)
        # Steps shrink quadratically until they are lost in rounding.
        if (nu <= before).all() or off.max() <= 1e-14 * Q.shape[-1]:
            return np.asarray(p / p.sum(axis=-1, keepdims=True))
    raise SolverFailure(f"the CQL step's multiplier was not found in {MOST_STEPS} Newton steps")


def normalised(logits: Array) -> Array:
    """Softmax over the last axis; ``-inf`` is outside the support."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def divergence(p: Array, q: Array) -> Array:
    """``KL(p||q)``, infinite where p is not absolutely continuous."""
    q = np.broadcast_to(q, p.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    return np.asarray(terms.sum(axis=-1))


def chi_squared(p: Array, q: Array) -> Array:
    r""":math:`\chi^2(p\|q)`, infinite where p is not absolutely continuous."""
    q = np.broadcast_to(q, p.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where((p == 0) & (q == 0), 0.0, (p - q) ** 2 / q)
    return np.asarray(terms.sum(axis=-1))


def _iterate(
    P: Array,
    r: Array,
    gamma: float,
    step: Callable[[Array], Array],
    penalty: Callable[[Array], Array],
) -> tuple[Array, Any]:
    p = step(np.zeros_like(r))
    V = np.full(r.shape[:2], -np.inf)
    for _ in range(MOST_STEPS):
        paid = penalty(p)
        before, V = V, state_values(P, gamma, p, r - paid[..., None])
        # Values increase until rounding is all that is left.
        if (V - before <= 1e-13 * (1.0 + np.abs(V))).all():
            return p, paid
        p = step(r + gamma * np.matmul(P, V[:, None, :, None])[..., 0])
    raise SolverFailure(f"policy iteration has not settled after {MOST_STEPS} steps")
