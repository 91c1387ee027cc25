"""The commands on theorems: verify, recheck, search."""

from __future__ import annotations

from typing import Annotated

import typer

from tabular_fedrl.cli.options import Json, Quiet, Seed, Set, answered
from tabular_fedrl.cli.output import Answer, Output


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

    return answered(context, json, quiet, command)


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

    return answered(context, json, quiet, command)


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

    return answered(context, json, quiet, command)
