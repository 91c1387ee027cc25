"""What is swept: ranges in a SOURCE, and grids of values, read strictly and put in one form."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import families
from tabular_fedrl.instances.source import OVERRIDES
from tabular_fedrl.instances.text import shorten, suggestion
from tabular_fedrl.runner.settings import resolve

Grid: TypeAlias = Mapping[str, Sequence[Any]]

MOST = 10_000_000
"""Values of one axis, and cells of one sweep."""

_RANGE = re.compile(r"(?<=[:,])([^:,=]+=)(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})(?=,|$)")


def expand(source: str) -> list[str]:
    """``garnet:S=20,seed=0..9`` as ten sources; several ranges make all combinations, the last one fastest.

    Raises
    ------
    InvalidProblem: a range that falls, or is over the limit.
    """
    if os.path.isfile(source):
        return [source]
    pieces, last, count = [], 0, 1
    for match in _RANGE.finditer(source):
        key, low, high = match[1], int(match[2]), int(match[3])
        count *= max(high - low + 1, 0)
        if not 0 < count <= MOST:
            raise InvalidProblem(
                f"{shorten(source)}: {match[0]} is a range of {max(high - low + 1, 0)} values; it must "
                f"rise and make at most {MOST:.0e} sources"
            )
        pieces += [[source[last : match.start()]], [f"{key}{i}" for i in range(low, high + 1)]]
        last = match.end()
    return ["".join(parts) for parts in product(*pieces, [source[last:]])]


def grids(grid: Grid | Sequence[Grid]) -> tuple[dict[str, tuple[Any, ...]], ...]:
    """One grid or several as plain data, the names in alphabetical order.

    Raises
    ------
    InvalidProblem: an axis that is no sequence of values, is empty, or holds a value twice.
    """
    several = [grid] if isinstance(grid, Mapping) else list(grid)
    return tuple({name: axis(f"grid: {name}", g[name]) for name in sorted(g)} for g in several) or ({},)


def axis(what: str, values: Any) -> tuple[Any, ...]:
    """The values along one axis as plain Python data."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidProblem(f"{what} = {values!r}: expected a sequence of values")
    plain = tuple(_plain(what, x) for x in values)
    if not plain:
        raise InvalidProblem(f"{what} has no values")
    seen = set()
    for x in plain:
        number = isinstance(x, int | float) and not isinstance(x, bool)
        if (key := repr(float(x) if number else x)) in seen:
            raise InvalidProblem(f"{what} = {x!r} is given twice")
        seen.add(key)
    return plain


def whole(what: str, values: Any, least: int) -> tuple[int, ...]:
    """One whole number or several, each at least ``least``."""
    several = axis(what, [values] if isinstance(values, int | float | np.number) else values)
    for x in several:
        if isinstance(x, bool) or not isinstance(x, int | float) or x != int(x) or x < least:
            raise InvalidProblem(f"{what} = {x!r}: expected whole numbers from {least} on")
    return axis(what, [int(x) for x in several])


def split(
    names: Iterable[str], algorithms: Sequence[str], sources: Sequence[Any]
) -> tuple[list[str], list[str]]:
    """The names that are parameters of the algorithms, and those that are keys of the sources.

    Raises
    ------
    InvalidProblem: a name that is neither, or a parameter of some of the algorithms only.
    """
    parameters: list[str] = []
    keys: list[str] = []
    for name in names:
        having = [a for a in algorithms if name in ALGORITHMS[a].parameters]
        if name in ("seed", "rounds"):
            raise InvalidProblem(f"grid: {name} is given apart (a source's own seed goes into the SOURCE)")
        if having and len(having) < len(algorithms):
            lacking = next(a for a in algorithms if a not in having)
            raise InvalidProblem(f"grid: {having[0]} has a parameter {name!r}, {lacking} has none")
        if not having:
            _refuse_key(name, algorithms, sources)
        (parameters if having else keys).append(name)
    return parameters, keys


def check(algorithm: str, name: str, values: Iterable[Any]) -> None:
    """Refuse values that no run of the algorithm would take.

    Raises
    ------
    InvalidProblem: naming the parameter and the value.
    """
    chosen = ALGORITHMS[algorithm]
    for value in values:
        resolve(chosen, {name: value})
        if isinstance(value, str) and not isinstance(chosen.parameters[name], str):
            raise InvalidProblem(f"{name} = {value!r} is not a number")


def _refuse_key(name: str, algorithms: Sequence[str], sources: Sequence[Any]) -> None:
    """Unless ``name`` may be a key of every source."""
    known = {key for family in families.values() for key in family.parameters} | set(OVERRIDES)
    if name not in known and not any(isinstance(x, str) and x.startswith("gym:") for x in sources):
        among = sorted(known | {p for a in algorithms for p in ALGORITHMS[a].parameters})
        raise InvalidProblem(
            f"grid: {name!r} is no parameter of {', '.join(algorithms)} and no key of a SOURCE"
            f"{suggestion(name, among)}"
        )
    if not all(isinstance(x, str) for x in sources):
        raise InvalidProblem(f"grid: {name} changes the problem, which needs a SOURCE and not a CMDP object")


def text(value: Any) -> str:
    """A value as a SOURCE writes it."""
    if isinstance(value, list):
        return "+".join(text(x) for x in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(what: str, x: Any) -> Any:
    """Python numbers, text and lists."""
    if isinstance(x, np.ndarray | np.generic):
        x = x.tolist()
    if isinstance(x, list | tuple):
        return [_plain(what, y) for y in x]
    if x is None or isinstance(x, bool | int | str) or (isinstance(x, float) and x == x):
        return x
    raise InvalidProblem(f"{what} = {x!r}: expected numbers, text, or lists of numbers")
