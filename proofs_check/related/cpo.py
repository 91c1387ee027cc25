r"""CPO: the surrogate objective against an average distance, from both sides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import change
from proofs_check.drpo.step import stacked
from proofs_check.related.mixture import GO, STAY, trap
from proofs_check.related.moves import SOURCES, Move, Moves, moves
from tabular_fedrl.claims import Case, Rows, Table, Theorem, control, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.loops import Batch
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import random_log_policy


@dataclass(frozen=True)
class Shaped:
    """A move, and a function f of the states: ``f (S,)``; ``drift (S, A)`` is the expectation of
    ``gamma f(s') - f(s)``."""

    move: Move
    f: Measured
    drift: Measured

    @cached_property
    def delta(self) -> Measured:
        r""":math:`\delta_f = r + \gamma E f(s') - f(s)`, ``(S, A)``"""
        return self.drift + self.move.start.cmdp.r

    @cached_property
    def surrogate(self) -> Measured:
        r""":math:`(1-\gamma) L_f = (1-\gamma) E_{d^p} \langle p' - p, \delta_f\rangle`"""
        move = self.move
        gained = change(move.new, move.start.old, self.delta)
        return move.start.expected(move.start.old, gained) * move.discount

    @cached_property
    def epsilon(self) -> Measured:
        r""":math:`\max_s |\langle p', \delta_f\rangle|`"""
        return self.move.new.mean(self.delta).abs().max()


class ConstrainedPolicy(Theorem):
    r"""The value lies within an average distance of the surrogate objective, above and below.

    **Statement.** For all policies :math:`p, p'` and every function f of the states, with
    :math:`\delta_f(s,a) = r(s,a) + \gamma E f(s') - f(s)`,
    :math:`\epsilon_f = \max_s |\langle p', \delta_f\rangle(s)|` and
    :math:`L_f = E_{d^p} \langle p' - p, \delta_f\rangle`,

    .. math:: \Big| J(p') - J(p) - \frac{L_f}{1-\gamma} \Big| \le \frac{2\gamma\epsilon_f}{(1-\gamma)^2}\,
              E_{d^p} \mathrm{TV}(p', p) .

    With :math:`f = V^p` the function :math:`\delta_f` is the advantage: corollary 1 of the paper,

    .. math:: J(p') - J(p) \gtrless \frac{1}{1-\gamma} E_{s \sim d^p,\, a \sim p'} \Big[ A^p(s,a) \mp
              \frac{2\gamma\epsilon}{1-\gamma}\, \mathrm{TV}(p', p)(s) \Big] .

    **Proof.** :math:`(1-\gamma)(J(p') - J(p)) = E_{d^{p'}}\langle p', \delta_f\rangle - E_{d^p}\langle p,
    \delta_f\rangle` for every f, which differs from :math:`L_f` by
    :math:`\langle d^{p'} - d^p, \langle p', \delta_f\rangle\rangle`; and
    :math:`\|d^{p'} - d^p\|_1 \le \frac{2\gamma}{1-\gamma} E_{d^p} \mathrm{TV}(p', p)`.

    **Source.** Achiam, Held, Tamar, Abbeel (2017): corollary 1 as the theory notes quote it (*paper*; they
    call it theorem 1), theorem 1 for every f recalled. The paper calls the bounds tight (recalled) because at
    :math:`p' = p` everything vanishes; ``trap`` says more: its move satisfies
    :math:`(1-\gamma)/(1-\gamma(1-a))` of the bound, which tends to all of it as the share a tends to 0.
    """

    id = "related.cpo"
    mark = "paper"
    source = "Achiam et al. 2017, theorem 1 and corollary 1, as the theory notes quote it"
    suite = tuple(Case(source) for source in SOURCES)
    certified = (Case("textbook:three-state", draws=8), Case("textbook:stay-or-leave", draws=8))
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
    ) -> list[Shaped]:
        rng = np.random.default_rng(seed)
        return [_shaped(k, rng) for k in moves(problem, draws, seed, first, second, share)]

    @tight(
        r"J(p') - J(p) \ge \frac{1}{1-\gamma} E_{d^p, p'} [A^p - \frac{2\gamma\epsilon}{1-\gamma}"
        r" \mathrm{TV}(p', p)]"
    )
    def lower(self, x: list[Shaped]) -> tuple[Measured, Measured, Measured]:
        return *stacked((k.move.excess, _bound(k.move)) for k in x), _most(x)

    @tight(
        r"J(p') - J(p) \le \frac{1}{1-\gamma} E_{d^p, p'} [A^p + \frac{2\gamma\epsilon}{1-\gamma}"
        r" \mathrm{TV}(p', p)]"
    )
    def above(self, x: list[Shaped]) -> tuple[Measured, Measured]:
        return stacked((-k.move.excess, _bound(k.move)) for k in x)

    @tight(
        r"|J(p') - J(p) - L_f/(1-\gamma)| \le \frac{2\gamma\epsilon_f}{(1-\gamma)^2} E_{d^p}"
        r" \mathrm{TV}(p', p) \text{ for random } f \text{ (recalled)}"
    )
    def any_function(self, x: list[Shaped]) -> tuple[Measured, Measured]:
        return stacked((_gap(k).abs(), _bound(k.move, epsilon=k.epsilon)) for k in x)

    def batch(
        self, problems: Batch, first: Array, second: Array, share: Array, **_: Any
    ) -> dict[str, tuple[Array, Array]]:
        """The sides for many small problems in plain floats."""
        k = Moves.of(problems, first, second, share)
        mean = (k.visits * k.distance).sum(axis=-1)
        bound = 2 * k.gamma * np.abs(k.gain).max(axis=-1) * mean
        return {"lower": (k.excess, bound), "above": (-k.excess, bound)}

    @control(
        "the constant 2 cannot be 1.9, below",
        Case(trap(), first=STAY, second=GO, share=0.01),
    )
    def below_two(self, x: list[Shaped]) -> tuple[Measured, Measured]:
        return stacked((k.move.excess, _bound(k.move, 1.9)) for k in x)

    @control(
        "the constant 2 cannot be 1.9, above: the trap turned round",
        Case(trap(win=-0.5, loss=-0.5), first=STAY, second=GO, share=0.01),
    )
    def above_two(self, x: list[Shaped]) -> tuple[Measured, Measured]:
        return stacked((-k.move.excess, _bound(k.move, 1.9)) for k in x)

    @control(
        "the distance cannot be squared, as it can be with the largest one",
        Case(trap(), first=STAY, second=GO, share=0.01),
    )
    def squared(self, x: list[Shaped]) -> tuple[Measured, Measured]:
        mean = [k.move.start.expected(k.move.start.old, k.move.distance) for k in x]
        return stacked((k.move.excess, _bound(k.move) * far) for k, far in zip(x, mean))

    @control("the surrogate of f needs p' - p, not p' alone", Case("random-mdp:seed=1"))
    def of_the_new(self, x: list[Shaped]) -> tuple[Measured, Measured]:
        sides = []
        for k in x:
            start = k.move.start
            alone = start.expected(start.old, k.move.new.mean(k.delta)) * k.move.discount
            gap = k.move.change * k.move.discount * k.move.discount - alone
            sides.append((gap.abs(), _bound(k.move, epsilon=k.epsilon)))
        return stacked(sides)


def _shaped(move: Move, rng: np.random.Generator) -> Shaped:
    """The move with a random f: every f is the value of some signal under any one policy, and Q of that
    signal then gives the expectation of f at the successor."""
    cmdp = move.start.cmdp
    signal = rng.standard_normal((1, cmdp.S, cmdp.A))
    values = evaluate(cmdp, random_log_policy(rng, cmdp.S, cmdp.A), signal)
    f, ahead = values.V[0], values.Q[0] - Measured(signal[0])
    return Shaped(move, f, ahead - f.reshape(-1, 1))


def _gap(k: Shaped) -> Measured:
    return k.move.change * k.move.discount * k.move.discount - k.surrogate


def _bound(k: Move, constant: float = 2.0, epsilon: Measured | None = None) -> Measured:
    size = k.gain.abs().max() if epsilon is None else epsilon
    return size * k.gamma * k.start.expected(k.start.old, k.distance) * constant


def _most(x: list[Shaped]) -> Measured:
    return Measured.stack([k.move.most for k in x])
