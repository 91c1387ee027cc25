r"""Exact problems as JSON: every number a fraction in lowest terms, as text.

.. code-block:: json

    {"states": 2, "actions": 1, "constraints": 1, "gamma": "9/10", "rho": {"0": "1"}, "d": ["1/4"],
     "r": [["1"], ["0"]], "c": [[["0"], ["1"]]], "P": [[{"0": "1/3", "1": "2/3"}], [{"1": "1"}]],
     "visible": [[0]]}

A distribution (rho, a row of P) lists the probabilities of the states it can reach, which sum to exactly 1;
``state_names`` and ``action_names`` may follow. A large problem is the zlib-compressed text of the same,
base64, under the key ``zlib``.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import limit_exact
from tabular_fedrl.instances.strict_json import canonical, parse
from tabular_fedrl.instances.text import shorten

MAX_DIGITS = 4000
"""Characters of a fraction."""
MAX_TEXT = 2**26
"""Bytes that a compressed problem may unpack to."""
READABLE = 2**14
"""Bytes up to which a problem is not compressed."""

NAMES = ("state_names", "action_names")
KEYS = ("states", "actions", "constraints", "gamma", "rho", "d", "r", "c", "P", "visible")
_FRACTION = re.compile(r"-?(0|[1-9][0-9]*)(/[1-9][0-9]*)?")


@dataclass(frozen=True)
class Tables:
    """The numbers of a problem, arrays of ``fmpq`` (dtype object): ``P (S, A, S)``, ``r (S, A)``,
    ``c (m, S, A)``, ``d (m,)``, ``rho (S,)``."""

    P: Any
    r: Any
    c: Any
    d: Any
    rho: Any
    gamma: fmpq
    visible: list[list[int]]
    state_names: list[str] | None
    action_names: list[str] | None

    def problem(self) -> FederatedCMDP:
        """The problem that they describe.

        Raises
        ------
        InvalidProblem: as the constructors do.
        """
        cmdp = CMDP.exact(
            self.P, self.r, self.c, self.d, self.rho, self.gamma,
            state_names=self.state_names, action_names=self.action_names,
        )  # fmt: skip
        return FederatedCMDP(cmdp, self.visible)


def to_json(problem: FederatedCMDP) -> dict[str, Any]:
    """The JSON object of an exact problem.

    Raises
    ------
    InvalidProblem: a number with more than :data:`MAX_DIGITS` characters.
    """
    cmdp: Any = problem.cmdp
    data: dict[str, Any] = {
        "states": cmdp.S,
        "actions": cmdp.A,
        "constraints": cmdp.m,
        "gamma": _text(cmdp.gamma.items[()]),
        "rho": _row(cmdp.rho.items),
        "d": _nested(cmdp.d.items.tolist()),
        "r": _nested(cmdp.r.items.tolist()),
        "c": _nested(cmdp.c.items.tolist()),
        "P": [[_row(row) for row in rows] for rows in cmdp.P.items],
        "visible": [list(seen) for seen in problem.visible],
    }
    for key in NAMES:
        if getattr(cmdp, key) is not None:
            data[key] = list(getattr(cmdp, key))
    text = canonical(data)
    if len(text) <= READABLE:
        return data
    return {"zlib": base64.b64encode(zlib.compress(text, 9)).decode("ascii")}


def from_json(data: Any, what: str = "the problem") -> FederatedCMDP:
    """The exact problem in a JSON object.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    return read_tables(data, what).problem()


