r"""The advantage filter: keep the behaviour's better actions and forget the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import Law, Mask
from proofs_check.drpo.step import Round, rounds, stacked
from proofs_check.related.moves import SOURCES, at
from tabular_fedrl.claims import Case, Kind, Rows, Table, Theorem, control, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Filter:
    """The behaviour b, the global policy of a round, and the threshold ``eps``."""

    round: Round
    eps: float

    @cached_property
    def kept(self) -> Mask:
        """The actions of b whose advantage exceeds eps, ``(S, A)``."""
        # In floats those that certainly do: the statement holds for every part of them.
        return self.round.old.support & (self.round.advantage.lower > self.eps)

    @property
    def filtered(self) -> Mask:
        """The states in which some action is kept, ``(S,)``."""
        return np.asarray(self.kept.any(axis=-1))

    @cached_property
    def better(self) -> Law:
        """``b+``: b on what is kept; b itself where nothing is."""
        b = self.round.old
        return Law.normalised(b.log, np.where(self.filtered[:, None], self.kept, b.support))

    @cached_property
    def improvement(self) -> Measured:
        """``(1 - gamma) (J(b+) - J(b))``"""
        return self.round.improvement(self.better) * self.round.discount

    @cached_property
    def gain(self) -> Measured:
        r""":math:`1_F \langle b^+, A^b\rangle`, ``(S,)``"""
        return self.better.mean(self.round.advantage).where(~self.filtered, 0.0)

    def threshold(self, eps: float) -> Measured:
        """``eps d(F)`` under b+"""
        return self.round.expected(self.better, Measured(np.where(self.filtered, eps, 0.0)))


class AdvantageFilter(Theorem):
    r"""Dropping the actions without advantage improves the behaviour by the threshold wherever it acts.

    **Statement.** Let b be the behaviour policy, :math:`\epsilon \ge 0`, F the states with
    :math:`A^b(s,a) > \epsilon` for some action of b, and
    :math:`b^+ \propto b\, 1\{A^b > \epsilon\}` on F, :math:`b^+ = b` elsewhere. Then

    .. math:: J(b^+) - J(b) = \frac{1}{1-\gamma} E_{d^{b^+}}[1_F \langle b^+, A^b\rangle] \ge
              \frac{\epsilon}{1-\gamma}\, d^{b^+}(F) .

    **Proof.** The performance difference lemma: off F, :math:`\langle b, A^b\rangle = 0`; on F every action
    of :math:`b^+` has an advantage above :math:`\epsilon`. Nothing else about the set of actions is used: it
    may be any part of those.

    **Source.** Theory notes, DRPO section 5 (a reading of the filter in A2PR).
    """

    id = "related.filter"
    mark = "ours"
    source = "theory notes, DRPO section 5"
    suite = (*(Case(source) for source in SOURCES), Case("textbook:heterogeneous-bandit"))
    certified = (Case("textbook:three-state", draws=8), Case("textbook:two-arm", draws=8))
    small = {"draws": 4}
    space = {"behaviour": Table.POLICY, "eps": (0.0, 1.0)}
    family = "cmdp:S=1..3,A=2..3,m=0,gamma=0..0.95"

    def setup(
        self,
        problem: FederatedCMDP,
        draws: int = 48,
        seed: int = 0,
        behaviour: Rows | None = None,
        eps: float | None = None,
    ) -> list[Filter]:
        """The threshold, unless given, is 0 or a random part of the largest advantage."""
        if behaviour is not None:
            return [Filter(at(problem.cmdp, behaviour), 0.0 if eps is None else eps)]
        rng = np.random.default_rng(seed)
        parts = np.maximum(rng.uniform(-0.5, 1.0, draws), 0.0)
        drawn = rounds(problem, draws, seed, clients=1)
        # A threshold is a choice: a midpoint will do.
        tops = [float(x.advantage.max().value) for x in drawn]
        return [Filter(x, part * top if eps is None else eps) for x, part, top in zip(drawn, parts, tops)]

    @identity(r"(1-\gamma) (J(b^+) - J(b)) = E_{d^{b^+}}[1_F \langle b^+, A^b\rangle]")
    def gain(self, x: list[Filter]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.round.expected(k.better, k.gain)) for k in x)

    @tight(r"\epsilon\, d^{b^+}(F) \le (1-\gamma) (J(b^+) - J(b))")
    def threshold(self, x: list[Filter]) -> tuple[Measured, Measured]:
        return stacked((k.threshold(k.eps), k.improvement) for k in x)

    @control(
        "the filtered states count as often as b+ visits them, not as often as the data do",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def of_the_data(self, x: list[Filter]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.round.expected(k.round.old, k.gain)) for k in x)

    @control(
        "the threshold cannot be 1.01 eps: an action just above it",
        Case("textbook:two-arm", behaviour=[[0.5, 0.5]], eps=0.499),
    )
    def above_the_threshold(self, x: list[Filter]) -> tuple[Measured, Measured]:
        return stacked((k.threshold(1.01 * k.eps), k.improvement) for k in x)

    @control(
        "states in which nothing is kept do not count",
        Case("textbook:two-arm", behaviour=[[0.5, 0.5]], eps=0.6),
    )
    def everywhere(self, x: list[Filter]) -> tuple[Measured, Measured]:
        return stacked((Measured(k.eps), k.improvement) for k in x)
