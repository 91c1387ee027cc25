"""``tabular-fedrl verify``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tabular_fedrl.claims import Case, Results, Status, Theorem, theorems, verify_all
from tabular_fedrl.claims.certificate import write_certificates
from tabular_fedrl.claims.certify import Certified, certify
from tabular_fedrl.claims.discovery import select
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cli.pool import processors, workers
from tabular_fedrl.cli.settings import parse_settings
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load_any
from tabular_fedrl.instances.text import suggestion
from tabular_fedrl.report import failures, headline, publish, save_results, verdict_table, write_report

DEFAULT_REPORT = "report"
STATUS = {0: "holds", 1: "fails", 5: "undecided"}


def verify_theorems(
    output: Output,
    names: Sequence[str],
    on: Sequence[str],
    settings: Sequence[str],
    seed: int | None,
    report: str | None,
    jobs: int | None,
    certificates: str | None = None,
) -> Answer:
    """Verify the named theorems (none: all) on problems (none: their suites); write the report if asked.

    ``certificates``: a folder for certificates; the verdicts are then certified, which needs problems.
    """
    parameters = parse_settings(settings)
    if seed is not None:
        parameters["seed"] = seed
    if parameters and not on:
        raise InvalidProblem("--set and --seed need --on SOURCE: the suite fixes its own parameters")
    if certificates is not None and not on:
        raise InvalidProblem("--certify needs --on SOURCE: it decides one instance after another")
    if report is None and not names and not on:
        report = DEFAULT_REPORT
    for what, place in (("a report", report), ("certificates", certificates)):
        if place is not None:
            _writable(what, Path(place))
    chosen = _chosen(names)
    groups = _by_parameters(chosen, parameters)
    for source in on:
        load_any(source)
    proved: list[Certified] = []
    if certificates is None:
        results = _verify(output, groups, on, jobs or (1 if on else processors()))
    else:
        proved = _certify(output, groups, on)
        results = Results([v for c in proved for v in c.verdicts], seconds=sum(c.seconds for c in proved))
    options = [*(f"--on={s}" for s in on), *(f"--set={s}" for s in settings)]
    if seed is not None:
        options.append(f"--seed={seed}")
    with tempfile.TemporaryDirectory(prefix="tabular-fedrl-") as folder:
        # Prepared elsewhere, so that a run that is killed leaves the earlier report as it was.
        stage = Path(folder)
        data = save_results(results, chosen, stage, options)
        page = None
        if report is not None:
            with output.waiting("drawing the report"):
                notes = write_report(stage)
            publish(stage, Path(report))
            for note in notes:
                output.warn(note)
            page = os.path.join(report, "index.html")
    files = write_certificates(proved, Path(certificates)) if certificates is not None else []
    idle = all(v.status is Status.NOT_APPLICABLE for v in results.verdicts)
    if idle:
        reasons = "; ".join(sorted({v.reason for v in results.verdicts}))
        why = f"no claim applies ({reasons})" if reasons else "there is no claim"
        output.warn(f"nothing was verified: {why}")
    status = "not applicable" if idle else STATUS[results.exit_code]
    answer = {
        "status": status,
        "message": headline(data),
        "report": report,
        "warnings": output.warnings,
        "certificates": [str(file) for file in files],
        **data,
    }
    last = [*_conclusion(data, page), *_certificates(proved, files)]
    return Answer(answer, [verdict_table(data), *last], brief=last, code=results.exit_code)


def _conclusion(data: dict[str, Any], page: str | None) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(line, style="red") for line in failures(data)]
    style = {0: "bold", 1: "bold red", 5: "bold yellow"}[data["exit_code"]]
    lines.append(Text(f"{headline(data)} ({data['seconds']:.1f} s)", style=style))
    if page is not None:
        lines.append(Text(f"Report: {page}"))
    return lines


def _certificates(proved: Sequence[Certified], files: Sequence[Path]) -> list[RenderableType]:
    """A line for each certificate: how far the precision went, and where it is."""
    lines: list[RenderableType] = []
    decided = [one for one in proved if any(v.enclosure is not None for v in one.verdicts)]
    for one, file in zip(decided, files, strict=True):
        text = f"Certified at {one.bits} bits on {one.source}: {file} ({file.stat().st_size / 1024:.1f} kB)"
        lines.append(Text(text))
    if files:
        lines.append(Text(f"Decide one again with: tabular-fedrl recheck {files[0]}", style="dim"))
    return lines


def _chosen(names: Sequence[str]) -> list[type[Theorem]]:
    found = [t for name in names for t in select(name)] if names else list(theorems().values())
    if not found:
        raise InvalidProblem("no theorems are installed")
    return list(dict.fromkeys(found))


def _by_parameters(
    chosen: Sequence[type[Theorem]], parameters: dict[str, Any]
) -> list[tuple[list[type[Theorem]], dict[str, Any]]]:
    """Theorems beside those of the parameters that they have; every parameter must have a taker."""
    for name in parameters:
        if not any(name in t.parameters() for t in chosen):
            known = sorted({key for t in chosen for key in t.parameters()})
            raise InvalidProblem(f"no parameter {name!r} here{suggestion(name, known)}")
    groups: dict[tuple[str, ...], list[type[Theorem]]] = {}
    for theorem in chosen:
        own = tuple(name for name in parameters if name in theorem.parameters())
        groups.setdefault(own, []).append(theorem)
    return [(members, {name: parameters[name] for name in own}) for own, members in groups.items()]


def _verify(
    output: Output,
    groups: Sequence[tuple[list[type[Theorem]], dict[str, Any]]],
    on: Sequence[str],
    jobs: int,
) -> Results:
    total = Results()
    with output.progress("verifying", "tasks") as tick, workers(jobs) as executor:
        for members, parameters in groups:
            found = verify_all(
                members, [(source, parameters) for source in on], executor=executor, progress=tick
            )
            total.verdicts += found.verdicts
            total.studies |= found.studies
            total.plots |= found.plots
            total.searches += found.searches
            total.seconds += found.seconds
    return total


def _certify(
    output: Output, groups: Sequence[tuple[list[type[Theorem]], dict[str, Any]]], on: Sequence[str]
) -> list[Certified]:
    cases = [(t, Case(s, **parameters)) for members, parameters in groups for t in members for s in on]
    proved = []
    with output.progress("certifying", "theorems") as tick:
        for i, (theorem, case) in enumerate(cases):

            def note(what: str, done: int = i) -> None:
                if tick is not None:  # no progress is wanted
                    tick(done, len(cases), what)

            proved.append(certify(theorem, case, progress=note))
    return proved


def _writable(what: str, directory: Path) -> None:
    """Refuse a place that cannot be written before the work, not after it."""
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise InvalidProblem(f"cannot write {what} to {directory}: {place} is not a writable folder")
