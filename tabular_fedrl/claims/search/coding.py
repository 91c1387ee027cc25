r"""From vectors to instances: what an optimiser moves, and what it means.

One :class:`Coding` belongs to one structure: the sizes of the instance and those free parameters that are
whole numbers or choices. Everything else is a coordinate of :math:`x \in R^n`, all of them of size 1:

* *laws*, the rows of P, of policies, and rho: the Euclidean projection of a block onto the simplex, so that
  vertices and rows with zeros are reached exactly;
* *units*, signals, thresholds, gamma and real parameters: clipped to [0, 1]; signals are taken as they are, a
  threshold is the fraction of the way from the least to the largest value of its cost, gamma is even in
  :math:`\log(1-\gamma)` over its range, a real parameter in its logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from tabular_fedrl.claims.search.extremes import value_extremes
from tabular_fedrl.claims.search.family import Shape
from tabular_fedrl.claims.theorem import Table
from tabular_fedrl.loops import Batch
from tabular_fedrl.measured import Array

STYLES = ("dense", "sparse", "vertex")
"""How instances are drawn: anywhere; rows with zeros and signals mostly 0 or 1; extreme points."""

Parameters = dict[str, Any]
"""Free parameters: scalars that a structure fixes, and arrays with one entry for each instance."""


Sized = Sequence[tuple[str, int, int]]
"""Name, rows and width of blocks."""


@dataclass(frozen=True)
class Block:
    """Coordinates ``start..stop`` of x: ``rows`` laws on ``width`` points, or ``rows * width`` units."""

    name: str
    is_law: bool
    start: int
    rows: int
    width: int

    @property
    def stop(self) -> int:
        return self.start + self.rows * self.width


@dataclass(frozen=True)
class Coding:
    """The coordinates of one structure.

    ``fixed``: the free parameters that are the same for all its instances; ``reals``: ranges of the real
    ones; ``tables``: what those that are tables hold; ``gamma``: its range.
    """

    shape: Shape
    gamma: tuple[float, float]
    fixed: Mapping[str, Any]
    reals: Mapping[str, tuple[float, float]]
    tables: Mapping[str, Table]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """In the order of the coordinates."""
        S, A, m = self.shape.S, self.shape.A, self.shape.m
        laws = [("P", S * A, S), ("rho", 1, S)] if S > 1 else []
        laws += [(name, S, A) for name, table in self.tables.items() if table is Table.POLICY]
        units = [("r", S, A), ("c", m * S, A), ("d", 1, m), ("gamma", 1, int(self.gamma[0] < self.gamma[1]))]
        units += [(name, S, A) for name, table in self.tables.items() if table is Table.SIGNAL]
        units += [(name, 1, 1) for name in self.reals]
        return joined(laws, units)

    @property
    def size(self) -> int:
        """n, the number of coordinates."""
        return self.blocks[-1].stop

    def project(self, X: Array) -> Array:
        """The nearest coordinates of instances, ``(B, n)``."""
        out = np.clip(X, 0.0, 1.0)
        for block in self.blocks:
            if block.is_law:
                laws = X[:, block.start : block.stop].reshape(len(X), block.rows, block.width)
                most = self.shape.branching if block.name == "P" else block.width
                out[:, block.start : block.stop] = simplex(laws, most).reshape(len(X), -1)
        return out

    def decode(self, X: Array) -> tuple[Batch, Parameters]:
        """The instances and free parameters of projected coordinates ``(B, n)``."""
        B, shape = len(X), self.shape
        S, A, m = shape.S, shape.A, shape.m
        part = {block.name: X[:, block.start : block.stop] for block in self.blocks}
        P = part["P"].reshape(B, S, A, S) if S > 1 else np.ones((B, 1, A, 1))
        rho = part["rho"] if S > 1 else np.ones((B, 1))
        c = part["c"].reshape(B, m, S, A) if m else np.zeros((B, 0, S, A))
        gamma = self._gamma(part["gamma"][:, 0] if "gamma" in part else np.zeros(B))
        least, most = value_extremes(P, c, rho, gamma)
        d = least + (part["d"] * (most - least) if m else 0.0)
        parameters: Parameters = dict(self.fixed)
        for name, bounds in self.reals.items():
            parameters[name] = between(part[name][:, 0], *bounds)
        for name in self.tables:
            parameters[name] = part[name].reshape(B, S, A)
        return Batch(P, part["r"].reshape(B, S, A), c, d, rho, gamma, shape.mask), parameters

    def parameters_of(self, parameters: Parameters, i: int) -> Parameters:
        """The free parameters of instance i, as plain data."""
        chosen = {**self.reals, **self.tables}
        return {k: v[i].tolist() if k in chosen else v for k, v in parameters.items()}

    def _gamma(self, u: Array) -> Array:
        low, high = self.gamma
        inside = 1.0 - (1.0 - low) ** (1.0 - u) * (1.0 - high) ** u
        return np.where(u <= 0, low, np.where(u >= 1, high, np.clip(inside, low, high)))

    # ---- points to begin with, and steps from a point -----------------------------------------------------
    def random(self, rng: np.random.Generator, count: int) -> Array:
        """Coordinates of ``count`` instances in all styles, ``(count, n)``."""
        out = np.empty((count, self.size))
        for i, style in enumerate(STYLES):
            rows = out[i :: len(STYLES)]
            for block in self.blocks:
                draw = (_laws if block.is_law else _units)(rng, block, style, len(rows))
                rows[:, block.start : block.stop] = draw.reshape(len(rows), block.rows * block.width)
        return self.project(out)

    @cached_property
    def places(self) -> tuple[tuple[int, int, int], ...]:
        """Single moves ``(start, width, to)``: a law towards its vertex ``to``; for width 1, a unit down (0)
        or up (1)."""
        out = []
        for block in self.blocks:
            for at in range(block.start, block.stop, block.width if block.is_law else 1):
                width = block.width if block.is_law else 1
                out += [(at, width, to) for to in range(max(width, 2))]
        return tuple(out)

    @cached_property
    def exchanges(self) -> tuple[tuple[int, int, int], ...]:
        """Single steps ``(coordinate, other, sign)``: mass from one point of a law to another; for a unit
        (both coordinates the same), up or down."""
        out: list[tuple[int, int, int]] = []
        for block in self.blocks:
            if block.is_law:
                for at in range(block.start, block.stop, block.width):
                    out += [(at + i, at + j, 1) for i, j in permutations(range(block.width), 2)]
            else:
                out += [(i, i, sign) for i in range(block.start, block.stop) for sign in (-1, 1)]
        return tuple(out)

    def moved(self, x: Array, move: tuple[int, int, int], size: float | None) -> Array:
        """``x`` after one of :attr:`places` (``size`` None) or one of :attr:`exchanges`; to be projected."""
        i, other, to = move
        y = x.copy()
        if size is None:
            y[i : i + other] = float(to) if other == 1 else np.eye(other)[to]
        else:
            y[i] += to * size
            y[other] -= to * size * (other != i)
        return y


def joined(laws: Sized, units: Sized) -> tuple[Block, ...]:
    """The blocks of laws and units ``(name, rows, width)``, one after another; empty ones are left out."""
    out: list[Block] = []
    for is_law, group in ((True, laws), (False, units)):
        for name, rows, width in group:
            start = out[-1].stop if out else 0
            out.append(Block(name, is_law, start, rows, width))
    return tuple(block for block in out if block.rows * block.width)


def simplex(x: Array, most: int) -> Array:
    """Euclidean projection of ``(..., k)`` onto the laws on k points with at most ``most`` of them."""
    order = np.sort(x, axis=-1)[..., ::-1][..., :most]
    excess = np.cumsum(order, axis=-1) - 1.0
    count = np.arange(1, order.shape[-1] + 1)
    support = (order * count > excess).sum(axis=-1, keepdims=True)
    level = np.take_along_axis(excess, support - 1, axis=-1) / support
    out = np.maximum(x - level, 0.0)
    if most < x.shape[-1]:
        # Equal coordinates at the edge of the support: the first ones stay.
        rank = np.argsort(np.argsort(-x, axis=-1, kind="stable"), axis=-1, kind="stable")
        out = np.where(rank < most, out, 0.0)
    return np.asarray(out / out.sum(axis=-1, keepdims=True))


def between(u: Array, low: float, high: float) -> Array:
    """``low`` at u = 0 to ``high`` at u = 1, evenly in the logarithm where ``low`` is positive."""
    inside = low * (high / low) ** u if low > 0 else low + (high - low) * u
    return np.where(u <= 0, low, np.where(u >= 1, high, np.clip(inside, low, high)))


def _laws(rng: np.random.Generator, block: Block, style: str, count: int) -> Array:
    shape = count, block.rows
    if style == "dense":
        return rng.dirichlet(np.ones(block.width), size=shape)
    vertex = np.eye(block.width)[rng.integers(block.width, size=shape)]
    if style == "vertex":
        return vertex
    thin = rng.dirichlet(np.full(block.width, 0.3), size=shape)
    return np.where(rng.random((*shape, 1)) < 0.5, thin, vertex)


def _units(rng: np.random.Generator, block: Block, style: str, count: int) -> Array:
    shape = count, block.rows, block.width
    free = rng.random(shape)
    if style == "dense" or block.name in ("d", "gamma"):
        return free
    ends = rng.integers(2, size=shape).astype(np.float64)
    return np.where(rng.random(shape) < (1 / 3 if style == "sparse" else 0.0), free, ends)
