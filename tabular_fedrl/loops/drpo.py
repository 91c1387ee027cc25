"""DRPO and the offline baselines that go round after round, for a batch of problems with its clients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.threads import in_parallel
from tabular_fedrl.loops.clients import Clients
from tabular_fedrl.loops.drpo_rounds import Block, Kept, Moving, Reading, rounds
from tabular_fedrl.loops.lanes import from_lanes, lanes, to_lanes
from tabular_fedrl.measured import Array

CACHE = 1 << 20
"""Bytes of problems in one block: what stays in a core's own cache."""

LEAST_LANES = 8
"""Lanes of a block that fill the vector units."""


@dataclass(frozen=True)
class Improved:
    """What K rounds did to B problems; a problem in which a step did not exist has NaN in ``log_policy``.

    rounds: those recorded, ``(R,)``. value: V_r of the global policies at their start, ``(B, R)``; costs:
    every V_c, ``(B, R, m)``. log_policy: the last global log-policy, ``(B, S, A)``. multipliers: the last
    ones, ``(B, N, m)``, NaN where unseen. Plain floats, without error bounds.
    """

    rounds: Array
    value: Array
    costs: Array
    log_policy: Array
    multipliers: Array


@dataclass(frozen=True)
class Weights:
    """The weights of each problem: numbers, ``(B,)``; ``alpha`` and ``beta`` may be ``(B, rounds)``, the last
    holding for all later rounds. ``omega (B, N, S)``: the clients'."""

    omega: Array
    alpha: ArrayLike = 0.0
    beta: ArrayLike = 1.0
    cql: ArrayLike = 0.0
    entropy: ArrayLike = 0.0
    temperature: ArrayLike = 1.0
    eta_dual: ArrayLike = 0.0
    dual_cap: ArrayLike = 0.0


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
    B, N, S, A, m = b.B, b.N, b.S, b.A, b.m
    at = np.array([0, count] if recorded is None else recorded, dtype=np.int64)
    if (
        count < 1
        or at.ndim != 1
        or (np.diff(at) <= 0).any()
        or (at.size and not 0 <= at[0] <= at[-1] <= count)
    ):
        raise InvalidProblem(
            f"rounds = {count}, recorded = {at.tolist()}: expected 0 <= k_1 < k_2 < .. <= rounds"
        )
    W = _width(clients)
    blocks = _blocks(clients, reading, weights, W)
    R = blocks[0].seen.shape[1]
    start = np.broadcast_to(np.asarray(initial_multipliers, dtype=np.float64), (B, N, m))
    reach = np.abs(b.r if clients.models is None else clients.models.f[:, :, 0]).reshape(B, -1).max(axis=1)
    moving = [
        Moving(
            np.full((R, A, W), -np.log(float(A))), lam, np.ascontiguousarray(np.broadcast_to(V, (N, R, W)))
        )
        for lam, V in zip(to_lanes(start, W), to_lanes(reach / (1.0 - b.gamma), W))
    ]
    values = [np.zeros((at.size, 1 + m, W)) for _ in blocks]
    nothing = Kept(np.empty((0, R, A, W)), np.empty((0, N, 1, R, A, W)), np.empty((0, N, 1, m, W)))
    in_parallel(
        lambda x, now, v: rounds(x, reading, b.mask, now, 0, count, local_steps, at, v, nothing),
        list(zip(blocks, moving, values)),
    )
    value = from_lanes(np.stack(values), B)
    lam = from_lanes(np.stack([now.multipliers for now in moving]), B)
    return Improved(
        rounds=at,
        value=value[:, :, 0],
        costs=value[:, :, 1:],
        log_policy=from_lanes(np.stack([now.log_pi for now in moving]), B)[:, :S],
        multipliers=np.where(b.mask, lam, np.nan),
    )


def _width(clients: Clients) -> int:
    """Lanes of a block: as many as fit the cache, and no more than give every thread a block."""
    b = clients.batch
    numbers = b.P[0].size if clients.models is None else clients.models.P[0].size
    fitting = max(LEAST_LANES, CACHE // (8 * numbers))
    return min(lanes(b.B), 1 << (fitting.bit_length() - 1))


def _blocks(clients: Clients, reading: Reading, weights: Weights, W: int) -> list[Block]:
    b, models = clients.batch, clients.models
    B, N, A, m = b.B, b.N, b.A, b.m
    P, f = to_lanes(b.P, W), to_lanes(b.signals, W)
    beyond = 0 if models is None else 1
    log_b = np.concatenate([clients.log_b, np.full((B, N, beyond, A), -np.log(float(A)))], axis=2)
    seen = np.concatenate([clients.seen, np.ones((B, N, beyond))], axis=2)
    omega = np.concatenate([weights.omega, np.full((B, N, beyond), 1.0 / N)], axis=2)
    rho = np.concatenate([b.rho, np.zeros((B, beyond))], axis=1)
    schedules = [_schedule(name, getattr(weights, name), B) for name in ("alpha", "beta")]
    numbers = [_numbers(name, getattr(weights, name), (B,)) for name in ("cql", "entropy", "temperature")]
    duals = [_numbers(name, getattr(weights, name), (B, m)) for name in ("eta_dual", "dual_cap")]
    shared = (P[:, None], f[:, None])
    own = shared if models is None else (to_lanes(models.P, W), to_lanes(models.f, W))
    head = (P, f, to_lanes(b.d, W), to_lanes(rho, W), to_lanes(b.gamma, W), *own)
    tail = (to_lanes(x, W) for x in (log_b, seen, omega, *schedules, *numbers, *duals))
    return [Block(*x) for x in zip(*head, *tail)]


def _numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    x = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise InvalidProblem(f"{name} has shape {x.shape}: expected {shape}") from None


def _schedule(name: str, value: ArrayLike, B: int) -> Array:
    """``(B, rounds)``"""
    x = np.asarray(value, dtype=np.float64)
    return x if x.ndim == 2 and x.shape[0] == B else _numbers(name, x, (B,))[:, None]
