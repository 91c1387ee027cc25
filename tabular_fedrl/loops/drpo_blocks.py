"""Batches of offline problems laid out for :func:`tabular_fedrl.loops.drpo_rounds.rounds`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops.clients import Clients
from tabular_fedrl.loops.drpo_reading import Block, Moving
from tabular_fedrl.loops.lanes import from_lanes, lanes, to_lanes
from tabular_fedrl.measured import Array

LANES = 32
"""Most problems in a block: more leave the cache."""

LEAST_LANES = 8
"""With fewer problems each one is on its own, its states the lanes."""


@dataclass(frozen=True)
class Weights:
    """The weights of each problem: numbers, or ``(B,)``; ``alpha`` and ``beta`` may be ``(B, rounds)``, the
    last holding for all later rounds; ``eta_dual``, ``dual_cap``: ``(B, m)``. ``omega (B, N, S)``: the
    clients'."""

    omega: Array
    alpha: ArrayLike = 0.0
    beta: ArrayLike = 1.0
    cql: ArrayLike = 0.0
    entropy: ArrayLike = 0.0
    temperature: ArrayLike = 1.0
    eta_dual: ArrayLike = 0.0
    dual_cap: ArrayLike = 0.0


@dataclass(frozen=True)
class Layout:
    """How B problems are cut into blocks: ``W`` lanes, or (W = 0) one problem each, with R states as its
    lanes."""

    B: int
    R: int
    W: int

    @classmethod
    def of(cls, B: int, R: int, size: int) -> Layout:
        """``size``: numbers in the kernels of one problem.

        It depends on B alone whether problems are lanes, so that rounding does not depend on threads."""
        return cls(B, R, 0 if B < LEAST_LANES else min(LANES, lanes(B, size)))

    def kernels(self, P: Array) -> list[Array]:
        """``(B, ..., S, A, S)`` as blocks ``(..., S, A, S, W or 1)``."""
        return list(to_lanes(P, self.W)) if self.W else list(P[..., None])

    def tables(self, x: Array) -> list[Array]:
        """``(B, ..., R, A)`` as blocks ``(..., R, A, W)`` or ``(..., 1, A, R)``."""
        return list(to_lanes(x, self.W) if self.W else _own(np.swapaxes(x, -1, -2)[..., None, :, :]))

    def rows(self, x: Array) -> list[Array]:
        """``(B, ..., R)`` as blocks ``(..., R, W)`` or ``(..., 1, R)``."""
        return list(to_lanes(x, self.W) if self.W else _own(x[..., None, :]))

    def numbers(self, x: Array) -> list[Array]:
        """``(B, ...)`` as blocks ``(..., W or R)``."""
        return list(to_lanes(x, self.W) if self.W else _own(np.stack([x] * self.R, axis=-1)))

    def tables_of(self, blocks: Sequence[Array]) -> Array:
        """The inverse of :meth:`tables`."""
        x = np.stack(blocks)
        return from_lanes(x, self.B) if self.W else np.swapaxes(x[..., 0, :, :], -1, -2)

    def numbers_of(self, blocks: Sequence[Array]) -> Array:
        """The inverse of :meth:`numbers`."""
        x = np.stack(blocks)
        return from_lanes(x, self.B) if self.W else x[..., 0]


def lay_out(clients: Clients, weights: Weights) -> tuple[Layout, list[Block]]:
    """All problems in blocks.

    Raises
    ------
    InvalidProblem: weights of another shape.
    """
    b, models = clients.batch, clients.models
    B, N, A, m = b.B, b.N, b.A, b.m
    beyond = 0 if models is None else 1
    R = b.S + beyond
    lay = Layout.of(B, R, R * A * R)
    P, f = b.P, b.signals
    if beyond:
        # The state that the empirical MDPs have besides: nobody comes there.
        P = np.pad(P, [(0, 0), (0, 1), (0, 0), (0, 1)])
        P[:, -1, :, -1] = 1.0
        f = np.pad(f, [(0, 0), (0, 0), (0, 1), (0, 0)])
    omega = np.broadcast_to(weights.omega, clients.seen.shape)
    log_b, seen, omega, rho = (
        np.concatenate([x, np.full((*x.shape[:axis], beyond, *x.shape[axis + 1 :]), fill)], axis=axis)
        for x, axis, fill in (
            (clients.log_b, 2, -np.log(float(A))),
            (clients.seen, 2, 1.0),
            (omega, 2, 1.0 / N),
            (b.rho, 1, 0.0),
        )
    )
    schedules = (_schedule(name, getattr(weights, name), B) for name in ("alpha", "beta"))
    numbers = (_numbers(name, getattr(weights, name), (B,)) for name in ("cql", "entropy", "temperature"))
    duals = (_numbers(name, getattr(weights, name), (B, m)) for name in ("eta_dual", "dual_cap"))
    head = [lay.kernels(P), lay.tables(f), lay.numbers(b.d), lay.rows(rho), lay.numbers(b.gamma)]
    if models is None:
        plan = [[x[None] for x in blocks] for blocks in head[:2]]
    else:
        plan = [lay.kernels(models.P), lay.tables(models.f)]
    tail = [lay.tables(log_b), lay.rows(seen), lay.rows(omega)]
    tail += [lay.numbers(x) for x in (*schedules, *numbers, *duals)]
    return lay, [Block(*x) for x in zip(*head, *plan, *tail)]


def begin(clients: Clients, lay: Layout, initial_multipliers: ArrayLike) -> list[Moving]:
    """Uniform policies, and the values from which the search for an optimum starts: above all others."""
    b = clients.batch
    r = b.r[:, None] if clients.models is None else clients.models.f[:, :, 0]
    highest = np.abs(r).max(axis=(1, 2, 3)) / (1.0 - b.gamma)
    uniform = np.full((b.B, lay.R, b.A), -np.log(float(b.A)))
    multipliers = _numbers("initial_multipliers", initial_multipliers, (b.B, b.N, b.m))
    V = np.broadcast_to(highest[:, None, None], (b.B, b.N, lay.R))
    blocks = zip(lay.tables(uniform), lay.numbers(multipliers * b.mask), lay.rows(V))
    return [Moving(*x) for x in blocks]


def _numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    x = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise InvalidProblem(f"{name} has shape {x.shape}: expected {shape}") from None


def _schedule(name: str, value: ArrayLike, B: int) -> Array:
    """``(B, rounds)``"""
    x = np.asarray(value, dtype=np.float64)
    return x if x.ndim == 2 and x.shape[0] == B and x.shape[1] else _numbers(name, x, (B,))[:, None]


def _own(x: Array) -> Array:
    """Contiguous and writable, as the compiled loop expects it."""
    return np.array(x, dtype=np.float64, order="C")
