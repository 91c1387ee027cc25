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
    """``label``: in the table; ``place``: ``module:attribute``; ``needs``: the library, as it is imported;
    ``threads``: None for every core."""

    label: str
    place: str
    needs: str = "tabular_fedrl"
    threads: int | None = None

    @property
    def installed(self) -> bool:
        return find_spec(self.needs) is not None

    def load(self) -> Method:
        module, _, attribute = self.place.partition(":")
        return getattr(import_module(module), attribute)


def _entry(label: str, place: str, needs: str = "tabular_fedrl", threads: int | None = None) -> Entry:
    return Entry(label, f"{__name__}.{place}", needs, threads)


ENTRIES: dict[str, Entry] = {
    "optimum": _entry("ours", "ours:OPTIMUM"),
    "optimum-one-thread": _entry("ours on one thread", "ours:OPTIMUM", threads=1),
    "evaluation": _entry("ours", "ours:EVALUATION"),
    "constrained": _entry("ours", "ours:CONSTRAINED"),
    "rounds": _entry("ours, compiled", "rounds:COMPILED"),
    "rounds-batch": _entry("ours, compiled, 1000 problems side by side", "rounds:BATCH"),
    "rounds-numpy": _entry("the NumPy specification", "rounds:SPECIFICATION"),
    "verification": _entry("ours", "verification:VERIFY"),
    "verify-run": _entry("the run alone", "verification:RUN"),
    "quantecon-mpi": _entry("QuantEcon, modified policy iteration", "quantecon_:MODIFIED", "quantecon"),
    "quantecon-pi": _entry("QuantEcon, policy iteration", "quantecon_:HOWARD", "quantecon"),
    "mdpsolver": _entry("mdpsolver, modified policy iteration", "mdpsolver_:SERIAL", "mdpsolver"),
    "mdpsolver-openmp": _entry("mdpsolver, the same with OpenMP", "mdpsolver_:PARALLEL", "mdpsolver"),
    "storm": _entry("Storm, discounted value iteration", "storm:DISCOUNTED", "stormpy"),
    "storm-multi": _entry("Storm, multi-objective", "storm:MULTI", "stormpy"),
    "scipy-splu": _entry("SciPy, sparse LU", "scipy_:LU"),
    "scipy-bicgstab": _entry("SciPy, BiCGSTAB", "scipy_:KRYLOV"),
    "lp-highs": _entry("LP by cvxpy, HiGHS", "occupancy_lp:HIGHS"),
    "lp-clarabel": _entry("LP by cvxpy, Clarabel", "occupancy_lp:CLARABEL"),
    "lp-scs": _entry("LP by cvxpy, SCS", "occupancy_lp:SCS", "scs"),
}
"""By the name that a row of the plan uses."""


def behaviour(cmdp: CMDP) -> Array:
    """The log-policy that the rows on evaluation evaluate: seeded random logits, ``(S, A)``."""
    logits = np.random.default_rng(cmdp.S).normal(size=(cmdp.S, cmdp.A))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
