r"""The linear systems of evaluating a policy of a large sparse problem: which method for which structure.

Values solve :math:`(I - \gamma P_\pi) V = f_\pi`, the visitation :math:`(I - \gamma P_\pi^T) d =
(1-\gamma)\mu`. Where the states can be lined up so that successors stand near (a ring, a corridor, a narrow
grid), elimination is by far the fastest. Elsewhere one starts from whatever is known already and needs
nothing but products: for values on a graph that mixes fast thirty sweeps at most
(:mod:`tabular_fedrl.kernels.successive`); otherwise a Krylov method's, which where information travels slowly
(a wide grid) and :math:`\gamma` is near 1 are several hundred, or a quarter of that with Gauss-Seidel sweeps
as a preconditioner (:mod:`tabular_fedrl.kernels.gauss_seidel`). Closer to 1 it may take thousands, or fail:
where it has taken as long as elimination would, that takes over. If the order the states come in is scattered
but a local one exists, it works in that.

Answers carry their true residual, as computed in floats; callers bound their error through it and charge it
with its own rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl import methods
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.kernels import band, flows, gauss_seidel, krylov, packed, sparse, successive, triangles
from tabular_fedrl.kernels.sparse_rows import Rows, rows_of
from tabular_fedrl.measured import UNIT, Array

ROUNDING = 10 * UNIT
"""A residual this small against the answer is as small as rounding lets it be."""

NEARLY = 64 * UNIT
"""The same for an answer that was found another way and need not be polished."""

NEARER = 0.9
"""What was found another way is to be this much nearer, so that rounding does not call for more."""

LARGE = 1 << 15
"""States from which on a policy's rows and triangles leave a processor's own cache, and corrections are made
in single precision."""

COARSEST = 1e-3
"""Part of the residual that a correction in single precision may leave; else it is made in double."""

GAINED = 0.3
"""Part of the residual that a correction may leave for another one to be made."""

ACCEPT = 1e-10
"""A larger residual against the answer is a failure."""


def values(
    cmdp: CMDP,
    policy: NDArray[Any],
    f: Array | None = None,
    start: Array | None = None,
    tolerance: float | None = None,
    own: Rows | None = None,
) -> tuple[Array, Array]:
    r"""Values ``V (S, k)`` of a policy of a sparse problem, and the largest size ``(k,)`` of the residual
    :math:`f_\pi + \gamma P_\pi V - V` that they leave.

    Parameters
    ----------
    policy: probabilities ``(S, A)``, or for a deterministic policy its actions ``(S,)`` (integers).
    f: signals ``(k, S, A)``, or for a deterministic policy those of its actions, ``(k, S, 1)``; default the
        reward and the costs.
    start: values ``(S, k)`` to start from; overwritten by the answer and returned as it.
    tolerance: residual that is enough, in units of the signals; default: as small as rounding allows.
    own: a deterministic policy's rows, where they are held already.

    Raises
    ------
    SolverFailure: the residual stays above 1e-10 of the answer's size.
    """
    signals = cmdp.signals if f is None else f
    if policy.ndim == 1 and signals.shape[2] > 1:
        signals = np.ascontiguousarray(np.take_along_axis(signals, policy[None, :, None], axis=2))
    V = np.zeros((cmdp.S, len(signals))) if start is None else start
    goal = np.full(V.shape[1], 0.0 if tolerance is None else tolerance)
    relative = ROUNDING
    line, resort = methods.line_of(cmdp), methods.last_resort(cmdp)
    if line.width <= methods.narrow(cmdp):
        band.solve_values(rows_of(cmdp), policy, signals, cmdp.gamma, line.order, line.width, V)
        relative = NEARLY
    elif methods.prepared(cmdp, policy):
        mean = _mean(policy if policy.ndim == 2 else None, signals)
        x, f_pi = (V, mean) if not line.moved else (V[line.order], np.take(mean, line.order, axis=1))
        if line.slow:
            held = None if line.moved else own
            size = _refined(
                cmdp, policy, lambda rows: _Values(rows, None, f_pi[..., None], cmdp.gamma), x, goal, held
            )
            if methods.own_rows(cmdp, policy) and _within(NEARLY, size, krylov.largest(V), goal):
                return V, size
        else:
            _swept(methods.quick_rows(cmdp, policy), None, f_pi[..., None], cmdp.gamma, x, goal)
        if line.moved:
            V[line.order] = x
        relative = NEARLY
    rows, pi = methods.rows_to_sweep(cmdp, policy) if own is None else (own, None)
    size = np.empty(len(signals))
    count = methods.side_by_side(cmdp)
    for first in range(0, len(signals), count):
        these = slice(first, first + count)
        x = np.ascontiguousarray(V[:, these])
        given = rows, pi, signals[these], cmdp.gamma
        if relative == ROUNDING and not line.slow:
            size[these] = _swept(*given, x, goal[these])
        else:
            size[these], _ = krylov.solve(_Values(*given), x, goal[these], relative, resort.after)
        V[:, these] = x
    if resort.width and not _within(NEARLY, size, krylov.largest(V), goal):
        band.solve_values(rows_of(cmdp), policy, signals, cmdp.gamma, resort.order, resort.width, V)
        x = np.ascontiguousarray(V)
        size, _ = _Values(rows, pi, signals, cmdp.gamma).residual(x, np.empty_like(x))
    _accept(size, krylov.largest(V), goal)
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
    law = cmdp.rho if mu is None else mu
    # From a law on, the residual sums to 0. From 0 it would be a left eigenvector if the law is uniform, with
    # which BiCGSTAB breaks down.
    d = (law.copy() if start is None else start)[:, None]
    goal, relative = 0.0 if tolerance is None else tolerance, ROUNDING
    line, resort = methods.line_of(cmdp), methods.last_resort(cmdp)
    if line.width <= methods.narrow(cmdp):
        band.solve_visits(rows_of(cmdp), policy, law, cmdp.gamma, line.order, line.width, d[:, 0])
        relative = NEARLY
    elif methods.prepared(cmdp, policy):
        x, start_law = (d[line.order], law[line.order]) if line.moved else (d, law)
        if line.slow:
            goals = np.full(1, goal)
            size = _refined(cmdp, policy, lambda rows: _Visits(rows, None, start_law, cmdp.gamma), x, goals)
            if methods.own_rows(cmdp, policy) and _within(NEARLY, size, krylov.one_norm(d), goals):
                return d[:, 0], float(size[0])
        else:
            quick = _Visits(methods.quick_rows(cmdp, policy), None, start_law, cmdp.gamma)
            krylov.solve(quick, x, np.full(1, NEARER * goal), ROUNDING, resort.after, True)
            del quick
        if line.moved:
            d[line.order] = x
        relative = NEARLY
    rows, pi = methods.rows_to_sweep(cmdp, policy)
    equations = _Visits(rows, pi, law, cmdp.gamma)
    goals = np.full(1, goal)
    size, _ = krylov.solve(equations, d, goals, relative, resort.after, True)
    if resort.width and not _within(NEARLY, size, krylov.one_norm(d), goals):
        band.solve_visits(rows_of(cmdp), policy, law, cmdp.gamma, resort.order, resort.width, d[:, 0])
        size, _ = equations.residual(d, np.empty_like(d))
    _accept(size, krylov.one_norm(d), goals)
    return d[:, 0], float(size[0])


def _swept(rows: Rows, pi: Array | None, f: Array, gamma: float, x: Array, goal: Array) -> Array:
    """Solve in place, by sweeps as long as they contract fast; returns the residual's sizes ``(k,)``.
    ``f (k, S, A)``, ``x (S, k)``."""
    answer, spare, settled = successive.approach(rows, pi, _mean(pi, f), gamma, x, np.empty_like(x), goal)
    if answer is not x:
        x[:] = answer
    del answer, spare
    return krylov.solve(_Values(rows, pi, f, gamma), x, goal, NEARLY if settled else ROUNDING)[0]


def _mean(pi: Array | None, f: Array) -> Array:
    r""":math:`f_\pi`, ``(k, S)``, of signals ``f (k, S, A)``; A is 1 where no policy is given."""
    return f[..., 0] if pi is None else np.einsum("sa,ksa->ks", pi, f)


def _refined(
    cmdp: CMDP, policy: NDArray[Any], equations: Callable[[Rows], _Values | _Visits], x: Array, goal: Array,
    rows: Rows | None = None,
) -> Array:  # fmt: skip
    """Improve ``x (S, k)`` in place until the residual is at most ``goal (k,)``, rounding lets it fall no
    more, or too little is gained. Returns the residual's sizes ``(k,)``.

    What is missing solves the equations for the residual. In a large problem it is found to a few digits in
    single precision: what is swept takes half the memory, and less time where memory is waited for. The
    residual is that of the ``rows``, which where they are many are packed anew for it and not held meanwhile.
    """
    large = cmdp.S >= LARGE
    single = large and _attainable(cmdp, np.float32) <= COARSEST
    storage: Any = np.float32 if single else np.float64
    made, before = None, np.full(x.shape[1], np.inf)
    while True:
        rows = methods.quick_rows(cmdp, policy) if rows is None else rows
        system, r = equations(rows), np.empty_like(x)
        size, far = system.residual(x, r)
        flow = isinstance(system, _Visits)
        short = (size > NEARER * goal) & (size > 0.5 * NEARLY * far) & (size <= GAINED * before)
        if not short.any():
            return size
        del system
        swept = packed.transposed_rows(rows) if flow and made is None else rows
        # A flow's rows are turned round, which takes as much room again.
        rows = rows if not large or (methods.held(cmdp, rows) and not flow) else None
        if made is None:
            made = triangles.sweeps(swept, cmdp.gamma, methods.line_of(cmdp).reach, storage)
        del swept
        r, before = r.astype(storage, copy=False), size
        enough = np.maximum(NEARER * goal, _attainable(cmdp, storage) * size)
        for j in np.flatnonzero(short):
            _correct(gauss_seidel.Preconditioned(made, r[:, j], flow), enough[j], x[:, j], cmdp)


def _correct(missing: gauss_seidel.Preconditioned, enough: float, x: Array, cmdp: CMDP) -> None:
    """Add to ``x (S,)`` what is missing, found until the residual is ``enough``."""
    storage, most = missing.b.dtype, methods.last_resort(cmdp).after
    hidden, relative = np.zeros((x.size, 1), storage), 5 * float(np.finfo(storage).eps)
    krylov.solve(missing, hidden, np.full(1, enough), relative, most, missing.summed)
    x += missing.x[:-1]  # that of the last residual


def _attainable(cmdp: CMDP, storage: Any) -> float:
    """Part of the residual that may be left when what is missing has been found as exactly as it can be."""
    return 8 * float(np.finfo(storage).eps) * cmdp.horizon


class _Values:
    """The equations of values, as :class:`krylov.Operator`."""

    def __init__(self, rows: Rows, pi: Array | None, f: Array, gamma: float) -> None:
        self.rows, self.pi, self.f, self.gamma = rows, pi, f, gamma

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        size = sparse.policy_residual(self.rows, self.pi, self.f, self.gamma, x, out)
        return size, krylov.largest(x)

    def product(self, x: Array, out: Array, other: Array) -> Array:
        return sparse.policy_product(self.rows, self.pi, self.gamma, x, out, other)


class _Visits:
    """The equations of the visitation, as :class:`krylov.Operator`, residuals in the 1-norm."""

    def __init__(self, rows: Rows, pi: Array | None, mu: Array, gamma: float) -> None:
        self.rows, self.pi, self.mu, self.gamma = rows, pi, mu, gamma

    def residual(self, x: Array, out: Array) -> tuple[Array, Array]:
        _, total = flows.flow_residual(self.rows, self.pi, self.mu, self.gamma, x, out)
        return np.full(1, total), krylov.one_norm(x)

    def product(self, x: Array, out: Array, other: Array) -> Array:
        return flows.flow_product(self.rows, self.pi, self.gamma, x, out, other)


def _within(share: float, size: Array, far: Array, goal: Array) -> bool:
    return bool((size <= np.maximum(share * far, goal)).all())


def _accept(size: Array, far: Array, goal: Array) -> None:
    if not _within(ACCEPT, size, far, goal):
        raise SolverFailure(f"sparse evaluation stalled at a residual of {size.max():.2e}")
