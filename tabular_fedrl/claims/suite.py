"""The default verification: every case, control and study of a list of theorems, over processes."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabular_fedrl.claims.certify import certify
from tabular_fedrl.claims.check import AnyProblem, check_attained, check_case, check_control
from tabular_fedrl.claims.discovery import load_file
from tabular_fedrl.claims.places import placed
from tabular_fedrl.claims.theorem import Case, StudyData, Theorem
from tabular_fedrl.claims.verdict import Level, Role, Status, Verdict

if TYPE_CHECKING:
    from tabular_fedrl.claims.search import Search

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``"""


@dataclass(frozen=True)
class Task:
    """One unit of work, small enough to be sent to a process: which part of which theorem."""

    module: str
    name: str
    part: str
    index: int = 0
    case: Case | None = None

    def theorem(self) -> type[Theorem]:
        module = sys.modules.get(self.module)
        if module is None:
            if self.module.startswith("file:"):
                found = {t.__name__: t for t in load_file(Path(self.module.removeprefix("file:")))}
                return found[self.name]
            module = importlib.import_module(self.module)
        theorem: type[Theorem] = getattr(module, self.name)
        return theorem

    @property
    def what(self) -> str:
        return f"{self.theorem().id} {self.part}"


@dataclass
class Results:
    """Everything a verification found."""

    verdicts: list[Verdict] = field(default_factory=list)
    studies: dict[str, StudyData] = field(default_factory=dict)
    """by ``theorem.study``"""
    plots: dict[str, str] = field(default_factory=dict)
    """which plot each study is for"""
    searches: list[Search] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1 a claim fails or a control does not; 5 nothing fails but something is undecided; else 0."""
        searched = {search.exit_code for search in self.searches}
        if any(not v.as_expected for v in self.verdicts) or 1 in searched:
            return 1
        return 5 if any(v.status is Status.UNDECIDED for v in self.verdicts) or 5 in searched else 0


def tasks(theorems: Sequence[type[Theorem]], problems: Sequence[Case] = ()) -> list[Task]:
    """Tasks of a verification: the theorems' own suites, controls and studies, or the given problems only."""
    out: list[Task] = []
    for theorem in theorems:
        where = _where(theorem)
        if problems:
            out += [Task(*where, "case", case=case) for case in problems]
            continue
        out += [Task(*where, "case", case=case) for case in theorem.suite]
        out += [Task(*where, "certified", case=case) for case in theorem.certified]
        claims = theorem.claims()
        out += [Task(*where, "attained", i) for i, claim in enumerate(claims) if claim.attained is not None]
        out += [Task(*where, "control", i) for i in range(len(theorem.controls()))]
        out += [Task(*where, "study", i) for i in range(len(theorem.studies()))]
        out += [Task(*where, "search")] * (theorem.effort > 0)
    return out


def perform(task: Task) -> list[Verdict] | StudyData | Search:
    """Carry out one task."""
    theorem = task.theorem()
    if task.part == "search":
        # It brings compiled loops along, which nothing else here needs.
        from tabular_fedrl.claims.search import search

        return search(theorem, budget=theorem.effort)
    if task.part == "study":
        study = theorem.studies()[task.index]
        with placed(theorem, study.name):
            data: StudyData = study.function(theorem())
        return data
    if task.part == "control":
        return [check_control(theorem, theorem.controls()[task.index])]
    if task.part == "attained":
        return [check_attained(theorem, theorem.claims()[task.index])]
    if task.case is None:
        raise ValueError("a case task carries its case")
    if task.part == "certified":
        return certify(theorem, task.case).verdicts
    return check_case(theorem, task.case)


