r"""C3: when generated items help a client that has few of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from proofs_check.crosslm.enhancement_study import enhancement_study
from proofs_check.crosslm.pooling import MOST_SAMPLES, Pool, samples
from tabular_fedrl.algorithms.crosslm import filtered, pooled, relative_likelihood
from tabular_fedrl.claims import (
    Case,
    Kind,
    Rows,
    StudyData,
    Table,
    Theorem,
    control,
    hypothesis,
    identity,
    study,
    tight,
)
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy

Sides = tuple[Measured, Measured]


def items(A: int) -> CMDP:
    """A problem of one context with A items."""
    return CMDP([[[1.0]] * A], [[0.0] * A], [], [], [1.0], 0.0)


SHIFT = 7 / 32
EQUAL = [[0.25] * 4]
TWO_ITEMS = [[0.25 + SHIFT, 0.25 - SHIFT, 0.25, 0.25]]
FOUR_ITEMS = [[0.25 + SHIFT / 2, 0.25 + SHIFT / 2, 0.25 - SHIFT / 2, 0.25 - SHIFT / 2]]
"""A client's law, and two generators at the same distance from it in total variation, ``SHIFT``: one is wrong
about two items, the other by half as much about four."""


class PooledEstimator(Theorem):
    r"""Generated items help a client iff the generator is near its law in the 2-norm.

    **Setting.** A client holds n private items drawn from its law P, with empirical law :math:`\hat P`; the
    generator's law :math:`G'` does **not** depend on them. With m generated items of weight :math:`w > 0`,
    :math:`M = wm`, it estimates P by :math:`Q = (n\hat P + M G')/(n + M)`, or, if the m items are drawn, by
    :math:`Q = (n\hat P + M \hat G')/(n + M)`. Errors are :math:`E\|Q - P\|_2^2`;
    :math:`V = 1 - \|P\|_2^2`, :math:`D = \|G' - P\|_2^2`.

    **Statement.** The private items alone err by V/n, and

    .. math:: E\|Q - P\|_2^2 = \frac{nV + M^2 D}{(n+M)^2} \quad
              \Big[{}+ \frac{w^2 m\, (1 - \|G'\|_2^2)}{(n+M)^2} \text{ if the items are drawn}\Big],

    .. math:: E\|Q - P\|_2^2 - \frac Vn = \Big(\frac{M}{n+M}\Big)^2 (D - \theta), \qquad
              \theta = V\Big(\frac1n + \frac2M\Big) :

    generated items help iff :math:`D < \theta` (if they are drawn, iff :math:`D + (1 - \|G'\|_2^2)/m <
    \theta`). It suffices that :math:`2\, \mathrm{TV}(G', P)^2 < \theta`, and no statement about TV alone
    decides it: two generators of equal TV may fall on either side. No weight gives an error below
    :math:`VD/(nD + V)` (if V or D is positive: else no error is above 0), which :math:`M = V/D` attains where
    :math:`D > 0`: with the right weight every generator helps a client whose law is not a single item,
    :math:`V > 0`.

    In the loop of CrossLM the generator does depend on a client's items, through its scores: what the formula
    then leaves out is the mean of :math:`2nM \langle\hat P - P, G' - P\rangle/(n+M)^2` (a control).

    **Proof.** :math:`\hat P` is unbiased with variance V/n, :math:`Q - P = \frac{n}{n+M}(\hat P - P) +
    \frac{M}{n+M}(G' - P)`; a drawn :math:`\hat G'` adds an independent error of variance
    :math:`(1 - \|G'\|_2^2)/m`. The difference is algebra. A law's error has mean 0, so its largest part is at
    most TV and :math:`\|x\|_2^2 \le \|x\|_1 \|x\|_\infty \le 2\, \mathrm{TV}^2`. By Cauchy-Schwarz
    :math:`(n+M)^2 = \big(\sqrt{nV} \sqrt{n/V} + M\sqrt D/\sqrt D\big)^2 \le (nV + M^2 D)(n/V + 1/D)`.

    **Source.** Theory notes, CrossLM, C3.
    """

    id = "crosslm.pooled"
    mark = "ours"
    source = "theory notes, CrossLM, C3"
    suite = (
        Case("textbook:two-arm", n=4, m=3, w=0.5),
        Case("random-mdp:seed=1", n=2, m=2),
        Case("random-mdp:nS=6,nA=3,seed=2", n=3, m=2, w=4.0),
        Case("gym:FrozenLake-v1", n=1, m=4, w=0.01),
        Case("garnet:S=12,A=5,b=2,seed=2", n=20, m=40),
        Case("windy-cliff", n=1000, m=10, w=0.1),
        Case(items(48), n=30, m=100, w=0.3, spread=0.3),
        Case(items(4), n=20, m=40, client=EQUAL, generator=TWO_ITEMS),
        Case(items(4), n=20, m=40, client=EQUAL, generator=FOUR_ITEMS),
    )
    certified = (Case("textbook:two-arm", n=3, m=2, w=0.5, draws=2), Case(items(3), n=2, m=2, draws=2))
    small = {"n": 2, "m": 2, "draws": 2}
    space = {"n": (1, 50), "w": (1e-3, 10.0), "client": Table.POLICY, "generator": Table.POLICY}
    family = "bandit:A=2..4,m=0"
    effort = 300

    @hypothesis("private and generated items, of a positive weight")
    def some(self, problem: FederatedCMDP, n: int, m: int, w: float) -> bool:
        return n >= 1 and m >= 1 and w > 0

    @hypothesis("few enough private samples to enumerate", only=["by_enumeration"])
    def few(self, problem: FederatedCMDP, n: int) -> bool:
        return problem.cmdp.A**n <= MOST_SAMPLES

    @hypothesis("few enough samples to enumerate, generated ones included", only=["drawn_by_enumeration"])
    def few_pairs(self, problem: FederatedCMDP, n: int, m: int) -> bool:
        return problem.cmdp.A ** (n + m) <= MOST_SAMPLES

    def setup(
        self,
        problem: FederatedCMDP,
        n: int = 3,
        m: int = 5,
        w: float = 1.0,
        spread: float = 1.0,
        draws: int = 4,
        seed: int = 0,
        client: Rows | None = None,
        generator: Rows | None = None,
    ) -> Pool:
        r"""Laws from the flat Dirichlet law, one of each for every context and draw; the generator's is a
        mixture of the client's and another, which has the weight ``spread``."""
        S, A = problem.cmdp.S, problem.cmdp.A
        rng = np.random.default_rng(seed)
        P, other = (_drawn(rng, draws * S, A) for _ in range(2))
        if client is not None:
            P = _given(client, S, A)
        if generator is not None:
            other, spread = _given(generator, S, A), 1.0
        return Pool(P, other if spread == 1 else other * spread + P * (1.0 - Measured(spread)), n, m, w)

    @identity(r"E\|Q-P\|_2^2 = (nV + M^2 D)/(n+M)^2 \text{, over all samples}")
    def by_enumeration(self, x: Pool) -> Sides:
        return x.by_force(), x.error

    @identity(
        r"E\|Q-P\|_2^2 = (nV + M^2 D + w^2 m (1 - \|G'\|_2^2))/(n+M)^2"
        r" \text{ for drawn items, over all samples}"
    )
    def drawn_by_enumeration(self, x: Pool) -> Sides:
        return x.by_force_sampled(), x.sampled_error

    @identity(r"E\|Q-P\|_2^2 - V/n = (M/(n+M))^2 (D - V(1/n + 2/M))")
    def threshold(self, x: Pool) -> Sides:
        return x.error - x.local, (x.M / (x.M + x.n)) ** 2 * (x.D - x.threshold)

    @identity(r"E\|Q-P\|_2^2 - V/n = (M/(n+M))^2 (D + (1 - \|G'\|_2^2)/m - \theta) \text{ for drawn items}")
    def drawn_threshold(self, x: Pool) -> Sides:
        return x.sampled_error - x.local, (x.M / (x.M + x.n)) ** 2 * (x.D + x.U / x.m - x.threshold)

    @tight(
        r"\|G'-P\|_2^2 \le 2\,\mathrm{TV}(G', P)^2",
        constant=2.0,
        attained=Case(items(4), client=EQUAL, generator=TWO_ITEMS),
    )
    def by_total_variation(self, x: Pool) -> tuple[Measured, Measured, float]:
        return x.D, x.total_variation**2 * 2.0, 2.0

    @tight(
        r"VD/(nD + V) \le E\|Q-P\|_2^2 \text{ where V or D is positive}",
        attained=Case(items(2), n=3, m=4, client=[[0.5, 0.5]], generator=[[0.75, 0.25]]),
    )
    def no_better_weight(self, x: Pool) -> Sides:
        scale = x.D * x.n + x.V
        open_ = scale.lower > 0
        return (x.V * x.D)[open_] / scale[open_], x.error[open_]

    @identity(r"E\|Q-P\|_2^2 = VD/(nD + V) \text{ for } M = V/D \text{ where } D > 0")
    def best_weight(self, x: Pool) -> Sides:
        off = x.D.lower > 0
        V, D = x.V[off], x.D[off]
        M = V / D
        return (V * x.n + M * M * D) / (M + x.n) ** 2, V * D / (D * x.n + V)

    @control("a generator far away harms", Case(items(4), n=20, m=40, client=EQUAL, generator=TWO_ITEMS))
    def always_helps(self, x: Pool) -> Sides:
        return x.error, x.local

    @control(
        "of two generators at the same TV, one may help and the other harm",
        Case(items(4), n=20, m=40, client=EQUAL, generator=TWO_ITEMS),
    )
    def same_side(self, x: Pool) -> Sides:
        other = replace(x, G=_given(FOUR_ITEMS, 1, 4))
        return -(x.error - x.local) * (other.error - other.local), Measured(np.zeros(1))

    @control(
        "TV^2 below the threshold does not suffice",
        Case(items(2), n=20, m=40, client=[[0.5, 0.5]], generator=[[0.68, 0.32]]),
    )
    def half_the_square(self, x: Pool) -> Sides:
        # Helpful or TV^2 at least the threshold: the smaller of the two differences is not positive.
        return (x.error - x.local).minimum(x.threshold - x.total_variation**2), Measured(np.zeros(1))

    @control(
        "the factor 2 of 2/M is needed",
        Case(items(4), n=20, m=40, client=EQUAL, generator=[[0.43, 0.07, 0.25, 0.25]]),
    )
    def single(self, x: Pool) -> Sides:
        smaller = x.V * (Measured(1.0) / x.n + Measured(1.0) / x.M)
        # Harmful or D below the smaller threshold: false of what helps and lies above it.
        return (x.local - x.error).minimum(x.D - smaller), Measured(np.zeros(1))

    @control("drawn items err more than their law", Case("random-mdp:seed=1", n=2, m=2), kind=Kind.IDENTITY)
    def drawn_for_nothing(self, x: Pool) -> Sides:
        return x.by_force_sampled(), x.error

    @control(
        "the generator must not depend on the client's own items: it is filtered by their score here",
        Case("random-mdp:seed=1", n=3, m=5),
        kind=Kind.IDENTITY,
    )
    def own_items(self, x: Pool) -> Sides:
        def steered(counts: Any) -> Any:
            return filtered(x.G.reshape(len(x.G), 1, -1), relative_likelihood(pooled(counts, counts, 0.0)))

        p, counts = samples(x.P, x.n)
        off = steered(counts) - x.P.reshape(len(x.P), 1, -1)
        mean_D = (p * (off * off).sum(-1)).sum(-1)
        return x.by_force(steered), (x.V * x.n + x.M * x.M * mean_D) / (x.M + x.n) ** 2

    @study("enhancement")
    def federation(self) -> StudyData:
        """Five clients with different laws of records: what the loop gains them, and the server."""
        return enhancement_study()


def _drawn(rng: np.random.Generator, B: int, A: int) -> Measured:
    weights = Measured(rng.dirichlet(np.ones(A), B))
    return weights / weights.sum(-1).reshape(B, 1)


def _given(rows: Rows, S: int, A: int) -> Measured:
    log_policy(rows, S, A)  # for its checks
    weights = Measured(np.asarray(rows, dtype=np.float64))
    return weights / weights.sum(-1).reshape(S, 1)
