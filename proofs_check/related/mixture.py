r"""Kakade and Langford: conservative steps towards another policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from proofs_check.drpo.step import stacked
from proofs_check.related.moves import SOURCES, Move, Moves, moves
from tabular_fedrl.claims import Case, Rows, Table, Theorem, chain, control, tight
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.loops import Batch
from tabular_fedrl.measured import Array, Measured


def trap(gamma: float = 0.5, win: float = 0.5, loss: float = 0.5) -> CMDP:
    """Two states one can stay in; leaving the first wins once, moving in the second loses."""
    P = np.zeros((2, 2, 2))
    P[0, 0, 0] = P[0, 1, 1] = P[1, :, 1] = 1.0
    return CMDP(P, [[0.5, 0.5 + win], [0.5, 0.5 - loss]], [], [], [1.0, 0.0], gamma)


STAY, GO = [[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2


class ConservativeMixture(Theorem):
    r"""A small step towards another policy keeps what the surrogate promises, up to its square.

    **Statement.** For all policies p, q and :math:`p' = (1-a) p + a q`, :math:`0 \le a \le 1`, with
    :math:`\epsilon = \max_s |\langle q, A^p\rangle(s)|` and
    :math:`L_p(p') = J(p) + \frac{a}{1-\gamma} E_{d^p} \langle q, A^p\rangle`,

    .. math:: J(p') \ge L_p(p') - \frac{2\epsilon\gamma a^2}{(1-\gamma)(1-\gamma(1-a))}
              \ge L_p(p') - \frac{2\epsilon\gamma a^2}{(1-\gamma)^2} .

    **Proof.** Draw at each step from q with probability a, from p otherwise. As long as q has not been drawn
    (for t steps with probability :math:`(1-a)^t`) the state is distributed as under p; so the gains
    :math:`a\langle q, A^p\rangle` of p' at time t, averaged over its own states and over those of p, differ
    by at most :math:`2 a\epsilon\,(1 - (1-a)^t)`; sum over t. Equality for every a where q leaves, winning,
    to where it loses (``trap``).

    **Source.** Kakade and Langford (2002), theorem 4.1, is the first form (their values carry the factor
    :math:`1-\gamma`), recalled; the second is how Schulman et al. (2015) quote it, and the form of the theory
    notes (*paper*). That the first is attained is ours.
    """

    id = "related.mixture"
    mark = "paper"
    source = "Kakade, Langford 2002, theorem 4.1, as the theory notes quote it"
    suite = tuple(Case(source) for source in SOURCES)
    certified = (
        Case("textbook:three-state", draws=8),
        Case("textbook:stay-or-leave", draws=8),
        Case(trap(), first=STAY, second=GO, share=0.3),
    )
    small = {"draws": 4}
    space = {"first": Table.POLICY, "second": Table.POLICY, "share": (1e-3, 1.0)}
    family = "cmdp:S=2..3,A=2..3,m=0,gamma=0.05..0.95"

    def setup(
        self,
        problem: FederatedCMDP,
        draws: int = 52,
        seed: int = 0,
        first: Rows | None = None,
        second: Rows | None = None,
        share: float | None = None,
    ) -> list[Move]:
        return moves(problem, draws, seed, first, second, share)

    @tight(
        r"L_p(p') - J(p') \le 2\epsilon\gamma a^2/((1-\gamma)(1-\gamma(1-a))) \text{ (recalled)}",
        attained=Case(trap(), first=STAY, second=GO, share=0.3),
    )
    def original(self, x: list[Move]) -> tuple[Measured, Measured, Measured]:
        return *stacked((k.excess, _parting(k, _epsilon(k) * k.share)) for k in x), _most(x)

    @tight(r"L_p(p') - J(p') \le 2\epsilon\gamma a^2/(1-\gamma)^2")
    def simplified(self, x: list[Move]) -> tuple[Measured, Measured, Measured]:
        return *stacked((k.excess, _bound(k, 2.0)) for k in x), _most(x)

    @chain("simplified")
    def simplified_chain(self, x: list[Move]) -> Iterator[tuple[str, Measured]]:
        yield "left side", Measured.stack([k.excess for k in x])
        # The gain of p' is a <q, A>, computed from p' itself.
        parted = [_parting(k, k.gain.abs().max()) for k in x]
        yield "before q is drawn, the states are those of p", Measured.stack(parted)
        yield "1 - gamma (1 - a) >= 1 - gamma", Measured.stack([_bound(k, 2.0) for k in x])

    def batch(
        self, problems: Batch, first: Array, second: Array, share: Array, **_: Any
    ) -> dict[str, tuple[Array, Array]]:
        """The sides for many small problems in plain floats."""
        k = Moves.of(problems, first, second, share)
        epsilon = np.abs((k.target * k.advantage).sum(axis=-1)).max(axis=-1)
        simplified = 2 * epsilon * k.gamma * share**2
        original = simplified * (1 - k.gamma) / (1 - k.gamma * (1 - share))
        return {"original": (k.excess, original), "simplified": (k.excess, simplified)}

    @control(
        "the constant 2 cannot be 1.9: a small share walks into the trap",
        Case(trap(), first=STAY, second=GO, share=0.01),
    )
    def below_two(self, x: list[Move]) -> tuple[Measured, Measured]:
        return stacked((k.excess, _bound(k, 1.9)) for k in x)

    @control(
        "a cubed instead of squared",
        Case(trap(), first=STAY, second=GO, share=0.01),
    )
    def cubed(self, x: list[Move]) -> tuple[Measured, Measured]:
        return stacked((k.excess, _bound(k, 2.0) * k.share) for k in x)

    @control(
        "eps is the largest gain over all states, not over those that p visits",
        Case(trap(win=0.05), first=STAY, second=GO, share=0.3),
    )
    def visited_gain(self, x: list[Move]) -> tuple[Measured, Measured]:
        seen = [k.start.expected(k.start.old, k.target.mean(k.start.advantage).abs()) for k in x]
        return stacked((k.excess, _bound(k, 2.0, epsilon)) for k, epsilon in zip(x, seen))


def _epsilon(k: Move) -> Measured:
    return k.target.mean(k.start.advantage).abs().max()


def _bound(k: Move, constant: float, epsilon: Measured | None = None) -> Measured:
    size = _epsilon(k) if epsilon is None else epsilon
    return size * k.gamma * Measured(k.share) ** 2 * constant


def _parting(k: Move, gain: Measured) -> Measured:
    r""":math:`(1-\gamma)^2 \sum_t \gamma^t\, 2g\,(1 - (1-a)^t)`"""
    a = Measured(k.share)
    return gain * a * k.gamma * k.discount * 2.0 / (1.0 - k.gamma * (1.0 - a))


def _most(x: list[Move]) -> Measured:
    return Measured.stack([k.most for k in x])
