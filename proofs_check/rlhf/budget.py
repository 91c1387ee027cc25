r"""One budget of votes, few agents for many rounds or many for few: does it matter?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from proofs_check.rlhf.ensembles import Ensemble, Method, ensemble
from proofs_check.rlhf.landscape import FINITE, enough
from tabular_fedrl.algorithms.fedavg_s2zpo import fedavg_s2zpo
from tabular_fedrl.algorithms.par_s2zpo import par_s2zpo
from tabular_fedrl.algorithms.preference_feedback import Feedback
from tabular_fedrl.algorithms.zpg import zbcpg, zpg
from tabular_fedrl.algorithms.zspo import zspo
from tabular_fedrl.claims import Case, Kind, StudyData, Theorem, confidence, control, hypothesis, study, upper
from tabular_fedrl.claims.curves import Curve, Panel, power_study
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns
from tabular_fedrl.instances import load_episodic
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import comparison_of

SURE = 0.99
"""The probability with which the error bounds of every claim hold."""

NORM = r"mean $\|\nabla V\|_2$ (units of value)"

STUDIED = "episodic-garnet:S=3,A=2,H=2"
"""Twelve logits."""
VOTES = 480


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

    The first two terms of the average's bound are of order :math:`\sqrt{(d+K)/M}`, for :math:`K \le d` the
    same up to :math:`\sqrt 2`. Those of Par-S2ZPO are of order :math:`\sqrt{dK/M}` in the larger norm
    :math:`\|\cdot\|_{PK}`. That this is no worse for more agents is a heuristic of the paper, equal blocks:
    :math:`\|\nabla V\|_{PK} \approx \sqrt K \|\nabla V\|_2`, which fails where the gradient lies in few
    blocks.

    What the figures show on one problem, without a proof: against votes, K hardly matters to either method,
    if perturbations have the same length, :math:`\mu_{FedAvg} = \mu_{Par}/\sqrt K`. With the same size in
    every coordinate the longer ones of the average win with few answers, and lose with many, where they
    mislead. In bits the average costs K(d+1) a round against d + K, and K with shared seeds, which is the
    least. (The steps of ZPG and ZBCPG were lengthened by a factor of 12, chosen after looking.)

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
        Case(STUDIED, agents=1, votes=384),
        Case(STUDIED, agents=4, votes=384),
    )
    small = None  # hundreds of runs: for fixed instances

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
        """Against votes: for several K, where the curves fall together if K does not matter; and for twelve
        agents with perturbations of one size in every coordinate, with few answers and with many."""
        panels: list[tuple[str, Method, int, int, float]] = []
        for K in (1, 4, 12):
            panels.append(("Par-S2ZPO, many answers", par_s2zpo, K, 10**8, 2.0**-6 * K**0.5))
        for K in (1, 4, 12):
            panels.append(("FedAvg-S2ZPO, many answers", fedavg_s2zpo, K, 10**8, 2.0**-6))
        for words, questions, mu in (("few answers", 25, 1.0), ("many answers", 10**8, 4.0)):
            panels.append((rf"{words}, K = 12, $\mu$ = {mu:g}", par_s2zpo, 12, questions, mu))
            panels.append((rf"{words}, K = 12, $\mu$ = {mu:g}", fedavg_s2zpo, 12, questions, mu))
        curves = []
        for title, method, K, questions, mu in panels:
            averages, T = method is fedavg_s2zpo, VOTES // K
            feedback = _feedback(questions, 1, K, mu, float(np.sqrt(2 * (K if averages else 1) / (12 * T))))
            mean, at = ensemble(method, feedback, T, 60, 0).averaged, _spread(T)
            name = f"K = {K}" if "K =" not in title else "FedAvg" if averages else "Par"
            curves.append(Curve(Panel(title, NORM), name, K * (at + 1.0), Measured(mean[at])))
        return power_study(f"{STUDIED}, means of 60 runs", str(self.mark), "votes so far, KT", curves)

    @study("power_rate")
    def bits(self) -> StudyData:
        """Against what is sent, for every method with its theory's kind of steps."""
        T = 256
        shared = partial(fedavg_s2zpo, shared_seeds=True)
        methods: tuple[tuple[str, Method, int, float, float], ...] = (
            ("Par-S2ZPO, K = 4", par_s2zpo, 4, 2.0, 1.0),
            ("FedAvg-S2ZPO, K = 4", fedavg_s2zpo, 4, 1.0, 2.0),
            ("the same, shared seeds", shared, 4, 1.0, 2.0),
            ("ZSPO, Gaussian", zspo, 1, 1.0, 1.0),
            ("ZPG", zpg, 1, 3.0, 1.0),
            ("ZBCPG, 4 blocks", zbcpg, 4, 2.0, 1.0),
        )
        curves, rows = [], []
        for words, questions, mu in (("many answers", 501, 2.0**-3), ("few answers", 5, 0.5)):
            for name, method, K, wider, faster in methods:
                step = faster * float(np.sqrt(2 / (12 * T)))
                # A step along an estimate is as long as the gradient, not as a vector of signs.
                step = step * 12 if method in (zpg, zbcpg) else step
                feedback = _feedback(questions, 9, K, mu * wider, step)
                found = ensemble(method, feedback, T, 30, 0)
                sent, norms, at = found.bits + 1.0, found.norms.mean(axis=0), _spread(T)
                curves.append(Curve(Panel(words, NORM), name, sent[at], Measured(found.averaged[at])))
                goal = 0.5 * norms[0]
                first = np.flatnonzero(norms <= goal)
                rows.append([words, name, int(found.bits[first[0]]) if len(first) else "not reached"])
        data = power_study(f"{STUDIED}, means of 30 runs", str(self.mark), "bits sent so far", curves)
        table = {
            "title": "Bits until the mean norm of the gradient is half of that at the start",
            "head": ["answers", "method", "bits"],
            "rows": rows,
        }
        return StudyData(data.arrays, {**data.summary, "tables": [*data.summary.get("tables", []), table]})


def _feedback(questions: int, people: int, K: int, mu: float, step: float) -> Feedback:
    problem = load_episodic(STUDIED).mdp
    comparison = comparison_of(problem, "linear", people=people, questions=questions)
    return Feedback(problem, comparison, K, mu, step)


def _spread(T: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Thirty-two rounds, evenly on a logarithmic scale as far as there are so many."""
    return np.round(np.geomspace(1, T, 32)).astype(np.int64) - 1
