r"""From one policy to another: what the classical bounds on policy improvement compare.

For a policy p and another p', with :math:`A^p` the advantage of the reward,

.. math:: L_p(p') = J(p) + \frac{1}{1-\gamma} E_{s \sim d^p} \langle p', A^p\rangle(s)

looks at the states where p goes; J(p') at those where p' goes. The bounds say how far apart the two can be.
Their sides are compared after multiplication with :math:`(1-\gamma)^2`: then they are of the size of rewards,
whatever the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import Law, mixture, total_variation
from proofs_check.drpo.step import Round, rounds
from tabular_fedrl.arithmetic import stack
from tabular_fedrl.claims import Rows
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops import Batch
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_policy

SOURCES = (
    "random-mdp:seed=1",
    "random-mdp:nS=6,nA=3,seed=2",
    "garnet:S=12,A=3,b=2,seed=2",
    "garnet:S=30,A=4,b=4,seed=3",
    "windy-cliff",
    "gym:FrozenLake-v1",
    "textbook:three-state",
    "textbook:stay-or-leave",
)
"""What the pages vary (see :func:`moves`). With a single state, p and p' visit the same, and the bounds say
nothing."""

LEAST = 1e-3
"""A gain, or loss, below which nothing is tried."""


@dataclass(frozen=True)
class Move:
    """From the policy p, the global one of the round ``start``, to :math:`p' = (1-a) p + a q`: ``target`` is
    q, ``share`` is a."""

    start: Round
    target: Law
    share: float = 1.0

    @property
    def discount(self) -> Measured:
        """``1 - gamma``"""
        return self.start.discount

    @property
    def gamma(self) -> Measured:
        return Measured(self.start.cmdp.gamma)

    @cached_property
    def new(self) -> Law:
        """``p'``, ``(S, A)``"""
        if self.share == 1:
            return self.target
        pair = Law.of(stack([self.start.log_pi, self.target.plain]))
        shares = Measured.stack([1.0 - Measured(self.share), Measured(self.share)])
        return mixture(pair, shares.reshape(2, 1) + np.zeros((2, self.start.cmdp.S)))

    @cached_property
    def visits(self) -> Measured:
        """``d^p``, ``(S,)``"""
        return self.start.visits(self.start.old)

    @cached_property
    def gain(self) -> Measured:
        """``<p', A^p>``, ``(S,)``"""
        return self.new.mean(self.start.advantage)

    @cached_property
    def distance(self) -> Measured:
        """``TV(p', p)``, ``(S,)``"""
        return total_variation(self.new, self.start.old)

    @cached_property
    def surrogate(self) -> Measured:
        """``L_p(p') - J(p)``"""
        return self.start.expected(self.start.old, self.gain) / self.discount

    @cached_property
    def change(self) -> Measured:
        """``J(p') - J(p)``"""
        return self.start.improvement(self.new)

    @cached_property
    def excess(self) -> Measured:
        r""":math:`(1-\gamma)^2 (L_p(p') - J(p'))`"""
        return (self.surrogate - self.change) * self.discount * self.discount

    @property
    def most(self) -> Measured:
        """What ``excess`` cannot exceed: J(p') is at least the least reward for ever."""
        start = self.start
        above = self.surrogate + start.values.at_rho[0] - Measured(start.cmdp.r.min()) / self.discount
        return above * self.discount * self.discount


def moves(
    problem: FederatedCMDP,
    draws: int,
    seed: int,
    first: Rows | None = None,
    second: Rows | None = None,
    share: float | None = None,
) -> list[Move]:
    """The move from ``first`` to ``second`` (``share`` of the way), where both are given as tables of
    probabilities ``(S, A)``; else random ones on random variations of the problem.

    Of the random ones every second one is at the vertices (see :func:`proofs_check.drpo.step.draw`), and
    half of them go only a small share of the way, evenly spread in its logarithm from 1/1000 to 1. Those
    in which q does next to nothing are left out: both sides are then 0, or rounding.
    """
    cmdp = problem.cmdp
    if (first is None) != (second is None):
        raise InvalidProblem("the policies first and second are given together or not at all")
    if share is not None and not 0 < share <= 1:
        raise InvalidProblem(f"share = {share}: expected a number above 0 and at most 1")
    if first is not None and second is not None:
        target = Law.of(log_policy(second, cmdp.S, cmdp.A))
        return [Move(at(cmdp, first), target, 1.0 if share is None else share)]
    rng = np.random.default_rng(seed)
    shares = [10.0 ** rng.uniform(-3, 0) if k % 4 < 2 else 1.0 for k in range(draws)]
    drawn = rounds(problem, draws, seed, clients=1)
    return [
        Move(x, x.behaviour[0], part if share is None else share)
        for x, part in zip(drawn, shares)
        if _worth(x) > LEAST
    ]


def _worth(x: Round) -> float:
    """The largest gain or loss of the client's policy."""
    # What is drawn is a choice: a midpoint will do.
    return float(x.behaviour[0].mean(x.advantage).abs().max().value)


def at(cmdp: CMDP, policy: Rows) -> Round:
    """The policy of a table ``(S, A)`` as the global one of a round whose only client abstains."""
    log_pi = log_policy(policy, cmdp.S, cmdp.A)
    one, nothing = Measured(1.0), Measured(np.zeros((1, cmdp.S, cmdp.A)))
    return Round(cmdp, one, one, Measured(np.ones(1)), log_pi, log_pi[None], nothing)


@dataclass(frozen=True)
class Moves:
    """The same of B small problems in plain floats, ``(B, ...)``, for the worst-case search."""

    gamma: Array
    old: Array
    target: Array
    new: Array
    visits: Array
    advantage: Array
    excess: Array

    @property
    def distance(self) -> Array:
        return np.asarray(0.5 * np.abs(self.new - self.old).sum(axis=-1))

    @property
    def gain(self) -> Array:
        return np.asarray((self.new * self.advantage).sum(axis=-1))

    @staticmethod
    def of(problems: Batch, first: Array, second: Array, share: Array) -> Moves:
        gamma = problems.gamma[:, None]
        new = first + share[:, None, None] * (second - first)
        V, d = zip(*(_evaluated(problems, pi) for pi in (first, new)))
        future = np.einsum("bsat,bt->bsa", problems.P, V[0])
        advantage = problems.r + gamma[..., None] * future - V[0][..., None]
        gain = (new * advantage).sum(axis=-1)
        change = (problems.rho * (V[1] - V[0])).sum(axis=-1)
        excess = (1 - gamma[:, 0]) * (d[0] * gain).sum(axis=-1) - (1 - gamma[:, 0]) ** 2 * change
        return Moves(gamma[:, 0], first, second, new, d[0], advantage, excess)


def _evaluated(problems: Batch, pi: Array) -> tuple[Array, Array]:
    """V and the normalised visitation of policies ``(B, S, A)``, each ``(B, S)``."""
    gamma = problems.gamma[:, None]
    kernel = np.einsum("bsa,bsat->bst", pi, problems.P)
    resolvent = np.eye(problems.S) - gamma[..., None] * kernel
    V = np.linalg.solve(resolvent, (pi * problems.r).sum(axis=-1)[..., None])[..., 0]
    start = (1 - gamma) * problems.rho
    return V, np.linalg.solve(resolvent.swapaxes(1, 2), start[..., None])[..., 0]
