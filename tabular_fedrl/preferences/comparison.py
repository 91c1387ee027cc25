r"""Comparing two policies by preferences, exactly: what a majority of N answers says, and how surely.

A question shows two batches of D episodes, one from each policy. The mean return of a batch has the D-fold
convolution of the return's law; the panel's answer has the deviation
:math:`m = E\,\varsigma_P(\bar r_1 - \bar r_0)`; N independent questions are decided by the majority of their
answers, of deviation :math:`M_N(m)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tabular_fedrl.arithmetic import array, clip
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns, return_grid, return_law
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Measured
from tabular_fedrl.preferences.links import link_of
from tabular_fedrl.preferences.panels import Panel
from tabular_fedrl.preferences.votes import Ties, majority

MOST_POINTS = 20_000
"""Points of the mean return of a batch, at most."""
MOST_DRAWN = 10_000_000
"""What is drawn one by one for a decision, at most."""


class Deviating(Protocol):
    """A link or a panel."""

    def deviation(self, x: Any) -> Any: ...


@dataclass(frozen=True)
class Comparison:
    """A panel that is asked ``questions`` (N) times about two batches of ``batch`` (D) episodes each, and
    decides by majority, ``ties`` of an even N by this rule."""

    panel: Panel
    batch: int = 1
    questions: int = 1
    ties: Ties = "fair"

    def __post_init__(self) -> None:
        if int(self.batch) != self.batch or self.batch < 1:
            raise InvalidProblem(
                f"{self.batch!r} episodes in a batch: a whole number of at least 1 is needed"
            )
        majority(0.0, self.questions, self.ties)  # refuses bad numbers

    @property
    def episodes(self) -> int:
        """Episodes simulated for one decision: 2ND."""
        return 2 * self.questions * self.batch

    def answer(self, mdp: EpisodicMDP, first: Any, second: Any) -> Any:
        """The deviation m of one answer in favour of ``first`` against ``second``.

        Both are policies ``(..., H, S, A)`` whose leading axes broadcast; floats, enclosures or balls.
        """
        points = self.points(mdp, self.panel)  # refuses batches that are too large
        mine, theirs = (batch_law(return_law(mdp, pi), self.batch) for pi in (first, second))
        return expectation(points, mine, theirs)

    def vote(self, mdp: EpisodicMDP, first: Any, second: Any) -> Any:
        """The deviation of the decision for ``first``: it is made with probability 1/2 plus this."""
        return majority(self.answer(mdp, first, second), self.questions, self.ties)

    def points(self, mdp: EpisodicMDP, link: Deviating) -> Any:
        r"""A deviation :math:`\varsigma(\bar r_1 - \bar r_0)` for all differences of the means of batches,
        from the least to the largest, ``(2n-1,)`` with n mean returns.

        Raises
        ------
        InvalidProblem: more than :data:`MOST_POINTS` mean returns.
        """
        grid = return_grid(mdp)
        n = (grid.n - 1) * self.batch + 1
        if n > MOST_POINTS:
            raise InvalidProblem(
                f"batches of {self.batch} episodes have {n} mean returns; at most {MOST_POINTS} are taken"
            )
        steps = Measured(np.arange(1.0 - n, n)) * grid.unit.numerator / (grid.unit.denominator * self.batch)
        # No episode has some of the returns on the grid, and no link needs to know them.
        low, high = extreme_returns(mdp)
        return link.deviation(clip(steps, Measured.of(low - high), Measured.of(high - low)))


def comparison_of(
    mdp: EpisodicMDP,
    link: str,
    scale: float | None = None,
    people: int = 1,
    panel_ties: Ties = "fair",
    batch: int = 1,
    questions: int = 1,
    ties: Ties = "fair",
) -> Comparison:
    """A comparison by the name of a link and numbers. ``scale`` None: twice the largest difference of two
    returns, at which an unclipped linear link is just a probability."""
    low, high = extreme_returns(mdp)
    size = float((high - low).upper)
    panel = Panel(link_of(link, 2 * (size or 1.0) if scale is None else scale), people, panel_ties)
    return Comparison(panel, batch, questions, ties)


def few_enough(n: int, what: str) -> None:
    """Refuse to draw so many one by one.

    Raises
    ------
    InvalidProblem: more than :data:`MOST_DRAWN`.
    """
    if n > MOST_DRAWN:
        raise InvalidProblem(f"a decision takes {n} {what}, drawn one by one; at most {MOST_DRAWN} are")


def batch_law(mass: Any, D: int) -> Any:
    """The law of the sum of D independent returns, ``(..., D(n-1)+1)``, from that of one, ``(..., n)``."""
    total, power = None, mass
    while True:
        if D % 2:
            total = power if total is None else _convolve(total, power)
        D //= 2
        if not D:
            return total
        power = _convolve(power, power)


def expectation(f: Any, first: Any, second: Any) -> Any:
    """The expectation of a function ``f (2n-1,)`` of the difference i - j = 1-n..n-1 of two independent whole
    numbers with laws ``(..., n)``, in the number system of the laws."""
    n = first.shape[-1]
    k = np.arange(n)
    table = f[n - 1 + k[:, None] - k]
    if isinstance(second, Measured):
        inner = (second[..., None, :] * table).sum(-1)
    else:
        inner = second @ array(table.plain).T
    return (first * inner).sum(-1)


def _convolve(a: Any, b: Any) -> Any:
    if isinstance(a, Balls):
        return Balls._wrap(_folded(a.items, b.items))
    if isinstance(a, Measured):
        x, y = np.abs(a.value), np.abs(b.value)
        rounding = (min(a.shape[-1], b.shape[-1]) + 2) * UNIT
        error = _folded(x + a.error, b.error) + _folded(a.error, y) + rounding * _folded(x, y)
        return Measured(_folded(a.value, b.value), error * (1 + 4 * rounding))
    return _folded(a, b)


def _folded(a: Any, b: Any) -> Any:
    """Convolution along the last axis."""
    n, m = a.shape[-1], b.shape[-1]
    out = np.zeros((*a.shape[:-1], n + m - 1), dtype=a.dtype)
    for i in range(n):
        out[..., i : i + m] += a[..., i : i + 1] * b
    return out
