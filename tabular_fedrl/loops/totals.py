"""What loops over many small problems are given and add up, and the means that are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops.batch import Batch, Mask
from tabular_fedrl.loops.lanes import from_lanes, to_lanes
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Iterated:
    r"""What K rounds of E local steps did to each of B problems; a run that overflowed has a NaN in
    ``log_policy``.

    value: mean of V_r over the global policies pibar_0..pibar_{K-1}, ``(B,)``; costs: of every V_c,
        ``(B, m)``; without communication also over the agents.
    local_value: mean of V_r over the local policies before each step, ``(B,)``; local_costs: mean of V_{c_j}
        over those of the agents that see constraint j, ``(B, m)``.
    drift: :math:`\max_{k,i,s} \|\pi_i^{k,E} - \bar\pi_k\|_1`, ``(B,)``, without communication against
        :math:`\pi_i^{k,0}`.
    step: :math:`\max_{k,e,s} \|\pi_i^{k,e+1} - \pi_i^{k,e}\|_1` of each agent, ``(B, N)``.
    value_drift: :math:`\max_{k, 1 \le e < E} |V_f(\pi_i^{k,e}) - V_f(\pi_i^{k,0})|/e` of each agent and
        signal, the reward first, ``(B, N, 1+m)``.
    log_policy: the last global log-policy, ``(B, S, A)``, without communication the agents' own,
        ``(B, N, S, A)``; multipliers: the last ones, ``(B, N, m)``, NaN where unseen.
    """

    value: Array
    costs: Array
    local_value: Array
    local_costs: Array
    drift: Array
    step: Array
    value_drift: Array
    log_policy: Array
    multipliers: Array


class Totals(NamedTuple):
    """What the loop sums or raises, zero at the start: ``shared`` and ``local (1+m, W)`` sums of values, and
    the rest as in :class:`Iterated`, the lane last; ``log_policy (G, S, A, W)``, G = 1 or N without
    communication; ``multipliers`` start as they are given."""

    shared: Array
    local: Array
    drift: Array
    step: Array
    value_drift: Array
    log_policy: Array
    multipliers: Array


def checked(
    batch: Batch,
    rounds: int,
    local_steps: int,
    eta: ArrayLike,
    eta_dual: ArrayLike,
    dual_cap: ArrayLike,
) -> tuple[Array, Array, Array]:
    """The steps of every problem, ``(B,)``, ``(B, m)`` and ``(B, m)``; errors as for :func:`fednpg`."""
    for name, count in (("rounds", rounds), ("local_steps", local_steps)):
        if count < 1:
            raise InvalidProblem(f"{name} = {count}: expected a whole number from 1 on")
    each = batch.B, batch.m
    return (
        numbers("eta", eta, each[:1]),
        numbers("eta_dual", eta_dual, each),
        numbers("dual_cap", dual_cap, each),
    )


def at_first(batch: Batch, W: int, G: int, initial_multipliers: ArrayLike) -> list[Totals]:
    """The totals of every block of W lanes before the first round, of G policies."""
    S, A, m, N = batch.S, batch.A, batch.m, batch.N
    start = to_lanes(numbers("initial_multipliers", initial_multipliers, (batch.B, N, m)) * batch.mask, W)
    shapes = (1 + m,), (1 + m,), (), (N,), (N, 1 + m), (G, S, A), (N, m)
    return [Totals(*(np.zeros((*shape, W)) for shape in shapes))._replace(multipliers=x) for x in start]


def at_last(totals: Sequence[Totals], B: int) -> Totals:
    """All blocks' totals out of their lanes, the problem's index first."""
    total = Totals(*(from_lanes(np.stack(x), B) for x in zip(*totals)))
    spoiled = ~np.isfinite(total.log_policy).all(axis=(1, 2, 3))
    total.log_policy[spoiled] = np.nan  # where there may be infinities alone
    return total


def averaged(mask: Mask, rounds: int, local_steps: int, total: Totals) -> Iterated:
    """The means from the sums, the problem's index first; ``mask (N, m)``: who sees what."""
    T, observers = rounds * local_steps, mask.sum(axis=0)
    return Iterated(
        value=total.shared[:, 0] / rounds,
        costs=total.shared[:, 1:] / rounds,
        local_value=total.local[:, 0] / (T * len(mask)),
        local_costs=total.local[:, 1:] / (T * observers),
        drift=total.drift,
        step=total.step,
        value_drift=total.value_drift,
        log_policy=total.log_policy,
        multipliers=np.where(mask, total.multipliers, np.nan),
    )


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """``value`` in a shape that it must broadcast to."""
    x = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise InvalidProblem(f"{name} has shape {x.shape}: expected {shape}") from None


def numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """As :func:`shaped`, of numbers from 0 on."""
    x = shaped(name, value, shape)
    if not (x >= 0).all():
        place = tuple(int(i) for i in np.argwhere(~(x >= 0))[0])
        raise InvalidProblem(
            f"{name}[{', '.join(map(str, place))}] = {x[place]:g}: expected numbers from 0 on"
        )
    return x
