"""The options that commands share, and how a command is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tabular_fedrl.cli.guard import deliver
from tabular_fedrl.cli.output import Answer, Output

SOURCE_HELP = (
    "A file (.npz, .drn), gym:NAME, textbook:NAME or family:key=value,...; overrides follow a comma, "
    "as in gym:FrozenLake-v1,gamma=0.95,d=0.2"
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, the answer in brief.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A further parameter.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random draws.")]


def answered(context: typer.Context, json: bool, quiet: bool, command: Callable[[Output], Answer]) -> int:
    """Run a command with the options given before its name and after it; gives the exit code."""
    above: Output = context.obj
    return deliver(Output(json or above.json, quiet or above.quiet), command)
