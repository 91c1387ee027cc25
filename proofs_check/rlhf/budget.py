r"""One budget of votes, few agents for many rounds or many for few: does it matter?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofs_check.rlhf.budget_studies import TWELVE, bits_study, progress_study, rate_study
from proofs_check.rlhf.ensembles import Ensemble, Method, ensemble
from proofs_check.rlhf.landscape import FINITE, ROUNDS, enough
from tabular_fedrl.algorithms.fedavg_s2zpo import fedavg_s2zpo
from tabular_fedrl.algorithms.par_s2zpo import par_s2zpo
from tabular_fedrl.algorithms.preference_feedback import Feedback
from tabular_fedrl.claims import Case, Kind, StudyData, Theorem, confidence, control, hypothesis, study, upper
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import comparison_of

SURE = 0.99
"""The probability with which the error bounds of every claim hold."""


@dataclass(frozen=True)
class Both:
    """Runs of both methods with K agents and M/K rounds, with their feedback."""

    par: tuple[Feedback, Ensemble]
    fedavg: tuple[Feedback, Ensemble]
    R: float

    def guarantee(self, which: tuple[Feedback, Ensemble], blocks: bool) -> tuple[Measured, Measured]:
        """The mean norm, and what it is at most: Theorem 1 for ``blocks``, else that of the average; the
        linear link makes the distinguishability 0."""
        feedback, runs = which
        d, K, T = feedback.mdp.H * feedback.mdp.S * feedback.mdp.A, feedback.agents, runs.norms.shape[1]
        L, alpha, largest = self.R / 2, feedback.alpha(0), np.sqrt(2 * feedback.mdp.H) * self.R / 4
        each = (1 + SURE) / 2
        norms = (runs.block_norms if blocks else runs.norms).mean(axis=1)
        mean = confidence.bounded(norms, largest * (np.sqrt(K) if blocks else 1.0), each)
        growth = confidence.bounded(runs.last - runs.first, 2 * self.R, each)
        threshold = feedback.comparison.panel.inverse(2 / np.sqrt(feedback.comparison.questions))
        curvature = 2 * L * alpha * (d if blocks else d / K + 1)
        errors = threshold * ((K if blocks else 1) / feedback.mu) + feedback.mu * L * d
        return mean, growth * (4 / (alpha * T)) + curvature + errors * 32


class Budget(Theorem):
    r"""At a fixed budget of votes the average needs no assumption to be as good with many agents as with few.

    **Setting.** Both methods from the uniform policy with M votes: K agents and T = M/K rounds, steps
    :math:`\alpha = c \sqrt{H/(dT)}` for Par-S2ZPO and :math:`c \sqrt{HK/(dT)}` for FedAvg-S2ZPO; one person
    with the linear link.

    **Statement.** The bounds of ``rlhf.theorem-1`` and ``rlhf.fedavg``, with L = R/2 and no
    :math:`\varepsilon^\star_D`. Expectations over runs are enclosed with probability 0.99, by the
    inequalities of Hoeffding and of Maurer and Pontil (2009).

    The first two terms of the average's bound are of order :math:`\sqrt{d/M}` and :math:`\sqrt{d/M}\,(1 +
    K/d)`, for :math:`K \le d` the same up to 2. Those of Par-S2ZPO are of order :math:`\sqrt{dK/M}` in the
    larger norm :math:`\|\cdot\|_{PK}`. That this is no worse for more agents is a heuristic of the paper,
    equal blocks: :math:`\|\nabla V\|_{PK} \approx \sqrt K \|\nabla V\|_2`, which fails where the gradient
    lies in few blocks.

    What the figures show, without a proof. With the theory's steps the mean norm falls about like
    :math:`M^{-1/2}`, as the bounds do: exponents fitted are from -0.43 to -0.53. The same votes do about as
    much for every K, if perturbations have the same length, :math:`\mu_{FedAvg} = \mu_{Par}/\sqrt K`: on two
    logits, where the blocks are equal and the law of a run is exact, within 4 % at 256 votes (and 16 % at
    16), and within 6 % in simulated runs on twelve logits with 384. With few answers the average gains from
    longer perturbations: of one size in every coordinate, they promise nearly K times the growth of a
    block's. With many answers all are close, and Par-S2ZPO is ahead by 5 to 14 %. In bits the average costs
    K(d+1) a round against d + K, and K once seeds of 64 bits are shared: until the mean norm has halved that
    is a tenth more in all than Par-S2ZPO sends, or less, in more rounds. (In the figure on bits the steps are
    8 times the theory's, 16 times for ZPG and ZBCPG, chosen after looking.)

    These claims speak of simulated runs and hold with a confidence; they are not certified.

    **Proof.** ``rlhf.theorem-1`` and ``rlhf.fedavg``.

    **Source.** Wang, Zhang, Ying (2026), corollary 1 and its discussion; theory notes, federated RLHF,
    section 6.
    """

    id = "rlhf.budget"
    mark = "ours"
    source = "Wang, Zhang, Ying 2026, corollary 1; theory notes, federated RLHF, section 6"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2", agents=2),
        Case("episodic-chain:H=2", agents=4),
        Case(TWELVE, agents=2, votes=384),
        Case(TWELVE, agents=4, votes=384),
    )
    small = None  # hundreds of runs: for fixed instances

    @hypothesis(ROUNDS)
    def positive(self, problem: EpisodicMDP, agents: int, votes: int, scale: float, mu: float) -> bool:
        return votes >= agents and scale > 0 and mu > 0

    @hypothesis(FINITE)
    def finite(self, problem: EpisodicMDP, questions: int) -> bool:
        return enough(problem, comparison_of(problem, "linear").panel, questions)

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int = 2,
        votes: int = 256,
        scale: float = 1.0,
        mu: float = 2.0**-12,
        questions: int = 10**16,
        runs: int = 200,
        seed: int = 0,
    ) -> Both:
        T = votes // agents
        low, high = extreme_returns(problem)
        comparison = comparison_of(problem, "linear", questions=questions)
        d = problem.H * problem.S * problem.A

        def of(method: Method, K: int, size: float) -> tuple[Feedback, Ensemble]:
            step = scale * float(np.sqrt(problem.H * K / (d * T)))
            feedback = Feedback(problem, comparison, agents, size, step)
            return feedback, ensemble(method, feedback, T, runs, seed)

        return Both(
            of(par_s2zpo, 1, mu), of(fedavg_s2zpo, agents, mu / agents**0.5), float((high - low).upper)
        )

    @upper(
        r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_{PK} \le \frac{4E[V(\theta_{T+1})-V(\theta_1)]}{\alpha T}"
        r" + 2Ld\alpha + 32(\mu Ld + \frac{K}{\mu}\varsigma^{-1}(\sqrt{4/N}))",
        confidence=SURE,
    )
    def par(self, x: Both) -> tuple[Measured, Measured, float]:
        feedback = x.par[0]
        return *x.guarantee(x.par, True), np.sqrt(2 * feedback.mdp.H * feedback.agents) * x.R / 4

    @upper(
        r"\frac1T\sum_t E\|\nabla V(\theta_t)\|_2 \le \frac{4E[V(\theta_{T+1})-V(\theta_1)]}{\alpha T}"
        r" + 2L\alpha(\frac{d}{K}+1) + 32(\mu Ld + \frac{1}{\mu}\varsigma^{-1}(\sqrt{4/N}))",
        confidence=SURE,
    )
    def fedavg(self, x: Both) -> tuple[Measured, Measured, float]:
        return *x.guarantee(x.fedavg, False), np.sqrt(2 * x.fedavg[0].mdp.H) * x.R / 4

    @control(
        "equal blocks are a heuristic: on a chain the first steps and the lost state weigh differently",
        Case("episodic-chain:H=2", agents=4, votes=8),
        kind=Kind.IDENTITY,
    )
    def equal_blocks(self, x: Both) -> tuple[Measured, Measured]:
        feedback, runs = x.par
        return Measured(runs.block_norms[:, 0]), Measured(runs.norms[:, 0] * np.sqrt(feedback.agents), 1e-9)

    @study("power_rate")
    def rate(self) -> StudyData:
        """Runs of several lengths with the theory's steps, for several K: the same votes do as much."""
        return rate_study(str(self.mark))

    @study("log_profile")
    def progress(self) -> StudyData:
        """Where each wins: long perturbations with few answers, short ones with many."""
        return progress_study(str(self.mark))

    @study("log_profile")
    def bits(self) -> StudyData:
        """What every method sends until the gradient is small."""
        return bits_study(str(self.mark))
