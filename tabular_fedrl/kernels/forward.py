r"""The steps of DRPO that take a root in every state, in lanes: the F-step, with and without entropy, and the
step of reading G; the formulas are those of ``algorithms/drpo_forward.py`` and ``drpo_cql.py``.

Newton's method climbs to the multiplier from the left, all lanes of a state together; a lane that has arrived
stays where it is, so that its neighbours do not change its result. One that does not arrive becomes NaN.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.lanes import compiled, exp, log, log_softmax
from tabular_fedrl.kernels.offline import log_probability
from tabular_fedrl.measured import Array

MOST_STEPS = 200
"""Newton's steps are monotone and number about ten."""

SETTLED = 2.0**-31
"""An excess of mass whose square is nothing."""

ROUNDING = 2.0**-50
"""Of an exponent, in units of its terms."""

LAMBERT_STEPS = 6
"""Newton steps from the start of :func:`log_lambert` to its rounding."""


@compiled
def log_lambert(z: Array, y: Array) -> None:
    """The ``y`` with ``exp(y) + y = z``, arrays ``(A, W)``: the logarithm of Lambert's function of
    ``exp(z)``.

    Newton's method descends from the right on a convex function.
    """
    A, W = z.shape
    for a in range(A):
        for w in range(W):
            y[a, w] = z[a, w] if z[a, w] < 1.0 else log(z[a, w])
        for _ in range(LAMBERT_STEPS):
            for w in range(W):
                power = exp(y[a, w])
                y[a, w] -= (power + y[a, w] - z[a, w]) / (1.0 + power)


@compiled
def forward_step(pi: Array, log_b: Array, Q: Array, alpha: Array, beta: Array, out: Array, p: Array) -> None:
    r"""The F-step: probabilities ``p`` and their logarithms ``out``. ``alpha``, ``beta``: ``(W,)``."""
    S, A, W = p.shape
    c, gap = np.empty((A, W)), np.empty((A, W))
    top, leading, nu = np.empty(W), np.empty(W), np.empty(W)
    mass, rate, going = np.empty(W), np.empty(W), np.empty(W)
    for s in range(S):
        _anchor(s, pi, log_b, alpha, beta, c)
        for w in range(W):
            top[w], leading[w], nu[w], going[w] = -np.inf, -1.0, -np.inf, 1.0
        for a in range(A):
            for w in range(W):
                x = Q[s, a, w] if c[a, w] > 0.0 else -np.inf
                top[w] = x if x > top[w] else top[w]
        for a in range(A):
            for w in range(W):
                gap[a, w] = top[w] - Q[s, a, w] if c[a, w] > 0.0 else 1.0
                x = c[a, w] - gap[a, w]
                nu[w] = nu[w] if x <= nu[w] else x
                x = -1.0 if c[a, w] > 0.0 else Q[s, a, w] - top[w]
                leading[w] = x if x > leading[w] else leading[w]
        for _ in range(MOST_STEPS):
            for w in range(W):
                mass[w], rate[w] = 0.0, 0.0
            for a in range(A):
                for w in range(W):
                    per_room = 1.0 / (nu[w] + gap[a, w])
                    x = c[a, w] * per_room
                    mass[w] += x
                    rate[w] += x * per_room
            if not _climb(mass, rate, SETTLED, nu, going):
                break
        for w in range(W):
            nu[w] = np.nan if going[w] > 0.0 else nu[w]
            # Beyond nu lies what an action outside the support offers: it takes the mass that is left.
            leaks = leading[w] >= nu[w]
            nu[w] = leading[w] if leaks else nu[w]
            mass[w] = 0.0
            going[w] = 1.0 if leaks else 0.0
        for a in range(A):
            for w in range(W):
                x = c[a, w] / (nu[w] + gap[a, w])
                p[s, a, w] = x
                mass[w] += x
        for a in range(A):
            for w in range(W):
                takes = going[w] > 0.0 and c[a, w] == 0.0 and Q[s, a, w] - top[w] == leading[w]
                p[s, a, w] += max(1.0 - mass[w], 0.0) if takes else 0.0
                going[w] = 0.0 if takes else going[w]
                out[s, a, w] = log_probability(p[s, a, w])


@compiled
def entropy_step(
    pi: Array, log_b: Array, Q: Array, alpha: Array, beta: Array, tau: Array, out: Array, p: Array
) -> None:
    r"""The F-step with entropy weights ``tau (W,)``: probabilities ``p`` and their logarithms ``out``."""
    S, A, W = p.shape
    c, gap, log_c = np.empty((A, W)), np.empty((A, W)), np.empty((A, W))
    u, z, y = np.empty((A, W)), np.empty((A, W)), np.empty((A, W))
    top, nu = np.empty(W), np.empty(W)
    mass, rate, going = np.empty(W), np.empty(W), np.empty(W)
    for s in range(S):
        _anchor(s, pi, log_b, alpha, beta, c)
        for w in range(W):
            top[w], nu[w], going[w] = -np.inf, -np.inf, 1.0
        for a in range(A):
            for w in range(W):
                top[w] = top[w] if Q[s, a, w] <= top[w] else Q[s, a, w]
        for a in range(A):
            for w in range(W):
                gap[a, w] = top[w] - Q[s, a, w]
                log_c[a, w] = log(c[a, w] / tau[w]) if c[a, w] > 0.0 else 0.0
                x = c[a, w] - gap[a, w]
                nu[w] = nu[w] if x <= nu[w] else x
        for _ in range(MOST_STEPS):
            _soft(c, gap, log_c, tau, nu, u, z, y)
            for w in range(W):
                mass[w], rate[w] = 0.0, 0.0
            for a in range(A):
                for w in range(W):
                    inside = c[a, w] > 0.0
                    x = exp(log_c[a, w] - y[a, w] if inside else -u[a, w])
                    power = exp(y[a, w])
                    mass[w] += x
                    rate[w] += x / (tau[w] * (1.0 + (power if inside else 0.0)))
            if not _climb(mass, rate, SETTLED, nu, going):
                break
        _soft(c, gap, log_c, tau, nu, u, z, y)
        for a in range(A):
            for w in range(W):
                x = log_c[a, w] - y[a, w] if c[a, w] > 0.0 else -u[a, w]
                x = np.nan if going[w] > 0.0 else x
                out[s, a, w] = x
                p[s, a, w] = exp(x)


