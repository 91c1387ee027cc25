"""Random inputs for :mod:`benchmarks.gpu`, and how far results are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.kernels.cuda import cuda
from tabular_fedrl.loops import Batch

Check = tuple[str, float, float]
"""What was compared, the largest difference, and the largest one allowed."""


def sparse_problem(
    g: np.random.Generator, S: int, A: int, width: int, m: int, *, uneven: bool = False, reach: int = 0
) -> CMDP:
    """Rows of ``width`` successors, or of 1 to 2 ``width`` - 1 of them; within ``reach`` states on a ring, or
    anywhere (0)."""
    lengths = g.integers(1, 2 * width, size=S * A) if uneven else np.full(S * A, width)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(S * A), lengths)
    place = np.arange(starts[-1]) - starts[row]
    # Disjoint stretches, one for each successor, so that none comes twice.
    stretch = (2 * reach + 1 if reach else S) // (2 * width if uneven else width)
    offset = place * stretch + g.integers(stretch, size=starts[-1]) - reach
    successors = (row // A + offset) % S
    weights = g.random(starts[-1]) + 0.01
    weights /= np.bincount(row, weights)[row]
    P = sp.csr_array((weights, successors, starts), shape=(S * A, S))
    P.sort_indices()
    d = g.random(m)
    return CMDP(P, g.random((S, A)), g.random((m, S, A)), d, np.full(S, 1 / S), 0.99)


def tables(x: np.ndarray) -> np.ndarray:
    """``(..., S, A)`` with the state innermost."""
    return np.array(np.swapaxes(x, -1, -2), order="C")


def poisoned(*shape: int) -> Any:
    return cuda.to_device(np.full(shape, np.nan))


def largest(x: np.ndarray, y: np.ndarray) -> float:
    """Largest difference; NaN agrees with NaN only."""
    both = np.isnan(x) & np.isnan(y)
    return float(np.max(np.where(both, 0.0, np.abs(np.where(both, 0.0, x - y))), initial=0.0))


def worst(found: Any) -> float:
    """The largest number; NaN wins."""
    return float(np.max(found))


def small_batch(g: np.random.Generator, B: int, S: int, A: int, m: int, N: int) -> tuple[Batch, list]:
    """B dense problems with steps ``eta, eta_dual, dual_cap``; agent i sees constraint i modulo m."""
    mask = np.arange(N)[:, None] % m == np.arange(m)
    P = g.standard_exponential((B, S, A, S))
    P /= P.sum(axis=-1, keepdims=True)
    rho = np.full((B, S), 1 / S)
    signals = g.random((B, S, A)), g.random((B, m, S, A)), 5 * g.random((B, m))
    batch = Batch(P, *signals, rho, np.full(B, 0.9), mask)
    return batch, [0.02 * g.random(B), 0.2 * g.random((B, m)), 1 + g.random((B, m))]
