r"""Where the dual function of one constraint has its lowest kink: the states that change their minds.

Between two multipliers :math:`\lambda^- < \lambda^+` on either side of the optimum the best policies
:math:`\pi^-, \pi^+` differ in some states. At :math:`\lambda^-` such a state prefers its old action by the
margin :math:`m^-(s) = Q^-(s, \pi^-(s)) - Q^-(s, \pi^+(s))`, at :math:`\lambda^+` its new one by
:math:`m^+(s)`; with margins linear in between it changes at

.. math:: \lambda(s) = \lambda^- + (\lambda^+ - \lambda^-) \frac{m^-(s)}{m^-(s) + m^+(s)} ,

where the dual function's slope :math:`d - V_c` jumps in proportion to :math:`\mathrm{visits}(s) (m^-(s) +
m^+(s))`, the margin's own slope. The jumps are scaled to what the slopes at the ends say; the optimum is the
kink at which the sum of them changes its sign. Margins are those of different policies, so that this is a
prediction: the multipliers that it proposes are priced like any others. *Ours*.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.measured import Array


class End(NamedTuple):
    """A multiplier priced: the optimal values ``V (S,)`` there, the policy's ``actions (S,)`` and the dual
    function's ``slope``."""

    multiplier: float
    V: Array
    actions: NDArray[np.int32]
    slope: float


def beside_kink(cmdp: CMDP, left: End, right: End, visits: Array) -> float | None:
    """A multiplier on the far side of the kink where the slope is predicted to change its sign, before the
    next one: it and the nearer end then enclose the kink. ``visits (S,)``: of a policy near both.

    None where one state or none is left between the ends: their planes then cross at the kink.
    """
    states = np.flatnonzero(left.actions != right.actions)
    first, second = (_margins(cmdp, states, *ends) for ends in ((left, right), (right, left)))
    margins = first + second
    jumps = np.maximum(visits[states], 0.0) * margins
    counted = jumps > 0
    if counted.sum() < 2:
        return None
    places, jumps = first[counted] / margins[counted], jumps[counted]
    order = np.argsort(places, kind="stable")
    places, rise = places[order], np.cumsum(jumps[order])
    slopes = left.slope + (right.slope - left.slope) * rise / rise[-1]
    k = min(int(np.searchsorted(slopes, 0.0)), places.size - 1)
    around = np.concatenate([[0.0], places, [1.0]])[k : k + 3]
    place = 0.5 * (around[1:].sum() if around[1] < 0.5 else around[:2].sum())
    return left.multiplier + (right.multiplier - left.multiplier) * float(place)


def _margins(cmdp: CMDP, states: NDArray[np.intp], here: End, there: End) -> Array:
    """By how much the states prefer their actions at ``here`` to those at ``there``, at the multiplier
    ``here``."""
    mine, other = (
        cmdp.r[states, end.actions[states]]
        - here.multiplier * cmdp.c[0, states, end.actions[states]]
        + cmdp.gamma * (cmdp.rows[states * cmdp.A + end.actions[states]] @ here.V)
        for end in (here, there)
    )
    return np.maximum(mine - other, 0.0)
