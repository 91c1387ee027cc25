r"""NPG with entropy: linear convergence to the regularised optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.algorithms.drpo_values import regularised_optimum
from tabular_fedrl.algorithms.step_sizes import span
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, tight
from tabular_fedrl.claims.curves import Curve, Panel, linear_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import evaluate_soft
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, uniform
from tabular_fedrl.runner import run


@dataclass(frozen=True)
class Distances:
    r"""For t = 0..K: ``values``: :math:`\|Q^\star_\tau - Q_\tau^t\|_\infty`; ``policies``:
    :math:`\|\log\pi^\star_\tau - \log\pi^t\|_\infty`; ``rate``: :math:`\eta\tau`; ``near``:
    :math:`1-\gamma`; ``spread``:
    the largest span of a soft value, :math:`(R + \tau\log|A|)/(1-\gamma)`, R that of r."""

    values: Measured
    policies: Measured
    rate: Measured
    near: Measured
    tau: float
    spread: Measured

    @property
    def constant(self) -> Measured:
        r""":math:`C_1`"""
        kept = Measured(1.0) - self.rate / self.near
        return self.values[0] + kept * self.policies[0] * (2.0 * self.tau)

    def decay(self, rate: float = 1.0) -> Measured:
        r""":math:`(1 - \mathrm{rate}\,\eta\tau)^t` for t = 0..K-1."""
        powers = [Measured(1.0)]
        for _ in range(len(self.values) - 2):
            powers.append(powers[-1] * (1.0 - self.rate * rate))
        return Measured.stack(powers)


class EntropyNPG(Theorem):
    r"""Natural policy gradient with entropy converges linearly, values and policies.

    **Problem.** :math:`\max_\pi V_r^\pi(\rho) + \tau H(\pi)`; :math:`Q_\tau` is the soft Q,
    :math:`(\pi^\star_\tau, Q^\star_\tau)` the optimum.

    **Algorithm.** :math:`\pi \leftarrow \pi^{1-\eta\tau/(1-\gamma)} \exp(\eta Q_\tau/(1-\gamma))/Z`,
    :math:`0 < \eta \le (1-\gamma)/\tau`.

    **Guarantee** (*tight*). For every :math:`t \ge 0`

    .. math:: \|Q^\star_\tau - Q_\tau^{t+1}\|_\infty &\le C_1 \gamma (1-\eta\tau)^t, \\
              \|\log\pi^\star_\tau - \log\pi^{t+1}\|_\infty &\le \tfrac{2 C_1}{\tau} (1-\eta\tau)^t, \\
              C_1 &= \|Q^\star_\tau - Q_\tau^0\|_\infty
              + 2\tau \Big(1 - \frac{\eta\tau}{1-\gamma}\Big) \|\log\pi^\star_\tau - \log\pi^0\|_\infty .

    In a bandit the longest step is the last one needed: all four sides are 0.

    **Source.** Cen, Cheng, Chen, Wei, Chi (2022), quoted from memory.
    """

    id = "rates.entropy-npg"
    mark = "recalled"
    source = "Cen, Cheng, Chen, Wei, Chi 2022; theory notes, rates"
    suite = tuple(
        Case(source, tau=tau, step=step)
        for source, tau in (
            ("random-mdp:seed=1", 0.1),
            ("garnet:S=20,A=5,b=2,m=1,seed=3", 0.5),
            ("windy-cliff:ncost=1", 1.0),
            ("gym:FrozenLake-v1,gamma=0.9", 0.02),
            ("textbook:three-state", 0.1),
            ("textbook:machine-repair", 0.1),
        )
        for step in (0.05, 0.5, 1.0)
    )
    certified = (Case("textbook:three-state", tau=0.1, step=0.5, rounds=8),)
    small = {"rounds": 8}
    family = "cmdp:S=1..3,A=2..3,m=0,N=1,gamma=0..0.95"
    space = {"rounds": (1, 20), "tau": (1e-2, 10.0), "step": (1e-2, 1.0)}
    effort = 200

    @hypothesis("the entropy weight is positive and the step between 0 and (1-gamma)/tau")
    def in_range(self, problem: FederatedCMDP, tau: float, step: float) -> bool:
        return tau > 0 and 0 < step <= 1

    def setup(
        self, problem: FederatedCMDP, rounds: int = 40, tau: float = 0.1, step: float = 0.5
    ) -> Distances:
        r"""``step``: :math:`\eta` in units of :math:`(1-\gamma)/\tau`."""
        near = array(1.0) - problem.cmdp.gamma
        eta = array(step) * near / tau
        result = run("entropy-npg", problem, rounds, tau=tau, eta=eta, record="iterates", compare=False)
        assert result.iterates is not None
        cmdp, fair = result.problem.cmdp, uniform(problem.cmdp.S, problem.cmdp.A)
        # With the uniform policy as reference the divergence is log|A| minus the entropy.
        _, V, Q = regularised_optimum(cmdp, fair, fair, tau, 0.0)
        most = Measured(float(cmdp.A)).log()
        shift = most * tau / near
        best_log = (Q - V.reshape(-1, 1)) / tau - most
        best = Q + shift * cmdp.gamma
        away, apart = [], []
        for log_pi in result.iterates.log_policies:
            away.append((best - evaluate_soft(cmdp, log_pi, cmdp.r[None], tau).Q[0]).abs().max())
            apart.append((best_log - enclosed(log_pi)[0]).abs().max())
        return Distances(
            values=Measured.stack(away),
            policies=Measured.stack(apart),
            rate=Measured(step) * near,
            near=Measured(near),
            tau=tau,
            spread=shift + Measured(span(cmdp.r)) / near,
        )

    @tight(
        r"\|Q^\star_\tau - Q_\tau^{t+1}\|_\infty \le C_1 \gamma (1-\eta\tau)^t",
        attained=Case("textbook:two-arm", step=1.0, rounds=4),
    )
    def values(self, x: Distances) -> tuple[Measured, Measured, Measured]:
        gamma = 1.0 - x.near
        return x.values[1:], x.constant * gamma * x.decay(), x.spread * gamma

    @tight(
        r"\|\log\pi^\star_\tau - \log\pi^{t+1}\|_\infty \le \frac{2 C_1}{\tau} (1-\eta\tau)^t",
        attained=Case("textbook:two-arm", step=1.0, rounds=4),
    )
    def policies(self, x: Distances) -> tuple[Measured, Measured, Measured]:
        # Logarithms of soft policies are mixtures of Q/tau, whose span is at most spread/tau - log|A|.
        return x.policies[1:], x.constant * x.decay() * (2.0 / x.tau), x.spread / x.tau

    @study("linear_rate")
    def curve(self) -> StudyData:
        """Distances of NPG with entropy to the regularised optimum for three steps, in units of the largest
        one, beside the bounds (*recalled*)."""
        source, tau, rounds, curves = "random-mdp:seed=1", 0.1, 120, []
        panels = (
            Panel("values", r"$\|Q_\tau^\star - Q_\tau^t\|_\infty$ (units of value)"),
            Panel("policies", r"$\|\log\pi_\tau^\star - \log\pi^t\|_\infty$ (dimensionless)"),
        )
        for step in (0.05, 0.2, 0.5):
            x = self.setup(load(source), rounds=rounds, tau=tau, step=step)
            for panel, claim in zip(panels, (self.values, self.policies)):
                left, right, _ = claim.function(self, x)
                curves.append(Curve(panel, f"step={step:g}", np.arange(1, rounds + 1), left, right))
        return linear_study(f"NPG with entropy, tau = {tau}, {source}", self.mark, "rounds t", curves)

    @control("twice the rate is too fast for the policies of a bandit", Case("textbook:two-arm", step=0.05))
    def faster(self, x: Distances) -> tuple[Measured, Measured]:
        return x.policies[1:], x.constant * x.decay(2.0) * (2.0 / x.tau)

    @control(
        "the second term of the constant is needed: in a bandit the first is 0",
        Case("textbook:two-arm", step=0.05),
    )
    def first_term_alone(self, x: Distances) -> tuple[Measured, Measured]:
        return x.policies[1:], x.values[0] * x.decay() * (2.0 / x.tau)
