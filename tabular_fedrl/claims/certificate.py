r"""Certificate files: a certified verdict as a small JSON file that anyone can decide again.

A file holds the statement, the instance in exact rationals, the parameters, the precision, the bases that
prove the optima, and for every claim the deciding enclosures of both sides as decimals that enclose them;
``sha256`` is the hash of all the rest in canonical JSON (keys sorted, no spaces, ASCII).
:func:`tabular_fedrl.claims.recheck.recheck` decides it again from the file alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flint
import numpy as np
from flint import fmpq

from tabular_fedrl import __version__
from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.claims.recheck_file import FORMAT, FORMAT_VERSION, decimal
from tabular_fedrl.claims.recheck_proof import follows, ratio
from tabular_fedrl.claims.theorem import LINK_TOLERANCE, Theorem
from tabular_fedrl.claims.verdict import Role, Verdict
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.instances.rational_json import to_json
from tabular_fedrl.instances.strict_json import sha256

if TYPE_CHECKING:
    from tabular_fedrl.claims.certify import Certified


def certificate(certified: Certified) -> dict[str, Any]:
    """The JSON object of certified verdicts.

    Raises
    ------
    InvalidProblem: a number or a parameter that a file cannot hold.
    SolverFailure: the decimals of a verdict do not decide it (the file would be refused).
    """
    page = certified.page
    # All of them, the defaults too: those may be others in another version.
    parameters = certified.verdicts[0].parameters if certified.verdicts else certified.parameters
    body = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "flint_version": flint.__FLINT_VERSION__,
        "theorem": page.id,
        "mark": str(page.mark),
        "title": page.title(),
        "source": certified.source,
        "instance": to_json(certified.problem),
        "parameters": {name: _value(name, x) for name, x in parameters.items()},
        "bits": certified.bits,
        "bases": {key: [int(i) for i in basis] for key, basis in certified.bases.items()},
        "claims": [_claim(verdict, page) for verdict in certified.verdicts],
    }
    return body | {"sha256": sha256(body)}


def write_certificates(certified: Iterable[Certified], directory: str | os.PathLike[str]) -> list[Path]:
    """A file for each theorem on its instance, in ``directory`` (made if need be); the paths.

    Names are made of theorem, source and hash: the same verdicts give the same name and others another. Where
    no claim was evaluated (none applies) there is nothing to certify and no file.

    Raises
    ------
    InvalidProblem: a place that cannot be written; or as :func:`certificate`.
    """
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidProblem(f"cannot write certificates to {folder}: {error.strerror or error}") from None
    return [
        _write(certificate(one), folder)
        for one in certified
        if any(verdict.enclosure is not None for verdict in one.verdicts)
    ]


def _write(data: dict[str, Any], folder: Path) -> Path:
    source = re.sub(r"\W+", "-", data["source"], flags=re.ASCII).strip("-")[:60]
    path = folder / f"{data['theorem']}-{source}-{data['sha256'][:8]}.json"
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(_readable(data), encoding="ascii")
    except OSError as error:
        raise InvalidProblem(f"cannot write {path}: {error.strerror or error}") from None
    return path


def _readable(data: dict[str, Any]) -> str:
    """One key a line; claims and the keys of the instance on lines of their own."""
    lines = []
    for key, value in data.items():
        if key == "claims":
            text = "[\n" + ",\n".join(f"  {json.dumps(x)}" for x in value) + "\n ]"
        elif key in ("instance", "parameters"):
            text = (
                "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(x)}" for k, x in value.items()) + "\n }"
            )
        else:
            text = json.dumps(value)
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _claim(v: Verdict, page: type[Theorem]) -> dict[str, Any]:
    tolerances = {claim.name: claim.tolerance for claim in page.claims()}
    tolerance = LINK_TOLERANCE if v.role is Role.LINK else tolerances[v.claim]
    sides, bounds = None, None
    if v.enclosure is not None:
        ends = [_plain(x) for x in v.enclosure]
        sides = {"lhs": ends[:2], "rhs": ends[2:]}
        if "inf" not in v.enclosure:
            lhs, rhs = ((decimal(x[0], v.claim), decimal(x[1], v.claim)) for x in sides.values())
            bounds = ratio(v.kind, lhs, rhs)
            status = follows(v.kind, lhs, rhs, fmpq(*tolerance.as_integer_ratio()))
            if status != v.status:
                raise SolverFailure(
                    f"{v.theorem}::{v.claim}: {v.status}, but the decimals of its enclosures say {status}: "
                    f"lhs {' .. '.join(sides['lhs'])}, rhs {' .. '.join(sides['rhs'])}"
                )
    return {
        "claim": v.claim,
        "role": str(v.role),
        "kind": str(v.kind),
        "statement": v.statement,
        "tolerance": tolerance,
        "status": str(v.status),
        "reason": v.reason,
        "sides": sides,
        "ratio": bounds and list(bounds),
        "vacuous": v.vacuous,
        "entries": v.entries,
    }


def _plain(text: str) -> str:
    """A decimal number with its point in the usual place."""
    if "inf" in text or "/" in text:
        return text
    usual = str(Decimal(text))
    return usual.rstrip("0").rstrip(".") if "." in usual and "E" not in usual else usual


def _value(name: str, x: Any) -> Any:
    """A parameter as JSON: numbers, truth values, text, None, and lists of these."""
    if isinstance(x, np.ndarray | np.generic):
        x = x.tolist()
    if isinstance(x, list | tuple):
        return [_value(name, part) for part in x]
    if x is None or isinstance(x, bool | str | int):
        return x
    if isinstance(x, float) and np.isfinite(x):
        return x
    raise InvalidProblem(f"the parameter {name} = {x!r} cannot be written to a certificate")
