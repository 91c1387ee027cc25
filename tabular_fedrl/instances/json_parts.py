"""Exact numbers as JSON, read strictly: fractions in lowest terms, tables and distributions of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import fmpq

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import shorten

MAX_DIGITS = 4000
"""Characters of a fraction."""

NAMES = ("state_names", "action_names")

_FRACTION = re.compile(r"-?(0|[1-9][0-9]*)(/[1-9][0-9]*)?")


def keys(data: Any, wanted: Sequence[str], what: str, optional: Sequence[str] = ()) -> None:
    """Refuse anything but a JSON object with these keys."""
    if not isinstance(data, dict):
        raise InvalidProblem(f"{what} is not a JSON object")
    missing = [key for key in wanted if key not in data]
    if missing:
        raise InvalidProblem(f"{what}: the key {missing[0]!r} is missing")
    unknown = sorted(set(data) - {*wanted, *optional})
    if unknown:
        raise InvalidProblem(f"{what}: the key {shorten(unknown[0])!r} is unknown")


def items(data: Any, size: int | None, what: str) -> list[Any]:
    """Refuse anything but a list (of this length)."""
    if not isinstance(data, list):
        raise InvalidProblem(f"{what} is not a list")
    if size is not None and len(data) != size:
        raise InvalidProblem(f"{what} holds {len(data)} entries, not {size}")
    return data


def number(data: Any, what: str) -> fmpq:
    """A fraction in lowest terms, as text."""
    if not isinstance(data, str) or len(data) > MAX_DIGITS or not _FRACTION.fullmatch(data):
        raise InvalidProblem(f"{what}: {shorten(str(data))!r} is not a fraction such as '1/3'")
    value = fmpq(data)
    if str(value) != data:
        raise InvalidProblem(f"{what}: {shorten(data)!r} is not in lowest terms")
    return value


def whole(data: Any, low: int, what: str) -> int:
    """A whole number of at least ``low``."""
    if type(data) is not int or data < low:
        raise InvalidProblem(f"{what}: {shorten(str(data))!r} is not a whole number of at least {low}")
    return data


def labels(data: Any, S: int, A: int, what: str) -> list[list[str] | None]:
    """The names of states and of actions, None where there are none."""
    out: list[list[str] | None] = []
    for key, size in zip(NAMES, (S, A)):
        words = items(data[key], size, f"{what}: {key}") if key in data else None
        for word in words or ():
            if not isinstance(word, str):
                raise InvalidProblem(f"{what}: {key}: {shorten(str(word))!r} is not text")
        out.append(words)
    return out


def table(data: Any, shape: tuple[int, ...], what: str) -> Any:
    """Nested lists of fractions as an array of ``fmpq``."""
    out = np.empty(shape, dtype=object)

    def fill(part: Any, place: tuple[int, ...]) -> None:
        where = f"{what}[{', '.join(map(str, place))}]" if place else what
        if len(place) == len(shape):
            out[place] = number(part, where)
            return
        for i, inner in enumerate(items(part, shape[len(place)], where)):
            fill(inner, (*place, i))

    fill(data, ())
    return out


def kernel(data: Any, S: int, A: int, what: str) -> Any:
    """The distributions of the successors of all state-action pairs, an array ``(S, A, S)`` of ``fmpq``."""
    rows = [
        distribution(one, S, f"{what}[{s}, {a}]")
        for s, of_state in enumerate(items(data, S, what))
        for a, one in enumerate(items(of_state, A, f"{what}[{s}]"))
    ]
    return np.array(rows, dtype=object).reshape(S, A, S)


def distribution(data: Any, S: int, what: str) -> list[fmpq]:
    """The probabilities of all states from those of the states that can be reached."""
    out = [fmpq(0)] * S
    if not isinstance(data, dict):
        raise InvalidProblem(f"{what} is not a JSON object of states and their probabilities")
    for state, probability in data.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", state) or int(state) >= S:
            raise InvalidProblem(f"{what}: {shorten(state)!r} is not a state (0..{S - 1})")
        out[int(state)] = number(probability, f"{what}[{state}]")
        if not out[int(state)] > 0:
            raise InvalidProblem(f"{what}[{state}] = {shorten(probability)} is not positive")
    total = sum(out, fmpq(0))
    if total != 1:
        raise InvalidProblem(f"{what} sums to {shorten(str(total))}, not to 1")
    return out


def fraction(x: fmpq) -> str:
    """A fraction as text."""
    word = str(x)
    if len(word) > MAX_DIGITS:
        raise InvalidProblem(
            f"the number {shorten(word, 30)} has {len(word)} characters, a file takes {MAX_DIGITS}"
        )
    return word


def masses(x: Any) -> dict[str, str]:
    """A distribution by the states that it reaches."""
    return {str(s): fraction(p) for s, p in enumerate(x) if p != 0}


def fractions(x: Any) -> Any:
    """Nested lists of fractions as text."""
    return [fractions(part) for part in x] if isinstance(x, list) else fraction(x)


def names_of(problem: Any) -> dict[str, list[str]]:
    """The names of states and of actions, where there are any."""
    return {key: list(getattr(problem, key)) for key in NAMES if getattr(problem, key) is not None}
