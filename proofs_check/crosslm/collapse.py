r"""C4: what the filter drops never returns; the tilt drops nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.crosslm.pooled import items
from proofs_check.crosslm.updates import law, positive
from proofs_check.drpo.laws import Law, random_part
from tabular_fedrl.algorithms.crosslm import LARGEST_ETA, filtered, tilt
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, Kind, Rows, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured

Sides = tuple[Measured, Measured]

OPPOSED = {"scores": [[1.0, 0.5, 0.0, 0.5], [1.0, 0.0, 0.5, 0.0]], "generator": [0.01, 0.33, 0.33, 0.33]}
"""Scores of two rounds that agree on the rarest of four items only."""
UNTILTED = Case(items(4), eta=0.0)
"""No tilt at all: the one strength at which both limits are reached, whatever the scores."""


@dataclass(frozen=True)
class Rounds:
    r"""Generators over T rounds: ``G`` the first one, laws ``(B, A)``; ``scores``: :math:`\bar s_t` of each
    round, ``(T, B, A)``; ``eta``: the strength of the tilt."""

    G: Law
    scores: Measured
    eta: float

    @cached_property
    def filters(self) -> list[Measured]:
        """The generators under the filter, ``T + 1`` tables ``(B, A)``."""
        return self._run(filtered)

    @cached_property
    def tilts(self) -> list[Measured]:
        """The same under the tilt."""
        return self._run(lambda g, s: tilt(g, s, self.eta))

    def _run(self, update: Any) -> list[Measured]:
        out = [self.G.p]
        for t in range(len(self.scores)):
            out.append(update(out[-1], self.scores[t]))
        return out

    @cached_property
    def spans(self) -> Measured:
        r""":math:`\sum_t \mathrm{span}\,\bar s_t`, ``(B, 1)``"""
        return (self.scores.max(-1) - self.scores.min(-1)).sum(0).reshape(-1, 1)

    @cached_property
    def liked(self) -> Any:
        """Where an item of G has a positive score in every round, ``(B, A)``."""
        return self.G.support & positive(self.scores).all(axis=0)


class Collapse(Theorem):
    r"""Under the filter the generator's support only shrinks, down to a single item; under the tilt it stays.

    **Setting.** T rounds of updates from a generator :math:`G_0`, with any mean scores
    :math:`\bar s_1, \dots, \bar s_T \in [0, 1]`, which may depend on everything before. In every context some
    item of :math:`G_0` has a positive score in all rounds (else the filter leaves nothing).

    **Statement.** The filter :math:`G_t \propto G_{t-1} \bar s_t` keeps

    .. math:: \mathrm{supp}\,G_t = \mathrm{supp}\,G_{t-1} \cap \{\bar s_t > 0\}, \qquad
              \mathrm{supp}\,G_T = \mathrm{supp}\,G_0 \cap \bigcap_t \{\bar s_t > 0\} ,

    which never grows; if one item alone has positive scores in all rounds, :math:`G_T` is that item, however
    rare it was. If the score is the same :math:`\bar s` in every round, with the largest value on the set
    :math:`X^\star` only and :math:`\sigma` the next one,

    .. math:: \frac{G_T(x \notin X^\star)}{G_T(X^\star)} \le \Big(\frac{\sigma}{\max\bar s}\Big)^T
              \frac{G_0(x \notin X^\star)}{G_0(X^\star)} .

    The tilt keeps every item: with :math:`H = \sum_t \mathrm{span}\,\bar s_t`,

    .. math:: e^{-\eta H} G_0(x) \le G_T(x) \le e^{\eta H} G_0(x) .

    **Proof.** A product is positive iff its factors are. :math:`G_T \propto G_0 \prod_t \bar s_t`; off
    :math:`X^\star` the product is at most :math:`\sigma^T`. For the tilt
    :math:`G_t/G_{t-1} = e^{\eta\bar s_t}/E_{G_{t-1}} e^{\eta\bar s_t}` lies between
    :math:`e^{\pm\eta\,\mathrm{span}\,\bar s_t}`.

    **Source.** Theory notes, CrossLM, C4.
    """

    id = "crosslm.collapse"
    mark = "ours"
    source = "theory notes, CrossLM, C4"
    suite = (
        Case(items(4), **OPPOSED),
        Case("textbook:two-arm"),
        Case("random-mdp:seed=1"),
        Case("random-mdp:nS=6,nA=3,seed=2", rounds=12, zeros=0.1),
        Case("garnet:S=12,A=5,b=2,seed=2", eta=5.0),
        Case(items(48), rounds=8, zeros=0.6, eta=0.1),
    )
    certified = (Case(items(4), **OPPOSED), Case("random-mdp:seed=1", rounds=3))
    small = {"rounds": 3}
    space = {"rounds": (1, 6), "eta": (1e-3, 5.0), "zeros": (0.0, 0.9), "seed": (0, 1000)}
    family = "bandit:A=2..5,m=0"

    @hypothesis("a tilt that floats hold, and rounds to speak of")
    def positive(self, problem: FederatedCMDP, eta: float, rounds: int) -> bool:
        return 0 <= eta <= LARGEST_ETA and rounds >= 1

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 6,
        eta: float = 1.0,
        zeros: float = 0.3,
        seed: int = 0,
        generator: list[float] | None = None,
        scores: Rows | None = None,
    ) -> Rounds:
        """Random scores in every context and round, 0 with probability ``zeros`` but for one item of the
        generator; or, in a problem of one context, the ``scores`` that are given, a row for each round, and
        a ``generator``, a row (default: all items alike)."""
        S, A = problem.cmdp.S, problem.cmdp.A
        rng = np.random.default_rng(seed)
        if scores is not None:
            G = Measured(array(_row(generator or [1.0 / A] * A, A)).reshape(1, A))
            table = np.stack([_row(row, A) for row in scores])
            support = G.value > 0
            return Rounds(law(G / G.sum(-1).reshape(1, 1), support), Measured(table[:, None]), eta)
        G_0 = random_part(rng, np.ones((S, A), dtype=bool))
        drawn = rng.random((rounds, S, A)) * (rng.random((rounds, S, A)) >= zeros)
        kept = G_0.support.argmax(axis=-1)
        drawn[:, np.arange(S), kept] = 0.1 + 0.9 * rng.random((rounds, S))
        return Rounds(G_0, Measured(drawn), eta)

    @identity(r"[G_t(x) > 0] = [G_{t-1}(x) > 0]\,[\bar s_t(x) > 0] \text{ under the filter}")
    def support(self, x: Rounds) -> tuple[Any, Any]:
        before, after = _supports(x.filters[:-1]), _supports(x.filters[1:])
        return after, before * positive(x.scores)

    @identity(r"[G_T(x) > 0] = [G_0(x) > 0] \prod_t [\bar s_t(x) > 0] \text{ under the filter}")
    def survivors(self, x: Rounds) -> tuple[Any, Any]:
        return _supports(x.filters[-1:])[0], x.liked * 1.0

    @tight(
        r"|\mathrm{supp}\,G_t| \le |\mathrm{supp}\,G_{t-1}| \text{ under the filter}",
        attained=Case(items(4), zeros=0.0),
    )
    def shrinks(self, x: Rounds) -> tuple[Any, Any, float]:
        sizes = _supports(x.filters).sum(axis=-1)
        return sizes[1:], sizes[:-1], float(x.G.p.shape[-1])

    @identity(r"G_T(x) = 1 \text{ where x alone has positive scores in all rounds}")
    def total(self, x: Rounds) -> Sides:
        alone = x.liked.sum(axis=-1) == 1
        last = x.filters[-1].where(~x.liked, 0.0).sum(-1)[alone]
        return last, Measured(np.ones(last.shape))

    @tight(
        r"G_T(x \notin X^\star)/G_T(X^\star) \le (\sigma/\max\bar s)^T\, G_0(x \notin X^\star)/G_0(X^\star)"
        r" \text{ for the same filter in every round}",
        constant=1.0,
        attained=Case(items(2), scores=[[1.0, 0.5]] * 3),
    )
    def concentration(self, x: Rounds) -> Sides:
        score = x.scores[0]
        values = np.where(x.G.support, score.value, -1.0)
        best = values == values.max(axis=-1, keepdims=True)
        steady = Rounds(x.G, Measured.stack([score] * len(x.scores)), x.eta)
        last, top = steady.filters[-1], score.where(~best, 0.0).max(-1)
        second = score.where(best | ~x.G.support, 0.0).max(-1)
        shrunk = (second / top) ** len(x.scores)
        return _odds(last, best), shrunk * _odds(x.G.p, best)

    @tight(r"e^{-\eta H} G_0(x) \le G_T(x) \text{ under the tilt}", attained=UNTILTED)
    def tilt_keeps(self, x: Rounds) -> Sides:
        return x.G.p * (-x.spans * x.eta).exp(), x.tilts[-1]

    @tight(r"G_T(x) \le e^{\eta H} G_0(x) \text{ under the tilt}", attained=UNTILTED)
    def tilt_limits(self, x: Rounds) -> Sides:
        return x.tilts[-1], x.G.p * (x.spans * x.eta).exp()

    @control("the filter keeps no item as the tilt does", Case(items(4), **OPPOSED))
    def filter_keeps(self, x: Rounds) -> Sides:
        return x.G.p * (-x.spans * x.eta).exp(), x.filters[-1]

    @control(
        "the tilt's support does not shrink with the filter's", Case(items(4), **OPPOSED), kind=Kind.TIGHT
    )
    def tilt_collapses(self, x: Rounds) -> tuple[Any, Any]:
        tilted, kept = (_supports(tables[-1:])[0].sum(axis=-1) for tables in (x.tilts, x.filters))
        return tilted, kept

    @control(
        "what was dropped does not return when all clients ask for it",
        Case(items(3), scores=[[1.0, 0.5, 0.0], *[[0.1, 0.1, 1.0]] * 5]),
    )
    def returns(self, x: Rounds) -> Sides:
        wish = x.scores[-1]
        return (x.G.p * wish).sum(-1), (x.filters[-1] * wish).sum(-1)

    @control("under the tilt it does", Case(items(3), scores=[[1.0, 0.5, 0.0], *[[0.1, 0.1, 1.0]] * 5]))
    def tilt_forgets_for_good(self, x: Rounds) -> Sides:
        wish = x.scores[-1]
        return (x.tilts[-1] * wish).sum(-1), (x.G.p * wish).sum(-1)


def _supports(tables: list[Measured]) -> Any:
    """Where generators are positive, as 0 and 1."""
    return np.stack([positive(g) * 1.0 for g in tables])


def _odds(p: Measured, best: Any) -> Measured:
    return p.where(best, 0.0).sum(-1) / p.where(~best, 0.0).sum(-1)


def _row(values: Any, A: int) -> Any:
    x = np.asarray(values, dtype=np.float64)
    if x.shape != (A,) or not ((x >= 0) & (x <= 1)).all() or not x.any():
        raise InvalidProblem(f"a row of {A} numbers in [0, 1], not all 0, was expected")
    return x
