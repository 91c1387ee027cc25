r"""L3: how far local steps drift from the broadcast policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.fednpg.lockstep import Lockstep
from tabular_fedrl.algorithms.step_sizes import lagrangian_spans, span, spans
from tabular_fedrl.arithmetic import array, exp
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, study, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.loops import Batch
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.runner import Run, run


@dataclass(frozen=True)
class Drift:
    """A run with its iterates, ``B`` the agents' spans ``(N,)``, ``eta`` the primal step."""

    run: Run
    B: Any
    eta: Any


class DriftBound(Theorem):
    r"""Local steps drift from the broadcast policy at most linearly.

    **Setting.** FedNPG with E local steps; agent i's signal has span at most
    :math:`B_i = \mathrm{span}(r)/N + \Lambda \sum_{j\in\Gamma_i} \mathrm{span}(c_j)`.

    **Statement.** Each local step moves the policy by at most

    .. math:: \max_s \|\pi_i^{k,e+1} - \pi_i^{k,e}\|_1 \le \frac{\eta B_i}{2 (1-\gamma)^2},

    hence for every h of span at most 1, after e local steps

    .. math:: |V_h(\pi_i^{k,e}) - V_h(\bar\pi_k)| \le \frac{e\, \eta B_i}{4 (1-\gamma)^4} .

    **Proof.** Part (c) of the tilt lemma (``lemmas.tilt``): a tilt by U of span h has total variation at most
    h/4; here :math:`h \le \eta B_i/(1-\gamma)^2`. Add e steps, then value perturbation.

    **Source.** Theory notes, fednpg section 3.
    """

    id = "fednpg.l3"
    mark = "ours"
    source = "theory notes, L3"
    suite = (
        Case("random-mdp:seed=1", rounds=10, local_steps=5),
        Case("random-mdp:seed=1,agents=6", rounds=5, local_steps=20, eta=0.05),
        Case("windy-cliff:ncost=2", rounds=5, local_steps=10),
        Case("textbook:heterogeneous-bandit", rounds=10, local_steps=10, eta=0.2, dual_cap=1.0),
        Case("gym:FrozenLake-v1", rounds=5, local_steps=5),
    )
    certified = (
        Case("textbook:heterogeneous-bandit", rounds=5, local_steps=5, eta=0.2, dual_cap=1.0),
        Case("random-mdp:seed=1", rounds=3, local_steps=3),
    )
    small = {"rounds": 3, "local_steps": 3}
    family = "cmdp:S=1..3,A=2..3,m=1..2,N=1..3,gamma=0..0.95"
    space = {
        "rounds": (1, 30),
        "local_steps": (2, 20),
        "eta": [None, (1e-4, 10.0)],
        "dual_cap": [None, (1e-2, 100.0)],
    }
    effort = 6000

    @hypothesis("eta > 0")
    def positive_step(self, problem: FederatedCMDP, eta: float | None) -> bool:
        return eta is None or eta > 0

    @hypothesis("the reward is not constant")
    def reward_varies(self, problem: FederatedCMDP) -> bool:
        return bool(span(problem.cmdp.r) > 0)

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 20,
        local_steps: int = 5,
        eta: float | None = None,
        dual_cap: float | None = None,
    ) -> Drift:
        result = run(
            "fednpg",
            problem,
            rounds=rounds,
            local_steps=local_steps,
            eta=eta,
            dual_cap=dual_cap,
            record="iterates",
        )
        cap = array(result.parameters["dual_cap"])
        return Drift(result, lagrangian_spans(problem, cap), result.parameters["eta"])

    @upper(r"\max_s \|\pi_i^{k,e+1} - \pi_i^{k,e}\|_1 \le \eta B_i / (2 (1-\gamma)^2)")
    def step(self, x: Drift) -> tuple[Measured, Measured, float]:
        return *_moves(x, 2.0), 2.0

    @upper(r"|V_h(\pi_i^{k,e}) - V_h(\bar\pi_k)| \le e \eta B_i / (4 (1-\gamma)^4)")
    def value(self, x: Drift) -> tuple[Measured, Measured, float]:
        result, E = x.run, x.run.local_steps
        cmdp = result.problem.cmdp
        scale = spans(cmdp.signals)
        scale[scale == 0] = 1.0
        K = result.rounds
        start = result.value.reshape(K, 1, 1), result.costs.reshape(K, 1, 1, cmdp.m)
        reward = (result.local_value - start[0]).abs() / scale[0]
        costs = (result.local_costs - start[1]).abs() / scale[1:]
        both = Measured.concatenate([reward[..., None], costs], axis=-1)[:, :, 1:]
        per_step = Measured(x.eta) * x.B / ((Measured(1.0) - cmdp.gamma) ** 4 * 4.0)
        bound = per_step.reshape(1, -1, 1, 1) * np.arange(1, E).reshape(1, 1, -1, 1)
        return both, bound, cmdp.horizon

    def batch(self, problems: Batch, **parameters: Any) -> dict[str, tuple[Array, Array]]:
        """Both claims on many instances at once, for the worst-case search."""
        x = Lockstep.of(problems, **parameters)
        effective, scale = 1.0 - problems.gamma[:, None], np.where(problems.spans > 0, problems.spans, 1.0)
        reach = x.bound.eta[:, None] * x.bound.B
        step = np.where(x.usable[:, None], x.run.step, np.nan)
        value = np.where(x.usable[:, None, None], x.run.value_drift / scale[:, None], np.nan)
        bound = np.broadcast_to((reach / (4 * effective**4))[..., None], value.shape)
        return {"step": (step, reach / (2 * effective**2)), "value": (value, bound)}

    @control(
        "half the constant is too small: a fair bandit attains the tilt's h/4 in the limit of small steps",
        Case("textbook:two-arm", rounds=1, local_steps=1, eta=0.01, dual_cap=0.0),
    )
    def half(self, x: Drift) -> tuple[Measured, Measured]:
        return _moves(x, 4.0)

    @study("drift")
    def drift(self) -> StudyData:
        """On a bandit the largest drift is from a quarter to three fifths of the bound, less for larger E;
        with a larger discount factor the bound soon exceeds 2."""
        name, K, eta = "textbook:heterogeneous-bandit", 60, 0.05
        problem = load(name)
        E = np.array([2, 8, 32])
        runs = [run("fednpg", problem, rounds=K, local_steps=int(e), eta=eta) for e in E]
        B = max(lagrangian_spans(problem, np.full(problem.cmdp.m, runs[0].parameters["dual_cap"])))
        bound = np.minimum(E * eta * B / (2 * (1 - problem.cmdp.gamma) ** 2), 2.0)
        drift = np.stack([r.drift for r in runs])
        arrays = {"rounds": np.arange(K), "drift": drift, "E": E, "bound": bound, "name": np.array(name)}
        return StudyData(arrays, {"instance": name, "eta": eta})


def _moves(x: Drift, constant: float) -> tuple[Measured, Measured]:
    assert x.run.iterates is not None
    p = exp(x.run.iterates.local)
    # Each probability errs by a few ulps of |log p| p, and sum p |log p| <= log A.
    rounding = (8 + 2 * np.log(p.shape[-1])) * 4 * UNIT
    moved = Measured(abs(p[:, :, 1:] - p[:, :, :-1]).sum(axis=-1).max(axis=-1)).rounded_by(rounding)
    gamma = x.run.problem.cmdp.gamma
    bound = Measured(x.eta) * x.B / ((Measured(1.0) - gamma) ** 2 * constant)
    return moved, bound.reshape(1, -1, 1)
