"""The loops on the device against the specification, ``run(..., backend="numpy")``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from benchmarks.gpu_inputs import Check, largest, small_batch, sparse_problem, worst
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.federation import FederatedCMDP
from tabular_fedrl.loops import cuda as device_loops
from tabular_fedrl.loops import fednpg
from tabular_fedrl.runner import run

LANES = 10
"""Small problems of a batch that are run by the specification too."""

IN_A_RUN: dict[str, Callable[[Any], Any]] = {
    "value": lambda r: r.average_value.value,
    "costs": lambda r: r.average_costs.value,
    "local_value": lambda r: r.local_average_value.value,
    "local_costs": lambda r: r.local_average_costs.value,
    "drift": lambda r: r.drift.max(),
    "log_policy": lambda r: r.final_log_policy,
    "multipliers": lambda r: r.final_multipliers,
}
"""Where a single run has what a batch gives."""


def small_checks(g: np.random.Generator, S: int, B: int) -> Iterator[Check]:
    """Every lane against the loop on the processor, a few of them against the specification."""
    batch, steps = small_batch(g, B, S, 3, 2, 3)
    for mean in ("arithmetic", "geometric"):
        ours = device_loops.fednpg(batch, 4, 2, *steps, geometric=mean == "geometric")
        theirs = fednpg(batch, 4, 2, *steps, geometric=mean == "geometric")
        name = f"{B} problems of {S} states, {mean}"
        apart = worst([largest(getattr(ours, x.name), getattr(theirs, x.name)) for x in fields(ours)])
        yield f"{name}, the processor's loop", apart, 1e-10
        chosen = g.choice(B, size=min(B, LANES), replace=False)
        runs = [specification(batch.problem(i), "numpy", 4, mean, *(x[i] for x in steps)) for i in chosen]
        for what, other in IN_A_RUN.items():
            pairs = [(getattr(ours, what)[i], other(r)) for i, r in zip(chosen, runs, strict=True)]
            yield f"{name}, {what.replace('_', ' ')}", worst([largest(*x) for x in pairs]), 1e-10


def loop_checks(g: np.random.Generator, S: int) -> Iterator[Check]:
    """The whole loop for large problems, on a problem small enough for the specification."""
    cmdp = sparse_problem(g, S, 2, 2, 2)
    P = cmdp.P.toarray().reshape(S, 2, S)
    dense = CMDP(P, cmdp.r, cmdp.c, cmdp.d, cmdp.rho, cmdp.gamma)
    ours, theirs = (
        specification(FederatedCMDP(x, [(0,), (1,)]), backend, 2, "arithmetic", 0.01, np.full(2, 0.3), 2.0)
        for x, backend in ((cmdp, "cuda"), (dense, "numpy"))
    )
    apart = worst([largest(of(ours), of(theirs)) for of in IN_A_RUN.values()])
    yield f"rounds of FedNPG, {S} states", apart, 1e-9


def specification(problem: Any, backend: str, rounds: int, mean: str, eta: Any, dual: Any, cap: Any) -> Any:
    """A single run of two local steps."""
    steps = {"local_steps": 2, "aggregation": mean, "eta": eta, "eta_dual": dual, "dual_cap": cap}
    return run("fednpg", problem, rounds, backend=backend, compare=False, **steps)
