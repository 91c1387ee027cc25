r"""F4: regularised FedNPG contracts towards the regularised saddle point in every round."""

from __future__ import annotations

from collections.abc import Iterator

from proofs_check.fednpg.f4_terms import (
    Terms,
    farthest,
    last_iterate_bound,
    path_of,
    range_bound,
    terms,
    with_exponent_of_f1,
)
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import run


class F4(Theorem):
    r"""Regularised FedNPG contracts towards the regularised saddle point: a guarantee on the last iterate.

    **Setting.** Entropy with weight :math:`\tau/N` in each agent's reward, a quadratic with weight
    :math:`\tau` in the multipliers, E = 1, uniform start, :math:`\lambda^0 = 0`. With
    :math:`(\pi^\star_\tau, \lambda^\star_\tau)` the saddle point over policies and :math:`[0,\Lambda]^M` of

    .. math:: L_\tau(\pi,\lambda) = V_r(\rho) - \sum_{ij} \lambda_{ij}(V_{c_j}(\rho) - d_j) + \tau H(\pi)
              + \tfrac\tau2 \sum_{ij} \lambda_{ij}^2, \qquad H(\pi) = E \sum_t \gamma^t \mathcal
              H(\pi(\cdot|s_t)),

    and :math:`d = d_\rho^{\pi^\star_\tau}` let

    .. math:: \Phi_k = \tfrac{1}{1-\gamma} E_d KL(\pi^\star_\tau\|\bar\pi_k)
              + \tfrac12 \|\lambda^k - \lambda^\star_\tau\|^2 .

    **Algorithm.** Regularised FedNPG (ours, after the authors' FedNPG, mark *code*):
    :math:`\pi_i = \bar\pi \exp(\eta \tilde Q_i)/Z_i`, :math:`\tilde Q_i = q_i - \frac\tau N \log\bar\pi`,
    :math:`q_i` the soft Q of :math:`r/N - \sum_j \lambda_{ij} c_j`; then the mean, arithmetic or geometric;
    :math:`\lambda_{ij} \leftarrow \mathrm{clip}(\lambda_{ij} + \frac\eta N g_{ij}, 0, \Lambda)`,
    :math:`g_{ij} = V_{c_j} - d_j - \tau\lambda_{ij}`.

    **Guarantee** (*upper*). In every round, with the squared range over actions averaged over d,

    .. math:: \Phi_{k+1} \le \Big(1 - \frac{\eta\tau}N\Big) \Phi_k + \eta^2 \Big[\frac{1}{8(1-\gamma)N} \sum_i
              E_d\,\mathrm{range}(\tilde Q_i)^2 + \frac{1}{2N^2} \sum_{ij} g_{ij}^2\Big].

    If :math:`\eta\tau \le N` then :math:`\mathrm{range}(\tilde Q_i) \le 2D`,
    :math:`D = \max_i (B_i + \gamma\frac\tau N\log|A|)/(1-\gamma)`, and for the last iterate

    .. math:: \Phi_k \le \Big(1 - \frac{\eta\tau}N\Big)^k \Phi_0 + \frac{\eta N}\tau \Big[
              \frac{D^2}{2(1-\gamma)} + \frac{1}{2N^2} \sum_{ij} (G_j + \tau\Lambda)^2\Big].

    **Proof.** Write :math:`p = \pi^\star_\tau`, :math:`\lambda^\star = \lambda^\star_\tau`.

    *Step 1.* L4: averaging does not increase the divergence from p.

    *Step 2.* For each agent :math:`KL(p\|\pi_i) - KL(p\|\bar\pi) = -\eta\langle p, \tilde Q_i\rangle +
    \log Z_i`, and :math:`\log Z_i \le \eta\langle\bar\pi, \tilde Q_i\rangle + \eta^2
    \mathrm{range}(\tilde Q_i)^2/8` by Hoeffding's lemma.

    *Step 3.* Clipping is non-expansive: :math:`\frac12\|\lambda^+ - \lambda^\star\|^2 - \frac12\|\lambda
    - \lambda^\star\|^2 \le \frac\eta N \langle g, \lambda - \lambda^\star\rangle +
    \frac{\eta^2}{2N^2}\|g\|^2`.

    *Step 4.* :math:`\sum_i \tilde Q_i` is the soft Q of :math:`r - \sum_{ij}\lambda_{ij} c_j` minus
    :math:`\tau\log\bar\pi`, and the performance difference lemma with entropy reads

    .. math:: \tfrac{1}{1-\gamma} E_d \langle p - \bar\pi, \textstyle\sum_i \tilde Q_i\rangle
              = L_\tau(p, \lambda) - L_\tau(\bar\pi, \lambda)
              + \tfrac{\tau}{1-\gamma} E_d KL(p\|\bar\pi) ;

    :math:`L_\tau(\bar\pi, \cdot)` is quadratic with gradient -g, so that

    .. math:: \langle g, \lambda - \lambda^\star\rangle = L_\tau(\bar\pi, \lambda^\star)
              - L_\tau(\bar\pi, \lambda) - \tfrac\tau2\|\lambda - \lambda^\star\|^2 .

    In the sum :math:`L_\tau(\bar\pi,\lambda)` cancels (an exponent with 1/(1-gamma) would spoil that),
    and

    .. math:: -\tfrac{\eta\tau}N \Phi_k - \tfrac\eta N[L_\tau(p,\lambda) - L_\tau(\bar\pi,\lambda^\star)]

    remains, with a bracket that is non-negative at a saddle point and at least :math:`-\varepsilon` at a
    point with duality gap :math:`\varepsilon`: so the computed saddle point enters the error.

    Range: :math:`q_i` ranges over at most D, since soft values lie between :math:`\min f/(1-\gamma)` and
    :math:`(\max f + \frac\tau N\log|A|)/(1-\gamma)`. If
    :math:`\frac\tau N\mathrm{range}(\log\bar\pi) \le D`, true at the uniform start, then
    :math:`\log\pi_i = (1 - \frac{\eta\tau}N)\log\bar\pi + \eta q_i` + const has
    :math:`\frac\tau N \mathrm{range} \le D` again, and so has either mean: its ratios of probabilities lie
    between those of the agents. Hence :math:`\mathrm{range}(\tilde Q_i) \le 2D`.

    **Source.** Theory notes, F4; the source announces no last-iterate guarantee.
    """

    id = "fednpg.f4"
    mark = "ours"
    source = "theory notes, F4"
    suite = (
        *(
            Case(source, tau=tau, aggregation=how, rounds=100)
            for source, tau in (
                ("textbook:two-arm", 0.1),
                ("textbook:heterogeneous-bandit", 0.05),
                ("textbook:three-state", 0.1),
                ("random-mdp:seed=1", 0.1),
                ("random-mdp:seed=2,visible=0+1/1+2/2+3/3+0", 0.5),
                ("garnet:S=20,A=4,b=5,m=3,seed=2", 0.2),
                ("windy-cliff:ncost=2", 0.5),
                ("gym:FrozenLake-v1,agents=2,gamma=0.9", 0.05),
            )
            for how in ("arithmetic", "geometric")
        ),
        Case("textbook:heterogeneous-bandit", tau=0.05, eta=2.0, rounds=300),
        Case("textbook:heterogeneous-bandit", tau=0.2, eta=0.01, rounds=1000, dual_cap=0.5),
        Case("textbook:two-arm", tau=1.0, eta=0.02, rounds=400, dual_cap=2.0),
    )
    certified = (Case("textbook:three-state", rounds=20),)
    small = {"rounds": 15}
    family = "cmdp:S=1..2,A=2..3,m=1..2,N=1..2,gamma=0..0.9"
    space = {
        "rounds": (1, 30),
        "tau": (1e-2, 10.0),
        "eta": [None, (1e-3, 10.0)],
        "aggregation": ["arithmetic", "geometric"],
    }
    effort = 200

    @hypothesis("at least two actions")
    def choices(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1

    @hypothesis("positive tau and eta and, with constraints, a positive cap")
    def positive(self, problem: FederatedCMDP, tau: float, eta: float | None, dual_cap: float | None) -> bool:
        given = [tau, eta, *((dual_cap,) if problem.cmdp.m else ())]
        return all(x is None or x > 0 for x in given)

    @hypothesis("eta tau <= N", only=["ranges", "last_iterate"])
    def short_steps(self, problem: FederatedCMDP, tau: float, eta: float | None) -> bool:
        return eta is None or eta * tau <= problem.N

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 100,
        tau: float = 0.1,
        eta: float | None = None,
        dual_cap: float | None = None,
        aggregation: str = "arithmetic",
    ) -> Terms:
        result = run(
            "regularised-fednpg",
            problem,
            rounds=rounds,
            tau=tau,
            eta=eta,
            dual_cap=dual_cap,
            aggregation=aggregation,
            record="iterates",
            compare=False,
        )
        return terms(path_of(result, tau))

    @upper(
        r"\Phi_{k+1} \le (1 - \tfrac{\eta\tau}N)\Phi_k + \eta^2[\tfrac{1}{8(1-\gamma)N}\sum_i E_d\,"
        r"\mathrm{range}(\tilde Q_i)^2 + \tfrac{1}{2N^2}\sum_{ij} g_{ij}^2]"
    )
    def contraction(self, x: Terms) -> tuple[Measured, Measured, Measured]:
        primal, dual = x.noise
        return x.potential[1:], x.loosened(x.contracted() + primal + dual), farthest(x.path)

    @chain("contraction")
    def contraction_chain(self, x: Terms) -> Iterator[tuple[str, Measured]]:
        primal, dual = x.noise
        before, after = x.divergence[:-1], x.distance[1:]
        moved = before - x.per_agent * x.ascent + primal
        yield "the next potential", x.potential[1:]
        yield "L4: the mean does not move away", (x.local_divergence + after).rounded_by(x.rounding)
        yield "Hoeffding's lemma for each agent's normaliser", (moved + after).rounded_by(x.rounding)
        yield (
            "clipping is non-expansive",
            (moved + x.distance[:-1] + x.per_agent * x.slope + dual).rounded_by(x.rounding),
        )
        yield (
            "performance difference with entropy, strong convexity, saddle point",
            x.loosened(x.contracted() + primal + dual),
        )

    @upper(r"\mathrm{range}(\tilde Q_i) \le 2D")
    def ranges(self, x: Terms) -> tuple[Measured, Measured]:
        return x.largest, range_bound(x.path) * 2.0

    @upper(
        r"\Phi_k \le (1 - \tfrac{\eta\tau}N)^k \Phi_0 + \tfrac{\eta N}\tau [\tfrac{D^2}{2(1-\gamma)}"
        r" + \tfrac{1}{2N^2} \sum_{ij}(G_j + \tau\Lambda)^2]"
    )
    def last_iterate(self, x: Terms) -> tuple[Measured, Measured, Measured]:
        bound, lost = last_iterate_bound(x)
        return x.potential, x.loosened(bound, lost), farthest(x.path)

    @control("the factor cannot be 1 - 2 eta tau/N", Case("textbook:risky-shortcut", tau=0.1, eta=0.1))
    def twice_the_rate(self, x: Terms) -> tuple[Measured, Measured]:
        primal, dual = x.noise
        return x.potential[1:], x.loosened(x.contracted(2.0) + primal + dual)

    @control(
        "without the term in eta squared: agents that disagree keep the mean away",
        Case("textbook:heterogeneous-bandit", tau=0.05, eta=2.0, rounds=300),
    )
    def no_floor(self, x: Terms) -> tuple[Measured, Measured]:
        return x.potential[1:], x.loosened(x.contracted())

    @control(
        "the exponent eta Q/(1-gamma) of F1 instead of eta Q",
        Case("textbook:risky-shortcut", tau=0.1, eta=0.1),
    )
    def exponent_of_f1(self, x: Terms) -> tuple[Measured, Measured]:
        wrong = terms(with_exponent_of_f1(x.path))
        primal, dual = wrong.noise
        return wrong.potential[1:], wrong.loosened(wrong.contracted() + primal + dual)

    @control(
        "with eta tau > N ranges are not bounded in advance",
        Case("textbook:two-arm", tau=0.5, eta=5.0, rounds=40, dual_cap=2.0),
    )
    def long_steps(self, x: Terms) -> tuple[Measured, Measured]:
        return x.largest, range_bound(x.path) * 2.0