@compiled
def _soft(c: Array, gap: Array, log_c: Array, tau: Array, nu: Array, u: Array, z: Array, y: Array) -> None:
    r""":math:`u = (\nu - Q)/\tau_H` and the y with :math:`p = (c/\tau_H) e^{-y}`; tables ``(A, W)``."""
    A, W = c.shape
    for a in range(A):
        for w in range(W):
            u[a, w] = (nu[w] + gap[a, w]) / tau[w]
            z[a, w] = u[a, w] + log_c[a, w]
    log_lambert(z, y)


@compiled
def cql_step(
    log_pi: Array, log_b: Array, Q: Array, lam: Array, beta: Array, scratch: Array, out: Array, p: Array
) -> None:
    r"""The step of reading G with weights ``lam``, ``beta`` ``(W,)``, on the common support: log-policy
    ``out``, probabilities ``p``. ``scratch``: ``(2, W)``."""
    S, A, W = p.shape
    z, y = np.empty((A, W)), np.empty((A, W))
    nu, size, scale = np.empty(W), np.empty(W), np.empty(W)
    mass, rate, going = np.empty(W), np.empty(W), np.empty(W)
    for w in range(W):
        # Without the penalty the step is the R-step, which needs no root.
        scale[w] = log(0.5 * beta[w] / lam[w]) if lam[w] > 0.0 else 0.0
    for s in range(S):
        for w in range(W):
            nu[w], going[w] = -np.inf, 1.0 if lam[w] > 0.0 else 0.0
        for a in range(A):
            for w in range(W):
                lp, lb = log_pi[s, a, w], log_b[s, a, w]
                inside = lp != -np.inf and lb != -np.inf
                x = Q[s, a, w] - 2.0 * lam[w] * exp(-lb) + beta[w] * lp if inside else -np.inf
                nu[w] = nu[w] if x <= nu[w] else x
        for _ in range(MOST_STEPS):
            for w in range(W):
                mass[w], rate[w], size[w] = 0.0, 0.0, 0.0
            for a in range(A):
                for w in range(W):
                    lp, lb = log_pi[s, a, w], log_b[s, a, w]
                    inside = lp != -np.inf and lb != -np.inf
                    x = (Q[s, a, w] - nu[w]) / beta[w] + lp - lb - scale[w]
                    z[a, w] = x if inside else 0.0
            log_lambert(z, y)
            for a in range(A):
                for w in range(W):
                    lp, lb = log_pi[s, a, w], log_b[s, a, w]
                    inside = lp != -np.inf and lb != -np.inf
                    x = y[a, w] + lb + scale[w] if inside else -np.inf
                    out[s, a, w] = x if going[w] > 0.0 else out[s, a, w]
                    x, power = exp(x), exp(y[a, w])
                    mass[w] += x
                    rate[w] += x / (beta[w] * (1.0 + power))
                    x = (abs(Q[s, a, w]) + abs(nu[w])) / beta[w] + abs(lp) + abs(lb) if inside else 0.0
                    size[w] = x if x > size[w] else size[w]
            left = False
            for w in range(W):
                excess = mass[w] - 1.0
                # No closer than the exponent's rounding allows.
                moves = going[w] > 0.0 and abs(excess) > 1e-13 + ROUNDING * size[w]
                nu[w] += excess / rate[w] if moves else 0.0
                going[w] = 1.0 if moves else 0.0
                left = left or moves
            if not left:
                break
        for a in range(A):
            for w in range(W):
                lp, lb = log_pi[s, a, w], log_b[s, a, w]
                inside = lp != -np.inf and lb != -np.inf
                x = out[s, a, w] if lam[w] > 0.0 else lp + Q[s, a, w] / beta[w]
                x = x if inside else -np.inf
                out[s, a, w] = np.nan if going[w] > 0.0 else x
    log_softmax(out, p, scratch)


@compiled
def _anchor(s: int, pi: Array, log_b: Array, alpha: Array, beta: Array, c: Array) -> None:
    r""":math:`c = \alpha b + \beta\pi_k` ``(A, W)`` in state s."""
    A, W = c.shape
    for a in range(A):
        for w in range(W):
            c[a, w] = alpha[w] * exp(log_b[s, a, w]) + beta[w] * pi[s, a, w]


@compiled
def _climb(mass: Array, rate: Array, settled: float, nu: Array, going: Array) -> bool:
    """One Newton step of the lanes that are still going, and whether any goes on."""
    left = False
    for w in range(nu.size):
        excess = mass[w] - 1.0
        nu[w] += excess / rate[w] if going[w] > 0.0 else 0.0
        goes = going[w] > 0.0 and abs(excess) > settled
        going[w] = 1.0 if goes else 0.0
        left = left or goes
    return left
