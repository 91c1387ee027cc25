"""Sums over all rounds of a run, recorded or not: each is replaced, never changed, so that an interrupted run
keeps the last whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner.engine import Task
from tabular_fedrl.runner.result import Overall

Sums: TypeAlias = Mapping[str, Any]

AXES: dict[str, tuple[int, ...]] = {
    "value": (0,),
    "costs": (0,),
    "local_value": (0, 1, 2),
    "local_costs": (0, 2),
}
"""What is summed, and over which axes."""


def added(sums: Sums, every_round: Mapping[str, Any]) -> Sums:
    """``sums`` (empty before the first round) with the rounds of one more stretch."""
    new = {name: every_round[name].sum(axis=axes) for name, axes in AXES.items()}
    new |= {"drift": every_round["drift"].max(), "transitions": every_round["transitions"].sum(axis=0)}
    if not sums:
        return new
    largest = new["drift"]
    worst = largest.maximum(sums["drift"]) if isinstance(largest, Measured) else max(largest, sums["drift"])
    return {name: sums[name] + total for name, total in new.items()} | {"drift": worst}


def overall(sums: Sums, task: Task) -> Overall:
    """The means of all K rounds."""
    K, N, E = task.rounds, task.problem.N, task.local_steps
    terms = {"value": K, "costs": K, "local_value": K * N * E, "local_costs": K * E}
    means = {name: sums[name] / float(n) for name, n in terms.items()}
    return Overall(**means, drift=sums["drift"], transitions=sums["transitions"])


def to_arrays(sums: Sums) -> dict[str, Array]:
    """As plain arrays for a file."""
    out = {}
    for name, total in sums.items():
        enclosed = isinstance(total, Measured)
        out[f"sum_{name}"] = total.value if enclosed else np.asarray(total)
        if enclosed:
            out[f"sum_{name}_error"] = total.error
    return out


def from_arrays(arrays: Mapping[str, Array]) -> Sums:
    """The inverse of :func:`to_arrays`; nothing of nothing."""
    if "sum_drift" not in arrays:
        return {}
    sums: dict[str, Any] = {
        name: Measured(arrays[f"sum_{name}"], arrays[f"sum_{name}_error"]) for name in AXES
    }
    return sums | {"drift": float(arrays["sum_drift"]), "transitions": arrays["sum_transitions"]}
