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

Of N environments at once, all N under their own policies: tables ``(..., N, H, S, A)``, and N before the
axis of steps in every result.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.arithmetic import concatenate
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic.federation import FederatedEpisodicMDP
from tabular_fedrl.episodic.mdp import EpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Measured

Problem: TypeAlias = EpisodicMDP | FederatedEpisodicMDP


def action_values(problem: Problem, pi: Any, reward: Any = None) -> tuple[Any, Any]:
    """Q ``(..., H, S, A)`` and V ``(..., H+1, S)`` (the last is 0) of a policy ``(..., H, S, A)``.

    ``reward``: in place of the problem's, of the policy's shape and number system.
    """
    model = Model(problem, pi)
    r, V = model.r if reward is None else reward, model.zeros(pi.shape[:-3])
    Q, values = [], [V]
    for h in reversed(range(problem.H)):
        table = pi[..., h, :, :]
        Q.append(r[..., h, :, :] + model.ahead(h, V))
        V = (table * Q[-1]).sum(-1)
        values.append(V)
    return along(Q[::-1], -3), along(values[::-1], -2)


def start_value(problem: Problem, pi: Any, reward: Any = None) -> Any:
    """V(rho), of the leading shape of the policy ``(..., H, S, A)``; ``reward`` as for
    :func:`action_values`."""
    return (action_values(problem, pi, reward)[1][..., 0, :] * Model(problem, pi).rho).sum(-1)


def occupancy(problem: Problem, pi: Any) -> Any:
    """Law of the state at every step, ``(..., H, S)``."""
    model = Model(problem, pi)
    d = model.rho + model.zeros(pi.shape[:-3])
    out = [d]
    for h in range(problem.H - 1):
        d = model.onward(h, d[..., None] * pi[..., h, :, :])
        out.append(d)
    return along(out, -2)


def gradient(problem: Problem, pi: Any) -> Any:
    """Gradient of V(rho) in the logits of a time-dependent softmax policy, ``(..., H, S, A)``."""
    Q, V = action_values(problem, pi)
    return occupancy(problem, pi)[..., None] * pi * (Q - V[..., :-1, :, None])


def stationary_gradient(problem: Problem, pi: Any) -> Any:
    """Gradient with respect to the logits of a stationary softmax policy ``(..., S, A)``: the same shape."""
    return gradient(problem, repeated(pi, problem.H)).sum(-3)


def repeated(table: Any, H: int) -> Any:
    """A stationary policy ``(..., S, A)`` as a time-dependent one, ``(..., H, S, A)``."""
    return along([table] * H, -3)


def curvature(problem: Problem, pi: Any, u: Any) -> Any:
    r"""The second derivative of V(rho) along a direction ``u (..., H, S, A)`` of the logits,
    :math:`u^T \nabla^2 V u`.

    With :math:`\omega = u - E_\pi u` the policy's derivatives along u are :math:`\pi\omega` and
    :math:`\pi(\omega^2 - E_\pi\omega^2)`; V, V' and V'' go backwards in time together.
    """
    model = Model(problem, pi)
    V = first = second = model.zeros(np.broadcast_shapes(pi.shape, u.shape)[:-3])
    for h in reversed(range(problem.H)):
        p, step = pi[..., h, :, :], u[..., h, :, :]
        omega = step - (p * step).sum(-1)[..., None]
        squared = omega * omega
        bend = squared - (p * squared).sum(-1)[..., None]
        Q, slope, rest = (
            model.r[..., h, :, :] + model.ahead(h, V),
            model.ahead(h, first),
            model.ahead(h, second),
        )
        V = (p * Q).sum(-1)
        first, second = (
            (p * (omega * Q + slope)).sum(-1),
            (p * (bend * Q + 2 * omega * slope + rest)).sum(-1),
        )
    return (second * model.rho).sum(-1)


