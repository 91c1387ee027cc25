"""The commands and their options. What they do is in the modules beside this one, imported when needed:
``--help`` and ``--version`` answer at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from tabular_fedrl import __version__
from tabular_fedrl.cli.guard import BAD_INPUT, INTERRUPTED, deliver, fail, terminable
from tabular_fedrl.cli.output import Answer, Output

NAME = "tabular-fedrl"
SOURCE_HELP = (
    "A file (.npz, .drn), gym:NAME, textbook:NAME or family:key=value,...; overrides follow a comma, "
    "as in gym:FrozenLake-v1,gamma=0.95,d=0.2"
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, the answer in brief.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A further parameter.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random draws.")]

EXIT_CODES = (
    "Exit codes: 0 fine; 1 a claim fails; 2 bad input; 3 infeasible problem; 4 internal error; "
    "5 nothing fails, but something is undecided; 130 interrupted."
)
RECHECK_CODES = (
    "Exit codes: 0 it comes out as stated; 1 it does not; 2 no certificate, or a file that was changed; "
    "4 internal error; 130 interrupted."
)

app = typer.Typer(name=NAME, add_completion=False, epilog=EXIT_CODES, pretty_exceptions_enable=False)


class Kind(StrEnum):
    """What ``list`` lists."""

    THEOREMS = "theorems"
    ALGORITHMS = "algorithms"
    INSTANCES = "instances"


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
            raise typer.Exit(
                fail(
                    output,
                    "no command: verify, search, recheck, solve, run, sweep, compare, list, show, example",
                    BAD_INPUT,
                )
            )
        typer.echo(context.get_help())
        raise typer.Exit(0)
    return 0


@app.command(epilog=EXIT_CODES)
def verify(
    context: typer.Context,
    theorem: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="THEOREM", help="An id, a prefix such as fednpg, or a Python file; default: all."
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", metavar="SOURCE", help="Verify on this problem instead of the suite (repeatable)."
        ),
    ] = None,
    set_: Set = None,
    seed: Seed = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report", metavar="DIR", help="Write the report there; default for the whole suite: report"
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Processes side by side.")] = None,
    certify: Annotated[
        bool,
        typer.Option("--certify", help="Decide in exact rationals and balls; needs --on."),
    ] = False,
    certificates: Annotated[
        str,
        typer.Option("--certificates", metavar="DIR", help="Where --certify writes its certificates."),
    ] = "certificates",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Verify theorems: on their default suite, or on problems of your own."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.verify import verify_theorems

        folder = certificates if certify else None
        return verify_theorems(output, theorem or [], on or [], set_ or [], seed, report, jobs, folder)

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
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

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
def run(
    context: typer.Context,
    algorithm: Annotated[
        str, typer.Argument(metavar="ALGORITHM", help="fednpg, drpo, ... (see list algorithms)")
    ],
    source: Source,
    rounds: Annotated[int, typer.Option("--rounds", help="Communication rounds K.")] = 1000,
    local_steps: Annotated[
        int | None, typer.Option("--local-steps", help="Local steps E between them; default: 1.")
    ] = None,
    aggregation: Annotated[
        str | None,
        typer.Option("--aggregation", help="arithmetic (the default) or geometric; drpo: mixture as well."),
    ] = None,
    eta: Annotated[float | None, typer.Option("--eta", help="Primal step; default: the theory's.")] = None,
    eta_dual: Annotated[
        float | None, typer.Option("--eta-dual", help="Dual step; default: the theory's.")
    ] = None,
    dual_cap: Annotated[
        float | None, typer.Option("--dual-cap", help="Cap of the multipliers; default: the theory's.")
    ] = None,
    set_: Set = None,
    seed: Seed = 0,
    backend: Annotated[
        str, typer.Option("--backend", help="numpy (the specification), numba or cuda (the same compiled).")
    ] = "numpy",
    every: Annotated[
        int, typer.Option("--every", metavar="N", help="Record every N-th round; averages are over all.")
    ] = 1,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Keep the measured run (.npz).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run an algorithm with exact evaluation and measure its rounds."""
    given = {
        "local_steps": local_steps,
        "aggregation": aggregation,
        "eta": eta,
        "eta_dual": eta_dual,
        "dual_cap": dual_cap,
    }

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.run import run_algorithm

        return run_algorithm(
            output,
            algorithm,
            source,
            rounds,
            given,
            set_ or [],
            seed or 0,
            backend,
            every,
            out,
            resume,
        )

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
def sweep(
    context: typer.Context,
    algorithm: Annotated[
        str, typer.Argument(metavar="ALGORITHM", help="fednpg, drpo, ...; several joined by commas.")
    ],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Problems; key=low..high stands for every whole number of the range."
        ),
    ],
    rounds: Annotated[
        str,
        typer.Option("--rounds", metavar="K,K,...", help="Communication rounds, or several numbers of them."),
    ] = "1000",
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="NAME=VALUE,VALUE",
            help="Values of a parameter, or of a key of the sources such as gamma (repeatable).",
        ),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="0..9", help="Seeds of the random draws.")] = "0",
    backend: Annotated[
        str, typer.Option("--backend", help="As in run; or lockstep: fastest, no bounds.")
    ] = "numpy",
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="Append the rows to this file (an Arrow stream)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep in --out.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Processes side by side.")] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="Run on a Dask cluster, by its scheduler.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run algorithms over problems, parameters and seeds, and keep a table of the results."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.sweep import sweep_sources

        return sweep_sources(
            output, algorithm, sources, rounds, seeds, grid or [], backend, out, resume, jobs, dask
        )

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
def compare(
    context: typer.Context,
    algorithms: Annotated[
        list[str],
        typer.Argument(
            metavar="ALGORITHM...", help="fednpg, pmd-pd, ... or with parameters: fednpg:local_steps=5"
        ),
    ],
    on: Annotated[str, typer.Option("--on", metavar="SOURCE", help=SOURCE_HELP)],
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each.")] = 1000,
    seed: Seed = 0,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="The figure, .svg or .pdf.")
    ] = "compare.svg",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Draw gap and violation of several algorithms on one problem, against rounds and bytes."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.compare import compare_algorithms

        return compare_algorithms(output, algorithms, on, rounds, seed or 0, out)

    return _deliver(context, json, quiet, command)


