r"""L2: the normaliser of a natural-gradient step, and monotonicity."""

from __future__ import annotations

import numpy as np

from proofs_check.fednpg.l1 import Step, steps, take_step
from tabular_fedrl.arithmetic import magnitude, stack
from tabular_fedrl.claims import Case, Rows, Table, Theorem, control, hypothesis, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import uniform


class Normaliser(Theorem):
    r"""The normaliser of a natural-gradient step is small, and the step improves its own objective.

    **Setting.** As in L1 with :math:`\eta > 0`; B is the span of f.

    **Statement.**

    .. math:: 0 \le \log Z(s) \le \frac{\eta^2 B^2}{8 (1-\gamma)^4}, \qquad
              V_f^{\pi'}(\mu) - V_f^\pi(\mu) \ge \frac{1-\gamma}{\eta}\, E_\mu \log Z \ge 0 \quad\text{for
              every } \mu .

    **Proof.** :math:`E_\pi A = 0`, so Jensen gives the left inequality and Hoeffding's lemma the right one:
    the span of :math:`\eta A/(1-\gamma)` over actions is at most :math:`\eta B/(1-\gamma)^2`. For the
    second, performance difference with :math:`\langle \pi', A\rangle = \frac{1-\gamma}{\eta}(KL(\pi'\|\pi) +
    \log Z) \ge \frac{1-\gamma}{\eta} \log Z` and :math:`d_\mu^{\pi'} \ge (1-\gamma)\mu`.

    The claim is made for every state s, and for :math:`\mu` = every point mass.

    **Source.** Theory notes, fednpg section 3; monotonicity as in Agarwal et al. (2021), lemma 5.2.
    """

    id = "fednpg.l2"
    mark = "ours"
    source = "theory notes, L2"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=2,agents=2", eta=0.01),
        Case("garnet:S=30,A=4,b=4,m=2,seed=2"),
        Case("windy-cliff:ncost=2", eta=0.001),
        Case("gym:FrozenLake-v1,gamma=0.9", eta=0.01),
        Case("textbook:three-state", eta=1.0),
        Case("textbook:two-arm", eta=1.0),
    )
    certified = (Case("textbook:three-state", eta=1.0), Case("random-mdp:seed=1", draws=2))

    family = "cmdp:S=1..3,A=2..3,m=0,N=1,gamma=0..0.95"
    space = {"eta": (1e-3, 10.0), "draws": [1], "policy": Table.POLICY}
    effort = 800

    @hypothesis("eta > 0")
    def positive_step(self, problem: FederatedCMDP, eta: float) -> bool:
        return eta > 0

    def setup(
        self,
        problem: FederatedCMDP,
        eta: float = 0.1,
        draws: int = 4,
        seed: int = 0,
        policy: Rows | None = None,
    ) -> list[Step]:
        return steps(problem, eta, draws, seed, policy)

    @tight(r"0 \le \log Z(s)", attained=Case("textbook:constant-reward"))
    def jensen(self, x: list[Step]) -> tuple[float, Measured]:
        return 0.0, Measured.stack([step.log_z for step in x])

    @upper(r"\log Z(s) \le \eta^2 B^2 / (8 (1-\gamma)^4)")
    def hoeffding(self, x: list[Step]) -> tuple[Measured, Measured]:
        return _hoeffding(x, 8.0)

    @tight(
        r"\frac{1-\gamma}{\eta} \log Z(s) \le V_f^{\pi'}(s) - V_f^\pi(s)",
        attained=Case("textbook:constant-reward"),
    )
    def monotone(self, x: list[Step]) -> tuple[Measured, Measured]:
        left = [step.log_z * (Measured(1.0) - step.cmdp.gamma) / step.eta for step in x]
        return Measured.stack(left), Measured.stack([_gain(step) for step in x])

    @control("Hoeffding's 1/8 cannot be 1/9: two arms, uniform policy, small step", Case("textbook:two-arm"))
    def ninth(self, x: list[Step]) -> tuple[Measured, Measured]:
        arms, fair = x[0].cmdp, uniform(1, 2)
        return _hoeffding([take_step(arms, arms.r, x[0].eta, fair, fair)], 9.0)

    @control(
        "the gain is not at least log Z without the factor (1-gamma)/eta", Case("random-mdp:seed=1", eta=1.0)
    )
    def factor_dropped(self, x: list[Step]) -> tuple[Measured, Measured]:
        return Measured.stack([step.log_z for step in x]), Measured.stack([_gain(step) for step in x])

    @control("a step in the other direction loses: eta > 0 is needed", Case("random-mdp:seed=1", eta=-0.1))
    def downhill(self, x: list[Step]) -> tuple[Measured, Measured]:
        return self.monotone.function(self, x)


def _hoeffding(x: list[Step], constant: float) -> tuple[Measured, Measured]:
    bounds = [
        Measured(s.eta) ** 2 * s.span**2 / ((Measured(1.0) - s.cmdp.gamma) ** 4 * constant)
        + np.zeros(s.cmdp.S)
        for s in x
    ]
    return Measured.stack([step.log_z for step in x]), Measured.stack(bounds)


def _gain(step: Step) -> Measured:
    cmdp = step.cmdp
    values = evaluate(cmdp, stack([step.after, step.before]), step.f[None])
    gain, Q = values.V[0, 0] - values.V[1, 0], values.Q[0]
    # In floats `after` is within `rounding` of the exact step in log-probability; by performance difference:
    moved = (Q.max() - Q.min()) * step.rounding / (Measured(1.0) - cmdp.gamma)
    return gain.rounded_by(magnitude(moved))
