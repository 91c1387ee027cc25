"""Policies in environments whose episodes succeed or fail, and what the pages on Fed-SE say of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.fed_se_buffer import exact_weights
from tabular_fedrl.arithmetic import array
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, action_values, occupancy
from tabular_fedrl.measured import Measured, dot

Sides = tuple[Measured, Measured]
GARNETS = "success-garnet:S=5,A=4,H=4,clients=3,heterogeneity=0.5,seed=1"
"""The suite of most controls."""
EPISODE = (-3, -2, -1)
"""The axes of steps, states and actions."""


@dataclass(frozen=True)
class Learner:
    """Policies ``(..., K, H, S, A)`` of K clients as an algorithm holds them, floats or balls; their rows
    stand for the laws they are proportional to."""

    problem: FederatedEpisodicMDP
    pi: Any

    @cached_property
    def outside(self) -> Any:
        """Where the probability is exactly 0."""
        return self.pi == 0

    @cached_property
    def p(self) -> Measured:
        """The probabilities."""
        masses = Measured.of(self.pi)
        return (masses / masses.sum(-1)[..., None]).where(self.outside, 0.0)

    @cached_property
    def log(self) -> Measured:
        """Their logarithms, 0 outside the support."""
        return self.p.where(self.outside, 1.0).log()

    @cached_property
    def Q(self) -> Measured:
        """Probabilities of success after a pair, ``(..., K, H, S, A)``."""
        Q: Measured = action_values(self.problem, self.p)[0]
        return Q

    @cached_property
    def V(self) -> Measured:
        """Probabilities of success after a state, ``(..., K, H, S)``."""
        return dot(self.p, self.Q)

    @cached_property
    def d(self) -> Measured:
        """Law of the state at each step, ``(..., K, H, S)``."""
        d: Measured = occupancy(self.problem, self.p)
        return d

    @cached_property
    def J(self) -> Measured:
        """The probability of success, ``(..., K)``."""
        return dot(self.d[..., 0, :], self.V[..., 0, :])

    @cached_property
    def W(self) -> Measured:
        """The mass of the successful episodes through each pair, ``(..., K, H, S, A)``."""
        W: Measured = exact_weights(self.problem, self.p)
        return W

    @cached_property
    def plain_W(self) -> Any:
        """The same as an algorithm computes it."""
        return exact_weights(self.problem, self.pi)

    def likelihood(self, W: Any) -> Measured:
        r""":math:`\sum W \log\pi`, ``(..., K)``; W must be 0 where the policy is."""
        return dot(self.log, W, EPISODE)

    def gain(self, after: Learner, W: Any) -> Measured:
        r""":math:`\sum W \log(\pi'/\pi)`, ``(..., K)``; W must be 0 where either policy is."""
        ratio = (after.log - self.log).where(self.outside | after.outside, 0.0)
        return dot(ratio, W, EPISODE)


def success(problem: FederatedEpisodicMDP) -> FederatedEpisodicMDP:
    """The problem with the rewards of the last step only, as probabilities of success."""
    return FederatedEpisodicMDP([_ending(mdp) for mdp in problem.mdps])


def _ending(mdp: EpisodicMDP) -> EpisodicMDP:
    early = np.ones(mdp.r.shape, dtype=bool)
    early[-1] = False
    return mdp.replace(r=mdp.r.where(early, 0.0) if isinstance(mdp.r, Balls) else np.where(early, 0.0, mdp.r))


def last_probabilities(problem: FederatedEpisodicMDP) -> bool:
    """Whether the rewards of the last step are probabilities."""
    return all(bool((mdp.r[-1] >= 0).all() and (mdp.r[-1] <= 1).all()) for mdp in problem.mdps)


def possible(problem: FederatedEpisodicMDP) -> bool:
    """Whether in every environment some episode succeeds."""
    ending = success(problem)
    uniform = array(np.ones((ending.N, ending.H, ending.S, ending.A)))
    return bool((Learner(ending, uniform).J.lower > 0).all())


def drawn(
    rng: np.random.Generator, problem: FederatedEpisodicMDP, draws: int, *, zeros: bool = False
) -> Learner:
    """Random policies ``(draws, K, H, S, A)``, with zeros among their probabilities if asked for."""
    shape = (draws, problem.N, problem.H, problem.S, problem.A)
    masses = np.exp(1.5 * rng.standard_normal(shape))
    if zeros:
        keep = rng.random(shape) < 0.6
        keep[..., 0] |= ~keep.any(axis=-1)
        masses = np.where(keep, masses, 0.0)
    law = array(masses)
    return Learner(problem, law / law.sum(-1)[..., None])


def stacked(sides: Iterable[Sides]) -> Sides:
    """Both sides of one statement for several settings, in one row each."""
    left, right = zip(*sides, strict=True)
    return row(left), row(right)


def row(parts: Iterable[Any]) -> Measured:
    """Arrays of any shapes, one after another."""
    return Measured.concatenate([Measured.of(x).reshape(-1) for x in parts])
