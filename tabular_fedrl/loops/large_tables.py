"""The operations of :mod:`tabular_fedrl.loops.large` on one processor: NumPy arrays, compiled kernels over
threads.

Nothing is held beside the tables that the loop asks for: probabilities take the place of a table that is not
needed while they are, Q that of the policy which a step leads to, and P, r and c are read in place. Signals
are evaluated in groups, so that their vectors take the room of a few.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import linear, methods
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
        self.rounding = (cmdp.max_row + cmdp.A + 4) * UNIT + 2 * cmdp.row_error + 2 * policy_error(cmdp.A)
        self.largest = np.array([max(abs(float(f.max())), abs(float(f.min()))) for f in cmdp.signals])

    def table(self) -> Array:
        make_room(8 * self.cmdp.S * self.cmdp.A)
        return np.empty((self.cmdp.S, self.cmdp.A))

    def values(self) -> Array:
        return np.zeros((self.cmdp.S, 1 + self.cmdp.m))

    def hold(self, array: Array) -> Array:
        return np.ascontiguousarray(array)

    def array(self, table: Array) -> Array:
        return table

    def hold_values(self, array: Array) -> Array:
        return array.copy()

    def array_values(self, V: Array) -> Array:
        return V

    def evaluate(self, log_pi: Array, V: Array, room: Array | None = None) -> Measured:
        return self._solve(self._probabilities(log_pi, room), V, slice(None))

    def mix(self, V: Array, weights: Array, onto: Array | None = None) -> Array:
        mixed = np.zeros(self.cmdp.S) if onto is None else onto
        over_chunks(steps.add_values, self.cmdp.S, weights, V, mixed)
        return mixed

    def evaluate_mixed(
        self,
        log_pi: Array,
        near: Array,
        weights: Array,
        onto: Array | None = None,
        room: Array | None = None,
    ) -> tuple[Measured, Array]:
        pi, size = self._probabilities(log_pi, room), methods.together(self.cmdp)
        found, mixed = [], onto
        for first in range(0, weights.size, size):
            some = slice(first, first + size)
            V = near[:, some].copy()
            found.append(self._solve(pi, V, some))
            mixed = self.mix(V, weights[some], mixed)
            del V
        assert mixed is not None
        return Measured.concatenate(found), mixed

    def natural_step(self, log_pi: Array, mixed: Array, weights: Array, step: float, out: Array) -> bool:
        Q = self.table() if out is log_pi else out
        return self._step(log_pi, mixed, NOWHERE, weights, step, Q, out)

    def vanilla_step(self, log_pi: Array, mixed: Array, weights: Array, step: float, out: Array) -> bool:
        Q = self.table() if out is log_pi else out
        visits, _ = linear.visits(self.cmdp, self._probabilities(log_pi, Q))
        return self._step(log_pi, mixed, visits, weights, step, Q, out)

    def soft_step(
        self, log_pi: Array, mixed: Array, weights: Array, entropy: float, step: float, out: Array
    ) -> bool:
        over_chunks(steps.mix, self.cmdp.S, weights, self.cmdp.signals, out)
        over_chunks(steps.add_table, self.cmdp.S, -entropy, log_pi, out)
        pi, start = self._probabilities(log_pi, None), mixed[:, None]
        soft = linear.values(self.cmdp, pi, out[None], start=start)[0][:, 0]
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

    def _probabilities(self, log_pi: Array, room: Array | None) -> Array:
        """Those for which a log-policy stands, in ``room``."""
        make_room(log_pi.nbytes)
        pi = self.table() if room is None else room
        over_chunks(steps.probabilities, self.cmdp.S, log_pi, pi)
        return pi

    def _solve(self, pi: Array, V: Array, some: slice) -> Measured:
        """Values at rho of ``some`` signals; ``V``: where to start from, then the values found."""
        cmdp, S, sizes = self.cmdp, self.cmdp.S, self.largest[some]
        _, residual = linear.values(cmdp, pi, cmdp.signals[some], V, self._enough(V, sizes))
        sums = np.empty((chunks(S), 2, V.shape[1]))
        over_chunks(steps.at_start, S, cmdp.rho, V, sums)
        top = sums[:, 1].max(axis=0)
        slack = self.rounding * (sizes + 2 * top)
        # Summed in chunks, one after the other.
        start = ((CHUNK + len(sums) + 2) * UNIT + 2 * cmdp.row_error) * top
        return Measured(sums[:, 0].sum(axis=0), ((residual + slack) / (1 - cmdp.gamma) + start) * INFLATE)

    def _enough(self, V: Array, sizes: Array) -> float:
        """A residual that hardly counts beside the rounding that the radius covers anyway."""
        slack = self.rounding * (sizes + 2 * largest(V))
        return ENOUGH * float(slack[slack > 0].min(initial=np.inf)) if slack.any() else 0.0

    def _step(
        self, log_pi: Array, mixed: Array, visits: Array, weights: Array, step: float, Q: Array, out: Array
    ) -> bool:
        """A step along the advantage of the mixed signal with values ``mixed (S,)``; ``Q``: room for it."""
        over_chunks(steps.mix, self.cmdp.S, weights, self.cmdp.signals, Q)
        action_values(self.rows, Q, self.cmdp.gamma, mixed, Q)
        return self._finish(steps.primal_step, log_pi, Q, mixed, visits, step, out)

    def _finish(self, kernel: Any, *arguments: Any) -> bool:
        """Run a kernel that looks for entries that are not finite."""
        flaws = np.empty((chunks(self.cmdp.S), 1))
        over_chunks(kernel, self.cmdp.S, *arguments, flaws)
        return bool(flaws.sum() == 0)
