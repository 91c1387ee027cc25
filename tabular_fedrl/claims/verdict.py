"""Verdicts: what is decided about one claim on one instance, and how the decision is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from tabular_fedrl.balls import Balls, decimals, ends
from tabular_fedrl.errors import Undecided
from tabular_fedrl.measured import Array, Measured


class Mark(StrEnum):
    """Provenance of a statement; shown wherever the statement is shown."""

    PAPER = "paper"
    """read in the paper itself; constants are the paper's"""
    CODE = "code"
    """the algorithm was read in the authors' public code; the statement about it is ours"""
    OURS = "ours"
    """proved here, with explicit constants"""
    RECALLED = "recalled"
    """a published statement quoted from memory; constants are not certain"""


class Kind(StrEnum):
    """What sort of statement a claim makes."""

    IDENTITY = "identity"
    """lhs = rhs"""
    TIGHT = "tight"
    """lhs <= rhs, and an instance attains equality"""
    UPPER = "upper"
    """lhs <= rhs"""
    CONJECTURE = "conjecture"
    """lhs <= rhs, not proved"""


class Status(StrEnum):
    """What is decided."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not applicable"


class Role(StrEnum):
    """Why a verdict was asked for."""

    CLAIM = "claim"
    LINK = "link"
    """one inequality of the chain of a proof"""
    ATTAINED = "attained"
    """a tight claim on the instance that attains it: tested for equality"""
    CONTROL = "control"
    """a statement that is wrong on purpose, or a hypothesis dropped: it must fail"""


class Level(StrEnum):
    """What the two sides were computed in."""

    MEASURED = "measured"
    """floats, with rigorous radii for the values of the policies the run visited"""
    CERTIFIED = "certified"
    """exact rationals and balls throughout, the run itself included: a proof for this instance"""


@dataclass(frozen=True)
class Verdict:
    """The decision about one claim on one instance.

    ``case``: the instance and the parameters that were set, as a label; ``parameters``: all of them.
    ``lhs``, ``rhs``: the two sides at the entry that decides (worst margin); ``error``: the radius of the
    enclosure of
    ``lhs - rhs`` there; ``ratio``: the largest ``lhs/rhs`` over the entries with a positive rhs above the
    error (None for identities and where there is none);
    ``vacuous``: whether rhs exceeds the trivial range of lhs (None if the claim states no range);
    ``confidence``: for statements about expectations, the probability with which the error bound holds
    (None: with certainty); ``level``: what the sides were computed in; ``enclosure``: at the certified level
    the ends of lhs and of rhs at that entry as decimals, rounded outward: lower, upper, lower, upper.
    """

    theorem: str
    claim: str
    kind: Kind
    mark: Mark
    instance: str
    case: str
    parameters: dict[str, Any]
    status: Status
    role: Role = Role.CLAIM
    statement: str = ""
    lhs: float | None = None
    rhs: float | None = None
    error: float | None = None
    ratio: float | None = None
    vacuous: bool | None = None
    entries: int = 0
    confidence: float | None = None
    level: Level = Level.MEASURED
    enclosure: tuple[str, str, str, str] | None = None
    reason: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def as_expected(self) -> bool:
        """Controls must fail; everything else must not."""
        if self.role is Role.CONTROL:
            return self.status is Status.FAILS
        return self.status is not Status.FAILS

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON (infinities become None)."""
        data = asdict(self)
        for key, value in data.items():
            if isinstance(value, float) and not np.isfinite(value):
                data[key] = None
        data["as_expected"] = self.as_expected
        return data

    def __str__(self) -> str:
        sides = ""
        if self.lhs is not None and self.rhs is not None:
            sign = "=" if self.kind is Kind.IDENTITY or self.role is Role.ATTAINED else "<="
            sides = f": {self.lhs:.6g} {sign} {self.rhs:.6g}"
            sides += f" (error {self.error:.1e}" if self.error is not None else " ("
            sides += f", ratio {self.ratio:.3g})" if self.ratio is not None else ")"
        why = f" [{self.reason}]" if self.reason else ""
        return f"{self.theorem}::{self.claim} on {self.case}: {self.status}{sides}{why}"


