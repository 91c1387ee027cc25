r"""Rounds of DRPO with regularised evaluation, one after another, as the algorithm computes them.

In every round each client evaluates the global policy with its own regulariser and takes its R-step, and the
server takes the geometric mean (A2). The behaviours stay as they are, and no client abstains.

**Error.** Any positive policy is the exact step on some critic: :math:`\pi_{k+1} \propto \bar b^w
\pi_k^{1-w} e^{(Q_\alpha + e)/\tau}` with :math:`e = \tau\log\pi_{k+1} - \alpha\log\bar b - \beta\log\pi_k -
Q_\alpha`, up to constants of the state. So whatever the algorithm's arithmetic did, rounding is an error of
the critic, known from the policies themselves, and enters as such an error does (E3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, kl, span, total_variation
from proofs_check.drpo.objective import Objective
from proofs_check.drpo.step import Round, draw
from tabular_fedrl.algorithms.drpo_steps import aggregate, regularised_values, reverse_step
from tabular_fedrl.arithmetic import magnitude, stack
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import Values
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import log_policy

SETTLED = 1e-4
"""A path ends before a step that moves less probability than this: there is little left to see."""


@dataclass(frozen=True)
class Move:
    r"""One round on an objective: log-policies ``old`` :math:`\pi_k` and ``new`` :math:`\pi_{k+1}`
    ``(S, A)``, ``local`` ``(N, S, A)``; the clients' critics :math:`Q_i`, enclosed ``(N, S, A)``, as they
    were before errors were added to them."""

    objective: Objective
    old: Any
    critics: Measured
    local: Any
    new: Any

    @property
    def round(self) -> Round:
        """The problem, the behaviours and the weights."""
        return self.objective.round

    @cached_property
    def pi(self) -> Law:
        r""":math:`\pi_k`"""
        return Law.of(self.old)

    @cached_property
    def next(self) -> Law:
        r""":math:`\pi_{k+1}`"""
        return Law.of(self.new)

    @cached_property
    def before(self) -> Values:
        r"""Of :math:`\pi_k`: ``V (1, S)``, ``Q (1, S, A)``, ``at_rho (1,)``."""
        return self.objective.values(self.old)

    @cached_property
    def after(self) -> Values:
        r"""Of :math:`\pi_{k+1}`."""
        return self.objective.values(self.new)

    @cached_property
    def gain(self) -> Measured:
        r""":math:`\beta KL(\pi_{k+1}\|\pi_k) + (\alpha+\beta) KL(\pi_k\|\pi_{k+1})`, ``(S,)``"""
        return kl(self.next, self.pi) * self.round.beta + kl(self.pi, self.next) * self.round.tau

    @cached_property
    def errors(self) -> Measured:
        r""":math:`\tau\log\pi_{k+1} - \alpha\log\bar b - \beta\log\pi_k - Q_\alpha^{\pi_k}`, ``(S, A)``"""
        x, b = self.round, self.objective.pooled
        return self.next.log * x.tau - b.log * x.alpha - self.pi.log * x.beta - self.before.Q[0]

    @cached_property
    def spread(self) -> Measured:
        """The span of the errors over the actions, ``(S,)``."""
        alone = self.next.support.sum(axis=-1) == 1
        return span(self.errors, self.next.support).where(alone, 0.0)

    def blurred(self, gain: Measured, law: Law) -> Measured:
        r"""A gain per state ``(S,)`` of the step to p, off by :math:`|\langle p - \pi_k, e\rangle|`."""
        return gain.widened((total_variation(law, self.pi) * self.spread).upper)

    @cached_property
    def size(self) -> float:
        """Of the values, and at least 1: a unit for statements about them."""
        return max(1.0, magnitude(self.before.V))

    @cached_property
    def settled(self) -> bool:
        r"""Whether next to nothing moves where :math:`\pi_{k+1}` goes (of midpoints: which rounds are looked
        at is a choice)."""
        moved = self.objective.discounted(self.new, total_variation(self.next, self.pi))
        return float(moved.value) < SETTLED * magnitude(Measured(self.round.cmdp.horizon))


def follow(x: Round, rounds: int, errors: Iterator[Array] | None = None) -> list[Move]:
    """At most ``rounds`` rounds from the policy of ``x``; ``errors``: what is added to the critics
    ``(N, S, A)``, round by round."""
    moves: list[Move] = []
    objective, old = Objective(x), x.log_pi
    for _ in range(rounds):
        move = step(objective, old, 0.0 if errors is None else next(errors))
        if moves and move.settled:
            break
        moves.append(move)
        old = move.new
    return moves


def step(objective: Objective, old: Any, errors: Any = 0.0) -> Move:
    """One round from the log-policy ``old``."""
    x = objective.round
    alpha, beta = x.alpha.plain, x.beta.plain
    critics = Measured.stack([regularised_values(x.cmdp, old, b, alpha)[1] for b in x.log_b])
    local = stack([reverse_step(old, b, q + e, alpha, beta) for b, q, e in _each(x, critics, errors)])
    return Move(objective, old, critics, local, aggregate("geometric", local, x.weights.plain))


def _each(x: Round, critics: Measured, errors: Any) -> Iterator[tuple[Any, Any, Any]]:
    added = errors + np.zeros(critics.shape)
    return zip(x.log_b, critics.plain, added, strict=True)


def starts(
    problem: FederatedCMDP, draws: int, seed: int, common: bool = False, **settings: Any
) -> Iterator[Round]:
    r"""Random rounds (see :func:`proofs_check.drpo.step.draw`), every second one at the vertices; ``common``:
    the behaviours are restricted to the support of :math:`\pi_0`."""
    for k in range(draws):
        x = draw(problem, seed=(seed, k), vertex=k % 2 == 1, **settings)
        if common:
            b = x.behaviour
            x = replace(x, log_b=Law.normalised(b.log, b.support & x.old.support).plain)
        yield x


def noise(rng: np.random.Generator, x: Round, size: float) -> Iterator[Array]:
    """Errors of the clients' critics, new in every round."""
    while True:
        yield size * rng.standard_normal((x.N, x.cmdp.S, x.cmdp.A))


def arms(cmdp: CMDP, alpha: float, beta: float, pi: tuple[float, float], b: tuple[float, float]) -> Round:
    """One client on a bandit with two arms, which are made to pay 1 and 0."""
    log_pi, log_b = (log_policy(np.divide(p, np.sum(p))[None], 1, 2) for p in (pi, b))
    return Round(
        cmdp=cmdp.replace(r=np.array([[1.0, 0.0]]), gamma=0.0),
        alpha=Measured(alpha),
        beta=Measured(beta),
        weights=Measured([1.0]),
        log_pi=log_pi,
        log_b=log_b[None],
        Q=Measured([[[1.0, 0.0]]]),
    )
