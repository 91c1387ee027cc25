"""What a client gains and loses by federation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from proofs_check.fed_se.learner import (
    GARNETS,
    Learner,
    Sides,
    last_probabilities,
    stacked,
    success,
)
from proofs_check.fed_se.transfer_study import evolution_study, transfer_study
from tabular_fedrl.algorithms.fed_se import Choice, fed_se
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import (
    Case,
    Kind,
    StudyData,
    Theorem,
    control,
    hypothesis,
    identity,
    study,
    tight,
)
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.federation import BITS_PER_NUMBER, Ledger
from tabular_fedrl.measured import Measured, dot

OPPOSED = "opposed-grid:side=3,clients=6,opposed=1,H=4"


@dataclass(frozen=True)
class Outcome:
    """The base; each client's policies by itself, round by round; the federation's last policy; what it
    sent."""

    base: Learner
    alone: tuple[Learner, ...]
    together: Learner
    ledger: Ledger
    rounds: int
    rank: int | None


class Transfer(Theorem):
    r"""By themselves clients never lose; in a federation they can end below the policy they began with.

    **Setting.** Fed-SE with exact buffers; n = HS rows, adapters of rank r. *Negative transfer* of client k
    is :math:`J_k(\mathrm{local}) - J_k(\mathrm{federated})`, *harm* is :math:`J_k(\mathrm{base}) -
    J_k(\mathrm{federated})`, where it is positive.

    **Statement.**

    * A client by itself, fitting to the successes of its last policy, never lowers :math:`J_k`, whatever r.
    * Negative transfer is the local advantage that is lost, and at most the distance of the policies:

      .. math:: J_k(\mu) - J_k(\pi) = \sum_h E_{s \sim d_h^\mu} \langle \mu_h - \pi_h, Q_h^\pi\rangle(s)
                \le \sum_h E_{s \sim d_h^\mu} \mathrm{TV}(\mu_h, \pi_h)(s) .

    * A round sends :math:`64\, r(n + |A|)` bits to the server for each client, :math:`64\, n|A|` at full
      rank.

    That averaging cannot hurt is false: with opposed goals a client of the minority ends below the base, at
    rank 1 and at full rank (controls). The studies measure how often, and how much averaging costs, for every
    average and with and without weights.

    **Proof.** ``fed-se.monotone``; the performance difference lemma with :math:`0 \le Q \le 1`.

    **Source.** Theory notes, self-evolution, section 1; the method is that of Chen et al. (2025).
    """

    id = "fed-se.transfer"
    mark = "ours"
    source = "theory notes, self-evolution, section 1"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case(OPPOSED, rank=1),
        Case(OPPOSED, rank=None, by_successes=True),
        Case("frozen-lakes:clients=5,H=12", aggregation="truncated"),
        Case("frozen-lakes:clients=5,H=12,slippery=false", aggregation="products"),
    )
    certified = (
        Case("success-garnet:S=2,A=4,H=2,b=2,goals=1,clients=2,heterogeneity=1,seed=2", rounds=2, sweeps=1),
    )
    small = {"rounds": 3, "rank": 1}

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    @hypothesis("rounds to speak of")
    def some(self, problem: FederatedEpisodicMDP, rounds: int) -> bool:
        return rounds >= 1

    def setup(
        self,
        problem: FederatedEpisodicMDP,
        rounds: int = 8,
        rank: int | None = 2,
        aggregation: str = "factors",
        by_successes: bool = False,
        sweeps: int = 5,
        seed: int = 0,
    ) -> Outcome:
        ending = success(problem)
        ledger = Ledger()
        own = Choice(rank, aggregation=None, cumulative=False, sweeps=sweeps, seed=seed)
        ours = Choice(rank, aggregation, by_successes, sweeps=sweeps, seed=seed)
        alone = [r.policies for r in islice(fed_se(ending, own, Ledger()), rounds + 1)]
        last = next(islice(fed_se(ending, ours, ledger), rounds, None)).policies
        uniform = array(np.ones(alone[0].shape)) / ending.A
        learners = tuple(Learner(ending, pi) for pi in alone)
        return Outcome(Learner(ending, uniform), learners, Learner(ending, last), ledger, rounds, rank)

    @tight(r"J_k(\mathrm{base}) \le J_k(\mathrm{local}, t) \le J_k(\mathrm{local}, t+1)")
    def alone(self, x: Outcome) -> Sides:
        path = (x.base, *x.alone)
        return stacked((old.J, new.J) for old, new in pairwise(path))

    @identity(
        r"J_k(\mathrm{local}) - J_k(\mathrm{federated}) ="
        r" \sum_h E_{d_h^{\mathrm{local}}} \langle \mu_h - \pi_h, Q_h^\pi\rangle"
    )
    def difference(self, x: Outcome) -> Sides:
        local, ours = x.alone[-1], x.together
        return local.J - ours.J, dot(local.d, dot(local.p - ours.p, ours.Q), (-2, -1))

    @tight(
        r"J_k(\mathrm{local}) - J_k(\mathrm{federated}) \le"
        r" \sum_h E_{d_h^{\mathrm{local}}} \mathrm{TV}(\mu_h, \pi_h)"
    )
    def bound(self, x: Outcome) -> tuple[Measured, Measured, float]:
        local, ours = x.alone[-1], x.together
        return local.J - ours.J, _distance(local, ours), 1.0

    @identity(r"\text{bits up in a round: } 64 K r (n + |A|), \text{ at full rank } 64 K n |A|")
    def bits(self, x: Outcome) -> tuple[float, float]:
        return _sent(x), _bits(x, x.rank)

    @control("averaging can hurt: the client with the other goal", Case(OPPOSED, rank=1, by_successes=True))
    def harmless(self, x: Outcome) -> Sides:
        return x.base.J, x.together.J

    @control("full rank does not prevent it", Case(OPPOSED, rank=None, by_successes=True))
    def harmless_at_full_rank(self, x: Outcome) -> Sides:
        return x.base.J, x.together.J

    @control("nor is a client of the majority as well off as by itself", Case(OPPOSED))
    def as_good_as_alone(self, x: Outcome) -> Sides:
        return x.alone[-1].J[:5], x.together.J[:5]

    @control("rank 2 does not cost what rank 1 does", Case(OPPOSED, rank=2), kind=Kind.IDENTITY)
    def bits_of_rank_1(self, x: Outcome) -> tuple[float, float]:
        return _sent(x), _bits(x, 1)

    @study("transfer")
    def transfer(self) -> StudyData:
        return transfer_study()

    @study("evolution")
    def evolution(self) -> StudyData:
        return evolution_study()


def _distance(local: Learner, ours: Learner) -> Measured:
    r""":math:`\sum_h E_{d_h^\mu} \mathrm{TV}(\mu_h, \pi_h)`"""
    return dot(local.d, (local.p - ours.p).abs().sum(-1) * 0.5, (-2, -1))


def _sent(x: Outcome) -> float:
    """Bits of adapters sent to the server in a round; a client's number of successes is not counted."""
    totals = x.ledger.totals.items()
    sent = sum(bits for (way, kind, _), (_, _, bits) in totals if way == "up" and kind != "successes")
    return sent / x.rounds


def _bits(x: Outcome, rank: int | None) -> float:
    problem = x.base.problem
    n, actions = problem.H * problem.S, problem.A
    return float(BITS_PER_NUMBER * problem.N * (n * actions if rank is None else rank * (n + actions)))
