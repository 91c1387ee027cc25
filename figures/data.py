"""Reading what ``verify`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.report.data import read_arrays, read_results


def results(report: Path) -> dict[str, Any]:
    """``report/results.json``."""
    if not (report / "results.json").exists():
        raise InvalidProblem(f"{report / 'results.json'} is missing: run `make verify` first")
    return read_results(report)


def study(report: Path, name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of one study, named ``<theorem>.<study>``."""
    known = results(report)["studies"]
    if name not in known:
        raise InvalidProblem(f"{report} holds no study {name!r}: run `make verify` over the whole suite")
    return read_arrays(report, known[name])
