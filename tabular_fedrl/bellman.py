r"""The Bellman equations in ball arithmetic, for problems of exact data.

What :mod:`tabular_fedrl.evaluation` computes in floats and bounds afterwards is here enclosed on the way:
:math:`V = (I - \gamma P_\pi)^{-1} f_\pi` and :math:`d = (1-\gamma)(I - \gamma P_\pi^T)^{-1}\mu` by a linear
solve whose result encloses the exact solution (``arb_mat.solve``). No residual is needed. Deterministic
policies, whose probabilities are exact, are evaluated in exact rationals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.policies import enclosed


@dataclass(frozen=True)
class _Data:
    """A problem's data at the working precision: ``rows`` as a matrix ``(S*A, S)``, the rest as balls."""

    rows: Any
    P: Balls
    signals: Balls
    rho: Balls
    gamma: Balls


def _data(cmdp: CMDP, beside: Any) -> _Data:
    """The problem's rationals as they are where ``beside`` is rational too, else as balls of the working
    precision, which compute faster."""
    if not balls.working():
        raise InvalidProblem("a problem of exact data is evaluated inside balls.precision(...)")
    rational = beside.is_rational

    def convert() -> _Data:
        fields: list[Any] = [cmdp.P, cmdp.signals, cmdp.rho, cmdp.gamma]
        P, signals, rho, gamma = (x if rational else x.balls() for x in fields)
        return _Data(balls.matrix(P.reshape(-1, cmdp.S)), P, signals, rho, gamma)

    return cmdp._remember("rationals" if rational else ("balls", balls.working()), convert)


def values(cmdp: CMDP, log_pi: Any, signals: Any | None = None) -> tuple[Balls, Balls]:
    r"""V ``(k, S)`` and Q ``(k, S, A)`` of one policy ``(S, A)``; signals ``(k, S, A)``, default reward and
    costs.

    For any numbers :math:`\hat V` and :math:`\hat A = f + \gamma E\hat V - \hat V`,

    .. math:: V = \hat V + (I - \gamma P_\pi)^{-1} \langle\pi, \hat A\rangle .

    With :math:`\hat V` near V the radius of :math:`\pi` meets advantages, nearly centred, and not values,
    whose common size would cancel only if the probabilities were known to sum to 1.
    """
    pi: Any = enclosed(log_pi)[1]
    data = _data(cmdp, pi)
    f = data.signals if signals is None else Balls.of(signals)
    near = _near(cmdp, pi, f)
    centred = f - near.reshape(*near.shape, 1) + _expected(cmdp, data, near)
    # For the same reason masses need not be normalised before the mean over them is taken.
    masses = log_pi.exp() if isinstance(log_pi, Balls) and not pi.is_rational else pi
    mean = (centred * masses).sum(-1) / masses.sum(-1)
    if cmdp.gamma == 0:
        return near + mean, f
    rest = balls.solve(_resolvent(data, pi), mean.T).T
    return near + rest, centred + near.reshape(*near.shape, 1) + _expected(cmdp, data, rest)


def _near(cmdp: CMDP, pi: Any, f: Balls) -> Balls:
    """V ``(k, S)`` of the midpoints, in floats; 0 for a policy of exact numbers, which has no radius."""
    problem, p = cmdp.floats(), pi.value
    if pi.is_rational:
        return Balls(np.zeros((len(f), cmdp.S)))
    kernel = np.einsum("sa,sat->st", p, problem.P)
    mean = (f.value * p).sum(axis=-1)
    return Balls(np.linalg.solve(np.eye(cmdp.S) - problem.gamma * kernel, mean.T).T)


def _expected(cmdp: CMDP, data: _Data, V: Balls) -> Balls:
    r""":math:`\gamma E\,V(s')`, ``(k, S, A)``."""
    k, S = V.shape
    successor = balls.array(balls.times(data.rows, balls.matrix(V.T)), (S * cmdp.A, k)).T
    return data.gamma * successor.reshape(k, S, cmdp.A)


def at_start(cmdp: CMDP, V: Balls) -> Balls:
    """Values at rho of ``V (..., S)``."""
    return (V * _data(cmdp, V).rho).sum(-1)


def visitation(cmdp: CMDP, log_pi: Any, start: Any | None = None) -> Balls:
    """Normalised visitation ``(S,)`` of one policy ``(S, A)`` from ``start`` (default rho)."""
    pi: Any = enclosed(log_pi)[1]
    data = _data(cmdp, pi)
    mu = data.rho if start is None else Balls.of(start)
    return balls.solve(_resolvent(data, pi).T, ((1 - data.gamma) * mu).reshape(-1, 1)).ravel()


def _resolvent(data: _Data, pi: Any) -> Balls:
    r""":math:`I - \gamma P_\pi`"""
    kernel: Balls = (pi.reshape(*pi.shape, 1) * data.P).sum(1)
    return Balls(np.eye(len(kernel))) - data.gamma * kernel
