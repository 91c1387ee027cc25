"""What a run leaves behind: its metrics round by round, and their averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.solvers import Solution


@dataclass(frozen=True)
class Iterates:
    """The policies themselves: global ``log_policies (R+1, S, A)`` (``(R+1, N, S, A)`` where agents do not
    communicate), the last one pibar_K, and ``local (R, N, E+1, S, A)``, the policies before each local step
    and at the end."""

    log_policies: Array
    local: Array


@dataclass(frozen=True)
class Overall:
    """Over all K rounds, recorded or not: means of ``value``, ``costs (m,)``, ``local_value``, and of
    ``local_costs (N, m)`` for each agent; the largest ``drift``; ``transitions (N,)`` in all."""

    value: Measured
    costs: Measured
    local_value: Measured
    local_costs: Measured
    drift: Any
    transitions: Array


@dataclass(frozen=True)
class Run:
    r"""Metrics of K rounds of N agents with E local steps on a problem with m constraints. Values are
    unnormalised (units of reward or cost times :math:`1/(1-\gamma)`); every :class:`Measured` field is an
    enclosure.

    algorithm, seed, backend, rounds, local_steps: what was run. problem: the federation it ran in (one agent
    for centralised methods).
    parameters: resolved, with the steps that were used; JSON data.
    recorded: the rounds that the following arrays are of, ``(R,)``: all K of them, unless fewer were asked
        for. overall: means over all K rounds whatever is recorded.
    value: V_r of the global policies pibar_k at rho, ``(R,)``; costs: their V_c, ``(R, m)``.
        Without communication (``isolated``) both are those of the uniform mixture of the agents' policies:
        the mean over agents.
    local_value ``(R, N, E)``, local_costs ``(R, N, E, m)``: at the local policies before each local step, all
    constraints.
    multipliers: before each local step, ``(R, N, E, m)``; final_multipliers: ``(N, m)``; nan where unseen.
    kl: E_{s~d*} KL(pi*||pibar_k), ``(R+1,)``, the last of pibar_K (mean over agents without communication);
        kl_local_end: the same for the agents' policies at the end of their local steps, ``(R, N)``;
        None without comparator.
    log_normaliser: E_{s~d*} log Z of each local step, ``(R, N, E)``, Z the normaliser of the natural-gradient
        step; the radius also covers how far the step in floats is from an exact one, at pi*. None without
        comparator, or where a step is not an exact natural-gradient step.
    drift: max_i max_s ||pi_i^{k,E} - pibar_k||_1, ``(R,)``.
    transitions: simulated by each agent in each round, ``(R, N)``; 0 with exact evaluation.
    final_log_policy: pibar_K. ledger: what crossed the wire. solution: the comparator pi* and V*, or None.
    iterates: the policies, with ``record="iterates"``.
    """

    algorithm: str
    problem: FederatedCMDP
    parameters: dict[str, Any]
    seed: int
    backend: str
    rounds: int
    local_steps: int
    recorded: np.ndarray[Any, np.dtype[np.int64]]
    overall: Overall
    value: Measured
    costs: Measured
    local_value: Measured
    local_costs: Measured
    multipliers: Array
    final_multipliers: Array
    kl: Measured | None
    kl_local_end: Measured | None
    log_normaliser: Measured | None
    drift: Array
    transitions: Array
    final_log_policy: Array
    ledger: Ledger
    solution: Solution | None
    iterates: Iterates | None

    @property
    def T(self) -> int:
        """Local steps in all, K E."""
        return self.rounds * self.local_steps

    @property
    def average_value(self) -> Measured:
        """Mean of V_r over the K global policies."""
        return self.overall.value

    @property
    def average_costs(self) -> Measured:
        """Mean of every V_c over the K global policies, ``(m,)``."""
        return self.overall.costs

    @property
    def gap(self) -> Measured:
        """``V_r* - average_value``, signed."""
        if self.solution is None:
            raise InvalidProblem("the run has no comparator: run it with compare=True")
        return self.solution.value - self.average_value

    @property
    def violations(self) -> Measured:
        """``[average V_c - d]_+``, ``(m,)``."""
        return (self.average_costs - self.problem.cmdp.d).positive()

    @property
    def local_average_value(self) -> Measured:
        """Mean of V_r over the local policies before each local step."""
        return self.overall.local_value

    @property
    def local_average_costs(self) -> Measured:
        """Mean of V_{c_j} over the local policies of the agents that see constraint j, ``(m,)``."""
        mask = self.problem.mask.astype(np.float64)
        return (self.overall.local_costs * mask).sum(axis=0) / self.problem.observers.astype(np.float64)

    @property
    def bytes_up(self) -> int:
        """Bytes from agents to the server over all rounds."""
        return self.ledger.bytes_up

    @property
    def bytes_down(self) -> int:
        """Bytes from the server to agents over all rounds, the first broadcast included."""
        return self.ledger.bytes_down

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON data: no NaN (null where an agent does not see a constraint) and no infinity
        (null)."""
        compared = self.solution is not None
        return {
            "algorithm": self.algorithm,
            "parameters": _json(self.parameters),
            "rounds": self.rounds,
            "local_steps": self.local_steps,
            "agents": self.problem.N,
            "seed": self.seed,
            "backend": self.backend,
            "optimum": _json(self.solution.value.value) if self.solution else None,
            "average_value": _json(self.average_value.value),
            "average_costs": _json(self.average_costs.value),
            "thresholds": _json(self.problem.cmdp.d),
            "gap": _json(self.gap.value) if compared else None,
            "gap_error": _json(self.gap.error) if compared else None,
            "violations": _json(self.violations.value),
            "local_average_value": _json(self.local_average_value.value),
            "local_average_costs": _json(self.local_average_costs.value),
            "final_multipliers": _json(self.final_multipliers),
            "kl_first": _json(self.kl.value[0]) if self.kl else None,
            "kl_last": _json(self.kl.value[-1]) if self.kl else None,
            "largest_drift": _json(self.overall.drift),
            "transitions": int(self.overall.transitions.sum()),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "ledger": _json(self.ledger.to_dict()),
        }


def _json(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(key): _json(value) for key, value in x.items()}
    if isinstance(x, np.ndarray | np.generic):
        x = x.tolist()
    if isinstance(x, list | tuple):
        return [_json(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
