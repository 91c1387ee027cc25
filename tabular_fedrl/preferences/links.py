r"""Link functions: how the difference of two returns becomes the chance of being preferred.

A person who compares a batch of mean return y with one of mean return z prefers the first with probability
:math:`\sigma(y - z) = 1/2 + \varsigma(y - z)`. The package computes with the *deviation*
:math:`\varsigma`, which keeps its relative accuracy where :math:`\sigma` is near 1/2. All functions act on
floats, enclosures, balls and exact rationals alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tabular_fedrl.arithmetic import clip
from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Measured


class Link(Protocol):
    r"""A link by its deviation :math:`\varsigma = \sigma - 1/2`, increasing, 0 at 0.

    ``symmetric``: whether :math:`\varsigma(-x) = -\varsigma(x)`.
    """

    @property
    def symmetric(self) -> bool: ...

    def deviation(self, x: Any) -> Any:
        r""":math:`\varsigma(x)`, elementwise."""
        ...

    def inverse(self, y: Any) -> Any:
        r"""The x with :math:`\varsigma(x) = y`, elementwise.

        Raises
        ------
        InvalidProblem: no x has this deviation.
        """
        ...


@dataclass(frozen=True)
class Linear:
    r""":math:`\varsigma(x) = a x`, clipped to [-1/2, 1/2] if ``clipped``.

    Unclipped it is a probability only where :math:`|x| \le 1/(2a)`; :meth:`deviation` checks that.
    """

    slope: float
    clipped: bool = False

    def __post_init__(self) -> None:
        _positive("slope", self.slope)

    @property
    def symmetric(self) -> bool:
        return True

    def deviation(self, x: Any) -> Any:
        y = x * self.slope
        if self.clipped:
            return clip(y, -0.5, 0.5)
        size = np.max(np.abs(y.value) - y.error if isinstance(y, Measured) else np.abs(y), initial=0.0)
        if size > 0.5 + 8 * UNIT:
            raise InvalidProblem(
                f"linear link: slope {self.slope:g} times a difference of returns is {size:g}, more than "
                "1/2; take a smaller slope, or clip"
            )
        return y

    def inverse(self, y: Any) -> Any:
        if self.clipped:
            _within(y)
        return y / self.slope


@dataclass(frozen=True)
class Logistic:
    r""":math:`\sigma(x) = 1/(1 + e^{-x/s})`, the model of Bradley and Terry at s = ``scale`` = 1."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive("scale", self.scale)

    @property
    def symmetric(self) -> bool:
        return True

    def deviation(self, x: Any) -> Any:
        y = x / self.scale
        if isinstance(y, Balls):
            e = y.expm1()
            return e / (e + 2) / 2
        if isinstance(y, Measured):
            # The slope is at most 1/4, the hyperbolic tangent of NumPy within four ulps.
            value = np.tanh(y.value / 2) / 2
            return Measured(value, y.error / 4 * (1 + 8 * UNIT) + 16 * UNIT * np.abs(value))
        return np.tanh(y / 2) / 2

    def inverse(self, y: Any) -> Any:
        _within(y)
        return (_log1p(y * 2) - _log1p(y * -2)) * self.scale


@dataclass(frozen=True)
class Weibull:
    r""":math:`\sigma(x) = 1 - 2^{-e^{x/s}}`, the complementary log-log curve with :math:`\sigma(0) = 1/2`.

    Not symmetric: :math:`\sigma(-x) \ne 1 - \sigma(x)`. The name is that of the preference model in Zhang and
    Ying (arXiv 2409.17401); its exact form there is not certain to us.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive("scale", self.scale)

    @property
    def symmetric(self) -> bool:
        return False

    def deviation(self, x: Any) -> Any:
        with np.errstate(over="ignore"):
            return _expm1(_expm1(x / self.scale) * -_log2(x)) / -2

    def inverse(self, y: Any) -> Any:
        _within(y)
        return _log1p(_log1p(y * -2) / -_log2(y)) * self.scale


def link_of(name: str, scale: float) -> Link:
    """A link by its name: ``linear`` (slope 1/scale), ``clipped``, ``logistic`` or ``weibull``.

    Raises
    ------
    InvalidProblem: another name.
    """
    _positive("scale", scale)
    links: dict[str, Link] = {
        "linear": Linear(1 / scale),
        "clipped": Linear(1 / scale, clipped=True),
        "logistic": Logistic(scale),
        "weibull": Weibull(scale),
    }
    if name not in links:
        raise InvalidProblem(f"link {name!r}: expected one of {', '.join(links)}")
    return links[name]


def _positive(name: str, x: float) -> None:
    if not (np.isfinite(x) and x > 0):
        raise InvalidProblem(f"link: {name} = {x:g} is not a positive number")


def _within(y: Any) -> None:
    sizes = np.abs(y.value) if isinstance(y, Measured) else np.abs(y)
    if np.any(sizes >= 0.5):
        raise InvalidProblem(
            f"no difference of returns is preferred with probability 1/2 + {np.max(sizes):g} by this link"
        )


def _log1p(x: Any) -> Any:
    return x.log1p() if isinstance(x, Measured) else np.log1p(x)


def _expm1(x: Any) -> Any:
    return x.expm1() if isinstance(x, Measured) else np.expm1(x)


def _log2(like: Any) -> Any:
    """log 2 in the number system of ``like``."""
    if isinstance(like, Balls):
        return Balls(2).log()
    return Measured(np.log(2.0), UNIT) if isinstance(like, Measured) else np.log(2.0)
