r"""Majorities: the chance that more than half of n independent voters say yes, for any n, without sampling.

Of voters who say yes with probability 1/2 + m each, an odd number n = 2k+1 has the majority of yes with
probability :math:`1/2 + M_n(m)`,

.. math:: M_n(m) = (2k+1) \binom{2k}{k} 4^{-k} \int_0^m (1 - 4u^2)^k\,du ,

the binomial tail as an incomplete beta integral, free of cancellation: :math:`M_n` is odd and keeps its
relative accuracy for deviations however small. With ties decided by a fair coin 2k voters are as good as
2k-1; a tie has probability :math:`\binom{2k}{k} 4^{-k} (1 - 4m^2)^k`.

The powers are taken through their logarithms, so that n may be :math:`10^{18}`. Exact rationals give exact
rationals for few voters; balls are integrated rigorously.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import flint
import numpy as np

from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Array, Measured

Ties = Literal["fair", "no", "yes"]
"""Who wins when half of the voters say yes: a fair coin, those who say no, or those who say yes."""

TIES = ("fair", "no", "yes")

_EXACT = 64
"""Up to this k rationals stay rationals: the integral is a polynomial."""
_ASYMPTOTIC = 1000
"""Beyond this k the central binomial coefficient comes from its expansion."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 12.0
"""Standard deviations beyond which the integrand is below any rounding."""
_ACCURACY = 1e-13
"""Relative accuracy charged to the quadrature in floats; the tests compare it with balls."""


def majority(m: Any, n: int, ties: Ties = "fair") -> Any:
    """The deviation from 1/2 of the chance that the majority of n voters says yes.

    ``m``: the deviation from 1/2 of each voter's chance, any shape, in any number system. ``ties``: what
    counts when half of an even number say yes.

    Raises
    ------
    InvalidProblem: n is not a whole number of at least 1, or an unknown rule for ties.
    """
    if int(n) != n or n < 1:
        raise InvalidProblem(f"{n!r} voters: a whole number of at least 1 is needed")
    if ties not in TIES:
        raise InvalidProblem(f"ties {ties!r}: expected one of {', '.join(TIES)}")
    fair = _odd(m, (int(n) - 1) // 2)
    if n % 2 or ties == "fair":
        return fair
    half = _tie(m, int(n) // 2) / 2
    return fair + half if ties == "yes" else fair - half


def _odd(m: Any, k: int) -> Any:
    """:math:`M_{2k+1}(m)`."""
    if k == 0:
        return m
    if isinstance(m, Balls):
        return Balls._wrap(np.asarray(np.frompyfunc(lambda x: _entry(x, k), 1, 1)(m.items), dtype=object))
    if isinstance(m, Measured):
        value = _quadrature(m.value, k)
        # The integrand is at most 1.
        slope = (2 * k + 1) * _central(k)
        return Measured(value, (_ACCURACY * np.abs(value) + slope * m.error) * (1 + 64 * UNIT))
    return _quadrature(np.asarray(m, dtype=np.float64), k)


def _tie(m: Any, k: int) -> Any:
    """The chance that exactly k of 2k say yes."""
    if isinstance(m, Balls):
        central = _central_ball(k)
        return Balls._wrap(
            np.asarray(
                np.frompyfunc(lambda x: central * _power(1 - 4 * x * x, k), 1, 1)(m.items), dtype=object
            )
        )
    if isinstance(m, Measured):
        value = _tie(m.value, k)
        slope = 8 * k * (np.abs(m.value) + m.error) * _central(k)
        return Measured(value, (_ACCURACY * value + slope * m.error) * (1 + 64 * UNIT) + 1e-300)
    return _central(k) * _log_power(4 * np.asarray(m) ** 2, k)


# ---- floats ------------------------------------------------------------------------------------------------
def _quadrature(m: Array, k: int) -> Array:
    """Gauss and Legendre's rule in units of the standard deviation, in which the integrand is nearly a
    Gaussian."""
    deviations = np.sqrt(2.0 * k + 1)
    end = np.clip(2 * deviations * m, -_REACH, _REACH)[..., None]
    t = end / 2 * (_NODES + 1)
    total = (_log_power(np.minimum(t**2 / (2 * k + 1), 1.0), k) * _WEIGHTS).sum(-1) * end[..., 0] / 2
    return np.asarray(deviations / 2 * _central(k) * total)


def _log_power(x: Array, k: int) -> Array:
    """:math:`(1-x)^k` through the logarithm."""
    with np.errstate(divide="ignore"):
        return np.exp(k * np.log1p(-x))


@lru_cache(maxsize=1024)
def _central(k: int) -> float:
    r""":math:`\binom{2k}{k} 4^{-k}`, correctly rounded or by its asymptotic expansion."""
    if k <= _ASYMPTOTIC:
        return float(Fraction(math.comb(2 * k, k), 4**k))
    x = 1.0 / k
    series = 1 - x / 8 * (1 - x / 16 * (1 + 5 * x / 8 * (1 - 21 * x / 160)))
    return float(series / np.sqrt(np.pi * k))


# ---- exact rationals and balls -----------------------------------------------------------------------------
def _central_ball(k: int) -> Any:
    if k <= _ASYMPTOTIC:
        return flint.fmpq(math.comb(2 * k, k), 4**k)
    logarithm = flint.arb(2 * k + 1).lgamma() - 2 * flint.arb(k + 1).lgamma() - 2 * k * flint.arb(2).log()
    return logarithm.exp()


def _entry(m: Any, k: int) -> Any:
    return _polynomial(m, k) if isinstance(m, flint.fmpq) and k <= _EXACT else _integral(m, k)


def _polynomial(m: Any, k: int) -> Any:
    square, total = -4 * m * m, flint.fmpq(0)
    for j in reversed(range(k + 1)):
        total = total * square + flint.fmpq(math.comb(k, j), 2 * j + 1)
    return (2 * k + 1) * _central_ball(k) * total * m


def _integral(m: Any, k: int) -> Any:
    """The integral up to where the integrand falls below the working precision, and a bound on the rest."""
    end = flint.arb(m)
    reach = flint.arb(math.sqrt((flint.ctx.prec + 16) * math.log(2) / (4 * k)))
    cut = end.min(reach).max(-reach) if not abs(end) < reach else end
    total = flint.acb.integral(lambda u, _: (1 - 4 * u * u) ** k, flint.acb(0), flint.acb(cut)).real
    if cut is not end:
        rest = (1 - 4 * cut * cut) ** k * abs(end - cut)
        total += flint.arb(0).union(rest if end > 0 else -rest)
    return (2 * k + 1) * _central_ball(k) * total


def _power(x: Any, k: int) -> Any:
    """Rational while that is short."""
    return x**k if k <= _EXACT else flint.arb(x) ** k
