"""``tabular-fedrl compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from tabular_fedrl.claims.relatives import Contender, relatives
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cli.settings import parse_settings
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load


def compare_algorithms(
    output: Output, algorithms: Sequence[str], source: str, rounds: int, seed: int, out: str
) -> Answer:
    """Run the algorithms on the problem that ``source`` names, and draw them to the file ``out``."""
    from tabular_fedrl.plots import PLOTS, save

    contenders = [contender(text) for text in algorithms]
    if len({one.label for one in contenders}) < len(contenders):
        raise InvalidProblem(f"{' '.join(algorithms)}: an algorithm is named twice with the same parameters")
    if Path(out).suffix.lower() not in (".svg", ".pdf"):
        raise InvalidProblem(f"cannot draw to {out}: the name must end in .svg or .pdf")
    if not Path(out).resolve().parent.is_dir():
        raise InvalidProblem(f"cannot write {out}: its folder does not exist")
    with output.waiting(f"reading {source}"):
        problem = load(source)
    with output.progress("compare", "rounds") as tick:
        study = relatives(contenders, problem, rounds, seed=seed, progress=tick)
    save(PLOTS["relatives"]({**study.arrays, "name": np.array(source)}), out)
    (table,), slopes = study.summary["tables"], study.summary["slopes"]
    data: dict[str, Any] = {
        "status": "ok",
        "source": source,
        "rounds": rounds,
        "seed": seed,
        "figure": out,
        "algorithms": [dict(zip(table["head"], row)) for row in table["rows"]],
        "slopes": slopes,
    }
    lines: list[RenderableType] = [_table(table["head"], table["rows"]), _slopes(slopes), f"figure: {out}"]
    return Answer(data, lines, brief=[out])


def contender(text: str) -> Contender:
    """``NAME`` or ``NAME:key=value,...``."""
    name, _, settings = text.partition(":")
    return Contender(text, name, parse_settings(filter(None, settings.split(","))))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for k, title in enumerate(head):
        table.add_column(title, justify="left" if k == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row))
    return table


def _slopes(slopes: Sequence[dict[str, Any]]) -> Table:
    """Slopes against the rounds, a row for each algorithm."""
    curves = list(dict.fromkeys(entry["curve"] for entry in slopes))
    rows: dict[str, list[str]] = {}
    for entry in slopes:
        known = entry["slope"] is not None
        words = (
            f"{entry['slope']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]" if known else entry["reason"]
        )
        rows.setdefault(entry["instance"], []).append(words)
    table = _table(["slope of", *curves], [[label, *row] for label, row in rows.items()])
    return table
