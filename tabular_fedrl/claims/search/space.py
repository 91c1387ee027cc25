"""What a search may choose: the structures of a family with a theorem's free parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tabular_fedrl.claims.search.coding import Coding
from tabular_fedrl.claims.search.episodic import EpisodicCoding
from tabular_fedrl.claims.search.family import EpisodicShape, Family, Shape
from tabular_fedrl.claims.theorem import Range, Table, Theorem
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import suggestion


@dataclass(frozen=True)
class Space:
    """A family, and ranges of free parameters by their sort: whole numbers, choices, reals, tables."""

    family: Family
    wholes: Mapping[str, tuple[int, int]]
    choices: Mapping[str, list[Any]]
    reals: Mapping[str, tuple[float, float]]
    tables: Mapping[str, Table]

    @classmethod
    def of(cls, theorem: type[Theorem], family: Family, settings: Mapping[str, Range]) -> Space:
        """The theorem's own ranges, those of ``settings`` in their place.

        Raises
        ------
        InvalidProblem: naming the parameter and the range.
        """
        known = theorem.parameters()
        sorts: tuple[dict[str, Any], ...] = ({}, {}, {}, {})
        for name, values in {**theorem.space, **settings}.items():
            if name not in known:
                raise InvalidProblem(f"{theorem.id} has no parameter {name!r}{suggestion(name, known)}")
            sorts[_sort(name, values)][name] = values
        return cls(family, *sorts)

    def draw(self, rng: np.random.Generator) -> Coding:
        """A structure: sizes uniformly, whole numbers evenly in their logarithm, choices uniformly."""
        shape = self.family.draw(rng)
        fixed: dict[str, Any] = {}
        for name, (low, high) in self.wholes.items():
            base = 1 - min(low, 1)
            drawn = np.exp(rng.uniform(np.log(low + base), np.log(high + 1 + base)))
            fixed[name] = min(int(drawn) - base, high)
        for name, values in self.choices.items():
            fixed[name] = values[int(rng.integers(len(values)))]
        return self.coding(shape, fixed)

    def coding(self, shape: Shape | EpisodicShape, fixed: Mapping[str, Any]) -> Coding:
        """The coding of a structure; a choice that is a range becomes a coordinate."""
        ranges = {name: value for name, value in fixed.items() if isinstance(value, tuple)}
        rest = {name: value for name, value in fixed.items() if name not in ranges}
        free = {**self.reals, **ranges}
        if isinstance(shape, EpisodicShape):
            return EpisodicCoding(shape, self.family.gamma, rest, free, self.tables)
        return Coding(shape, self.family.gamma, rest, free, self.tables)

    def neighbours(self, coding: Coding) -> Iterator[Coding]:
        """Structures with the same coordinates in which one free parameter is another."""
        for name, (low, high) in self.wholes.items():
            now = coding.fixed[name]
            for value in sorted({low, now // 2, now - 1, now + 1, 2 * now, high} - {now}):
                if low <= value <= high:
                    yield replace(coding, fixed={**coding.fixed, name: value})
        for name, values in self.choices.items():
            for value in values:
                if name in coding.fixed and not isinstance(value, tuple) and value != coding.fixed[name]:
                    yield replace(coding, fixed={**coding.fixed, name: value})


def _sort(name: str, values: Any) -> int:
    """0 whole numbers, 1 choices, 2 reals, 3 tables."""
    if isinstance(values, Table):
        return 3
    if isinstance(values, list) and values:
        return 1
    if isinstance(values, tuple) and len(values) == 2 and all(np.isfinite(v) for v in values):
        if values[0] <= values[1]:
            return 0 if all(isinstance(v, int) for v in values) else 2
        raise InvalidProblem(f"{name} = {values[0]}..{values[1]}: a range rises")
    raise InvalidProblem(f"{name} = {values!r}: expected (low, high), a list to choose from, or a table")
