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

from tabular_fedrl import linear
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import rounding
from tabular_fedrl.kernels import krylov
from tabular_fedrl.kernels.packed import policy_rows
from tabular_fedrl.kernels.sparse import greedy_sweep
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.measured import UNIT, Array, Measured, dot

FIRST_SWEEPS = 20
"""Greedy sweeps before the first policy is evaluated, where no function to start from is known."""

SETTLED = 0.03
"""Part of the residual's first range from which on that is enough: on random graphs after half as many."""

FRACTION = 0.1
"""A policy is evaluated until its residual is this fraction of the greedy residual's range."""

FAST = 0.75
"""Sweeps go on while each leaves at most this part of the residual's range."""

MAX_ITERATIONS = 1000

MAX_SWEEPS = 100


@dataclass(frozen=True)
class Greedy:
    r"""A function and its greedy policy: ``V (S,)``; ``actions (S,)`` int32; the range ``low``, ``high`` of
    :math:`\mathcal T V - V`, rounding included."""

    V: Array
    actions: NDArray[np.int32]
    low: float
    high: float

    def values(self, gamma: float) -> Measured:
        r"""Enclosure ``(S,)`` of the policy's values, and of the optimal ones."""
        low, high = (Measured(x) / (1 - Measured(gamma)) for x in (self.low, self.high))
        between = Measured.between(low.lower, high.upper)
        return Measured(self.V) + between

    def at_start(self, cmdp: CMDP) -> Measured:
        """The same at rho, a scalar."""
        values = self.values(cmdp.gamma)
        mean = dot(Measured(values.value), cmdp.rho)
        blur = 2 * cmdp.row_error * float(np.abs(values.value).max())
        return mean.widened(float(values.error.max()) * (1 + 16 * UNIT) + blur)


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
    largest = krylov.largest(signal[None], (1, 2)).reshape(1, 1, 1)
    first = FIRST_SWEEPS if start is None else 0
    best: Greedy | None = None
    widest = np.inf
    evaluated: dict[bytes, float] = {}
    for sweep in range(MAX_ITERATIONS):
        signal = make() if signal is None else signal
        low, high = greedy_sweep(rows, signal, gamma, V, ahead, actions)
        noise = float(rounding(cmdp, largest, V[None])[0])
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
        tolerance = max(FRACTION * width, enough) if before == np.inf else enough if before > enough else 0.0
        evaluated[key] = tolerance
        f_pi, signal = np.take_along_axis(signal, actions[:, None], axis=1), None
        V, ahead = _evaluated(cmdp, f_pi, actions, V, ahead, tolerance)
    assert best is not None
    return best


def _evaluated(
    cmdp: CMDP, f_pi: Array, actions: NDArray[np.int32], V: Array, ahead: Array, tolerance: float
) -> tuple[Array, Array]:
    """``V (S,)`` moved towards the policy's values for ``f_pi (S, 1)`` until the residual is at most
    ``tolerance``, or rounding; and room for another function. ``V`` and ``ahead (S,)`` are overwritten."""
    rows, alone = policy_rows(rows_of(cmdp), actions), np.empty_like(actions)
    shift = cmdp.gamma / (1 - cmdp.gamma) * 0.5
    enough = max(2 * tolerance, 16 * UNIT * float(krylov.largest(V)))
    before = np.inf
    for _ in range(MAX_SWEEPS):
        low, high = greedy_sweep(rows, f_pi, cmdp.gamma, V, ahead, alone)
        ahead += shift * (low + high)
        V, ahead = ahead, V
        if high - low <= enough:
            return V, ahead
        if high - low > FAST * before:
            break
        before = high - low
    # To pack them again takes no time beside what follows, but as much room.
    del rows, alone
    return linear.values(cmdp, actions, f_pi[None], V[:, None], tolerance)[0][:, 0], ahead
