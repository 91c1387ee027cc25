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
    ``threads``: None for every core; ``compilation``: seconds that a first call may take beyond the limit."""

    label: str
    place: str
    needs: str = "tabular_fedrl"
    threads: int | None = None
    compilation: float = 0.0

    @property
    def installed(self) -> bool:
        return find_spec(self.needs) is not None

    def load(self) -> Method:
        module, _, attribute = self.place.partition(":")
        return getattr(import_module(module), attribute)


def _ours(label: str, place: str, threads: int | None = None) -> Entry:
    # Nothing is on disk yet where the package has just been installed.
    return Entry(label, f"{__name__}.{place}", threads=threads, compilation=300.0)


def _peer(label: str, place: str, needs: str) -> Entry:
    return Entry(label, f"{__name__}.{place}", needs)


ENTRIES: dict[str, Entry] = {
    "optimum": _ours("ours", "ours:OPTIMUM"),
    "optimum-one-thread": _ours("ours on one thread", "ours:OPTIMUM", threads=1),
    "evaluation": _ours("ours", "ours:EVALUATION"),
    "evaluation-values": _ours("ours, values alone", "ours:VALUES_ALONE"),
    "constrained": _ours("ours", "ours:CONSTRAINED"),
    "rounds": _ours("ours, compiled", "rounds:COMPILED"),
    "batch": _ours("ours, compiled, for each of 1000 problems side by side", "rounds:BATCH"),
    "rounds-numpy": _ours("the NumPy specification", "rounds:SPECIFICATION"),
    "verification": _ours("ours", "verification:VERIFY"),
    "verification-run": _ours("the run alone", "verification:RUN"),
    "quantecon-mpi": _peer("QuantEcon, modified policy iteration", "quantecon_:MODIFIED", "quantecon"),
    "quantecon-pi": _peer("QuantEcon, policy iteration", "quantecon_:HOWARD", "quantecon"),
    "mdpsolver": _peer("mdpsolver, modified policy iteration", "mdpsolver_:MODIFIED", "mdpsolver"),
    "storm": _peer("Storm, discounted value iteration", "storm:DISCOUNTED", "stormpy"),
    "storm-multi": _peer("Storm, multi-objective", "storm:MULTI", "stormpy"),
    "scipy-splu": _peer("SciPy, sparse LU", "scipy_:LU", "scipy"),
    "scipy-bicgstab": _peer("SciPy, BiCGSTAB", "scipy_:KRYLOV", "scipy"),
    "lp-highs": _peer("LP by cvxpy, HiGHS", "occupancy_lp:HIGHS", "highspy"),
    "lp-clarabel": _peer("LP by cvxpy, Clarabel", "occupancy_lp:CLARABEL", "clarabel"),
    "lp-scs": _peer("LP by cvxpy, SCS", "occupancy_lp:SCS", "scs"),
}
"""By the name that a row of the plan uses."""


def behaviour(cmdp: CMDP) -> Array:
    """The log-policy that the rows on evaluation evaluate: seeded random logits, ``(S, A)``."""
    logits = np.random.default_rng(cmdp.S).normal(size=(cmdp.S, cmdp.A))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
