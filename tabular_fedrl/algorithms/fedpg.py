r"""FedPG: FedNPG with the vanilla policy gradient in place of the natural one.

In logits :math:`\theta`, with :math:`A_i` as in FedNPG,

.. math:: \theta_i(s, a) \leftarrow
          \theta_i(s, a) + \frac{\eta}{1-\gamma}\, d_\rho^{\pi_i}(s)\, \pi_i(a|s) A_i(s, a).

No theorem of these notes covers it; the default step :math:`(1-\gamma)^3/(8 \max_i B_i)` is the inverse
smoothness of the value of a softmax policy (Agarwal, Kakade, Lee, Mahajan, "On the theory of policy gradient
methods", JMLR 2021; mark: *recalled*), scaled to the local Lagrangians.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.local import primal_dual_step, vanilla
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import dual_cap, dual_step, lagrangian_spans, number, positive_or
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.federation import Federation, PublicSteps


def fedpg(federation: Federation) -> Iterator[Round]:
    """The rounds of FedNPG along the vanilla gradient."""
    return fednpg(federation, partial(primal_dual_step, direction=vanilla))


def gradient_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """Inverse smoothness for the policy, F1's step for the multipliers."""
    cap = dual_cap(problem.cmdp, given)
    eta = given["eta"]
    if eta is None:
        largest = positive_or(number(lagrangian_spans(problem, cap).max()), 1.0)
        eta = (1.0 - problem.cmdp.gamma) ** 3 / (8.0 * largest)
    T = rounds * int(given["local_steps"])
    return PublicSteps(number(eta), dual_step(problem.cmdp, given, cap, T), cap)
