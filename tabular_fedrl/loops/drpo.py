"""DRPO and the offline baselines that go round after round, for a batch of problems and their clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.clients import Clients
from tabular_fedrl.loops.drpo_blocks import Weights, begin, lay_out
from tabular_fedrl.loops.drpo_reading import Kept, Reading
from tabular_fedrl.loops.drpo_rounds import rounds
from tabular_fedrl.measured import Array

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Improved:
    """What K rounds did to B problems, in floats without error bounds; a problem in which a step did not
    exist has NaN in ``log_policy``.

    rounds: those recorded, ``(R,)``. value: V_r of the global policies at their start, ``(B, R)``; costs:
    every V_c, ``(B, R, m)``. log_policy: the last global log-policy, ``(B, S, A)``. multipliers: the last
    ones, ``(B, N, m)``, NaN where unseen.
    """

    rounds: Integers
    value: Array
    costs: Array
    log_policy: Array
    multipliers: Array


def iterate(
    clients: Clients,
    reading: Reading,
    weights: Weights,
    count: int,
    *,
    local_steps: int = 1,
    recorded: ArrayLike | None = None,
    initial_multipliers: ArrayLike = 0.0,
) -> Improved:
    """``count`` rounds of what ``reading`` says, from the uniform policy, on every problem.

    recorded: rounds at whose start the global policy is evaluated, from 0 to ``count``, ascending; default
    the first and the last.

    Raises
    ------
    InvalidProblem: weights of another shape, or rounds that are out of range or out of order.
    """
    b = clients.batch
    at = np.array([0, count] if recorded is None else recorded, dtype=np.int64)
    if count < 1 or at.ndim != 1 or (np.diff([-1, *at, count + 1]) <= 0).any():
        raise InvalidProblem(
            f"rounds = {count}, recorded = {at.tolist()}: expected 0 <= k_1 < k_2 < .. <= rounds"
        )
    if reading.shared != (clients.models is None):
        raise InvalidProblem("reading.shared says whether the clients plan in the true problems")
    lay, blocks = lay_out(clients, weights)
    moving = begin(clients, lay, initial_multipliers)
    values = [np.zeros((at.size, 1 + b.m, x.gamma.size)) for x in blocks]
    nothing = keep(blocks[0].log_b, 0, b.m, local_steps)
    in_parallel(
        lambda x, now, v: rounds(x, reading, b.mask, now, 0, count, local_steps, at, v, nothing),
        list(zip(blocks, moving, values)),
    )
    value = lay.numbers_of(values)
    return Improved(
        rounds=at,
        value=value[:, :, 0],
        costs=value[:, :, 1:],
        log_policy=lay.tables_of([now.log_pi for now in moving])[:, : b.S],
        multipliers=np.where(b.mask, lay.numbers_of([now.multipliers for now in moving]), np.nan),
    )


def keep(log_b: Array, n: int, m: int, E: int) -> Kept:
    """Room for the iterates of n rounds of a block with these behaviours."""
    N, *table = log_b.shape
    return Kept(np.empty((n, *table)), np.empty((n, N, E + 1, *table)), np.empty((n, N, E, m, table[-1])))
