"""The package's own solvers through their public functions."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from benchmarks.contenders import Method, behaviour
from tabular_fedrl import linear
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.policies import softmax
from tabular_fedrl.solvers import Optimum, Solution, optimise, solve

ACCURACY = 1e-8
"""What a peer's values are asked for."""

_calls = count(1)


def forgotten(problem: FederatedCMDP) -> CMDP:
    """The same problem as an object that remembers nothing.

    Solutions are remembered by content, so each call moves the thresholds by a few units in the last place.
    """
    cmdp = problem.cmdp
    return cmdp.replace(d=cmdp.d * (1 + next(_calls) * np.finfo(float).eps))


def _fresh_evaluation(problem: FederatedCMDP) -> tuple[CMDP, Any]:
    cmdp = forgotten(problem)
    return cmdp, behaviour(cmdp)


def _optimum(best: Optimum) -> dict[str, Any]:
    return {"values": best.values.V.value[0]}


def _constrained(solution: Solution) -> dict[str, Any]:
    return {
        "policy": softmax(solution.log_policy),
        "multipliers": solution.multipliers,
        "claimed_gap": solution.duality_gap,
        "solver": solution.solver,
    }


def _values_alone(given: tuple[CMDP, Any]) -> Any:
    cmdp, log_policy = given
    return linear.values(cmdp, np.exp(log_policy), cmdp.r[None], tolerance=ACCURACY * (1 - cmdp.gamma))[0]


OPTIMUM = Method(forgotten, optimise, _optimum)
CONSTRAINED = Method(forgotten, solve, _constrained)
EVALUATION = Method(
    _fresh_evaluation,
    lambda given: evaluate(given[0], given[1], given[0].r[None]),
    lambda values: {"values": values.V.value[0]},
)
VALUES_ALONE = Method(_fresh_evaluation, _values_alone, lambda V: {"values": V[:, 0]})
