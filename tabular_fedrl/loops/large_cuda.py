r"""The operations of :mod:`tabular_fedrl.loops.large` on the CUDA device, and the unconstrained optimum.

Values come with their true Bellman residual; what rounding does to it is bounded as in
:mod:`tabular_fedrl.evaluation`. Import this module only where a device is wanted: it imports CUDA.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.evaluation import policy_error
from tabular_fedrl.kernels.cuda import cuda, require_device, steps, sweeps
from tabular_fedrl.kernels.cuda.rows import UnevenRows, upload, upload_transposed
from tabular_fedrl.loops.cuda_solve import Workspace
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import CompactPolicy

SINGLE = 2.0**-24
"""Unit roundoff of float32, by which stored weights may be off."""

FIRST_SWEEPS = 60
"""Optimal sweeps that choose the first policy; an even number."""

IMPROVEMENTS = 1000
"""Policies before the optimum is given up."""

FORCING = 0.1
"""A policy is evaluated to this share of the residual by which its predecessor missed the optimum."""

INFLATE = 1 + 16 * UNIT
"""Covers the rounding of the radii themselves."""


@dataclass(frozen=True)
class Optimum:
    """``value``: enclosure of ``max V_r(rho)``; the greedy ``actions (S,)`` and the values ``(S, 1)`` that
    prove it, on the device; ``sweeps`` taken."""

    value: Measured
    actions: Any
    values: Any
    sweeps: int


class Device:
    """One sparse problem on the device; handles are its arrays, tables ``(A, S)`` and values ``(S, k)``.

    Parameters
    ----------
    comparator: policy and its enclosed visitation ``(S,)`` that :meth:`divergence` starts from.
    storage: the type of P's weights; float32 rounds them, for which the error bounds account.
    tolerance: Bellman residual at which an evaluation ends, in units of the signals; 0: what rounding
        permits.
    """

    def __init__(
        self,
        cmdp: CMDP,
        comparator: tuple[CompactPolicy, Measured] | None = None,
        *,
        storage: Any = np.float64,
        tolerance: float = 0.0,
    ) -> None:
        require_device()
        if not cmdp.is_sparse:
            raise InvalidProblem("P is dense, and the large CUDA kernels are for sparse problems")
        self.cmdp, self.storage, self.tolerance = cmdp, np.dtype(storage), tolerance
        self.S, self.A, self.k = cmdp.S, cmdp.A, 1 + cmdp.m
        self.rows = upload(cmdp.P, storage)
        self.f = cuda.to_device(np.array(np.swapaxes(cmdp.signals, 1, 2), order="C"))
        self.rho = cuda.to_device(cmdp.rho.reshape(-1, 1).copy())
        self.largest = np.array([max(abs(float(f.max())), abs(float(f.min()))) for f in cmdp.signals])
        self.space = cache(lambda k: Workspace(self.S, k))
        self.pi, self.means = self.table(), self.table()
        self.comparator = comparator
        if comparator is not None:
            self._best = self.hold(comparator[0].table())
            self._visits = cuda.to_device(np.array(comparator[1].value).reshape(-1, 1))

    @cached_property
    def transposed(self) -> UnevenRows:
        """P by successors, for the visitation."""
        return upload_transposed(self.cmdp.P, self.storage)

    # ---- handles ----------------------------------------------------------------------------------------
    def table(self) -> Any:
        return cuda.device_array((self.A, self.S))

    def hold(self, array: Array) -> Any:
        return cuda.to_device(np.array(array.T, order="C"))

    def array(self, held: Any) -> Array:
        return np.ascontiguousarray(held.copy_to_host().T)

    def values(self, like: Any = None) -> Any:
        if like is None:
            return cuda.to_device(np.zeros((self.S, self.k)))
        copy = cuda.device_array(like.shape)
        copy.copy_to_device(like)
        return copy

    def hold_values(self, array: Array) -> Any:
        return cuda.to_device(np.array(array))

    def array_values(self, held: Any) -> Array:
        return np.asarray(held.copy_to_host())

    # ---- evaluation -------------------------------------------------------------------------------------
    def evaluate(self, log_pi: Any, V: Any, room: Any = None) -> Measured:
        pi = self.pi if room is None else room
        self.space(1).each(steps.softmax, log_pi, pi)
        space = self.space(self.k)
        found = self._values_of(pi, self.f, V, self.tolerance)
        blur = 2 * policy_error(self.A) * (self.largest + 2 * found.size)
        far = found.residual + self._rounding(self.largest, found.size) + blur
        start = (space.depth * UNIT + 2 * self.cmdp.row_error) * found.size
        return Measured(space.dot(V, self.rho), (far / (1 - self.cmdp.gamma) + start) * INFLATE)

    def mix(self, V: Any, weights: Array, onto: Any = None) -> Any:
        mixed = cuda.to_device(np.zeros((self.S, 1))) if onto is None else onto
        self.space(1).each(steps.combine, self._weights(weights), V, mixed)
        return mixed

    def evaluate_mixed(
        self, log_pi: Any, near: Any, weights: Array, onto: Any = None, room: Any = None
    ) -> tuple[Measured, Any]:
        V = self.values(near)
        return self.evaluate(log_pi, V, room), self.mix(V, weights, onto)

    def _values_of(self, pi: Any, f: Any, V: Any, tolerance: float) -> Any:
        """Values of signals ``f (k, A, S)`` under probabilities ``pi``, from V, in place."""
        space = self.space(V.shape[1])
        space.each(steps.policy_signals, f, pi, space.spare)
        return space.solve(
            lambda sign, x, add, out: self.rows.policy(pi, sign * self.cmdp.gamma, x, add, out),
            space.spare,
            V,
            tolerance,
        )

    def _rounding(self, largest: Any, size: Any) -> Any:
        """What rounding does to a sweep (:func:`tabular_fedrl.evaluation.rounding`), and storage to P."""
        terms = (self.cmdp.max_row + self.A + 4) * UNIT + 2 * self.cmdp.row_error
        stored = SINGLE * self.cmdp.gamma if self.storage == np.float32 else 0.0
        return terms * (largest + 2 * size) + stored * size

    def visitation(self, pi: Any) -> Any:
        r"""The normalised visitation ``(S, 1)`` from rho under probabilities ``pi``, in plain floats."""
        space, through = self.space(1), cuda.device_array((self.A * self.S, 1))
        space.each(steps.scale, 1 - self.cmdp.gamma, self.rho, space.spare)
        d = self.values(self.rho)

        def apply(sign: float, x: Any, add: Any, out: Any) -> None:
            space.each(sweeps.flow, x, pi, through)
            self.transposed.sum(sign * self.cmdp.gamma, through, add, out)

        space.solve(apply, space.spare, d)
        return d

    # ---- steps ------------------------------------------------------------------------------------------
    def natural_step(self, log_pi: Any, mixed: Any, weights: Array, step: float, out: Any) -> bool:
        return self._step(self._weights(weights), self.f, mixed, mixed, False, step, log_pi, out)

    def vanilla_step(self, log_pi: Any, mixed: Any, weights: Array, step: float, out: Any) -> bool:
        self.space(1).each(steps.softmax, log_pi, self.pi)
        visits = self.visitation(self.pi)
        return self._step(self._weights(weights), self.f, mixed, visits, True, step, log_pi, out)

    def soft_step(
        self, log_pi: Any, mixed: Any, weights: Array, entropy: float, step: float, out: Any
    ) -> bool:
        soft = cuda.device_array((1, self.A, self.S))
        self.space(1).each(steps.soft_signal, self._weights(weights), self.f, entropy, log_pi, soft)
        self.space(1).each(steps.softmax, log_pi, self.pi)
        self._values_of(self.pi, soft, mixed, self.tolerance)
        return self._step(self._weights(np.ones(1)), soft, mixed, mixed, False, step, log_pi, out)

    def _weights(self, weights: Array) -> Any:
        return cuda.to_device(np.array(weights, dtype=np.float64))

    def _step(
        self, w: Any, f: Any, v: Any, visits: Any, vanilla: bool, step: float, log_pi: Any, out: Any
    ) -> bool:
        space = self.space(1)
        self.rows.means(v, self.means)
        space.each(
            steps.primal_step,
            *(w, f, self.means, self.cmdp.gamma, v, visits, vanilla, step, log_pi, out, space.spare),
        )
        return self._finite()

    def add(self, log_pi: Any, weight: float, geometric: bool, opening: bool, mean: Any) -> None:
        self.space(1).each(steps.add, log_pi, weight, geometric, opening, mean)

    def normalise(self, logits: Any) -> bool:
        self.space(1).each(steps.log_softmax, logits, self.space(1).spare)
        return self._finite()

    def _finite(self) -> bool:
        """Whether the largest logarithms, which a kernel left in ``spare``, are finite."""
        return bool(np.isfinite(self.space(1).largest(self.space(1).spare)).all())

    def largest_move(self, log_p: Any, log_q: Any) -> float:
        space = self.space(1)
        space.each(steps.moves, log_p, log_q, space.spare)
        return float(space.largest(space.spare)[0])

    def divergence(self, log_q: Any) -> Measured:
        if self.comparator is None:
            raise InvalidProblem("there is no comparator to diverge from")
        space = self.space(2)
        space.each(steps.divergence, self._best, log_q, space.spare)
        mean, size = space.dot(space.spare, self._visits)
        reach = float(space.largest(space.spare)[0])
        blur = (space.depth + self.A + 8) * UNIT * (size + 1) + 2 * policy_error(self.A) * (size + 2)
        return Measured(mean, (blur + float(np.max(self.comparator[1].error)) * (reach + blur)) * INFLATE)

    # ---- the optimum ------------------------------------------------------------------------------------
    def optimise(self, tolerance: float) -> Optimum:
        r"""The best policy for the reward, its value at rho enclosed within ``tolerance`` or as far as
        rounding permits.

        Inexact policy iteration. For any v, with :math:`\mathcal T v` its optimal sweep,

        .. math:: v - \frac{1}{1-\gamma} \max_s [v - \mathcal T v] \le V^* \le
                  v + \frac{1}{1-\gamma} \max_s [\mathcal T v - v] .

        Raises
        ------
        SolverFailure: the enclosure is still wider after :data:`IMPROVEMENTS` policies.
        """
        space, gamma = self.space(1), self.cmdp.gamma
        v, swept = cuda.to_device(np.zeros((self.S, 1))), cuda.device_array((self.S, 1))
        actions, margin = cuda.to_device(np.zeros(self.S, dtype=np.int32)), 0.0
        for _ in range(FIRST_SWEEPS // 2):
            self.rows.greedy(self.f[0], gamma, v, margin, actions, swept)
            self.rows.greedy(self.f[0], gamma, swept, margin, actions, v)
        count = FIRST_SWEEPS
        for _ in range(IMPROVEMENTS):
            self.rows.greedy(self.f[0], gamma, v, margin, actions, swept)
            up, down, size = space.extremes(v, swept)[:, 0]
            margin = float(self._rounding(self.largest[0], size))
            start = (space.depth * UNIT + 2 * self.cmdp.row_error) * size
            reach = np.array([-down - margin, up + margin]) / (1 - gamma) + [-start, start]
            low, high = space.dot(v, self.rho)[0] + reach * INFLATE
            if high - low <= tolerance or max(abs(up), abs(down)) <= margin:
                return Optimum(Measured.between(low, high), actions, v, count + 1)
            space.each(sweeps.one_hot, actions, self.pi)
            v.copy_to_device(swept)
            goal = FORCING * max(abs(float(up)), abs(float(down)))
            count += 1 + self._values_of(self.pi, self.f[:1], v, goal).sweeps
        raise SolverFailure(
            f"{IMPROVEMENTS} policies leave the optimum enclosed within {high - low:.2e} only"
        )
