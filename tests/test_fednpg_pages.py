"""FedNPG's pages and the standing lemmas at the edge of their hypotheses: what is false is not claimed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofs_check.fednpg.f2 import F2, Twins
from proofs_check.fednpg.fedppo_maximiser import Maximiser
from tabular_fedrl.claims import Case
from tabular_fedrl.claims.check import Bench, check_case
from tabular_fedrl.claims.discovery import find
from tabular_fedrl.claims.verdict import Kind, Status, decide
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load

BANDIT, WIDE = "textbook:heterogeneous-bandit", "textbook:fixed-multipliers-bandit"
SHORT = {"local_steps": (1, 10), "steps": (100, 200)}

FALSE = [
    ("lemmas.tilt", "total_variation", Case("textbook:two-arm", t=-1.0)),
    ("fednpg.l2", "monotone", Case("textbook:two-arm", eta=-1.0)),
    ("fednpg.f4", "contraction", Case("textbook:two-arm", dual_cap=0.0, rounds=10)),
    ("fednpg.heterogeneous-duals", "growth", Case("textbook:two-arm", **SHORT)),
    ("fednpg.heterogeneous-duals", "growth", Case(BANDIT, **SHORT)),
    ("fednpg.heterogeneous-duals", "own_constraint", Case(BANDIT, dual_cap=0.1, **SHORT)),
    ("fednpg.heterogeneous-duals", "collapse", Case(BANDIT, local_steps=(1000,), steps=(1000,))),
    ("fednpg.round-dual", "geometric", Case("random-mdp:seed=1", local_steps=5, rounds=5)),
    ("fednpg.round-dual", "geometric", Case(BANDIT, local_steps=5, rounds=5)),
    ("fednpg.aliasing", "insensitive", Case(BANDIT, steps=600, eta=0.01)),
]


@pytest.mark.parametrize(("page", "name", "case"), FALSE, ids=lambda x: getattr(x, "label", x))
def test_what_is_false_without_a_hypothesis_is_not_claimed(page: str, name: str, case: Case) -> None:
    theorem = find(page)
    claim = next(claim for claim in theorem.claims() if claim.name == name)
    bench = Bench(theorem, case)
    sides = claim.function(bench.theorem, bench.context())[:2]
    assert decide(claim.kind, *sides, claim.tolerance).status is Status.FAILS
    statuses = {v.claim: v.status for v in check_case(theorem, case)}
    assert statuses[name] is Status.NOT_APPLICABLE
    assert Status.FAILS not in statuses.values()


OPEN: list[tuple[str, Any]] = [
    ("lemmas.hoeffding", Case("textbook:two-arm", U=[[0.5, 0.5]])),
    ("fednpg.f1", Case("textbook:constant-reward", dual_cap=0.0, rounds=5)),
    ("fednpg.f1-running", Case("textbook:two-arm", eta_dual=0.0, rounds=5)),
    ("fednpg.f2", Case("textbook:two-arm", eta_1=0.0, rounds=5)),
    ("fednpg.l3", Case("textbook:two-arm", eta=0.0)),
    ("fednpg.l4", Case("textbook:two-arm", agents=1)),
    ("fednpg.heterogeneity-fixed", Case(WIDE, step=1.0, local_steps=1000, rounds=3)),
    ("fednpg.aliasing", Case("random-mdp:seed=1,ncost=0,agents=2", steps=12, local_steps=3)),
    ("fednpg.aliasing", Case(BANDIT, steps=12, local_steps=3, dual_cap=0.5)),
]


@pytest.mark.parametrize(("page", "case"), OPEN, ids=lambda x: getattr(x, "label", x))
def test_degenerate_parameters_leave_nothing_open(page: str, case: Case) -> None:
    for verdict in check_case(find(page), case):
        assert verdict.status in (Status.HOLDS, Status.NOT_APPLICABLE), str(verdict)


@pytest.mark.parametrize(("steps", "local_steps"), [(5, 20), (0, 1), (10, 0), (10, -1)])
def test_the_shared_table_needs_a_round(steps: int, local_steps: int) -> None:
    with pytest.raises(InvalidProblem, match=f"local_steps = {local_steps}: .* from 1 to steps = {steps}$"):
        check_case(find("fednpg.aliasing"), Case(BANDIT, steps=steps, local_steps=local_steps))


@pytest.mark.parametrize("clip", [0.05, 0.9, 1.0, 1.5])
def test_the_clipped_surrogates_maximiser_is_right_for_every_clip(clip: float) -> None:
    for verdict in check_case(Maximiser, Case("random-mdp:seed=2", clip=clip)):
        assert verdict.status in (Status.HOLDS, Status.NOT_APPLICABLE), str(verdict)


def test_equivalence_is_checked_for_every_observer() -> None:
    theorem = F2()
    twins = theorem.setup(load("random-mdp:seed=1,agents=6"), rounds=20)
    claim = next(claim for claim in F2.claims() if claim.name == "equivalence")

    def status(x: Twins) -> Status:
        return decide(Kind.IDENTITY, *claim.function(theorem, x), claim.tolerance).status

    assert status(twins) is Status.HOLDS
    multipliers = np.array(twins.federated.multipliers)
    i, j = np.argwhere(twins.federated.problem.mask & (twins.federated.problem.observers > 1))[-1]
    k = int(np.argmax(multipliers[:, i, 0, j]))
    assert multipliers[k, i, 0, j] > 0
    multipliers[k, i, 0, j] *= 0.5  # the largest over the observers stays what it was
    assert status(replace(twins, federated=replace(twins.federated, multipliers=multipliers))) is Status.FAILS
