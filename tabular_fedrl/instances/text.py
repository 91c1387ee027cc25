"""Numbers and names as text: strict, bounded parsers for sources and files that strangers write."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from fractions import Fraction

from tabular_fedrl.errors import InvalidProblem

# Lengths are bounded: Python's rationals would otherwise expand 1e999999999 digit by digit.
_FRACTION = re.compile(r"[+-]?[0-9]{1,400}/[0-9]{1,400}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,6})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")

MAX_EXPONENT = 1000
"""Powers of ten up to which a decimal is taken exactly."""


def parse_number(text: str, what: str) -> float:
    """The float nearest to a decimal number or a fraction such as ``1/3``.

    Raises
    ------
    InvalidProblem: naming ``what``, for anything else (``nan`` and ``inf`` included) and for what overflows.
    """
    word = text.strip()
    try:
        if _FRACTION.fullmatch(word):
            numerator, denominator = word.split("/")
            value = float(Fraction(int(numerator), int(denominator)))
        elif _FLOAT.fullmatch(word):
            value = float(word)
        else:
            raise InvalidProblem(f"{what}: {shorten(text)!r} is not a number")
    except ZeroDivisionError:
        raise InvalidProblem(f"{what}: {shorten(text)!r} divides by zero") from None
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise InvalidProblem(f"{what}: {shorten(text)!r} is too large")
    return value


def parse_rational(text: str, what: str) -> Fraction:
    """A decimal number or a fraction as text, exactly: ``0.1`` is 1/10.

    Raises
    ------
    InvalidProblem: naming ``what``, for anything that :func:`parse_number` refuses, and for exponents beyond
        :data:`MAX_EXPONENT`.
    """
    word = text.strip()
    parse_number(word, what)
    if _FRACTION.fullmatch(word):
        numerator, denominator = word.split("/")
        return Fraction(int(numerator), int(denominator))
    exponent = int(word.lower().partition("e")[2] or 0)
    if abs(exponent) > MAX_EXPONENT:
        raise InvalidProblem(
            f"{what}: {shorten(text)!r} has an exponent beyond {MAX_EXPONENT}, too long to be taken exactly"
        )
    return Fraction(word)


def parse_integer(text: str, what: str, low: int | None = None) -> int:
    """A whole number, at least ``low``."""
    if not _INTEGER.fullmatch(text.strip()):
        raise InvalidProblem(f"{what}: {shorten(text)!r} is not a whole number")
    value = int(text)
    if low is not None and value < low:
        raise InvalidProblem(f"{what}: {value} is below {low}")
    return value


def parse_boolean(text: str, what: str) -> bool:
    """``true`` or ``false``."""
    if text.strip().lower() not in ("true", "false"):
        raise InvalidProblem(f"{what}: {shorten(text)!r} is neither true nor false")
    return text.strip().lower() == "true"


def literal(text: str) -> bool | int | float | str:
    """True, false, a number, or else the text itself."""
    for parse in (parse_boolean, parse_integer, parse_number):
        try:
            return parse(text, "")
        except InvalidProblem:
            continue
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` when something known is close to ``word``, else the list of what is known."""
    names = list(known)
    spellings = (word, word.replace("_", "-"), word.replace("-", "_"))
    close = [name for x in spellings for name in difflib.get_close_matches(x, names, n=1, cutoff=0.7)]
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names) or 'none'}"


def shorten(text: str, length: int = 60) -> str:
    """``text`` cut for a message."""
    return text if len(text) <= length else text[: length - 3] + "..."


def one_line(message: object) -> str:
    """A message of another library on one line."""
    return shorten(" ".join(str(message).split()), 300)
