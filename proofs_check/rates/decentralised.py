r"""Decentralised FedNPG with Q-tracking: a rate for the mean reward on any connected graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.decentralised import GRAPHS, largest_span, mixing_gap, mixing_matrix, own_reward
from tabular_fedrl.algorithms.step_sizes import log_actions, span
from tabular_fedrl.arithmetic import exp, stack, sum
from tabular_fedrl.claims import Case, Kind, StudyData, Theorem, control, hypothesis, identity, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.policies import geometric_logits, log_probabilities
from tabular_fedrl.runner import Run, run
from tabular_fedrl.solvers import solve

NETWORKS: tuple[dict[str, Any], ...] = (
    {"graph": "ring"},
    {"graph": "star"},
    {"graph": "complete"},
    {"graph": "erdos-renyi", "graph_seed": 2},
)
"""With four to six agents no two of these graphs have the same gap."""


@dataclass(frozen=True)
class Network:
    r"""A run of T rounds with its iterates; ``mean``: the problem of the mean reward; ``gaps (T,)``:
    :math:`V^\star - \bar V^t` for t < T; ``sigma``: enclosed; ``R``: the largest span of an own reward."""

    run: Run
    mean: CMDP
    gaps: Measured
    sigma: Measured
    R: Measured

    @property
    def gap(self) -> Measured:
        """Mean of the gaps."""
        return self.gaps.mean()

    def bound(self, rounds: Any = None) -> Measured:
        """The guarantee's right side after these ``rounds``, by default all of them."""
        T = Measured(float(self.run.rounds) if rounds is None else rounds)
        N, eta = float(self.run.problem.N), Measured(self.run.parameters["eta"])
        near = Measured(1.0) - self.mean.gamma
        first = Measured(log_actions(self.mean)) / (eta * T)
        second = self.R / (near**2 * T)
        third = self.sigma**2 * eta**2 * self.R**3 * (32.0 * N) / (near**9 * (1.0 - self.sigma) ** 2)
        return first + second + third


def mean_problem(problem: FederatedCMDP) -> CMDP:
    """The MDP of the agents' mean reward."""
    cmdp, N = problem.cmdp, problem.N
    r = sum(stack([own_reward(problem.view(i)) / float(N) for i in range(N)]), axis=0)
    return cmdp.replace(r=r, c=cmdp.c[:0], d=cmdp.d[:0])


