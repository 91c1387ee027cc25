r"""The published bounds of NPG-PD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms.step_sizes import SLATER_TOLERANCE, slater_slack
from tabular_fedrl.algorithms.unit_form import unit_form
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.claims.search import looseness
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load, load_exact
from tabular_fedrl.loops import Batch, fednpg, optima
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner import Run, run
from tabular_fedrl.solvers import solve


@dataclass(frozen=True)
class Published:
    """A run in unit form and the Slater slack there."""

    run: Run
    xi: Any

    def rate(self, constant: Measured | float) -> Measured:
        r""":math:`\text{constant} / ((1-\gamma)^2 \sqrt T)`"""
        return rate(constant, Measured(1.0) - self.run.problem.cmdp.gamma, self.run.rounds)

    @property
    def violation_bound(self) -> Measured:
        r""":math:`(2/\xi + 4\xi) / ((1-\gamma)^2 \sqrt T)`"""
        return self.rate(violation_constant(Measured(self.xi)))


def rate(constant: Any, near: Any, rounds: int) -> Any:
    r""":math:`\text{constant} / ((1-\gamma)^2 \sqrt T)`, ``near`` for :math:`1-\gamma`: enclosures, or plain
    arrays of a batch of problems."""
    root = Measured(float(rounds)).sqrt() if isinstance(near, Measured) else rounds**0.5
    return constant / (near**2 * root)


def violation_constant(xi: Any) -> Any:
    r""":math:`2/\xi + 4\xi`"""
    return 2.0 / xi + 4.0 * xi


class NPGPD(Theorem):
    r"""The published rates of natural policy gradient primal-dual with one constraint.

    **Problem.** :math:`\max V_r` subject to :math:`V_g \ge b`, r and g in [0, 1]; a cost c with threshold d
    enters as :math:`g = 1 - c`, :math:`b = 1/(1-\gamma) - d` (same iterates). Slater slack :math:`\xi`.
    Other signals are rescaled first.

    **Algorithm.** :math:`\theta \leftarrow \theta + \frac{\eta_1}{1-\gamma} A_{r + \lambda g}`,
    :math:`\lambda \leftarrow P_{[0, 2/((1-\gamma)\xi)]}(\lambda - \eta_2 (V_g - b))`, uniform start,
    :math:`\lambda_0 = 0`, :math:`\eta_1 = 2\log|A|`, :math:`\eta_2 = (1-\gamma)/\sqrt T`.

    **Guarantee** (*upper*). Averages over t = 0..T-1:

    .. math:: V_r^\star - \overline{V_r} \le \frac{7}{(1-\gamma)^2 \sqrt T}, \qquad
              [b - \overline{V_g}]_+ \le \frac{2/\xi + 4\xi}{(1-\gamma)^2 \sqrt T} .

    F2 proves the first with 4 in place of 7 (``fednpg.f2``).

    **Source.** Ding, Zhang, Basar, Jovanovic (2020); Ding, Zhang, Duan, Basar, Jovanovic (2025). Quoted from
    memory: the constants are not certain.
    """

    id = "npg-pd.published"
    mark = "recalled"
    source = "Ding, Zhang, Basar, Jovanovic 2020/2025"
    about = "npg-pd"
    rescaled = True
    suite = (
        Case("windy-cliff:ncost=1", rounds=500),
        Case("random-mdp:seed=5,ncost=1,gamma=0.5", rounds=2000),
        Case("random-mdp:seed=3,ncost=1", rounds=1000),
        Case("garnet:S=20,A=5,b=2,m=1,seed=3", rounds=1000),
        Case("textbook:two-arm", rounds=2000),
        Case("textbook:running-b", rounds=2000),
        Case("textbook:three-state", rounds=1000),
        Case("textbook:machine-repair", rounds=1000),
        Case("gym:FrozenLake-v1,gamma=0.9", rounds=500),
        Case("gym:CliffWalking-v1,d=0.5,gamma=0.9", rounds=500),
    )
    certified = (Case("textbook:three-state", rounds=50),)
    small = {"rounds": 20}
    space = {"rounds": (1, 1000)}
    effort = 30000

    @hypothesis("exactly one constraint, at least two actions")
    def one_constraint(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.m == 1 and problem.cmdp.A > 1

    @hypothesis("some policy is strictly feasible")
    def slater(self, problem: FederatedCMDP) -> bool:
        return (solve(problem.cmdp).slater_slack or 0.0) > 0

    @hypothesis("in unit form the threshold lies in (0, 1/(1-gamma)]")
    def threshold(self, problem: FederatedCMDP) -> bool:
        cmdp = unit_form(problem).problem.cmdp
        return bool(((cmdp.d > 0) & (cmdp.d <= cmdp.horizon)).all())

    def setup(self, problem: FederatedCMDP, rounds: int = 1000) -> Published:
        unit = unit_form(problem).problem
        return Published(run("npg-pd", unit, rounds), slater_slack(unit.cmdp))

    @upper(r"V_r^\star - \overline{V_r} \le 7/((1-\gamma)^2 \sqrt T)", constant=7)
    def gap(self, x: Published) -> tuple[Measured, Measured, float]:
        return x.run.gap, x.rate(7.0), x.run.problem.cmdp.horizon

    @upper(r"[b - \overline{V_g}]_+ \le (2/\xi + 4\xi)/((1-\gamma)^2 \sqrt T)")
    def violation(self, x: Published) -> tuple[Measured, Measured, Any]:
        cmdp = x.run.problem.cmdp
        return x.run.violations.sum(), x.violation_bound, cmdp.horizon - cmdp.d[0]

    def batch(self, problems: Batch, rounds: int = 1000) -> dict[str, tuple[Array, Array]]:
        """Both claims on many instances in unit form at once, for the worst-case search."""
        if problems.m != 1:
            return {}
        best, horizon = optima(problems), 1.0 / (1.0 - problems.gamma)
        usable = (best.slack > SLATER_TOLERANCE * (1.0 + np.abs(problems.d[:, 0]))) & (problems.d[:, 0] > 0)
        xi = np.where(usable, best.slack, 1.0)
        steps = 2.0 * np.log(problems.A), (1.0 - problems.gamma) / rounds**0.5, 2.0 * horizon / xi
        result = fednpg(problems.central(), rounds, 1, steps[0], steps[1][:, None], steps[2][:, None])
        gap = np.where(usable, best.value - result.value, np.nan)
        excess = np.where(usable, np.maximum(result.costs - problems.d, 0.0).sum(axis=1), np.nan)
        return {
            "gap": (gap, rate(7.0, 1.0 - problems.gamma, rounds)),
            "violation": (excess, rate(violation_constant(xi), 1.0 - problems.gamma, rounds)),
        }

    @study("power_rate")
    def curve(self) -> StudyData:
        """Gap and violation of NPG-PD's averages, with the steps for each T, beside the published bounds
        (*recalled*), and the bound on the gap with F2's constant 4 (*ours*)."""
        T, curves = np.geomspace(30, 3000, 9).astype(int), []
        panels = (
            Panel("gap", r"$V_r^\star - \overline{V_r}$ (units of value)"),
            Panel("violation", r"$b - \overline{V_g}$ (units of value)"),
        )
        for source in ("textbook:running-b", "textbook:machine-repair"):
            runs = [self.setup(load(source), rounds=int(t)) for t in T]
            excess = Measured.stack([(x.run.average_costs - x.run.problem.cmdp.d)[0] for x in runs])
            allowed = Measured.stack([x.violation_bound for x in runs])
            seven, four = (Measured.stack([x.rate(constant) for x in runs]) for constant in (7.0, 4.0))
            curves.append(Curve(panels[0], source, T, Measured.stack([x.run.gap for x in runs]), seven))
            curves.append(Curve(panels[1], source, T, excess, allowed))
        curves.append(Curve(panels[0], "machine-repair, 4 in place of 7", T, None, four))
        return power_study("NPG-PD", self.mark, "rounds T", curves)

    @study("looseness")
    def looseness(self) -> StudyData:
        """The worst ratio found, by discount (any number of rounds up to 1000) and by rounds."""
        return looseness(
            type(self),
            ("gap", "violation"),
            {"gamma": (0.0, 0.3, 0.6, 0.9, 0.95), "rounds": (1, 10, 100, 1000)},
            "cmdp:S=1..2,A=2..3,m=1,N=1,gamma=0..0.95",
            {},
            4000,
        )

    @control(
        "a rate 1/T for the gap, constant 1/2 (the first term of F2 alone)",
        Case("textbook:running-b", rounds=2000),
    )
    def faster(self, x: Published) -> tuple[Measured, Measured]:
        return x.run.gap, x.rate(0.5) / Measured(float(x.run.rounds)).sqrt()

    @control(
        "a reward of 20 without the rescaling: the cap lies below the optimal multiplier",
        Case("textbook:scaled-arms", rounds=2000),
    )
    def not_rescaled(self, x: Published) -> tuple[Measured, Measured]:
        steps: dict[str, Any] = {name: x.run.parameters[name] for name in ("eta", "eta_dual", "dual_cap")}
        problem = load_exact("textbook:scaled-arms") if balls.working() else load("textbook:scaled-arms")
        unscaled = run("npg-pd", problem, x.run.rounds, **steps)
        return unscaled.violations.sum(), x.violation_bound

    @control("the violation does not decrease like 1/T", Case("windy-cliff:ncost=1", rounds=500))
    def faster_violation(self, x: Published) -> tuple[Measured, Measured]:
        return x.run.violations.sum(), x.rate(1.0) / float(x.run.rounds)
