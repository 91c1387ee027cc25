r"""What a client's data say: counts, the empirical MDP, the empirical behaviour policy.

With counts n(s, a) and n(s): :math:`\hat P = n(s,a,s')/n(s,a)`, :math:`\hat r` the mean reward,
:math:`b(a|s) = n(s,a)/n(s)`. The empirical MDP completes the pairs that the data do not hold by an absorbing
state of the lowest reward: whatever the true values are, :math:`|\hat r - r + \gamma(\hat P - P)V| \le
\bar V` there, with :math:`\bar V = R/(1-\gamma)` and R the range of rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import array, concatenate, log, stack
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.offline.dataset import Booleans, Dataset, Integers
from tabular_fedrl.policies import uniform

DENSE_STATES = 200
"""Empirical MDPs of more states are held as sparse kernels."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Of one client. ``pairs (S, A)``: n(s, a); ``successors``: n(s, a, s') as CSR ``(S*A, S)``; ``reward
    (S, A)`` and ``costs (m, S, A)``: means, 0 where nothing was seen; ``ends (S,)``: states that end
    episodes; ``costs_seen (m,)``: the largest cost of any row."""

    pairs: Integers
    successors: Any
    reward: Array
    costs: Array
    ends: Booleans
    costs_seen: Array

    @property
    def S(self) -> int:
        return self.pairs.shape[0]

    @property
    def A(self) -> int:
        return self.pairs.shape[1]

    @property
    def states(self) -> Integers:
        """n(s), ``(S,)``."""
        return self.pairs.sum(axis=1)

    @property
    def n(self) -> int:
        """All rows."""
        return int(self.pairs.sum())

    @property
    def P(self) -> Array:
        r""":math:`\hat P` ``(S, A, S)``; rows of zeros where nothing was seen."""
        table = self.successors.toarray().reshape(self.S, self.A, self.S)
        return np.asarray(table / np.maximum(self.pairs, 1)[:, :, None], dtype=np.float64)


def count(dataset: Dataset) -> tuple[Counts, ...]:
    """The counts of every client."""
    return tuple(_count(dataset.of(i)) for i in range(dataset.N))


def _count(rows: Dataset) -> Counts:
    S, A = rows.S, rows.A
    pair = rows.state * A + rows.action
    pairs = np.bincount(pair, minlength=S * A)
    successors = sp.csr_array((np.ones(len(rows)), (pair, rows.next_state)), shape=(S * A, S))
    successors.sum_duplicates()
    signals = np.column_stack([rows.reward, rows.costs])
    sums = [np.bincount(pair, weights=f, minlength=S * A) for f in signals.T]
    means = (np.array(sums) / np.maximum(pairs, 1)).reshape(-1, S, A)
    ends = np.zeros(S, dtype=bool)
    ends[rows.next_state[rows.terminal]] = True
    largest = rows.costs.max(axis=0) if len(rows) else np.zeros(rows.m)
    return Counts(pairs.reshape(S, A), successors, means[0], means[1:], ends, largest)


def pool(counts: Sequence[Counts]) -> Counts:
    """The counts of all clients' rows together."""
    pairs = np.sum([c.pairs for c in counts], axis=0)
    weights = [c.pairs / np.maximum(pairs, 1) for c in counts]
    successors = counts[0].successors
    for c in counts[1:]:
        successors = successors + c.successors
    return Counts(
        pairs=pairs,
        successors=sp.csr_array(successors),
        reward=np.sum([w * c.reward for w, c in zip(weights, counts)], axis=0),
        costs=np.sum([w * c.costs for w, c in zip(weights, counts)], axis=0),
        ends=np.any([c.ends for c in counts], axis=0),
        costs_seen=np.max([c.costs_seen for c in counts], axis=0),
    )


