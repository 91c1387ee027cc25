"""``python -m figures``: draw all figures of the paper from a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from figures import (
    ablations,
    balance_map,
    comparison,
    convergence,
    crosslm,
    drift,
    drift_scaling,
    false_certificates,
    fed_se,
    growth,
    heterogeneity,
    local_steps,
    plane,
    rates,
    ratios,
    relatives,
    rlhf,
    slack,
)
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.plots import save

SCRIPTS = (
    convergence,
    local_steps,
    plane,
    drift,
    slack,
    ratios,
    false_certificates,
    balance_map,
    heterogeneity,
    drift_scaling,
    ablations,
    comparison,
    relatives,
    rates,
    growth,
    rlhf,
    crosslm,
    fed_se,
)


def main(arguments: list[str] | None = None) -> int:
    """Draw into ``--out``; 2 if the report is missing or cannot be read."""
    parser = argparse.ArgumentParser(prog="figures", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("report"), help="what verify wrote")
    parser.add_argument("--out", type=Path, default=Path("figures/out"), help="where the figures go")
    options = parser.parse_args(arguments)
    try:
        drawn = {
            name: figure for script in SCRIPTS for name, figure in script.figures(options.report).items()
        }
        options.out.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            for suffix in ("svg", "pdf"):
                save(figure, options.out / f"{name}.{suffix}")
                print(options.out / f"{name}.{suffix}")
    except (InvalidProblem, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
