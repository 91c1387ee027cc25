"""Checking theorems: on one problem, on their own suites, side by side in processes."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from tabular_fedrl import balls
from tabular_fedrl.claims.parameters import checked_parameters
from tabular_fedrl.claims.places import placed
from tabular_fedrl.claims.theorem import LINK_TOLERANCE, Case, Chain, Claim, Control, Hypothesis, Theorem
from tabular_fedrl.claims.verdict import Kind, Level, Mark, Role, Status, Verdict, decide
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem, NotSlater, Undecided
from tabular_fedrl.instances import Problem, load_any
from tabular_fedrl.instances.text import shorten
from tabular_fedrl.measured import Measured

AnyProblem = str | Problem

TYPES = {
    FederatedCMDP: "a discounted problem",
    FederatedEpisodicMDP: "a finite-horizon problem",
    EpisodicMDP: "a finite-horizon problem of a single environment",
}
"""What the types of problems are called."""


def verify(
    theorem: type[Theorem] | str, problem: AnyProblem, *, certify: bool = False, **parameters: Any
) -> list[Verdict]:
    """Every claim of a theorem, and every link of its proof, on one problem.

    ``theorem``: a class or an id such as ``"fednpg.f1"``; ``problem``: a SOURCE or a problem;
    ``parameters``: the theorem's free parameters (those of its ``setup``); ``certify``: decide in exact
    rationals and balls (:func:`tabular_fedrl.claims.certify.certify`).

    Raises :class:`InvalidProblem` for an unknown theorem or parameter and for bad problems.
    """
    if isinstance(theorem, str):
        from tabular_fedrl.claims.discovery import find

        theorem = find(theorem)
    case = Case(problem, **parameters)
    if certify:
        from tabular_fedrl.claims.certify import certify as prove

        return prove(theorem, case).verdicts
    return check_case(theorem, case)


def check_case(theorem: type[Theorem], case: Case) -> list[Verdict]:
    """Claims and chain links of a theorem on one case."""
    return list(Bench(theorem, case).verdicts())


def check_control(theorem: type[Theorem], control: Control) -> Verdict:
    """A control on its own case; it is as expected when it fails."""
    bench = Bench(theorem, control.case)
    begin = time.perf_counter()
    x = bench.context()
    with placed(theorem, control.name, control.case.label):
        sides = control.function(bench.theorem, x)
    return bench.verdict(
        control.name, control.kind, control.shows, sides, control.tolerance, Role.CONTROL, begin=begin
    )


def check_attained(theorem: type[Theorem], claim: Claim) -> Verdict:
    """A tight claim on the instance that attains it, tested for equality."""
    if claim.attained is None:
        raise ValueError(f"{theorem.id}::{claim.name} names no instance that attains it")
    bench = Bench(theorem, claim.attained)
    begin = time.perf_counter()
    x = bench.context()
    with placed(theorem, claim.name, claim.attained.label):
        sides = claim.function(bench.theorem, x)[:2]
    return bench.verdict(
        claim.name, Kind.IDENTITY, claim.statement, sides, claim.tolerance, Role.ATTAINED, begin=begin
    )


def check_all(theorem: type[Theorem]) -> Iterator[Verdict]:
    """The theorem's whole suite: cases, tightness, controls."""
    for case in theorem.suite:
        yield from check_case(theorem, case)
    for claim in theorem.claims():
        if claim.attained is not None:
            yield check_attained(theorem, claim)
    for item in theorem.controls():
        yield check_control(theorem, item)


