"""Rounds of fits to a growing buffer, and an instance on which they can lose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from typing import Any

import numpy as np

from proofs_check.fed_se.learner import Learner, row
from tabular_fedrl.algorithms.fed_se import Choice, fed_se
from tabular_fedrl.algorithms.fed_se_adapters import closed_form
from tabular_fedrl.arithmetic import maximum
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, repeated
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Path:
    """Policies ``played`` in successive rounds, and what was ``fitted`` in each to the successes of all so
    far: the next one played, if no server comes between."""

    played: tuple[Learner, ...]
    fitted: tuple[Learner, ...]

    @cached_property
    def buffers(self) -> list[Measured]:
        r"""What round t is fitted to: :math:`\sum_{i\le t} W^{\pi_i}`, ``(..., K, H, S, A)``."""
        return list(accumulate(learner.W for learner in self.played))

    @property
    def pairs(self) -> list[tuple[Learner, Learner]]:
        r""":math:`\pi_t, \pi'_t`"""
        return list(zip(self.played, self.fitted))

    @cached_property
    def likelihood_gains(self) -> list[Measured]:
        r""":math:`F_t(\pi'_t) - F_t(\pi_t)`"""
        return [old.gain(new, old.W) for old, new in self.pairs]

    @cached_property
    def made_up(self) -> list[Measured]:
        r""":math:`\eta_t`"""
        older = [old.gain(new, W) for (old, new), W in zip(self.pairs[1:], self.buffers)]
        return [self.likelihood_gains[0] * 0.0, *(maximum(gain, 0.0) for gain in older)]

    @property
    def floor(self) -> Measured:
        r""":math:`J(\pi_t) e^{-\eta_t/J(\pi_t)}` of all rounds, in a row"""
        return row(old.J * (-(eta / old.J)).exp() for old, eta in zip(self.played, self.made_up))


@dataclass(frozen=True)
class Rounds:
    """Paths of clients by themselves whose fits are maximisers: over all policies, and over those that are
    the same at every step; and the path of a run of Fed-SE."""

    full: Path
    tied: Path
    run: Path


def maximisers(problem: FederatedEpisodicMDP, pi: Any, rounds: int, *, tied: bool) -> Path:
    """Closed forms of the buffers; ``tied``: of the same probabilities at every step."""
    path, W = [Learner(problem, pi)], 0.0
    for _ in range(rounds):
        W = path[-1].plain_W + W
        law = closed_form(W.sum(-3) if tied else W, pi[..., 0, :, :] if tied else pi)
        pi = repeated(law, problem.H) if tied else law
        path.append(Learner(problem, pi))
    return Path(tuple(path[:-1]), tuple(path[1:]))


def run_of(problem: FederatedEpisodicMDP, choice: Choice, rounds: int, logits: Any) -> Path:
    """Fed-SE, played and fitted."""
    played = list(islice(fed_se(problem, choice, Ledger(), logits), rounds))
    return Path(
        tuple(Learner(problem, x.policies) for x in played), tuple(Learner(problem, x.local) for x in played)
    )


def late_bloomer(even: float = 0.7) -> EpisodicMDP:
    """Four steps: one action in eight leads on to a task that succeeds if its three choices are right, the
    others to an arm that succeeds with the probability ``even`` whatever is chosen."""
    P = np.zeros((4, 8, 4))
    P[0, 0, 2] = P[0, 1:, 1] = P[1, :, 1] = P[2, 0, 2] = P[2, 1:, 3] = P[3, :, 3] = 1.0
    r = np.zeros((4, 4, 8))
    r[-1, 1], r[-1, 2, 0] = even, 1.0
    return EpisodicMDP(P, r, [1.0, 0.0, 0.0, 0.0], 4, state_names=["start", "even", "task", "lost"])


ONE_OF_FOUR = FederatedEpisodicMDP([late_bloomer(), *[late_bloomer(0.0)] * 3])
"""A client to whom the even arm is worth something, and three to whom it is not."""