class Model:
    """The data of a problem in the number system of a policy: ``r (..., H, S, A)``, ``rho (..., S)``, with a
    leading axis of environments if there are several, and the kernel behind :meth:`ahead` and :meth:`onward`.

    Raises
    ------
    InvalidProblem: a policy of the wrong shape; exact data and a policy in floats, or the other way round.
    """

    def __init__(self, problem: Problem, pi: Any) -> None:
        self.shape = problem.P.shape[:-1]
        if pi.shape[-len(self.shape) :] != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise InvalidProblem(f"the policy has shape {pi.shape}: expected (..., {wanted})")
        if problem.is_exact != isinstance(pi, Balls):
            raise InvalidProblem("a problem of exact data, and no other, is evaluated in balls")
        self.row_error = problem.row_error if not problem.is_exact else 0.0
        self.measured = isinstance(pi, Measured)
        data: tuple[Any, Any, Any] = (problem.P, problem.r, problem.rho)
        if isinstance(pi, Balls):
            data = _in_balls(problem, pi.is_rational)
        elif self.measured:
            data = (data[0], Measured(data[1]), Measured(data[2], 2 * self.row_error * data[2]))
        self.P, self.r, self.rho = data

    def zeros(self, batch: tuple[int, ...]) -> Any:
        """0 for every state, ``(*batch, S)``."""
        zeros = np.zeros((*batch, self.shape[-2]))
        return Measured(zeros) if self.measured else zeros

    def ahead(self, h: int, V: Any) -> Any:
        """The mean of ``V (..., S)`` over the successors, ``(..., S, A)``."""
        return self._times(V, self._rows(h).swapaxes(-1, -2)).reshape(*V.shape[:-1], *self.shape[-2:])

    def onward(self, h: int, x: Any) -> Any:
        """The law ``(..., S)`` of the successor of a pair with the masses ``x (..., S, A)``."""
        return self._times(x.reshape(*x.shape[:-2], -1), self._rows(h))

    def from_pairs(self, h: int, x: Any, pairs: Any) -> Any:
        """:meth:`onward` for the masses ``x (..., n)`` of some ``pairs (n,)``, numbered ``s*A + a``."""
        return self._times(x, self._rows(h)[..., pairs, :])

    def _rows(self, h: int) -> Any:
        """The kernel of a step, ``(..., S*A, S)``."""
        table = self.P[..., h, :, :, :]
        return table.reshape(*table.shape[:-3], -1, table.shape[-1])

    def _times(self, x: Any, matrix: Any) -> Any:
        """Rows ``x (..., n)`` times a matrix ``(n, k)``, or each environment's times its own."""
        if isinstance(x, Balls):
            return _product(x, matrix)
        if not isinstance(x, Measured):
            return _matmul(x, matrix)
        value, size = _matmul(x.value, matrix), _matmul(np.abs(x.value), matrix)
        # Sums of n terms in any order, and rows not exactly normalised, err relatively to the sum of sizes.
        own = matrix.shape[-2] * UNIT
        error = _matmul(x.error, matrix) + (own + 2 * self.row_error) * size
        return Measured(value, error * (1 + 8 * own + 16 * UNIT))


def _in_balls(problem: Problem, rational: bool) -> tuple[Balls, Balls, Balls]:
    """P, r and rho: the rationals as they are, or as balls of the working precision, which compute faster."""
    data: tuple[Balls, Balls, Balls] = (problem.P, problem.r, problem.rho)
    if rational:
        return data
    return problem._remember(("balls", balls.working()), lambda: tuple(x.balls() for x in data))


def _matmul(x: Any, matrix: Any) -> Any:
    return x @ matrix if matrix.ndim == 2 else (x[..., None, :] @ matrix)[..., 0, :]


def _product(x: Balls, matrix: Balls) -> Balls:
    if matrix.ndim > 2:
        return along([_product(x[..., i, :], one) for i, one in enumerate(matrix)], -2)
    rows = balls.times(balls.matrix(x.reshape(-1, x.shape[-1])), balls.matrix(matrix))
    return balls.array(rows, (*x.shape[:-1], matrix.shape[-1]))


def along(parts: list[Any], axis: int) -> Any:
    """Arrays of one shape along a new axis, counted from the end of the result (negative)."""
    index = (..., None, *([slice(None)] * (-axis - 1)))
    return concatenate([part[index] for part in parts], axis)
