r"""ZPG and ZBCPG: gradients from differences of values that people's frequencies tell, by a link believed.

**Algorithm.** In round t draw v uniformly from the unit sphere (ZPG), or uniform signs on one of the blocks,
drawn at random (ZBCPG). The P people of a panel answer N questions about :math:`\theta_t + \mu v` and
:math:`\theta_t`; of each question the frequency of their answers is trimmed and inverted by the link that is
believed, and :math:`\hat\Delta` is the mean. Step along

.. math:: g_t = \frac{d}{\mu} \hat\Delta\, v \quad\text{(sphere)}, \qquad
          g_t = \frac{K}{\mu} \hat\Delta\, v_k \quad\text{(one of K blocks)} .

The direction costs 64 d bits or d/K bits and the number of the block, the estimate 64.

Source: Zhang, Ying (2024), arXiv 2409.17401 (mark: *recalled*: trimming and constants are not certain to us).
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
    policy,
    signs,
)
from tabular_fedrl.algorithms.zspo import draw
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Array
from tabular_fedrl.preferences import Inversion, Link


def zpg(
    feedback: Feedback, theta: Array, rng: np.random.Generator, ledger: Ledger, believed: Link | None = None
) -> Iterator[PreferenceRound]:
    """The rounds from the logits ``theta (..., L, S, A)``, floats only; ``believed``: by default the true
    link."""
    if feedback.agents != 1:
        raise InvalidProblem(f"ZPG has one agent, not {feedback.agents}")
    d, t = float(np.prod(theta.shape[-3:])), 0
    while True:
        v = ledger.carry(t, "down", EVERYBODY, "direction", draw("sphere", theta.shape, rng))
        gain = ledger.carry(t, "up", 0, "estimate", estimated(feedback, believed, theta, v, rng))
        g = each(gain) * v * (d / feedback.mu)
        ahead = theta + feedback.alpha(t) * g
        yield PreferenceRound(t, theta, g, ahead, feedback.comparison.episodes)
        theta, t = ahead, t + 1


def zbcpg(
    feedback: Feedback, theta: Array, rng: np.random.Generator, ledger: Ledger, believed: Link | None = None
) -> Iterator[PreferenceRound]:
    """As :func:`zpg`, with one of ``feedback.agents`` blocks in a round."""
    own, K, t = blocks(theta.shape[-3:], feedback.agents), feedback.agents, 0
    size = int(own[0].sum())
    while True:
        k = rng.integers(0, K, theta.shape[:-3])
        ledger.carry(t, "down", EVERYBODY, "block", np.asarray(k, dtype=np.float64))
        drawn: Any = rng.random((*theta.shape[:-3], size)) < 0.5
        v = _placed(signs(ledger.carry(t, "down", EVERYBODY, "direction", drawn)), own[k])
        gain = ledger.carry(t, "up", 0, "estimate", estimated(feedback, believed, theta, v, rng))
        g = each(gain) * v * (K / feedback.mu)
        ahead = theta + feedback.alpha(t) * g
        yield PreferenceRound(t, theta, g, ahead, feedback.comparison.episodes)
        theta, t = ahead, t + 1


def estimated(
    feedback: Feedback, believed: Link | None, theta: Array, v: Array, rng: np.random.Generator
) -> Array:
    r"""The estimate :math:`\hat\Delta` of :math:`V(\theta + \mu v) - V(\theta)`, of the leading shape."""
    link = feedback.comparison.panel.link if believed is None else believed
    mine, theirs = (policy(x, feedback.mdp.H) for x in (theta + feedback.mu * v, theta))
    return Inversion(feedback.comparison, link).drawn(feedback.mdp, mine, theirs, rng)


def _placed(values: Array, block: Array) -> Any:
    """``values (..., size)`` on the coordinates where ``block (..., L, S, A)`` is 1, 0 elsewhere."""
    out = np.zeros(block.shape)
    out[block > 0] = values.ravel()
    return out
