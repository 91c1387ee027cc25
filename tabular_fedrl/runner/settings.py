"""A run's parameters: checked, named in errors, resolved to what is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms import ALGORITHMS, Algorithm
from tabular_fedrl.algorithms.preference_registry import PREFERENCE_ALGORITHMS
from tabular_fedrl.arithmetic import array
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import PublicSteps
from tabular_fedrl.instances.text import suggestion
from tabular_fedrl.measured import Array
from tabular_fedrl.validation import LARGEST_WHOLE


def resolve(algorithm: Algorithm, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of the algorithm, the given ones in place of their defaults."""
    for name in parameters:
        if name not in algorithm.parameters:
            close = suggestion(name, algorithm.parameters)
            raise InvalidProblem(f"{algorithm.name} has no parameter {name!r}{close}")
    values = dict(algorithm.parameters)
    values.update({name: value for name, value in parameters.items() if value is not None})
    if values.get("eta") is not None and not isinstance(values["eta"], Balls):
        eta = number("eta", values["eta"])
        if eta < 0:
            raise InvalidProblem(f"eta = {eta:g} is negative")
        values["eta"] = array(eta) if balls.working() else eta
    for name, words in algorithm.choices.items():
        if name in values:
            one_of(name, values[name], words)
    for name, least in algorithm.whole.items():
        if name in values:
            values[name] = whole(name, values[name], least)
    return values


def resolved_parameters(given: Mapping[str, Any], steps: PublicSteps) -> dict[str, Any]:
    """The parameters with the steps that are used, as JSON data; steps in balls stay balls."""
    resolved = {name: _plain(value) for name, value in given.items()}
    resolved["eta"] = steps.eta
    for name, table in (("eta_dual", steps.eta_dual), ("dual_cap", steps.dual_cap)):
        # One number where all constraints share it; 0 where there is none.
        if isinstance(table, Balls):
            shared = len(table) <= 1 or (table.is_rational and (table == table[:1]).all())
            resolved[name] = table.max(initial=0.0) if shared else table
            continue
        resolved[name] = float(table.max(initial=0.0)) if (table == table[:1]).all() else table.tolist()
    return resolved


def _plain(x: Any) -> Any:
    """Python numbers and lists."""
    return np.asarray(x, dtype=np.float64).tolist() if isinstance(x, np.ndarray | list | tuple) else x


def initial_multipliers(problem: FederatedCMDP, value: Any, cap: Array) -> Array:
    """Initial multipliers ``(N, m)`` from a number, ``(m,)`` or ``(N, m)`` numbers."""
    shape = (problem.N, problem.cmdp.m)
    x = array(value)
    if x.ndim and x.shape not in (shape, shape[1:]):
        raise InvalidProblem(
            f"initial_multipliers has shape {x.shape}: expected a number, {shape[1:]} or {shape}"
        )
    table = x + np.zeros(shape)
    if not ((table >= 0) & (cap >= table)).all():
        raise InvalidProblem("initial_multipliers must lie between 0 and the dual cap")
    return table


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as a whole number from ``least`` on, of 64 bits."""
    count = value if isinstance(value, int) else number(name, value)
    if count != int(count) or count < least:
        raise InvalidProblem(f"{name} = {value!r}: expected a whole number from {least} on")
    if count > LARGEST_WHOLE:
        raise InvalidProblem(f"{name} = {value!r}: expected a whole number up to {LARGEST_WHOLE}")
    return int(count)


def number(name: str, value: Any) -> float:
    """``value`` as a finite float."""
    try:
        x = float(value)
    except (TypeError, ValueError):
        raise InvalidProblem(f"{name} = {value!r} is not a number") from None
    if not np.isfinite(x):
        raise InvalidProblem(f"{name} = {x:g} is not finite")
    return x


def one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not ``known``."""
    if value not in known:
        raise InvalidProblem(f"{what} {value!r}: expected {' or '.join(map(repr, known))}")


def look_up(name: str) -> Algorithm:
    """The algorithm of that name.

    Raises
    ------
    InvalidProblem: there is none, or none for discounted problems.
    """
    from tabular_fedrl.runner.evolution import FED_SE

    episodic = (*PREFERENCE_ALGORITHMS, FED_SE)
    if name in episodic:
        raise InvalidProblem(f"{name} runs on finite-horizon problems, where a discounted one is meant")
    if name == "crosslm":
        raise InvalidProblem(
            "crosslm runs on tables of contexts and items, not on a problem: from Python, as "
            "tabular_fedrl.algorithms.crosslm.crosslm; its theorems are checked by verify crosslm"
        )
    if name not in ALGORITHMS:
        raise InvalidProblem(f"no algorithm {name!r}{suggestion(name, (*ALGORITHMS, *episodic))}")
    return ALGORITHMS[name]
