r"""What is known of a constrained optimum once it is solved, and how its lower end is proved.

The value of the returned policy, evaluated apart from what proposed it, is a lower bound where its costs,
error included, are below the thresholds. If it still violates by at most v > 0 and a policy with slack
:math:`\xi > 0` and value :math:`V^\xi` is known, then
:math:`V_r^* \ge V - \frac{v}{v+\xi}(V - V^\xi)`: mixing the two occupancies with weights
:math:`\frac{\xi}{v+\xi}` and :math:`\frac{v}{v+\xi}` gives a policy whose excess is at most
:math:`\frac{\xi v - v \xi}{v+\xi} = 0`, i.e. a feasible one. (The perturbation function is concave.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import signal_sizes, visitation
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import CompactPolicy, softmax

SLACK_TOLERANCE = 1e-9
"""Slater slack below this fraction of the costs' range counts as none."""


@dataclass(frozen=True)
class PolicyMixture:
    r"""Deterministic policies, one of which is drawn at the start and kept: ``weights (K,)``, positive and of
    sum 1; ``actions (K, S)``, unsigned and as short as A allows.

    Its values are :math:`\sum_k w_k V^{\pi_k}`, its occupancy is the mixture of theirs.
    """

    weights: Array
    actions: NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Solution:
    r"""The optimum of a CMDP.

    ``value``: enclosure (scalar) of :math:`V_r^*(\rho)`. Without a Slater slack, in problems of more than 300
    states or a million entries of P, zeros included, its lower end is not proved, and neither is that any
    policy meets the thresholds: it is the value of ``policy``, whose costs may be above them as ``costs``
    says, less what that is worth by the multipliers.
    ``policy``: a stationary policy that attains it to rounding; ``costs``: enclosures ``(m,)`` of that
    policy's :math:`V_{c_j}(\rho)`; ``multipliers (m,)``: optimal, non-negative, reward per unit of cost;
    ``slater_slack``: what ``slater_policy`` provably attains (:math:`V_{c_j} \le d_j - \xi` for all j),
    0 if there is none, None if m = 0; it is at most 1e-9 of the costs' range below the largest possible slack
    where an LP was solved, and at least 0.9 of it in larger problems (``"columns"``);
    ``active``: constraints that hold with equality; ``duality_gap``: upper minus lower end of ``value``;
    ``solver``: what proposed the answer:
    an LP solver's name, ``"columns"``, ``"policy-iteration"`` or ``"rational"``;
    ``mixture``: where that was ``"columns"``, at most m + 1 deterministic policies whose mixture has the
    occupancy of ``policy``, and so its values, up to rounding; None elsewhere.

    Tables ``(S, A)`` are made when they are asked for: a large problem is held beside its optimum.
    """

    cmdp: CMDP
    value: Measured
    policy: CompactPolicy
    costs: Measured
    multipliers: Array
    slater_slack: float | None
    slater_policy: CompactPolicy
    active: tuple[int, ...]
    duality_gap: float
    solver: str
    mixture: PolicyMixture | None = None

    @property
    def log_policy(self) -> Array:
        """The policy's logarithm, ``(S, A)``."""
        return self.policy.table()

    @property
    def slater_log_policy(self) -> Array:
        """That of the policy that attains the Slater slack, ``(S, A)``."""
        return self.slater_policy.table()

    @property
    def occupancy(self) -> Array:
        """The policy's normalised occupancy measure, ``(S, A)``."""
        log_policy = self.log_policy
        d: Any = visitation(self.cmdp, log_policy)
        return (d if self.cmdp.is_exact else d.value).reshape(-1, 1) * softmax(log_policy)


def cost_scale(cmdp: CMDP) -> float:
    """The largest cost value or threshold: what a slack is small against (1 if they all vanish)."""
    return max(float(np.abs(cmdp.d).max()), float(signal_sizes(cmdp)[1:].max()) / (1 - cmdp.gamma)) or 1.0


def active_set(cmdp: CMDP, costs: Measured) -> tuple[int, ...]:
    """Constraints whose value equals the threshold, to 1e-8 of the costs' range."""
    scale = np.maximum(np.abs(cmdp.d), signal_sizes(cmdp)[1:] / (1 - cmdp.gamma))
    return tuple(int(j) for j in np.flatnonzero(costs.value >= cmdp.d - 1e-8 * scale))


def lower_bound(cmdp: CMDP, values: Measured, slater: Measured, slack: float, multipliers: Array) -> float:
    """Lower bound of the optimum from the ``values (1+m,)`` of a nearly feasible policy and of a ``slater``
    policy (the module's docstring has the proof); without ``slack`` an estimate."""
    excess = np.maximum(values[1:].upper - cmdp.d, 0.0)
    value = values[0]
    violation = float(excess.max())
    if violation == 0:
        return float(value.lower)
    if slack > 0:
        weight = Measured(violation) / (Measured(violation) + slack)
        return float((value - weight * (value - slater[0]).positive()).lower)
    # Without slack nothing is proved: the sensitivity at 0 is that of exact multipliers, of which ours are
    # an approximation. Ten times their charge, and a relative 1e-12, are allowed for.
    charge = 10 * float(multipliers @ excess) + 1e-12 * max(1.0, abs(float(value.value)))
    return float(value.lower) - charge
