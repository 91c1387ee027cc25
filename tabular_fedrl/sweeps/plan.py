"""A sweep before it runs: its cells by number, and what identifies it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from math import prod
from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl import __version__
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.instances.source import names_file
from tabular_fedrl.instances.text import shorten
from tabular_fedrl.loops.variants import SINGLE
from tabular_fedrl.runner.engines import ENGINES
from tabular_fedrl.runner.settings import look_up
from tabular_fedrl.sweeps import axes

FORMAT = "tabular-fedrl sweep 1"

LOCKSTEP = "lockstep"
"""The backend of :mod:`tabular_fedrl.sweeps.lockstep`."""

SAMPLES = 10
"""Sources of one form that are tried before the form is refused."""

_VALUE = re.compile(r"=[^,=]*(?=,|$)")

Values: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Instance:
    """A problem of the sweep.

    ``source``: its SOURCE with the overrides of the grid, ``given:i`` for the i-th object; ``problem``: what
    a worker needs to have it, the same text or the problem itself (files are read once, here); ``axes``: the
    grid's values among the overrides.
    """

    source: str
    problem: str | FederatedCMDP
    axes: Values

    def load(self) -> FederatedCMDP:
        """The problem."""
        return load(self.problem) if isinstance(self.problem, str) else self.problem

    @property
    def identity(self) -> str:
        """The source, and the content of what only this machine can read."""
        if isinstance(self.problem, str):
            return self.source
        return f"{self.source} {self.problem.cmdp.digest} {self.problem.visible}"


@dataclass(frozen=True)
class Cell:
    """One run: ``number`` is its place in the sweep, ``settings`` the algorithm's parameters."""

    number: int
    instance: Instance
    algorithm: str
    rounds: int
    settings: Values
    seed: int


@dataclass(frozen=True)
class Block:
    """All instances with all settings of one grid."""

    instances: tuple[Instance, ...]
    settings: tuple[Values, ...]


