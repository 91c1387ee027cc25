"""A row or a series, measured and judged: plain numbers, ready to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.checks import error_of, lagrangian_bound
from benchmarks.contenders import ENTRIES
from benchmarks.contest import Answer, Limits, Record, contest
from benchmarks.exponents import exponent
from benchmarks.plan import Row, Series
from benchmarks.ratios import ratio, spread
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.instances import load, save

REFERENCES = {"rounds": "rounds-numpy", "batch": "rounds-numpy"}
"""Whose answer the others of a job are compared with, where it is not ours."""

PATIENCE = 600.0
"""Seconds for a call of ours where nobody is waiting with it."""

PLAIN = {"gap": "claimed_gap", "solver": "solver", "claims": "claims", "hold": "hold"}
"""Parts of an answer that go into the results as they are, by the name they have there."""


def measure_row(row: Row, limits: Limits) -> dict[str, Any]:
    """The row's methods with times, errors, and ratios to ours (the first)."""
    with _problem_file(row.problem) as (path, cmdp):
        records = contest({name: ENTRIES[name] for name in row.methods}, path, row.settings, limits)
        reference = _reference(row.job, cmdp, records)
        methods = [_judged(row, cmdp, record, records[0], reference) for record in records]
    return {"row": row.name, "job": row.job, "problem": row.title, "tolerance": row.tolerance,
            "limit_seconds": limits.seconds, "methods": methods}  # fmt: skip


def measure_series(series: Series, limits: Limits, progress: Callable[[str], None]) -> dict[str, Any]:
    """Median times at every value, and the exponent. Calls may take as long as they need."""
    patient = replace(limits, seconds=max(limits.seconds, PATIENCE))
    values: list[int] = []
    seconds: list[float] = []
    failures: list[str] = []
    for x in series.values:
        row = series.row(x)
        with _problem_file(row.problem) as (path, _):
            record = contest({row.job: ENTRIES[row.job]}, path, row.settings, patient)[0]
        if record.seconds:
            values.append(x)
            seconds.append(float(np.median(record.seconds)))
            progress(f"{series.parameter} = {x}: {len(record.seconds)} calls")
        else:
            failures.append(f"{series.parameter} = {x}: {record.failure}")
            progress(failures[-1])
    fitted = asdict(exponent(np.array(values), np.array(seconds))) if len(values) >= 3 else None
    return {"row": series.name, "job": series.job, "title": series.title, "parameter": series.parameter,
            "problem": series.problem, "values": values, "seconds": seconds, "exponent": fitted,
            "failures": failures}  # fmt: skip


@contextmanager
def _problem_file(source: str) -> Iterator[tuple[Path, CMDP]]:
    """The problem, made once and written where every method reads it."""
    problem = load(source)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        save(path, problem)
        yield path, problem.cmdp


def _reference(job: str, cmdp: CMDP, records: list[Record]) -> dict[str, Any] | None:
    """What answers are compared with; None if whoever gives it gave no answer."""
    name = REFERENCES.get(job, records[0].method)
    answers = next(record.answers for record in records if record.method == name)
    if not answers:
        return None
    reference = dict(answers[-1])
    if job == "constrained":
        reference["upper"] = lagrangian_bound(cmdp, reference["multipliers"])
    return reference


def _judged(
    row: Row, cmdp: CMDP, record: Record, ours: Record, reference: dict[str, Any] | None
) -> dict[str, Any]:
    error, failure = _error(row.job, cmdp, record, reference), record.failure
    if isinstance(error, str):
        error, failure = None, error
    compared = None if record is ours else ratio(record.seconds, ours.seconds)
    last: Answer = record.answers[-1] if record.answers else {}
    return {
        "method": record.method,
        "label": ENTRIES[record.method].label,
        "seconds": record.seconds,
        "spread": spread(record.seconds) if record.seconds else None,
        "ratio": asdict(compared) if compared else None,
        "at_least": _at_least(record, ours),
        "error": error,
        "accurate": None if error is None or row.tolerance is None else error <= row.tolerance,
        "failure": failure,
        **{name: last[key] for name, key in PLAIN.items() if key in last},
    }


def _error(job: str, cmdp: CMDP, record: Record, reference: dict[str, Any] | None) -> float | str | None:
    """The worst error of the answers kept; text if they cannot be judged."""
    if reference is None:
        return "nothing to compare its answer with" if record.answers else None
    try:
        errors = [error_of(job, cmdp, answer, reference) for answer in record.answers]
    except Exception as problem:  # whatever is wrong with an answer is said in its row
        return f"its answer cannot be judged: {problem}"
    return max((e for e in errors if e is not None), default=None)


def _at_least(record: Record, ours: Record) -> float | None:
    """What the ratio exceeds, for who ran out of time."""
    if record.stopped is None or record.seconds or not ours.seconds:
        return None
    return record.stopped / float(np.median(ours.seconds))
