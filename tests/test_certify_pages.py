"""Theorem pages at the certified level: claims proved, controls refuted, and no float left on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tabular_fedrl.balls import Balls, ends, precision, rational
from tabular_fedrl.claims import Case, Theorem
from tabular_fedrl.claims.certify import certify
from tabular_fedrl.claims.check import Bench
from tabular_fedrl.claims.discovery import find
from tabular_fedrl.claims.theorem import Control
from tabular_fedrl.claims.verdict import Decision, Kind, Level, Status, decide
from tabular_fedrl.errors import Undecided
from tabular_fedrl.instances import load_exact
from tabular_fedrl.solvers.exact import session

PAGES = (
    "lemmas.performance-difference",
    "lemmas.occupancy-perturbation",
    "lemmas.value-perturbation",
    "lemmas.hoeffding",
    "lemmas.tilt",
    "fednpg.l1",
    "fednpg.l2",
    "fednpg.l3",
    "fednpg.l4",
    "fednpg.decomposition",
    "fednpg.aliasing",
    "fednpg.heterogeneity-fixed",
    "fednpg.heterogeneous-duals",
    "fednpg.round-dual",
    "fednpg.f1",
    "fednpg.f2",
    "fednpg.f4",
    "npg-pd.published",
    "crosslm.gain",
    "crosslm.budget",
    "crosslm.pooled",
    "crosslm.collapse",
)
WIDE = {
    ("fednpg.heterogeneity-fixed", "threshold"),  # a root isolated in floats
    ("fednpg.f4", "contraction"),  # a saddle point found in floats, its gap enclosed
    ("fednpg.f4", "last_iterate"),
}
"""Claims with a quantity that is known, at any precision, to a stated width only."""
CONTROLS = (
    ("lemmas.performance-difference", "visitation_of_the_other"),
    ("lemmas.occupancy-perturbation", "nine_tenths"),
    ("lemmas.value-perturbation", "quarter"),
    ("lemmas.hoeffding", "ninth"),
    ("lemmas.tilt", "fifth"),
    ("fednpg.l1", "own_visitation"),
    ("fednpg.l2", "ninth"),
    ("fednpg.l2", "factor_dropped"),
    ("fednpg.l2", "downhill"),
    ("fednpg.l3", "half"),
    ("fednpg.l4", "reversed_inequality"),
    ("fednpg.l4", "first_agent_only"),
    ("fednpg.decomposition", "whole_reward"),
    ("fednpg.decomposition", "mean_multiplier"),
    ("fednpg.heterogeneity-fixed", "wrong_mean"),
    ("fednpg.f4", "long_steps"),
    ("crosslm.gain", "every_client"),
    ("crosslm.budget", "half_the_gain"),
    ("crosslm.pooled", "same_side"),
    ("crosslm.pooled", "own_items"),
    ("crosslm.collapse", "returns"),
)
ATTAINED = (
    "lemmas.value-perturbation",
    "lemmas.hoeffding",
    "lemmas.tilt",
    "fednpg.l2",
    "fednpg.l4",
    "crosslm.pooled",
)
MANY = 2048
"""Bits of which an eighth, what is measured of a run gets, still says more than any float."""


def first_of(theorem: type[Theorem]) -> Case:
    return next(iter(theorem.certified))


def decided(
    theorem: type[Theorem], case: Case, sides: Callable[..., Any], kind: Any, tolerance: Any
) -> Decision:
    """The decision on two sides, at the first precision that settles it."""
    problem = load_exact(case.source)
    for bits in (128, 1024, MANY):
        with session(), precision(bits):
            bench = Bench(theorem, case, problem)
            try:
                lhs, rhs = sides(bench.theorem, bench.context())[:2]
                decision = decide(kind, lhs, rhs, tolerance)
            except Undecided:
                continue
        if decision.status is not Status.UNDECIDED:
            return decision
    raise AssertionError(f"{theorem.id} on {case.label} is open at {MANY} bits")


def control(page: str, name: str) -> tuple[type[Theorem], Control]:
    theorem = find(page)
    return theorem, next(c for c in theorem.controls() if c.name == name)


@pytest.mark.parametrize("page", PAGES)
def test_every_claim_is_certified_on_a_small_instance(page: str) -> None:
    theorem = find(page)
    held = set()
    for case in theorem.certified:
        for verdict in certify(theorem, case).verdicts:
            assert verdict.level is Level.CERTIFIED
            if verdict.status is not Status.NOT_APPLICABLE:
                assert verdict.status is Status.HOLDS, str(verdict)
                assert verdict.enclosure is not None
                held.add(verdict.claim)
    assert {claim.name for claim in theorem.claims()} <= held


@pytest.mark.parametrize(("page", "name"), CONTROLS)
def test_what_is_wrong_is_certified_to_fail(page: str, name: str) -> None:
    theorem, wrong = control(page, name)
    decision = decided(theorem, wrong.case, wrong.function, wrong.kind, wrong.tolerance)
    assert decision.status is Status.FAILS


@pytest.mark.parametrize("page", ATTAINED)
def test_tight_claims_are_attained_within_their_tolerance(page: str) -> None:
    theorem = find(page)
    for claim in theorem.claims():
        if claim.attained is not None:
            decision = decided(theorem, claim.attained, claim.function, Kind.IDENTITY, claim.tolerance)
            assert decision.status is Status.HOLDS
            assert decision.error < 1e-30


@pytest.mark.parametrize("page", PAGES)
def test_no_float_bounds_the_precision(page: str) -> None:
    """A float anywhere between the instance and the two sides would leave a width of about 1e-16."""
    theorem = find(page)
    case = first_of(theorem)
    with session(), precision(MANY):
        bench = Bench(theorem, case, load_exact(case.source))
        x, blocked = bench.prepare()
        widths = {
            claim.name: width(*claim.function(bench.theorem, x)[:2])
            for claim in theorem.claims()
            if claim.name not in blocked and (page, claim.name) not in WIDE
        }
    assert widths
    assert max(widths.values()) < rational("1e-60"), {name: float(str(w)) for name, w in widths.items()}


def width(lhs: Any, rhs: Any) -> Any:
    """The widest enclosure of ``lhs - rhs``, an exact rational."""
    difference = Balls.of(lhs) - Balls.of(rhs)
    return max(high - low for low, high in map(ends, difference.items.ravel()))


def test_policies_and_laws_that_are_given_may_be_deterministic() -> None:
    here, there = [[1.0, 0.0], [0.0, 1.0]], [[0.25, 0.75], [0.5, 0.5]]
    for page in ("lemmas.occupancy-perturbation", "lemmas.value-perturbation"):
        for pair in ((here, there), (there, here), (here, here)):
            case = Case("random-mdp:seed=1,nS=2,nA=2", first=pair[0], second=pair[1])
            assert {v.status for v in certify(find(page), case).verdicts} == {Status.HOLDS}
    for law in (here, there):
        case = Case("random-mdp:seed=1,nS=2,nA=2", law=law, U=[[1.0, 0.0], [0.25, 0.75]])
        for page in ("lemmas.hoeffding", "lemmas.tilt"):
            assert {v.status for v in certify(find(page), case).verdicts} == {Status.HOLDS}
