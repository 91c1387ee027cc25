"""Euclidean projection on the simplex, state by state."""

from __future__ import annotations

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.measured import Array


@compiled
def project(x: Array, order: Array) -> None:
    """Turn every column of ``x (A, S)`` into the distribution nearest to it, as
    :func:`tabular_fedrl.policies.projected` does; ``order``: scratch ``(A,)``."""
    A, S = x.shape
    for s in range(S):
        for a in range(A):
            b = a
            while b > 0 and order[b - 1] < x[a, s]:
                order[b] = order[b - 1]
                b -= 1
            order[b] = x[a, s]
        excess, level = -1.0, 0.0
        for a in range(A):
            excess += order[a]
            if order[a] * (a + 1) > excess:
                level = excess / (a + 1)
        total = 0.0
        for a in range(A):
            x[a, s] = max(x[a, s] - level, 0.0)
            total += x[a, s]
        for a in range(A):
            x[a, s] /= total