def verify_all(
    theorems: Sequence[type[Theorem]],
    problems: Iterable[tuple[AnyProblem, dict[str, Any]]] = (),
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Results:
    """Verify theorems on their own suites, or on given ``(problem, parameters)`` pairs.

    ``jobs``: worker processes (or give any ``concurrent.futures`` executor). The order of the results does
    not depend on it.
    """
    begin = time.perf_counter()
    todo = tasks(theorems, [Case(p, **parameters) for p, parameters in problems])
    answers: list[list[Verdict] | StudyData | Search | None] = [None] * len(todo)

    def note(done: int, task: Task) -> None:
        if progress is not None:
            progress(done, len(todo), task.what)

    if jobs <= 1 and executor is None:
        for i, task in enumerate(todo):
            answers[i] = perform(task)
            note(i + 1, task)
    else:
        # Spawned workers share no state with this process, whatever threads it runs.
        pool = executor or ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
        # The long ones first, so that no process idles at the end.
        order = sorted(range(len(todo)), key=lambda i: todo[i].part not in ("study", "search"))
        futures: dict[Future[list[Verdict] | StudyData | Search], int] = {}
        try:
            futures = {pool.submit(perform, todo[i]): i for i in order}
            for done, future in enumerate(as_completed(futures), start=1):
                i = futures[future]
                answers[i] = future.result()
                note(done, todo[i])
        finally:
            for future in futures:
                future.cancel()
            if executor is None:
                pool.shutdown(wait=True, cancel_futures=True)
    results = Results()
    for task, answer in zip(todo, answers, strict=True):
        if isinstance(answer, StudyData):
            theorem = task.theorem()
            part = theorem.studies()[task.index]
            results.studies[f"{theorem.id}.{part.name}"] = answer
            results.plots[f"{theorem.id}.{part.name}"] = part.plot
        elif isinstance(answer, list):
            results.verdicts += answer
        elif answer is not None:
            results.searches.append(answer)
    results.seconds = time.perf_counter() - begin
    return results


@dataclass(frozen=True)
class Summary:
    """One line of the table: a claim over all its instances.

    ``counts``: verdicts by status; ``ratio`` and ``worst``: the largest lhs/rhs and the case where it was
    seen;
    ``informative``: how many instances have a bound below the trivial range (None if the claim states none).
    """

    theorem: str
    claim: str
    mark: str
    kind: str
    role: str
    statement: str
    counts: dict[str, int]
    expected: bool
    ratio: float | None
    worst: str
    informative: int | None
    certified: int
    seconds: float


def summarise(verdicts: Iterable[Verdict]) -> list[Summary]:
    """Verdicts gathered by theorem, claim and role, in order of first appearance."""
    groups: dict[tuple[str, str, Role], list[Verdict]] = {}
    for v in verdicts:
        groups.setdefault((v.theorem, v.claim, v.role), []).append(v)
    out = []
    for (theorem, claim, role), group in groups.items():
        rated = [v for v in group if v.ratio is not None]
        worst = max(rated, key=lambda v: v.ratio or 0.0, default=None)
        stated = [v for v in group if v.vacuous is not None]
        place = worst or next((v for v in group if v.status is not Status.NOT_APPLICABLE), group[0])
        out.append(
            Summary(
                theorem=theorem,
                claim=claim,
                mark=str(group[0].mark),
                kind=str(group[0].kind),
                role=str(role),
                statement=group[0].statement,
                counts={str(s): n for s in Status if (n := sum(v.status is s for v in group))},
                expected=all(v.as_expected for v in group),
                ratio=worst.ratio if worst else None,
                worst=place.case,
                informative=sum(not v.vacuous for v in stated) if stated else None,
                certified=sum(
                    v.level is Level.CERTIFIED and v.status in (Status.HOLDS, Status.FAILS) for v in group
                ),
                seconds=sum(v.seconds for v in group),
            )
        )
    return out


def _where(theorem: type[Theorem]) -> tuple[str, str]:
    module = sys.modules[theorem.__module__]
    if theorem.__module__.startswith("_theorems_") and module.__file__:
        return f"file:{module.__file__}", theorem.__name__
    return theorem.__module__, theorem.__name__
