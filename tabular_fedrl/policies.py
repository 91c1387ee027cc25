r"""Policies as arrays, their divergences and their means.

A policy is an ``(S, A)`` array of probabilities; algorithms hold its logarithm (a log-policy), which does not
underflow. A float array of either kind stands for the policy whose rows are normalised exactly. All functions
act on the last axis and broadcast over the others.

Inside a run the log-policies in balls are logits near the log-policy (:func:`recentred`), normalised where
they are used and recorded: to subtract a ball from a row adds its radius to all of them, once in every step,
and to subtract a number near it adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import array, exp, is_minus_infinity, log, logsumexp, sum
from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured


@dataclass(frozen=True)
class CompactPolicy:
    """A log-policy ``(S, A)`` that is deterministic in most states, as optima of large problems are, in a
    fraction of the table's memory.

    ``actions (S,)``, unsigned and as short as A allows, are taken with probability 1, except in the states
    ``mixed (n,)``, in order, whose rows are ``rows (n, A)``.
    """

    actions: NDArray[np.unsignedinteger[Any]]
    mixed: NDArray[np.int32]
    rows: Array

    @classmethod
    def of(cls, log_policy: Any) -> CompactPolicy:
        """Any log-policy, entry for entry; one in balls is mixed everywhere."""
        S, A = log_policy.shape
        actions, certain = np.zeros(S, dtype=np.min_scalar_type(A - 1)), np.zeros(S, dtype=bool)
        if not isinstance(log_policy, Balls):
            taken = log_policy == 0
            actions[:] = taken.argmax(axis=1)
            certain = taken.any(axis=1) & (np.isneginf(log_policy).sum(axis=1) == A - 1)
        mixed = np.flatnonzero(~certain).astype(np.int32)
        return cls(actions, mixed, log_policy[mixed])

    def table(self, first: int = 0, last: int | None = None) -> Array:
        """The log-policy in the states from ``first`` to before ``last``, default all."""
        a, b = np.searchsorted(self.mixed, [first, len(self.actions) if last is None else last])
        actions, rows = self.actions[first:last], self.rows[a:b]
        if len(rows) == len(actions):
            return rows
        out = np.full((len(actions), self.rows.shape[1]), -np.inf)
        out[np.arange(len(actions)), actions] = 0.0
        out[self.mixed[a:b] - first] = rows
        return out


def uniform(S: int, A: int) -> Array:
    """The uniform log-policy, ``(S, A)``."""
    return -log(array(np.full((S, A), float(A))))


def log_softmax(logits: Array) -> Array:
    """Log-policy of logits: rows shifted by their log-sum-exp."""
    return logits - logsumexp(logits)


def recentred(logits: Array) -> Array:
    """Logits of the same policy to go on from: its log-policy, of balls up to a float for each row, which
    leaves their radii alone."""
    return logits - logsumexp(logits.value) if isinstance(logits, Balls) else log_softmax(logits)


def log_probabilities(logits: Array) -> Array:
    """The log-policy of what :func:`recentred` gives."""
    return log_softmax(logits) if isinstance(logits, Balls) else logits


def probabilities(logits: Array) -> Array:
    """The policy of what :func:`recentred` gives."""
    return enclosed(logits)[1] if isinstance(logits, Balls) else exp(logits)


def softmax(logits: Array) -> Array:
    """Policy of logits (or of a log-policy)."""
    return exp(log_softmax(logits))


def log_policy(pi: ArrayLike, S: int, A: int) -> Array:
    """Log-policy of a table of probabilities, validated; zeros become ``-inf``."""
    p = np.asarray(pi, dtype=np.float64)
    if p.shape != (S, A):
        raise InvalidProblem(f"the policy has shape {p.shape}: expected (S, A) = {(S, A)}")
    bad = ~(p >= 0) | ~np.isfinite(p)
    if bad.any():
        s, a = (int(i) for i in np.argwhere(bad)[0])
        raise InvalidProblem(f"policy[{s}, {a}] = {p[s, a]:g} is not a probability")
    sums = p.sum(axis=1)
    s = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[s] - 1) > 1e-9:
        raise InvalidProblem(f"policy row {s} sums to {sums[s]:.12g}, not to 1")
    table = array(p)
    with np.errstate(divide="ignore"):
        return log(table / table.sum(axis=1).reshape(-1, 1))


def natural_gradient_step(log_pi: Array, advantage: Array, step: float) -> Array:
    r"""The softmax natural-gradient step :math:`\pi' = \pi \exp(\text{step}\cdot A)/Z`, on log-policies."""
    return log_softmax(log_pi + step * advantage)


def arithmetic_mean(log_policies: Array, weights: ArrayLike | None = None) -> Array:
    r"""Log of :math:`\sum_i w_i \pi_i`; ``log_policies (N, ..., A)``, weights default to 1/N."""
    return log_softmax(arithmetic_logits(log_policies, weights))


def arithmetic_logits(log_policies: Array, weights: ArrayLike | None = None) -> Array:
    r"""Logits of :math:`\sum_i w_i \pi_i`, the arguments as for :func:`arithmetic_mean`.

    Of balls they are :math:`g_a(c) = \log \sum_i w_i e^{l_{ia} - c_i + \sum_j w_j c_j}` with the normalisers
    :math:`c_i = \log\sum_b e^{l_{ib}}`, up to a number for each row. By the mean value theorem
    :math:`g(c) = g(m) + \sum_i (w_i - \omega_{ia}) (c_i - m_i)` for the midpoints m of c,
    :math:`\omega_{ia} \propto w_i e^{l_{ia} - c_i}` with other c in the same balls: what the radii have in
    common cancels, where :math:`l - c` would double them in every round.
    """
    w = mean_weights(len(log_policies), weights)
    w = w.reshape(-1, *(1,) * (log_policies.ndim - 1))
    if not isinstance(log_policies, Balls):
        with np.errstate(divide="ignore"):
            return logsumexp(log_policies + log(w), axis=0)[0]
    c = logsumexp(log_policies)
    m = c.centre
    shares = w * (log_policies - c).exp()
    shares = shares / shares.sum(0)
    return logsumexp(log_policies - m + log(w), axis=0)[0] + ((w - shares) * (c - m)).sum(0)


def geometric_mean(log_policies: Array, weights: ArrayLike | None = None) -> Array:
    r"""Log of :math:`\prod_i \pi_i^{w_i}`, renormalised (the average of log-policies)."""
    return log_softmax(geometric_logits(log_policies, weights))


def geometric_logits(log_policies: Array, weights: ArrayLike | None = None) -> Array:
    r"""Logits of :math:`\prod_i \pi_i^{w_i}`, the arguments as for :func:`geometric_mean`."""
    w = mean_weights(len(log_policies), weights)
    return sum(w.reshape(-1, *(1,) * (log_policies.ndim - 1)) * log_policies, axis=0)


def mean_weights(N: int, weights: Any) -> Any:
    """Weights of a mean of N policies: 1/N by default; given ones must be positive and sum to 1."""
    if weights is None:
        return array(np.ones(N)) / N
    if isinstance(weights, Balls):  # checked before, as floats
        return weights
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (N,):
        if w.ndim == 0:
            raise InvalidProblem(f"weights = {weights}: expected a list of {N}, one for each agent")
        raise InvalidProblem(f"{w.size} weights for {N} agents")
    if not (w > 0).all() or abs(w.sum() - 1) > 1e-9:
        raise InvalidProblem(f"weights must be positive and sum to 1, not {w.tolist()}")
    return array(w)


def _relative(p: Array, ratio: Array) -> Array:
    """``p * ratio`` with 0 where p = 0 (the convention 0 log 0 = 0)."""
    return np.where(p > 0, p * np.where(p > 0, ratio, 0.0), 0.0)


def kl(log_p: Array, log_q: Array) -> Array:
    """``KL(p||q)`` of log-policies."""
    with np.errstate(invalid="ignore"):
        return _relative(np.exp(log_p), log_p - log_q).sum(axis=-1)


def jeffreys(log_p: Array, log_q: Array) -> Array:
    """``KL(p||q) + KL(q||p)``."""
    return kl(log_p, log_q) + kl(log_q, log_p)


def total_variation(log_p: Array, log_q: Array) -> Array:
    """``(1/2) ||p - q||_1``."""
    return 0.5 * np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1)


def chi_squared(log_p: Array, log_q: Array) -> Array:
    """``sum p^2/q - 1``, summed as ``sum (p - q)^2/q`` so that nothing cancels."""
    p, q = np.exp(log_p), np.exp(log_q)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p == q, 0.0, (p - q) ** 2 / q).sum(axis=-1)


def projected(x: Array) -> Array:
    """The policy ``(..., S, A)`` nearest to ``x`` in the Euclidean norm; floats only."""
    order = np.sort(x, axis=-1)[..., ::-1]
    excess = np.cumsum(order, axis=-1) - 1.0
    support = (order * np.arange(1, x.shape[-1] + 1) > excess).sum(axis=-1, keepdims=True)
    level = np.take_along_axis(excess, support - 1, axis=-1) / support
    out = np.maximum(x - level, 0.0)
    return np.asarray(out / out.sum(axis=-1, keepdims=True))


def random_log_policy(rng: np.random.Generator, S: int, A: int, sharpness: float = 1.0) -> Array:
    """Softmax of normal logits with standard deviation ``sharpness``."""
    return log_softmax(array(sharpness * rng.standard_normal((S, A))))


def enclosed(log_pi: Any) -> tuple[Measured, Measured]:
    """Enclosures of the logarithm and the probabilities of the policy a log-policy stands for.

    Where the logarithm is ``-inf`` the probability is 0 and the logarithm's enclosure is that of -800: use it
    only where it is multiplied by that 0.
    """
    if balls.working() and not isinstance(log_pi, Balls):
        log_pi = log_softmax(array(log_pi))
    none = is_minus_infinity(log_pi)
    if isinstance(log_pi, Balls):
        masses = log_pi.exp().where(none, 0.0)
        total = masses.sum(-1).reshape(*masses.shape[:-1], 1)
        return (log_pi - total.log()).where(none, -800.0), masses / total
    finite = Measured(np.where(none, -800.0, log_pi))
    normalised = finite - logsumexp(finite)
    return normalised, exp(normalised).where(none, 0.0)


def enclosed_kl(log_p: Any, log_q: Any) -> Measured:
    """Enclosure of ``KL(p||q)`` along the last axis."""
    lp, p = enclosed(log_p)
    lq, _ = enclosed(log_q)
    # Where q = 0 the logarithm is unknown: harmless if p = 0 exactly, an infinite radius if not.
    lq = lq.widened(np.where(is_minus_infinity(log_q), np.inf, 0.0))
    return (p * (lp - lq)).where(is_minus_infinity(log_p), 0.0).sum(-1)
