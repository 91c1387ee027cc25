"""Euclidean projection on the simplex."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.measured import Array


@compiled
def project(x: Array, step: Array, scratch: Array) -> None:
    """Turn ``x (R, A, W)`` into the distributions over A nearest to ``x + step``, in every row and lane, as
    :func:`tabular_fedrl.policies.projected` does; NaN where numbers are so large that 1 is lost in them.

    The layout is that of :mod:`tabular_fedrl.kernels.layout`; ``scratch``: ``(A + 3, W)``.
    """
    R, A, W = x.shape
    total, level, count, order = scratch[0], scratch[1], scratch[2], scratch[3:]
    for s in range(R):
        for a in range(A):
            for w in range(W):
                y = x[s, a, w] + step[s, a, w]
                x[s, a, w] = y
                order[a, w] = y
        _sort(order, A)
        for w in range(W):
            total[w], level[w], count[w] = -1.0, np.nan, 1.0
        for a in range(A):
            n = float(a + 1)
            for w in range(W):
                total[w] += order[a, w]
                fits = order[a, w] * n > total[w]
                level[w] = total[w] if fits else level[w]
                count[w] = n if fits else count[w]
        for w in range(W):
            level[w] /= count[w]
            total[w] = 0.0
        for a in range(A):
            for w in range(W):
                p = x[s, a, w] - level[w]
                p = 0.0 if p < 0.0 else p
                x[s, a, w] = p
                total[w] += p
        for w in range(W):
            total[w] = 1.0 / total[w]
        for a in range(A):
            for w in range(W):
                x[s, a, w] *= total[w]


@compiled
def _sort(x: Array, A: int) -> None:
    """Sort the first A rows of ``x`` in every lane, largest first: neighbours change places, A times over, so
    that no lane branches."""
    for i in range(A):
        for a in range(i % 2, A - 1, 2):
            for w in range(x.shape[1]):
                y, z = x[a, w], x[a + 1, w]
                x[a, w] = y if y > z else z
                x[a + 1, w] = z if y > z else y
