"""The arrays a run fills with the metrics of its recorded rounds, stretch by stretch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import empty
from tabular_fedrl.balls import Balls
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner.engine import Stretch, Task
from tabular_fedrl.runner.result import Iterates

ENCLOSED = ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end", "log_normaliser")
"""Fields that are enclosures: the radius is kept beside the value under ``NAME_error``."""


class Tracks:
    """``arrays`` by name, the index of the recorded round first, R long (``kl`` and the global policies one
    longer); ``normaliser``: whether the engine gives ``log_normaliser``."""

    def __init__(self, task: Task, normaliser: bool = True) -> None:
        N, m, E = task.problem.N, task.problem.cmdp.m, task.local_steps
        S, A = task.problem.cmdp.S, task.problem.cmdp.A
        table = (S, A) if task.algorithm.share else (N, S, A)
        R = 1 + -(-(task.rounds - 1) // task.every)
        shapes: dict[str, tuple[int, ...]] = {
            "value": (R,),
            "costs": (R, m),
            "local_value": (R, N, E),
            "local_costs": (R, N, E, m),
            "multipliers": (R, N, E, m),
            "drift": (R,),
            "transitions": (R, N),
        }
        if task.observer.comparator is not None:
            shapes |= {"kl": (R + 1,), "kl_local_end": (R, N)}
            if task.algorithm.natural and normaliser:
                shapes["log_normaliser"] = (R, N, E)
        if task.iterates:
            shapes |= {"log_policies": (R + 1, *table), "local": (R, N, E + 1, S, A)}
        self.task, self.R = task, R
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
                raise InvalidProblem(
                    f"{task.rounds} rounds do not fit in memory: {name} has shape {shape}; record fewer "
                    "of them (every=...)"
                ) from None

    def store(self, first: int, stretch: Stretch) -> None:
        """Put the measurements of a stretch that starts at round ``first`` in place."""
        last = stretch.state.round
        recorded = self.task.recorded(first, last)
        place = slice(self._place(first), self._place(last))
        for name in stretch.every_round.keys() & self.arrays.keys():
            self._put(name, place, stretch.every_round[name][recorded - first])
        for name, track in stretch.recorded.items():
            self._put(name, place, track)

    def _place(self, k: int) -> int:
        """How many recorded rounds come before round k."""
        return self.R if k == self.task.rounds else -(-k // self.task.every)

    def _put(self, name: str, place: slice | int, track: Any) -> None:
        if isinstance(track, Measured) and not isinstance(track, Balls):
            self.arrays[name][place] = track.value
            self.arrays[f"{name}_error"][place] = track.error
        else:
            self.arrays[name][place] = track

    def rows(self, done: int) -> dict[str, Array]:
        """Everything about the first ``done`` rounds."""
        return {name: array[: self._place(done)] for name, array in self.arrays.items()}

    def restore(self, rows: dict[str, Array], done: int) -> None:
        """Put back what :meth:`rows` gave."""
        for name, array in self.arrays.items():
            array[: self._place(done)] = rows[name]

    def finish(self, last_kl: Measured | None, final_log_policy: Array) -> None:
        """The entries of round K, which no step follows."""
        if last_kl is not None:
            self._put("kl", self.R, last_kl)
        if "local" in self.arrays:
            self.arrays["log_policies"][self.R] = final_log_policy

    def fields(self) -> dict[str, Any]:
        """The fields of :class:`~tabular_fedrl.runner.result.Run` that are tracks; None for those not
        kept."""
        enclosed = {name: self._enclosed(name) if name in self.arrays else None for name in ENCLOSED}
        plain = {name: self.arrays[name] for name in ("multipliers", "drift", "transitions")}
        kept = "local" in self.arrays
        iterates = Iterates(self.arrays["log_policies"], self.arrays["local"]) if kept else None
        return {
            **enclosed,
            **plain,
            "iterates": iterates,
            "recorded": self.task.recorded(0, self.task.rounds),
        }

    def _enclosed(self, name: str) -> Measured:
        track = self.arrays[name]
        return track if isinstance(track, Balls) else Measured(track, self.arrays[f"{name}_error"])
