r"""Policy mirror descent with growing steps: linear convergence without regularisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.algorithms.step_sizes import span
from tabular_fedrl.algorithms.unconstrained import mismatch, reward_alone
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, tight, upper
from tabular_fedrl.claims.curves import Curve, Panel, linear_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Decay:
    r"""A run; ``gaps``: :math:`V^\star - V^k` for k = 0..K-1; ``theta``; ``eta``: :math:`\eta_0`."""

    run: Run
    gaps: Measured
    theta: Measured
    eta: Measured

    @property
    def near(self) -> Measured:
        r""":math:`1-\gamma`"""
        return Measured(1.0) - self.run.problem.cmdp.gamma

    def potential(self) -> Measured:
        r""":math:`V^\star - V^k + KL_k/((1-\gamma)\eta_k(\theta-1))` for k = 0..K-1."""
        assert self.run.kl is not None
        growth = self.theta / (self.theta - 1.0)
        steps = [self.eta]
        for _ in range(len(self.gaps) - 1):
            steps.append(steps[-1] * growth)
        return self.gaps + self.run.kl[:-1] / (self.near * Measured.stack(steps) * (self.theta - 1.0))

    def decay(self, theta: Measured) -> Measured:
        r""":math:`(1 - 1/\theta)^k` for k = 0..K-1."""
        powers = [Measured(1.0)]
        for _ in range(len(self.gaps) - 1):
            powers.append(powers[-1] * (1.0 - theta.reciprocal()))
        return Measured.stack(powers)


class MirrorDescent(Theorem):
    r"""Policy mirror descent with geometrically growing steps converges linearly.

    **Problem.** :math:`\max_\pi V_r^\pi(\rho)`, :math:`\pi^\star` one optimal policy throughout,
    :math:`\theta \ge \frac{1}{1-\gamma} \|d_\rho^{\pi^\star}/\rho\|_\infty`, :math:`\theta > 1`.

    **Algorithm.** :math:`\pi_{k+1} = \pi_k \exp(\eta_k Q^{\pi_k})/Z` with
    :math:`\eta_{k+1} \ge \eta_k\,\theta/(\theta-1)`.

    **Guarantee** (*upper*). With :math:`KL_k = E_{d^\star} KL(\pi^\star\|\pi_k)`,

    .. math:: V^\star - V^k \le \Big(1 - \frac1\theta\Big)^k
              \Big(V^\star - V^0 + \frac{KL_0}{(1-\gamma)\eta_0(\theta-1)}\Big) .

    **Proof.** The three-point identity of the step, with :math:`\pi^\star`, and performance difference give
    :math:`\langle\pi^\star - \pi_{k+1}, Q^k\rangle \le \frac1{\eta_k}(KL(\pi^\star\|\pi_k) -
    KL(\pi^\star\|\pi_{k+1}))` in every state. Under :math:`d^\star`, the left side is
    :math:`(1-\gamma)(V^\star - V^k) + E_{d^\star}\langle\pi_k - \pi_{k+1}, Q^k\rangle`; its second part is
    not positive in any state, and :math:`d^\star \le (1-\gamma)\theta\rho \le \theta\,d_\rho^{\pi_{k+1}}`
    makes it at least :math:`-(1-\gamma)\theta\,(V^{k+1} - V^k)`. Divided by
    :math:`(1-\gamma)\theta`, with :math:`\delta_k = V^\star - V^k`,

    .. math:: \delta_{k+1} + \frac{KL_{k+1}}{(1-\gamma)\theta\eta_k} \le
              \Big(1 - \frac1\theta\Big) \delta_k + \frac{KL_k}{(1-\gamma)\theta\eta_k} ,

    and :math:`\theta\eta_k \le (\theta-1)\eta_{k+1}` makes the left side at least, the right side
    :math:`1 - 1/\theta` times, the same potential
    :math:`\delta_k + KL_k/((1-\gamma)\eta_k(\theta-1))` at k+1 and at k.

    **Source.** Xiao (2022); form quoted from memory, constant ours.
    """

    id = "rates.mirror-descent"
    mark = "ours"
    source = "theory notes, rates; after Xiao 2022"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=1", eta=1e-3),
        Case("random-mdp:seed=2,gamma=0.5"),
        Case("random-mdp:seed=6,gamma=0.99"),
        Case("garnet:S=20,A=5,b=2,m=1,seed=3"),
        Case("random-mdp:seed=3", theta=200.0),
    )
    certified = (Case("random-mdp:seed=1,gamma=0.5", rounds=8),)
    small = {"rounds": 8}
    family = "cmdp:S=1..3,A=2..3,m=0,N=1,gamma=0.1..0.95"
    space = {"rounds": (2, 40), "eta": (1e-3, 1e2)}
    effort = 200

    @hypothesis("an episode starts in every state")
    def started(self, problem: FederatedCMDP) -> bool:
        return bool((problem.cmdp.rho > 0).all())

    @hypothesis("theta is above 1 and at least the mismatch of the optimal policy")
    def wide(self, problem: FederatedCMDP, theta: float | None) -> bool:
        if (problem.cmdp.rho <= 0).any():
            return False
        if theta is None:
            # The mismatch is 1/(1-gamma) or more, but rounded up it is above 1 always.
            return bool(problem.cmdp.gamma > 0)
        return theta > 1 and theta >= mismatch(_unconstrained(problem).cmdp)

    @hypothesis("the first step is positive")
    def positive_step(self, problem: FederatedCMDP, eta: float | None) -> bool:
        return eta is None or eta > 0

    def setup(
        self, problem: FederatedCMDP, rounds: int = 60, eta: float | None = None, theta: float | None = None
    ) -> Decay:
        alone = _unconstrained(problem)
        theta = mismatch(alone.cmdp) if theta is None else theta
        result = run("mirror-descent", alone, rounds, eta=eta, theta=theta)
        assert result.solution is not None
        gaps = result.solution.value - result.value
        return Decay(result, gaps, Measured(theta), Measured(result.parameters["eta"]))

    @upper(
        r"V^\star - V^k \le (1 - \tfrac1\theta)^k (V^\star - V^0 + \frac{KL_0}{(1-\gamma)\eta_0(\theta-1)})"
    )
    def gap(self, x: Decay) -> tuple[Measured, Measured, Measured]:
        trivial = Measured(span(x.run.problem.cmdp.r)) / x.near
        return x.gaps[1:], x.potential()[0] * x.decay(x.theta)[1:], trivial

    @tight(
        r"\Phi_{k+1} \le (1 - \tfrac1\theta) \Phi_k, \quad"
        r"\Phi_k = V^\star - V^k + \frac{KL_k}{(1-\gamma)\eta_k(\theta-1)}",
        attained=Case("textbook:constant-reward,gamma=0.5", rounds=4),
    )
    def one_round(self, x: Decay) -> tuple[Measured, Measured]:
        potential = x.potential()
        return potential[1:], potential[:-1] * (1.0 - x.theta.reciprocal())

    @study("linear_rate")
    def curve(self) -> StudyData:
        """The gap of mirror descent, and the potential of its proof, for three first steps. As the steps grow
        the gap falls ever faster; the potential keeps to the announced factor while its divergence leads."""
        source, rounds, curves = "random-mdp:seed=1", 60, []
        panels = (
            Panel("gap", r"gap $V^\star - V^k$ (units of value)"),
            Panel("potential", r"$\Phi_k$ (units of value)"),
        )
        for eta in (1e-3, 1e-2, 1e-1):
            x = self.setup(load(source), rounds=rounds, eta=eta)
            bound = x.potential()[0] * x.decay(x.theta)
            for panel, y in zip(panels, (x.gaps, x.potential())):
                curves.append(Curve(panel, f"eta={eta:g}", np.arange(rounds), y, bound))
        return linear_study(f"Mirror descent, {source}", self.mark, "rounds k", curves)

    @control("constant steps do not converge linearly", Case("random-mdp:seed=1", eta=0.1))
    def constant_steps(self, x: Decay) -> tuple[Measured, Measured]:
        # NPG with exponent eta Q: its own step is eta (1-gamma).
        plain = run("npg", x.run.problem, 3000, eta=0.1 * x.near.value, solution=x.run.solution)
        assert plain.solution is not None
        k = 2999
        last = plain.solution.value - plain.value[k]
        return last, x.potential()[0] * float(np.exp(k * np.log1p(-1 / x.theta.value)))


def _unconstrained(problem: FederatedCMDP) -> FederatedCMDP:
    return reward_alone(problem, {})
