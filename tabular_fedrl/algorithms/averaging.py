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
    U = _drawn(cmdp, N, given["kernel_seed"])
    P = (1.0 - spread) * cmdp.P + spread * array(U.mean(axis=0))
    return FederatedCMDP(cmdp.replace(P=P, c=cmdp.c[:0], d=cmdp.d[:0]), [()] * N)


def averaging_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    """FedNPG's step, without constraints."""
    return federated_steps(problem, rounds, {**given, "eta_dual": 0.0, "dual_cap": 0.0})


def own_kernels(cmdp: CMDP, N: int, spread: float, seed: int) -> list[CMDP]:
    r"""The agents' problems, from that in :math:`\bar P`."""
    U = _drawn(cmdp, N, seed)
    away = U - U.mean(axis=0)
    # Rounding may leave a probability of -1e-17.
    return [cmdp.replace(P=abs(cmdp.P + array(spread * x))) for x in away]


def _spread(spread: Any) -> float:
    if not 0 <= spread <= 1:
        raise InvalidProblem(f"spread = {spread!r}: expected a number between 0 and 1")
    return float(spread)


def _drawn(cmdp: CMDP, N: int, seed: int) -> Array:
    """The random kernels ``(N, S, A, S)``: rows from the flat Dirichlet law."""
    if cmdp.is_sparse:
        raise InvalidProblem("kernels of the agents' own are drawn for dense problems only")
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(cmdp.S), size=(N, cmdp.S, cmdp.A))
