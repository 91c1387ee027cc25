r"""What a buffer of successful episodes holds: how often each pair occurs in it at each step.

An episode of an :class:`~tabular_fedrl.episodic.EpisodicMDP` succeeds with the probability
:math:`r_{H-1}(s, a)` of its last state and action, if all rewards before are 0. The likelihood of a buffer
depends on it only through the weights ``(H, S, A)`` computed here, of the exact law of the episodes of a
policy or of a sample, per episode played.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, action_values, episodes, occupancy
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array


def require_success(problem: FederatedEpisodicMDP) -> None:
    """Refuse environments whose episodes do not just succeed or fail at their end.

    Raises
    ------
    InvalidProblem: naming environment, step, state and action.
    """
    for k, mdp in enumerate(problem.mdps):
        r = mdp.floats().r
        wrong = ~((r >= 0) & (r <= 1))
        wrong[:-1] = r[:-1] != 0
        if wrong.any():
            h, s, a = (int(i) for i in np.argwhere(wrong)[0])
            wanted = "a probability of success" if h == mdp.H - 1 else "0 before the last step"
            raise InvalidProblem(
                f"environment {k}: r[h={h}, s={s}, a={a}] = {r[h, s, a]:g}: expected {wanted} (Fed-SE learns "
                "from episodes that succeed or fail at their end)"
            )


def exact_weights(problem: EpisodicMDP | FederatedEpisodicMDP, pi: Any, *, filtered: bool = True) -> Any:
    r""":math:`d_h(s) \pi_h(a|s) Q_h(s, a)`, the probability of passing through (s, a) at step h and
    succeeding; without the last factor if failures are kept. ``pi (..., H, S, A)``, or ``(..., K, H, S, A)``
    for K environments."""
    visits = occupancy(problem, pi)[..., None] * pi
    return visits * action_values(problem, pi)[0] if filtered else visits


def sampled_weights(
    mdp: EpisodicMDP, pi: Array, count: int, rng: np.random.Generator, *, filtered: bool = True
) -> Array:
    """The same for ``count`` simulated episodes of a policy ``(H, S, A)``, divided by their number; floats
    only."""
    states, actions = episodes(mdp, pi, count, rng)
    success = mdp.r[-1, states[:, -1], actions[:, -1]]
    kept = rng.random(count) < success if filtered else np.ones(count, dtype=bool)
    pairs = (np.arange(mdp.H) * mdp.S + states) * mdp.A + actions
    passed = np.bincount(pairs[kept].ravel(), minlength=pi.size)
    return passed.reshape(pi.shape) / count
