r"""Families of small CMDPs among which a worst case is looked for.

A family is a kind with ranges, written ``kind:key=value,key=low..high``::

    cmdp:S=2..3,A=2,m=1,N=1,gamma=0..0.95
    bandit:A=2..4,m=1           one state, gamma = 0
    deterministic:S=4,A=2,m=0   every action leads to one state
    sparse:S=4,A=2,b=2,m=1      every action leads to at most b states
    success:S=2,A=2,H=3,N=1     finite horizon: episodes of H steps succeed or fail at their end

S states, A actions, m constraints, N agents (agent i sees the constraints j with j mod N = i; i mod m when
N > m), discount gamma. Rewards and costs lie in [0, 1]; every initial distribution occurs; the threshold of
each constraint lies between the least and the largest value that its cost can have. In the last kind there
are N environments, alike in nothing but their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import parse_integer, parse_number, shorten, suggestion

LIMITS = {"S": (1, 12), "A": (1, 12), "m": (0, 6), "N": (1, 100), "b": (1, 12), "H": (1, 12)}
"""Least and largest sizes: a search in more than some hundred dimensions finds nothing."""

DEFAULTS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "cmdp": {"S": (1, 3), "A": (2, 3), "m": (1, 1), "N": (1, 1)},
    "bandit": {"A": (2, 3), "m": (1, 1), "N": (1, 1)},
    "deterministic": {"S": (2, 3), "A": (2, 3), "m": (1, 1), "N": (1, 1)},
    "sparse": {"S": (2, 4), "A": (2, 3), "b": (2, 2), "m": (1, 1), "N": (1, 1)},
    "success": {"S": (1, 3), "A": (2, 3), "H": (1, 3), "N": (1, 1)},
}
UNDISCOUNTED = ("bandit", "success")
"""Kinds without a discount to choose."""
GAMMA = (0.0, 0.95)


@dataclass(frozen=True)
class Shape:
    """Sizes of an instance; ``branching``: the most successors of a state-action pair."""

    S: int
    A: int
    m: int
    N: int
    branching: int

    @property
    def visible(self) -> list[list[int]]:
        """The constraints that each agent sees."""
        if self.m < self.N:
            return [[i % self.m] if self.m else [] for i in range(self.N)]
        return [list(range(i, self.m, self.N)) for i in range(self.N)]

    @property
    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Boolean ``(N, m)``: who sees what."""
        mask = np.zeros((self.N, self.m), dtype=bool)
        for i, seen in enumerate(self.visible):
            mask[i, seen] = True
        return mask


@dataclass(frozen=True)
class EpisodicShape:
    """Sizes of a finite-horizon instance: S states, A actions, H steps, N environments."""

    S: int
    A: int
    H: int
    N: int

    @property
    def branching(self) -> int:
        """The most successors of a state-action pair."""
        return self.S


@dataclass(frozen=True)
class Family:
    """A kind of instances with ranges of its sizes (both ends included) and of gamma."""

    kind: str
    sizes: Mapping[str, tuple[int, int]]
    gamma: tuple[float, float]

    def draw(self, rng: np.random.Generator) -> Shape | EpisodicShape:
        """Sizes, uniformly from their ranges."""
        drawn = {key: int(rng.integers(low, high + 1)) for key, (low, high) in self.sizes.items()}
        if self.kind == "success":
            return EpisodicShape(**drawn)
        S = drawn.get("S", 1)
        branching = {"deterministic": 1, "sparse": min(drawn.get("b", S), S)}.get(self.kind, S)
        return Shape(S, drawn["A"], drawn["m"], drawn["N"], branching)

    def __str__(self) -> str:
        ranges = {**self.sizes} if self.kind in UNDISCOUNTED else {**self.sizes, "gamma": self.gamma}
        return f"{self.kind}:" + ",".join(f"{key}={span(value)}" for key, value in ranges.items())


def parse_family(text: str) -> Family:
    """The family that ``text`` names.

    Raises
    ------
    InvalidProblem: naming the key and the value.
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in DEFAULTS:
        raise InvalidProblem(f"unknown family {shorten(kind)!r}{suggestion(kind, DEFAULTS)}")
    sizes, gamma = dict(DEFAULTS[kind]), (0.0, 0.0) if kind in UNDISCOUNTED else GAMMA
    known = (*sizes, *(() if kind in UNDISCOUNTED else ("gamma",)))
    seen = set()
    for pair in rest.split(",") if rest else []:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise InvalidProblem(f"{kind}: {shorten(pair)!r} is not key=value")
        if key not in known:
            raise InvalidProblem(f"{kind}: unknown key {shorten(key)!r}{suggestion(key, known)}")
        if key in seen:
            raise InvalidProblem(f"{kind}: {key} is given twice")
        seen.add(key)
        if key == "gamma":
            gamma = _reals(f"{kind}: gamma", value)
        else:
            sizes[key] = _whole(f"{kind}: {key}", value, *LIMITS[key])
    return Family(kind, sizes, gamma)


def span(bounds: tuple[float, float]) -> str:
    """``low..high``, or the number where both are the same."""
    low, high = bounds
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"


def ends(what: str, value: str) -> tuple[str, str]:
    """The two ends of ``low..high``; the same word twice if there is one."""
    low, dots, high = value.partition("..")
    if dots and not (low.strip() and high.strip()):
        raise InvalidProblem(f"{what}={shorten(value)}: a range is low..high")
    return low, high if dots else low


def _whole(what: str, value: str, least: int, most: int) -> tuple[int, int]:
    low, high = (parse_integer(word, what) for word in ends(what, value))
    if not least <= low <= high <= most:
        raise InvalidProblem(
            f"{what}={shorten(value)}: expected whole numbers from {least} to {most}, rising"
        )
    return low, high


def _reals(what: str, value: str) -> tuple[float, float]:
    low, high = (parse_number(word, what) for word in ends(what, value))
    if not 0 <= low <= high < 1:
        raise InvalidProblem(f"{what}={shorten(value)}: expected numbers in [0, 1), rising")
    return low, high
