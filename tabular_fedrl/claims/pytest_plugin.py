"""Pytest plugin: theorem modules become test items.

``pytest proofs_check`` (or any file that defines theorems) collects, for each theorem, one item per claim
and case (``fednpg.f1::gap[random-mdp:seed=1;local_steps=5]``), one per certified case, per control and per
tightness instance, and one that draws small random problems. A claim item fails unless its verdict is
``holds`` or ``not applicable``; links of proof chains are reported with their claim; a control item fails
unless the statement fails.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tabular_fedrl.claims.theorem import Case, Claim, Control, Theorem
    from tabular_fedrl.claims.verdict import Verdict

EXAMPLES = 8
"""Random problems drawn per theorem."""


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect Python files that define theorems."""
    if file_path.suffix != ".py" or file_path.name.startswith(("test_", "conftest")):
        return None
    if not _defines_theorem(file_path.read_text(encoding="utf-8", errors="replace")):
        return None
    return TheoremFile.from_parent(parent, path=file_path)


def _defines_theorem(text: str) -> bool:
    """Whether some class of the module names ``Theorem`` as a base: seen without running the file."""
    if "Theorem" not in text:
        return False
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    bases = [base for node in body if isinstance(node, ast.ClassDef) for base in node.bases]
    return any(getattr(base, "id", getattr(base, "attr", None)) == "Theorem" for base in bases)


class TheoremFile(pytest.File):
    """A module with theorems."""

    def collect(self) -> Iterator[pytest.Collector]:
        for theorem in _theorems_of(self.path):
            yield TheoremItems.from_parent(self, name=theorem.id, theorem=theorem)


def _theorems_of(path: Path) -> list[type[Theorem]]:
    """Through the installed module where the file belongs to one, so that classes have one identity."""
    from tabular_fedrl.claims import discovery

    for theorem in discovery.theorems().values():
        module = __import__(theorem.__module__, fromlist=["_"])
        if module.__file__ and Path(module.__file__).resolve() == path.resolve():
            return discovery.in_module(module)
    return discovery.load_file(path)


class TheoremItems(pytest.Collector):
    """The items of one theorem."""

    theorem: type[Theorem]

    def __init__(self, *, theorem: type[Theorem], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.theorem = theorem
        self.verdicts: dict[int, list[Verdict]] = {}

    def collect(self) -> Iterator[pytest.Item]:
        for number, case in enumerate(self.theorem.suite):
            for claim in self.theorem.claims():
                item = ClaimItem.from_parent(
                    self, name=f"{claim.name}[{case.label}]", claim=claim, case=case, number=number
                )
                yield item
        for case in self.theorem.certified:
            yield CertifiedItem.from_parent(self, name=f"certified[{case.label}]", case=case)
        for claim in self.theorem.claims():
            if claim.attained is not None:
                yield AttainedItem.from_parent(
                    self, name=f"{claim.name} is attained[{claim.attained.label}]", claim=claim
                )
        for control in self.theorem.controls():
            yield ControlItem.from_parent(
                self, name=f"{control.name} must fail[{control.case.label}]", control=control
            )
        if self.theorem.small is not None:
            yield RandomItem.from_parent(self, name="random small problems")

    def of_case(self, number: int, case: Case) -> list[Verdict]:
        """The verdicts of one case, computed once for all its items."""
        from tabular_fedrl.claims.check import check_case

        if number not in self.verdicts:
            self.verdicts[number] = check_case(self.theorem, case)
        return self.verdicts[number]


class _Item(pytest.Item):
    parent: TheoremItems

    def reportinfo(self) -> tuple[Path, int, str]:
        # Not the tail of the node id, in which pytest would take the dots of a theorem's id for its own.
        return self.path, 0, f"{self.parent.name}: {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Unexpected):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class Unexpected(Exception):
    """A verdict is not what it must be."""


class ClaimItem(_Item):
    """A claim and the links of its proof on one case."""

    def __init__(self, *, claim: Claim, case: Case, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claim, self.case, self.number = claim, case, number

    def runtest(self) -> None:
        mine = [
            v
            for v in self.parent.of_case(self.number, self.case)
            if v.claim == self.claim.name or v.claim.startswith(self.claim.name + "/")
        ]
        _require([v for v in mine if v.status not in ("holds", "not applicable")])


class CertifiedItem(_Item):
    """All claims and links, decided in exact rationals and balls."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        from tabular_fedrl.claims.certify import certify

        found = certify(self.parent.theorem, self.case).verdicts
        _require([v for v in found if v.status not in ("holds", "not applicable")])
        if all(v.status == "not applicable" for v in found):
            raise Unexpected(f"{self.case.label}: no claim applies, so nothing is certified")


class AttainedItem(_Item):
    """A tight claim where it is an equality."""

    def __init__(self, *, claim: Claim, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claim = claim

    def runtest(self) -> None:
        from tabular_fedrl.claims.check import check_attained

        verdict = check_attained(self.parent.theorem, self.claim)
        _require([] if verdict.status == "holds" else [verdict])


class ControlItem(_Item):
    """A statement that must fail."""

    def __init__(self, *, control: Control, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.control = control

    def runtest(self) -> None:
        from tabular_fedrl.claims.check import check_control

        verdict = check_control(self.parent.theorem, self.control)
        _require([] if verdict.as_expected else [verdict])


class RandomItem(_Item):
    """All claims on small random problems."""

    def runtest(self) -> None:
        import hypothesis

        from tabular_fedrl.claims.check import check_case
        from tabular_fedrl.claims.strategies import problems
        from tabular_fedrl.claims.theorem import Case

        theorem = self.parent.theorem

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(problems(theorem.problem_type))
        def no_claim_fails(problem: Any) -> None:
            verdicts = check_case(theorem, Case(problem, **(theorem.small or {})))
            _require([v for v in verdicts if v.status == "fails"])

        no_claim_fails()


def _require(wrong: list[Verdict]) -> None:
    if wrong:
        raise Unexpected("\n".join(f"{v}\n  {v.statement}" for v in wrong))
