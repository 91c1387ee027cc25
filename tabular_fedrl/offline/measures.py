r"""What a data set is worth: coverage, trajectory quality, expected return.

Definitions after Schweighofer, Dinu, Radler, Hofmarcher, Patil, Bitto-Nemling, Eghbal-zadeh, Hochreiter, "A
dataset perspective on offline reinforcement learning", CoLLAs 2022 (mark: *recalled*); there the returns are
means over the episodes of the data, here values of the empirical behaviour in the empirical MDP, which needs
no episodes:

.. math:: \mathrm{SACo}(D) = \frac{\#\{(s,a) \in D\}}{\#\{(s,a) \in D_{\rm ref}\}}, \qquad
          \mathrm{TQ}(D) = \frac{g(D) - J_{\min}}{J_{\rm expert} - J_{\min}}, \qquad
          g(D) = J(b, \hat M).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.offline.counts import Counts, behaviour, empirical, extended
from tabular_fedrl.policies import uniform
from tabular_fedrl.solvers.policy_iteration import optimise


def coverage(counts: Counts, reference: int | None = None) -> float:
    """SACo: distinct state-action pairs in the data, over those of a reference data set (default: over all
    pairs)."""
    return float((counts.pairs > 0).sum()) / (counts.pairs.size if reference is None else reference)


def expected_return(counts: Counts, gamma: float, rho: Any, lowest: float = 0.0) -> float:
    r"""g: the value at rho of the empirical behaviour in the empirical MDP, units of value."""
    log_b = behaviour([counts], uniform(counts.S, counts.A))[0]
    model = empirical(counts, gamma, rho, lowest)
    return float(evaluate(model, extended(log_b), model.r[None]).at_rho.value[0])


def trajectory_quality(counts: Counts, problem: CMDP | FederatedCMDP, lowest: float | None = None) -> float:
    r"""TQ: g on the scale on which the uniform policy of the problem has 0 and an optimal one 1; ``lowest``:
    the least a reward can be, default that of the problem.

    Raises
    ------
    InvalidProblem: all policies of the problem have the same value.
    """
    cmdp = problem.cmdp if isinstance(problem, FederatedCMDP) else problem
    least, best = _scale(cmdp)
    # Two values of one policy differ by rounding.
    if best - least <= 1e-9 * (abs(best) + abs(least)):
        raise InvalidProblem("the uniform policy is optimal: trajectory quality has no scale")
    low = float(np.min(cmdp.r)) if lowest is None else lowest
    return (expected_return(counts, cmdp.gamma, cmdp.rho, low) - least) / (best - least)


@lru_cache(maxsize=16)
def _scale(cmdp: CMDP) -> tuple[float, float]:
    """The values of the uniform and of an optimal policy."""
    least = evaluate(cmdp, uniform(cmdp.S, cmdp.A), cmdp.r[None]).at_rho.value[0]
    return float(least), float(optimise(cmdp).value.value)
