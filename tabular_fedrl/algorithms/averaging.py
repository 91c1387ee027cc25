r"""Federated policy averaging when every agent lives in a kernel of its own.

Agent i's kernel is :math:`P_i = \bar P + \epsilon (U_i - \frac1N \sum_k U_k)` with random stochastic
:math:`U_i` and :math:`\bar P = (1-\epsilon) P + \frac\epsilon N \sum_k U_k`, P the problem's kernel: a
mixture of P and :math:`U_i`, whose mean is :math:`\bar P`. In a round every agent takes E natural-gradient
steps on the common reward in its own kernel, and the server averages the policies. What is measured is
measured in :math:`\bar P`; constraints are not looked at.

Source: Jin, Peng, Yang, Wang, Zhang, "Federated reinforcement learning with environment heterogeneity",
AISTATS 2022 (mark: *recalled*); with the natural gradient, *ours*.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import federated_steps
from tabular_fedrl.arithmetic import array
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Federation, PublicSteps
from tabular_fedrl.measured import Array

REMEMBERED = 1 << 20
"""Numbers of random kernels that are kept for the next problem, at most."""


def policy_averaging(federation: Federation, spread: float, seed: int) -> Iterator[Round]:
    r"""The rounds; ``spread`` is :math:`\epsilon`, ``seed`` that of the :math:`U_i`."""
    agents = federation.agents
    for agent, view in zip(agents, own_kernels(agents[0].view, len(agents), spread, seed)):
        agent.view = view
    return fednpg(federation)


def mean_kernel(problem: FederatedCMDP, given: dict[str, Any]) -> FederatedCMDP:
    r"""The problem without constraints in :math:`\bar P`."""
    cmdp, N = problem.cmdp, problem.N
    spread = _spread(given["spread"])
    mean, _ = _drawn(cmdp, N, given["kernel_seed"])
    P = (1.0 - spread) * cmdp.P + spread * array(mean)
    return FederatedCMDP(cmdp.replace(P=P, c=cmdp.c[:0], d=cmdp.d[:0]), [()] * N)


def averaging_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """FedNPG's step, without constraints."""
    return federated_steps(problem, rounds, {**given, "eta_dual": 0.0, "dual_cap": 0.0})


def own_kernels(cmdp: CMDP, N: int, spread: float, seed: int) -> list[CMDP]:
    r"""The agents' problems, from that in :math:`\bar P`."""
    return [cmdp.replace(P=P) for P in kernels_alone(cmdp, N, spread, seed)]


def kernels_alone(cmdp: CMDP, N: int, spread: float, seed: int) -> list[Array]:
    r"""The kernels of the agents' problems, ``(S, A, S)`` each."""
    _, away = _drawn(cmdp, N, seed)
    # Rounding may leave a probability of -1e-17.
    return [abs(cmdp.P + array(spread * x)) for x in away]


def _spread(spread: Any) -> float:
    if not 0 <= spread <= 1:
        raise InvalidProblem(f"spread = {spread!r}: expected a number between 0 and 1")
    return float(spread)


def _drawn(cmdp: CMDP, N: int, seed: int) -> tuple[Array, Array]:
    """As :func:`_dirichlet`, for the shape of a problem."""
    if cmdp.is_sparse:
        raise InvalidProblem("kernels of the agents' own are drawn for dense problems only")
    draw = _dirichlet if N * cmdp.S**2 * cmdp.A <= REMEMBERED else _dirichlet.__wrapped__
    return draw(N, cmdp.S, cmdp.A, seed)


@lru_cache(maxsize=1)
def _dirichlet(N: int, S: int, A: int, seed: int) -> tuple[Array, Array]:
    """The mean ``(S, A, S)`` of N random kernels, their rows from the flat Dirichlet law, and what each is
    away from it, ``(N, S, A, S)``. Remembered: the problems of a batch often have them in common."""
    U = np.random.default_rng(seed).dirichlet(np.ones(S), size=(N, S, A))
    mean = U.mean(axis=0)
    away = U - mean
    mean.setflags(write=False)
    away.setflags(write=False)
    return mean, away
