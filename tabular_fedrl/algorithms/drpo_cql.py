r"""Reading G of DRPO: the first regulariser is CQL's penalty in the critic.

A client goes to the optimum of :math:`J(\pi) - \frac1{1-\gamma} E_{d^\pi}[\lambda\chi^2(\pi\|b) +
\beta KL(\pi\|\pi_k)]`: of all policies the one of the largest exact CQL value, less its divergence from the
server's (Theorem G; mark: *ours*). To alternate between CQL evaluation and proximal steps comes to rest
elsewhere: the critic's pull at a policy is :math:`\lambda\pi/b`, the slope of the penalty twice that. In one
state

.. math:: \arg\max_p\; \langle p,Q\rangle - \lambda\chi^2(p\|b) - \beta KL(p\|\pi_k): \qquad
          p = \tfrac{\beta b}{2\lambda} W(e^z), \quad
          z = \tfrac{Q - \nu}{\beta} + \log\tfrac{2\lambda\pi_k}{\beta b},

W Lambert's function, :math:`\nu` such that p sums to 1. In floats.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.drpo_forward import MOST_STEPS, log_lambert
from tabular_fedrl.algorithms.drpo_reverse import anchor, reverse_step
from tabular_fedrl.arithmetic import exp, is_minus_infinity, log, sum, where
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.measured import UNIT, Array
from tabular_fedrl.policies import kl

IMPROVEMENTS = 500


def cql_step(log_pi: Array, log_b: Array, Q: Array, lam: float, beta: float) -> Array:
    r"""The log-policy ``(..., S, A)`` of the step above, for :math:`\lambda \ge 0, \beta > 0`; on the common
    support.

    Raises
    ------
    InvalidProblem: weights out of range, exact arithmetic, or no common action in some state.
    """
    if not (lam >= 0 and beta > 0) or balls.working():
        raise InvalidProblem(
            f"cql = {lam}, beta = {beta}: reading G runs in floats, with cql from 0 on and a positive beta"
        )
    start = anchor(log_pi, log_b, 1.0, 1.0)  # says where both are positive, and complains if nowhere
    none = is_minus_infinity(start)
    if lam == 0:
        return reverse_step(where(none, -np.inf, log_pi), log_b, Q, 0.0, beta)
    lp, lb, q = (where(none, 0.0, x) for x in (log_pi, log_b, Q + np.zeros(start.shape)))
    # Newton from the left on the convex, decreasing mass: at this nu some p is 1 and none is larger.
    nu = where(none, -np.inf, q - 2 * lam * exp(-lb) + beta * lp).max(axis=-1)
    scale = log(np.array(beta / (2 * lam)))
    for _ in range(MOST_STEPS):
        y = log_lambert((q - nu[..., None]) / beta + lp - lb - scale)
        log_p = y + lb + scale
        p = where(none, 0.0, exp(log_p))
        excess = sum(p, axis=-1) - 1.0
        nu = nu + excess / sum(p / (beta * (1.0 + exp(y))), axis=-1)
        # No closer than the exponent's rounding allows.
        size = ((abs(q) + abs(nu[..., None])) / beta + abs(lp) + abs(lb)).max(axis=-1)
        if not (abs(excess) > 1e-13 + 8 * UNIT * size).any():
            return where(none, -np.inf, log_p - log(1.0 + excess)[..., None])
    raise SolverFailure(f"the step's multiplier was not found in {MOST_STEPS} Newton steps")


def cql_optimum(cmdp: CMDP, log_b: Array, log_pi: Array, lam: float, beta: float) -> Array:
    """The log-policy ``(S, A)`` of reading G, by regularised policy iteration.

    Raises
    ------
    InvalidProblem: as for :func:`cql_step`. SolverFailure: no end after :data:`IMPROVEMENTS` improvements.
    """
    policy = cql_step(log_pi, log_b, np.zeros(log_pi.shape), lam, beta)
    reached = np.full(cmdp.S, -np.inf)
    for _ in range(IMPROVEMENTS):
        penalty = lam * excess_squares(policy, log_b) + beta * kl(policy, log_pi)
        V, Q = policy_values(cmdp, policy, (cmdp.r - penalty[:, None])[None])
        # In every state, also where the client's model never goes: another client's policy may go there. A
        # residual at rounding level leaves values this far from exact: less is no improvement.
        noise = 1e-13 * (1 + abs(V[0])) + 8 * UNIT * cmdp.horizon * abs(V[0]).max()
        if (V[0] <= reached + noise).all():
            # The newest: values are flat at the optimum, so one that falls short by noise is off by its root.
            return policy
        reached = V[0]
        policy = cql_step(log_pi, log_b, Q[0], lam, beta)
    raise SolverFailure(f"reading G's optimum was not found in {IMPROVEMENTS} improvements")


def excess_squares(log_p: Array, log_b: Array) -> Array:
    r""":math:`\chi^2(p\|b)` of log-policies, 0/0 = 0."""
    none = is_minus_infinity(log_p)
    ratio = where(none, 0.0, exp(where(none, 0.0, 2 * where(none, 0.0, log_p) - log_b)))
    return sum(ratio, axis=-1) - 1.0
