r"""Unconstrained optima: policy iteration with a rigorous enclosure of the optimal value.

Sparse problems go to :mod:`tabular_fedrl.solvers.inexact`. In dense ones (Howard) a deterministic policy is
evaluated exactly and improved in every state where another action is strictly better (ties are kept, so that
rounding cannot make it cycle among equal policies). For *any* function v,

.. math:: V_f^* \le v + \frac{1}{1-\gamma}\,\max_s \big[(\mathcal T v)(s) - v(s)\big]_+, \qquad
          (\mathcal T v)(s) = \max_a f(s,a) + \gamma E\,v(s'),

because :math:`\mathcal T` is monotone and a :math:`\gamma`-contraction; with v the evaluated values this
bounds the optimum from above, and the policy's own value bounds it from below. Source: Howard (1960);
Puterman (1994), theorem 6.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.evaluation import Values, evaluate, rounding
from tabular_fedrl.kernels.memory import make_room
from tabular_fedrl.kernels.sparse import action_values
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.solvers.inexact import improve

MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Optimum:
    r"""The best policy for one signal.

    ``log_policy``: deterministic log-policy ``(S, A)`` (0 and ``-inf``); ``values``: its :class:`Values` for
    the signal (``k = 1``); ``value``: enclosure (scalar) of :math:`\max_\pi V_f^\pi(\rho)`, in units of
    value.
    """

    log_policy: Array
    values: Values
    value: Measured


def optimise(cmdp: CMDP, reward: Array | None = None, accuracy: float = 0.0) -> Optimum:
    r"""Maximise :math:`V_f(\rho)` without constraints, for the signal ``reward`` ``(S, A)``, default
    ``cmdp.r``; in a sparse problem to ``accuracy``, in units of value (0: as far as rounding permits).

    Raises
    ------
    InvalidProblem: if the signal has another shape or is not finite.
    SolverFailure: if policy iteration does not end (a defect: it is finite).
    """
    f = _signal(cmdp, cmdp.r if reward is None else reward)
    if cmdp.is_sparse:
        return _sparse(cmdp, f, accuracy)
    best: Optimum | None = None
    for candidate in _iterates(cmdp, f):
        if best is None or float(candidate.value.error) < float(best.value.error):
            best = candidate
    assert best is not None
    return best


def optimal_value(cmdp: CMDP, reward: Array, sign: float = 1.0) -> Measured:
    """The ``value`` of :func:`optimise` for ``sign * reward``, where the sign is 1 or -1; in a sparse problem
    without tables beside the signal. Errors as there."""
    f = _signal(cmdp, reward)
    if cmdp.is_sparse:
        value = improve(cmdp, f if sign > 0 else lambda: -f).at_start(cmdp)
        make_room(cmdp.r.nbytes)
        return value
    return optimise(cmdp, sign * f).value


def _signal(cmdp: CMDP, reward: Array) -> Array:
    f = np.asarray(reward, dtype=np.float64)
    if f.shape != (cmdp.S, cmdp.A) or not np.isfinite(f).all():
        raise InvalidProblem(f"the signal must be a finite array of shape {(cmdp.S, cmdp.A)}, not {f.shape}")
    return f


def deterministic(actions: NDArray[Any], A: int) -> Array:
    """Log-policy ``(S, A)`` that takes ``actions[s]`` in state s."""
    log_pi = np.full((actions.size, A), -np.inf)
    log_pi[np.arange(actions.size), actions] = 0.0
    return log_pi


def _sparse(cmdp: CMDP, f: Array, accuracy: float) -> Optimum:
    best = improve(cmdp, f, accuracy=accuracy)
    V, Q = best.values(cmdp.gamma), np.empty_like(f)
    action_values(rows_of(cmdp), f, cmdp.gamma, V.value, Q)
    error = cmdp.gamma * float(V.error.max()) + float(rounding(cmdp, f[None], V.value[None])[0])
    at_rho = best.at_start(cmdp)
    values = Values(
        V=V.reshape(1, cmdp.S),
        Q=Measured(Q[None], error * (1 + 16 * UNIT)),
        at_rho=at_rho.reshape(1),
    )
    return Optimum(deterministic(best.actions, cmdp.A), values, at_rho)


def _iterates(cmdp: CMDP, f: Array) -> Iterator[Optimum]:
    """Howard's policies in turn, each with the enclosure of the optimum that its values prove."""
    states = np.arange(cmdp.S)
    actions = f.argmax(axis=1)
    seen: set[bytes] = set()
    for _ in range(MAX_ITERATIONS):
        log_pi = deterministic(actions, cmdp.A)
        values = evaluate(cmdp, log_pi, f[None])
        V, Q = values.V.value[0], values.Q.value[0]
        noise = float(rounding(cmdp, f[None], V[None])[0])
        yield Optimum(log_pi, values, _enclosure(cmdp, values, noise))
        better = Q.argmax(axis=1)
        switch = Q[states, better] > Q[states, actions] + noise
        seen.add(actions.tobytes())
        actions = np.where(switch, better, actions)
        if actions.tobytes() in seen:  # nothing to switch, or a cycle among policies equal to rounding
            return
    raise SolverFailure(f"policy iteration has not ended after {MAX_ITERATIONS} policies")


def _enclosure(cmdp: CMDP, values: Values, noise: float) -> Measured:
    """Between the policy's value and the bound by its optimality residual ``max_a Q - V``."""
    V = values.V.value[0]
    excess = max(float((values.Q.value[0].max(axis=-1) - V).max()), 0.0)
    # The upper bound is about the float function V itself, so the evaluation's error does not enter: only the
    # rounding of the sum rho . V, of rho's normalisation and of the residual do.
    spread = (cmdp.S + 2) * UNIT * float(cmdp.rho @ np.abs(V)) + 2 * cmdp.row_error * float(np.abs(V).max())
    above = (excess + noise) / (1 - cmdp.gamma) + spread
    at_rho = values.at_rho[0]
    return Measured.between(at_rho.lower, (Measured(at_rho.value) + above * (1 + 16 * UNIT)).upper)
