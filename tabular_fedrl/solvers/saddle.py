r"""The saddle point of the regularised Lagrangian (theory F4).

.. math:: \max_\pi \min_{\lambda \in [0,\Lambda]^M} L_\tau(\pi,\lambda) = V_r(\rho)
          - \sum_{(i,j)} \lambda_{ij} (V_{c_j}(\rho) - d_j) + \tau H(\pi) + \frac{\tau}{2}\sum_{(i,j)}
          \lambda_{ij}^2,

with :math:`H(\pi) = E\sum_t \gamma^t \mathcal H(\pi(\cdot|s_t))` and pairs (i, j) of an agent and a
constraint it sees. :math:`L_\tau` does not tell the :math:`n_j` observers of j apart, so their multipliers
are equal: :math:`\lambda_j`.

**Inner problem.** For fixed :math:`\lambda`, soft policy iteration
:math:`\pi \leftarrow \mathrm{softmax}(Q_\tau^\pi/\tau)`: monotone, quadratically convergent (it is Newton's
method on the soft Bellman equation).

**Outer problem.** The dual function :math:`g(\lambda) = \max_\pi L_\tau` is strongly convex with

.. math:: \partial_j g = n_j (d_j - V_{c_j} + \tau\lambda_j), \qquad
          \partial_j\partial_k g = \tau n_j 1_{j=k} + \frac{n_j n_k}{\tau(1-\gamma)} E_{d^\pi} \sum_a \pi
          A_{c_j} A_{c_k} ,

because :math:`d\log\pi = -\frac{n_j}{\tau} A_{c_j} d\lambda_j`: Newton's method on the box, with
backtracking.

**Error.** With residual :math:`\nu` (the distance of :math:`-\nabla g` from the normal cone of the box)
strong convexity gives :math:`\|\lambda-\lambda^*\| \le \|\nu\|/\tau`; the soft-optimal policy then moves by
at most :math:`2\|Q-Q^*\|_\infty/\tau` in log-probability. Marked *ours*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import concatenate, logsumexp
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.evaluation import (
    Values,
    average,
    entropy,
    evaluate,
    evaluate_soft,
    policy_values,
    rounding,
    visitation,
)
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import log_softmax, uniform

SOFT_ITERATIONS = 500
NEWTON_STEPS = 200


@dataclass(frozen=True)
class Saddle:
    r"""The regularised saddle point.

    ``log_policy (S, A)``; ``multipliers (N, m)``, nan where unseen; ``value``: enclosure of :math:`L_\tau` at
    the saddle; ``residual``: Euclidean norm over the pairs of the first-order residual in the multipliers, in
    units of value; ``multiplier_error``: rigorous bound on the Euclidean distance (over the pairs) from the
    exact multipliers; ``log_policy_error``: rigorous bound on :math:`\max_{s,a} |\log\pi - \log\pi^*|`.
    """

    log_policy: Array
    multipliers: Any
    value: Measured
    residual: float
    multiplier_error: float
    log_policy_error: float


@dataclass(frozen=True)
class _Inner:
    """The soft-optimal policy at multipliers ``lam (m,)``, its dual value g and what Newton's method
    needs."""

    lam: Array
    log_pi: Array
    dual: float
    gradient: Array


def saddle(problem: CMDP | FederatedCMDP, tau: float, dual_cap: Any) -> Saddle:
    r"""The saddle point for entropy weight and dual weight ``tau > 0`` and multipliers in ``[0, dual_cap]``.

    Raises
    ------
    InvalidProblem: ``tau`` or ``dual_cap`` is not positive and finite.
    SolverFailure: Newton's method stops above a residual of 1e-8 of the values' size.
    """
    for name, x in (("tau", tau), ("dual_cap", dual_cap)):
        if not 0 < x < np.inf:
            raise InvalidProblem(f"{name} = {x!r} must be positive and finite")
    shared = federated(problem)
    if shared.cmdp.is_exact:
        return _near(shared, tau, Balls.of(dual_cap))
    cmdp, weights = shared.cmdp, shared.observers.astype(np.float64)
    point = _minimise(cmdp, weights, tau, dual_cap)
    residual, multiplier_error, log_error = _errors(cmdp, weights, tau, dual_cap, point)
    multipliers = np.where(shared.mask, point.lam, np.nan)
    return Saddle(
        point.log_pi,
        multipliers,
        _value(cmdp, weights, tau, dual_cap, point),
        residual,
        multiplier_error,
        log_error,
    )


def _near(shared: FederatedCMDP, tau: float, cap: Balls) -> Saddle:
    r"""For a problem of exact data: the float saddle point, taken as it is, with its duality gap in balls.

    ``value`` lies between :math:`\min_\lambda L_\tau(\hat\pi, \lambda)` and
    :math:`\max_\pi L_\tau(\pi, \hat\lambda) \le V_\tau(\rho) + \max_s (T V_\tau - V_\tau)/(1-\gamma)`,
    T the soft Bellman operator at :math:`\hat\lambda`. The distance of the multipliers follows from strong
    convexity; that of the policy is not bounded.
    """
    cmdp, weights = shared.cmdp, shared.observers.astype(np.float64)
    with balls.floats():
        point = saddle(FederatedCMDP(cmdp.floats(), shared.visible), tau, float(cap.value))
    found = np.nan_to_num(point.multipliers).max(axis=0)
    lam = Balls(found).minimum(cap)
    penalised = Balls.of(cmdp.r) - (Balls.of(cmdp.c) * (lam * weights).reshape(-1, 1, 1)).sum(0)
    signals = concatenate([penalised[None], cmdp.signals])
    soft = evaluate_soft(cmdp, point.log_policy, signals[:2], tau)
    best = logsumexp(soft.Q[0] / tau).reshape(-1) * tau
    rise = (best - soft.V[0]).max() / (Balls(1) - cmdp.gamma)
    above = soft.at_rho[0] + rise + (weights * (lam * cmdp.d + lam * lam * (tau / 2))).sum()
    excess = evaluate(cmdp, point.log_policy, cmdp.signals).at_rho[1:] - cmdp.d
    worst = (excess / tau).maximum(0.0).minimum(cap)
    below = soft.at_rho[1] + (weights * (worst * worst * (tau / 2) - worst * excess)).sum()
    value = Measured.between(below, above)
    far = float(np.sqrt(2 * float(value.upper - value.lower) / tau)) * (1 + 8 * UNIT)
    multipliers = (lam + np.zeros(shared.mask.shape)).where(~shared.mask, np.nan)
    return Saddle(point.log_policy, multipliers, value, np.inf, far, np.inf)


def soft_optimum(cmdp: CMDP, reward: Array, tau: float, start: Array | None = None) -> Array:
    r"""The log-policy that maximises :math:`V_f(\rho) + \tau H(\pi)` (from every state), by soft policy
    iteration."""
    log_pi = uniform(cmdp.S, cmdp.A) if start is None else start
    best, smallest, idle = log_pi, np.inf, 0
    for _ in range(SOFT_ITERATIONS):
        bonus = tau * entropy(log_pi).value[:, None]
        _, Q = policy_values(cmdp, log_pi, (reward + bonus)[None])
        improved = log_softmax((Q[0] - bonus) / tau)
        change = float(np.abs(np.exp(improved) - np.exp(log_pi)).max())
        log_pi = improved
        noise = 64 * UNIT * (1 + float(np.abs(Q).max()) / (tau * (1 - cmdp.gamma)))
        idle = idle + 1 if change >= smallest else 0
        if idle and (smallest <= max(noise, 1e-12) or (idle >= 30 and smallest <= 1e-4)):
            return best  # rounding keeps it moving: the caller's bounds say by how much
        if change < smallest:
            best, smallest = log_pi, change
    raise SolverFailure(
        f"soft policy iteration has not settled after {SOFT_ITERATIONS} steps (tau = {tau:g})"
    )


def _minimise(cmdp: CMDP, weights: Array, tau: float, cap: float) -> _Inner:
    """Minimise the dual function over the box by Newton's method with backtracking."""
    point = _inner(cmdp, weights, tau, np.zeros(cmdp.m), None)
    if cmdp.m == 0:
        return point
    scale = float(np.abs(cmdp.c).max()) / (1 - cmdp.gamma) + float(np.abs(cmdp.d).max())
    best, stalled = point, 0
    for _ in range(NEWTON_STEPS):
        trial = _line_search(cmdp, weights, tau, cap, point)
        if trial is None:
            break
        # Near the solution the dual value no longer resolves the progress, the residual still does.
        resolved = point.dual - trial.dual > 1e-12 * scale
        better = _residual(trial, cap, weights) < 0.5 * _residual(best, cap, weights)
        stalled = 0 if resolved or better else stalled + 1
        point = trial
        if _residual(point, cap, weights) < _residual(best, cap, weights):
            best = point
        if stalled == 3 or _residual(best, cap, weights) <= 4 * UNIT * scale:
            break
    size = _residual(best, cap, weights)
    if size > 1e-8 * scale:
        raise SolverFailure(
            f"the regularised saddle point was not reached: residual {size:.2e} (tau = {tau:g})"
        )
    return best


