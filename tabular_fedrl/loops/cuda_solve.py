r"""Linear systems :math:`x = b + \gamma L x` on the CUDA device, L a policy's kernel or its transpose.

BiCGSTAB for k right-hand sides at once, restarted on the true residual; where it makes no progress (it can
break down silently), plain sweeps, each of which contracts the error by :math:`\gamma`. Vectors are
``(S, k)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.kernels.cuda import BLOCK, PARTIALS, blocks, cuda, krylov, reductions
from tabular_fedrl.measured import UNIT, Array

ITERATIONS = 200
"""Iterations of BiCGSTAB between two looks at the true residual."""

GLANCE = 10
"""Iterations between two looks at the residual that the recursion carries."""

ATTEMPTS = 60
"""Restarts before a system is given up."""

SWEEPS = 60
"""Plain sweeps where BiCGSTAB makes no progress; an even number."""

ACCEPT = 1e-10
"""Largest residual, relative to the answer, that a system may be left with."""

Apply: TypeAlias = Callable[[float, Any, Any, Any], None]
r"""``apply(sign, x, add, out)``: :math:`\text{out} = \text{add} + \text{sign}\,\gamma L x`; ``out`` is never
``x``."""


@dataclass(frozen=True)
class Solved:
    """``residual``: ``max_s |b + gamma L x - x|`` as computed, ``size``: ``max_s |x|``, both ``(k,)``;
    ``sweeps``: applications of L."""

    residual: Array
    size: Array
    sweeps: int


class Vectors(NamedTuple):
    """A sweep t, those of BiCGSTAB, and a copy to go back to."""

    t: Any
    r: Any
    shadow: Any
    p: Any
    v: Any
    before: Any


class Workspace:
    """Reductions over vectors ``(S, k)``, and systems of that size."""

    def __init__(self, S: int, k: int) -> None:
        self.S, self.k = S, k
        self._partial = {n: cuda.device_array((PARTIALS, n, k)) for n in (1, 2, 3)}
        self._total = {n: cuda.device_array((n, k)) for n in (1, 2, 3)}
        self._scalars = cuda.device_array((6, k))

    @cached_property
    def spare(self) -> Any:
        """One vector for whoever holds the workspace."""
        return cuda.device_array((self.S, self.k))

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors(*(cuda.device_array((self.S, self.k)) for _ in Vectors._fields))

    def each(self, kernel: Any, *arguments: Any) -> None:
        """Launch a kernel with one thread for each state."""
        kernel[blocks(self.S), BLOCK](*arguments)

    def dot(self, x: Any, y: Any) -> Array:
        """``sum_s x[s, q] y[s, q]``, ``(k,)``; ``y (S, 1)`` serves all q."""
        return np.asarray(self._sums(1, reductions.dot_partials, x, y).copy_to_host()[0])

    @property
    def depth(self) -> int:
        """Roundings on the way of one term of :meth:`dot`."""
        return ceil(self.S / (PARTIALS * BLOCK)) + ceil(PARTIALS / BLOCK) + 2 * int(log2(BLOCK)) + 4

    def extremes(self, x: Any, y: Any) -> Array:
        """Largest ``y - x``, ``x - y`` and ``|x|`` over states, ``(3, k)``; NaN wins."""
        reductions.extreme_partials[PARTIALS, BLOCK](x, y, self._partial[3])
        reductions.maxima[1, BLOCK](self._partial[3], self._total[3])
        return np.asarray(self._total[3].copy_to_host())

    def largest(self, x: Any) -> Array:
        """``max_s |x[s, q]|``, ``(k,)``; NaN wins."""
        return np.asarray(self.extremes(x, x)[2])

    def _sums(self, n: int, kernel: Any, *arguments: Any) -> Any:
        """The n sums of a two-stage reduction, ``(n, k)`` on the device."""
        kernel[PARTIALS, BLOCK](*arguments, self._partial[n])
        reductions.sums[1, BLOCK](self._partial[n], self._total[n])
        return self._total[n]

    def solve(self, apply: Apply, b: Any, x: Any, tolerance: float = 0.0) -> Solved:
        r"""Solve :math:`x = b + \gamma L x` in place, starting from x, until the residual is at most
        ``tolerance`` or what rounding permits.

        Raises
        ------
        SolverFailure: the residual stays above the tolerance and above :data:`ACCEPT` of the answer.
        """
        residual, size = self._residual(apply, b, x)
        count, sharper = 1, 0.25
        for _ in range(ATTEMPTS):
            goal = np.maximum(tolerance, 32 * UNIT * (size + residual))
            if (residual <= goal).all():
                return Solved(residual, size, count)
            self._vectors.before.copy_to_device(x)
            old, old_size = residual, size
            # The largest entry is at most the 2-norm, which may be sqrt(S) times as large.
            count += self._bicgstab(apply, x, (goal * sharper * self.S**0.5) ** 2)
            residual, size = self._residual(apply, b, x)
            worse = ~(residual <= old)
            if worse.any():
                self.each(krylov.restore, cuda.to_device(worse), self._vectors.before, x)
                residual, size = np.where(worse, old, residual), np.where(worse, old_size, size)
            sharper = max(sharper / 16, self.S**-0.5 / 4)
            if not (residual <= np.maximum(0.5 * old, goal)).all():
                count += self._plain(apply, b, x)
                residual, size = self._residual(apply, b, x)
        if (residual <= np.maximum(tolerance, ACCEPT * size)).all():
            return Solved(residual, size, count)
        raise SolverFailure(f"a system on the device stalled at a residual of {residual.max():.2e}")

    def _residual(self, apply: Apply, b: Any, x: Any) -> tuple[Array, Array]:
        """True residual and size of x, ``(k,)``; leaves one sweep of x in ``t``."""
        apply(1.0, x, b, self._vectors.t)
        up, down, size = self.extremes(x, self._vectors.t)
        return np.maximum(up, down), size

    def _plain(self, apply: Apply, b: Any, x: Any) -> int:
        t = self._vectors.t
        for _ in range(SWEEPS // 2):
            apply(1.0, x, b, t)
            apply(1.0, t, b, x)
        return SWEEPS + 1

    def _bicgstab(self, apply: Apply, x: Any, target2: Array) -> int:
        """Iterate from x and its sweep in ``t``; returns the number of sweeps, the next residual's too."""
        scalars, y = self._scalars, self._vectors
        opening = np.zeros((6, self.k))
        opening[krylov.TARGET2] = target2
        scalars.copy_to_device(opening)
        krylov.first[1, BLOCK](self._sums(2, krylov.start, y.t, x, y.r, y.shadow, y.p, y.v), scalars)
        for n in range(1, ITERATIONS + 1):
            self.each(krylov.direction, scalars, y.r, y.v, y.p)
            apply(-1.0, y.p, y.p, y.v)
            krylov.alpha[1, BLOCK](self._sums(1, reductions.dot_partials, y.shadow, y.v), scalars)
            self.each(krylov.half_step, scalars, y.v, y.r)
            apply(-1.0, y.r, y.r, y.t)
            krylov.omega[1, BLOCK](self._sums(2, krylov.pair_partials, y.t, y.r), scalars)
            ahead = self._sums(2, krylov.full_step, scalars, y.p, y.t, y.shadow, x, y.r)
            krylov.beta[1, BLOCK](ahead, scalars)
            if n % GLANCE == 0:
                found = scalars.copy_to_host()
                if not (found[krylov.NORM2] > target2).any() or not found[krylov.ALPHA].any():
                    break
        return 2 * n + 1
