"""Several algorithms on one problem: gap and violation round by round, beside what theorems guarantee."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.algorithms.unit_form import unit_form
from tabular_fedrl.claims.check import Bench
from tabular_fedrl.claims.discovery import theorems
from tabular_fedrl.claims.slopes import slope
from tabular_fedrl.claims.theorem import Case, StudyData, Theorem
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner import Run, run

POINTS = 60
"""Points of a curve, evenly spaced on a logarithmic axis."""

CLAIMS = ("gap", "violation")
"""The claims of a theorem whose right sides are shown as its guarantees."""


@dataclass(frozen=True)
class Contender:
    """An algorithm's ``name`` with some of its ``parameters``; ``label``: how it is called in the figure."""

    label: str
    name: str
    parameters: Mapping[str, Any]


def relatives(
    contenders: Sequence[Contender],
    problem: FederatedCMDP,
    rounds: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> StudyData:
    """Data of the plot ``relatives``: every algorithm with the steps that theory gives it for ``rounds``.

    ``progress``: called with the rounds done and in all, and the label. Averages are those that the method's
    theory speaks of: over all rounds so far, for CRPO over the steps along the reward, for PMD-PD without the
    start; *last* is the current policy. The slopes are those of the last decade of rounds, with the
    confidence interval of the straight line, which knows nothing of how the points of a curve depend on each
    other.

    Raises
    ------
    InvalidProblem: an algorithm that works on another problem than the given one; and as :func:`run` does.
    """
    for one in contenders:
        if one.name in ALGORITHMS and ALGORITHMS[one.name].acts is not None:
            raise InvalidProblem(f"{one.name} works on another problem than the given one")
    at = np.unique(np.round(np.geomspace(1, rounds, POINTS)).astype(np.int64))
    curves: dict[str, list[Array]] = {"gap": [], "violation": [], "bytes": []}
    slopes: list[dict[str, Any]] = []
    rows, bounds = [], []
    for done, one in enumerate(contenders):
        tick = None if progress is None else _shifted(progress, done, len(contenders), one.label)
        late = one.name in ALGORITHMS and not ALGORITHMS[one.name].start
        result = run(one.name, problem, rounds + late, seed=seed, progress=tick, **one.parameters)
        ends = []
        for key, both in (("gap", _gap(result)), ("violation", _violation(result))):
            both = both[:, int(late) :]
            curves[key].append(both[:, at - 1])
            ends += [float(x) for x in both[:, -1]]
            for kind, y in zip(("averaged", "last"), both[:, at - 1]):
                slopes.append(
                    {"curve": f"{key}, {kind}", "instance": one.label, **slope(at.astype(float), y)}
                )
        curves["bytes"].append(_sent(result)[at - 1])
        promised = guarantees(one, problem, rounds)
        bounds.append([promised.get(claim, (np.nan, ""))[0] for claim in CLAIMS])
        shown = [f"{promised[c][0]:.6g} ({promised[c][1]})" if c in promised else "–" for c in CLAIMS]
        rows.append([one.label, *ends, float(result.gap.error), *shown])
    head = [
        "algorithm",
        "gap",
        "last gap",
        "violation",
        "last violation",
        "error",
        *(f"{c} <=" for c in CLAIMS),
    ]
    arrays = {
        "labels": np.array([one.label for one in contenders]),
        "rounds": at.astype(np.float64),
        **{key: np.stack(parts) for key, parts in curves.items()},
        "bounds": np.array(bounds),
        "slopes": np.array([_interval(entry) for entry in slopes]).reshape(-1, 2, 2, 3),
    }
    table = {"title": f"After {rounds} rounds", "head": head, "rows": rows}
    return StudyData(arrays, {"slopes": slopes, "tables": [table]})


def guarantees(one: Contender, problem: FederatedCMDP, rounds: int) -> dict[str, tuple[float, str]]:
    """What theorems promise here: the least right side of each claim of :data:`CLAIMS`, in the units of the
    problem, and the theorem's id. Nothing where a hypothesis fails, or for parameters that a theorem has
    not."""
    found: dict[str, tuple[float, str]] = {}
    for theorem in theorems().values():
        if theorem.about != one.name or not set(one.parameters) <= set(theorem.parameters()):
            continue
        bench = Bench(theorem, Case(problem, rounds=rounds, **one.parameters))
        x, blocked = bench.prepare()
        for claim in theorem.claims():
            if claim.name not in CLAIMS or claim.name in blocked:
                continue
            right = float(np.max(Measured.of(claim.function(bench.theorem, x)[1]).value))
            promised = (right * _unit(theorem, problem, claim.name), theorem.id)
            found[claim.name] = min(found.get(claim.name, promised), promised)
    return found


def _unit(theorem: type[Theorem], problem: FederatedCMDP, claim: str) -> float:
    """How much of the problem's own value a unit of the theorem's claim is."""
    if not theorem.rescaled:
        return 1.0
    unit = unit_form(problem)
    return float(unit.scale if claim == "gap" else np.max(unit.cost_scales))


def _interval(entry: Mapping[str, Any]) -> list[float]:
    """Slope and interval, NaN where there is none."""
    return [entry[key] if entry["slope"] is not None else np.nan for key in ("slope", "low", "high")]


def _shifted(
    progress: Callable[[int, int, str], None], before: int, runs: int, label: str
) -> Callable[[int, int], None]:
    """The progress of one run as a part of all."""
    return lambda done, total: progress(before * total + done, runs * total, label)


def _gap(result: Run) -> Array:
    """Averaged and last, ``(2, K)``."""
    assert result.solution is not None
    value = result.value.value
    return float(result.solution.value.value) - np.stack([_running(value, result), value])


def _violation(result: Run) -> Array:
    """Of the constraint that is violated most, averaged and last, ``(2, K)``."""
    costs = result.costs.value
    both = np.stack([_running(costs, result), costs]) - result.problem.cmdp.d
    return np.asarray(np.maximum(both, 0.0).max(axis=-1, initial=0.0))  # NaN stays NaN


def _sent(result: Run) -> Array:
    """Bytes sent so far in both directions, ``(K,)``."""
    total = np.zeros(result.rounds)
    for way in ("up", "down"):
        each = result.ledger.per_round(way)
        total[: len(each)] += each
    return np.cumsum(total)


def _running(x: Array, result: Run) -> Array:
    """Means over the rounds so far that the algorithm's theory counts; NaN before the first."""
    algorithm, counted = ALGORITHMS[result.algorithm], np.ones(len(x), dtype=bool)
    if algorithm.counted is not None:
        after = [*result.multipliers[1:, 0, 0], result.final_multipliers[0]]
        counted = algorithm.counted(np.stack(after))
    counted[0] &= algorithm.start
    counts = np.cumsum(counted).reshape(-1, *(1,) * (x.ndim - 1))
    sums = np.cumsum(np.where(counted.reshape(counts.shape), x, 0.0), axis=0)
    return np.asarray(np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0))
