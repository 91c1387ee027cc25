"""The arrays a run fills, round by round."""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms import Algorithm, Round
from tabular_fedrl.arithmetic import empty, stack
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_probabilities
from tabular_fedrl.runner.result import Iterates

ENCLOSED = ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end", "log_normaliser")
"""Fields that are enclosures: the radius is kept beside the value under ``NAME_error``."""


class Tracks:
    """Arrays with the round index first, ``K`` rounds long (``kl`` and the global policies one longer), by
    name in ``arrays``."""

    def __init__(
        self, problem: FederatedCMDP, K: int, E: int, algorithm: Algorithm, compared: bool, record: str
    ) -> None:
        N, m = problem.N, problem.cmdp.m
        S, A = problem.cmdp.S, problem.cmdp.A
        table = (S, A) if algorithm.share else (N, S, A)
        shapes: dict[str, tuple[int, ...]] = {
            "value": (K,),
            "costs": (K, m),
            "local_value": (K, N, E),
            "local_costs": (K, N, E, m),
            "multipliers": (K, N, E, m),
            "drift": (K,),
            "transitions": (K, N),
        }
        if compared:
            shapes |= {"kl": (K + 1,), "kl_local_end": (K, N)}
            if algorithm.natural:
                shapes["log_normaliser"] = (K, N, E)
        if record == "iterates":
            shapes |= {"log_policies": (K + 1, *table), "local": (K, N, E + 1, S, A)}
        self.K = K
        self.arrays: dict[str, Any] = {}
        if balls.working():
            # A ball brings its radius along.
            self.arrays = {name: empty(shape) for name, shape in shapes.items()}
            return
        shapes |= {f"{name}_error": shapes[name] for name in ENCLOSED if name in shapes}
        for name, shape in shapes.items():
            dtype = np.int64 if name == "transitions" else np.float64
            try:
                self.arrays[name] = np.zeros(shape, dtype=dtype)
            except (MemoryError, ValueError):
                raise InvalidProblem(f"{K} rounds do not fit in memory: {name} has shape {shape}") from None

    def store(self, first: int, measured: dict[str, Measured | Array], rounds: list[Round]) -> None:
        """Put the measurements of ``rounds``, which start at round ``first``, in place."""
        place = slice(first, first + len(rounds))
        for name, track in measured.items():
            if isinstance(track, Measured) and not isinstance(track, Balls):
                self.arrays[name][place] = track.value
                self.arrays[f"{name}_error"][place] = track.error
            else:
                self.arrays[name][place] = track
        if "local" in self.arrays:
            self.arrays["local"][place] = log_probabilities(stack([r.local for r in rounds]))
            self.arrays["log_policies"][place] = log_probabilities(stack([r.log_policy for r in rounds]))

    def rows(self, done: int) -> dict[str, Array]:
        """The first ``done`` rounds of every array."""
        return {name: array[:done] for name, array in self.arrays.items()}

    def restore(self, rows: dict[str, Array], done: int) -> None:
        """Put back what :meth:`rows` gave."""
        for name, array in self.arrays.items():
            array[:done] = rows[name]

    def finish(self, last_kl: Measured | None, final_log_policy: Array) -> None:
        """The entries of round K, which no step follows."""
        if isinstance(last_kl, Balls):
            self.arrays["kl"][self.K] = last_kl
        elif last_kl is not None:
            self.arrays["kl"][self.K] = last_kl.value
            self.arrays["kl_error"][self.K] = last_kl.error
        if "local" in self.arrays:
            self.arrays["log_policies"][self.K] = final_log_policy

    def fields(self) -> dict[str, Any]:
        """The fields of :class:`~tabular_fedrl.runner.result.Run` that are tracks; None for those not
        kept."""
        enclosed = {name: self._enclosed(name) if name in self.arrays else None for name in ENCLOSED}
        plain = {name: self.arrays[name] for name in ("multipliers", "drift", "transitions")}
        kept = "local" in self.arrays
        iterates = Iterates(self.arrays["log_policies"], self.arrays["local"]) if kept else None
        return {**enclosed, **plain, "iterates": iterates}

    def _enclosed(self, name: str) -> Measured:
        track = self.arrays[name]
        return track if isinstance(track, Balls) else Measured(track, self.arrays[f"{name}_error"])
