"""Single entries of :class:`~tabular_fedrl.balls.arrays.Balls`, exact rationals and balls, and what is done
with them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import flint
import numpy as np

from tabular_fedrl.errors import Undecided

Number = flint.fmpq | flint.arb
ZERO, ONE, BOTTOM = flint.fmpq(0), flint.fmpq(1), flint.arb("-inf")


def rational(x: Any) -> flint.fmpq:
    """One number read exactly: int, float (its binary value), Fraction, fmpq, or text (``1/3``, ``0.1``).

    Raises
    ------
    ValueError: not a finite number.
    """
    if isinstance(x, flint.fmpq):
        return x
    if isinstance(x, float | np.floating):
        if not math.isfinite(x):
            raise ValueError(f"{x} is not a finite number")
        return flint.fmpq(*float(x).as_integer_ratio())
    exact = Fraction(str(x) if isinstance(x, str) else x if isinstance(x, Fraction) else int(x))
    return flint.fmpq(exact.numerator, exact.denominator)


def number(x: Any) -> Number:
    """A number as an entry: floats exactly, infinities and nan as balls."""
    if isinstance(x, flint.fmpq | flint.arb):
        return x
    if isinstance(x, float | np.floating) and not math.isfinite(x):
        return flint.arb(str(float(x)))
    return rational(x)


def ball(x: Number) -> flint.arb:
    """An entry as a ball of the working precision."""
    return x if isinstance(x, flint.arb) else flint.arb(x)


# ---- operations --------------------------------------------------------------------------------------------
def divide(a: Number, b: Number) -> Number:
    """``a / b``."""
    # A division by zero says nothing, rather than stopping the run: whoever compares it learns so.
    return flint.arb("nan") if isinstance(b, flint.fmpq) and b == 0 else a / b


def larger(a: Number, b: Number) -> Number:
    """The maximum."""
    if isinstance(a, flint.fmpq) and isinstance(b, flint.fmpq):
        return max(a, b)
    return ball(a).max(ball(b))


def exp(a: Number) -> Number:
    """The exponential, exact at 0 and -inf."""
    if isinstance(a, flint.fmpq):
        return ONE if a == 0 else ball(a).exp()
    return ZERO if a == BOTTOM else a.exp()


def log(a: Number) -> Number:
    """The logarithm, exact at 1 and 0."""
    if isinstance(a, flint.fmpq) and a == 1:
        return ZERO
    x = ball(a)
    return BOTTOM if x.is_zero() else x.log()


def sqrt(a: Number) -> Number:
    """The root of a number that is known not to be negative, exact for squares of rationals."""
    if isinstance(a, flint.fmpq):
        p, q = (math.isqrt(int(part)) if part >= 0 else 0 for part in (a.p, a.q))
        if p * p == a.p and q * q == a.q:
            return flint.fmpq(p, q)
    x = ball(a)
    if x.lower() >= 0:
        return x.sqrt()
    return flint.arb(0).union(x.upper().max(flint.arb(0)).sqrt())


def power(a: Number, k: int) -> Number:
    """A whole power."""
    # The library's power goes through the logarithm and says nothing of a ball that contains 0.
    return math.prod([a] * (k - 1), start=a) if k > 0 else a**k


def widen(a: Number, radius: Number) -> Number:
    """The ball about ``a`` with a radius enlarged by ``radius``."""
    if isinstance(radius, flint.fmpq) and radius == 0:
        return a
    r = ball(radius)
    if not r.is_finite():
        return flint.arb("nan")
    top = r.abs_upper()
    return (ball(a) - top).union(ball(a) + top)


def _settled(yes: bool, no: bool) -> bool:
    if not (yes or no):
        raise Undecided("two balls overlap: the comparison needs a higher precision")
    return yes


def union(a: Number, b: Number) -> Number:
    """A ball that holds everything between the two."""
    return ball(a).union(ball(b))


def less(a: Number, b: Number) -> bool:
    """``a < b``, or :class:`Undecided`."""
    return _settled(bool(a < b), bool(a >= b))


def less_or_equal(a: Number, b: Number) -> bool:
    """``a <= b``, or :class:`Undecided`."""
    return _settled(bool(a <= b), bool(a > b))


def equal(a: Number, b: Number) -> bool:
    """``a == b``, or :class:`Undecided`."""
    return _settled(bool(a == b), bool(a != b))


def nearest(a: Number) -> float:
    """The nearest float of the midpoint: a guess, for what need not be exact."""
    try:
        return int(a.p) / int(a.q) if isinstance(a, flint.fmpq) else float(a.mid())
    except OverflowError:
        return math.copysign(math.inf, 1.0 if a > 0 else -1.0)


def distance(a: Number, guess: float) -> float:
    """A float no smaller than the distance of every point of ``a`` from ``guess``."""
    if not math.isfinite(guess):
        return math.inf
    if isinstance(a, flint.fmpq) and a == rational(guess):
        return 0.0
    far = float((ball(a) - rational(guess)).abs_upper())
    return math.nextafter(far, math.inf) if math.isfinite(far) else math.inf


def ends(a: Number) -> tuple[flint.fmpq, flint.fmpq]:
    """Both ends of one entry as exact rationals.

    Raises
    ------
    Undecided: the ball is unbounded.
    """
    if isinstance(a, flint.fmpq):
        return a, a
    if not a.is_finite():
        raise Undecided("a ball is unbounded")
    # The radius of a ball has 30 bits: its own bits and the midpoint's hold the ends exactly.
    (m, e), (r, f) = a.mid().man_exp(), a.rad().man_exp()
    mid, rad = _scaled(m, e), _scaled(r, f)
    return mid - rad, mid + rad


def decimals(a: Number, digits: int = 40) -> tuple[str, str]:
    """Both ends of one entry as decimal text of so many significant digits, rounded outward; ``-inf`` and
    ``inf`` for an unbounded ball."""
    try:
        low, high = ends(a)
    except Undecided:
        return "-inf", "inf"
    size = max(abs(low), abs(high))
    # 10**places is the weight of the last digit kept; the number of digits of a power of two is near enough.
    places = (
        (int(size.p).bit_length() - int(size.q).bit_length()) * 30103 // 100000 - digits + 1 if size else 0
    )
    unit = flint.fmpq(10) ** places
    return _decimal((low / unit).floor(), places), _decimal((high / unit).ceil(), places)


def _decimal(whole: Any, places: int) -> str:
    return f"{int(whole)}e{places}" if whole else "0"


def _scaled(man: flint.fmpz, exponent: flint.fmpz) -> flint.fmpq:
    power = flint.fmpz(2) ** abs(int(exponent))
    return flint.fmpq(man * power) if exponent >= 0 else flint.fmpq(man, power)
