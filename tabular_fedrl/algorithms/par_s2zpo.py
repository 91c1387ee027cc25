r"""Par-S2ZPO: each agent perturbs its own block of coordinates and learns the sign of what that does.

**Problem.** :math:`\max_\theta V(\pi_\theta)` over softmax logits, from preferences between batches of
episodes; K agents, the d coordinates in K equal blocks :math:`I_1, \ldots, I_K`.

**Algorithm.** In round t = 0, 1, ...

1. The server draws :math:`v \in \{-1,+1\}^d` uniformly and broadcasts it: d bits.
2. Agent k perturbs its own block, :math:`\theta' = \theta_t + \mu v_k` with :math:`v_k = v \circ e_{I_k}`.
3. It asks the panel N times to compare D episodes of each policy and takes the majority,
   :math:`O_k \in \{-1,+1\}`, +1 for :math:`\theta'`.
4. The K votes are broadcast, and everybody computes

   .. math:: g_t = \sum_k O_k v_k, \qquad \theta_{t+1} = \theta_t + \alpha_t g_t .

An agent keeps d/K numbers beside its policy, and 2ND of its episodes are simulated. The published
pseudo-code has a minus sign in the vote; with the meaning of the answer given in the text that would descend.

Source: Wang, Zhang, Ying (2026), arXiv 2604.17747 (mark: *paper*).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.preference_feedback import (
    EVERYBODY,
    Feedback,
    PreferenceRound,
    blocks,
    each,
    signs,
)
from tabular_fedrl.arithmetic import sum
from tabular_fedrl.federation import Ledger


def par_s2zpo(
    feedback: Feedback, theta: Any, rng: np.random.Generator, ledger: Ledger
) -> Iterator[PreferenceRound]:
    """The rounds from the logits ``theta (..., L, S, A)``."""
    own = blocks(theta.shape[-3:], feedback.agents)
    t = 0
    while True:
        v = signs(ledger.carry(t, "down", EVERYBODY, "direction", rng.random(theta.shape) < 0.5))
        parts = v[..., None, :, :, :] * own
        here = theta[..., None, :, :, :]
        decided = feedback.decide(here + feedback.mu * parts, here, rng)
        votes = [ledger.carry(t, "up", k, "vote", decided[..., k]) for k in range(feedback.agents)]
        g = sum(each(signs(np.stack(votes, axis=-1))) * parts, axis=-4)
        ahead = theta + feedback.alpha(t) * g
        yield PreferenceRound(t, theta, g, ahead, feedback.agents * feedback.comparison.episodes)
        theta, t = ahead, t + 1
