r"""FedNPG from samples: the exact values replaced by Monte Carlo estimates from a generative simulator.

For every state s, n rollouts of length :math:`l \sim \mathrm{Geometric}(1-\gamma)` on {1, 2, ...} from s
under the agent's policy; the means of the **undiscounted** sums are :math:`\hat V(s)` for r and every cost in
:math:`\Gamma_i` (the rollouts are shared). For every (s, a), n independent rollouts that start with a give
:math:`\hat Q(s, a)`. As :math:`P(l > t) = \gamma^t`, both are unbiased; an agent simulates
:math:`n |S| (|A|+1)/(1-\gamma)` transitions per local step on average.

Undiscounted sums are not invariant to shifts of a signal, so that the constants hold reaches instead of spans
(theorem F3, mark: *ours*), :math:`\mathrm{reach} f = \max(f, 0) - \min(f, 0)`:

.. math:: B_i = \frac{\mathrm{reach}(r)}N + \sum_{j \in \Gamma_i} \Lambda_j\,\mathrm{reach}(c_j), \qquad
          \hat r_i^2 \le B_i^2 |A| \frac{1+\gamma}{(1-\gamma)^2}.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.algorithms.fednpg import fednpg
from tabular_fedrl.algorithms.local import Estimate, primal_dual_step
from tabular_fedrl.algorithms.rounds import Round
from tabular_fedrl.algorithms.step_sizes import dual_cap, log_actions, per_constraint
from tabular_fedrl.arithmetic import exp, matmul, maximum, minimum, sum
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.federation import Agent, Federation, PublicSteps
from tabular_fedrl.kernels.rollouts import rollouts
from tabular_fedrl.measured import Array


def sampled(agent: Agent, log_pi: Array, samples: int = 1) -> Estimate:
    r""":math:`\hat Q - \hat V` of reward and costs, and :math:`\langle \rho, \hat V_c \rangle`, from n =
    ``samples`` rollouts per start; adds to ``agent.transitions``."""
    view = agent.view
    S, A, k = view.S, view.A, 1 + view.m
    model = simulator(view)
    policy = np.cumsum(exp(log_pi), axis=1)
    means, transitions = rollouts(*model, policy, view.gamma, *starts(S, A), samples, agent.rng)
    agent.transitions += int(transitions)
    V, Q = means[:S].T, means[S:].T.reshape(k, S, A)
    return Estimate(Q - V[:, :, None], matmul(V[1:], view.rho))


def starts(S: int, A: int) -> tuple[np.ndarray, np.ndarray]:
    """States and actions that rollouts start from: every state with an action of the policy (-1), then every
    pair."""
    states, actions = np.arange(S), np.arange(A)
    return np.append(states, np.repeat(states, A)), np.append(np.full(S, -1), np.tile(actions, S))


@lru_cache(maxsize=64)
def simulator(view: CMDP) -> tuple[np.ndarray, np.ndarray, Array, Array]:
    """What the rollouts draw from: the kernel in CSR form with its rows summed up, and the signals
    ``(S*A, k)``."""
    rows = sp.csr_array(view.rows)
    total = np.cumsum(np.concatenate([[0.0], rows.data]))
    indptr = rows.indptr.astype(np.int64)
    before = np.repeat(total[indptr[:-1]], np.diff(indptr))
    signals = np.ascontiguousarray(view.signals.reshape(1 + view.m, -1).T)
    return indptr, rows.indices.astype(np.int64), total[1:] - before, signals


def sampled_fednpg(federation: Federation, samples: int) -> Iterator[Round]:
    """The rounds of FedNPG with n = ``samples`` rollouts per start."""
    step = partial(primal_dual_step, evaluate=partial(sampled, samples=samples))
    return fednpg(federation, step)


def sampled_steps(problem: FederatedCMDP, rounds: int, given: dict[str, Any]) -> PublicSteps:
    r"""The steps that balance F3's bound with :math:`\hat r_i` at its largest and
    :math:`\hat g_j \le \max|c_j| \sqrt{1+\gamma}/(1-\gamma) + |d_j|`."""
    cmdp, N, E = problem.cmdp, problem.N, int(given["local_steps"])
    T, h = rounds * E, cmdp.horizon
    cap = dual_cap(cmdp, given)
    eta, eta_dual = given["eta"], given["eta_dual"]
    if eta is None:
        B = magnitudes(problem, cap)
        r_hat = B * (cmdp.A * (1.0 + cmdp.gamma)) ** 0.5 * h
        slope = h**2 * float(sum(r_hat * r_hat)) + (E - 1) * h**3 * float(sum(B * r_hat))
        eta = (8.0 * N * log_actions(cmdp) / (T * (slope or 1.0))) ** 0.5
    if eta_dual is None:
        g_hat = abs(cmdp.c).max(axis=(1, 2)) * (1.0 + cmdp.gamma) ** 0.5 * h + abs(cmdp.d)
        eta_dual = cap / ((g_hat.max(initial=0.0) or 1.0) * T**0.5)
    return PublicSteps(float(eta), per_constraint("eta_dual", eta_dual, cmdp.m), cap)


def magnitudes(problem: FederatedCMDP, cap: Array) -> Array:
    r""":math:`B_i` of F3, ``(N,)``, for dual caps ``(m,)``."""
    reach = [float(maximum(f.max(), 0.0) - minimum(f.min(), 0.0)) for f in problem.cmdp.signals]
    costs = cap * np.array(reach[1:])
    return np.array([reach[0] / problem.N + float(sum(costs[list(seen)])) for seen in problem.visible])
