r"""Corollary 1 of Par-S2ZPO with constants: tuned steps and perturbations, and how votes may be shared."""

from __future__ import annotations

from dataclasses import dataclass

from proofs_check.rlhf.convergence import TheoremOne, Walk
from proofs_check.rlhf.fedavg import Average, FedAvg
from proofs_check.rlhf.landscape import FINITE, enough
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, upper
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import comparison_of

TWO_LOGITS = "episodic-bandit:A=2"


@dataclass(frozen=True)
class Tuned:
    """Exact runs of both methods with K agents and T rounds."""

    par: Walk
    fedavg: Average
    T: int

    @property
    def K(self) -> int:
        return self.fedavg.K

    @property
    def d(self) -> int:
        return self.fedavg.at.d

    @property
    def euclidean(self) -> Measured:
        r"""The mean of :math:`E\|\nabla V(\theta_t)\|_2` for Par-S2ZPO where all blocks are equally long."""
        return self.par.norms.mean() / Measured(float(self.K)).sqrt()

    def bound(self, logits: float, errors: int = 1) -> Measured:
        r""":math:`4R\sqrt{\text{logits}/T} + 64\sqrt{L d\,\text{errors}\,\tau}`"""
        at = self.fedavg.at
        first = at.spread * (Measured(logits) / float(self.T)).sqrt() * 4
        return first + (at.L * at.threshold * float(self.d * errors)).sqrt() * 64


