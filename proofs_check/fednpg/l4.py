r"""L4: aggregation does not move away from any comparator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.arithmetic import magnitude, stack
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import arithmetic_mean, enclosed, enclosed_kl, geometric_mean, random_log_policy


@dataclass(frozen=True)
class Aggregation:
    """Agents' log-policies ``(N, S, A)``, their two means ``(S, A)`` as the server computes them, a
    comparator, enclosures of ``KL(p||q_i)``, averaged over i, ``(S,)``."""

    local: Array
    arithmetic: Array
    geometric: Array
    comparator: Array
    mean_kl: Measured

    def kl(self, mean: Array) -> Measured:
        """``KL(p||mean)``, the rounding of the mean in floats included."""
        reach = 1 + magnitude(self.local)
        rounding = (8 * len(self.local) + 4 * mean.shape[-1]) * UNIT * reach
        return enclosed_kl(self.comparator, mean).rounded_by(rounding)


class AggregationLemma(Theorem):
    r"""The mean of policies is no farther from a comparator than the policies are on average.

    **Statement.** For policies :math:`q_1..q_N` and every comparator p, state by state,

    .. math:: KL\Big(p \,\Big\|\, \tfrac1N \textstyle\sum_i q_i\Big) \le \tfrac1N \textstyle\sum_i KL(p\|q_i),

    and for the geometric mean :math:`g = \prod_i q_i^{1/N}/Z_g`, :math:`Z_g \le 1`,

    .. math:: KL(p\|g) = \tfrac1N \textstyle\sum_i KL(p\|q_i) + \log Z_g .

    Both server aggregations of FedNPG therefore fit one proof. The two means differ by second order only: in
    every state, with :math:`u_i = \log q_i - \frac1N \sum_j \log q_j`,

    .. math:: \Big\| \tfrac1N \textstyle\sum_i q_i - g \Big\|_1 \le \tfrac{1}{4N} \textstyle\sum_i
              (\mathrm{span}\,u_i)^2 .

    **Proof.** Jensen for :math:`-\log`; for g expand the logarithm; :math:`Z_g \le 1` by the weighted
    arithmetic-geometric mean inequality. For the distance, :math:`q_i \propto g\,e^{u_i}` and
    :math:`\sum_i u_i = 0`: part (d) of the tilt lemma (``lemmas.tilt``) for f with values in [-1, 1] gives
    :math:`|\langle q_i - g, f\rangle - \mathrm{Cov}_g(u_i, f)| \le (\mathrm{span}\,u_i)^2/4`, and the
    covariances add up to 0.

    **Source.** Theory notes, fednpg section 3.
    """

    id = "fednpg.l4"
    mark = "ours"
    source = "theory notes, L4"
    suite = tuple(
        Case(source, agents=agents)
        for source in ("random-mdp:seed=1", "garnet:S=30,A=4,b=4,m=2,seed=2", "textbook:two-arm")
        for agents in (2, 6)
    )
    certified = (Case("textbook:two-arm", agents=3), Case("random-mdp:seed=1", agents=2))
    small = {"agents": 3}
    family = "bandit:A=2..3,m=0"
    space = {"agents": (2, 4), "sharpness": (1e-2, 10.0), "seed": (0, 1000)}
    effort = 300

    @hypothesis("at least two agents and two actions, sharpness > 0 (else both sides are 0)", only=["means"])
    def different_policies(self, problem: FederatedCMDP, agents: int, sharpness: float) -> bool:
        return agents > 1 and problem.cmdp.A > 1 and sharpness > 0

    def setup(
        self, problem: FederatedCMDP, agents: int = 3, sharpness: float = 2.0, seed: int = 0
    ) -> Aggregation:
        rng = np.random.default_rng(seed)
        S, A = problem.cmdp.S, problem.cmdp.A
        local = stack([random_log_policy(rng, S, A, sharpness) for _ in range(agents)])
        p = random_log_policy(rng, S, A, sharpness)
        return Aggregation(
            local, arithmetic_mean(local), geometric_mean(local), p, enclosed_kl(p, local).mean(0)
        )

    @tight(
        r"KL(p\|\tfrac1N\sum_i q_i) \le \tfrac1N\sum_i KL(p\|q_i)",
        attained=Case("random-mdp:seed=1", agents=1),
    )
    def arithmetic(self, x: Aggregation) -> tuple[Measured, Measured]:
        return x.kl(x.arithmetic), x.mean_kl

    @identity(r"KL(p\|g) = \tfrac1N\sum_i KL(p\|q_i) + \log Z_g")
    def geometric(self, x: Aggregation) -> tuple[Measured, Measured]:
        return x.kl(x.geometric), x.mean_kl + _log_normaliser(x)

    @tight(r"\log Z_g \le 0", attained=Case("random-mdp:seed=1", agents=1))
    def normaliser(self, x: Aggregation) -> tuple[Measured, float]:
        return _log_normaliser(x), 0.0

    @upper(
        r"\|\tfrac1N\sum_i q_i - g\|_1 \le \tfrac{1}{4N}\sum_i (\mathrm{span}\,u_i)^2,"
        r"\quad u_i = \log q_i - \tfrac1N\sum_j \log q_j"
    )
    def means(self, x: Aggregation) -> tuple[Measured, Measured, float]:
        return _distance(x), (_spans(x) ** 2).mean(0) / 4.0, 2.0

    @control("the divergence from the mean is not at least the average one", Case("random-mdp:seed=1"))
    def reversed_inequality(self, x: Aggregation) -> tuple[Measured, Measured]:
        return x.mean_kl, x.kl(x.arithmetic)

    @control(
        "weights other than the mean's own: the first agent's divergence instead of the average",
        Case("garnet:S=30,A=4,b=4,m=2,seed=2", agents=2),
    )
    def first_agent_only(self, x: Aggregation) -> tuple[Measured, Measured]:
        return x.kl(x.arithmetic), enclosed_kl(x.comparator, x.local[0])

    @control("the means do not differ by third order", Case("random-mdp:seed=1", agents=2, sharpness=0.01))
    def third_order(self, x: Aggregation) -> tuple[Measured, Measured]:
        return _distance(x), (_spans(x) ** 3).mean(0) / 4.0


def _distance(x: Aggregation) -> Measured:
    """Of the two means in 1-norm, ``(S,)``."""
    logs, policies = enclosed(x.local)
    geometric = logs.mean(0).exp()
    total = geometric.sum(-1)
    apart = policies.mean(0) - geometric / total.reshape(-1, 1)
    return apart.maximum(-apart).sum(-1)


def _spans(x: Aggregation) -> Measured:
    """Of :math:`u_i`, ``(N, S)``."""
    logs = enclosed(x.local)[0]
    u = logs - logs.mean(0)
    return u.max(-1) - u.min(-1)


def _log_normaliser(x: Aggregation) -> Measured:
    logs = enclosed(x.local)[0].mean(0)
    return logs.exp().sum(-1).log()