def read_tables(data: Any, what: str = "the problem") -> Tables:
    """The numbers in a JSON object, every limit checked.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    if isinstance(data, dict) and set(data) == {"zlib"}:
        data = parse(_unpacked(data["zlib"], what), what)
    keys(data, KEYS, what, optional=NAMES)
    S, A, m = (_size(data[key], low, f"{what}: {key}") for key, low in zip(KEYS, (1, 1, 0)))
    limit_exact(what, S, A)
    gamma = number(data["gamma"], f"{what}: gamma")
    if not 0 <= gamma < 1:
        raise InvalidProblem(f"{what}: gamma = {shorten(str(gamma))} is outside [0, 1)")
    rows = [
        _distribution(row, S, f"{what}: P[{s}, {a}]")
        for s, of_state in enumerate(items(data["P"], S, f"{what}: P"))
        for a, row in enumerate(items(of_state, A, f"{what}: P[{s}]"))
    ]
    P = np.array(rows, dtype=object).reshape(S, A, S)
    visible = [
        [_size(j, 0, f"{what}: visible[{i}]") for j in items(seen, None, f"{what}: visible[{i}]")]
        for i, seen in enumerate(items(data["visible"], None, f"{what}: visible"))
    ]
    names = [
        _names(data[key], size, f"{what}: {key}") if key in data else None for key, size in zip(NAMES, (S, A))
    ]
    return Tables(
        P,
        _table(data["r"], (S, A), f"{what}: r"),
        _table(data["c"], (m, S, A), f"{what}: c"),
        _table(data["d"], (m,), f"{what}: d"),
        np.array(_distribution(data["rho"], S, f"{what}: rho"), dtype=object),
        gamma,
        visible,
        *names,
    )


# ---- strict parts, of use to other files of the package ---------------------------------------------------
def keys(data: Any, wanted: Sequence[str], what: str, optional: Sequence[str] = ()) -> None:
    """Refuse anything but a JSON object with these keys."""
    if not isinstance(data, dict):
        raise InvalidProblem(f"{what} is not a JSON object")
    missing = [key for key in wanted if key not in data]
    if missing:
        raise InvalidProblem(f"{what}: the key {missing[0]!r} is missing")
    unknown = sorted(set(data) - {*wanted, *optional})
    if unknown:
        raise InvalidProblem(f"{what}: the key {shorten(unknown[0])!r} is unknown")


def items(data: Any, size: int | None, what: str) -> list[Any]:
    """Refuse anything but a list (of this length)."""
    if not isinstance(data, list):
        raise InvalidProblem(f"{what} is not a list")
    if size is not None and len(data) != size:
        raise InvalidProblem(f"{what} holds {len(data)} entries, not {size}")
    return data


def number(data: Any, what: str) -> fmpq:
    """A fraction in lowest terms, as text."""
    if not isinstance(data, str) or len(data) > MAX_DIGITS or not _FRACTION.fullmatch(data):
        raise InvalidProblem(f"{what}: {shorten(str(data))!r} is not a fraction such as '1/3'")
    value = fmpq(data)
    if str(value) != data:
        raise InvalidProblem(f"{what}: {shorten(data)!r} is not in lowest terms")
    return value


# ---- parts -------------------------------------------------------------------------------------------------
def _unpacked(data: Any, what: str) -> bytes:
    if not isinstance(data, str):
        raise InvalidProblem(f"{what}: zlib is not text")
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode(data, validate=True), MAX_TEXT)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise InvalidProblem(f"{what}: the compressed text is damaged ({error})") from None
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidProblem(f"{what}: the compressed text is cut off, or larger than {MAX_TEXT} bytes")
    return text


def _size(data: Any, low: int, what: str) -> int:
    if type(data) is not int or data < low:
        raise InvalidProblem(f"{what}: {shorten(str(data))!r} is not a whole number of at least {low}")
    return data


def _names(data: Any, size: int, what: str) -> list[str]:
    for name in items(data, size, what):
        if not isinstance(name, str):
            raise InvalidProblem(f"{what}: {shorten(str(name))!r} is not text")
    return list(data)


def _table(data: Any, shape: tuple[int, ...], what: str) -> Any:
    out = np.empty(shape, dtype=object)

    def fill(part: Any, place: tuple[int, ...]) -> None:
        where = f"{what}[{', '.join(map(str, place))}]" if place else what
        if len(place) == len(shape):
            out[place] = number(part, where)
            return
        for i, inner in enumerate(items(part, shape[len(place)], where)):
            fill(inner, (*place, i))

    fill(data, ())
    return out


def _distribution(data: Any, S: int, what: str) -> list[fmpq]:
    row = [fmpq(0)] * S
    if not isinstance(data, dict):
        raise InvalidProblem(f"{what} is not a JSON object of states and their probabilities")
    for state, probability in data.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", state) or int(state) >= S:
            raise InvalidProblem(f"{what}: {shorten(state)!r} is not a state (0..{S - 1})")
        row[int(state)] = number(probability, f"{what}[{state}]")
        if not row[int(state)] > 0:
            raise InvalidProblem(f"{what}[{state}] = {shorten(probability)} is not positive")
    total = sum(row, fmpq(0))
    if total != 1:
        raise InvalidProblem(f"{what} sums to {shorten(str(total))}, not to 1")
    return row


def _text(x: fmpq) -> str:
    text = str(x)
    if len(text) > MAX_DIGITS:
        raise InvalidProblem(
            f"the number {shorten(text, 30)} has {len(text)} characters, a file takes {MAX_DIGITS}"
        )
    return text


def _row(x: Any) -> dict[str, str]:
    return {str(s): _text(p) for s, p in enumerate(x) if p != 0}


def _nested(x: Any) -> Any:
    return [_nested(part) for part in x] if isinstance(x, list) else _text(x)
