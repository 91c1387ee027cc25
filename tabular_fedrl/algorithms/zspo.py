r"""ZSPO: one agent, real perturbations, the sign of what they do.

**Algorithm.** In round t draw v from the standard Gaussian or uniformly from the unit sphere, let the panel
decide between :math:`\theta_t + \mu v` and :math:`\theta_t`, :math:`O \in \{-1,+1\}`, and step along it,
:math:`\theta_{t+1} = \theta_t + \alpha_t O v`. The direction costs 64 d bits, the vote one.

For Gaussian v, :math:`E|\langle a, v\rangle| = \sqrt{2/\pi}\,\|a\|_2` exactly.

Source: Zhang, Ying (2025), arXiv 2506.03066 (mark: *recalled*: its constants are not certain to us).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.preference_feedback import EVERYBODY, Feedback, PreferenceRound, each, signs
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Array

DIRECTIONS = ("gaussian", "sphere")


def zspo(
    feedback: Feedback,
    theta: Any,
    rng: np.random.Generator,
    ledger: Ledger,
    directions: str = "gaussian",
) -> Iterator[PreferenceRound]:
    """The rounds from the logits ``theta (..., L, S, A)``."""
    if feedback.agents != 1:
        raise InvalidProblem(f"ZSPO has one agent, not {feedback.agents}")
    t = 0
    while True:
        v = ledger.carry(t, "down", EVERYBODY, "direction", draw(directions, theta.shape, rng))
        decided = ledger.carry(t, "up", 0, "vote", feedback.decide(theta + feedback.mu * v, theta, rng))
        g = each(signs(decided)) * v
        ahead = theta + feedback.alpha(t) * g
        yield PreferenceRound(t, theta, g, ahead, feedback.comparison.episodes)
        theta, t = ahead, t + 1


def draw(directions: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Directions ``(..., L, S, A)``: standard Gaussian, or uniform on the unit sphere."""
    v = rng.standard_normal(shape)
    if directions == "gaussian":
        return v
    if directions != "sphere":
        raise InvalidProblem(f"directions {directions!r}: expected one of {', '.join(DIRECTIONS)}")
    return np.asarray(v / (v**2).sum(axis=(-3, -2, -1), keepdims=True) ** 0.5)
