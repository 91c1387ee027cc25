r"""The public code's shared array: one table, no averaging, and hardly any effect of E."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.fednpg.named import is_named
from tabular_fedrl.arithmetic import concatenate, magnitude, stack
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import arithmetic_mean, enclosed, geometric_mean
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Modes:
    """The same T local steps of each agent, taken one and E at a time, in the shared table and in FedNPG."""

    shared: tuple[Run, Run]
    federated: tuple[Run, Run]
    fixed: Run
    """the shared table with E steps at a time and multipliers that stay 1"""


class SharedTable(Theorem):
    r"""Agents that share one table average nothing, and the number of local steps hardly matters.

    **Setting.** The authors' public code gives all agents the same array of logits and updates it in place
    (mark *code*): agents run one after another on one table. ``sequential-shared`` is that algorithm.

    **Statement.**

    * Agent i + 1 starts where agent i stopped, and the policy of the next round is where agent N stopped:
      all N policies coincide, and their mean, arithmetic or geometric, is the table itself.
    * On a bandit with multipliers that stay fixed E has no effect at all: after T steps of every agent the
      policy is :math:`\pi \propto \exp(\eta T \sum_i f_i)`,
      :math:`f_i = r/N - \sum_{j\in\Gamma_i} \lambda_{ij} c_j`, for every E that divides T.
    * With adaptive multipliers, on the instances and with the steps named below, E changes the averages of
      :math:`V_r` and :math:`V_c` over all states of the table by less than a quarter of what it changes them
      in FedNPG (*measured*, no theorem: steps of different agents commute to first order in the step. It is
      not so everywhere: on the bandit with :math:`\eta = 0.01` and T = 600 the table is the more sensitive).

    **Proof.** The first part is the code; the mean of N copies is the copy. On a bandit a step multiplies the
    table by :math:`e^{\eta f_i}`, and these factors commute.

    **Source.** The code of arXiv 2405.03236 as described in the theory notes, fednpg section 6. Published
    insensitivity to E can come from this, and says nothing on FedNPG, whose bias grows with E.
    """

    id = "fednpg.aliasing"
    mark = "ours"
    source = "theory notes, fednpg section 6; algorithm: code of arXiv 2405.03236"
    suite = (
        Case("textbook:heterogeneous-bandit", steps=4000, local_steps=50),
        Case("random-mdp:seed=1", eta=0.01, dual_cap=1.0),
        Case("random-mdp:seed=1", eta=0.1, eta_dual=0.01, dual_cap=1.0),
    )
    certified = (Case("textbook:heterogeneous-bandit", steps=200, local_steps=10),)
    small = None

    @hypothesis("some agents share the table")
    def several_agents(self, problem: FederatedCMDP) -> bool:
        return problem.N > 1

    @hypothesis("a bandit: one state, gamma = 0", only=["no_effect"])
    def bandit(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.S == 1 and problem.cmdp.gamma == 0

    @hypothesis("constraints, and a cap of at least the multipliers that stay 1")
    def constrained(self, problem: FederatedCMDP, dual_cap: float) -> bool:
        return problem.cmdp.m > 0 and dual_cap >= 1

    @hypothesis("an instance and steps at which it was measured", only=["insensitive"])
    def measured(
        self,
        problem: FederatedCMDP,
        steps: int,
        local_steps: int,
        eta: float,
        eta_dual: float | None,
        dual_cap: float,
    ) -> bool:
        asked = {
            "steps": steps,
            "local_steps": local_steps,
            "eta": eta,
            "eta_dual": eta_dual,
            "dual_cap": dual_cap,
        }
        return any(
            {**self.parameters(), **case.parameters} == asked and is_named(problem, case.instance)
            for case in (*self.suite, *self.certified)
        )

    @hypothesis("E divides T", only=["no_effect"])
    def divides(self, problem: FederatedCMDP, steps: int, local_steps: int) -> bool:
        return local_steps > 0 and steps % local_steps == 0

    def setup(
        self,
        problem: FederatedCMDP,
        steps: int = 600,
        local_steps: int = 20,
        eta: float = 0.05,
        eta_dual: float | None = None,
        dual_cap: float = 10.0,
    ) -> Modes:
        if not 1 <= local_steps <= steps:
            raise InvalidProblem(
                f"local_steps = {local_steps}: expected a whole number from 1 to steps = {steps}"
            )
        constants: dict[str, Any] = {"eta": eta, "dual_cap": dual_cap, "compare": False, "record": "iterates"}
        adaptive = {**constants, "eta_dual": eta if eta_dual is None else eta_dual}

        def go(algorithm: str, E: int, **given: Any) -> Run:
            return run(algorithm, problem, rounds=steps // E, local_steps=E, **given)

        return Modes(
            shared=(go("sequential-shared", 1, **adaptive), go("sequential-shared", local_steps, **adaptive)),
            federated=(go("fednpg", 1, **adaptive), go("fednpg", local_steps, **adaptive)),
            fixed=go("sequential-shared", local_steps, **constants, eta_dual=0.0, initial_multipliers=1.0),
        )

    @identity(r"\pi_{i+1}^{k,0} = \pi_i^{k,E}, \quad \bar\pi_{k+1} = \pi_N^{k,E}")
    def one_table(self, x: Modes) -> tuple[Array, Array]:
        return _handover(x.shared[1])

    @identity(r"\tfrac1N \sum_i \pi = \pi = \prod_i \pi^{1/N}")
    def mean_is_nothing(self, x: Modes) -> tuple[Measured, Measured]:
        result = x.shared[1]
        assert result.iterates is not None
        tables = stack([result.iterates.log_policies[1:]] * result.problem.N)
        means = stack([arithmetic_mean(tables), geometric_mean(tables)])
        # Each mean sums N and then A exponentials or logarithms.
        rounding = 8 * (result.problem.N + tables.shape[-1] + 4) * UNIT * (1 + magnitude(tables))
        return Measured(means).rounded_by(rounding), Measured(tables[:1])

    @identity(
        r"\pi_T \propto \exp(\eta T \sum_i f_i) \text{ for every E (bandit, fixed multipliers)}",
        tolerance=1e-8,
    )
    def no_effect(self, x: Modes) -> tuple[Measured, Measured]:
        return _closed_form(x.fixed)

    @upper(r"|\text{effect of E in the shared table}| \le \tfrac14 |\text{effect of E in FedNPG}|")
    def insensitive(self, x: Modes) -> tuple[Measured, Measured]:
        return _effect(*x.shared), _effect(*x.federated) * 0.25

    @control(
        "in FedNPG every agent starts from the broadcast policy",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def federated_table(self, x: Modes) -> tuple[Array, Array]:
        return _handover(x.federated[1])

    @control(
        "beyond what was measured nothing is claimed: with small steps the shared table is as sensitive",
        Case("textbook:heterogeneous-bandit", steps=600, local_steps=20, eta=0.01),
    )
    def insensitive_everywhere(self, x: Modes) -> tuple[Measured, Measured]:
        return self.insensitive.function(self, x)

    @control("FedNPG is not insensitive to E", Case("random-mdp:seed=1", eta=0.01, dual_cap=1.0))
    def insensitive_federation(self, x: Modes) -> tuple[Measured, Measured]:
        return _effect(*x.federated), _effect(*x.shared)

    @control(
        "with multipliers that adapt the steps of different agents do not commute",
        Case("textbook:heterogeneous-bandit", steps=1000, local_steps=50),
        kind=Kind.IDENTITY,
        tolerance=1e-8,
    )
    def adaptive_multipliers(self, x: Modes) -> tuple[Measured, Measured]:
        return _closed_form(x.shared[1])


def _handover(result: Run) -> tuple[Array, Array]:
    """Where agents 2..N start and the next round's policy, against where the agent before stopped."""
    assert result.iterates is not None
    local, after = result.iterates.local, result.iterates.log_policies[1:]
    starts = concatenate([local[:, 1:, 0], after[:, None]], axis=1)
    return starts, local[:, :, -1]


def _effect(one: Run, many: Run) -> Measured:
    """The largest change of an average over all agents' local policies, of the reward or a cost."""
    value = (one.local_value.mean() - many.local_value.mean()).abs()
    costs = (one.local_costs.mean((0, 1, 2)) - many.local_costs.mean((0, 1, 2))).abs()
    return value.maximum(costs.max())


def _closed_form(result: Run) -> tuple[Measured, Measured]:
    """Log-odds of the last policy against its first arm, and those of the closed form at multipliers 1."""
    cmdp, eta = result.problem.cmdp, Measured(result.parameters["eta"])
    last = enclosed(result.final_log_policy)[0][0]
    observers = result.problem.observers.astype(np.float64)
    objective = Measured(cmdp.r[0]) - (Measured(cmdp.c[:, 0]) * observers[:, None]).sum(0)
    steps = result.T * result.problem.N
    reach = 1 + magnitude(result.final_log_policy) + magnitude(eta) * magnitude(cmdp.signals)
    odds, wanted = last - last[0], (objective - objective[0]) * (eta * float(result.T))
    return odds.rounded_by(32 * steps * UNIT * reach), wanted
