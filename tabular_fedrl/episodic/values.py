r"""Values, occupancies and gradients of finite-horizon policies by dynamic programming.

For a policy :math:`\pi_h(a|s)`, backwards in time with :math:`V_H = 0`,

.. math:: Q_h(s,a) = r_h(s,a) + E\,V_{h+1}(s'), \qquad V_h(s) = \sum_a \pi_h(a|s) Q_h(s,a),

forwards :math:`d_{h+1}(s') = \sum_{s,a} d_h(s) \pi_h(a|s) P_h(s'|s,a)` from :math:`d_0 = \rho`, and with
softmax logits :math:`\theta`

.. math:: \frac{\partial V(\rho)}{\partial\theta_h(s,a)} = d_h(s)\,\pi_h(a|s)\,(Q_h(s,a) - V_h(s)),

summed over h where the logits are the same at every step. Policies are tables ``(..., H, S, A)`` of
probabilities with any leading axes, in any number system: floats give plain floats without a bound;
:class:`~tabular_fedrl.measured.Measured` (``policies.enclosed(logits)[1]``) gives enclosures whose radii are
rigorous (rows of P and rho that sum to 1 within rounding stand for the exactly normalised ones), and
:class:`~tabular_fedrl.balls.Balls` gives balls, on problems of exact data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic.mdp import EpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Measured


def action_values(mdp: EpisodicMDP, pi: Any) -> tuple[Any, Any]:
    """Q ``(..., H, S, A)`` and V ``(..., H+1, S)`` (the last is 0) of a policy ``(..., H, S, A)``."""
    model = Model(mdp, pi)
    V = model.zeros(pi.shape[:-3])
    Q, values = [], [V]
    for h in reversed(range(mdp.H)):
        table = pi[..., h, :, :]
        Q.append(model.r[h] + model.ahead(h, V))
        V = (table * Q[-1]).sum(-1)
        values.append(V)
    return along(Q[::-1], -3), along(values[::-1], -2)


def start_value(mdp: EpisodicMDP, pi: Any) -> Any:
    """V(rho), of the leading shape of the policy ``(..., H, S, A)``."""
    return (action_values(mdp, pi)[1][..., 0, :] * Model(mdp, pi).rho).sum(-1)


def occupancy(mdp: EpisodicMDP, pi: Any) -> Any:
    """Law of the state at every step, ``(..., H, S)``."""
    model = Model(mdp, pi)
    d = model.rho + model.zeros(pi.shape[:-3])
    out = [d]
    for h in range(mdp.H - 1):
        d = model.onward(h, d[..., None] * pi[..., h, :, :])
        out.append(d)
    return along(out, -2)


def gradient(mdp: EpisodicMDP, pi: Any) -> Any:
    """Gradient of V(rho) in the logits of a time-dependent softmax policy, ``(..., H, S, A)``."""
    Q, V = action_values(mdp, pi)
    return occupancy(mdp, pi)[..., None] * pi * (Q - V[..., :-1, :, None])


def stationary_gradient(mdp: EpisodicMDP, pi: Any) -> Any:
    """Gradient with respect to the logits of a stationary softmax policy ``(..., S, A)``: the same shape."""
    return gradient(mdp, repeated(pi, mdp.H)).sum(-3)


def repeated(table: Any, H: int) -> Any:
    """A stationary policy ``(..., S, A)`` as a time-dependent one, ``(..., H, S, A)``."""
    return along([table] * H, -3)


def curvature(mdp: EpisodicMDP, pi: Any, u: Any) -> Any:
    r"""The second derivative of V(rho) along a direction ``u (..., H, S, A)`` of the logits,
    :math:`u^T \nabla^2 V u`.

    With :math:`\omega = u - E_\pi u` the policy's derivatives along u are :math:`\pi\omega` and
    :math:`\pi(\omega^2 - E_\pi\omega^2)`; V, V' and V'' go backwards in time together.
    """
    model = Model(mdp, pi)
    V = first = second = model.zeros((pi[..., 0, 0, 0] + u[..., 0, 0, 0]).shape)
    for h in reversed(range(mdp.H)):
        p, step = pi[..., h, :, :], u[..., h, :, :]
        omega = step - (p * step).sum(-1)[..., None]
        squared = omega * omega
        bend = squared - (p * squared).sum(-1)[..., None]
        Q, slope, rest = model.r[h] + model.ahead(h, V), model.ahead(h, first), model.ahead(h, second)
        V = (p * Q).sum(-1)
        first, second = (
            (p * (omega * Q + slope)).sum(-1),
            (p * (bend * Q + 2 * omega * slope + rest)).sum(-1),
        )
    return (second * model.rho).sum(-1)


class Model:
    """A problem's data in the number system of a policy: ``r (H, S, A)``, ``rho (S,)`` and the kernel behind
    :meth:`ahead` and :meth:`onward`.

    Raises
    ------
    InvalidProblem: a policy of the wrong shape; exact data and a policy in floats, or the other way round.
    """

    def __init__(self, mdp: EpisodicMDP, pi: Any) -> None:
        if pi.shape[-3:] != (mdp.H, mdp.S, mdp.A):
            raise InvalidProblem(
                f"the policy has shape {pi.shape}: expected (..., {mdp.H}, {mdp.S}, {mdp.A})"
            )
        if mdp.is_exact != isinstance(pi, Balls):
            raise InvalidProblem("a problem of exact data, and no other, is evaluated in balls")
        self.mdp = mdp
        self.rational = isinstance(pi, Balls) and pi.is_rational
        self.measured = isinstance(pi, Measured)
        if isinstance(pi, Balls):
            self.r, self.rho = (x if self.rational else x.balls() for x in (mdp.r, mdp.rho))
        elif self.measured:
            self.r, self.rho = Measured(mdp.r), Measured(mdp.rho, 2 * mdp.row_error * mdp.rho)
        else:
            self.r, self.rho = mdp.r, mdp.rho

    def zeros(self, batch: tuple[int, ...]) -> Any:
        """0 for every state, ``(*batch, S)``."""
        zeros = np.zeros((*batch, self.mdp.S))
        return Measured(zeros) if self.measured else zeros

    def ahead(self, h: int, V: Any) -> Any:
        """The mean of ``V (..., S)`` over the successors, ``(..., S, A)``."""
        S, A = self.mdp.S, self.mdp.A
        return self._times(V, h, "ahead").reshape(*V.shape[:-1], S, A)

    def onward(self, h: int, x: Any) -> Any:
        """The law ``(..., S)`` of the successor of a pair with the masses ``x (..., S, A)``."""
        return self.from_pairs(h, x.reshape(*x.shape[:-2], -1))

    def from_pairs(self, h: int, x: Any, pairs: Any = None) -> Any:
        """:meth:`onward` for the masses ``x (..., n)`` of some ``pairs (n,)``, numbered ``s*A + a``."""
        return self._times(x, h, "onward", pairs)

    def _times(self, x: Any, h: int, direction: str, pairs: Any = None) -> Any:
        """``x (..., n)`` times a matrix of non-negative numbers."""
        mdp = self.mdp
        rows = mdp.P[h].reshape(mdp.S * mdp.A, mdp.S)
        rows = rows if pairs is None else rows[pairs]
        matrix = rows.T if direction == "ahead" else rows
        if isinstance(x, Balls):
            return _product(x, matrix if self.rational else matrix.balls())
        if not isinstance(x, Measured):
            return x @ matrix
        value, size = x.value @ matrix, np.abs(x.value) @ matrix
        # n terms summed in any order, and the rows' normalisation, err relatively to the sum of the sizes.
        own = len(matrix) * UNIT + 2 * mdp.row_error
        error = (x.error @ matrix + own * size) * (1 + 4 * len(matrix) * UNIT)
        return Measured(value, error * (1 + 16 * UNIT))


def along(parts: list[Any], axis: int) -> Any:
    """Arrays of one shape along a new axis, counted from the end of the result (negative)."""
    index = (..., None, *([slice(None)] * (-axis - 1)))
    return concatenate([part[index] for part in parts], axis)


def _product(x: Balls, matrix: Balls) -> Balls:
    rows = x.reshape(-1, x.shape[-1])
    shape = (*x.shape[:-1], matrix.shape[-1])
    return balls.array(balls.times(balls.matrix(rows), balls.matrix(matrix)), shape)
