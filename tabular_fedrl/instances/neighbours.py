r"""Families of slow-mixing sparse CMDPs: Garnets whose successors lie near their state, on a ring or a grid.

Information travels a few states per step, so that mixing takes about :math:`S^2` steps on a ring and S on a
grid, where a Garnet mixes in a handful. Rows are even (b successors for every state-action pair), signals as
in a Garnet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draws import at_least, limit_size, subsets
from tabular_fedrl.instances.thresholds import swept_thresholds


def ring(S: int = 100, A: int = 4, b: int = 3, m: int = 1, seed: int = 0, gamma: float = 0.99) -> CMDP:
    """Ring: b distinct successors among the 2b+1 nearest states of a circle (the state itself included), with
    flat Dirichlet weights; rewards and costs U[0,1]; rho uniform; stored sparse.

    Thresholds: :func:`~tabular_fedrl.instances.thresholds.swept_thresholds`.
    """
    at_least("ring", S=(S, 1), A=(A, 1), b=(b, 1), m=(m, 0), seed=(seed, 0))
    if 2 * b + 1 > S:
        raise InvalidProblem(f"ring: the 2b+1 = {2 * b + 1} nearest states do not exist among S = {S}")
    limit_size("ring", S * A * (b + m))
    draw = np.random.default_rng(seed)
    offsets = subsets(draw, S * A, 2 * b + 1, b).astype(np.int32) - np.int32(b)
    return _problem(draw, (offsets + np.repeat(np.arange(S, dtype=np.int32), A)[:, None]) % S, S, m, gamma)


def grid(
    rows: int = 10,
    columns: int = 10,
    A: int = 4,
    b: int = 4,
    m: int = 1,
    seed: int = 0,
    gamma: float = 0.99,
) -> CMDP:
    """Grid: b distinct successors in the block of 3 x 3 cells around the state (shifted inwards at the
    border), with flat Dirichlet weights; rewards and costs U[0,1]; rho uniform; stored sparse.

    State ``row * columns + column``. Thresholds:
    :func:`~tabular_fedrl.instances.thresholds.swept_thresholds`.
    """
    at_least("grid", rows=(rows, 3), columns=(columns, 3), A=(A, 1), b=(b, 1), m=(m, 0), seed=(seed, 0))
    if b > 9:
        raise InvalidProblem(f"grid: b = {b} distinct successors do not exist among 9 cells")
    S = rows * columns
    limit_size("grid", S * A * (b + m))
    draw = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(S, dtype=np.int32), np.int32(columns))
    corner = np.clip(row - 1, 0, rows - 3) * columns + np.clip(column - 1, 0, columns - 3)
    down, right = np.divmod(subsets(draw, S * A, 9, b).astype(np.int32), np.int32(3))
    return _problem(draw, np.repeat(corner, A)[:, None] + down * np.int32(columns) + right, S, m, gamma)


def _problem(draw: np.random.Generator, successors: NDArray[Any], S: int, m: int, gamma: float) -> CMDP:
    """Weights, signals and thresholds for ``successors (S*A, b)``, distinct in each row."""
    pairs, b = successors.shape
    A = pairs // S
    successors = np.sort(successors, axis=1)  # the weights are exchangeable
    weights = draw.standard_exponential((pairs, b))
    weights /= weights.sum(axis=1, keepdims=True)
    r = draw.uniform(size=(S, A))
    c = draw.uniform(size=(m, S, A))
    starts = np.arange(0, pairs * b + 1, b, dtype=np.int32)
    P = sp.csr_array((weights.ravel(), successors.ravel(), starts), shape=(pairs, S))
    problem = CMDP(P, r, c, np.zeros(m), np.full(S, 1.0 / S), gamma)
    return problem.replace(d=swept_thresholds(problem)) if m else problem
