r"""The critics of DRPO that carry a regulariser, and the regularised optimum.

All of one MDP, true or empirical; ``cmdp.r`` is the reward, constraints are not looked at. Every result is an
enclosure. Mark: *ours*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.drpo_reverse import positive_weights, reverse_step
from tabular_fedrl.arithmetic import array, exp, is_minus_infinity, log, magnitude, matmul, where
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.evaluation import evaluate, policy_values, rounding
from tabular_fedrl.measured import UNIT, Measured
from tabular_fedrl.policies import enclosed, enclosed_kl

SOFT_ITERATIONS = 500


def regularised_values(cmdp: CMDP, log_pi: Any, log_b: Any, alpha: Any) -> tuple[Measured, Measured]:
    r"""Theorem E: :math:`V_\alpha^\pi` ``(S,)`` and :math:`Q_\alpha^\pi` ``(S, A)`` of a policy,

    .. math:: V_\alpha^\pi = \langle \pi, Q_\alpha^\pi\rangle - \alpha KL(\pi\|b), \qquad
              Q_\alpha^\pi = r + \gamma P V_\alpha^\pi .

    Raises
    ------
    InvalidProblem: a policy that takes an action which b never takes.
    """
    _within(log_pi, log_b)
    penalty = (alpha * enclosed_kl(log_pi, log_b)).reshape(-1, 1)
    V, Q = _values(cmdp, log_pi, Measured.of(cmdp.r) - penalty)
    return V, Q + penalty


def cql_values(cmdp: CMDP, log_pi: Any, log_b: Any, lam: Any) -> tuple[Measured, Measured]:
    r"""The exact CQL critic with weight :math:`\lambda` (penalised distribution mu = pi): ``(S,)`` and
    ``(S, A)``,

    .. math:: \hat Q = r - \lambda(\pi/b - 1) + \gamma P\hat V, \qquad
              \hat V = \langle\pi,\hat Q\rangle = V - \lambda (I - \gamma P_\pi)^{-1} \chi^2(\pi\|b) .

    An action that neither policy takes is not penalised. Source of the fixed point: Kumar, Zhou, Tucker,
    Levine, "Conservative Q-learning for offline reinforcement learning", NeurIPS 2020 (mark: *recalled*).

    Raises
    ------
    InvalidProblem: a policy that takes an action which b never takes.
    """
    _within(log_pi, log_b)
    (log_p, _), (log_q, _) = enclosed(log_pi), enclosed(log_b)
    ratio = exp((log_p - log_q).where(is_minus_infinity(log_pi), 0.0)).where(is_minus_infinity(log_pi), 0.0)
    excess = (ratio - 1.0).where(is_minus_infinity(log_b), 0.0)
    return _values(cmdp, log_pi, Measured.of(cmdp.r) - lam * excess)


def regularised_optimum(
    cmdp: CMDP, log_b: Any, log_pi: Any, alpha: Any, beta: Any
) -> tuple[Any, Measured, Measured]:
    r"""Theorem D: the policy :math:`\pi^+` that maximises

    .. math:: F(\pi) = J(\pi) - \tfrac1{1-\gamma} E_{d^\pi}[\alpha KL(\pi\|b) + \beta KL(\pi\|\pi_k)] ,

    as a log-policy ``(S, A)``, with the fixed point :math:`V^+` ``(S,)``, :math:`Q^+` ``(S, A)`` of
    :math:`V = T V = \tau\log\sum_a b^w \pi_k^{1-w} e^{Q/\tau}`, :math:`Q = r + \gamma P V`; :math:`\pi^+` is
    the R-step with critic :math:`Q^+`, and :math:`F(\pi^+) = \rho^T V^+`.

    Found by soft policy iteration (Newton's method for the fixed point), enclosed by
    :math:`\|V - V^+\| \le \|TV - V\|/(1-\gamma)`. The log-policy is the R-step with the critic's midpoints;
    :func:`~tabular_fedrl.algorithms.drpo_reverse.enclosed_reverse_step` with ``Q`` encloses the exact one.

    Raises
    ------
    InvalidProblem: weights out of range, or no common action in some state. SolverFailure: no fixed point to
    a relative 1e-6.
    """
    alpha, beta = positive_weights(alpha, beta)
    if bits := balls.working():
        with balls.floats():
            nearest = [x.value if isinstance(x, Balls) else x for x in (log_b, log_pi)]
            weights = [float(Measured.of(x).value) for x in (alpha, beta)]
            V = _soft_iteration(cmdp.floats(), *nearest, *weights)
        log_b, log_pi, V = array(log_b), array(log_pi), array(V)
        # The step that starts from so small a residual, whose square counts, is the last one.
        enough = 2.0 ** -(bits // 2 + 10) * min(weights[0] + weights[1], 1.0)
        for _ in range(SOFT_ITERATIONS):
            before = magnitude(_residual(cmdp, log_b, log_pi, alpha, beta, V))
            V = _improved(cmdp, log_b, log_pi, alpha, beta, V).centre
            if before <= enough:
                break
    else:
        V = _soft_iteration(cmdp, log_b, log_pi, alpha, beta)
    start = Measured.of(V)
    off = _residual(cmdp, log_b, log_pi, alpha, beta, start).abs().max()
    value = start.widened((off / (Measured(1.0) - cmdp.gamma)).upper)
    Q = _backup(cmdp, value)
    return reverse_step(log_pi, log_b, Q.plain, alpha, beta), value, Q


def _soft_iteration(cmdp: CMDP, log_b: Any, log_pi: Any, alpha: Any, beta: Any) -> Any:
    """The fixed point V in floats; steps are taken as long as they bring it nearer."""
    V = np.full(cmdp.S, magnitude(cmdp.r) * cmdp.horizon)
    best, left, scale = V, np.inf, magnitude(V) + alpha + beta
    for _ in range(SOFT_ITERATIONS):
        V = _improved(cmdp, log_b, log_pi, alpha, beta, V)
        off = magnitude(_residual(cmdp, log_b, log_pi, alpha, beta, Measured(V)).value)
        if off >= left and left <= 1e-6 * scale:
            return best
        if off < left:
            best, left = V, off
    raise SolverFailure(
        f"soft policy iteration has not settled after {SOFT_ITERATIONS} steps "
        f"(alpha = {alpha:g}, beta = {beta:g}, residual {left:.1e})"
    )


def _improved(cmdp: CMDP, log_b: Any, log_pi: Any, alpha: Any, beta: Any, V: Any) -> Any:
    """One Newton step: the values of the policy that is soft-greedy with respect to V."""
    policy = reverse_step(log_pi, log_b, _backup(cmdp, Measured.of(V)).plain, alpha, beta)
    penalty = alpha * _divergence(policy, log_b, alpha) + beta * _divergence(policy, log_pi, beta)
    return policy_values(cmdp, policy, (cmdp.r - penalty.reshape(-1, 1))[None])[0][0]


def _residual(cmdp: CMDP, log_b: Any, log_pi: Any, alpha: Any, beta: Any, V: Measured) -> Measured:
    """``T V - V``."""
    return _soft_maximum(log_b, log_pi, _backup(cmdp, V), alpha, beta) - V


def _divergence(log_p: Any, log_q: Any, weight: Any) -> Any:
    return enclosed_kl(log_p, log_q).plain if weight > 0 else array(np.zeros(len(log_p)))


def _soft_maximum(log_b: Any, log_pi: Any, Q: Measured, alpha: Any, beta: Any) -> Measured:
    r""":math:`\tau \log\sum_a b^w \pi_k^{1-w} e^{Q/\tau}`, ``(S,)``."""
    tau = Measured(alpha) + beta
    x, none = Q / tau, np.zeros(Q.shape, dtype=bool)
    for weight, log_p in ((alpha, log_b), (beta, log_pi)):
        if weight > 0:
            x = x + enclosed(log_p)[0] * (Measured(weight) / tau)
            none = none | is_minus_infinity(log_p)
    # Any shift is right: floats near the maximum will do.
    shift = np.asarray(where(none, -np.inf, x.value)).max(axis=-1, keepdims=True)
    return tau * (log(exp((x - shift).where(none, 0.0)).where(none, 0.0).sum(-1)) + shift[..., 0])


def _backup(cmdp: CMDP, V: Measured) -> Measured:
    r""":math:`r + \gamma P V` enclosed, ``(S, A)`` from ``(S,)``."""
    if isinstance(V, Balls):
        successor = matmul(cmdp.rows, V.reshape(-1, 1))
        return cmdp.r + cmdp.gamma * successor.reshape(cmdp.S, cmdp.A)
    Q = cmdp.r + cmdp.gamma * (cmdp.rows @ V.value).reshape(cmdp.S, cmdp.A)
    noise = float(rounding(cmdp, cmdp.r[None], V.value[None])[0])
    return Measured(Q, (cmdp.gamma * float(V.error.max()) + noise) * (1 + 16 * UNIT))


def _values(cmdp: CMDP, log_pi: Any, signal: Measured) -> tuple[Measured, Measured]:
    """V ``(S,)`` and Q ``(S, A)`` of a policy for an enclosed signal ``(S, A)``."""
    values = evaluate(cmdp, log_pi, (signal if isinstance(signal, Balls) else signal.value)[None])
    # In floats the signal's own error is a change of the reward; balls bring theirs along.
    blur = 0.0 if isinstance(signal, Balls) else float(signal.error.max())
    far = blur * float(cmdp.floats().horizon) * (1 + 16 * UNIT)
    return values.V[0].rounded_by(far), values.Q[0].rounded_by(far)


def _within(log_pi: Any, log_b: Any) -> None:
    leaves = is_minus_infinity(log_b) & ~is_minus_infinity(log_pi)
    if leaves.any():
        s, a = (int(i) for i in np.argwhere(leaves)[0])
        raise InvalidProblem(f"state {s}: the policy takes action {a}, which the behaviour never takes")
