"""``tabular-fedrl search``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tabular_fedrl.claims import Range, Theorem
from tabular_fedrl.claims.discovery import select
from tabular_fedrl.claims.search import Found, Search, search
from tabular_fedrl.claims.search.family import ends
from tabular_fedrl.claims.search.files import instance_path
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cli.settings import parse_settings, parse_value, setting
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import save
from tabular_fedrl.loops import prepare
from tabular_fedrl.report.words import plural

STYLES = {"holds": "green", "counterexample": "bold red", "fails": "bold red", "undecided": "yellow"}
STATUS = {0: "holds", 1: "counterexample", 5: "undecided"}


def search_theorem(
    output: Output,
    name: str,
    family: str | None,
    budget: str,
    seed: int,
    claims: Sequence[str],
    settings: Sequence[str],
    out: str | None,
    resume: bool,
) -> Answer:
    """Search a theorem (an id, or a file that holds one) for the instances where it comes closest to
    failing."""
    if resume and out is None:
        raise InvalidProblem("--resume continues the search in a file: name it with --out FILE")
    theorem = _only(name)
    space = {key: _range(key, value) for key, value in parse_settings(settings).items()}
    unit = "seconds" if budget.strip()[-1:] in ("s", "m", "h") else "evaluations"
    if hasattr(theorem, "batch"):
        prepare()
    try:
        with output.progress("searching", unit) as tick:
            result = search(
                theorem,
                family,
                budget,
                seed,
                claims=claims or None,
                space=space,
                out=out,
                resume=resume,
                progress=tick,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with --out {out} --resume" if out else "") from None
    files = _files(result, out)
    commands = {f.claim: _reproduce(name, f, files.get(f.claim)) for f in result.found if f.problem}
    data = {
        "status": STATUS[result.exit_code],
        **result.to_dict(),
        "files": {claim: str(path) for claim, path in files.items()},
        "commands": commands,
    }
    worst = max(result.found, key=lambda f: -1.0 if f.ratio is None else f.ratio)
    brief = [_line(f, files) for f in result.found if f.exceeds] or [f"{worst.claim}: {_number(worst.ratio)}"]
    return Answer(data, _view(result, files, commands), brief=brief, code=result.exit_code)


def _only(name: str) -> type[Theorem]:
    found = select(name)
    if len(found) != 1:
        raise InvalidProblem(
            f"{name} names {len(found)} theorems; search one: {', '.join(t.id for t in found)}"
        )
    return found[0]


def _range(key: str, value: Any) -> Range:
    """``low..high`` as a pair; everything else is the one value to use."""
    if not isinstance(value, str) or ".." not in value:
        return [value]
    low, high = (parse_value(word) for word in ends(f"--set {key}", value))
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high)):
        raise InvalidProblem(f"--set {key}={value}: a range is low..high, two numbers")
    return (low, high)


def _files(result: Search, out: str | None) -> dict[str, Path]:
    """Where the instances are: in ``out``; without it, only counterexamples are kept."""
    names = [f.claim for f in result.found]
    if out is not None:
        return {f.claim: instance_path(Path(out), f.claim, names) for f in result.found if f.problem}
    files = {}
    for f in result.found:
        if f.counterexample and f.problem is not None:
            path = Path(f"counterexample.{result.theorem}.{f.claim}.npz")
            save(path, f.problem)
            files[f.claim] = path
    return files


def _reproduce(name: str, found: Found, path: Path | None) -> str | None:
    """The command line that decides the claim on the instance again."""
    if path is None:
        return None
    settings = [f"--set={key}={setting(value)}" for key, value in (found.parameters or {}).items()]
    proof = ["--certify"] if found.certified is not None else []
    return shlex.join(["tabular-fedrl", "verify", name, f"--on={path}", *settings, *proof])


def _view(result: Search, files: dict[str, Path], commands: dict[str, str | None]) -> list[RenderableType]:
    head = f"{result.theorem} on {result.family}: {result.evaluations} evaluations, "
    head += f"{plural(result.restarts, 'restart')}, {result.seconds:.1f} s, seed {result.seed}"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("claim", "kind", "worst lhs/rhs", "constant"):
        table.add_column(title, justify="right" if title == "worst lhs/rhs" else "left", overflow="fold")
    for f in result.found:
        table.add_row(f.claim, str(f.kind), _number(f.ratio), Text(f.words, style=STYLES.get(f.status, "")))
    lines: list[RenderableType] = [head, table]
    for f in result.found:
        lines += _details(f, commands.get(f.claim))
    lines += [Text(_line(f, files), style=STYLES[f.status]) for f in result.found if f.exceeds]
    return lines


def _details(found: Found, command: str | None) -> Iterable[RenderableType]:
    """The instance, the parameters, where the slack is lost, and how to see it again."""
    data = found.to_dict()
    if not data["sizes"]:
        return
    sizes = ", ".join(f"{key} = {_number(value)}" for key, value in data["sizes"].items())
    chosen = ", ".join(f"{key} = {_short(value)}" for key, value in data["parameters"].items())
    yield f"{found.claim}: {sizes}" + (f"; {chosen}" if chosen else "")
    for reason, share in found.shares:
        yield Text(f"    {100 * share:z5.1f} % of the slack   {reason}", style="dim")
    if command is not None:
        yield Text(f"    {command}", style="dim")


def _line(found: Found, files: dict[str, Path]) -> str:
    place = f" ({files[found.claim]})" if found.claim in files else ""
    verdict = found.certified or found.verdict
    sides = f"{verdict.lhs:.6g} > {verdict.rhs:.6g}" if verdict and verdict.lhs is not None else ""
    word = "COUNTEREXAMPLE" if found.counterexample else "not proved"
    return f"{word}: {found.theorem}::{found.claim}: {sides}{place}"


def _number(x: float | None) -> str:
    return "–" if x is None else f"{x:.4g}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_short(x) for x in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
