"""``python -m paper``: write ``paper/generated/`` and ``paper/out/paper.pdf`` from a report."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from figures.__main__ import main as draw_figures
from figures.data import results
from paper.build import compile_paper
from paper.generate import generate
from tabular_fedrl.errors import InvalidProblem

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """2 if the report is missing or of other pages, or the paper has a defect."""
    parser = argparse.ArgumentParser(prog="paper", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("report"), help="what verify wrote")
    options = parser.parse_args(arguments)
    generated = HERE / "generated"
    try:
        data = results(options.report)
        shutil.rmtree(generated, ignore_errors=True)
        generate(data, generated, HERE)
        if status := draw_figures(["--report", str(options.report), "--out", str(generated / "figures")]):
            return status
        print("typesetting ...", flush=True)
        print(compile_paper(HERE))
    except (InvalidProblem, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
