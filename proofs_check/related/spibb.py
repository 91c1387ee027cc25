r"""SPIBB: copying the behaviour where data are thin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import binom

from proofs_check.drpo.ensembles import exceeds
from proofs_check.drpo.step import draw
from proofs_check.related.bootstrapped import Trials, collected, tabled
from tabular_fedrl.claims import Case, Rows, Theorem, confidence, control, hypothesis, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_policy

SURE = 0.99
"""The probability with which the statements about frequencies hold."""


@dataclass(frozen=True)
class Experiment:
    """Trials on variations of a problem, and the delta of the guarantee."""

    problem: CMDP
    trials: list[Trials]
    delta: float

    @cached_property
    def losses(self) -> Array:
        """Of all datasets, in units of the guarantee's first term."""
        return np.concatenate([k.loss / allowance(k, self.delta) for k in self.trials])

    @property
    def frequency(self) -> Measured:
        """The mean probability of failure over the problems, with confidence: for independent trials with
        different probabilities the binomial interval is too wide, if anything (Hoeffding 1956)."""
        return confidence.binomial(exceeds(self.losses, 1.0).sum(), len(self.losses), SURE)

    @property
    def possible(self) -> float:
        """1 if a failure is possible at all: a loss is at most twice the largest value."""
        largest = [2 * k.data.largest / allowance(k, self.delta) for k in self.trials]
        return float(max(largest) > 1)

    @property
    def quantile(self) -> float:
        r"""No smaller than the :math:`1-\delta` quantile of a loss, with confidence: an order statistic."""
        n = len(self.losses)
        k = int(binom.ppf(SURE, n, 1 - self.delta)) + 1
        return float(np.sort(self.losses)[k - 1]) if k <= n else float("inf")


def allowance(k: Trials, delta: float) -> float:
    r""":math:`\frac{4V_{max}}{1-\gamma}\sqrt{\frac2{N_\wedge}\log\frac{2|X||A|2^{|X|}}\delta}`"""
    truth = k.data.truth
    union = np.log(2 * truth.S * truth.A / delta) + truth.S * np.log(2)
    return float(4 * k.data.largest * truth.horizon * np.sqrt(2 * union / k.least))


def lottery() -> CMDP:
    """The second state leads to a state that pays for ever or to one that never does; the first leads there,
    or out for a small sum."""
    successors = np.eye(4)
    P = np.stack([successors[[1, 3]], [[0, 0, 0.5, 0.5]] * 2, successors[[2, 2]], successors[[3, 3]]])
    return CMDP(P, [[0.0, 0.1], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]], [], [], [1.0, 0, 0, 0], 2 / 3)


def crossing(actions: int = 2, gamma: float = 0.54) -> CMDP:
    """Everything pays 1: the first action of the first state leads to the second state for a step."""
    P = np.zeros((2, actions, 2))
    P[0, 0, 1] = P[0, 1:, 0] = P[1, :, 0] = 1.0
    return CMDP(P, np.ones((2, actions)), [], [], [1.0, 0.0], gamma)


MANY = 60_000
"""Actions of the counterexample: about as many as its second state has visits."""


