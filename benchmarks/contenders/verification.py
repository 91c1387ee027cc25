"""Checking a theorem on one problem, and the run that it checks."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders import Method
from benchmarks.contenders.ours import forgotten
from tabular_fedrl.claims import verify
from tabular_fedrl.claims.verdict import Verdict
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.runner import run

THEOREM, ALGORITHM, ROUNDS = "fednpg.f1", "fednpg", 200


def _fresh(problem: FederatedCMDP) -> FederatedCMDP:
    return FederatedCMDP(forgotten(problem), problem.visible)


def _answer(verdicts: list[Verdict]) -> dict[str, Any]:
    decided = sum(v.status.value == "holds" for v in verdicts)
    return {"claims": len(verdicts), "hold": decided}


VERIFY = Method(_fresh, lambda problem: verify(THEOREM, problem, rounds=ROUNDS), _answer)
RUN = Method(_fresh, lambda problem: run(ALGORITHM, problem, rounds=ROUNDS), lambda done: {})
