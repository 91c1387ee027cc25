r"""C2: what the tilt may forget is paid for by what the scores gain; the filter has no such budget."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs_check.crosslm.budget_terms import Budget
from proofs_check.crosslm.enhancement_study import forgetting_study
from proofs_check.crosslm.gain import COIN, FLAT, SOURCES
from proofs_check.crosslm.updates import table, updates
from proofs_check.drpo.laws import kl, total_variation
from tabular_fedrl.algorithms.crosslm import LARGEST_ETA, crosslm, filtered, tilt
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import (
    Case,
    Rows,
    StudyData,
    Table,
    Theorem,
    chain,
    control,
    hypothesis,
    identity,
    study,
    tight,
)
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import UNIT, Measured

Sides = tuple[Measured, Measured]

ALIKE = Case("textbook:two-arm", eta=2 * float(np.log(2)), generator=[[0.5, 0.5]], score=[[1.0, 0.5]])
"""Scores that are as far apart as their logarithms over eta: the filter is the tilt."""

HALF = Case("textbook:two-arm", eta=2 * float(np.log(3)), generator=[[0.25, 0.75]], score=[[1.0, 0.0]])
"""The tilt turns a quarter into three quarters."""


ALONE = Case("garnet:S=2,A=1,b=1,m=0")
"""One item for each context: in every round its score is constant."""


class ForgettingBudget(Theorem):
    r"""The tilted generator forgets at most eta times what the scores gained, over any number of rounds.

    **Setting.** As for C1 (``crosslm.gain``). A reference task is any function f of the items; its
    performance is :math:`E_G f`.

    **Statement.** For the tilt :math:`G_\eta \propto G e^{\eta\bar s}`, :math:`\eta \ge 0`,

    .. math:: KL(G_\eta\|G) &\le \eta\, (E_{G_\eta}\bar s - E_G\bar s) \le \eta h, \\
              (E_{G_\eta} f - E_G f)^2 &\le (\mathrm{span}\,f)^2\, \mathrm{TV}(G_\eta, G)^2 \le
              (\mathrm{span}\,f)^2 \tanh^2(\eta h/4) \le (\mathrm{span}\,f)^2\, \eta h/2 .

    The tangent is attained: for :math:`\eta h = 2 \log 3` a quarter becomes three quarters. The budget is
    simpler, and attained by a constant score alone; else it is more than 3.4 times as much. No law gains as
    cheaply: for every :math:`Q \ll G`, :math:`KL(Q\|G) \ge \eta E_Q\bar s - \log E_G e^{\eta\bar s}`, an
    equality for :math:`Q = G_\eta`. Over T
    rounds with whatever scores :math:`\bar s_t`, those of clients that refit included,

    .. math:: KL(G_T\|G_0) \le \eta \Big(E_{G_T} \sum_t \bar s_t - E_{G_0} \sum_t \bar s_t\Big) \le
              \eta \sum_t \mathrm{span}\,\bar s_t \le \eta T ,

    where the sum of the spans, as the span of one round, is attained by constant scores alone. No smaller
    multiple of it would do: for a score of 1 for one item of probability p, of 0 for others, and
    :math:`\eta = (1+\delta) \log(1/p)` the divergence over :math:`\eta h` goes to :math:`1/(1+\delta)` as p
    goes to 0.

    For the filter :math:`G' \propto G\bar s` only

    .. math:: KL(G'\|G) \le \log\frac{E_{G'}\bar s}{E_G\bar s} \le \log\frac{\max\bar s}{E_G\bar s} ,

    which no multiple of the span or of the gain bounds: :math:`G'` is the same for :math:`\lambda\bar s`,
    however small :math:`\lambda > 0`. The tilt is the same for :math:`\bar s + c`.

    **Proof.** :math:`\log(G_\eta/G) = \eta\bar s - \log E_G e^{\eta\bar s}`, so
    :math:`KL(G_\eta\|G) = \eta E_{G_\eta}\bar s - \log E_G e^{\eta\bar s}`, and by Jensen's inequality
    :math:`\log E_G e^{\eta\bar s} \ge \eta E_G\bar s`. Pinsker's inequality for the budget of the task. A
    tilt multiplies the odds of any set of items by at most :math:`e^{\eta h}`, so that the set's probability
    p grows by at most :math:`\frac{p e^x}{p e^x + 1 - p} - p` with :math:`x = \eta h`, most at
    :math:`p = 1/(1 + e^{x/2})`, by :math:`\tanh(x/4)`. For every Q,
    :math:`KL(Q\|G) = KL(Q\|G_\eta) + \eta E_Q\bar s - \log E_G e^{\eta\bar s}`. T tilts are one, by
    :math:`\eta\sum_t \bar s_t`. For the filter :math:`KL(G'\|G) = E_{G'} \log(\bar s/E_G\bar s)`; Jensen's
    inequality again.

    **Source.** Theory notes, CrossLM, C2.
    """

    id = "crosslm.budget"
    mark = "ours"
    source = "theory notes, CrossLM, C2"
    suite = (
        *(Case(source) for source in SOURCES),
        Case("random-mdp:seed=1", eta=0.05),
        Case("random-mdp:nS=6,nA=3,seed=2", eta=10.0, rounds=12, weight=10.0),
        Case("textbook:two-arm", eta=0.3, rounds=30),
    )
    certified = (Case("textbook:two-arm", draws=4), Case("random-mdp:seed=1", draws=2, eta=0.1, rounds=2))
    small = {"draws": 4, "rounds": 2}
    space = {"eta": (1e-3, 10.0), "generator": Table.POLICY, "score": Table.SIGNAL, "task": Table.SIGNAL}
    family = "bandit:A=2..4,m=0"
    effort = 400

    @hypothesis("the tilt is positive, and raises the exponential of scores to numbers that floats hold")
    def positive(self, problem: FederatedCMDP, eta: float) -> bool:
        return 0 < eta <= LARGEST_ETA

    def setup(
        self,
        problem: FederatedCMDP,
        eta: float = 1.0,
        rounds: int = 5,
        weight: float = 1.0,
        draws: int = 12,
        seed: int = 0,
        generator: Rows | None = None,
        score: Rows | None = None,
        task: Rows | None = None,
    ) -> Budget:
        """``rounds`` of the algorithm start from a uniform generator and 1 to 9 private items of every kind,
        with ``weight`` for as many generated ones."""
        S, A = problem.cmdp.S, problem.cmdp.A
        u = updates(problem, eta, draws, seed, generator, score)
        rng = np.random.default_rng(seed)
        f = rng.random(u.G.p.shape) if task is None else table(task, S, A)
        counts = rng.integers(1, 10, (problem.N, S, A)).astype(np.float64)
        start = array(np.ones((S, A))) / A
        run = crosslm(array(counts), start, rounds=rounds, eta=eta, weight=weight, items=5 * A)
        return Budget(u, Measured(f), run)

    @tight(r"KL(G_\eta\|G) \le \eta (E_{G_\eta}\bar s - E_G\bar s)", constant=1.0, attained=FLAT)
    def by_the_gain(self, x: Budget) -> Sides:
        return x.forgotten, x.paid

    @tight(r"KL(G_\eta\|G) \le \eta\,\mathrm{span}\,\bar s", constant=1.0, attained=FLAT)
    def by_the_span(self, x: Budget) -> Sides:
        return x.forgotten, x.exponent

    @chain("by_the_span")
    def span_chain(self, x: Budget) -> Iterator[tuple[str, Measured]]:
        u = x.update
        yield "the divergence", x.forgotten
        yield "the log-ratio is the exponent less its normaliser", u.mean(u.tilted) * u.eta - u.log_normaliser
        yield "Jensen's inequality", x.paid
        yield "both means lie between the least and the largest score", x.exponent

    @tight(
        r"(E_{G_\eta} f - E_G f)^2 \le (\mathrm{span}\,f)^2 \tanh^2(\eta\,\mathrm{span}\,\bar s/4)",
        attained=HALF,
    )
    def task(self, x: Budget) -> tuple[Measured, Measured, Measured]:
        return x.change, x.task_span * x.farthest(), x.task_span

    @chain("task")
    def task_chain(self, x: Budget) -> Iterator[tuple[str, Measured]]:
        u = x.update
        yield "the change on the task", x.change
        yield "as far as the laws are apart", total_variation(u.tilted, u.G) ** 2 * x.task_span
        yield "the odds of every set grow at most by the exponent", x.farthest() * x.task_span

    @tight(
        r"(E_{G_\eta} f - E_G f)^2 \le (\mathrm{span}\,f)^2\,\eta\,\mathrm{span}\,\bar s/2",
        constant=1 / 2,
        attained=FLAT,
    )
    def reference(self, x: Budget) -> tuple[Measured, Measured, Measured]:
        return x.change, x.task_span * x.exponent / 2.0, x.task_span

    @chain("reference")
    def reference_chain(self, x: Budget) -> Iterator[tuple[str, Measured]]:
        u = x.update
        yield "the change on the task", x.change
        yield "as far as the laws are apart", total_variation(u.tilted, u.G) ** 2 * x.task_span
        yield "Pinsker's inequality", x.forgotten * x.task_span / 2.0
        yield "the budget", x.paid * x.task_span / 2.0
        yield "the span of the scores", x.exponent * x.task_span / 2.0

    @tight(
        r"\eta E_Q\bar s - \log E_G e^{\eta\bar s} \le KL(Q\|G) \text{ for the filter and the tilt}",
        attained=ALIKE,
    )
    def cheapest(self, x: Budget) -> Sides:
        u = x.update.heard
        laws = (u.filtered, u.tilted)
        sides = [(u.mean(q) * u.eta - u.log_normaliser, kl(q, u.G)) for q in laws]
        return Measured.stack([a for a, _ in sides]), Measured.stack([b for _, b in sides])

    @identity(r"G_T \propto G_0 e^{\eta\sum_t\bar s_t}")
    def one_tilt(self, x: Budget) -> Sides:
        last = Measured.of(x.run.generators[-1])
        # What the products, sums and exponentials of a round may lose in floats, relative to numbers up to 1.
        lost = 8 * UNIT * (last.shape[-1] + 10 + x.update.eta)
        return last.rounded_by(len(x.run.scores) * lost), x.ends[1].p

    @tight(r"KL(G_T\|G_0) \le \eta \sum_t \mathrm{span}\,\bar s_t", constant=1.0, attained=ALONE)
    def rounds(self, x: Budget) -> Sides:
        first, last = x.ends
        return kl(last, first), x.spans.sum(0) * x.update.eta

    @chain("rounds")
    def rounds_chain(self, x: Budget) -> Iterator[tuple[str, Measured]]:
        first, last = x.ends
        eta, total = x.update.eta, x.total
        yield "the divergence after T rounds", kl(last, first)
        normaliser = first.mean((total * eta).exp()).log()
        yield "the log-ratio is the exponent less its normaliser", last.mean(total) * eta - normaliser
        yield "Jensen's inequality", ((last.p - first.p) * total).sum(-1) * eta
        yield "the span of the sum", (total.max(-1) - total.min(-1)) * eta
        yield "the spans of the summands", x.spans.sum(0) * eta

    @tight(
        r"KL(G'\|G) \le \log(\max\bar s/E_G\bar s) \text{ for the filter}",
        constant=1.0,
        attained=Case("textbook:two-arm", **COIN),
    )
    def filter(self, x: Budget) -> Sides:
        u = x.update.heard
        return kl(u.filtered, u.G), (u.highest / u.mean(u.G)).log()

    @chain("filter")
    def filter_chain(self, x: Budget) -> Iterator[tuple[str, Measured]]:
        u = x.update.heard
        yield "the divergence", kl(u.filtered, u.G)
        yield "Jensen's inequality", (u.mean(u.filtered) / u.mean(u.G)).log()
        yield "the largest score", (u.highest / u.mean(u.G)).log()

    @identity(r"G \cdot \lambda\bar s \propto G\bar s \text{ for } \lambda = 1/1000")
    def scale_free(self, x: Budget) -> Sides:
        u = x.update.heard
        return filtered(u.G.p, u.score / 1000.0), u.filtered.p

    @identity(r"G e^{\eta(\bar s + 1)} \propto G e^{\eta\bar s}")
    def shift_free(self, x: Budget) -> Sides:
        u = x.update
        return tilt(u.G.p, u.score + 1.0, u.eta), u.tilted.p

    @control(
        "the filter: no budget in the span, for scores of 0.001 and 0",
        Case("textbook:two-arm", generator=[[0.5, 0.5]], score=[[0.001, 0.0]]),
    )
    def filter_by_the_span(self, x: Budget) -> Sides:
        u = x.update
        return kl(u.filtered, u.G), u.span * 100.0

    @control(
        "the filter: no budget in the gain",
        Case("textbook:two-arm", generator=[[0.5, 0.5]], score=[[0.001, 0.0]]),
    )
    def filter_by_the_gain(self, x: Budget) -> Sides:
        u = x.update
        return kl(u.filtered, u.G), u.gain(u.filtered) * 100.0

    @control(
        "half the gain is not enough where the liked item is rare",
        Case("textbook:two-arm", eta=5.0, generator=[[0.01, 0.99]], score=[[1.0, 0.0]]),
    )
    def half_the_gain(self, x: Budget) -> Sides:
        return x.forgotten, x.paid / 2.0

    @control("the argument of the tangent is a quarter of the exponent's span, not a fifth", HALF)
    def a_fifth(self, x: Budget) -> Sides:
        return x.change, x.task_span * x.farthest(5.0)

    @control("the laws are apart by the root of the divergence", Case("textbook:two-arm", eta=0.1, **COIN))
    def without_the_root(self, x: Budget) -> Sides:
        u = x.update
        return total_variation(u.tilted, u.G), x.forgotten / 2.0

    @control(
        "rounds add up: a round's budget does not do for all", Case("textbook:two-arm", eta=0.3, rounds=30)
    )
    def one_round(self, x: Budget) -> Sides:
        first, last = x.ends
        return kl(last, first), x.spans.max(0) * x.update.eta

    @study("forgetting")
    def curves(self) -> StudyData:
        """What is forgotten against what the scores gain, for the tilt and the filter."""
        return forgetting_study()
