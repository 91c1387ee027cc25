r"""Under heterogeneous kernels the best common policy may have to be stochastic."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, StudyData, Theorem, control, identity, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, profile_study
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy, uniform


@dataclass(frozen=True)
class Door:
    """Two agents before a door: in one kernel the left handle opens it, in the other the right one."""

    kernels: tuple[CMDP, CMDP]

    def value(self, log_pi: Any) -> Measured:
        r""":math:`\frac12 \sum_i V_{P_i}^\pi(\rho)`"""
        first, second = (evaluate(kernel, log_pi).at_rho[0] for kernel in self.kernels)
        return (first + second) * 0.5

    def deterministic(self) -> Measured:
        """The values of all deterministic policies."""
        tables = [np.eye(2)[list(actions)] for actions in product(range(2), repeat=2)]
        return Measured.stack([self.value(log_policy(table, 2, 2)) for table in tables])


class CommonPolicy(Theorem):
    r"""No deterministic policy is best for agents that live in different kernels.

    **Problem.** :math:`\max_\pi \frac1N \sum_i V^\pi_{P_i}(\rho)` over stationary policies, the same for all
    agents.

    **Instance.** A closed door with two handles, reward 1 when it opens, nothing afterwards. One agent's
    door opens by the left handle, the other's by the right.

    **Statement.** A deterministic policy is worth 1/2, the uniform one :math:`1/(2-\gamma)`, more for
    :math:`\gamma > 0`, and no stationary policy is better. In a single kernel a deterministic optimal policy
    always exists.

    **Proof.** A deterministic policy opens one of the doors at once and the other never. The left handle with
    probability p opens its door after a geometric time,

    .. math:: f(p) = \sum_{t \ge 0} \gamma^t (1-p)^t p = \frac{p}{1-\gamma+\gamma p} , \qquad
              f''(p) = -\frac{2\gamma(1-\gamma)}{(1-\gamma+\gamma p)^3} \le 0 ,

    and the other door is worth :math:`f(1-p)`; f is concave, so that
    :math:`\frac12(f(p) + f(1-p)) \le f(\frac12) = \frac{1}{2-\gamma}`.

    **Source.** The phenomenon: Labbi, Mangold, Tiapkin, Moulines (2025), quoted from memory; the instance is
    ours.
    """

    id = "rates.common-policy"
    mark = "ours"
    source = "theory notes, rates; after Labbi, Mangold, Tiapkin, Moulines 2025"
    suite = tuple(Case("textbook:two-arm", gamma=gamma) for gamma in (0.5, 0.9, 0.99))
    certified = (Case("textbook:two-arm", gamma=0.5),)

    def setup(self, problem: FederatedCMDP, gamma: float = 0.9) -> Door:
        """The instance is this page's own: of the given problem nothing is used."""
        make = CMDP.exact if balls.working() else CMDP
        kernels = []
        for handle in range(2):
            P, r = np.zeros((2, 2, 2)), np.zeros((2, 2))
            P[0, :, 0], P[1, :, 1] = 1.0, 1.0
            P[0, handle], r[0, handle] = (0.0, 1.0), 1.0
            kernels.append(make(P, r, np.zeros((0, 2, 2)), np.zeros(0), [1.0, 0.0], gamma))
        return Door((kernels[0], kernels[1]))

    @identity(r"\max_{\text{deterministic}} \tfrac12 \sum_i V_{P_i}^\pi = \tfrac12")
    def deterministic(self, x: Door) -> tuple[Measured, float]:
        return x.deterministic().max(), 0.5

    @identity(r"\tfrac12 \sum_i V_{P_i}^{\mathrm{uniform}} = \frac{1}{2-\gamma}")
    def stochastic(self, x: Door) -> tuple[Measured, Measured]:
        return x.value(uniform(2, 2)), (2.0 - Measured(x.kernels[0].gamma)).reciprocal()

    @upper(
        r"\tfrac12 \sum_i V_{P_i}^\pi \le \tfrac12 \sum_i V_{P_i}^{\mathrm{uniform}}"
        r" \text{ for every deterministic } \pi"
    )
    def better(self, x: Door) -> tuple[Measured, Measured]:
        return x.deterministic(), x.value(uniform(2, 2))

    @identity(
        r"\tfrac12 \sum_i V_{P_i}^\pi = \tfrac12 (f(p) + f(1-p)), \quad f(p) = \frac{p}{1-\gamma+\gamma p}"
    )
    def any_policy(self, x: Door) -> tuple[Measured, Measured]:
        left, gamma = np.arange(9) / 8.0, Measured(x.kernels[0].gamma)
        opened = [Measured(p) / (1.0 - gamma + gamma * p) for p in (left, 1.0 - left)]
        tables = [np.array([[p, 1.0 - p]] * 2) for p in left]
        values = Measured.stack([x.value(log_policy(table, 2, 2)) for table in tables])
        return values, (opened[0] + opened[1]) * 0.5

    @study("profile")
    def curve(self) -> StudyData:
        """The value of taking the left handle with probability p: in both doors' kernels together the best p
        lies inside, at 1/2; in one door's kernel it is an end."""
        p, curves = np.linspace(0.0, 1.0, 41), []
        together, alone = (
            Panel(title, r"$\frac{1}{2}\,\sum_i V_{P_i}^\pi$ (units of value)")
            for title in ("one door opens by each handle", "both open by the left handle")
        )
        for gamma in (0.5, 0.9, 0.99):
            x = self.setup(load("textbook:two-arm"), gamma=gamma)
            tables = np.stack([np.stack([p, 1 - p], axis=-1)] * 2, axis=1)
            best = (2.0 - Measured(gamma)).reciprocal()
            for panel, door in ((together, x), (alone, Door((x.kernels[0], x.kernels[0])))):
                values = Measured.stack([door.value(log_policy(table, 2, 2)) for table in tables])
                peak = best + Measured(np.zeros(len(p))) if panel is together else None
                curves.append(Curve(panel, f"gamma={gamma}", p, values, peak))
        return profile_study("A door with two handles", self.mark, "probability of the left handle", curves)

    @control("in one kernel a deterministic policy is better than the uniform one", Case("textbook:two-arm"))
    def one_kernel(self, x: Door) -> tuple[Measured, Measured]:
        alone = Door((x.kernels[0], x.kernels[0]))
        return alone.deterministic(), alone.value(array(np.log(np.full((2, 2), 0.5))))
