r"""Rollouts of geometric length from a generative simulator, compiled and plain.

A rollout of length l from (s, a) visits :math:`(s_0, a_0), ..., (s_{l-1}, a_{l-1})` and sums the signals over
them without discount; after every visit it stops with probability :math:`1-\gamma`, so that
:math:`P(l > t) = \gamma^t` and l is geometric on {1, 2, ...}. Both functions draw the same numbers in the
same order and return the same sums.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba.extending import register_jitable

from tabular_fedrl.kernels.cached import cached
from tabular_fedrl.kernels.streams import draw

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

U: Any = np.uint64
"""Of a signed index compiled code would ask at every step whether it counts from the end."""

FEW = np.uint64(64)
"""Numbers that are compared one and all."""


def rollouts_plain(
    indptr: Integers,
    successors: Integers,
    cumulative: Floats,
    signals: Floats,
    cumulative_policy: Floats,
    gamma: float,
    states: Integers,
    actions: Integers,
    n: int,
    rng: Any,
) -> tuple[Floats, int]:
    """Mean sums of n rollouts from each start, and the number of simulated transitions.

    Parameters
    ----------
    indptr, successors, cumulative: the kernel in CSR form with one row per state-action pair, each row's
        probabilities summed up to and including the entry.
    signals: ``(S*A, k)``. cumulative_policy: ``(S, A)``, each row's probabilities summed up.
    states, actions: the starts, ``(B,)`` each; an action of -1 is drawn from the policy.
    rng: a generator, or compiled a stream of :mod:`tabular_fedrl.kernels.streams`.

    Returns
    -------
    Means ``(B, k)`` and the total length of all rollouts.
    """
    A, k = U(cumulative_policy.shape[1]), signals.shape[1]
    policy = cumulative_policy.reshape(-1)
    means = np.zeros((states.size, k))
    transitions = 0
    for b in range(states.size):
        total = means[b]
        for _ in range(n):
            row = U(states[b]) * A
            row += U(actions[b]) if actions[b] >= 0 else place(policy, row, A - U(1), draw(rng))
            while True:
                for c in range(k):
                    total[c] += signals[row, c]
                transitions += 1
                if draw(rng) >= gamma:
                    break
                first, last = U(indptr[row]), U(indptr[row + U(1)])
                row = U(successors[first + place(cumulative, first, last - first - U(1), draw(rng))]) * A
                row += place(policy, row, A - U(1), draw(rng))
        for c in range(k):
            total[c] /= n
    return means, transitions


@register_jitable
def place(cumulative: Floats, first: Any, n: Any, x: float) -> Any:
    """How many of n ascending numbers, ``cumulative[first:first + n]``, are not above x: of a row that ends
    one later, the entry that x falls to.

    All are compared where they are few: a search would branch on what is drawn, which no processor foresees.
    """
    if n <= FEW:
        count = U(0)
        for i in range(n):
            count += U(cumulative[first + U(i)] <= x)
        return count
    start, left = first, n
    while left > U(0):
        half = left >> U(1)
        if cumulative[start + half] <= x:
            start, left = start + half + U(1), left - half - U(1)
        else:
            left = half
    return start - first


rollouts = cached(nogil=True)(rollouts_plain)
"""The compiled twin of :func:`rollouts_plain`."""
