r"""FedNPG and its relatives on one large problem, one agent after another.

The iterations are those of ``algorithms/``; here no table is copied, stacked or kept: the broadcast policy,
one agent's policy and the running mean are all that is held, and an evaluation starts from the values of the
last broadcast policy, because policies barely move. Every evaluation comes with the bound on its error, so
that each round is measured as it happens.

Steps along the natural gradient add up: after e of them an agent has, up to a factor for each state,

.. math:: \pi_e \propto \pi_0 \exp\Big(\text{step} \sum_{i<e} A_i\Big) ,

and :math:`\sum_i A_i` is the advantage of one signal with one vector of values, the sums of those of the e
steps. The agent's log-policy is therefore not needed while it is evaluated, and its table holds the
probabilities meanwhile.

What happens to the tables is done by an :class:`Operations` object: on the processor
(:mod:`tabular_fedrl.loops.large_tables`) or on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from tabular_fedrl.loops.variants import ALONE, GEOMETRIC, TABLE, Variant
from tabular_fedrl.measured import Array, Measured

Table: TypeAlias = Any
"""A log-policy ``(S, A)``, wherever the operations hold it."""

Values: TypeAlias = Any
"""Values ``(S, k)`` of the k signals, the reward first, wherever the operations hold them."""

Mixed: TypeAlias = Any
"""Values of one signal :math:`\\sum_k w_k f_k`, or sums of such, wherever the operations hold them."""


class Operations(Protocol):
    r"""What the loop does to tables.

    The steps write into ``out``, which may be ``log_pi`` unless said otherwise, the log-policy of
    :math:`\log\pi + \text{step}` times a direction for the signal :math:`\sum_k w_k f_k`, and say whether all
    its entries are finite; ``mixed`` are its values. An evaluation may overwrite the table ``room``, which
    may be ``log_pi``; without one it makes its own.
    """

    def table(self) -> Table:
        """A new table, not filled."""

    def values(self) -> Values:
        """Values 0."""

    def hold(self, array: Array) -> Table:
        """A table from an array; the loop does not change it."""

    def array(self, table: Table) -> Array:
        """A table as an array."""

    def hold_values(self, array: Array) -> Values:
        """Values from an array, copied."""

    def array_values(self, V: Values) -> Array:
        """Values as an array."""

    def evaluate(self, log_pi: Table, V: Values, room: Table | None = None) -> Measured:
        """Values at rho ``(k,)`` of all signals; ``V``: where to start from, then the values found."""

    def mix(self, V: Values, weights: Array, onto: Mixed | None = None) -> Mixed:
        r""":math:`\sum_k w_k V_k`, added to ``onto`` where that is given."""

    def evaluate_mixed(
        self,
        log_pi: Table,
        near: Values,
        weights: Array,
        onto: Mixed | None = None,
        room: Table | None = None,
    ) -> tuple[Measured, Mixed]:
        """Values at rho ``(k,)`` of all signals, found from ``near``, and :meth:`mix` of the values."""

    def natural_step(self, log_pi: Table, mixed: Mixed, weights: Array, step: float, out: Table) -> bool:
        """Along the advantage."""

    def vanilla_step(self, log_pi: Table, mixed: Mixed, weights: Array, step: float, out: Table) -> bool:
        r"""Along :math:`d_\rho^\pi \pi A`."""

    def soft_step(
        self, log_pi: Table, mixed: Mixed, weights: Array, entropy: float, step: float, out: Table
    ) -> bool:
        r"""Along Q of the signal minus ``entropy`` :math:`\log\pi`; ``out`` is another table."""

    def add(self, log_pi: Table, weight: float, geometric: bool, opening: bool, mean: Table) -> None:
        """Add a policy to the logits of a weighted mean; the ``opening`` one overwrites them."""

    def normalise(self, logits: Table) -> bool:
        """Turn logits into their log-policy, in place. Whether all its entries are finite."""

    def largest_move(self, log_p: Table, log_q: Table) -> float:
        r""":math:`\max_s \|p - q\|_1`."""

    def divergence(self, log_q: Table) -> Measured:
        r""":math:`E_{d^*} KL(\pi^*\|q)`, scalar, for the comparator the operations were given."""


class NotFinite(ArithmeticError):
    """A policy is not finite: the steps are absurd."""


@dataclass(frozen=True)
class Iteration:
    r"""Which iteration, with N agents, E local steps and m constraints.

    visible: ``visible[i]`` lists the constraints of agent i. local_steps: E. exponent: a natural step is by
    ``exponent * A``. eta_dual, dual_cap, d: ``(m,)``. weights: of the server's mean, ``(N,)``.
    """

    variant: Variant
    visible: tuple[tuple[int, ...], ...]
    local_steps: int
    exponent: float
    eta_dual: Array
    dual_cap: Array
    d: Array
    weights: Array

    @property
    def N(self) -> int:
        return len(self.visible)

    @property
    def averages(self) -> bool:
        """Whether the server takes a mean."""
        return self.variant.sharing not in (TABLE, ALONE) and self.N > 1


@dataclass
class Position:
    """Where an iteration stands: the global ``tables`` (one, or one for each agent that does not
    communicate), ``V``: values from which their evaluations start, ``multipliers (N, m)``."""

    tables: list[Table]
    V: list[Values]
    multipliers: Array


@dataclass(frozen=True)
class Measurements:
    """One round: values at rho of the global policies ``shared (tables, 1+m)`` and of the local ones before
    each step, ``local (N, E, 1+m)``; the ``multipliers (N, E, m)`` there; ``drift``; where asked for, the
    divergence of the comparator from the global policies, ``kl (tables,)``, and from those the agents end
    with, ``kl_local_end (N,)``."""

    shared: Measured
    local: Measured
    multipliers: Array
    drift: float
    kl: Measured | None
    kl_local_end: Measured | None


def rounds(
    ops: Operations, x: Iteration, now: Position, first: int, compared: Callable[[int], bool]
) -> Iterator[Measurements]:
    """The rounds from ``first`` on; ``now`` moves along. Divergences are taken in the rounds ``compared``.

    Raises
    ------
    NotFinite: a policy of the present round is not.
    """
    k = first
    while True:
        yield _round(ops, x, now, compared(k))
        k += 1


def _round(ops: Operations, x: Iteration, now: Position, compared: bool) -> Measurements:
    sharing = x.variant.sharing
    room = ops.table()
    shared = [ops.evaluate(table, V, room) for table, V in zip(now.tables, now.V, strict=True)]
    kl = Measured.stack([ops.divergence(table) for table in now.tables]) if compared else None
    mean = ops.table() if x.averages else None
    drift, end = 0.0, None
    local, before, ends = [], [], []
    for i in range(x.N):
        g = i if sharing == ALONE else 0
        start, V, at = now.tables[g], now.V[g], shared[g]
        if sharing == TABLE and i > 0:
            start, at = end, ops.evaluate(end, V)
        elif end is None:
            end = room
        elif sharing == ALONE:
            end = ops.table()
        values, lam = _local_steps(ops, x, i, now.multipliers[i], start, V, at, end)
        local.append(values)
        before.append(lam)
        drift = max(drift, ops.largest_move(now.tables[g], end))
        if compared:
            ends.append(ops.divergence(end))
        if x.averages:
            ops.add(end, float(x.weights[i]), sharing == GEOMETRIC, i == 0, mean)
        elif sharing == ALONE:
            now.tables[i] = end
    if x.averages:
        _check(ops.normalise(mean))
    if sharing != ALONE:
        now.tables[0] = mean if x.averages else end
    return Measurements(
        Measured.stack(shared),
        Measured.stack(local),
        np.stack(before),
        drift,
        kl,
        Measured.stack(ends) if compared else None,
    )


def _local_steps(
    ops: Operations,
    x: Iteration,
    i: int,
    lam: Array,
    start: Table,
    V: Values,
    at: Measured,
    end: Table,
) -> tuple[Measured, Array]:
    """E steps of agent i with multipliers ``lam (m,)``, which move along, from ``start`` with values V and
    ``at`` rho, to ``end``. Returns the values at rho ``(E, 1+m)`` and the multipliers ``(E, m)`` before each
    step."""
    variant, own = x.variant, list(x.visible[i])
    values, before = [at], np.empty((x.local_steps, lam.size))
    weights = np.zeros(1 + lam.size)
    weights[0] = variant.reward_factor
    # Whether a step is taken from the start, together with those before it.
    together = not variant.vanilla and variant.tau == 0 and end is not start
    charged, mixed = np.zeros_like(weights), None
    if variant.dual_once:
        _dual_step(x, own, lam, at, x.local_steps)
    for e in range(x.local_steps):
        before[e] = lam
        weights[1:][own] = -lam[own]
        if not together:
            charged[:], mixed = 0.0, None
        charged += weights
        if e:
            found, mixed = ops.evaluate_mixed(end, V, weights, mixed, end if together else None)
            values.append(found)
        else:
            mixed = ops.mix(V, weights)
        if not variant.dual_once:
            _dual_step(x, own, lam, values[e], 1)
        log_pi = end if e and not together else start
        if variant.tau > 0:
            entropy = variant.reward_factor * variant.tau
            _check(ops.soft_step(log_pi, mixed, charged, entropy, x.exponent, end))
        else:
            step = ops.vanilla_step if variant.vanilla else ops.natural_step
            _check(step(log_pi, mixed, charged, x.exponent, end))
    return Measured.stack(values), before


def _check(finite: bool) -> None:
    if not finite:
        raise NotFinite


def _dual_step(x: Iteration, own: list[int], lam: Array, at: Measured, steps: int) -> None:
    r"""Move the multipliers of the seen constraints along :math:`V_c - d - \tau\lambda`, ``steps`` steps at
    once, within the cap."""
    violation = at.value[1:][own] - x.d[own] - x.variant.tau * lam[own]
    lam[own] = np.clip(lam[own] + steps * x.eta_dual[own] * violation, 0.0, x.dual_cap[own])