@dataclass(frozen=True)
class Decision:
    """Outcome of :func:`decide`: the two sides at the entry that decides, and a digest of all."""

    status: Status
    lhs: float
    rhs: float
    error: float
    ratio: float | None
    vacuous: bool | None
    entries: int
    enclosure: tuple[str, str, str, str] | None = None


def decide(
    kind: Kind,
    lhs: Measured | Array | float,
    rhs: Measured | Array | float,
    tolerance: float,
    trivial: Measured | Array | float | None = None,
) -> Decision:
    r"""Decide ``lhs = rhs`` (identity) or ``lhs <= rhs`` entry by entry from enclosures.

    An inequality holds when its enclosures are ordered (balls may touch), fails when they are ordered the
    other way, and is undecided when they overlap. An identity fails when 0 is outside the enclosure of
    ``lhs - rhs``, holds when 0 is inside and the radius is at most ``tolerance * max(1, |lhs|, |rhs|)``, and
    is undecided when the radius is larger. A *tight* inequality also holds where it is an equality in that
    sense. One failing entry fails the claim.
    """
    left, right = Measured.of(lhs), Measured.of(rhs)
    difference = left - right
    d, e = difference.value.ravel(), difference.error.ravel()
    a = np.broadcast_to(left.value, difference.shape).ravel()
    b = np.broadcast_to(right.value, difference.shape).ravel()
    small = e <= tolerance * np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
    equal = (np.abs(d) <= e) & small
    if kind is Kind.IDENTITY:
        fails, holds, badness = np.abs(d) > e, equal, np.abs(d) - e
    else:
        fails, holds, badness = d > e, d <= -e, d
        if kind is Kind.TIGHT:
            holds = holds | equal
        if isinstance(left, Balls) and isinstance(right, Balls):
            holds = holds | _touching(left, right, ~fails & ~holds)
    rank = np.where(fails, 2, np.where(holds, 0, 1))
    # The entry shown decides the status; among those, the worst one.
    worst = int(np.lexsort((badness, rank))[-1])
    status = (Status.HOLDS, Status.UNDECIDED, Status.FAILS)[int(rank[worst])]
    ratio = None
    # A right side within the error is noise, and so is what it divides.
    clear = (b > 0) & (b > e)
    if kind is not Kind.IDENTITY and clear.any():
        with np.errstate(over="ignore"):  # infinite against a right side that is next to nothing
            ratio = float((a[clear] / b[clear]).max())
    vacuous = None
    if trivial is not None:
        limit = np.broadcast_to(Measured.of(trivial).value, difference.shape).ravel()
        vacuous = bool((b >= limit).all())
    enclosure = None
    if isinstance(left, Balls) and isinstance(right, Balls):
        x, y = (np.broadcast_to(side.items, difference.shape).ravel()[worst] for side in (left, right))
        enclosure = _written(x, y)
    return Decision(
        status=status,
        lhs=float(a[worst]),
        rhs=float(b[worst]),
        error=float(e[worst]),
        ratio=ratio,
        vacuous=vacuous,
        entries=int(difference.size),
        enclosure=enclosure,
    )


def _touching(left: Balls, right: Balls, asked: np.ndarray) -> np.ndarray:
    """Where, among the entries ``asked``, lhs ends where rhs begins or before: the radius of a difference is
    rounded up, and does not tell."""
    x, y = (
        np.broadcast_to(side.items, np.broadcast_shapes(left.shape, right.shape)).ravel()
        for side in (left, right)
    )
    found = np.zeros(asked.shape, dtype=bool)
    for i in np.flatnonzero(asked):
        try:
            found[i] = ends(x[i])[1] <= ends(y[i])[0]
        except Undecided:  # unbounded
            continue
    return found


def _written(x: Any, y: Any) -> tuple[str, str, str, str]:
    """The ends of two entries as decimals, with as many digits as it takes to show what their order decides;
    as fractions where they touch."""
    try:
        (a, b), (c, d) = ends(x), ends(y)
    except Undecided:
        return (*decimals(x), *decimals(y))
    gap = max(c - b, a - d)
    if gap == 0:
        return str(a), str(b), str(c), str(d)
    size = max(abs(a), abs(b), abs(c), abs(d))
    apart = int((size / gap).floor()).bit_length() * 30103 // 100000 if gap > 0 else 0
    return (*decimals(x, 40 + apart), *decimals(y, 40 + apart))