def _line_search(cmdp: CMDP, weights: Array, tau: float, cap: float, point: _Inner) -> _Inner | None:
    """Newton's step, halved until the dual function decreases along it; None if it never does."""
    step = _newton_step(cmdp, weights, tau, cap, point)
    slope = float(point.gradient @ step)
    length = 1.0
    while length > 1e-12 and slope < 0:
        trial = _inner(cmdp, weights, tau, np.clip(point.lam + length * step, 0.0, cap), point.log_pi)
        decrease, derivative = point.dual - trial.dual, float(trial.gradient @ step)
        # A convex function that still decreases at the trial point is lower there: the derivative decides
        # where rounding hides the decrease.
        hidden = abs(decrease) <= 1e-11 * (1 + abs(point.dual)) and derivative <= -0.1 * slope
        if derivative <= 0 or decrease >= -1e-4 * length * slope or hidden:
            return trial
        length *= 0.5
    return None


def _inner(cmdp: CMDP, weights: Array, tau: float, lam: Array, start: Array | None) -> _Inner:
    reward = cmdp.r - np.tensordot(weights * lam, cmdp.c, axes=1)
    log_pi = soft_optimum(cmdp, reward, tau, start)
    bonus = tau * entropy(log_pi).value[:, None]
    V, _ = policy_values(cmdp, log_pi, np.concatenate([(reward + bonus)[None], cmdp.c]))
    at_rho = V @ cmdp.rho
    dual = float(at_rho[0] + (weights * lam) @ cmdp.d + tau / 2 * weights @ lam**2)
    return _Inner(lam, log_pi, dual, weights * (cmdp.d - at_rho[1:] + tau * lam))


