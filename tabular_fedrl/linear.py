r"""The linear systems of evaluating a policy of a large sparse problem: which method for which structure.

Values solve :math:`(I - \gamma P_\pi) V = f_\pi`, the visitation :math:`(I - \gamma P_\pi^T) d =
(1-\gamma)\mu`. A Krylov method needs nothing but products, from ten (a graph that mixes fast) to several
hundred (one that mixes slowly, :math:`\gamma` near 1), and starts from whatever is known already.

Answers carry their true residual; callers bound their error through it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.kernels import krylov, sparse
from tabular_fedrl.kernels.sparse_rows import Rows, rows_of
from tabular_fedrl.measured import UNIT, Array

ROUNDING = 10 * UNIT
"""A residual this small against the answer is as small as rounding lets it be."""

ACCEPT = 1e-10
"""A larger residual against the answer is a failure."""


def values(
    cmdp: CMDP,
    policy: NDArray[Any],
    f: Array | None = None,
    start: Array | None = None,
    tolerance: float | None = None,
) -> tuple[Array, Array]:
    r"""Values ``V (S, k)`` of a policy of a sparse problem, and the largest size ``(k,)`` of the residual
    :math:`f_\pi + \gamma P_\pi V - V` that they leave.

    Parameters
    ----------
    policy: probabilities ``(S, A)``, or for a deterministic policy its actions ``(S,)`` (integers).
    f: signals ``(k, S, A)``, default the reward and the costs.
    start: values ``(S, k)`` to start from; overwritten by the answer and returned as it.
    tolerance: residual that is enough, in units of the signals; default: as small as rounding allows.

    Raises
    ------
    SolverFailure: the residual stays above 1e-10 of the answer's size.
    """
    rows, pi = _policy(cmdp, policy)
    signals = cmdp.signals if f is None else f
    if pi is None:
        signals = np.take_along_axis(signals, policy.astype(np.int64)[None, :, None], axis=2)
    V = np.zeros((cmdp.S, len(signals))) if start is None else start
    equations = _Values(rows, pi, signals, cmdp.gamma)
    size, _ = krylov.solve(equations, V, _goal(tolerance, V), ROUNDING)
    _accept(size, V, tolerance)
    return V, size


def visits(
    cmdp: CMDP,
    policy: NDArray[Any],
    mu: Array | None = None,
    start: Array | None = None,
    tolerance: float | None = None,
) -> tuple[Array, float]:
    r"""Normalised visitation ``d (S,)`` of a policy of a sparse problem from the law ``mu (S,)``, default
    rho, and the 1-norm of the residual :math:`(1-\gamma)\mu + \gamma P_\pi^T d - d`.

    ``policy``, ``start (S,)``: as in :func:`values`; ``tolerance``: the residual's 1-norm that is enough.
    Entries may be negative by as much as the residual allows.

    Raises
    ------
    SolverFailure: as :func:`values`.
    """
    rows, pi = _policy(cmdp, policy)
    d = np.zeros((cmdp.S, 1)) if start is None else start[:, None]
    equations = _Visits(rows, pi, cmdp.rho if mu is None else mu, cmdp.gamma)
    each = None if tolerance is None else tolerance / cmdp.S
    size, _ = krylov.solve(equations, d, _goal(each, d), ROUNDING)
    _accept(size, d, each)
    return d[:, 0], equations.total


class _Values:
    """The equations of values, as :class:`krylov.Operator`."""

    def __init__(self, rows: Rows, pi: Array | None, f: Array, gamma: float) -> None:
        self.rows, self.pi, self.f, self.gamma = rows, pi, f, gamma

    def residual(self, x: Array, out: Array) -> Array:
        return sparse.policy_residual(self.rows, self.pi, self.f, self.gamma, x, out)

    def product(self, x: Array, out: Array, other: Array) -> Array:
        return sparse.policy_product(self.rows, self.pi, self.gamma, x, out, other)


class _Visits:
    """The equations of the visitation, as :class:`krylov.Operator`; ``total``: the last residual's 1-norm."""

    def __init__(self, rows: Rows, pi: Array | None, mu: Array, gamma: float) -> None:
        self.rows, self.pi, self.mu, self.gamma, self.total = rows, pi, mu, gamma, np.inf

    def residual(self, x: Array, out: Array) -> Array:
        size, self.total = sparse.flow_residual(self.rows, self.pi, self.mu, self.gamma, x, out)
        return size

    def product(self, x: Array, out: Array, other: Array) -> Array:
        return sparse.flow_product(self.rows, self.pi, self.gamma, x, out, other)


def _policy(cmdp: CMDP, policy: NDArray[Any]) -> tuple[Rows, Array | None]:
    rows = rows_of(cmdp)
    if policy.ndim == 1:
        return sparse.policy_rows(rows, policy), None
    return rows, policy


def _goal(tolerance: float | None, x: Array) -> Array:
    return np.full(x.shape[1], 0.0 if tolerance is None else tolerance)


def _accept(size: Array, x: Array, tolerance: float | None) -> None:
    enough = np.maximum(ACCEPT * krylov.largest(x), 0.0 if tolerance is None else tolerance)
    if not (size <= enough).all():
        raise SolverFailure(f"sparse evaluation stalled at a residual of {size.max():.2e}")
