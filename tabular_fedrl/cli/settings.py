"""``--set key=value``: values as Python data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import literal, parse_number

_PLUS = re.compile(r"(?<![eE])\+")


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``["rounds=50", "weights=0.2+0.8"]`` as a dict; hyphens in names count as underscores.

    A value is a whole number, a number or fraction, true, false, none, numbers joined by ``+``, such rows
    joined by ``:`` (a table; one row ends in ``:``), or text.

    Raises
    ------
    InvalidProblem: what is not ``key=value``, or a key given twice.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name = key.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise InvalidProblem(f"--set {pair}: expected KEY=VALUE")
        if name in out:
            raise InvalidProblem(f"--set {name} is given twice")
        out[name] = parse_value(value.strip())
    return out


def parse_value(text: str) -> Any:
    """One value."""
    if text.lower() == "none":
        return None
    value = literal(text)
    if not isinstance(value, str):
        return value
    try:
        if ":" in text:
            return [[parse_number(word, "") for word in _PLUS.split(row)] for row in _rows(text)]
        words = _PLUS.split(text)
        return [parse_number(word, "") for word in words] if len(words) > 1 else text
    except InvalidProblem:
        return text


def setting(value: Any) -> str:
    """The text that :func:`parse_value` reads as ``value``, floats kept exactly."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return ":".join(setting(row) for row in value) + ":" * (len(value) == 1)
    if isinstance(value, list):
        return "+".join(repr(x) for x in value)
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _rows(text: str) -> list[str]:
    return text.removesuffix(":").split(":")