def _newton_step(cmdp: CMDP, weights: Array, tau: float, cap: float, point: _Inner) -> Array:
    """Minimise the quadratic model over the box: a bounded least-squares problem in the Cholesky factor."""
    V, Q = policy_values(cmdp, point.log_pi, cmdp.c)
    advantage = weights[:, None, None] * (Q - V[..., None])
    x = visitation(cmdp, point.log_pi).value[:, None] * np.exp(point.log_pi)
    spread = np.einsum("sa,jsa,ksa->jk", x, advantage, advantage)
    hessian = tau * np.diag(weights) + spread / (tau * (1 - cmdp.gamma))
    factor = np.linalg.cholesky(hessian)
    target = -np.linalg.solve(factor, point.gradient)
    low, high = -point.lam, cap - point.lam
    step = lsq_linear(factor.T, target, (low, high), method="bvls", tol=1e-15).x
    return np.clip(step, low, high)


def _residual(point: _Inner, cap: float, weights: Array) -> float:
    """Norm over the pairs of the part of the gradient that the box does not excuse."""
    per_pair = point.gradient / weights
    per_pair = np.where((point.lam <= 0) & (per_pair > 0), 0.0, per_pair)
    per_pair = np.where((point.lam >= cap) & (per_pair < 0), 0.0, per_pair)
    return float(np.sqrt(weights @ per_pair**2))


def _soft_gap(cmdp: CMDP, weights: Array, tau: float, point: _Inner) -> tuple[float, float]:
    r"""Rigorous bounds on :math:`\|V^*_\lambda - \hat V\|_\infty` (soft values at these multipliers;
    :math:`\hat V` the evaluated floats) and :math:`\max|\log\pi - \log\pi^*_\lambda|`."""
    reward = cmdp.r - np.tensordot(weights * point.lam, cmdp.c, axes=1)
    soft = evaluate_soft(cmdp, point.log_pi, reward[None], tau)
    V, Q = soft.V.value[0], soft.Q.value[0]
    shift = Q.max(axis=1)
    best = shift + tau * np.log(np.exp((Q - shift[:, None]) / tau).sum(axis=1))
    # V and Q are taken as float functions: V* is within |T V - V|/(1-gamma) of V, T's rounding included.
    terms = np.abs(cmdp.r) + np.tensordot(weights * point.lam, np.abs(cmdp.c), axes=1)
    noise = float(rounding(cmdp, reward[None], V[None])[0]) + (cmdp.m + 8) * UNIT * float(terms.max())
    noise += (cmdp.A + 16) * UNIT * (float(np.abs(best).max()) + tau * (1 + np.log(cmdp.A)))
    noise += 4 * UNIT * float(np.abs(Q).max())
    off = (float(np.abs(best - V).max()) + noise) / (1 - cmdp.gamma)
    q_off = cmdp.gamma * off + noise
    greedy = log_softmax(Q / tau)
    log_off = float(np.abs(greedy - point.log_pi).max()) + 8 * UNIT * float(1 + np.abs(Q).max() / tau)
    return off, log_off + 2 * q_off / tau


