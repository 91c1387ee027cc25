"""Exercises whose answers can be checked but not read: only fingerprints of the right ones are kept."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from functools import cache
from importlib.resources import files
from typing import Any

from tabular_fedrl.errors import InvalidProblem


def check(name: str, answer: Any) -> None:
    """Print whether ``answer`` is the right one to the exercise ``name``, with a hint if it is not.

    Numbers count as right when they agree to the decimals that the exercise asks for; of words, case and
    spaces around them do not matter; None is "no answer yet".

    Raises
    ------
    InvalidProblem: there is no such exercise.
    """
    hint = _exercise(name)["hint"]
    if answer is None:
        print(f"{name}: no answer yet. Put yours in place of None.")
    elif is_right(name, answer):
        print(f"{name}: right!")
    else:
        print(f"{name}: not yet. Hint: {hint}")


def is_right(name: str, answer: Any) -> bool:
    """Whether ``answer`` is right to all decimals that are asked for; the last may be off by one."""
    exercise = _exercise(name)
    decimals: int | None = exercise["decimals"]
    if decimals is None:
        return fingerprint(name, answer, None) == exercise["fingerprint"]
    try:
        number = float(answer)
    except (TypeError, ValueError):
        return False
    # A whole number is a count: one off is wrong.
    reach = 0 if decimals == 0 else 1
    unit = 10.0**-decimals
    near = (number + step * unit for step in range(-reach, reach + 1))
    return any(fingerprint(name, x, decimals) == exercise["fingerprint"] for x in near)


def fingerprint(name: str, answer: Any, decimals: int | None) -> str:
    """A hash of the exercise's name and the answer, rounded to ``decimals`` (None: an answer in words)."""
    if decimals is None:
        plain = str(answer).strip().casefold()
    elif not isinstance(answer, numbers.Real) or not math.isfinite(answer):
        plain = "no number"
    else:
        # Rounded once more beforehand: 0.125 computed in floats is 0.125, not 0.12499999999999999.
        plain = str(round(round(float(answer) * 10**decimals, 6)))
    return hashlib.sha256(f"{name}={plain}".encode()).hexdigest()[:20]


def exercises() -> tuple[str, ...]:
    """The names of all exercises: NOTEBOOK.WORD."""
    return tuple(_exercises())


def _exercise(name: str) -> dict[str, Any]:
    try:
        return _exercises()[name]
    except KeyError:
        raise InvalidProblem(f"there is no exercise {name!r}: {', '.join(_exercises())}") from None


@cache
def _exercises() -> dict[str, dict[str, Any]]:
    text = files("tabular_fedrl.examples").joinpath("exercises.json").read_text(encoding="utf-8")
    return json.loads(text)
