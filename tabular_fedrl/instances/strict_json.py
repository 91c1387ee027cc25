"""JSON from strangers, read strictly, and its one canonical form with a hash.

Refused: what is not UTF-8, NaN and infinities, integers of more than 18 digits, a key given twice, deep
nesting.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import shorten

MAX_INTEGER = 18
"""Digits of an integer (longer numbers are written as text)."""


def parse(data: bytes, what: str) -> Any:
    """The value that JSON text holds.

    Raises
    ------
    InvalidProblem: one line, naming ``what``.
    """

    def refuse(problem: str) -> InvalidProblem:
        return InvalidProblem(f"{what}: {problem}")

    def constant(word: str) -> Any:
        raise refuse(f"{word} is not a number")

    def integer(word: str) -> int:
        if len(word.lstrip("-")) > MAX_INTEGER:
            raise refuse(f"the integer {shorten(word)} has more than {MAX_INTEGER} digits")
        return int(word)

    def decimal(word: str) -> float:
        value = float(word)
        if not math.isfinite(value):
            raise refuse(f"the number {shorten(word)} is too large")
        return value

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise refuse(f"the key {shorten(twice)!r} is given twice")
        return out

    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=constant,
            parse_int=integer,
            parse_float=decimal,
            object_pairs_hook=table,
        )
    except UnicodeDecodeError as error:
        raise refuse(f"not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise refuse(f"not JSON, or truncated (line {error.lineno}: {error.msg})") from None
    except RecursionError:
        raise refuse("nested too deeply") from None


def canonical(value: Any) -> bytes:
    """The one text of a JSON value: keys sorted, no spaces, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def sha256(value: Any) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
