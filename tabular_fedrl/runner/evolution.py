"""Running Fed-SE, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.fed_se import Choice, fed_se
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, environments, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.instances.text import suggestion
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner.settings import whole

FED_SE = "fed-se"
SUMMARY = "clients that learn from their own successes, with averaged low-rank adapters (finite horizon)"
PARAMETERS: dict[str, Any] = {name: value for name, value in asdict(Choice()).items() if name != "seed"}
"""Those of :class:`~tabular_fedrl.algorithms.fed_se.Choice`, the seed apart, with their defaults."""


@dataclass(frozen=True)
class EvolutionRun:
    """What T rounds did, measured before each of them and after the last.

    value: the clients' probabilities of success with the policies that they play, ``(T+1, K)``, with rigorous
    bounds for these policies. policies: the last ones, ``(K, H, S, A)``. bits: sent by all so far,
    ``(T+1,)``.
    """

    problem: FederatedEpisodicMDP
    parameters: dict[str, Any]
    rounds: int
    seed: int
    value: Measured
    policies: Any
    bits: np.ndarray[Any, np.dtype[np.int64]]
    ledger: Ledger

    def to_dict(self) -> dict[str, Any]:
        """The first and the last of everything, as plain numbers."""
        return {
            "algorithm": FED_SE,
            "rounds": self.rounds,
            "seed": self.seed,
            "parameters": self.parameters,
            "clients": self.problem.N,
            "success": {"first": self.value.value[0].tolist(), "last": self.value.value[-1].tolist()},
            "error": float(self.value.error.max()),
            "bits_up": self.ledger.bits("up"),
            "bits_down": self.ledger.bits("down"),
        }


def run_evolution(
    problem: EpisodicMDP | FederatedEpisodicMDP,
    rounds: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **parameters: Any,
) -> EvolutionRun:
    """Run Fed-SE from the uniform policy; inside ``balls.precision(...)``, on a problem of exact data, in
    balls.

    ``parameters``: those of :data:`PARAMETERS`; rank None (full), aggregation None (nobody sends) and
    episodes None (exact buffers) are values of their own.

    Raises
    ------
    InvalidProblem: an unknown name, a value out of range, rewards that are no success.
    """
    suite, T, seed = environments(problem), whole("rounds", rounds, 1), whole("seed", seed, 0)
    if suite.is_exact != bool(balls.working()):
        raise InvalidProblem("a problem of exact data, and no other, runs inside balls.precision(...)")
    choice, ledger = _choice(parameters, seed), Ledger()
    steps = fed_se(suite, choice, ledger)
    values, bits, policies = [], [], None
    for t in range(T + 1):
        policies = next(steps).policies
        p = Measured.of(policies)
        values.append(start_value(suite, p / p.sum(-1)[..., None]))
        bits.append(ledger.bits("down") + ledger.bits("up"))
        if progress is not None:
            progress(min(t + 1, T), T)
    given = {name: getattr(choice, name) for name in PARAMETERS}
    return EvolutionRun(suite, given, T, seed, Measured.stack(values), policies, np.array(bits), ledger)


def _choice(parameters: dict[str, Any], seed: int) -> Choice:
    for name in parameters:
        if name not in PARAMETERS:
            raise InvalidProblem(f"{FED_SE} has no parameter {name!r}{suggestion(name, PARAMETERS)}")
    given = {**PARAMETERS, **parameters}
    for name in ("rank", "episodes", "sweeps"):
        if given[name] is not None or name == "sweeps":
            given[name] = whole(name, given[name], 1)
    for name in ("by_successes", "filtered", "cumulative"):
        if not isinstance(given[name], bool):
            raise InvalidProblem(f"{name} = {given[name]!r}: expected true or false")
    return Choice(**given, seed=seed)
