r"""Exact problems as JSON: every number a fraction in lowest terms, as text.

.. code-block:: json

    {"states": 2, "actions": 1, "constraints": 1, "gamma": "9/10", "rho": {"0": "1"}, "d": ["1/4"],
     "r": [["1"], ["0"]], "c": [[["0"], ["1"]]], "P": [[{"0": "1/3", "1": "2/3"}], [{"1": "1"}]],
     "visible": [[0]]}

A distribution (rho, a row of P) lists the probabilities of the states it can reach, which sum to exactly 1;
``state_names`` and ``action_names`` may follow. Finite-horizon problems:
:mod:`tabular_fedrl.instances.episodic_json`. A large problem is the zlib-compressed text of the same,
base64, under the key ``zlib``.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import limit_exact
from tabular_fedrl.instances.episodic_json import EpisodicTables, episodic_data, read_episodic
from tabular_fedrl.instances.json_parts import (
    NAMES,
    distribution,
    fraction,
    fractions,
    items,
    kernel,
    keys,
    labels,
    masses,
    names_of,
    number,
    table,
    whole,
)
from tabular_fedrl.instances.strict_json import canonical, parse
from tabular_fedrl.instances.text import shorten

MAX_TEXT = 2**26
"""Bytes that a compressed problem may unpack to."""
READABLE = 2**14
"""Bytes up to which a problem is not compressed."""

KEYS = ("states", "actions", "constraints", "gamma", "rho", "d", "r", "c", "P", "visible")


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

    @property
    def sizes(self) -> str:
        """In words."""
        return f"{len(self.r)} states, {len(self.r[0])} actions, {len(self.d)} constraints"

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


def to_json(problem: FederatedCMDP | FederatedEpisodicMDP) -> dict[str, Any]:
    """The JSON object of an exact problem.

    Raises
    ------
    InvalidProblem: a number with more characters than a file takes.
    """
    data = _discounted(problem) if isinstance(problem, FederatedCMDP) else episodic_data(problem)
    text = canonical(data)
    if len(text) <= READABLE:
        return data
    return {"zlib": base64.b64encode(zlib.compress(text, 9)).decode("ascii")}


def _discounted(problem: FederatedCMDP) -> dict[str, Any]:
    cmdp: Any = problem.cmdp
    return {
        "states": cmdp.S,
        "actions": cmdp.A,
        "constraints": cmdp.m,
        "gamma": fraction(cmdp.gamma.items[()]),
        "rho": masses(cmdp.rho.items),
        "d": fractions(cmdp.d.items.tolist()),
        "r": fractions(cmdp.r.items.tolist()),
        "c": fractions(cmdp.c.items.tolist()),
        "P": [[masses(row) for row in rows] for rows in cmdp.P.items],
        "visible": [list(seen) for seen in problem.visible],
        **names_of(cmdp),
    }


def from_json(data: Any, what: str = "the problem") -> FederatedCMDP | FederatedEpisodicMDP:
    """The exact problem in a JSON object.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    return read_tables(data, what).problem()


def read_tables(data: Any, what: str = "the problem") -> Tables | EpisodicTables:
    """The numbers in a JSON object, every limit checked.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    if isinstance(data, dict) and set(data) == {"zlib"}:
        data = parse(_unpacked(data["zlib"], what), what)
    if isinstance(data, dict) and "steps" in data:
        return read_episodic(data, what)
    keys(data, KEYS, what, optional=NAMES)
    S, A, m = (whole(data[key], low, f"{what}: {key}") for key, low in zip(KEYS, (1, 1, 0)))
    limit_exact(what, S, A)
    gamma = number(data["gamma"], f"{what}: gamma")
    if not 0 <= gamma < 1:
        raise InvalidProblem(f"{what}: gamma = {shorten(str(gamma))} is outside [0, 1)")
    visible = [
        [whole(j, 0, f"{what}: visible[{i}]") for j in items(seen, None, f"{what}: visible[{i}]")]
        for i, seen in enumerate(items(data["visible"], None, f"{what}: visible"))
    ]
    return Tables(
        kernel(data["P"], S, A, f"{what}: P"),
        table(data["r"], (S, A), f"{what}: r"),
        table(data["c"], (m, S, A), f"{what}: c"),
        table(data["d"], (m,), f"{what}: d"),
        np.array(distribution(data["rho"], S, f"{what}: rho"), dtype=object),
        gamma,
        visible,
        *labels(data, S, A, what),
    )


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