class Decentralised(Theorem):
    r"""Agents on a graph that track the mean of their Q functions reach the best mean reward.

    **Problem.** Agent i has the reward :math:`r_i` (here :math:`r - \sum_{j\in\Gamma_i} c_j`), of span at
    most R; :math:`\max_\pi \frac1N \sum_i V_{r_i}`.

    **Algorithm.** ``decentralised-fednpg`` with a symmetric doubly stochastic W,
    :math:`\sigma = \|W - 11'/N\|_2`.

    **Guarantee** (*upper*). :math:`\bar V^t` is the value of the mean reward at the normalised geometric
    mean of the agents' policies. For
    :math:`0 < \eta \le (1-\sigma)^2 (1-\gamma)^3/(16 \sqrt N \sigma R)`

    .. math:: \frac1T \sum_{t<T} (V^\star - \bar V^t) \le \frac{\log|A|}{\eta T} + \frac{R}{(1-\gamma)^2 T}
              + \frac{32 N \sigma^2 \eta^2 R^3}{(1-\gamma)^9 (1-\sigma)^2} .

    The condition on the step makes the first term at least
    :math:`\frac{16 \sqrt N \sigma R \log|A|}{(1-\sigma)^2 (1-\gamma)^3 T}`. In fewer rounds than
    :math:`T = \frac{16 \sqrt N \sigma \log|A|}{(1-\sigma)^2 (1-\gamma)^2}` it is more than a gap can be, and
    the statement says nothing. On sparse graphs and at usual discounts that is many rounds; the suite has
    instances on either side.

    With :math:`W = 11'/N` every agent's policy is that of NPG on the mean reward (*identity*).

    **Source.** Yang, Cen, Wei, Chen, Chi (2024), quoted from memory for rewards in [0, 1]; R enters by
    dividing the rewards by it.
    """

    id = "rates.decentralised"
    mark = "recalled"
    source = "Yang, Cen, Wei, Chen, Chi 2024; theory notes, rates"
    suite = (
        *(Case("random-mdp:seed=1,gamma=0.1", rounds=1500, **network) for network in NETWORKS),
        *(Case("textbook:heterogeneous-bandit,agents=5", rounds=2000, **network) for network in NETWORKS),
        *(Case("random-mdp:seed=1,agents=6,gamma=0.1", rounds=1000, **network) for network in NETWORKS[::2]),
        *(Case("random-mdp:seed=1,agents=6", **network) for network in NETWORKS[1::2]),
        Case("random-mdp:seed=6,nS=1,agents=4,gamma=0", graph="star", rounds=2000),
        Case("garnet:S=20,A=4,b=5,m=3,seed=2", graph="ring", rounds=50),
    )
    certified = (
        Case("textbook:heterogeneous-bandit,agents=3", graph="complete", rounds=20),
        Case("textbook:heterogeneous-bandit,agents=5", graph="ring", rounds=10),
    )
    small = {"rounds": 10}

    @hypothesis("the step is positive and within the condition")
    def short_step(self, problem: FederatedCMDP, eta: float | None, graph: str, graph_seed: int) -> bool:
        sigma = mixing_gap(mixing_matrix(graph, problem.N, graph_seed))
        limit = (
            (1 - sigma) ** 2 * (1 - problem.cmdp.floats().gamma) ** 3 / (16 * problem.N**0.5 * sigma + 1e-300)
        )
        R = float(Measured.of(largest_span(problem)).upper)
        return eta is None or (eta > 0 and eta * R <= limit)

    @hypothesis("the graph is complete", only=["centralised"])
    def complete(self, problem: FederatedCMDP, graph: str) -> bool:
        return graph == "complete"

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 200,
        graph: str = "ring",
        graph_seed: int = 0,
        eta: float | None = None,
    ) -> Network:
        result = run(
            "decentralised-fednpg",
            problem,
            rounds,
            graph=graph,
            graph_seed=graph_seed,
            eta=eta,
            record="iterates",
            compare=False,
        )
        assert result.iterates is not None
        mean = mean_problem(problem)
        centres = stack([geometric_logits(x) for x in result.iterates.log_policies[:-1]])
        values = evaluate(mean, centres).at_rho[:, 0]
        return Network(
            run=result,
            mean=mean,
            gaps=solve(mean).value - values,
            sigma=Measured(mixing_gap(mixing_matrix(graph, problem.N, graph_seed)), 1e-13),
            R=Measured(largest_span(problem)),
        )

    @upper(
        r"\frac1T \sum_{t<T} (V^\star - \bar V^t) \le \frac{\log|A|}{\eta T} + \frac{R}{(1-\gamma)^2 T}"
        r" + \frac{32 N \sigma^2 \eta^2 R^3}{(1-\gamma)^9 (1-\sigma)^2}"
    )
    def rate(self, x: Network) -> tuple[Measured, Measured, Measured]:
        return x.gap, x.bound(), Measured(span(x.mean.r)) * x.mean.horizon

    @identity(r"\pi_i^t = \pi_{\mathrm{NPG}}^t \text{ on the mean reward, if } W = 11'/N")
    def centralised(self, x: Network) -> tuple[Any, Any]:
        return _beside_npg(x)

    @study("power_rate")
    def curve(self) -> StudyData:
        """The mean gap of decentralised FedNPG for each graph beside the bound (*recalled*), each with the
        step that theory gives it for the last T: the larger sigma, the shorter."""
        rounds, curves = 1000, []
        T = np.unique(np.geomspace(1, rounds, 25).astype(int))
        for source in (
            "random-mdp:seed=1,nS=1,nA=10,agents=4,gamma=0",
            "random-mdp:seed=1,agents=4,gamma=0.1",
        ):
            panel = Panel(source, r"$V^\star - \overline{V}$ (units of value)")
            for graph in GRAPHS:
                x = self.setup(load(source), rounds=rounds, graph=graph, graph_seed=1)
                means = dot(np.tri(rounds)[T - 1], x.gaps) / T
                label = f"{graph}, sigma={float(x.sigma):.2f}"
                curves.append(Curve(panel, label, T, means, x.bound(T)))
        return power_study("Decentralised FedNPG", self.mark, "rounds T", curves)

    @control(
        "on a ring the agents' policies are not those of NPG",
        Case("random-mdp:seed=1", graph="ring"),
        kind=Kind.IDENTITY,
    )
    def ring(self, x: Network) -> tuple[Any, Any]:
        return _beside_npg(x)

    @control("1/T squared is too fast", Case("random-mdp:seed=1", graph="ring", rounds=1000))
    def faster(self, x: Network) -> tuple[Measured, Measured]:
        return x.gap, x.bound() / float(x.run.rounds)


def _beside_npg(x: Network) -> tuple[Any, Any]:
    """The agents' policies and NPG's, in every round; in floats with an allowance for rounding, of which the
    certified run has none."""
    assert x.run.iterates is not None
    alone = FederatedCMDP(x.mean, [()])
    npg = run("npg", alone, x.run.rounds, eta=x.run.parameters["eta"], record="iterates", compare=False)
    assert npg.iterates is not None
    ours, theirs = x.run.iterates.log_policies, npg.iterates.log_policies[:, None]
    allowance = 1e-12
    left, right = (Measured(exp(log_probabilities(x))).rounded_by(allowance) for x in (ours, theirs))
    return left, right