class Bench:
    """One theorem on one case: loads the problem (unless it is given), tests hypotheses, runs ``setup`` once.

    Inside ``balls.precision(...)`` its verdicts are certified: the problem must then be one of exact data.
    ``reached``: the share of a run that was done when its balls grew beyond bounds.

    Raises :class:`InvalidProblem` for an unknown or missing parameter and for bad problems.
    """

    def __init__(
        self,
        theorem: type[Theorem],
        case: Case,
        problem: FederatedCMDP | FederatedEpisodicMDP | None = None,
    ) -> None:
        self.theorem = theorem()
        self.case = case
        self.reached: float | None = None
        known = theorem.parameters()
        self.parameters = {**known, **checked_parameters(theorem, case.parameters)}
        missing = [k for k, v in self.parameters.items() if v is inspect.Parameter.empty]
        if missing:
            raise InvalidProblem(f"{theorem.id} needs a value for its parameter {missing[0]!r}")
        given: Any = load_any(case.source) if problem is None else problem
        alone = theorem.problem_type is EpisodicMDP and isinstance(given, FederatedEpisodicMDP)
        self.problem: Any = given.mdp if alone and given.N == 1 else given

    def context(self) -> Any:
        with self._placed("setup"):
            return self.theorem.setup(self.problem, **self.parameters)

    def prepare(self) -> tuple[Any, dict[str, str]]:
        """What ``setup`` gives (None if no claim applies), and why claims do not apply, by name."""
        unmet: list[Hypothesis] = []
        wanted = self.theorem.problem_type
        names = [claim.name for claim in self.theorem.claims()]
        if not isinstance(self.problem, wanted):
            return None, dict.fromkeys(names, TYPES[wanted])
        try:
            unmet = [h for h in self.theorem.hypotheses() if not self._met(h)]
            why = next((h.text for h in unmet if not h.only), None)
            x = self.context() if why is None else None
        except InfeasibleCMDP:
            why = "a feasible problem: this one is infeasible"
        except NotSlater as error:
            why = f"a Slater point: {error}"
        if why is not None:
            return None, dict.fromkeys(names, why)
        return x, {name: h.text for h in reversed(unmet) for name in names if name in h.only}

    def verdicts(self) -> Iterator[Verdict]:
        begin = time.perf_counter()
        try:
            x, blocked = self.prepare()
        except Undecided as open_question:
            self.reached = open_question.reached
            for claim in self.theorem.claims():
                yield self._undecided(claim.name, claim.kind, claim.statement, Role.CLAIM, open_question)
            return
        for claim in self.theorem.claims():
            if claim.name in blocked:
                yield self._not_applicable(claim, blocked[claim.name])
                continue
            try:
                with self._placed(claim.name):
                    sides = claim.function(self.theorem, x)
            except Undecided as open_question:
                yield self._undecided(claim.name, claim.kind, claim.statement, Role.CLAIM, open_question)
                continue
            yield self.verdict(
                claim.name,
                claim.kind,
                claim.statement,
                sides,
                claim.tolerance,
                Role.CLAIM,
                begin=begin,
                confidence=claim.confidence,
            )
            begin = time.perf_counter()
            for chain in self.theorem.chains():
                if chain.of == claim.name:
                    yield from self._links(chain, x)
                    begin = time.perf_counter()

    def _links(self, chain: Chain, x: Any) -> Iterator[Verdict]:
        previous: Measured | None = None
        number, begin = 0, time.perf_counter()
        try:
            links = enumerate(chain.function(self.theorem, x))
            while True:
                with self._placed(chain.name):
                    found = next(links, None)
                if found is None:
                    return
                number, (reason, value) = found
                if previous is not None:
                    name, sides = f"{chain.of}/{number}", (previous, value)
                    yield self.verdict(
                        name, Kind.TIGHT, reason, sides, LINK_TOLERANCE, Role.LINK, begin=begin
                    )
                previous, begin = Measured.of(value), time.perf_counter()
        except Undecided as open_question:
            yield self._undecided(
                f"{chain.of}/{number + 1}", Kind.TIGHT, "a link of the chain", Role.LINK, open_question
            )

    def _met(self, hypothesis: Hypothesis) -> bool:
        wanted = list(inspect.signature(hypothesis.function).parameters)[2:]
        with self._placed(hypothesis.name):
            given = {k: self.parameters[k] for k in wanted}
            return bool(hypothesis.function(self.theorem, self.problem, **given))

    def _placed(self, part: str) -> AbstractContextManager[None]:
        return placed(type(self.theorem), part, self.case.label)

    def _undecided(self, name: str, kind: Kind, statement: str, role: Role, why: Undecided) -> Verdict:
        return Verdict(
            **self._names(name, kind, statement), status=Status.UNDECIDED, role=role, reason=str(why)
        )

    def _not_applicable(self, claim: Claim, why: str) -> Verdict:
        return Verdict(
            **self._names(claim.name, claim.kind, claim.statement),
            status=Status.NOT_APPLICABLE,
            reason=f"hypothesis not met: {why}",
        )

    def verdict(
        self,
        name: str,
        kind: Kind,
        statement: str,
        sides: Any,
        tolerance: float,
        role: Role,
        *,
        begin: float,
        confidence: float | None = None,
    ) -> Verdict:
        names = self._names(name, kind, statement)
        if not isinstance(sides, tuple) or len(sides) not in (2, 3):
            raise InvalidProblem(
                f"{self.theorem.id}::{name} must return its left side, its right side and, if it likes, the "
                f"trivial range of the left side; it returns {shorten(repr(sides))}"
            )
        with self._placed(name):
            lhs, rhs, *trivial = sides
            if (Measured.of(lhs) - Measured.of(rhs)).size == 0:
                return Verdict(
                    **names, role=role, status=Status.NOT_APPLICABLE, reason="nothing to check: no entry"
                )
            decision = decide(kind, lhs, rhs, tolerance, *trivial)
        return Verdict(
            **names,
            role=role,
            status=decision.status,
            lhs=decision.lhs,
            rhs=decision.rhs,
            error=decision.error,
            ratio=decision.ratio,
            vacuous=decision.vacuous,
            enclosure=decision.enclosure,
            entries=decision.entries,
            confidence=confidence,
            seconds=time.perf_counter() - begin,
        )

    def _names(self, claim: str, kind: Kind, statement: str) -> dict[str, Any]:
        return {
            "theorem": self.theorem.id,
            "claim": claim,
            "kind": kind,
            "mark": Mark(self.theorem.mark),
            "statement": statement,
            "instance": self.case.instance,
            "case": self.case.label,
            "parameters": self.parameters,
            "level": Level.CERTIFIED if balls.working() else Level.MEASURED,
        }
