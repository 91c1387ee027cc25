"""``python -m benchmarks``: measure, with progress on the terminal, and write the results as they come."""

from __future__ import annotations

import argparse
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.contest import Limits
from benchmarks.machine import commit, facts
from benchmarks.measure import measure_row, measure_series
from benchmarks.plan import rows, series
from benchmarks.results import FIGURE, RESULTS, merged, read, write
from tabular_fedrl.errors import TabularFedRLError


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for; 2 if nothing is, or a results file cannot be used."""
    options = _parser().parse_args(arguments)
    limits = Limits(options.limit, options.budget, options.rounds)
    chosen = [x for x in (*rows(options.full), *series()) if _wanted(x.name, options.only)]
    if not chosen:
        print(f"error: no row is named {' or '.join(options.only)}", file=sys.stderr)
        return 2
    out = options.out or RESULTS / ("full.json" if options.full else "quick.json")
    stamp = {"commit": at} if (at := commit()) else {}
    try:
        content = {**read(out), "machine": facts()}
        for number, one in enumerate(chosen, 1):
            _say(f"[{number}/{len(chosen)}] {one.name}")
            if hasattr(one, "methods"):
                entry = measure_row(one, limits) | stamp
                for method in entry["methods"]:
                    _say(f"    {_line(method)}")
                content = merged(content, "rows", entry)
            else:
                entry = measure_series(one, limits, lambda text: _say(f"    {text}")) | stamp
                content = merged(content, "series", entry)
                if options.full and entry["values"]:
                    _draw(content["series"], out.with_name(FIGURE))
            write(out, content, FIGURE if options.full else None)
    except TabularFedRLError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is in {out}", file=sys.stderr)
        return 130
    print(f"{out.with_suffix('.md')}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the large sizes too (twenty-five minutes)")
    parser.add_argument(
        "--only", nargs="+", metavar="PATTERN", default=["*"],
        help="rows by name, for instance 'optimum/*' or 'growth/S/*'; the others keep their results",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=8.0, help="seconds for one call (8)")
    parser.add_argument("--budget", type=float, default=1.5, help="seconds for a method's calls (1.5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of taking turns (5)")
    parser.add_argument("--out", type=Path, help="the results file (default benchmarks/results/*.json)")
    return parser


def _draw(series: list[dict[str, Any]], path: Path) -> None:
    # Here, because every worker imports this module again, and none draws.
    from figures.growth import growth
    from tabular_fedrl.plots import save

    path.parent.mkdir(parents=True, exist_ok=True)
    save(growth(series), path)


def _wanted(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _line(method: dict[str, Any]) -> str:
    ratio = method["ratio"]
    text = f"{ratio['median']:.3g} x ours" if ratio else f"{len(method['seconds'])} calls"
    if method["error"] is not None:
        text += f", error {method['error']:.1e}"
    return f"{method['label']}: {text}" + (f", {method['failure']}" if method["failure"] else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    # A process that is told to end takes its workers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
