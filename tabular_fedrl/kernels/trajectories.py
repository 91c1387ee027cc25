r"""Trajectories of a fixed policy with random restarts, compiled and plain."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl.kernels.cached import cached

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Booleans: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


def trajectories_plain(
    indptr: Integers,
    successors: Integers,
    cumulative: Floats,
    cumulative_policy: Floats,
    cumulative_start: Floats,
    gamma: float,
    ends: Booleans,
    n: int,
    rng: np.random.Generator,
) -> tuple[Integers, Integers, Integers]:
    r"""n transitions in a row: states, actions and successors, ``(n,)`` each.

    The first state is drawn from the initial law, and so is every state after a transition into one of
    ``ends``, and with probability :math:`1-\gamma` every state after any other transition.

    Parameters
    ----------
    indptr, successors, cumulative: the kernel in CSR form with one row per state-action pair, each row's
        probabilities summed up to and including the entry.
    cumulative_policy: ``(S, A)``, cumulative_start: ``(S,)``, summed up likewise. ends: ``(S,)``.
    """
    S, A = cumulative_policy.shape
    states = np.empty(n, dtype=np.int64)
    actions = np.empty(n, dtype=np.int64)
    after = np.empty(n, dtype=np.int64)
    s = -1
    for t in range(n):
        if s < 0:
            s = min(np.searchsorted(cumulative_start, rng.random(), side="right"), S - 1)
        a = min(np.searchsorted(cumulative_policy[s], rng.random(), side="right"), A - 1)
        first, last = indptr[s * A + a], indptr[s * A + a + 1]
        step = np.searchsorted(cumulative[first:last], rng.random(), side="right")
        states[t], actions[t], after[t] = s, a, successors[min(first + step, last - 1)]
        s = after[t]
        if ends[s] or rng.random() >= gamma:
            s = -1
    return states, actions, after


trajectories = cached()(trajectories_plain)
"""The compiled twin of :func:`trajectories_plain`."""
