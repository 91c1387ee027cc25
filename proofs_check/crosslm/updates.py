r"""A generator of items, the clients' scores, and both updates: what the pages on CrossLM compute with.

A federated problem is read as follows. Its states are contexts, its actions items; a policy is a generator.
What agent k sees of an item is :math:`f_k`, the mean of its constraints' costs (the reward where there are no
constraints), and its score is :math:`s_k = (f_k - \min f_k)/(\max f_k - \min f_k)`, 1 where :math:`f_k` is
constant. Kernel, thresholds and discount play no part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, covariance, span
from tabular_fedrl.algorithms import crosslm
from tabular_fedrl.arithmetic import array
from tabular_fedrl.balls import Balls
from tabular_fedrl.claims import Rows
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem, Undecided
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy


@dataclass(frozen=True)
class Update:
    r"""Contexts in which a generator is to be improved, one a row: ``G`` laws ``(B, A)``, ``scores`` of the
    clients ``(K, B, A)``, ``eta`` the strength of the tilt."""

    G: Law
    scores: Measured
    eta: float

    @cached_property
    def score(self) -> Measured:
        r""":math:`\bar s`, ``(B, A)``"""
        return self.scores.mean(0)

    @cached_property
    def tilted(self) -> Law:
        r""":math:`G_\eta \propto G e^{\eta\bar s}`"""
        return law(crosslm.tilt(self.G.p, self.score, self.eta), self.G.support)

    @cached_property
    def filtered(self) -> Law:
        r"""The law proportional to :math:`G \bar s`; only for rows that :attr:`heard` keeps."""
        return law(crosslm.filtered(self.G.p, self.score), self.accepted)

    @cached_property
    def accepted(self) -> Any:
        """Where an item of G has a positive score, ``(B, A)``."""
        return self.G.support & positive(self.score)

    @cached_property
    def heard(self) -> Update:
        r"""The rows with :math:`E_G \bar s > 0`."""
        keep = self.accepted.any(axis=-1)
        return replace(self, G=self.G[keep], scores=self.scores[:, keep])

    @cached_property
    def variance(self) -> Measured:
        r""":math:`\mathrm{Var}_G(\bar s)`, ``(B,)``"""
        return covariance(self.G, self.score, self.score)

    @cached_property
    def span(self) -> Measured:
        r"""``max - min`` of the mean score over G's items, ``(B,)``."""
        return span(self.score, self.G.support)

    @property
    def highest(self) -> Measured:
        r""":math:`\max\bar s` over G's items, ``(B,)``."""
        return self.score.where(~self.G.support, 0.0).max(-1)

    def mean(self, p: Law) -> Measured:
        r""":math:`E_p \bar s`, ``(B,)``"""
        return p.mean(self.score)

    def gain(self, p: Law) -> Measured:
        r""":math:`E_p \bar s - E_G \bar s`, ``(B,)``"""
        return ((p.p - self.G.p) * self.score).sum(-1)

    @cached_property
    def log_normaliser(self) -> Measured:
        r""":math:`\log E_G e^{\eta\bar s}`, ``(B,)``"""
        return self.G.mean((self.score * self.eta).exp()).log()

    def at(self, eta: float) -> Update:
        """With another strength."""
        return replace(self, eta=eta)


def law(p: Measured, support: Any) -> Law:
    """Probabilities with a known support as a :class:`Law`."""
    return Law(p.where(~support, 1.0).log(), p.where(~support, 0.0), support)


def client_scores(problem: FederatedCMDP) -> Measured:
    """The clients' scores ``(N, S, A)`` of a problem."""
    c, r = problem.cmdp.c, problem.cmdp.r
    # In floats the scores are what the clients compute and send: numbers from there on.
    sent = [_unit(c[list(own)].mean(0) if own else r) for own in problem.visible]
    return Measured.stack([Measured.of(s) for s in sent])


def updates(
    problem: FederatedCMDP,
    eta: float,
    draws: int,
    seed: int,
    generator: Rows | None = None,
    score: Rows | None = None,
) -> Update:
    """``draws`` random generators, half of them with zeros, before the scores of the problem's agents; or the
    ``generator`` and a client's ``score`` that are given, as ``(S, A)`` tables."""
    S, A = problem.cmdp.S, problem.cmdp.A
    scores = client_scores(problem) if score is None else Measured.of(array(table(score, S, A)))[None]
    if generator is not None:
        return Update(Law.of(log_policy(generator, S, A)), scores, eta)
    rng = np.random.default_rng(seed)
    shape = (draws * S, A)
    support = rng.random(shape) < 0.7
    support[: (draws + 1) // 2 * S] = True
    support |= ~support.any(axis=1, keepdims=True)
    G = Law.normalised(Measured(2 * rng.standard_normal(shape)), support)
    return Update(G, Measured.concatenate([scores] * draws, axis=1), eta)


def table(values: Rows, S: int, A: int) -> Any:
    """A table ``(S, A)`` of numbers in [0, 1], checked.

    Raises
    ------
    InvalidProblem: another shape, or a number that is no score.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.shape != (S, A) or not ((x >= 0) & (x <= 1)).all():
        raise InvalidProblem(f"scores are a table of {S} x {A} numbers in [0, 1]")
    return x


def positive(x: Measured) -> Any:
    """Where numbers that are not negative are positive, elementwise.

    Raises
    ------
    Undecided: an enclosure holds 0 and more.
    """
    if isinstance(x, Balls):
        return x > 0
    zero = (x.value == 0) & (x.error == 0)
    if not (zero | (x.lower > 0)).all():
        raise Undecided("whether an item is still made, or liked, needs a higher precision")
    return ~zero


def _unit(f: Any) -> Any:
    low, high = f.ravel().min(), f.ravel().max()
    return array(np.ones(f.shape)) if bool(low == high) else (f - low) / (high - low)