class Corollary(Theorem):
    r"""With tuned steps the norm falls like the root of the logits per vote (Corollary 1).

    **Setting.** Par-S2ZPO and FedAvg-S2ZPO with K agents and T rounds from the uniform policy; d logits,
    L = R/2; one person with the linear link of slope a = 1/(2R), so that :math:`\varepsilon^\star_D = 0` and
    :math:`\tau = \varsigma^{-1}(\sqrt{4/N}) = 4R/\sqrt N`. Par-S2ZPO takes :math:`\alpha = 2/\sqrt{dT}` and
    :math:`\mu = \sqrt{K\tau/(Ld)}`, the average :math:`\alpha = 2/\sqrt{(d/K+1)T}` and
    :math:`\mu = \sqrt{\tau/(Ld)}`.

    **Statement.** For Par-S2ZPO and for the average

    .. math:: \frac1T \sum_t E\|\nabla V(\theta_t)\|_{PK} &\le 4R \sqrt{\frac dT} + 64 \sqrt{L d K \tau}, \\
              \frac1T \sum_t E\|\nabla V(\theta_t)\|_2 &\le 4R \sqrt{\frac{d+K}{KT}} + 64 \sqrt{L d \tau} .

    If all blocks of the gradient are equally long, then for Par-S2ZPO

    .. math:: \frac1T \sum_t E\|\nabla V(\theta_t)\|_2 \le 4R \sqrt{\frac d{KT}} + 64 \sqrt{L d \tau} :

    at a budget of M = KT votes, or of 2NDM trajectories, the same for every K. That is exact on two logits,
    whose derivatives are opposite; in general it is a heuristic of the paper, and the average, for
    :math:`K \le d`, has the same up to :math:`\sqrt 2` without it.

    **Proof.** ``rlhf.theorem-1`` and ``rlhf.fedavg``, whose first terms are at most
    :math:`4R/(\alpha T) + 2Ld\alpha` and :math:`4R/(\alpha T) + 2L(d/K+1)\alpha`; insert. Equal blocks have
    :math:`\|\nabla V\|_{PK} = \sqrt K \|\nabla V\|_2`.

    **Source.** The shape: Wang, Zhang, Ying (2026), corollary 1 and its discussion. Constants: ours.
    """

    id = "rlhf.corollary-1"
    mark = "ours"
    source = "Wang, Zhang, Ying 2026, corollary 1; theory notes, federated RLHF, section 6"
    problem_type = EpisodicMDP
    suite = (
        Case(TWO_LOGITS, agents=1, rounds=400),
        Case(TWO_LOGITS, agents=2, rounds=200),
        Case(TWO_LOGITS, agents=4, rounds=200),
        Case(TWO_LOGITS, agents=2, rounds=100, questions=10**12),
        Case("episodic-bandit:A=3", agents=1, rounds=12),
        Case("episodic-chain:H=1", agents=2, rounds=8),
    )
    certified = (Case(TWO_LOGITS, agents=1, rounds=6), Case(TWO_LOGITS, agents=2, rounds=4))
    small = None  # all policies that a run can reach are followed: for fixed small instances

    @hypothesis(FINITE)
    def finite(self, problem: EpisodicMDP, questions: int) -> bool:
        return enough(problem, comparison_of(problem, "linear").panel, questions)

    @hypothesis("rounds to speak of, with the tuned steps")
    def tuned(self, problem: EpisodicMDP, rounds: int, slower: float) -> bool:
        return rounds >= 1 and slower == 1

    @hypothesis("as many agents share the logits equally", only=["par", "equal_blocks"])
    def shared(self, problem: EpisodicMDP, agents: int) -> bool:
        return problem.H * problem.S * problem.A % agents == 0

    @hypothesis("blocks that are equally long: one, or two logits", only=["equal_blocks"])
    def equal(self, problem: EpisodicMDP, agents: int) -> bool:
        return agents == 1 or problem.H * problem.S * problem.A == 2

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int = 2,
        rounds: int = 64,
        questions: int = 10**18,
        slower: float = 1.0,
    ) -> Tuned:
        """``slower``: the steps are divided by this."""
        d, (low, high) = problem.H * problem.S * problem.A, extreme_returns(problem)
        R = float((high - low).upper)
        mu = (8 / d) ** 0.5 / questions**0.25 if R else 1.0
        blocks = agents if d % agents == 0 else 1
        step = 2 / slower / (d * rounds) ** 0.5
        par = TheoremOne().setup(problem, blocks, rounds, step, mu * blocks**0.5, questions=questions)
        step = 2 / slower / ((d / agents + 1) * rounds) ** 0.5
        fedavg = FedAvg().setup(problem, agents, rounds, step, mu, questions=questions)
        return Tuned(par, fedavg, rounds)

    @upper(r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_{PK} \le 4R\sqrt{d/T} + 64\sqrt{LdK\tau}")
    def par(self, x: Tuned) -> tuple[Measured, Measured, Measured]:
        return x.par.norms.mean(), x.bound(x.d, x.K), x.par.round.at.largest_norm

    @upper(r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_2 \le 4R\sqrt{(d+K)/(KT)} + 64\sqrt{Ld\tau}")
    def fedavg(self, x: Tuned) -> tuple[Measured, Measured, Measured]:
        mean = x.fedavg.mean(x.fedavg.norm)[:-1].mean()
        return mean, x.bound(x.d / x.K + 1), x.fedavg.at.largest_norm

    @upper(
        r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_2 \le 4R\sqrt{d/(KT)} + 64\sqrt{Ld\tau}"
        r" \text{ for equal blocks}"
    )
    def equal_blocks(self, x: Tuned) -> tuple[Measured, Measured, Measured]:
        return x.euclidean, x.bound(x.d / x.K), x.fedavg.at.largest_norm

    @control("no rate of Rd/T", Case(TWO_LOGITS))
    def faster(self, x: Tuned) -> tuple[Measured, Measured]:
        return x.par.norms.mean(), x.bound(x.d**2 / x.T / 16, x.K)

    @control("steps that are not tuned: a fiftieth of them", Case(TWO_LOGITS, rounds=400, slower=50.0))
    def timid(self, x: Tuned) -> tuple[Measured, Measured]:
        return x.fedavg.mean(x.fedavg.norm)[:-1].mean(), x.bound(x.d / x.K + 1)
