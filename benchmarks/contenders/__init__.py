"""Who takes part: each method as three steps, of which only the middle one is timed.

A method lives in a module of this folder that imports its library at the top, so that only the process that
runs it ever loads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Method:
    """``fresh(problem, **settings)``: the problem in the method's own format, nothing warm (untimed);
    ``solve``: the work (timed); ``answer``: named arrays for the check (untimed); ``units``: problems solved
    by one call."""

    fresh: Callable[..., Any]
    solve: Callable[[Any], Any]
    answer: Callable[[Any], dict[str, Any]]
    units: int = 1


@dataclass(frozen=True)
class Entry:
    """``label``: in the table; ``place``: ``module:attribute`` below this package; ``needs``: the library, as
    it is imported; ``threads``: None for every core."""

    label: str
    place: str
    needs: str = "tabular_fedrl"
    threads: int | None = None

    @property
    def installed(self) -> bool:
        return find_spec(self.needs) is not None

    def load(self) -> Method:
        module, _, attribute = self.place.partition(":")
        return getattr(import_module(f"benchmarks.contenders.{module}"), attribute)


ENTRIES: dict[str, Entry] = {
    "optimum": Entry("ours", "ours:OPTIMUM"),
    "optimum-one-thread": Entry("ours on one thread", "ours:OPTIMUM", threads=1),
    "evaluation": Entry("ours", "ours:EVALUATION"),
    "constrained": Entry("ours", "ours:CONSTRAINED"),
    "rounds": Entry("ours, compiled", "rounds:COMPILED"),
    "rounds-batch": Entry("ours, compiled, 1000 problems side by side", "rounds:BATCH"),
    "rounds-numpy": Entry("the NumPy specification", "rounds:SPECIFICATION"),
    "verification": Entry("ours", "verification:VERIFY"),
    "verify-run": Entry("the run alone", "verification:RUN"),
    "quantecon-mpi": Entry("QuantEcon, modified policy iteration", "quantecon_:MODIFIED", "quantecon"),
    "quantecon-pi": Entry("QuantEcon, policy iteration", "quantecon_:HOWARD", "quantecon"),
    "mdpsolver": Entry("mdpsolver, modified policy iteration", "mdpsolver_:SERIAL", "mdpsolver"),
    "mdpsolver-openmp": Entry("mdpsolver, the same with OpenMP", "mdpsolver_:PARALLEL", "mdpsolver"),
    "storm": Entry("Storm, discounted value iteration", "storm:DISCOUNTED", "stormpy"),
    "storm-multi": Entry("Storm, multi-objective", "storm:MULTI", "stormpy"),
    "scipy-splu": Entry("SciPy, sparse LU", "scipy_:LU"),
    "scipy-bicgstab": Entry("SciPy, BiCGSTAB", "scipy_:KRYLOV"),
    "lp-highs": Entry("LP by cvxpy, HiGHS", "occupancy_lp:HIGHS"),
    "lp-clarabel": Entry("LP by cvxpy, Clarabel", "occupancy_lp:CLARABEL"),
    "lp-scs": Entry("LP by cvxpy, SCS", "occupancy_lp:SCS", "scs"),
}
"""By the name that a row of the plan uses."""


def behaviour(cmdp: CMDP) -> Array:
    """The log-policy that the rows on evaluation evaluate: seeded random logits, ``(S, A)``."""
    logits = np.random.default_rng(cmdp.S).normal(size=(cmdp.S, cmdp.A))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
