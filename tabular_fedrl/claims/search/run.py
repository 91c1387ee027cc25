"""The search itself, from its question to its answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tabular_fedrl.claims.certify import certify
from tabular_fedrl.claims.search.budget import Budget
from tabular_fedrl.claims.search.climb import Climb, Point
from tabular_fedrl.claims.search.family import parse_family
from tabular_fedrl.claims.search.files import SearchFile
from tabular_fedrl.claims.search.found import Found, describe
from tabular_fedrl.claims.search.objective import Objective, searched
from tabular_fedrl.claims.search.space import Space
from tabular_fedrl.claims.theorem import Case, Range, Theorem
from tabular_fedrl.claims.verdict import Role, Status, Verdict
from tabular_fedrl.errors import InvalidProblem, SolverFailure

EVERY = 5.0
"""Seconds between two savings of what has been found."""

Progress = Callable[[float, float, str], None]
"""``progress(done, total, what)``, in evaluations or in seconds"""


@dataclass(frozen=True)
class Search:
    """The answer: the worst instance found for each claim, and how long it was looked for."""

    theorem: str
    family: str
    seed: int
    evaluations: int
    restarts: int
    seconds: float
    found: tuple[Found, ...]

    @property
    def exit_code(self) -> int:
        """1 a claim fails, with a proof; 5 a left side exceeds its right one, without one; else 0."""
        if any(f.counterexample for f in self.found):
            return 1
        return 5 if any(f.exceeds for f in self.found) else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "theorem": self.theorem,
            "family": self.family,
            "seed": self.seed,
            "evaluations": self.evaluations,
            "restarts": self.restarts,
            "seconds": self.seconds,
            "found": [f.to_dict() for f in self.found],
        }


def search(
    theorem: type[Theorem] | str,
    family: str | None = None,
    budget: str | int = "60s",
    seed: int = 0,
    *,
    claims: Sequence[str] | None = None,
    space: Mapping[str, Range] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    prove: bool = True,
    progress: Progress | None = None,
) -> Search:
    r"""Look for the instances on which a theorem's inequalities come closest to failing.

    Parameters
    ----------
    theorem: a class or an id. family: such as ``"cmdp:S=2..3,A=2,m=1,N=1,gamma=0..0.95"`` (see
        :mod:`tabular_fedrl.claims.search.family`); None: the theorem's own.
    budget: ``"60s"``, ``"2m"`` or a number of evaluations. For one seed the sequence of evaluations is the
        same whatever the budget; a number of evaluations gives the same answer every time.
    claims: names; None: every inequality. space: ranges of free parameters in place of the theorem's own
        (``Theorem.space``); a list of one value sets it.
    out: keep what is found there (:mod:`tabular_fedrl.claims.search.files`); resume: go on from there, up to
        ``budget`` evaluations in all, or for as many seconds again.
    prove: certify a left side that exceeds its right side.

    Raises
    ------
    InvalidProblem: what cannot be searched, or a file that another search left.
    KeyboardInterrupt: interrupted; what was found is in ``out``.
    """
    if isinstance(theorem, str):
        from tabular_fedrl.claims.discovery import find

        theorem = find(theorem)
    begin = time.monotonic()
    where, limit = parse_family(family or theorem.family), Budget.of(budget)
    wanted = searched(theorem, claims)
    objective, room = Objective(theorem, wanted), Space.of(theorem, where, space or {})
    climb = Climb(objective, room, seed, limit)
    file = None if out is None else SearchFile(out, _header(theorem, room, seed, wanted))
    earlier: dict[str, Point] = file.load(climb) if file is not None and resume else {}
    climb.on_progress = _Watch(file, progress, begin)
    try:
        climb.run()
    finally:
        # Interrupted or done: what is known now, and what was known before.
        climb.on_progress = lambda _: None
        climb.settle()
        for name, point in earlier.items():
            if name not in climb.best or point.ratio > climb.best[name].ratio:
                climb.best[name] = point
        if file is not None:
            file.save(climb)
    if not climb.best:
        raise InvalidProblem(f"no claim of {theorem.id} applied to an instance of {where}: {climb.why()}")
    found = describe(theorem, wanted, climb.best)
    if prove:
        found = [replace(f, certified=proved(theorem, f)) if f.exceeds else f for f in found]
    return Search(
        theorem.id,
        str(where),
        seed,
        climb.evaluations,
        climb.restart + 1,
        time.monotonic() - begin,
        tuple(found),
    )


class _Watch:
    """Shows progress and, every few seconds, saves what has been found."""

    def __init__(self, file: SearchFile | None, progress: Progress | None, begin: float) -> None:
        self.file, self.progress, self.begin, self.saved = file, progress, begin, begin

    def __call__(self, climb: Climb) -> None:
        now = time.monotonic()
        if self.file is not None and now >= self.saved + EVERY:
            self.file.save(climb)
            self.saved = time.monotonic()
        if self.progress is not None:
            done = now - self.begin if climb.budget.timed else climb.evaluations
            what = ", ".join(f"{name} {point.ratio:.4g}" for name, point in climb.best.items())
            self.progress(min(int(done), int(climb.budget.total)), int(climb.budget.total), what)


def _header(theorem: type[Theorem], space: Space, seed: int, claims: Sequence[Any]) -> dict[str, Any]:
    ranges = {**space.wholes, **space.choices, **space.reals, **space.tables}
    return {
        "theorem": theorem.id,
        "family": str(space.family),
        "claims": [claim.name for claim in claims],
        "space": {name: list(r) if isinstance(r, tuple | list) else str(r) for name, r in ranges.items()},
        "seed": seed,
    }


def proved(theorem: type[Theorem], found: Found) -> Verdict:
    """The verdict of a certified run on the instance; undecided, with the reason, where there can be none."""
    assert found.problem is not None
    assert found.verdict is not None
    try:
        proof = certify(theorem, Case(found.problem, **(found.parameters or {})))
    except (InvalidProblem, SolverFailure) as error:
        # A page that balls cannot compute: the excess stays measured.
        return replace(found.verdict, status=Status.UNDECIDED, reason=str(error))
    return next(v for v in proof.verdicts if v.claim == found.claim and v.role is Role.CLAIM)
