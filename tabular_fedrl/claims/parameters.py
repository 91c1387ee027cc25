"""The values of a theorem's free parameters against what its ``setup`` says it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tabular_fedrl.claims.theorem import Theorem
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import shorten, suggestion
from tabular_fedrl.validation import LARGEST_WHOLE

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "none"}

COUNTS = (
    *("agents", "batch", "clients", "count", "datasets", "draws", "episodes", "pairs", "people", "questions"),
    *("runs", "samples", "size", "transitions", "trials"),
)
"""Whole numbers that mean the same on every page, and are at least 1; a ``seed`` is at least 0."""


def checked_parameters(theorem: type[Theorem], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as ``setup`` takes them, whole numbers such as ``1e3`` as integers.

    Raises
    ------
    InvalidProblem: what it does not take, on which a page would fail somewhere, or compute with it: an
        unknown name, or a value of another type than the annotation; without one, text where the default is
        a number.
    """
    known, taken, out = theorem.parameters(), _taken(theorem), dict(values)
    for name, value in values.items():
        if name not in known:
            raise InvalidProblem(f"{theorem.id} has no parameter {name!r}{suggestion(name, known)}")
        choices = taken.get(name, ())
        if choices and not any(_fits(value, one) for one in choices):
            words = " or ".join(_words(one) for one in choices)
            raise InvalidProblem(f"{theorem.id}: {name} = {shorten(repr(value))}: expected {words}")
        if isinstance(value, int | float) and int in choices and float not in choices:
            out[name] = int(value)
            if abs(value) > LARGEST_WHOLE:
                raise InvalidProblem(f"{theorem.id}: {name} = {value:g}: expected a number of 64 bits")
        least = 1 if name in COUNTS else 0
        if (least or name == "seed") and int in choices and value is not None and value < least:
            raise InvalidProblem(f"{theorem.id}: {name} = {value}: expected {least} or more")
    return out


def _taken(theorem: type[Theorem]) -> dict[str, tuple[Any, ...]]:
    """The types that a parameter may have, by its name."""
    try:
        hints = get_type_hints(theorem.setup)
    except NameError:  # a name that is only imported for type checkers
        hints = {}
    numbers = {k: float for k, v in theorem.parameters().items() if type(v) in (int, float)}
    return {name: _choices(hint) for name, hint in {**numbers, **hints}.items()}


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(one for part in get_args(hint) for one in _choices(part))
    return (hint,)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint in (bool, str, NoneType):
        return isinstance(value, hint)
    if hint in (int, float):
        # Balls and exact rationals are numbers as well.
        other = isinstance(value, bool | str | list | tuple | dict | NoneType)
        return not other and (hint is float or not isinstance(value, float) or value.is_integer())
    if get_origin(hint) in (list, tuple, Sequence):
        return not isinstance(value, bool | int | float | str | NoneType)
    return hint is Any or not isinstance(value, str)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return WORDS.get(hint, "a table (rows joined by colons, their numbers by +)")
