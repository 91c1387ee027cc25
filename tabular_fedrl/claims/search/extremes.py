"""The least and the largest value of a cost, for many small problems at once."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.measured import Array

MAX_ITERATIONS = 100
"""Policy iterations; five to ten are usual."""


def value_extremes(P: Array, c: Array, rho: Array, gamma: Array) -> tuple[Array, Array]:
    r""":math:`\min_\pi V_{c_j}^\pi(\rho)` and :math:`\max_\pi V_{c_j}^\pi(\rho)`, each ``(B, m)``, in floats.

    ``P (B, S, A, S)``, ``c (B, m, S, A)``, ``rho (B, S)``, ``gamma (B,)``. By policy iteration, all problems
    side by side. Where a threshold is placed needs no enclosure: whatever it is, it is the instance's.
    """
    return -_largest(P, -c, rho, gamma), _largest(P, c, rho, gamma)


def _largest(P: Array, f: Array, rho: Array, gamma: Array) -> Array:
    B, m, S, _ = f.shape
    if m == 0:
        return np.zeros((B, 0))
    actions = f.argmax(axis=-1)
    problems = np.arange(B)[:, None, None]
    identity, discount = np.eye(S), gamma[:, None, None, None]
    for _ in range(MAX_ITERATIONS):
        kernel = P[problems, np.arange(S), actions]
        reward = np.take_along_axis(f, actions[..., None], axis=-1)
        V = np.linalg.solve(identity - discount * kernel, reward)[..., 0]
        Q = f + discount * np.einsum("bsat,bjt->bjsa", P, V)
        better = Q.argmax(axis=-1)
        gain = np.take_along_axis(Q, better[..., None], -1) - np.take_along_axis(Q, actions[..., None], -1)
        switch = gain[..., 0] > 1e-13 * (1.0 + np.abs(V))
        if not switch.any():
            break
        actions = np.where(switch, better, actions)
    return np.asarray((V * rho[:, None, :]).sum(axis=-1))
