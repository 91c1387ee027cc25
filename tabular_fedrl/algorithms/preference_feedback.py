r"""What the methods that learn from preferences have in common: logits, perturbations, decisions, rounds.

Logits are tables ``(..., L, S, A)`` with L = H where they change with time and L = 1 where they do not, and
any leading axes: independent runs side by side. d = LSA is the number of coordinates.

Every message is heard by all (agent -1 in the ledger stands for everybody) and counted once, as in Wang,
Zhang, Ying (2026): all parties apply the same update to the same logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import array
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import enclosed, softmax
from tabular_fedrl.preferences import Comparison, sampled_vote

EVERYBODY = -1
"""Sender or receiver of a broadcast in the ledger."""


@dataclass(frozen=True)
class Feedback:
    r"""Who learns from whom, and how fast.

    mdp: the problem, the same for all agents. comparison: how a decision between two policies is made.
    agents: K. mu: the size of perturbations. step: :math:`\alpha`, or None for
    :math:`\alpha_t = c\,t^{-1/2}` with c = ``scale``. sampled: decisions are simulated, episode by episode
    and person by person; else they are drawn with their exact probabilities.
    """

    mdp: EpisodicMDP
    comparison: Comparison
    agents: int = 1
    mu: float = 0.1
    step: float | None = None
    scale: float = 1.0
    sampled: bool = False

    def alpha(self, t: int) -> float:
        """The step of round t = 0, 1, ..."""
        return self.scale * float(t + 1) ** -0.5 if self.step is None else self.step

    def chance(self, perturbed: Any, theta: Any) -> Any:
        """The probability of a decision for the perturbed logits against ``theta``, elementwise."""
        return self.comparison.vote(self.mdp, policy(perturbed, self.mdp.H), policy(theta, self.mdp.H)) + 0.5

    def decide(self, perturbed: Any, theta: Any, rng: np.random.Generator) -> Any:
        """Decisions for the perturbed logits, booleans of the leading shape of ``perturbed``; ``theta``
        broadcasts against them."""
        shape = perturbed.shape[:-3]
        if not self.sampled:
            return array(rng.random(shape)) < self.chance(perturbed, theta)
        second = np.broadcast_to(theta, perturbed.shape)
        out = np.empty(shape, dtype=bool)
        for i in np.ndindex(shape):
            mine, theirs = (policy(x[i], self.mdp.H) for x in (perturbed, second))
            out[i] = sampled_vote(self.comparison, self.mdp, mine, theirs, rng)
        return out


@dataclass(frozen=True)
class PreferenceRound:
    """Round t: logits ``theta`` at its start and ``next_theta`` after it, the update ``direction`` between
    them, all ``(..., L, S, A)``; ``episodes``: simulated by all agents together, per run."""

    t: int
    theta: Any
    direction: Any
    next_theta: Any
    episodes: int


def policy(theta: Any, H: int) -> Any:
    """The softmax policy ``(..., H, S, A)`` of logits ``(..., L, S, A)``."""
    pi = enclosed(theta)[1] if isinstance(theta, Balls) else softmax(theta)
    return pi if theta.shape[-3] == H else pi[..., np.zeros(H, dtype=int), :, :]


def blocks(shape: tuple[int, ...], K: int) -> Array:
    """Indicators of the K equal blocks of the coordinates of a table: ``(K, *shape)``, zeros and ones.

    Raises
    ------
    InvalidProblem: K does not divide the number of coordinates.
    """
    d = int(np.prod(shape))
    if K < 1 or d % K:
        raise InvalidProblem(f"{K} agents cannot share {d} coordinates equally")
    owner = np.arange(d).reshape(shape) // (d // K)
    return np.asarray(owner == np.arange(K).reshape(-1, *(1,) * len(shape)), dtype=np.float64)


def signs(bits: Any) -> Array:
    """Booleans as -1 and +1."""
    return np.asarray(bits, dtype=np.float64) * 2 - 1


def each(x: Any) -> Any:
    """Numbers ``(...)`` as factors of tables ``(..., L, S, A)``."""
    return x[..., None, None, None]
