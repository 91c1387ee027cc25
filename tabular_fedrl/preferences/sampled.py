"""The sampled twin of a comparison: episodes are simulated, people are asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.episodic import EpisodicMDP, return_grid, sample_returns
from tabular_fedrl.measured import Array
from tabular_fedrl.preferences.comparison import Comparison, few_enough
from tabular_fedrl.preferences.votes import Ties


def sampled_vote(
    comparison: Comparison, mdp: EpisodicMDP, first: Array, second: Array, rng: np.random.Generator
) -> bool:
    """One decision between two policies ``(H, S, A)``: whether it is for ``first``.

    Every question is answered by P people about D new episodes of each policy.
    """
    yes = int(sampled_answers(comparison, mdp, first, second, rng).sum())
    return _decided(yes, comparison.questions, comparison.ties, rng)


def sampled_answers(
    comparison: Comparison, mdp: EpisodicMDP, first: Array, second: Array, rng: np.random.Generator
) -> Any:
    """The panel's answers to N questions, ``(N,)`` booleans."""
    few_enough(comparison.episodes, "episodes")
    few_enough(comparison.questions * comparison.panel.people, "answers")
    panel, shape = comparison.panel, (comparison.questions, comparison.batch)
    unit = float(return_grid(mdp).unit)
    mine, theirs = (
        sample_returns(mdp, pi, shape[0] * shape[1], rng).reshape(shape).mean(axis=1) * unit
        for pi in (first, second)
    )
    chance = 0.5 + np.asarray(panel.link.deviation(mine - theirs))
    people = rng.random((comparison.questions, panel.people)) < chance[:, None]
    return np.array([_decided(int(yes), panel.people, panel.ties, rng) for yes in people.sum(axis=1)])


def _decided(yes: int, n: int, ties: Ties, rng: np.random.Generator) -> bool:
    if 2 * yes != n:
        return 2 * yes > n
    return ties == "yes" or (ties == "fair" and bool(rng.random() < 0.5))
