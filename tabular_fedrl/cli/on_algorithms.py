"""The commands on algorithms: run, compare, sweep."""

from __future__ import annotations

from typing import Annotated

import typer

from tabular_fedrl.cli.options import SOURCE_HELP, Json, Quiet, Seed, Set, Source, answered
from tabular_fedrl.cli.output import Answer, Output


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

    return answered(context, json, quiet, command)


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

    return answered(context, json, quiet, command)


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

    return answered(context, json, quiet, command)
