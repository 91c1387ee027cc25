"""The operations of :mod:`tabular_fedrl.loops.large` on one processor: NumPy arrays, compiled kernels over
threads.

Beside the tables that the loop asks for, one more holds the probabilities of the policy in hand during its
evaluation, and its Q during a step; P, r and c are read in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import linear
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import policy_error
from tabular_fedrl.kernels import steps
from tabular_fedrl.kernels.krylov import largest
from tabular_fedrl.kernels.memory import make_room
from tabular_fedrl.kernels.sparse import action_values
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.kernels.threads import CHUNK, chunks, over_chunks
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import CompactPolicy

INFLATE = 1 + 2.0**-20
"""Covers the rounding of the radii themselves."""


ENOUGH = 0.25
"""Evaluations stop at a residual of this part of the bound on its rounding: a radius is at most so much
larger than it need be, and values agree with the specification's to a fraction of their radii."""

NOWHERE = np.empty(0)
"""No visitation: a step along the natural gradient."""


class Tables:
    """The operations on one sparse problem; ``comparator``: a policy and its visitation ``(S,)`` with a
    radius in the 1-norm, or None."""

    def __init__(self, cmdp: CMDP, comparator: tuple[CompactPolicy, Measured] | None) -> None:
        self.cmdp = cmdp
        self.rows = rows_of(cmdp)
        self.comparator = comparator
        # Before the tables, because it takes tables of its own to find.
        self.rounding = (cmdp.max_row + cmdp.A + 4) * UNIT + 2 * cmdp.row_error + 2 * policy_error(cmdp.A)
        self.scratch = self.table()
        self.largest = np.array([max(abs(float(f.max())), abs(float(f.min()))) for f in cmdp.signals])

    def table(self) -> Array:
        make_room(8 * self.cmdp.S * self.cmdp.A)
        return np.empty((self.cmdp.S, self.cmdp.A))

    def values(self, like: Array | None = None) -> Array:
        return np.zeros((self.cmdp.S, 1 + self.cmdp.m)) if like is None else like.copy()

    def hold(self, array: Array) -> Array:
        return np.ascontiguousarray(array)

    def array(self, table: Array) -> Array:
        return table

    def hold_values(self, array: Array) -> Array:
        return array.copy()

    def array_values(self, V: Array) -> Array:
        return V

    def evaluate(self, log_pi: Array, V: Array) -> Measured:
        cmdp, S = self.cmdp, self.cmdp.S
        make_room(self.scratch.nbytes)
        over_chunks(steps.probabilities, S, log_pi, self.scratch)
        _, residual = linear.values(cmdp, self.scratch, start=V, tolerance=self._enough(V))
        sums = np.empty((chunks(S), 2, V.shape[1]))
        over_chunks(steps.at_start, S, cmdp.rho, V, sums)
        top = sums[:, 1].max(axis=0)
        slack = self.rounding * (self.largest + 2 * top)
        # Summed in chunks, one after the other.
        start = ((CHUNK + len(sums) + 2) * UNIT + 2 * cmdp.row_error) * top
        return Measured(sums[:, 0].sum(axis=0), ((residual + slack) / (1 - cmdp.gamma) + start) * INFLATE)

    def natural_step(self, log_pi: Array, V: Array, weights: Array, step: float, out: Array) -> bool:
        return self._step(log_pi, self._values(V, weights), NOWHERE, weights, step, out)

    def vanilla_step(self, log_pi: Array, V: Array, weights: Array, step: float, out: Array) -> bool:
        over_chunks(steps.probabilities, self.cmdp.S, log_pi, self.scratch)
        visits, _ = linear.visits(self.cmdp, self.scratch)
        return self._step(log_pi, self._values(V, weights), visits, weights, step, out)

    def soft_step(
        self, log_pi: Array, V: Array, weights: Array, entropy: float, step: float, out: Array
    ) -> bool:
        over_chunks(steps.mix, self.cmdp.S, weights, self.cmdp.signals, out)
        over_chunks(steps.add_table, self.cmdp.S, -entropy, log_pi, out)
        over_chunks(steps.probabilities, self.cmdp.S, log_pi, self.scratch)
        start = self._values(V, weights)[:, None]
        soft = linear.values(self.cmdp, self.scratch, out[None], start=start)[0][:, 0]
        action_values(self.rows, out, self.cmdp.gamma, soft, out)
        return self._finish(steps.primal_step, log_pi, out, soft, NOWHERE, step, out)

    def add(self, log_pi: Array, weight: float, geometric: bool, opening: bool, mean: Array) -> None:
        over_chunks(steps.add_policy, self.cmdp.S, log_pi, weight, geometric, opening, mean)

    def normalise(self, logits: Array) -> bool:
        return self._finish(steps.normalise, logits)

    def largest_move(self, log_p: Array, log_q: Array) -> float:
        worst = np.empty((chunks(self.cmdp.S), 1))
        over_chunks(steps.largest_move, self.cmdp.S, log_p, log_q, worst)
        return float(worst.max())

    def divergence(self, log_q: Array) -> Measured:
        assert self.comparator is not None
        p, d = self.comparator
        sums = np.empty((chunks(self.cmdp.S), 3))
        over_chunks(steps.divergence, self.cmdp.S, d.value, p.actions, p.mixed, p.rows, log_q, sums)
        mean, size, reach = float(sums[:, 0].sum()), float(sums[:, 1].sum()), float(sums[:, 2].max())
        blur = (2 * self.cmdp.A + 40 + CHUNK + len(sums)) * UNIT * size
        return Measured(mean, (blur + float(d.error.max()) * reach) * INFLATE)

    def _enough(self, V: Array) -> float:
        """A residual that hardly counts beside the rounding that the radius covers anyway."""
        slack = self.rounding * (self.largest + 2 * largest(V))
        return ENOUGH * float(slack[slack > 0].min(initial=np.inf)) if slack.any() else 0.0

    def _values(self, V: Array, weights: Array) -> Array:
        """Values ``(S,)`` of the mixed signal."""
        mixed = np.empty(self.cmdp.S)
        over_chunks(steps.mix_values, self.cmdp.S, weights, V, mixed)
        return mixed

    def _step(
        self, log_pi: Array, mixed: Array, visits: Array, weights: Array, step: float, out: Array
    ) -> bool:
        """A step along the advantage of the mixed signal with values ``mixed (S,)``."""
        over_chunks(steps.mix, self.cmdp.S, weights, self.cmdp.signals, self.scratch)
        action_values(self.rows, self.scratch, self.cmdp.gamma, mixed, self.scratch)
        return self._finish(steps.primal_step, log_pi, self.scratch, mixed, visits, step, out)

    def _finish(self, kernel: Any, *arguments: Any) -> bool:
        """Run a kernel that looks for entries that are not finite."""
        flaws = np.empty((chunks(self.cmdp.S), 1))
        over_chunks(kernel, self.cmdp.S, *arguments, flaws)
        return bool(flaws.sum() == 0)