def empirical(
    counts: Counts, gamma: Any, rho: Any, lowest: float = 0.0, thresholds: Any | None = None
) -> CMDP:
    r"""The empirical MDP, with one state more than the environment.

    State S, the last one, is absorbing with reward ``lowest`` (the least a reward can be) and the largest
    cost seen: every pair without data leads there, with that reward. A state that ends episodes is absorbing
    with zero signals. ``rho (S,)``; ``thresholds (m,)`` keeps the costs, None leaves them out. Log-policies
    get their row for the additional state from :func:`extended`.

    Inside ``balls.precision(...)`` the problem is exact, its probabilities rational.
    """
    S, A = counts.S, counts.A
    unseen = ((counts.pairs == 0) & ~counts.ends[:, None]).ravel()
    seen, rows = np.maximum(counts.pairs, 1).ravel(), np.arange(S * A)
    known = sp.coo_array(counts.successors)
    ends = np.flatnonzero(np.repeat(counts.ends, A))
    last = np.arange(S * A, S * A + A)
    row = np.concatenate([known.row, rows[unseen], ends, last])
    column = np.concatenate([known.col, np.full(unseen.sum(), S), ends // A, np.full(A, S)])
    number = np.concatenate([known.data, np.ones(unseen.sum() + ends.size + A)])
    whole = sp.csr_array((number, (row, column)), shape=(S * A + A, S + 1))
    divisor = np.concatenate([seen, np.ones(A)])
    beyond = [lowest, *counts.costs_seen]
    signals = np.full((1 + len(counts.costs), S + 1, A), np.array(beyond)[:, None, None])
    table = np.concatenate([counts.reward[None], counts.costs])
    signals[:, :S] = np.where(unseen.reshape(S, A), signals[:, :S], table)
    signals[:, :S][:, counts.ends] = 0.0
    c, d = signals[1:], thresholds
    if d is None:
        c, d = signals[:0], []
    if balls.working():
        start = concatenate([array(rho), array([0.0])])
        dense = Balls(whole.toarray()) / Balls(divisor).reshape(-1, 1)
        return CMDP.exact(dense.reshape(S + 1, A, S + 1), signals[0], c, d, start, gamma)
    start = np.concatenate([np.asarray(rho, dtype=np.float64), [0.0]])
    kernel = sp.csr_array(sp.diags_array(1.0 / divisor) @ whole)
    P = kernel if S > DENSE_STATES else kernel.toarray().reshape(S + 1, A, S + 1)
    return CMDP(P, signals[0], c, d, start, gamma)


def extended(log_pi: Any) -> Any:
    """Log-policies ``(..., S, A)`` with a uniform row for the additional state of :func:`empirical`."""
    A = log_pi.shape[-1]
    row = uniform(1, A).reshape(*(1,) * (log_pi.ndim - 2), 1, A)
    rows = [row] * int(np.prod(log_pi.shape[:-2]))
    last = concatenate(rows, 0).reshape(*log_pi.shape[:-2], 1, A) if rows else row
    return concatenate([log_pi, last], axis=log_pi.ndim - 2)


def behaviour(counts: Sequence[Counts], log_pi: Any, smoothing: float = 0.0) -> Any:
    r"""The clients' empirical behaviour as log-policies ``(N, S, A)``,

    .. math:: b_i(a|s) = \frac{n_i(s,a) + \sigma}{n_i(s) + |A| \sigma},

    ``-inf`` where that is 0; :math:`\pi_k` = ``log_pi`` ``(S, A)`` in states that client i has not seen, so
    that it abstains there.
    """
    if not smoothing >= 0:
        raise InvalidProblem(f"smoothing = {smoothing}: expected a number from 0 on")
    return stack([_behaviour(c, log_pi, smoothing) for c in counts])


def _behaviour(counts: Counts, log_pi: Any, smoothing: float) -> Any:
    unseen = counts.states == 0
    n = array(counts.pairs) + smoothing
    total = np.maximum(counts.states, 1) + counts.A * array(smoothing)
    with np.errstate(divide="ignore"):
        log_b = log(n / total.reshape(-1, 1))
    log_b = log_b.copy()
    log_b[unseen] = array(log_pi)[unseen]
    return log_b