@app.command(name="list", epilog=EXIT_CODES)
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

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
def show(context: typer.Context, source: Source, json: Json = False, quiet: Quiet = False) -> int:
    """What a SOURCE holds and where its thresholds come from; or the page of a theorem."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.show import show_source

        return show_source(output, source)

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
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

    return _deliver(context, json, quiet, command)


@app.command(epilog=EXIT_CODES)
def search(
    context: typer.Context,
    theorem: Annotated[
        str, typer.Argument(metavar="THEOREM", help="An id, or a Python file with one theorem.")
    ],
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="F",
            help="cmdp:, bandit:, deterministic: or sparse: with ranges, as in "
            "cmdp:S=2..3,A=2,m=1,N=1,gamma=0..0.95; default: the theorem's own.",
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="60s, 2m, or a number of evaluations.")] = "60s",
    claim: Annotated[
        list[str] | None, typer.Option("--claim", metavar="NAME", help="Only this claim (repeatable).")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Fix a free parameter, or give its range low..high."),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Keep the worst instance found (.npz).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the search in --out.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Search for the instances on which a theorem comes closest to failing."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.search import search_theorem

        return search_theorem(
            output, theorem, family, budget, seed or 0, claim or [], set_ or [], out, resume
        )

    return _deliver(context, json, quiet, command)


@app.command(epilog=RECHECK_CODES)
def recheck(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A certificate, as verify --certify writes it.")
    ],
    theorem: Annotated[
        str | None,
        typer.Option("--theorem", metavar="FILE.py", help="Where the theorem's page is, if it is your own."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Decide a certificate again, from its file alone."""

    def command(output: Output) -> Answer:
        from tabular_fedrl.cli.recheck import recheck_file

        return recheck_file(output, file, theorem)

    return _deliver(context, json, quiet, command)


def _deliver(context: typer.Context, json: bool, quiet: bool, command: Callable[[Output], Answer]) -> int:
    above: Output = context.obj
    return deliver(Output(json or above.json, quiet or above.quiet), command)


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
