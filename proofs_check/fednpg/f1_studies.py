"""Figures of F1: the gap against T, the bias of local steps, how loose the bound is, and where it is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from proofs_check.fednpg.f1_bound import Checked, checked
from tabular_fedrl.claims import Range, StudyData, Theorem
from tabular_fedrl.claims.search import looseness
from tabular_fedrl.claims.slopes import convergence_study
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve


def convergence_of(sources: Sequence[str], name: str) -> StudyData:
    """Gap and violation for T from 100 to 10000 with the tuned steps."""
    T = np.unique(np.geomspace(100, 10000, 9).astype(int))
    table = [[checked(load(source), int(t), 1) for t in T] for source in sources]
    return convergence_study(
        name,
        sources,
        T,
        gap=[[x.run.gap for x in row] for row in table],
        violation=[[x.run.violations.sum() for x in row] for row in table],
        gap_bound=[[x.bound.rate() for x in row] for row in table],
        violation_bound=[[x.bound.violation for x in row] for row in table],
        trivial=[row[0].bound.trivial_gap for row in table],
    )


def local_steps_study() -> StudyData:
    """Violation and gap against E at a fixed step, and the gap after fixed rounds with the tuned one."""
    problem, how = load("textbook:heterogeneous-bandit"), ("arithmetic", "geometric")
    E = np.array([1, 3, 10, 30, 100, 300, 1000])
    steps: dict[str, Any] = {"eta": 0.05, "eta_dual": 0.05, "dual_cap": 10.0}
    fixed = [
        [run("fednpg", problem, 12000 // e, local_steps=int(e), aggregation=a, **steps) for e in E]
        for a in how
    ]
    violation = [[(_settled(r.costs) - problem.cmdp.d).positive().sum() for r in row] for row in fixed]
    optimum = solve(problem.cmdp).value
    # At tuned steps more local work only shrinks the step: beyond E = 30 nothing moves.
    tuned = [
        [run("fednpg", problem, 100, local_steps=int(e), aggregation=a) if e <= 30 else None for e in E]
        for a in how
    ]
    return StudyData(
        {
            "E": E,
            "violation": np.array([[float(v) for v in row] for row in violation]),
            "gap": np.array([[float(optimum - _settled(r.value)) for r in row] for row in fixed]),
            "gap_fixed_rounds": np.array([[float(r.gap) if r else np.nan for r in row] for row in tuned]),
            "names": np.array(how),
            "name": np.array("textbook:heterogeneous-bandit"),
        },
        {
            "instance": "textbook:heterogeneous-bandit",
            "local steps at fixed step": 12000,
            "rounds": 100,
            **steps,
        },
    )


def looseness_study(theorem: type[Theorem]) -> StudyData:
    """The worst ratio found with the tuned steps, parameter by parameter."""
    tuned: dict[str, Range] = {name: [None] for name in ("eta", "eta_dual", "dual_cap")}
    return looseness(
        theorem,
        ("gap", "local_gap", "violation"),
        {
            "gamma": (0.0, 0.3, 0.6, 0.9, 0.95),
            "m": (1, 2, 3),
            "N": (1, 2, 3, 5),
            "local_steps": (1, 2, 5, 10, 20),
        },
        "cmdp:S=1..2,A=2..3,m=1,N=1,gamma=0..0.95",
        {**tuned, "aggregation": ["arithmetic"], "rounds": (1, 60), "local_steps": [1]},
        4000,
    )


def slack_study(chain: Callable[[Checked], Iterable[tuple[str, Measured]]]) -> StudyData:
    """The values along the proof's ``chain`` on four instances."""
    cases = [
        ("textbook:two-arm", 1, 200),
        ("textbook:heterogeneous-bandit", 20, 50),
        ("random-mdp:seed=5,agents=3,gamma=0.5", 5, 100),
        ("windy-cliff:ncost=2", 5, 40),
    ]
    chains = [list(chain(checked(load(s), K, E))) for s, E, K in cases]
    return StudyData(
        {
            "labels": np.array([reason for reason, _ in chains[0]]),
            "values": np.array([[float(value) for _, value in links] for links in chains]),
            "names": np.array([f"{s}, E={E}, K={K}" for s, E, K in cases]),
        }
    )


def _settled(values: Measured) -> Measured:
    """Mean over the second half of the rounds."""
    return values[len(values) // 2 :].mean(0)
