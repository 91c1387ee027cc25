r"""Decentralised FedNPG with entropy: the agents' policies converge linearly, as seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofs_check.rates.decentralised import NETWORKS, mean_problem
from tabular_fedrl.algorithms.decentralised import GRAPHS, mixing_gap, mixing_matrix
from tabular_fedrl.algorithms.drpo_values import regularised_optimum
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, StudyData, Theorem, conjecture, control, hypothesis, study
from tabular_fedrl.claims.curves import Curve, Panel, linear_study
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed, uniform
from tabular_fedrl.runner import run


@dataclass(frozen=True)
class Contraction:
    r"""``distances (T+1,)``: :math:`\max_i \|\log\pi^\star_\tau - \log\pi_i^t\|_\infty`; ``factor``: the
    announced one."""

    distances: Measured
    factor: float

    def later(self, factor: float) -> tuple[Measured, Measured]:
        """The distance at T, and what the factor leaves of the one at T/2."""
        half = (len(self.distances) - 1) // 2
        return self.distances[2 * half], self.distances[half] * factor**half


class DecentralisedEntropy(Theorem):
    r"""With entropy the agents' policies converge linearly to the regularised optimum of the mean reward.

    **Problem.** As in ``rates.decentralised``, with entropy of weight :math:`\tau` in every reward.

    **Statement** (*conjecture* here). The published bound is a constant times
    :math:`\max\{1 - \tau\eta/2, (3+\sigma)/4\}^t` for small steps, the constant and the condition on the step
    not at hand. What is checked, *ours*, is that over the second half of the rounds the largest distance of
    a log-policy from the optimal one shrinks at least by that factor a round.

    **Source.** Yang, Cen, Wei, Chen, Chi (2024), quoted from memory.
    """

    id = "rates.decentralised-entropy"
    mark = "recalled"
    source = "Yang, Cen, Wei, Chen, Chi 2024; theory notes, rates"
    suite = tuple(
        Case(source, **network)
        for source in (
            "random-mdp:seed=1",
            "textbook:heterogeneous-bandit,agents=5",
            "random-mdp:seed=2,gamma=0.5",
        )
        for network in NETWORKS
    )
    certified = (Case("textbook:heterogeneous-bandit,agents=5", graph="ring", rounds=20),)
    small = {"rounds": 20}

    @hypothesis("the entropy weight is positive, the step at most a tenth of (1-gamma)/tau")
    def in_range(self, problem: FederatedCMDP, tau: float, step: float) -> bool:
        return tau > 0 and 0 < step <= 0.1

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 100,
        tau: float = 0.5,
        step: float = 0.05,
        graph: str = "ring",
        graph_seed: int = 0,
    ) -> Contraction:
        r"""``step``: :math:`\eta` in units of :math:`(1-\gamma)/\tau`."""
        near = 1.0 - problem.cmdp.floats().gamma
        eta = step * near / tau
        result = run(
            "decentralised-fednpg",
            problem,
            rounds,
            graph=graph,
            graph_seed=graph_seed,
            tau=tau,
            eta=array(eta),
            record="iterates",
            compare=False,
        )
        assert result.iterates is not None
        mean, fair = mean_problem(problem), uniform(problem.cmdp.S, problem.cmdp.A)
        _, V, Q = regularised_optimum(mean, fair, fair, tau, 0.0)
        best = (Q - V.reshape(-1, 1)) / tau - Measured(float(mean.A)).log()
        away = [(enclosed(x)[0] - best).abs().max() for x in result.iterates.log_policies]
        sigma = mixing_gap(mixing_matrix(graph, problem.N, graph_seed))
        return Contraction(Measured.stack(away), max(1 - tau * eta / 2, (3 + sigma) / 4))

    @conjecture(r"\delta_T \le \max\{1 - \tfrac{\tau\eta}2, \tfrac{3+\sigma}4\}^{T/2}\, \delta_{T/2}")
    def linear(self, x: Contraction) -> tuple[Measured, Measured]:
        return x.later(x.factor)

    @study("linear_rate")
    def curve(self) -> StudyData:
        """The largest distance of an agent's log-policy from the regularised optimum for each graph, and what
        the announced factor (*recalled*) leaves of it from the middle of the rounds on. The curves of the
        graphs differ by less than a quarter; the announced factor depends on the graph where sigma is
        large."""
        rounds, curves = 100, []
        half, at = rounds // 2, np.arange(rounds + 1)
        ylabel = r"$\max_i \|\log\pi_\tau^\star - \log\pi_i^t\|_\infty$ (dimensionless)"
        for source in ("random-mdp:seed=1,nS=1,nA=5,agents=6,gamma=0", "random-mdp:seed=1,agents=6"):
            panel = Panel(source, ylabel)
            for graph in GRAPHS:
                x = self.setup(load(source), rounds=rounds, step=0.1, graph=graph)
                announced = float(x.distances[half]) * x.factor ** (at - half)
                bound = Measured(np.where(at > half, announced, np.nan))
                curves.append(Curve(panel, f"{graph} ({x.factor:.3f})", at, x.distances, bound))
        return linear_study("Decentralised FedNPG with entropy, tau = 0.5", self.mark, "rounds t", curves)

    @control(
        "the fourth power of the factor is too small for a bandit", Case("textbook:heterogeneous-bandit")
    )
    def faster(self, x: Contraction) -> tuple[Measured, Measured]:
        return x.later(x.factor**4)
