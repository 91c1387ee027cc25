r"""Lemma 3 of Par-S2ZPO: how far a majority of answers is from the sign of a difference of values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from proofs_check.rlhf.landscape import (
    FINITE,
    POSITIVE,
    SYMMETRIC,
    Landscape,
    enough,
    points,
    sign,
)
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, upper
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import Panel, Ties, comparison_of


class VoteError(Theorem):
    r"""A majority of N answers is the sign of the difference of values up to small errors (Lemma 3).

    **Setting.** A panel with the symmetric link :math:`\sigma_P = 1/2 + \varsigma_P` is asked N times to
    compare D episodes of :math:`\theta' = \theta + \mu v_k` with D of :math:`\theta`; :math:`O_k = \pm 1` by
    majority. :math:`\varepsilon^\star_D` is the least :math:`\varepsilon` such that
    :math:`V(\pi_1) - V(\pi_2) > \varepsilon` implies :math:`E\,\varsigma_P(\bar r_1 - \bar r_2) \ge
    \frac12 \varsigma_P(\frac12 (V(\pi_1) - V(\pi_2)))`.

    **Statement.** For every block,

    .. math:: |E\langle \nabla V, (O_k - \mathrm{sign}[V(\theta') - V(\theta)])\, v_k\rangle| \le
              \tfrac{2}{e^2} \|\nabla V \circ e_{I_k}\|_2
              + 2 \big( \mu L |I_k| + \tfrac{\varepsilon^\star_D}{\mu} \big)
              + \tfrac{8}{\mu}\, \varsigma_P^{-1}(\sqrt{4/N}) .

    Both expectations are exact: over all directions, and over the answers by convolution and binomial tails.
    In place of :math:`\varepsilon^\star_D` stands the largest difference of values among the compared pairs
    whose answers are too close, which is no larger: what is checked is stronger than the statement.

    **Proof.** With :math:`\Delta = V(\theta') - V(\theta)` and m the deviation of one answer, Hoeffding's
    inequality gives :math:`|E O_k - \mathrm{sign}\,\Delta| \le 2 e^{-2 N m^2}`. If :math:`|\Delta| >
    \varepsilon^\star_D` and :math:`\varsigma_P(|\Delta|/2) \ge \sqrt{4/N}` this is at most
    :math:`2/e^2`. Else :math:`|\Delta| \le \varepsilon^\star_D + 2 \varsigma_P^{-1}(\sqrt{4/N})`, and
    :math:`|\langle \nabla V, v_k\rangle| \le |\Delta|/\mu + \mu L |I_k|/2` counts twice. So half of the
    constants of :math:`\mu L |I_k|` and of the last term would do.

    **Source.** Wang, Zhang, Ying (2026), lemma 3; half of two constants: ours.
    """

    id = "rlhf.vote-error"
    mark = "paper"
    source = "Wang, Zhang, Ying 2026, lemma 3"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=2", questions=18, mu=0.5, link="logistic", scale=0.25),
        Case("episodic-bandit:A=3", questions=10**4, mu=0.5, people=5),
        Case("episodic-chain:H=2", agents=2, link="logistic", scale=0.1, batch=3),
        Case("episodic-chain:H=3", agents=4, link="clipped", scale=0.5, people=2, questions=10**6),
        Case("episodic-tree:H=2", agents=3, link="logistic", scale=1.0, people=101, questions=10**6),
        Case("episodic-garnet:S=2,A=2,H=3", agents=2, link="logistic", scale=0.2, batch=2, questions=10**6),
        Case("episodic-garnet:S=3,A=2,H=2", agents=3, link="logistic", questions=1),
    )
    certified = (
        Case("episodic-bandit:A=2", count=1),
        Case("episodic-bandit:A=2", count=1, link="logistic", scale=0.5, people=3, questions=10**6),
        Case("episodic-chain:H=2", agents=2, count=1),
    )
    small = {"count": 2, "agents": None}

    @hypothesis(POSITIVE)
    def positive(self, problem: EpisodicMDP, mu: float) -> bool:
        return mu > 0

    @hypothesis(SYMMETRIC)
    def symmetric(self, problem: EpisodicMDP, link: str, people: int, ties: Ties) -> bool:
        return _panel(problem, link, None, people, ties).symmetric

    @hypothesis(FINITE)
    def finite(
        self, problem: EpisodicMDP, link: str, scale: float | None, people: int, ties: Ties, questions: int
    ) -> bool:
        return enough(problem, _panel(problem, link, scale, people, ties), questions)

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int | None = 1,
        mu: float = 2.0**-9,
        link: str = "linear",
        scale: float | None = None,
        people: int = 1,
        ties: Ties = "fair",
        batch: int = 1,
        questions: int = 10**12,
        count: int = 4,
        spread: float = 1.0,
        seed: int = 0,
    ) -> Landscape:
        """``agents`` None: a block for each state at each step; ``questions``: N; ``batch``: D."""
        K = problem.H * problem.S if agents is None else agents
        comparison = comparison_of(problem, link, scale, people, ties, batch, questions)
        return Landscape(problem, comparison, points(problem, count, spread, seed), K, mu)

    @upper(
        r"|E\langle\nabla V, (O_k - \mathrm{sign}[V(\theta')-V(\theta)])\,v_k\rangle| \le"
        r" \frac{2}{e^2}\|\nabla V \circ e_{I_k}\|_2 + 2(\mu L|I_k| + \varepsilon/\mu)"
        r" + \frac{8}{\mu}\varsigma_P^{-1}(\sqrt{4/N})"
    )
    def error(self, x: Landscape) -> tuple[Measured, Measured, Measured]:
        """In size the left side is at most twice the block's norm."""
        return _mistake(x).mean(1).abs(), _bound(x, 2.0), x.block_norms * 2

    @chain("error")
    def proof(self, x: Landscape) -> Iterator[tuple[str, Measured]]:
        yield "the left side", _mistake(x).mean(1).abs()
        yield "the mean is at most the mean of the sizes", _mistake(x).abs().mean(1)
        yield "Hoeffding where answers are clear, smoothness where they are not", _bound(x, 1.0)
        yield "the printed constants", _bound(x, 2.0)

    @control(
        "an even panel whose ties count as no never votes for a small gain: not what a symmetric one does",
        Case("episodic-bandit:A=2", people=100, ties="no", batch=400),
    )
    def even_panel(self, x: Landscape) -> tuple[Measured, Measured]:
        panel = replace(x.comparison.panel, ties="fair")
        fair = replace(x, comparison=replace(x.comparison, panel=panel))
        return _mistake(x).mean(1).abs(), _bound(fair, 2.0)

    @control("few answers err: the last term is needed", Case("episodic-bandit:A=2", questions=101))
    def without_threshold(self, x: Landscape) -> tuple[Measured, Measured]:
        return _mistake(x).mean(1).abs(), _bound(x, 2.0, Measured(0.0))


def _panel(problem: EpisodicMDP, link: str, scale: float | None, people: int, ties: Ties) -> Panel:
    return comparison_of(problem, link, scale, people, ties, 1, 1).panel


def _mistake(x: Landscape) -> Measured:
    return x.inner * (x.vote - sign(x.gain))


def _bound(x: Landscape, factor: float, threshold: Measured | None = None) -> Measured:
    """The right side; ``factor`` 1 in place of 2: with half of the constants of smoothness and of the
    last term."""
    last = x.threshold if threshold is None else threshold
    rest = (x.L * (x.mu * x.b) + last * 4 / x.mu) * factor + x.epsilon * 2 / x.mu
    return x.block_norms * (Measured(-2.0).exp() * 2) + rest
