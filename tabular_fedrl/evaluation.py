r"""Exact evaluation of a policy: V, Q, A and the visitation, each with a rigorous bound on its error.

For a policy :math:`\pi` and a signal f, :math:`V_f` solves :math:`V = f_\pi + \gamma P_\pi V`. Whatever
produced the computed :math:`\hat V` (elimination, sweeps, a Krylov method), its error is bounded afterwards
through the Bellman residual:

.. math:: \|V_f - \hat V\|_\infty \le \frac{1}{1-\gamma}\,
          \|f_\pi + \gamma P_\pi \hat V - \hat V\|_\infty ,

because :math:`(I - \gamma P_\pi)^{-1}` has norm :math:`1/(1-\gamma)`. The residual is computed in float64
from P itself (not from a rounded :math:`P_\pi`) and charged with its own rounding: n operations on terms of
magnitude at most :math:`M = \max|f| + 2\max|\hat V|` err by at most :math:`(n+4) u M` (underflow is not
charged: signals are 0 or no smaller than :math:`10^{-300}`); rows of P,
:math:`\rho` and :math:`\pi` that sum to 1 only within :math:`\delta` stand for the exactly normalised ones,
which costs :math:`2 \delta M`. The visitation is treated the same way in the 1-norm. Source of the bound:
standard (contraction); marked *ours*.

Policies come as log-policies ``(..., S, A)``: leading axes are a batch evaluated together. Problems of exact
data (``cmdp.is_exact``) go to :mod:`tabular_fedrl.bellman`, which encloses the same quantities in balls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl import balls, bellman, linear
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels import krylov
from tabular_fedrl.kernels.packed import entries_into
from tabular_fedrl.kernels.sparse import action_values
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.kernels.steps import probabilities
from tabular_fedrl.kernels.threads import over_chunks
from tabular_fedrl.measured import UNIT, Array, Measured, dot
from tabular_fedrl.policies import enclosed


@dataclass(frozen=True)
class Values:
    """Values of k signals under a (batch of) policies.

    ``V``: ``(..., k, S)``; ``Q`` and ``advantage``: ``(..., k, S, A)``; ``at_rho``: ``(..., k)``; units of
    value. ``advantage`` is ``Q - V``. Every field is an enclosure.
    """

    V: Measured
    Q: Measured
    at_rho: Measured

    @property
    def advantage(self) -> Measured:
        return self.Q - self.V.reshape(*self.V.shape, 1)


def evaluate(cmdp: CMDP, log_pi: Any, signals: Any | None = None) -> Values:
    """V, Q and values at rho of several signals at once.

    ``log_pi``: log-policies ``(..., S, A)``; ``signals``: ``(k, S, A)``, default the reward and the costs in
    that order.
    """
    if cmdp.is_exact:
        return _enclosed(cmdp, log_pi, signals)
    f = cmdp.signals if signals is None else np.asarray(signals, dtype=np.float64)
    pi = _policy(cmdp, log_pi)
    batch = pi.shape[:-2]
    flat = pi.reshape(-1, cmdp.S, cmdp.A)
    V, residual = (_solve_sparse if cmdp.is_sparse else _solve_dense)(cmdp, flat, f)
    Q = _ahead(cmdp, f, V)
    if residual is None:
        # The exact operator, applied once, gives Q and, averaged over the policy, the Bellman residual.
        residual = np.abs((flat[:, None] * Q).sum(axis=-1) - V).max(axis=-1)
    noise, top = rounding(cmdp, f, V), krylov.largest(V, -1)
    # A policy of zeros and ones is read exactly.
    impossible = np.count_nonzero(log_pi == -np.inf, axis=(-2, -1)).reshape(-1, 1)
    drawn = impossible < cmdp.S * (cmdp.A - 1)
    slack = noise + 2 * policy_error(cmdp.A) * drawn * _magnitude(f, V)
    error = (residual + slack) / (1 - cmdp.gamma) * (1 + 16 * UNIT)
    value = Measured(V, np.broadcast_to(error[..., None], V.shape))
    q_error = cmdp.gamma * error + noise
    q = Measured(Q, np.broadcast_to((q_error * (1 + 16 * UNIT))[..., None, None], Q.shape))
    at_rho = dot(V, cmdp.rho).widened((error + 2 * cmdp.row_error * top) * (1 + 16 * UNIT))
    k = len(f)
    return Values(
        V=value.reshape(*batch, k, cmdp.S),
        Q=q.reshape(*batch, k, cmdp.S, cmdp.A),
        at_rho=at_rho.reshape(*batch, k),
    )


def at_start(
    cmdp: CMDP,
    policy: Any,
    signals: Array | None = None,
    start: Array | None = None,
    tolerance: float | None = None,
) -> Measured:
    """Values at rho ``(k,)`` of one policy of a sparse problem: :func:`evaluate` for problems so large that Q
    is too much.

    ``policy``: log-policy ``(S, A)`` or actions ``(S,)``; ``signals``, ``start``, ``tolerance``: as in
    :func:`tabular_fedrl.linear.values`.
    """
    f = cmdp.signals if signals is None else signals
    V, residual = linear.values(
        cmdp, policy if policy.ndim == 1 else _policy(cmdp, policy), f, start, tolerance
    )
    top = krylov.largest(V)
    magnitude = krylov.largest(f, (1, 2)) + 2 * top
    # Actions are read exactly.
    drawn = 0.0 if policy.ndim == 1 else 2 * policy_error(cmdp.A)
    slack = (unit_rounding(cmdp) + drawn) * magnitude
    mean = dot(V.T, cmdp.rho)
    error = (residual + slack) / (1 - cmdp.gamma) + 2 * cmdp.row_error * top
    return mean.widened(error * (1 + 16 * UNIT))


def _enclosed(cmdp: CMDP, log_pi: Any, signals: Any) -> Values:
    """:func:`evaluate` in balls, one policy after another."""
    batch, flat = log_pi.shape[:-2], log_pi.reshape(-1, cmdp.S, cmdp.A)
    pairs = [bellman.values(cmdp, table, signals) for table in flat]
    V, Q = stack([v for v, _ in pairs]), stack([q for _, q in pairs])
    return Values(
        V=V.reshape(*batch, *V.shape[1:]),
        Q=Q.reshape(*batch, *Q.shape[1:]),
        at_rho=bellman.at_start(cmdp, V).reshape(*batch, V.shape[1]),
    )


def entropy(log_pi: Any) -> Measured:
    r"""Entropy :math:`-\sum_a \pi \log\pi` per state of log-policies: ``(..., S, A)`` to ``(..., S)``."""
    if balls.working():
        log_q, q = enclosed(log_pi)
        return -(q * log_q).sum(-1)
    log_p = np.subtract(log_pi, log_pi.max(axis=-1, keepdims=True))
    p = np.exp(log_p)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    log_p = np.where(np.isneginf(log_pi), 0.0, log_p - np.log(total))
    A = log_pi.shape[-1]
    # A float log-policy stands for its exact normalisation: log p is off by the rounding of its
    # log-sum-exp, p relatively by as much and four ulps.
    off = policy_error(A) + (np.abs(log_p) + 8) * UNIT
    error = (p * (1 + np.abs(log_p)) * off).sum(axis=-1) + (A + 2) * UNIT * (p * np.abs(log_p)).sum(axis=-1)
    return Measured(-(p * log_p).sum(axis=-1), 2 * error)


def evaluate_soft(cmdp: CMDP, log_pi: Any, signals: Any, tau: Any) -> Values:
    r"""Soft values of one policy ``(S, A)``, for several signals ``(k, S, A)`` and the entropy weight
    ``tau``.

    .. math:: Q_\tau(s,a) = f(s,a) + \gamma E\,V_\tau(s'), \qquad
              V_\tau(s) = E_{a\sim\pi}[Q_\tau(s,a) - \tau\log\pi(a|s)] .

    ``V``, ``Q`` and ``at_rho`` of the result are :math:`V_\tau`, :math:`Q_\tau` and :math:`V_\tau(\rho)`.
    (The exponent of a regularised natural-gradient step is :math:`Q_\tau - \tau\log\pi`.)
    """
    H = entropy(log_pi)
    if cmdp.is_exact:
        extra = (H * tau).reshape(-1, 1)
        exact = evaluate(cmdp, log_pi, Measured.of(signals) + extra)
        return Values(V=exact.V, Q=exact.Q - extra, at_rho=exact.at_rho)
    f = np.asarray(signals, dtype=np.float64)
    # The entropy enters as a reward of the state, the same for every action: V is then the soft value, and Q
    # the soft Q plus that reward. The float signal is off by the entropy's error and two roundings.
    bonus = tau * H.value[:, None]
    blur = tau * float(H.error.max()) + 3 * UNIT * float(np.abs(f).max(initial=0.0) + np.abs(bonus).max())
    plain = evaluate(cmdp, log_pi, f + bonus)
    far = blur / (1 - cmdp.gamma)
    return Values(
        V=Measured(plain.V.value, plain.V.error + far),
        Q=Measured(plain.Q.value, plain.Q.error + far) - bonus,
        at_rho=Measured(plain.at_rho.value, plain.at_rho.error + far),
    )


def rounding(cmdp: CMDP, f: Array, V: Array) -> Array:
    r"""Bound on what rounding (P's normalisation included) does to :math:`f + \gamma E V(s')`, and to its
    mean over a policy minus V, computed in float64 from the floats ``V``: ``f (k, S, A)``, ``V (..., k, S)``,
    result ``(..., k)``."""
    return unit_rounding(cmdp) * _magnitude(f, V)


def unit_rounding(cmdp: CMDP) -> float:
    r""":func:`rounding` for each unit of :math:`\max|f| + 2\max|V|`."""
    return (cmdp.max_row + cmdp.A + 4) * UNIT + 2 * cmdp.row_error


def _magnitude(f: Array, V: Array) -> Array:
    return np.asarray(krylov.largest(f, (1, 2)) + 2 * krylov.largest(V, -1))


def policy_values(cmdp: CMDP, log_pi: Any, signals: Any | None = None) -> tuple[Any, Any]:
    """V ``(k, S)`` and Q ``(k, S, A)`` of one policy ``(S, A)`` in plain floats, without error bounds.

    What an algorithm computes its next iterate from, millions of times; anything that is *stated* about an
    iterate comes from :func:`evaluate`. ``log_pi`` must be normalised, as algorithms hold it.
    """
    if cmdp.is_exact:
        return bellman.values(cmdp, log_pi, signals)
    f = cmdp.signals if signals is None else signals
    pi = np.exp(log_pi)
    if cmdp.is_sparse:
        V = _solve_sparse(cmdp, pi[None], f)[0][0]
    else:
        f_pi = (pi * f).sum(axis=-1)
        if cmdp.gamma == 0:
            return f_pi, np.broadcast_to(f, (len(f), cmdp.S, cmdp.A))
        matrix = np.matmul(pi[:, None, :], cmdp.P)[:, 0]
        matrix *= -cmdp.gamma
        matrix.flat[:: cmdp.S + 1] += 1.0
        V = np.linalg.solve(matrix, f_pi.T).T
    return V, _ahead(cmdp, f, V[None])[0]


def visitation(cmdp: CMDP, log_pi: Any, start: Any | None = None) -> Measured:
    r"""Normalised visitation :math:`d = (1-\gamma) \mu + \gamma P_\pi^T d` of one policy ``(S, A)``, shape
    ``(S,)``.

    ``start`` is the initial law :math:`\mu`, default rho. The radius is a bound on the 1-norm of the error,
    given to every entry.
    """
    if cmdp.is_exact:
        return bellman.visitation(cmdp, log_pi, start)
    pi = _policy(cmdp, log_pi)
    mu = cmdp.rho if start is None else np.asarray(start, dtype=np.float64)
    if cmdp.is_sparse:
        solved: Any = linear.visits(cmdp, pi, mu)[0]
    else:
        kernel = np.einsum("sa,sat->st", pi, cmdp.P)
        solved = np.linalg.solve(np.eye(cmdp.S) - cmdp.gamma * kernel.T, (1 - cmdp.gamma) * mu)
    d = np.maximum(np.asarray(solved, dtype=np.float64), 0.0)
    pi *= d[:, None]
    flow = cmdp.rows.T @ pi.ravel()
    residual = np.abs((1 - cmdp.gamma) * mu + cmdp.gamma * flow - d).sum()
    slack = ((in_degree(cmdp) + 8) * UNIT + 2 * cmdp.row_error + 2 * policy_error(cmdp.A)) * (1 + 2 * d.sum())
    # The sum of the residual's sizes is rounded relatively to itself.
    error = (residual * (1 + cmdp.S * UNIT) + slack) / (1 - cmdp.gamma)
    return Measured(d, error * (1 + 16 * UNIT))


def in_degree(cmdp: CMDP) -> int:
    """The largest number of state-action pairs that lead to one state."""
    if not cmdp.is_sparse:
        return cmdp.S * cmdp.A
    return cmdp._remember("in_degree", lambda: int(entries_into(rows_of(cmdp)).max(initial=0)))


def signal_sizes(cmdp: CMDP) -> Array:
    """The largest sizes of the reward and of the costs, ``(1+m,)``."""
    return cmdp._remember("signal_sizes", lambda: krylov.largest(cmdp.signals, (1, 2)))


def average(d: Measured, g: Measured | Array) -> Measured:
    """Expectation of ``g (..., S)`` under a visitation ``d (S,)`` of :func:`visitation`.

    The radius of ``d`` bounds its error in the 1-norm, so that it counts once and not once per state.
    """
    if isinstance(d, Balls):
        return dot(d, g)
    g = Measured.of(g)
    mean = dot(Measured(d.value), g)
    reach = np.maximum(np.abs(g.lower), np.abs(g.upper)).max(axis=-1)
    return Measured(mean.value, (mean.error + float(d.error.max()) * reach) * (1 + 16 * UNIT))


def policy_error(A: int) -> float:
    r"""Bound on the 1-norm, per row, between ``exp`` of a float log-policy and the exact softmax it stands
    for.

    With :math:`z = \log\pi - \max\log\pi`, rounded once, and an exponential within four ulps, a weight errs
    relatively by at most :math:`(|z| + 8) u`, their sum by the mean of that and :math:`A u`, the quotient by
    2u; and :math:`\sum p |z| \le \sum p |\log p| \le \log A`.
    """
    return (2 * np.log(A) + A + 20) * UNIT


def _policy(cmdp: CMDP, log_pi: Array) -> Array:
    if log_pi.shape[-2:] != (cmdp.S, cmdp.A):
        raise InvalidProblem(f"the policy has shape {log_pi.shape}: expected (..., {cmdp.S}, {cmdp.A})")
    if cmdp.is_sparse:
        tables = np.ascontiguousarray(log_pi, dtype=np.float64).reshape(-1, cmdp.A)
        pi = np.empty_like(tables)
        over_chunks(probabilities, len(tables), tables, pi)
        return pi.reshape(log_pi.shape)
    weights = np.subtract(log_pi, log_pi.max(axis=-1, keepdims=True))
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def _ahead(cmdp: CMDP, f: Array, V: Array) -> Array:
    """Q of the values ``V (B, k, S)``: ``(B, k, S, A)``."""
    B, k, S = V.shape
    if not cmdp.is_sparse:
        successor = (cmdp.rows @ V.reshape(B * k, S).T).T
        return f + cmdp.gamma * successor.reshape(B, k, S, cmdp.A)
    Q = np.empty((B, k, S, cmdp.A))
    for b in range(B):
        for j in range(k):
            action_values(rows_of(cmdp), f[j], cmdp.gamma, V[b, j], Q[b, j])
    return Q


def _solve_dense(cmdp: CMDP, pi: Array, f: Array) -> tuple[Array, None]:
    """One factorisation per policy, all signals as right-hand sides: ``(B, k, S)``. The residual is not
    known."""
    f_pi = np.einsum("bsa,ksa->bsk", pi, f)
    if cmdp.gamma == 0:
        return np.swapaxes(f_pi, 1, 2), None
    matrix = np.einsum("bsa,sat->bst", pi, cmdp.P)
    matrix *= -cmdp.gamma
    diagonal = np.arange(cmdp.S)
    matrix[:, diagonal, diagonal] += 1.0
    return np.swapaxes(np.linalg.solve(matrix, f_pi), 1, 2), None


def _solve_sparse(cmdp: CMDP, pi: Array, f: Array) -> tuple[Array, Array]:
    """V ``(B, k, S)`` and the largest sizes ``(B, k)`` of the residuals."""
    V, residual = np.empty((len(pi), len(f), cmdp.S)), np.empty((len(pi), len(f)))
    for b, table in enumerate(pi):
        found, residual[b] = linear.values(cmdp, table, f)
        V[b] = found.T
    return V, residual
