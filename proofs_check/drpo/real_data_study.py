"""The comparison of DRPO with other methods on real environments, as a figure and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tabular_fedrl.claims import StudyData
from tabular_fedrl.runner.offline_comparison import ClientData, Row, compare

ROUNDING = 1e-9
"""A change of value that is smaller, in units of the optimum's lead over the uniform policy, is none."""

METHODS_HEAD = (
    "method", "mark", "final value", "error", "score", "rounds improved", "worst round", "certified rounds",
)  # fmt: skip
CLIENTS_HEAD = (
    "client", "random / medium / expert", "coverage SACo", "trajectory quality TQ", "expected return",
)  # fmt: skip


def comparison_study(
    sources: Sequence[str], clients: int = 10, transitions: int = 10_000, rounds: int = 8, seed: int = 0
) -> StudyData:
    """All methods on all environments; the tables are those of the report."""
    found = [
        compare(source, clients=clients, transitions=transitions, rounds=rounds, seed=seed)
        for source in sources
    ]
    lacking = [[_lacking(row) for row in rows] for rows, _ in found]
    arrays = {
        "names": np.array(sources),
        "labels": np.array([row.method for row in found[0][0]]),
        "proposed": np.array([row.algorithm == "drpo" for row in found[0][0]]),
        "lacking": np.array(lacking),
    }
    tables = [
        table
        for source, (rows, data) in zip(sources, found)
        for table in (_methods(source, rows), _clients(source, data))
    ]
    summary = {
        "score": "0: the uniform policy's value, 1: the optimum",
        "worst round": "the least change of value in a round; rounds that change nothing count neither way",
        "certified rounds": "those whose gain the clients' data prove with confidence 95 %",
        "data that could certify": "about "
        + ", ".join(
            f"{min(d.informative for d in data):.1g} transitions of every pair ({source})"
            for source, (_, data) in zip(sources, found)
        ),
        "tables": tables,
    }
    return StudyData(arrays, summary)


def _lacking(row: Row) -> np.ndarray:
    return (row.optimum - row.values) / (row.optimum - row.values[0])


def _methods(source: str, rows: Sequence[Row]) -> dict[str, Any]:
    lead = rows[0].optimum - rows[0].values[0]
    title = f"{source}: optimum {rows[0].optimum:.6g}, uniform policy {rows[0].values[0]:.6g}"
    return {
        "title": title,
        "head": METHODS_HEAD,
        "rows": [_method(row, ROUNDING * lead) for row in rows],
    }


def _method(row: Row, rounding: float) -> tuple[str, ...]:
    gains = row.improvements
    # Rounds in which nothing moves say nothing about improvement.
    moved = int((np.abs(gains) > rounding).sum())
    certified = "no global policy"
    if row.certified is not None:
        certified = f"{int((row.certified > 0).sum())} of {moved}"
    worst = float(gains.min())
    return (
        row.method,
        row.mark,
        f"{row.values[-1]:.6g}",
        f"{row.errors[-1]:.1e}",
        f"{row.score:.4f}",
        f"{int((gains > rounding).sum())} of {moved}",
        f"{worst:.3g}" if abs(worst) > rounding else "0",
        certified,
    )


def _clients(source: str, data: Sequence[ClientData]) -> dict[str, Any]:
    rows = [
        (
            str(d.client),
            " / ".join(f"{share:.2f}" for share in d.shares),
            f"{d.coverage:.3f}",
            f"{d.trajectory_quality:.3f}",
            f"{d.expected_return:.5g}",
        )
        for d in data
    ]
    return {"title": f"{source}: the clients' data", "head": CLIENTS_HEAD, "rows": rows}
