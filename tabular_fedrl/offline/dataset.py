"""A table of transitions, each of one client: what offline learning is given instead of an environment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Booleans: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """n transitions of N clients in an environment of S states and A actions.

    client, state, action, next_state: ``(n,)`` whole numbers from 0 on; reward: ``(n,)``; costs: ``(n, m)``;
    terminal: ``(n,)``, the episode ends in ``next_state``, where nothing is earned any more (a restart or a
    time limit is not an end). Rows of one client keep their order. Frozen and validated.

    Raises
    ------
    InvalidProblem: naming the row and the number.
    """

    client: Integers
    state: Integers
    action: Integers
    reward: Array
    costs: Array
    next_state: Integers
    terminal: Booleans
    S: int
    A: int
    N: int

    def __post_init__(self) -> None:
        n = len(np.atleast_1d(self.client))
        for name, most in (("client", self.N), ("state", self.S), ("action", self.A), ("next_state", self.S)):
            if most < 1:
                raise InvalidProblem(f"a dataset needs at least one {name.removeprefix('next_')}")
            self._set(name, _whole(name, getattr(self, name), n, most))
        self._set("reward", _finite("reward", self.reward, (n,)))
        costs = np.asarray(self.costs, dtype=np.float64)
        m = costs.shape[1] if costs.ndim == 2 else 0 if costs.size == 0 else 1
        self._set("costs", _finite("costs", costs.reshape(n, m) if costs.size == n * m else costs, (n, m)))
        terminal = np.asarray(self.terminal)
        if terminal.shape != (n,) or terminal.dtype.kind not in "biu":
            raise InvalidProblem(
                f"terminal is {terminal.dtype} of shape {terminal.shape}: expected ({n},) booleans"
            )
        self._set("terminal", terminal.astype(np.bool_))
        self._check_ends()

    def _set(self, name: str, x: Any) -> None:
        x = np.ascontiguousarray(x)
        x.setflags(write=False)
        object.__setattr__(self, name, x)

    def _check_ends(self) -> None:
        ends = np.zeros(self.S, dtype=bool)
        ends[self.next_state[self.terminal]] = True
        going_on = np.flatnonzero(ends[self.state])
        if going_on.size:
            row = int(going_on[0])
            raise InvalidProblem(
                f"row {row}: an action is taken in state {self.state[row]}, where another row ends an episode"
            )

    def __len__(self) -> int:
        return len(self.state)

    @property
    def m(self) -> int:
        """The number of cost signals."""
        return self.costs.shape[1]

    def of(self, client: int) -> Dataset:
        """The rows of one client, in their order."""
        if not 0 <= client < self.N:
            raise InvalidProblem(f"there is no client {client}: there are {self.N} (0..{self.N - 1})")
        return self._rows(np.flatnonzero(self.client == client), self.client, self.N)

    def pooled(self) -> Dataset:
        """All rows as those of a single client."""
        return self._rows(np.arange(len(self)), np.zeros_like(self.client), 1)

    def _rows(self, rows: Integers, client: Integers, N: int) -> Dataset:
        return Dataset(
            client[rows],
            self.state[rows],
            self.action[rows],
            self.reward[rows],
            self.costs[rows],
            self.next_state[rows],
            self.terminal[rows],
            self.S,
            self.A,
            N,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the content, as hexadecimal text."""
        h = hashlib.sha256(f"dataset {len(self)} {self.S} {self.A} {self.N} {self.m}".encode())
        for x in (
            self.client, self.state, self.action, self.reward, self.costs, self.next_state, self.terminal
        ):  # fmt: skip
            h.update(x.tobytes())
        return h.hexdigest()

    def __repr__(self) -> str:
        return f"Dataset(n={len(self)}, S={self.S}, A={self.A}, N={self.N}, m={self.m})"


def _whole(name: str, x: Any, n: int, most: int) -> Integers:
    table = np.asarray(x)
    if table.shape != (n,) or table.dtype.kind not in "iu":
        raise InvalidProblem(f"{name} is {table.dtype} of shape {table.shape}: expected ({n},) whole numbers")
    bad = np.flatnonzero((table < 0) | (table >= most))
    if bad.size:
        row = int(bad[0])
        raise InvalidProblem(f"row {row}: {name} = {table[row]} is outside 0..{most - 1}")
    return table.astype(np.int64)


def _finite(name: str, x: Any, shape: tuple[int, ...]) -> Array:
    try:
        table = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidProblem(f"{name} is not an array of numbers: {error}") from None
    if table.shape != shape:
        raise InvalidProblem(f"{name} has shape {table.shape}: expected {shape}")
    bad = np.argwhere(~np.isfinite(table))
    if bad.size:
        place = tuple(int(i) for i in bad[0])
        raise InvalidProblem(f"row {place[0]}: {name} = {table[place]} is not finite")
    return table
