"""A certificate file, read with the distrust that a stranger's file deserves."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flint import fmpq, fmpz

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.episodic_json import EpisodicTables
from tabular_fedrl.instances.json_parts import items, keys
from tabular_fedrl.instances.rational_json import Tables, read_tables
from tabular_fedrl.instances.strict_json import parse, sha256
from tabular_fedrl.instances.text import shorten

FORMAT, FORMAT_VERSION = "tabular-fedrl certificate", 1
MAX_BYTES = 2**25
"""Bytes of a file."""
MAX_BITS = 2**16
MAX_LENGTH = 10_000
"""Characters of a text, entries of a list."""

KEYS = (
    "format", "format_version", "package_version", "flint_version", "theorem", "mark", "title", "source",
    "instance", "parameters", "bits", "bases", "claims", "sha256",
)  # fmt: skip
CLAIM = (
    "claim", "role", "kind", "statement", "tolerance", "status", "reason", "sides", "ratio", "vacuous",
    "entries",
)  # fmt: skip
WORDS = {
    "role": ("claim", "link"),
    "kind": ("identity", "tight", "upper", "conjecture"),
    "status": ("holds", "fails", "undecided", "not applicable"),
}
_DECIMAL = re.compile(r"(-?[0-9]{1,9000})(\.[0-9]{1,9000})?(?:[eE]([+-]?[0-9]{1,5}))?")
_FRACTION = re.compile(r"(-?[0-9]{1,9000})/([1-9][0-9]{0,9000})")


@dataclass(frozen=True)
class StoredClaim:
    """What a file says about one claim or link; ``sides``: lower and upper end of lhs, then of rhs, as they
    are written."""

    claim: str
    role: str
    kind: str
    statement: str
    tolerance: float
    status: str
    reason: str
    sides: tuple[str, str, str, str] | None
    ratio: tuple[str, str] | None
    vacuous: bool | None
    entries: int


@dataclass(frozen=True)
class Stored:
    """What a file says."""

    package_version: str
    flint_version: str
    theorem: str
    mark: str
    title: str
    source: str
    instance: Tables | EpisodicTables
    parameters: dict[str, Any]
    bits: int
    bases: dict[str, tuple[int, ...]]
    claims: tuple[StoredClaim, ...]


def read(path: str | os.PathLike[str]) -> Stored:
    """The certificate in a file, its limits and its hash checked.

    Raises
    ------
    InvalidProblem: one line that names the file and the place.
    """
    origin = os.fspath(path)
    try:
        data = parse(_bytes(Path(path)), origin)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InvalidProblem(f"{origin}: not a certificate")
        version = data.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise InvalidProblem(
                f"{origin}: format_version is {shorten(str(version))}, this program reads {FORMAT_VERSION}"
            )
        keys(data, KEYS, origin)
        body = {key: value for key, value in data.items() if key != "sha256"}
        if data["sha256"] != sha256(body):
            raise InvalidProblem(
                f"{origin}: sha256 is {shorten(str(data['sha256']), 20)}, that of the content is "
                f"{shorten(sha256(body), 20)}: the file was changed"
            )
        return _stored(data, origin)
    except RecursionError:
        raise InvalidProblem(f"{origin}: nested too deeply") from None


def decimal(text: str, what: str) -> fmpq:
    """A decimal number or fraction as text, exactly.

    Raises
    ------
    InvalidProblem: anything else, infinities included.
    """
    if match := _FRACTION.fullmatch(text):
        return fmpq(fmpz(match[1]), fmpz(match[2]))
    if match := _DECIMAL.fullmatch(text):
        places = match[2] or "."
        power = int(match[3] or 0) - len(places) + 1
        return fmpq(fmpz(match[1] + places[1:])) * fmpq(10) ** power
    raise InvalidProblem(f"{what}: {shorten(text)!r} is not a decimal number")


def _bytes(path: Path) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InvalidProblem(f"{path} is not a regular file")
        if about.st_size > MAX_BYTES:
            raise InvalidProblem(f"{path}: {about.st_size} bytes, a certificate has at most {MAX_BYTES}")
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidProblem):
            raise
        raise InvalidProblem(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None


def _stored(data: dict[str, Any], origin: str) -> Stored:
    def text(key: str) -> str:
        return _text(data[key], f"{origin}: {key}")

    bits = _whole(data["bits"], f"{origin}: bits")
    if not 2 <= bits <= MAX_BITS:
        raise InvalidProblem(f"{origin}: bits = {bits} is outside 2..{MAX_BITS}")
    parameters, bases = data["parameters"], data["bases"]
    for key in ("parameters", "bases"):
        if not isinstance(data[key], dict):
            raise InvalidProblem(f"{origin}: {key} is not a JSON object")
    claims = items(data["claims"], None, f"{origin}: claims")
    return Stored(
        package_version=text("package_version"),
        flint_version=text("flint_version"),
        theorem=text("theorem"),
        mark=text("mark"),
        title=text("title"),
        source=text("source"),
        instance=read_tables(data["instance"], f"{origin}: instance"),
        parameters={
            name: _parameter(x, f"{origin}: parameters: {shorten(name)}") for name, x in parameters.items()
        },
        bits=bits,
        bases={key: _basis(x, f"{origin}: bases: {shorten(key)}") for key, x in bases.items()},
        claims=tuple(_claim(claim, f"{origin}: claims[{k}]") for k, claim in enumerate(claims)),
    )


def _claim(data: Any, what: str) -> StoredClaim:
    keys(data, CLAIM, what)
    for key, words in WORDS.items():
        if data[key] not in words:
            raise InvalidProblem(f"{what}: {key} is {shorten(str(data[key]))!r}, not {' or '.join(words)}")
    tolerance = data["tolerance"]
    if not isinstance(tolerance, float) or not 0 <= tolerance < 1:
        raise InvalidProblem(f"{what}: tolerance = {shorten(str(tolerance))} is not a number in [0, 1)")
    if not (data["vacuous"] is None or isinstance(data["vacuous"], bool)):
        raise InvalidProblem(f"{what}: vacuous is {shorten(str(data['vacuous']))!r}, not true, false or null")
    sides = data["sides"]
    if sides is not None:
        keys(sides, ("lhs", "rhs"), f"{what}: sides")
        sides = (*_pair(sides["lhs"], f"{what}: lhs"), *_pair(sides["rhs"], f"{what}: rhs"))
    return StoredClaim(
        claim=_text(data["claim"], f"{what}: claim"),
        role=data["role"],
        kind=data["kind"],
        statement=_text(data["statement"], f"{what}: statement"),
        tolerance=tolerance,
        status=data["status"],
        reason=_text(data["reason"], f"{what}: reason"),
        sides=sides,
        ratio=None if data["ratio"] is None else _pair(data["ratio"], f"{what}: ratio"),
        vacuous=data["vacuous"],
        entries=_whole(data["entries"], f"{what}: entries"),
    )


def _pair(data: Any, what: str) -> tuple[str, str]:
    low, high = (_text(x, what) for x in items(data, 2, what))
    if (low, high) != ("-inf", "inf") and decimal(low, what) > decimal(high, what):
        raise InvalidProblem(f"{what}: {shorten(low)} is above {shorten(high)}")
    return low, high


def _basis(data: Any, what: str) -> tuple[int, ...]:
    if len(items(data, None, what)) > MAX_LENGTH:
        raise InvalidProblem(f"{what} holds {len(data)} entries, at most {MAX_LENGTH} are read")
    return tuple(_whole(i, what) for i in data)


def _parameter(data: Any, what: str) -> Any:
    if isinstance(data, list):
        return [_parameter(x, what) for x in data]
    if isinstance(data, dict):
        raise InvalidProblem(f"{what} is a JSON object, not a parameter")
    return _text(data, what) if isinstance(data, str) else data


def _whole(data: Any, what: str) -> int:
    if type(data) is not int or data < 0:
        raise InvalidProblem(f"{what}: {shorten(str(data))!r} is not a whole number of at least 0")
    return data


def _text(data: Any, what: str) -> str:
    if not isinstance(data, str) or len(data) > MAX_LENGTH:
        raise InvalidProblem(f"{what}: {shorten(str(data))!r} is not text of at most {MAX_LENGTH} characters")
    return data