class BaselineBootstrapping(Theorem):
    r"""Copying the behaviour on rarely seen pairs is safe, up to what frequent pairs leave uncertain.

    **Setting.** Trajectories of a *known* behaviour b; :math:`\hat M` the model of frequencies and mean
    rewards (of R in [0, R], :math:`V_{max} = R/(1-\gamma)`), pairs without data worth 0 as in the authors'
    code; :math:`\pi` the best policy in :math:`\hat M` among those with :math:`\pi(a|s) = b(a|s)` wherever
    :math:`n(s,a) < N_\wedge`.

    **Statement.** With probability at least :math:`1-\delta`, :math:`J(\pi, M) \ge J(b, M) - \zeta`,

    .. math:: \zeta = \frac{4V_{max}}{1-\gamma} \sqrt{\frac{2}{N_\wedge} \log\frac{2|X||A|2^{|X|}}{\delta}}
              - J(\pi, \hat M) + J(b, \hat M) .

    Failures are counted over independent datasets, on random variations of the problem with random b, half
    of them near-deterministic with rewards 0 and 1; the mean probability is enclosed by Clopper and
    Pearson's exact interval. The second claim says how loose the guarantee is: the :math:`1-\delta` quantile
    of :math:`[J(b,M) - J(b,\hat M)] - [J(\pi,M) - J(\pi,\hat M)]` against the first term of
    :math:`\zeta`.

    **Where it fails.** The proof takes following b on rarely seen pairs for an option whose outcome the
    trajectories sample. *Tables of counts*, or data of another policy than b, do not sample it: a pair that
    was seen once misleads everything upstream (``lottery``). And even for trajectories of a known b the model
    gives the option another value where actions of b are missing: with a state of so many actions that most
    remain unseen, :math:`J(b, \hat M)` is too low however large :math:`N_\wedge` is, since :math:`\zeta`
    grows with :math:`\sqrt{\log|A|}` only (``crossing``; ours). On average b gives
    unseen actions at most :math:`|A|/(e\,n(s))`, which stays below the sampling error for :math:`|A| \le
    \sqrt{N_\wedge}`: the page asks for that. With it the statement is checked here, not proved.

    **Source.** Laroche, Trichelair, Tachet des Combes (2019), theorem 2.
    """

    id = "related.spibb"
    mark = "paper"
    source = "Laroche, Trichelair, Tachet des Combes 2019, theorem 2, as the theory notes quote it"
    suite = (
        Case("random-mdp:nS=3,nA=2,seed=1,gamma=0.5", least=300),
        Case("random-mdp:nS=2,nA=3,seed=2,gamma=0.3", least=150, length=1000, delta=0.05),
        Case("garnet:S=6,A=3,b=2,seed=2,gamma=0.2", least=130),
        Case("textbook:three-state", least=10, length=100, delta=0.2),
        Case("gym:FrozenLake-v1", least=20),
    )
    small = {"variations": 4, "datasets": 100, "least": 10, "length": 100, "delta": 0.5}

    @hypothesis("data collected by the known behaviour b, as trajectories")
    def own_trajectories(self, problem: FederatedCMDP, logger: Rows | None, counts: Rows | None) -> bool:
        return logger is None and counts is None

    @hypothesis("at most sqrt(N_wedge) actions (ours: without it the statement is false)")
    def few_actions(self, problem: FederatedCMDP, least: int) -> bool:
        return least >= problem.cmdp.A**2

    @hypothesis("rewards from 0 on")
    def not_negative(self, problem: FederatedCMDP) -> bool:
        return bool(problem.cmdp.r.min() >= 0)

    @hypothesis("delta between 0 and 1")
    def probability(self, problem: FederatedCMDP, delta: float) -> bool:
        return 0 < delta < 1

    def setup(
        self,
        problem: FederatedCMDP,
        least: int = 100,
        delta: float = 0.1,
        length: int = 2000,
        datasets: int = 16,
        variations: int = 64,
        seed: int = 0,
        behaviour: Rows | None = None,
        logger: Rows | None = None,
        counts: Rows | None = None,
    ) -> Experiment:
        r"""``least``: :math:`N_\wedge`; ``length``: transitions of a trajectory. With ``behaviour``, a table
        ``(S, A)``: datasets on the problem itself, collected by ``logger`` if given, or as many transitions
        of every pair as ``counts`` says."""
        if behaviour is not None:
            cmdp = problem.cmdp
            b = np.exp(log_policy(behaviour, cmdp.S, cmdp.A))
            if counts is not None:
                data = tabled(cmdp, np.asarray(counts), datasets, seed)
            else:
                data = collected(cmdp, b if logger is None else np.asarray(logger), length, datasets, seed)
            return Experiment(cmdp, [Trials(data, b, least)], delta)
        trials = []
        for k in range(variations):
            drawn = draw(problem, clients=1, seed=(seed, k), vertex=k % 2 == 1)
            b = np.exp(drawn.log_pi)
            data = collected(drawn.cmdp, b, length, datasets, seed + k)
            trials.append(Trials(data, b, least))
        return Experiment(problem.cmdp, trials, delta)

    @upper(r"P(J(\pi, M) < J(b, M) - \zeta) \le \delta", confidence=SURE)
    def failures(self, x: Experiment) -> tuple[Measured, float, float]:
        return x.frequency, x.delta, x.possible

    @upper(
        r"q_{1-\delta}\big([J(b,M) - J(b,\hat M)] - [J(\pi,M) - J(\pi,\hat M)]\big)"
        r" \big/ \tfrac{4V_{max}}{1-\gamma}"
        r" \sqrt{\tfrac{2}{N_\wedge} \log\tfrac{2|X||A|2^{|X|}}\delta} \le 1 \text{ (ours)}",
        confidence=SURE,
    )
    def looseness(self, x: Experiment) -> tuple[float, float]:
        return x.quantile, 1.0

    @control(
        "a table of counts instead of trajectories: a pair seen once decides, and misleads either way",
        Case(
            lottery(),
            behaviour=[[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]],
            counts=[[300_000, 300_000], [1, 0], [300_000, 300_000], [300_000, 300_000]],
            least=300_000,
            datasets=1000,
        ),
    )
    def table_of_counts(self, x: Experiment) -> tuple[Measured, float]:
        return x.frequency, x.delta

    @control(
        "trajectories of another policy than b: what only b does is never seen",
        Case(
            crossing(2),
            behaviour=[[0.5, 0.5], [1.0, 0.0]],
            logger=[[0.5, 0.5], [0.0, 1.0]],
            least=20_000,
            length=60_000,
            datasets=5,
        ),
    )
    def another_logger(self, x: Experiment) -> tuple[Measured, float]:
        return x.frequency, x.delta

    @control(
        "trajectories of the known b, but more actions than visits to a state",
        Case(crossing(MANY), variations=0),
    )
    def many_actions(self, x: Experiment) -> tuple[Measured, float]:
        b = np.full((2, MANY), 1.0 / MANY)
        b[0] = 0.0
        b[0, :2] = 0.5
        data = collected(x.problem, b, 160_000, 5, 0)
        return Experiment(x.problem, [Trials(data, b, 60_000)], x.delta).frequency, x.delta
