"""The commands on problems, and on what there is: solve, show, list, example."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tabular_fedrl.cli.options import Json, Quiet, Source, answered
from tabular_fedrl.cli.output import Answer, Output


class Kind(StrEnum):
    """What ``list`` lists."""

    THEOREMS = "theorems"
    ALGORITHMS = "algorithms"
    INSTANCES = "instances"


def solve(
    context: typer.Context,
    source: Source,
    solver: Annotated[str, typer.Option("--solver", help="highs or clarabel.")] = "highs",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """The optimum of a problem: value, policy, multipliers, Slater slack."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.solve import solve_source

        return solve_source(output, source, solver)

    return answered(context, json, quiet, command)


def show(context: typer.Context, source: Source, json: Json = False, quiet: Quiet = False) -> int:
    """What a SOURCE holds and where its thresholds come from; or the page of a theorem."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.show import show_source

        return show_source(output, source)

    return answered(context, json, quiet, command)


def list_(
    context: typer.Context,
    kind: Annotated[Kind | None, typer.Argument(help="Default: all three.", show_default=False)] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """List theorems, algorithms and instances."""

    def command(_: Output) -> Answer:
        from tabular_fedrl.cli.listing import listing

        return listing([str(kind)] if kind else [str(k) for k in Kind])

    return answered(context, json, quiet, command)


def example(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Default: list them.", show_default=False),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="The page (.html; default: NAME.html) or the notebook (.ipynb)."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run one of the students' notebooks and write it as a page to read; without a name, list them."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.example import list_examples, write_example

        return list_examples() if name is None else write_example(output, name, out)

    return answered(context, json, quiet, command)
