r"""Linear systems of sparse policy evaluation: which method for which structure.

Elimination is the best there is on a graph of small bandwidth (a ring, a corridor, a grid: milliseconds where
a Krylov method needs :math:`1/(1-\gamma)` products and more) and hopeless on a random graph, where in turn a
Krylov method needs a handful of products. :func:`bandwidth` tells them apart. Answers are as accurate as
rounding permits; callers bound their error through the residual.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.sparse.csgraph import reverse_cuthill_mckee

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.measured import UNIT, Array

ALWAYS_DIRECT = 1e7
"""Elimination below this many operations (milliseconds) is not worth thinking about."""

KRYLOV_PRODUCTS = 200
"""Elimination is preferred up to the cost of this many products with the matrix."""

LARGEST_FACTOR = 1e8
"""Entries of the largest factor that elimination may be asked to store (some GB)."""


def bandwidth(rows: sp.csr_array) -> int:
    """Half bandwidth of the graph of a kernel ``(S*A, S)``, its states ordered by reverse Cuthill-McKee."""
    S = rows.shape[1]
    A = rows.shape[0] // S
    pattern = sp.csr_array(
        (np.ones(rows.nnz, dtype=np.int8), rows.indices, rows.indptr[::A]), shape=(S, S), copy=True
    )
    pattern.sum_duplicates()
    position = np.empty(S, dtype=np.int64)
    position[reverse_cuthill_mckee(sp.csr_matrix(pattern + pattern.T), symmetric_mode=True)] = np.arange(S)
    distance = np.abs(np.repeat(position, np.diff(pattern.indptr)) - position[pattern.indices])
    return int(distance.max(initial=0))


def solve(matrix: sp.csr_array, rhs: Array, width: int) -> Array:
    """Solve ``matrix x = rhs`` for the columns of ``rhs (S, k)``; ``width`` is the graph's :func:`bandwidth`.

    Raises
    ------
    SolverFailure: no method reaches a residual of 1e-10 of the answer.
    """
    S = matrix.shape[0]
    flops = S * float(width + 1) ** 2
    if flops <= max(ALWAYS_DIRECT, KRYLOV_PRODUCTS * matrix.nnz):
        return _eliminate(matrix, rhs)
    try:
        return np.stack([krylov(matrix, column) for column in rhs.T], axis=1)
    except SolverFailure:
        if S * float(2 * width + 1) > LARGEST_FACTOR:
            raise
        return _eliminate(matrix, rhs)


def _eliminate(matrix: sp.csr_array, rhs: Array) -> Array:
    factor = spla.splu(sp.csc_matrix(matrix))
    x = factor.solve(rhs)
    return x + factor.solve(rhs - matrix @ x)


def krylov(matrix: sp.csr_array, rhs: Array, accept: float = 1e-10, attempts: int = 12) -> Array:
    """BiCGSTAB for one right-hand side, restarted on its true residual until rounding stops it; where it
    makes no progress (it can break down silently), GMRES takes its turn.

    Raises
    ------
    SolverFailure: the residual stays above ``accept`` of the answer's size.
    """
    x = np.zeros_like(rhs)
    residual = rhs
    size = float(np.linalg.norm(rhs))
    method = spla.bicgstab
    stalls = 0
    for _ in range(attempts):
        if size <= UNIT * float(np.linalg.norm(x)):
            break
        with np.errstate(all="ignore"):
            step, _ = method(
                matrix, residual / size, rtol=1e-8, maxiter=1000 if method is spla.bicgstab else 20
            )
        trial = x + size * step
        left = rhs - matrix @ trial
        remaining = float(np.linalg.norm(left))
        stalls = 0 if remaining < 0.5 * size else stalls + 1
        if remaining < size:
            x, residual, size = trial, left, remaining
        if stalls == 2 or (stalls and size <= 16 * UNIT * float(np.linalg.norm(x))):
            break  # neither method helps, or rounding is reached
        if stalls:
            method = spla.gmres if method is spla.bicgstab else spla.bicgstab
    if size <= accept * float(np.linalg.norm(x)):
        return x
    raise SolverFailure(f"sparse evaluation stalled at a residual of {size:.2e}")
