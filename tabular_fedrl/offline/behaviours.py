r"""Behaviour policies of graded quality, and mixtures of them.

*random* is uniform; *expert* is an optimal deterministic policy for the reward alone; *medium* mixes the two
state by state so that its value lies halfway between theirs. The data sets of offline reinforcement learning
are called by these names (Fu, Kumar, Nachum, Tucker, Levine, "D4RL", arXiv 2004.07219; there *medium* is a
policy trained halfway; mark: *recalled*).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.arithmetic import array, log
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers.policy_iteration import optimise

QUALITIES = ("random", "medium", "expert")


def qualities(problem: CMDP | FederatedCMDP) -> Array:
    """The random, the medium and the expert policy as probabilities, ``(3, S, A)``."""
    cmdp = (problem.cmdp if isinstance(problem, FederatedCMDP) else problem).floats()
    random = np.full((cmdp.S, cmdp.A), 1.0 / cmdp.A)
    expert = np.exp(optimise(cmdp).log_policy)

    def value(share: float) -> float:
        with np.errstate(divide="ignore"):
            mixed = np.log((1 - share) * random + share * expert)
        return float(policy_values(cmdp, mixed, cmdp.r[None])[0][0] @ cmdp.rho)

    target = 0.5 * (value(0.0) + value(1.0))
    # The value depends continuously on the share, so that halving closes in on a share that attains it.
    low, high = 0.0, 1.0
    for _ in range(30):
        share = 0.5 * (low + high)
        low, high = (share, high) if value(share) < target else (low, share)
    medium = (1 - low) * random + low * expert
    return np.stack([random, medium, expert])


def mixtures(problem: CMDP | FederatedCMDP, shares: ArrayLike) -> Array:
    """Log-policies ``(N, S, A)``: client i takes an action of the random, medium or expert policy with
    probabilities ``shares[i]``, drawn anew in every step.

    Raises
    ------
    InvalidProblem: shares that are not N distributions over the three.
    """
    weights = np.asarray(shares, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(QUALITIES):
        raise InvalidProblem(f"shares have shape {weights.shape}: expected (N, 3) for {', '.join(QUALITIES)}")
    bad = np.flatnonzero(~((weights >= 0).all(axis=1) & (np.abs(weights.sum(axis=1) - 1) < 1e-9)))
    if bad.size:
        raise InvalidProblem(
            f"shares[{bad[0]}] = {weights[bad[0]].tolist()}: expected probabilities that sum to 1"
        )
    table = array(np.einsum("iq,qsa->isa", weights, qualities(problem)))
    with np.errstate(divide="ignore"):
        return log(table / table.sum(-1).reshape(*table.shape[:-1], 1))


def grades(N: int) -> Array:
    r"""Shares ``(N, 3)`` that go from nearly all random (client 0) to nearly all expert (client N-1):
    :math:`((1-t)^2, 2t(1-t), t^2)` at :math:`t = (i + 1/2)/N`."""
    t = (np.arange(N) + 0.5) / N
    return np.column_stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