def _errors(cmdp: CMDP, weights: Array, tau: float, cap: float, point: _Inner) -> tuple[float, float, float]:
    """Residual, and rigorous bounds on the errors of the multipliers and of the log-policy."""
    _, log_off = _soft_gap(cmdp, weights, tau, point)
    if cmdp.m == 0:
        return 0.0, 0.0, log_off
    costs = evaluate(cmdp, point.log_pi, cmdp.c)
    reach = _reach(cmdp, point.log_pi, costs, log_off)
    slack = (Measured(cmdp.d) - costs.at_rho) + tau * Measured(point.lam)
    slack = Measured(slack.value, slack.error + reach)
    free = np.maximum(np.abs(slack.lower), np.abs(slack.upper))
    at_zero, at_cap = np.maximum(-slack.lower, 0.0), np.maximum(slack.upper, 0.0)
    per_pair = np.where(point.lam <= 0, at_zero, np.where(point.lam >= cap, at_cap, free))
    multiplier_error = float(np.sqrt(weights @ per_pair**2)) / tau * (1 + 1e-12)
    # |Q*_lam - Q*_lam*| <= sum_pairs |lam - lam*| max|c_j| / (1-gamma), by Cauchy-Schwarz over the pairs
    top = np.abs(cmdp.c).max(axis=(1, 2))
    moved = multiplier_error * float(np.sqrt(weights @ top**2)) / (1 - cmdp.gamma)
    return _residual(point, cap, weights), multiplier_error, (log_off + 2 * moved / tau) * (1 + 1e-12)


def _reach(cmdp: CMDP, log_pi: Array, costs: Values, log_off: float) -> Array:
    r"""Bound ``(m,)`` on the change of :math:`V_c(\rho)` when log-probabilities change by at most
    ``log_off``.

    Performance difference: :math:`(1-\gamma)|V_c' - V_c| \le E_{d'} \sum_a |\pi'-\pi| |A_c|` with
    :math:`|\pi'-\pi| \le \epsilon\pi`, :math:`\epsilon = e^{\text{log\_off}} - 1`, and
    :math:`\|d'-d\|_1 \le \frac{2\gamma}{1-\gamma} \frac{\epsilon}{2}` (occupancy perturbation).
    """
    advantage = costs.advantage
    size = (np.exp(log_pi) * np.maximum(np.abs(advantage.lower), np.abs(advantage.upper))).sum(axis=-1)
    far = float(np.expm1(log_off))
    mean = average(visitation(cmdp, log_pi), size).upper
    drift = cmdp.gamma * far / (1 - cmdp.gamma) * size.max(axis=-1)
    return np.asarray(far * (mean + drift) / (1 - cmdp.gamma) * (1 + 1e-9))


def _value(cmdp: CMDP, weights: Array, tau: float, cap: float, point: _Inner) -> Measured:
    """Weak duality: between the least over multipliers at the policy and the most over policies at the
    multipliers."""
    reward = cmdp.r - np.tensordot(weights * point.lam, cmdp.c, axes=1)
    soft = evaluate_soft(cmdp, point.log_pi, np.concatenate([cmdp.r[None], reward[None]]), tau).at_rho
    lam = Measured(point.lam)
    above = soft[1] + (Measured(weights) * (lam * cmdp.d + (tau / 2) * lam * lam)).sum()
    upper = (above + Measured(0.0, _soft_gap(cmdp, weights, tau, point)[0])).upper
    excess = (evaluate(cmdp, point.log_pi, cmdp.c).at_rho if cmdp.m else Measured(np.zeros(0))) - cmdp.d
    best = (excess / tau).maximum(0.0).minimum(cap)
    below = soft[0] + (Measured(weights) * ((tau / 2) * best * best - best * excess)).sum()
    return Measured.between(below.lower, upper)
