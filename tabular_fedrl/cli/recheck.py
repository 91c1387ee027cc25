"""``tabular-fedrl recheck``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flint import fmpq
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tabular_fedrl.claims.discovery import load_file
from tabular_fedrl.claims.recheck import Rechecked, recheck
from tabular_fedrl.claims.recheck_file import StoredClaim, decimal
from tabular_fedrl.claims.recheck_proof import rounded
from tabular_fedrl.cli.output import Answer, Output

STYLES = {"holds": "green", "fails": "bold red", "undecided": "yellow", "not applicable": "dim"}


def recheck_file(output: Output, path: str, theorem: str | None) -> Answer:
    """Decide the certificate in a file again; ``theorem``: a Python file with its page."""
    pages = [] if theorem is None else load_file(Path(theorem))
    with output.waiting(f"rechecking {path}"):
        result = recheck(path, pages)
    last = Text(_conclusion(result), style="bold" if result.confirmed else "bold red")
    return Answer(_data(path, result), [*_view(result), last], brief=[last], code=int(not result.confirmed))


def _data(path: str, result: Rechecked) -> dict[str, Any]:
    stored = result.stored
    return {
        "status": "confirmed" if result.confirmed else "refused",
        "message": _conclusion(result),
        "file": path,
        "theorem": stored.theorem,
        "mark": stored.mark,
        "title": stored.title,
        "source": stored.source,
        "parameters": stored.parameters,
        "bits": stored.bits,
        "package_version": stored.package_version,
        "flint_version": stored.flint_version,
        "claims": [_claim(claim) for claim in stored.claims],
        "checked": list(result.checked),
        "mismatch": result.mismatch or None,
        "seconds": result.seconds,
    }


def _claim(claim: StoredClaim) -> dict[str, Any]:
    lhs, rhs = (None, None) if claim.sides is None else (list(claim.sides[:2]), list(claim.sides[2:]))
    return {
        "claim": claim.claim,
        "role": claim.role,
        "kind": claim.kind,
        "statement": claim.statement,
        "tolerance": claim.tolerance,
        "status": claim.status,
        "reason": claim.reason,
        "lhs": lhs,
        "rhs": rhs,
        "ratio": claim.ratio,
        "vacuous": claim.vacuous,
        "entries": claim.entries,
    }


def _view(result: Rechecked) -> list[RenderableType]:
    stored = result.stored
    settings = ", ".join(f"{k} = {v}" for k, v in stored.parameters.items() if v is not None)
    on = f"on {stored.source} (the file's name for it): {stored.instance.sizes}"
    lines: list[RenderableType] = [
        Text(f"{stored.theorem} ({stored.mark}): {stored.title}", style="bold"),
        Text(f"{on}; {settings or 'no parameters'}"),
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("claim", "verdict", "lhs", "rhs", "statement"):
        table.add_column(title, overflow="fold", no_wrap=title in ("lhs", "rhs"))
    for claim in stored.claims:
        table.add_row(
            claim.claim,
            Text(_verdict(claim), style=STYLES[claim.status]),
            *(Text(_side(claim, at)) for at in (0, 2)),
            Text(claim.statement if claim.role == "claim" else f"link: {claim.statement}"),
        )
    lines.append(table)
    lines += [Text(f"✓ {line}") for line in result.checked]
    return lines


def _verdict(claim: StoredClaim) -> str:
    """The status, and the tolerance where it was needed: what holds there is equality within it."""
    if claim.sides is None or claim.status != "holds":
        return claim.status
    ends = [decimal(x, claim.claim) for x in claim.sides]
    return claim.status if ends[1] <= ends[2] else f"{claim.status} (= within {claim.tolerance:g})"


def _side(claim: StoredClaim, at: int) -> str:
    """Both ends, rounded outward to the digits that a line has room for; one number where they agree."""
    if claim.sides is None or "inf" in claim.sides[at : at + 2]:
        return "–" if claim.sides is None else "unbounded"
    ends: tuple[fmpq, fmpq] = (decimal(claim.sides[at], "lhs"), decimal(claim.sides[at + 1], "lhs"))
    low, high = rounded(ends, 7)
    return low if low == high else f"{low} .. {high}"


def _conclusion(result: Rechecked) -> str:
    claims = result.stored.claims
    counts = {s: sum(c.status == s for c in claims) for s in STYLES}
    verdicts = ", ".join(f"{n} {s}" for s, n in counts.items() if n)
    if not result.confirmed:
        return f"NOT CONFIRMED: {result.mismatch}"
    return f"Confirmed as stated at {result.stored.bits} bits: {verdicts} ({result.seconds:.1f} s)"
