r"""NPG without constraints: a rate for the last iterate that does not depend on the number of states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tabular_fedrl.algorithms.step_sizes import log_actions, span
from tabular_fedrl.claims import Case, StudyData, Theorem, chain, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import average, evaluate, visitation
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Course:
    r"""A run, and for T = 1..K: ``rounds``: T; ``last``: the gap of :math:`\pi_T`; ``mean``: the mean gap of
    :math:`\pi_0..\pi_{T-1}`; ``divergence``: :math:`E_{d^\star}[KL_0 - KL_T]`; ``normalisers``:
    :math:`E_{d^\star} \sum_{t<T} \log Z_t`; ``gain``: :math:`(V^{\pi_T} - V^{\pi_0})(d^\star)`."""

    run: Run
    rounds: Measured
    last: Measured
    mean: Measured
    divergence: Measured
    normalisers: Measured
    gain: Measured

    @property
    def near(self) -> Measured:
        r""":math:`1-\gamma`"""
        return Measured(1.0) - self.run.problem.cmdp.gamma

    def bound(self, second: float = 1.0) -> Measured:
        """The guarantee's right side, with ``second`` times its second term."""
        cmdp = self.run.problem.cmdp
        first = Measured(log_actions(cmdp)) / self.run.parameters["eta"]
        return (first + Measured(span(cmdp.r)) / self.near**2 * second) / self.rounds


class NPG(Theorem):
    r"""Natural policy gradient converges like 1/T for every step, in its last iterate.

    **Problem.** :math:`\max_\pi V_r^\pi(\rho)`.

    **Algorithm.** :math:`\pi \leftarrow \pi \exp(\eta A_r/(1-\gamma))/Z` with any :math:`\eta > 0`, uniform
    start.

    **Guarantee** (*upper*). For every T, R the span of r,

    .. math:: V_r^\star(\rho) - V_r^{\pi_T}(\rho) \le \frac{\log|A|}{\eta T} + \frac{R}{(1-\gamma)^2 T} .

    **Proof.** L1 summed over the rounds: the mean gap is
    :math:`\frac{1}{\eta T} E_{d^\star}[KL_0 - KL_T + \sum_t \log Z_t]`. By L2 with
    :math:`\mu = d^\star` the normalisers telescope,
    :math:`\frac{1}{\eta} E_{d^\star} \sum_t \log Z_t \le
    \frac{1}{1-\gamma} (V^{\pi_T} - V^{\pi_0})(d^\star) \le \frac{R}{(1-\gamma)^2}`. By L2 values never
    decrease, so that the last gap is at most the mean one.

    **Source.** Agarwal, Kakade, Lee, Mahajan (2021), theorem 5.3, quoted from memory and proved again here
    for any span.
    """

    id = "rates.npg"
    mark = "recalled"
    source = "Agarwal, Kakade, Lee, Mahajan 2021; theory notes, rates"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=1", eta=1.0),
        Case("garnet:S=20,A=5,b=2,m=1,seed=3"),
        Case("windy-cliff:ncost=1"),
        Case("gym:FrozenLake-v1,gamma=0.9"),
        Case("gym:CliffWalking-v1,gamma=0.9", rounds=50),
        Case("textbook:three-state"),
        Case("textbook:two-arm"),
        Case("textbook:scaled-arms"),
    )
    certified = (Case("textbook:three-state", rounds=20), Case("textbook:two-arm", rounds=20))
    small = {"rounds": 20}
    family = "cmdp:S=1..3,A=2..3,m=0,N=1,gamma=0..0.95"
    space = {"rounds": (1, 100), "eta": (1e-3, 1e3)}
    effort = 300

    @hypothesis("at least two actions and a reward that is not constant")
    def choices(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1 and bool(span(problem.cmdp.r) > 0)

    @hypothesis("the step is positive")
    def positive_step(self, problem: FederatedCMDP, eta: float | None) -> bool:
        return eta is None or eta > 0

    def setup(self, problem: FederatedCMDP, rounds: int = 200, eta: float | None = None) -> Course:
        result = run("npg", problem, rounds + 1, eta=eta, record="iterates")
        assert result.solution is not None
        assert result.iterates is not None
        assert result.kl is not None
        assert result.log_normaliser is not None
        cmdp = result.problem.cmdp
        gaps = result.solution.value - result.value
        before = np.tri(rounds)  # row T-1: the rounds 0..T-1
        d = visitation(cmdp, result.solution.log_policy)
        start = average(d, evaluate(cmdp, result.iterates.log_policies[: rounds + 1]).V[:, 0])
        T = Measured(np.arange(1.0, rounds + 1))
        return Course(
            run=result,
            rounds=T,
            last=gaps[1:],
            mean=dot(before, gaps[:-1]) / T,
            divergence=result.kl[0] - result.kl[1 : rounds + 1],
            normalisers=dot(before, result.log_normaliser[:-1, 0, 0]),
            gain=start[1:] - start[0],
        )

    @upper(r"V_r^\star - V_r^{\pi_T} \le \frac{\log|A|}{\eta T} + \frac{R}{(1-\gamma)^2 T}")
    def last(self, x: Course) -> tuple[Measured, Measured, Measured]:
        trivial = Measured(span(x.run.problem.cmdp.r)) / x.near
        return x.last, x.bound(), trivial

    @chain("last")
    def proof(self, x: Course) -> Iterator[tuple[str, Measured]]:
        step = Measured(x.run.parameters["eta"])
        yield "the gap of the last iterate", x.last
        yield "values never decrease (L2): the last gap is at most the mean one", x.mean
        summed = (x.divergence + x.normalisers) / (x.rounds * step)
        yield "L1, summed over the rounds", summed
        telescoped = (x.divergence / step + x.gain / x.near) / x.rounds
        yield "the normalisers telescope (L2 from the visitation of the optimal policy)", telescoped
        yield (
            "the divergence from the uniform policy is at most log|A|, values range over R/(1-gamma)",
            x.bound(),
        )

    @study("power_rate")
    def curve(self) -> StudyData:
        """The gap of NPG's last policy for three steps, beside the bound (*recalled*). A small MDP is soon
        left faster than by the bound; among 200 arms the rate 1/T is real as long as many are nearly best."""
        at, curves = np.unique(np.geomspace(1, 1000, 30).astype(int)), []
        for source in ("random-mdp:seed=1", "random-mdp:seed=1,nS=1,nA=200,gamma=0"):
            panel = Panel(source, r"gap $V_r^\star - V_r^{\pi_T}$ (units of value)")
            for eta in (0.01, 0.1, 1.0):
                x = self.setup(load(source), rounds=1000, eta=eta)
                curves.append(Curve(panel, f"eta={eta:g}", at, x.last[at - 1], x.bound()[at - 1]))
        return power_study("NPG", self.mark, "rounds T", curves)

    @control(
        "the second term is needed: with a huge step the first says nothing",
        Case("textbook:three-state", eta=1e6, rounds=2),
    )
    def first_term_alone(self, x: Course) -> tuple[Measured, Measured]:
        return x.last, x.bound(second=0.0)

    @control("1/T squared is too fast", Case("random-mdp:seed=1", eta=1e-3))
    def faster(self, x: Course) -> tuple[Measured, Measured]:
        return x.last, x.bound() / x.rounds
