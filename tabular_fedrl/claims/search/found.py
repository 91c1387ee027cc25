"""What a search found: for each claim its worst instance, how close it comes, and where the proof loses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.claims.check import check_case
from tabular_fedrl.claims.search.climb import Point
from tabular_fedrl.claims.theorem import Case, Claim, Theorem
from tabular_fedrl.claims.verdict import Kind, Mark, Role, Status, Verdict
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP

DIGITS = 3
"""Significant digits of a suggested constant, rounded up: it must hold on everything found."""


@dataclass(frozen=True)
class Found:
    """The worst instance found for one claim.

    ``ratio``: lhs/rhs there, None if the claim applied nowhere; ``verdict``: the claim there, by its page;
    ``point``: where it is; ``shares``: for the chain of the claim's proof, each reason with the part of
    rhs - lhs that this link loses; ``certified``: the verdict with a proof, where lhs > rhs asked for one.
    """

    theorem: str
    claim: str
    kind: Kind
    mark: Mark
    statement: str
    constant: float | None
    ratio: float | None = None
    problem: FederatedCMDP | FederatedEpisodicMDP | None = None
    parameters: dict[str, Any] | None = None
    verdict: Verdict | None = None
    point: Point | None = None
    shares: tuple[tuple[str, float], ...] = ()
    certified: Verdict | None = None

    @property
    def suggested(self) -> float | None:
        """The smallest constant, rounded up, with which the claim holds on everything found, in place of its
        leading one (of 1, the whole right side, if it states none)."""
        if self.ratio is None or not 0 < self.ratio < math.inf:
            return None
        constant = (self.constant or 1.0) * self.ratio
        unit = 10.0 ** (math.floor(math.log10(constant)) - DIGITS + 1)
        return round(math.ceil(constant / unit * (1 - 1e-12)) * unit, 12)

    @property
    def exceeds(self) -> bool:
        """Whether the left side is above the right one, as far as is measured."""
        return self.verdict is not None and (
            self.verdict.status is Status.FAILS
            or (self.ratio is not None and self.ratio > 1 and self.verdict.status is not Status.HOLDS)
        )

    @property
    def counterexample(self) -> bool:
        """Whether it is proved that the claim fails there."""
        return self.certified is not None and self.certified.status is Status.FAILS

    @property
    def status(self) -> str:
        """``counterexample``, ``fails`` or ``undecided`` (nothing proved), ``holds`` on everything found,
        ``not applicable``."""
        if self.verdict is None:
            return "not applicable"
        if self.counterexample:
            return "counterexample"
        if self.exceeds:
            return str(self.verdict.status)
        return "holds"

    @property
    def words(self) -> str:
        """One sentence."""
        if self.ratio is None:
            return "no ratio: it applied to no instance with a positive right side"
        if self.counterexample:
            return f"COUNTEREXAMPLE: fails, proved at level {self.certified.level}"  # type: ignore[union-attr]
        if self.exceeds:
            return "lhs exceeds rhs, but that could not be proved"
        if self.ratio > 1 - 1e-6:
            return "attained: no smaller constant holds"
        if self.suggested is None:
            return "the left side was never positive"
        if self.suggested >= (self.constant or 1.0):
            return f"attained to {DIGITS} digits: no smaller constant holds"
        if self.constant is not None:
            return f"holds with {self.suggested:g} in place of {self.constant:g} on everything found"
        return f"holds with {self.suggested:g} of the right side on everything found"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        verdict = self.verdict
        problem = self.problem
        sizes: dict[str, float] = {}
        if isinstance(problem, FederatedEpisodicMDP):
            sizes = {"S": problem.S, "A": problem.A, "H": problem.H, "N": problem.N}
        elif problem is not None:
            cmdp = problem.cmdp
            sizes = {"S": cmdp.S, "A": cmdp.A, "m": cmdp.m, "N": problem.N, "gamma": float(cmdp.gamma)}
        return {
            "theorem": self.theorem,
            "claim": self.claim,
            "kind": str(self.kind),
            "mark": str(self.mark),
            "statement": self.statement,
            "status": self.status,
            "ratio": self.ratio if self.ratio is None or math.isfinite(self.ratio) else None,
            "lhs": verdict.lhs if verdict else None,
            "rhs": verdict.rhs if verdict else None,
            "vacuous": verdict.vacuous if verdict else None,
            "constant": self.constant,
            "suggested": self.suggested,
            "words": self.words,
            "sizes": sizes,
            "parameters": self.parameters,
            "shares": [[reason, share] for reason, share in self.shares],
            "evaluations": self.point.evaluations if self.point else None,
            "certified": self.certified.to_dict() if self.certified else None,
        }


def describe(theorem: type[Theorem], claims: Sequence[Claim], best: Mapping[str, Point]) -> list[Found]:
    """What there is to say about the best points of some claims; one without a point applied nowhere."""
    verdicts: dict[bytes, tuple[FederatedCMDP | FederatedEpisodicMDP, dict[str, Any], list[Verdict]]] = {}
    out = []
    for claim in claims:
        names = (theorem.id, claim.name, claim.kind, Mark(theorem.mark), claim.statement, claim.constant)
        if claim.name not in best:
            out.append(Found(*names))
            continue
        point = best[claim.name]
        # Several claims are often worst at the same point.
        key = f"{point.coding}".encode() + point.x.tobytes()
        if key not in verdicts:
            problems, parameters = point.coding.decode(point.x[None])
            instance, values = problems.problem(0), point.coding.parameters_of(parameters, 0)
            with np.errstate(all="ignore"):
                verdicts[key] = instance, values, check_case(theorem, Case(instance, **values))
        problem, chosen, found = verdicts[key]
        own = next(v for v in found if v.claim == claim.name)
        out.append(Found(*names, point.ratio, problem, chosen, own, point, _shares(found, claim)))
    return out


def _shares(verdicts: Sequence[Verdict], claim: Claim) -> tuple[tuple[str, float], ...]:
    """Each link of the claim's chain with its part of what the whole chain loses."""
    links = [v for v in verdicts if v.role is Role.LINK and v.claim.rpartition("/")[0] == claim.name]
    lost = [(v.rhs or 0.0) - (v.lhs or 0.0) for v in links]
    if not sum(lost) > 0:
        return ()
    return tuple((v.statement, each / sum(lost)) for v, each in zip(links, lost))
