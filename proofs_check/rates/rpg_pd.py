r"""RPG-PD: the last iterate of a regularised primal-dual method."""

from __future__ import annotations

import numpy as np

from proofs_check.fednpg.f4_terms import Terms, farthest, last_iterate_bound, path_of, terms
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, linear_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import run


class RPGPD(Theorem):
    r"""Regularised policy gradient primal-dual contracts towards the regularised saddle point.

    **Setting.** As in F4 (``fednpg.f4``) with one agent that sees all constraints:
    :math:`\Phi = \frac{1}{1-\gamma} E_d KL(\pi^\star_\tau\|\pi) + \frac12\|\lambda - \lambda^\star_\tau\|^2`,
    d the visitation of :math:`\pi^\star_\tau`.

    **Algorithm.** :math:`\pi \leftarrow \pi \exp(\eta(q - \tau\log\pi))/Z`, q the soft Q of
    :math:`r - \sum_j \lambda_j c_j`;
    :math:`\lambda_j \leftarrow \mathrm{clip}(\lambda_j + \eta(V_{c_j} - d_j - \tau\lambda_j), 0, \Lambda)`.

    **Guarantee** (*upper*).

    .. math:: \Phi_{t+1} \le (1-\eta\tau)\,\Phi_t + \eta^2 \Big[\frac{1}{8(1-\gamma)}
              E_d\,\mathrm{range}(q - \tau\log\pi)^2 + \frac12 \|V_c - d - \tau\lambda\|^2\Big],

    and for the last iterate, from the uniform policy and with :math:`\eta\tau \le 1`, the sum of this
    geometric series: :math:`D = (R + \Lambda\sum_j C_j + \gamma\tau\log|A|)/(1-\gamma)`, R and :math:`C_j`
    the spans of r and :math:`c_j`, bounds the range of q and of :math:`\tau\log\pi`;
    :math:`G_j = \max_\pi |V_{c_j} - d_j|`.

    **Proof.** That of F4 with N = 1, where the mean of one policy is that policy.

    **Source.** Ding, Wei, Zhang, Ribeiro (2023), form quoted from memory; the recursion and its proof are
    ours: F4 with N = 1.
    """

    id = "rates.rpg-pd"
    mark = "ours"
    source = "theory notes, rates and F4; after Ding, Wei, Zhang, Ribeiro 2023"
    suite = (
        Case("textbook:two-arm", tau=0.1),
        Case("textbook:three-state", tau=0.1),
        Case("textbook:heterogeneous-bandit", tau=0.05, rounds=300),
        Case("random-mdp:seed=1", tau=0.1),
        Case("garnet:S=20,A=4,b=5,m=3,seed=2", tau=0.2),
        Case("windy-cliff:ncost=2", tau=0.5),
    )
    certified = (Case("textbook:three-state", rounds=20),)
    small = {"rounds": 15}
    family = "cmdp:S=1..2,A=2..3,m=1..2,N=1,gamma=0..0.9"
    space = {"rounds": (1, 30), "tau": (1e-2, 10.0), "eta": [None, (1e-3, 10.0)]}
    effort = 200

    @hypothesis("positive tau and eta")
    def positive(self, problem: FederatedCMDP, tau: float, eta: float | None) -> bool:
        return tau > 0 and (eta is None or eta > 0)

    @hypothesis("eta tau <= 1", only=["last_iterate"])
    def short_steps(self, problem: FederatedCMDP, tau: float, eta: float | None) -> bool:
        return eta is None or eta * tau <= 1

    def setup(
        self, problem: FederatedCMDP, rounds: int = 100, tau: float = 0.1, eta: float | None = None
    ) -> Terms:
        result = run("rpg-pd", problem, rounds, tau=tau, eta=eta, record="iterates", compare=False)
        return terms(path_of(result, tau))

    @upper(
        r"\Phi_{t+1} \le (1-\eta\tau)\Phi_t + \eta^2[\tfrac{1}{8(1-\gamma)} E_d\,"
        r"\mathrm{range}(q - \tau\log\pi)^2 + \tfrac12 \|V_c - d - \tau\lambda\|^2]"
    )
    def contraction(self, x: Terms) -> tuple[Measured, Measured, Measured]:
        primal, dual = x.noise
        return x.potential[1:], x.loosened(x.contracted() + primal + dual), farthest(x.path)

    @upper(
        r"\Phi_t \le (1-\eta\tau)^t \Phi_0 + \tfrac\eta\tau [\tfrac{D^2}{2(1-\gamma)}"
        r" + \tfrac12 \sum_j (G_j + \tau\Lambda)^2]"
    )
    def last_iterate(self, x: Terms) -> tuple[Measured, Measured, Measured]:
        bound, lost = last_iterate_bound(x)
        return x.potential, x.loosened(bound, lost), farthest(x.path)

    @study("linear_rate")
    def curve(self) -> StudyData:
        """The potential of RPG-PD's last iterate for three steps: beside the recursion, unrolled with the
        noise of each round, and beside the bound that is known before the run, whose floor is far higher."""
        source, rounds, curves = "textbook:heterogeneous-bandit", 200, []
        panels = [
            Panel(title, r"$\Phi_t$ (dimensionless)") for title in ("recursion", "bound known beforehand")
        ]
        at = np.arange(0, rounds + 1, 10)
        for eta in (0.01, 0.03, 0.1):
            x = self.setup(load(source), rounds=rounds, eta=eta)
            left, right, _ = self.last_iterate.function(self, x)
            for panel, bound in zip(panels, (_unrolled(x), right)):
                curves.append(Curve(panel, f"eta={eta:g}", at, left[at], bound[at]))
        return linear_study(f"RPG-PD, tau = 0.1, {source}", self.mark, "rounds t", curves)

    @control("the factor cannot be 1 - 2 eta tau", Case("textbook:risky-shortcut", tau=0.1, eta=0.1))
    def twice_the_rate(self, x: Terms) -> tuple[Measured, Measured]:
        primal, dual = x.noise
        return x.potential[1:], x.loosened(x.contracted(2.0) + primal + dual)


def _unrolled(x: Terms) -> Measured:
    r"""What the recursion says of :math:`\Phi_t` from :math:`\Phi_0` on, t = 0..T."""
    primal, dual = x.noise
    noise = x.loosened(primal + dual)
    bounds = [x.potential[0]]
    for t in range(len(noise)):
        bounds.append(bounds[-1] * (1.0 - x.per_agent * x.path.tau) + noise[t])
    return Measured.stack(bounds)
