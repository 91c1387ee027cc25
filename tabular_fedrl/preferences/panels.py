r"""Panels: P people with one link function who answer by majority."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences.links import Link
from tabular_fedrl.preferences.votes import Ties, majority


@dataclass(frozen=True)
class Panel:
    r"""P independent people who prefer by the same link; their answer is the majority's.

    :math:`\varsigma_P(x) = P(\text{the panel prefers}) - 1/2`, the chance of a binomial majority.
    ``ties``: what an even number of people answers when they are split.
    """

    link: Link
    people: int = 1
    ties: Ties = "fair"

    def __post_init__(self) -> None:
        majority(0.0, self.people, self.ties)  # refuses bad numbers

    @property
    def symmetric(self) -> bool:
        r"""Whether :math:`\varsigma_P(-x) = -\varsigma_P(x)`: an even panel needs a fair rule for ties."""
        return self.link.symmetric and (self.people % 2 == 1 or self.ties == "fair")

    def deviation(self, x: Any) -> Any:
        r""":math:`\varsigma_P(x)`, elementwise, in any number system."""
        return majority(self.link.deviation(x), self.people, self.ties)

    def inverse(self, y: Any) -> Measured:
        r"""An enclosure of the x with :math:`\varsigma_P(x) = y`, for one number y.

        Of several people the majority is inverted by bisection, with both ends decided by enclosures.

        Raises
        ------
        InvalidProblem: no x has this deviation.
        """
        if self.people == 1:
            return Measured.of(self.link.inverse(Measured.of(y)))
        wanted = Measured.of(y)
        low = _last(-0.5, 0.5, lambda m: bool(self._majority(m).upper <= wanted.lower))
        high = _last(0.5, -0.5, lambda m: bool(self._majority(m).lower >= wanted.upper))
        if low is None or high is None:
            raise InvalidProblem(
                f"no difference of returns makes a panel of {self.people} answer with deviation "
                f"{float(wanted.value):g}"
            )
        return Measured.of(self.link.inverse(Measured.between(low, high)))

    def _majority(self, m: float) -> Measured:
        return Measured.of(majority(Measured(m), self.people, self.ties))


def _last(start: float, end: float, holds: Callable[[float], bool]) -> float | None:
    """The last float from ``start`` towards ``end`` at which a condition that holds at first still does;
    None if it does not hold at ``start``."""
    if not holds(start):
        return None
    while (middle := start + (end - start) / 2) not in (start, end):
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start
