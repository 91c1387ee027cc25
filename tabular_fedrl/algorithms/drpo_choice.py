"""DRPO's parameters: which reading of it, and which weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_reverse import positive_weights
from tabular_fedrl.algorithms.drpo_steps import AGGREGATIONS
from tabular_fedrl.algorithms.step_sizes import dual_cap, dual_step
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import PublicSteps


@dataclass(frozen=True)
class Choice:
    r"""How DRPO is read, and its weights.

    alpha, beta: one number each for every round, or a single one; the last holds for all later rounds.
    step: ``"reverse"`` or ``"forward"``, with ``entropy`` weight :math:`\tau_H` for the latter (0: none).
    critic: ``"plain"``, ``"regularised"`` or ``"cql"`` with weight ``cql``.
    local: ``"steps"`` or ``"optimum"``.
    balance: ``"given"`` takes alpha and beta as they are; ``"theorem-c"`` the given alpha, or half the
    critical one where that is less, with the beta of Theorem C's largest guarantee, and the given ones where
    it recommends none; ``"certificate"`` those, of a grid, whose guarantee from the data is largest at
    confidence 1 - ``delta``.
    """

    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    step: str = "reverse"
    entropy: float = 0.0
    critic: str = "plain"
    cql: float = 1.0
    local: str = "steps"
    balance: str = "given"
    delta: float = 0.05


PARAMETERS: dict[str, Any] = {
    "alpha": 1.0,
    "beta": 1.0,
    "step": "reverse",
    "entropy": 0.0,
    "critic": "plain",
    "cql": 1.0,
    "local": "steps",
    "balance": "given",
    "delta": 0.05,
}

OPTIMA = (("reverse", "plain"), ("reverse", "cql"))

CHOICES = {
    "aggregation": (*AGGREGATIONS, "mixture"),
    "step": ("reverse", "forward"),
    "critic": ("plain", "regularised", "cql"),
    "local": ("steps", "optimum"),
    "balance": ("given", "theorem-c", "certificate"),
}


def choice_of(given: dict[str, Any]) -> Choice:
    """The :class:`Choice` of a run's parameters.

    Raises
    ------
    InvalidProblem: a weight out of range, or readings that do not go together.
    """
    alpha, beta = (_schedule(name, given[name]) for name in ("alpha", "beta"))
    rounds = max(len(alpha), len(beta))
    for k in range(rounds):
        positive_weights(alpha[min(k, len(alpha) - 1)], beta[min(k, len(beta) - 1)])
    for name in ("entropy", "cql"):
        if not 0 <= given[name] < np.inf:
            raise InvalidProblem(f"{name} = {given[name]}: expected a number from 0 on")
    plain = (given["step"], given["critic"], given["local"]) == ("reverse", "plain", "steps")
    if given["balance"] == "theorem-c" and not (plain and given["local_steps"] == 1 and given["clients"]):
        raise InvalidProblem(
            "balance = 'theorem-c' is for one reverse step with plain critics and no constraints"
        )
    if given["local"] == "optimum" and (given["step"], given["critic"]) not in OPTIMA:
        raise InvalidProblem("local = 'optimum' is the reverse step's, with a plain critic or CQL's")
    if given["balance"] == "certificate" and not (
        (given["local"], given["critic"]) == ("optimum", "plain")
        and given["clients"]
        and given["data"] != "behaviours"
        and given["smoothing"] == 0
        and 0 < given["delta"] < 1
    ):
        raise InvalidProblem(
            "balance = 'certificate' is for local = 'optimum' with a plain critic, from data, without "
            "smoothing or constraints, and with delta between 0 and 1"
        )
    if given["entropy"] > 0 and given["step"] == "reverse":
        raise InvalidProblem("entropy belongs to step = 'forward'")
    return Choice(alpha, beta, **{name: given[name] for name in PARAMETERS if name not in ("alpha", "beta")})


def drpo_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    r""":math:`\eta = 1/(\alpha+\beta)` of the first round, and F1's steps and caps for multipliers."""
    choice = choice_of(given)
    # A dual step of F1 goes with any primal step here: none of it rests on a theorem.
    cap = dual_cap(problem.cmdp, {**given, "eta_dual": 0.0})
    T = rounds * given["local_steps"]
    eta = 1.0 / (choice.alpha[0] + choice.beta[0])
    return PublicSteps(eta, dual_step(problem.cmdp, given, cap, T), cap)


def _schedule(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    try:
        numbers = tuple(float(x) for x in values)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not np.isfinite(numbers).all():
        raise InvalidProblem(f"{name} = {value!r}: expected a number, or one for each round")
    return numbers
