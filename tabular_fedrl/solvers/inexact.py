r"""Inexact policy iteration for sparse problems: greedy sweeps, policies evaluated no further than they need.

A greedy sweep at any function V gives :math:`\mathcal T V`, the greedy policy :math:`\pi` and the range of
the residual :math:`\delta = \mathcal T V - V`. Because :math:`\mathcal T` is monotone and moves constants by
:math:`\gamma`,

.. math:: V + \frac{\min \delta}{1-\gamma} \;\le\; V^\pi \;\le\; V^* \;\le\; V + \frac{\max \delta}{1-\gamma},

whatever V is. The policy is then evaluated until its own residual is a fraction of that range: by plain
sweeps where they contract fast (random graphs), by :mod:`tabular_fedrl.linear` where they do not, from the
last function on. Source: the bounds, MacQueen (1966); modified policy iteration, Puterman and Shin (1978).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl import linear, methods
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import unit_rounding
from tabular_fedrl.kernels import krylov
from tabular_fedrl.kernels.packed import policy_rows
from tabular_fedrl.kernels.sparse import greedy_sweep
from tabular_fedrl.kernels.sparse_rows import Rows, rows_of
from tabular_fedrl.kernels.successive import approach
from tabular_fedrl.measured import UNIT, Array, Measured, dot

FIRST_SWEEPS = 20
"""Greedy sweeps before the first policy is evaluated, where no function to start from is known."""

SETTLED = 0.03
"""Part of the residual's first range from which on that is enough: on random graphs after half as many."""

FRACTION = 0.1
"""A policy is evaluated until its residual is this fraction of the greedy residual's range, and from each
time on that the range has grown, of this fraction of that."""

MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Greedy:
    r"""A function and its greedy policy: ``V (S,)``; ``actions (S,)`` int32; the range ``low``, ``high`` of
    :math:`\mathcal T V - V`, rounding included."""

    V: Array
    actions: NDArray[np.int32]
    low: float
    high: float

    def _above(self, gamma: float) -> tuple[float, float]:
        """By how much the policy's values, and the optimal ones, are above V: middle and radius."""
        # Each is off by three roundings.
        blur = 4 * UNIT * (abs(self.low) + abs(self.high))
        return (
            0.5 * (self.low + self.high) / (1 - gamma),
            (0.5 * (self.high - self.low) + blur) / (1 - gamma),
        )

    def values(self, gamma: float) -> Measured:
        r"""Enclosure ``(S,)`` of the policy's values, and of the optimal ones."""
        middle, radius = self._above(gamma)
        return Measured(self.V) + Measured(middle, radius * (1 + 16 * UNIT))

    def at_start(self, cmdp: CMDP) -> Measured:
        """The same at rho, a scalar."""
        middle, radius = self._above(cmdp.gamma)
        values = self.V + middle
        blur = (UNIT + 2 * cmdp.row_error) * float(krylov.largest(values))
        return dot(values, cmdp.rho).widened((radius + blur) * (1 + 16 * UNIT))


def improve(
    cmdp: CMDP, f: Array | Callable[[], Array], start: Array | None = None, accuracy: float = 0.0
) -> Greedy:
    """Maximise the signal ``f (S, A)`` of a sparse problem, to ``accuracy`` in units of value (0: as far as
    rounding permits), from the function ``start (S,)``. A signal that ``f()`` makes is not held while
    policies are evaluated."""
    rows, gamma = rows_of(cmdp), cmdp.gamma
    make: Callable[[], Array] = f if callable(f) else lambda: f
    signal: Array | None
    signal = make()
    V = np.zeros(cmdp.S) if start is None else start
    ahead, actions = np.empty(cmdp.S), np.empty(cmdp.S, dtype=np.int32)
    largest, unit = float(krylov.largest(signal, None)), unit_rounding(cmdp)
    first = FIRST_SWEEPS if start is None else 0
    best: Greedy | None = None
    widest = np.inf
    evaluated: dict[bytes, float] = {}
    fraction, last = FRACTION, np.inf
    for sweep in range(MAX_ITERATIONS):
        signal = make() if signal is None else signal
        low, high = greedy_sweep(rows, signal, gamma, V, ahead, actions)
        noise = unit * (largest + 2 * float(krylov.largest(V)))
        width = high - low
        if best is None or width + 2 * noise < best.high - best.low:
            best = Greedy(V, actions.copy(), low - noise, high + noise)
        goal = max(accuracy * (1 - gamma), noise)
        if width <= goal:
            break
        V = ahead + gamma / (1 - gamma) * 0.5 * (low + high)
        widest = width if sweep == 0 else widest
        if sweep < first and width > SETTLED * widest:
            continue
        # A policy that comes back was evaluated too coarsely; one that was evaluated to rounding takes turns
        # with its equals.
        key, enough = blake2b(actions.tobytes()).digest(), 0.25 * goal
        before = evaluated.get(key, np.inf)
        if before == 0.0:
            break
        if evaluated:
            # Where information travels slowly small residuals leave large errors: policies may get worse.
            fraction *= FRACTION if width > last else 1.0
            last = width
        tolerance = max(fraction * width, enough) if before == np.inf else enough if before > enough else 0.0
        evaluated[key] = tolerance
        f_pi, signal = np.take_along_axis(signal, actions[:, None], axis=1), None
        V, ahead, settled, own = _approached(cmdp, f_pi, actions, V, ahead, tolerance)
        if not settled:
            del ahead
            V = linear.values(cmdp, actions, f_pi[None], V[:, None], tolerance, own)[0][:, 0]
            ahead = np.empty(cmdp.S)
    assert best is not None
    return best


def _approached(
    cmdp: CMDP, f_pi: Array, actions: NDArray[np.int32], V: Array, ahead: Array, tolerance: float
) -> tuple[Array, Array, bool, Rows | None]:
    """``V (S,)`` moved by sweeps towards the policy's values for ``f_pi (S, 1)``, room for another function,
    whether the residual is at most ``tolerance``, and the policy's rows where they are few enough to be held.
    ``V`` and ``ahead (S,)`` are overwritten."""
    rows = policy_rows(rows_of(cmdp), actions)
    x, spare, settled = approach(
        rows, None, f_pi.T, cmdp.gamma, V[:, None], ahead[:, None], np.full(1, tolerance)
    )
    return x[:, 0], spare[:, 0], settled, rows if methods.held(cmdp, rows) else None
