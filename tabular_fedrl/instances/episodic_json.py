r"""Exact finite-horizon problems as JSON, in the manner of :mod:`tabular_fedrl.instances.rational_json`.

.. code-block:: json

    {"states": 1, "actions": 2, "steps": 3, "environments":
     [{"rho": {"0": "1"}, "P": [[[{"0": "1"}, {"0": "1"}]]], "r": [[["0", "1/2"]]]}]}

``P`` and ``r`` hold the tables of all steps, or a single one where they do not change with time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import DENSE_ENTRIES, limit_exact
from tabular_fedrl.instances.episodic_draft import EpisodicDraft
from tabular_fedrl.instances.json_parts import (
    NAMES,
    distribution,
    fractions,
    items,
    kernel,
    keys,
    labels,
    masses,
    names_of,
    table,
    whole,
)

KEYS = ("states", "actions", "steps", "environments")


@dataclass(frozen=True)
class EpisodicTables:
    """The numbers of a finite-horizon problem: ``(P, r, rho)`` of every environment, arrays of ``fmpq`` with
    an axis of steps before P and r."""

    parts: tuple[tuple[Any, Any, Any], ...]
    H: int
    state_names: list[str] | None
    action_names: list[str] | None

    @property
    def sizes(self) -> str:
        """In words."""
        S, A = self.parts[0][1].shape[1:]
        return f"{S} states, {A} actions, {self.H} steps, {len(self.parts)} environments"

    def problem(self) -> FederatedEpisodicMDP:
        """The problem that they describe.

        Raises
        ------
        InvalidProblem: as the constructors do.
        """
        names = {"state_names": self.state_names, "action_names": self.action_names}
        parts = [tuple(x[0] if x.ndim > 1 and len(x) == 1 else x for x in part) for part in self.parts]
        return FederatedEpisodicMDP([EpisodicMDP.exact(P, r, rho, self.H, **names) for P, r, rho in parts])


def episodic_data(problem: FederatedEpisodicMDP) -> dict[str, Any]:
    """The JSON object of an exact problem, not compressed."""
    draft = EpisodicDraft.of("", problem)
    environments = []
    for P, r, rho in draft.parts:
        kernels = P.items if P.ndim == 4 else P.items[None]
        rewards = r.items if r.ndim == 3 else r.items[None]
        environments.append(
            {
                "rho": masses(rho.items),
                "P": [[[masses(row) for row in rows] for rows in one] for one in kernels],
                "r": fractions(rewards.tolist()),
            }
        )
    return {
        "states": problem.S,
        "actions": problem.A,
        "steps": problem.H,
        "environments": environments,
        **names_of(problem.mdps[0]),
    }


def read_episodic(data: Any, what: str) -> EpisodicTables:
    """The numbers in a JSON object, every limit checked.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    keys(data, KEYS, what, optional=NAMES)
    S, A, H = (whole(data[key], 1, f"{what}: {key}") for key in KEYS[:3])
    limit_exact(what, S, A)
    parts: list[tuple[Any, Any, Any]] = []
    for i, one in enumerate(items(data["environments"], None, f"{what}: environments")):
        place = f"{what}: environments[{i}]"
        keys(one, ("rho", "P", "r"), place)
        kernels, rewards = (_steps(one[key], H, f"{place}: {key}") for key in ("P", "r"))
        if (len(parts) + 1) * len(kernels) * S * A * S > DENSE_ENTRIES:
            raise InvalidProblem(f"{place}: P holds more entries than exact arithmetic takes")
        P = np.stack([kernel(x, S, A, f"{place}: P[{h}]") for h, x in enumerate(kernels)])
        r = np.stack([table(x, (S, A), f"{place}: r[{h}]") for h, x in enumerate(rewards)])
        parts.append((P, r, np.array(distribution(one["rho"], S, f"{place}: rho"), dtype=object)))
    return EpisodicTables(tuple(parts), H, *labels(data, S, A, what))


def _steps(data: Any, H: int, what: str) -> list[Any]:
    tables = items(data, None, what)
    if len(tables) not in (1, H):
        raise InvalidProblem(f"{what} holds {len(tables)} tables for {H} steps: expected 1 or {H}")
    return tables
