r"""Thresholds for problems whose source gives none.

Let :math:`h_j` be the cost of the unconstrained optimum and :math:`l_j` the least possible cost. Any
threshold between them makes the constraint bind on its own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import at_start, evaluate
from tabular_fedrl.kernels.sparse import greedy_sweep
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.measured import Array
from tabular_fedrl.solvers import optimise

ROUNDS = 30
"""Policies mixed at most before a constraint is left slack."""


def halfway_thresholds(cmdp: CMDP) -> tuple[Array, Array, Array]:
    """``(d, least, greedy)``, each ``(m,)``: thresholds halfway between the least possible costs, each taken
    alone, and the costs of the unconstrained optimum. Where the two cannot be told apart d is the optimum's
    own cost (so the problem stays feasible, with no slack)."""
    greedy = evaluate(cmdp, optimise(cmdp).log_policy, cmdp.c).at_rho
    least = np.empty(cmdp.m)
    d = np.empty(cmdp.m)
    for j in range(cmdp.m):
        # The cost that the cheapest policy attains: d is met by a policy whatever the rounding.
        best = -optimise(cmdp, -cmdp.c[j]).values.at_rho[0]
        apart = greedy.value[j] - greedy.error[j] > best.value + best.error
        lowest = 0.0 if abs(best.value) <= best.error else best.value  # no policy's cost is -3e-16
        least[j] = lowest if apart else greedy.value[j]
        d[j] = (least[j] + greedy.value[j]) / 2
    return d, least, greedy.value


def binding_thresholds(cmdp: CMDP) -> Array:
    r"""Thresholds ``(m,)`` that bind and that one policy meets together with slack.

    Policies that minimise weighted sums of the costs are mixed (mixtures of occupancies are occupancies of
    policies), the weights growing on the constraints where the mixture is not yet cheaper than the
    unconstrained optimum, until its costs v are below h everywhere: :math:`d = (v+h)/2`. The mixture then has
    slack :math:`\min_j (h_j-v_j)/2 > 0` and the unconstrained optimum violates every constraint. If h cannot
    be undercut in all costs at once, those thresholds lie above v by a twentieth of the way to the largest
    possible cost: met with slack, though they may not bind.
    """
    greedy = evaluate(cmdp, optimise(cmdp).log_policy, cmdp.c).at_rho.value
    scale = np.maximum(np.abs(greedy), np.finfo(float).tiny)
    weights = np.full(cmdp.m, 1.0 / cmdp.m)
    found: list[Array] = []
    for _ in range(ROUNDS):
        cheap = optimise(cmdp, -np.einsum("j,jsa->sa", weights, cmdp.c)).log_policy
        found.append(evaluate(cmdp, cheap, cmdp.c).at_rho.value)
        mixture = np.mean(found, axis=0)
        if (mixture < greedy - 1e-6 * scale).all():
            return (mixture + greedy) / 2
        weights = weights * np.exp(np.clip((found[-1] - greedy) / scale, -1.0, 1.0))
        weights /= weights.sum()
    highest = np.array([float(optimise(cmdp, c).value) for c in cmdp.c])
    binds = mixture < greedy - 1e-6 * scale
    # A cost that no policy changes has no room above v: a fixed margin keeps Slater's condition.
    above = mixture + np.maximum((highest - mixture) / 20, 1e-3 * scale)
    return np.where(binds, (mixture + greedy) / 2, above)


def swept_thresholds(cmdp: CMDP) -> Array:
    r"""Thresholds ``(m,)`` for large sparse problems: halfway between the costs h of a policy that looks at
    the reward only and the costs v of one that looks at the sum of the costs only.

    Both are greedy after :math:`1/(1-\gamma)` sweeps of value iteration: near the best, for a fraction of the
    work. Where v does not undercut h in every cost :func:`binding_thresholds` decides.
    """
    high, low = (at_start(cmdp, swept_actions(cmdp, f), cmdp.c).value for f in (cmdp.r, -cmdp.c.sum(axis=0)))
    if (low < high - 1e-6 * np.abs(high)).all():
        return (low + high) / 2
    return binding_thresholds(cmdp)


def swept_actions(cmdp: CMDP, f: Array) -> NDArray[np.int32]:
    """Greedy actions ``(S,)`` for the signal ``f (S, A)`` after 1/(1-gamma) sweeps of value iteration."""
    rows, actions = rows_of(cmdp), np.empty(cmdp.S, dtype=np.int32)
    V, following = np.zeros(cmdp.S), np.empty(cmdp.S)
    for _ in range(math.ceil(cmdp.horizon) + 1):
        greedy_sweep(rows, f, cmdp.gamma, V, following, actions)
        V, following = following, V
    return actions