@dataclass(frozen=True)
class Plan:
    """All combinations. In the cells' order instances are slowest, then algorithms, rounds, settings and
    seeds."""

    algorithms: tuple[str, ...]
    rounds: tuple[int, ...]
    seeds: tuple[int, ...]
    backend: str
    blocks: tuple[Block, ...]
    grids: tuple[dict[str, tuple[Any, ...]], ...]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(prod(self._shape(block)) for block in self.blocks))

    def _shape(self, block: Block) -> tuple[int, ...]:
        return (
            len(block.instances), len(self.algorithms), len(self.rounds), len(block.settings), len(self.seeds)
        )  # fmt: skip

    def __len__(self) -> int:
        return self._ends[-1]

    def cell(self, number: int) -> Cell:
        """Cell ``number``, from 0 on."""
        b = bisect_right(self._ends, number)
        block = self.blocks[b]
        within = number - (self._ends[b - 1] if b else 0)
        i, a, k, s, seed = (int(x) for x in np.unravel_index(within, self._shape(block)))
        return Cell(
            number,
            block.instances[i],
            self.algorithms[a],
            self.rounds[k],
            block.settings[s],
            self.seeds[seed],
        )

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a file must have been swept with to be resumed, as JSON data."""
        each = hashlib.sha256()
        for block in self.blocks:
            for instance in block.instances:
                each.update(instance.identity.encode() + b"\n")
        data = {
            "format": FORMAT,
            "version": __version__,
            "backend": self.backend,
            "algorithms": self.algorithms,
            "rounds": self.rounds,
            "seeds": self.seeds,
            "grid": self.grids,
            "instances": sum(len(block.instances) for block in self.blocks),
            "sources": each.hexdigest(),
        }
        return json.loads(json.dumps(data))


def plan(
    algorithms: str | Sequence[str],
    sources: Any,
    rounds: Any,
    seeds: Any,
    grid: axes.Grid | Sequence[axes.Grid],
    backend: str,
) -> Plan:
    """The cells that :func:`tabular_fedrl.sweeps.sweep` is asked for.

    Raises
    ------
    InvalidProblem: unknown names, values out of range, files that cannot be read, no cell at all, or too
    many.
    """
    names = check_algorithms(algorithms)
    check_backend(backend, names)
    expanded = _expanded(sources)
    several = axes.grids(grid)
    blocks = []
    for one in several:
        parameters, keys = axes.split(one, names, expanded)
        for name, algorithm in product(parameters, names):
            axes.check(algorithm, name, one[name])
        settings = tuple(dict(zip(parameters, x)) for x in product(*(one[p] for p in parameters)))
        overrides = [dict(zip(keys, x)) for x in product(*(one[k] for k in keys))]
        if len(expanded) * len(overrides) > axes.MOST:
            raise InvalidProblem(f"{len(expanded) * len(overrides)} instances: at most {axes.MOST:.0e}")
        instances = [_instance(i, x, o) for i, x in enumerate(expanded) for o in overrides]
        _sample(instances)
        blocks.append(Block(tuple(instances), settings))
    made = Plan(
        names, axes.whole("rounds", rounds, 1), axes.whole("seeds", seeds, 0), backend, tuple(blocks), several
    )
    if not 0 < len(made) <= axes.MOST:
        raise InvalidProblem(f"a sweep of {len(made)} cells: expected 1 to {axes.MOST:.0e}")
    return made


def check_algorithms(algorithms: str | Sequence[str]) -> tuple[str, ...]:
    """The names, each known and given once."""
    names = axes.axis("algorithms", [algorithms] if isinstance(algorithms, str) else algorithms)
    for name in names:
        look_up(str(name))
    return names


def check_backend(backend: str, algorithms: Sequence[str]) -> None:
    """Refuse a backend that is unknown, and lockstep for other algorithms than it is compiled for."""
    if backend not in (*ENGINES, LOCKSTEP):
        raise InvalidProblem(f"backend {backend!r}: expected {', '.join(map(repr, (*ENGINES, LOCKSTEP)))}")
    for name in algorithms:
        if backend == LOCKSTEP and name not in SINGLE:
            raise InvalidProblem(f"{name} does not run in lockstep; these do: {', '.join(SINGLE)}")


def _expanded(sources: Any) -> list[str | FederatedCMDP]:
    """Each problem as text without ranges, or as a federation."""
    several = [sources] if isinstance(sources, str | os.PathLike | CMDP | FederatedCMDP) else list(sources)
    out: list[str | FederatedCMDP] = []
    for i, source in enumerate(several):
        if isinstance(source, CMDP | FederatedCMDP):
            problem = federated(source)
            if problem.cmdp.is_exact:
                raise InvalidProblem(f"problem {i} of the sweep has exact data: sweeps run in floats")
            out.append(problem)
        else:
            out += axes.expand(os.fspath(source))
    texts = [x for x in out if isinstance(x, str)]
    if len(set(texts)) < len(texts):
        twice = next(x for x, n in Counter(texts).items() if n > 1)
        raise InvalidProblem(f"the source {shorten(twice)} is given twice")
    return out


def _instance(i: int, source: str | FederatedCMDP, overrides: Values) -> Instance:
    if isinstance(source, FederatedCMDP):
        return Instance(f"given:{i}", source, {})
    added = "".join(f",{key}={axes.text(value)}" for key, value in overrides.items() if value is not None)
    text = source + added
    return Instance(text, load(text) if names_file(source) else text, overrides)


def _sample(instances: Sequence[Instance]) -> None:
    """Refuse what no value can make a problem, a misspelt name above all: of the sources that differ in their
    values only, one of the first few must be readable."""
    alike: dict[str, list[Instance]] = {}
    for instance in instances:
        if isinstance(instance.problem, str):
            alike.setdefault(_VALUE.sub("=", instance.problem), []).append(instance)
    for some in alike.values():
        refused: list[InvalidProblem] = []
        for instance in some[:SAMPLES]:
            try:
                instance.load()
                break
            except InvalidProblem as error:
                refused.append(error)
        else:
            raise refused[0]
