"""The command line. Commands and their options are in the modules ``on_...``; what a command does is in the
module of its name, imported when needed: ``--help`` and ``--version`` answer at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tabular_fedrl import __version__
from tabular_fedrl.cli.guard import BAD_INPUT, INTERRUPTED, deliver, fail, terminable
from tabular_fedrl.cli.on_algorithms import compare, run, sweep
from tabular_fedrl.cli.on_problems import example, list_, show, solve
from tabular_fedrl.cli.on_theorems import recheck, search, verify
from tabular_fedrl.cli.options import Json, Quiet
from tabular_fedrl.cli.output import Answer, Output

NAME = "tabular-fedrl"

EXIT_CODES = (
    "Exit codes: 0 fine; 1 a claim fails; 2 bad input; 3 infeasible problem; 4 internal error; "
    "5 nothing fails, but something is undecided; 130 interrupted."
)
RECHECK_CODES = (
    "Exit codes: 0 it comes out as stated; 1 it does not; 2 no certificate, or a file that was changed; "
    "4 internal error; 130 interrupted."
)

app = typer.Typer(name=NAME, add_completion=False, epilog=EXIT_CODES, pretty_exceptions_enable=False)

COMMANDS = {
    command.__name__.rstrip("_"): command
    for command in (verify, recheck, search, solve, run, compare, sweep, example, list_, show)
}
for name, command in COMMANDS.items():
    app.command(name, epilog=RECHECK_CODES if command is recheck else EXIT_CODES)(command)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Verify theorems of tabular constrained federated reinforcement learning."""
    output = Output(json or context.obj.json, quiet)
    context.obj = output
    if version:
        answer = Answer(
            {"status": "ok", "package": "tabular_fedrl", "version": __version__}, [f"{NAME} {__version__}"]
        )
        raise typer.Exit(deliver(output, lambda _: answer))
    if context.invoked_subcommand is None:
        if output.json:
            raise typer.Exit(fail(output, f"no command: {', '.join(COMMANDS)}", BAD_INPUT))
        typer.echo(context.get_help())
        raise typer.Exit(0)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: ``sys.argv``) and give the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    options = words[: words.index("--")] if "--" in words else words
    # Seen here, not only where it is parsed: a line that cannot be parsed is answered in JSON too.
    output = Output(json="--json" in options)
    try:
        with terminable():
            code = typer.main.get_command(app).main(words, prog_name=NAME, standalone_mode=False, obj=output)
    except typer.TyperException as error:
        return fail(output, f"{error.format_message()} (see {NAME} --help)", BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return fail(output, "interrupted", INTERRUPTED, prefix="")
    return int(code or 0)
