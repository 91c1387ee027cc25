r"""Rollouts of geometric length from a generative simulator, compiled and plain.

A rollout of length l from (s, a) visits :math:`(s_0, a_0), ..., (s_{l-1}, a_{l-1})` and sums the signals over
them without discount; after every visit it stops with probability :math:`1-\gamma`, so that
:math:`P(l > t) = \gamma^t` and l is geometric on {1, 2, ...}. Both functions draw the same numbers in the
same order and return the same sums.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np

from tabular_fedrl.kernels.streams import draw

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


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
    A = cumulative_policy.shape[1]
    means = np.zeros((states.size, signals.shape[1]))
    transitions = 0
    for b in range(states.size):
        for _ in range(n):
            s, a = states[b], actions[b]
            while True:
                if a < 0:
                    a = min(np.searchsorted(cumulative_policy[s], draw(rng), side="right"), A - 1)
                row = s * A + a
                for c in range(signals.shape[1]):
                    means[b, c] += signals[row, c]
                transitions += 1
                if draw(rng) >= gamma:
                    break
                first, last = indptr[row], indptr[row + 1]
                step = np.searchsorted(cumulative[first:last], draw(rng), side="right")
                s, a = successors[min(first + step, last - 1)], -1
        for c in range(signals.shape[1]):
            means[b, c] /= n
    return means, transitions


rollouts = numba.njit(cache=True, nogil=True)(rollouts_plain)
"""The compiled twin of :func:`rollouts_plain`."""
