"""Simulated episodes: the sampled twin of what dynamic programming computes exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.episodic.mdp import EpisodicMDP
from tabular_fedrl.measured import Array

Integers = NDArray[np.int64]


def episodes(mdp: EpisodicMDP, pi: Array, size: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """States and actions, both ``(size, H)``, of independent episodes under a policy ``(H, S, A)``; floats
    only."""
    states, actions = np.empty((size, mdp.H), dtype=np.int64), np.empty((size, mdp.H), dtype=np.int64)
    s = _drawn(np.broadcast_to(mdp.rho, (size, mdp.S)), rng)
    for h in range(mdp.H):
        a = _drawn(pi[h][s], rng)
        states[:, h], actions[:, h] = s, a
        s = _drawn(mdp.P[h][s, a], rng)
    return states, actions


def _drawn(laws: Any, rng: np.random.Generator) -> Integers:
    """One draw from each law ``(size, n)``."""
    sums = np.cumsum(laws, axis=1)
    # A law that sums to less than 1 within rounding must not give the number n.
    return (rng.random(len(laws))[:, None] * sums[:, -1:] >= sums).sum(axis=1)
