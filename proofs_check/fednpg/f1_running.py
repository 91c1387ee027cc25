r"""F1 with the multipliers in use in place of their cap."""

from __future__ import annotations

import numpy as np

from proofs_check.fednpg.f1_bound import Checked, checked
from tabular_fedrl.algorithms.step_sizes import span
from tabular_fedrl.arithmetic import seen
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured


class RunningMultipliers(Theorem):
    r"""The gap of FedNPG is bounded by the multipliers in use, not by their cap.

    **Setting.** As in F1 (``fednpg.f1``); :math:`\lambda^t` the multipliers of local step t, and

    .. math:: B_{i,t} = \frac{\mathrm{span}(r)}{N} + \sum_{j\in\Gamma_i} \lambda_{ij}^t\, \mathrm{span}(c_j) .

    **Guarantee** (*upper*).

    .. math:: V_r^\star - \overline{V_r} \le \frac{N \log|A|}{\eta T} + \frac{\eta}{8(1-\gamma)^4} \sum_i
              \Big[ \frac1T \sum_t B_{i,t}^2 + (E-1) \frac{\mathrm{span}(r)}{N} \max_t B_{i,t} \Big]
              + \frac{\eta_\lambda}{2} \sum_{ij} G_j^2 ,

    and for every :math:`\lambda \in [0,\Lambda]^M` the inequality of F1 with
    :math:`\mathrm{span}(r)/N + \sum_j \lambda_{ij}\,\mathrm{span}(c_j)` in the place of
    :math:`\mathrm{span}(r)/N`. F1 as it is printed, with :math:`B_{i,t}` for :math:`B_i`, is false: that is a
    control there.

    **Proof.** F1's. In step 1 the signal that is used has the span :math:`B_{i,t}`. In step 4 a local policy
    moves by steps of at most :math:`\max_t B_{i,t}`, and what changes with it is the value of
    :math:`r/N - \sum_j \lambda_{ij} c_j` with the comparator's :math:`\lambda`.

    **Source.** Theory notes, fednpg section 3.
    """

    id = "fednpg.f1-running"
    mark = "ours"
    source = "theory notes, F1"
    suite = (
        Case("random-mdp:seed=1", rounds=100),
        Case("random-mdp:seed=5,agents=3,gamma=0.5", rounds=40, local_steps=5),
        Case("garnet:S=10,A=3,b=3,m=2,seed=1,gamma=0.1", rounds=2000, local_steps=3),
        Case("windy-cliff:ncost=2", rounds=20, local_steps=5, aggregation="geometric"),
        Case("textbook:two-arm", rounds=2000),
        Case("textbook:heterogeneous-bandit", rounds=200, local_steps=10),
        Case("textbook:running-b", rounds=1, local_steps=1000, eta=0.02, eta_dual=0.3),
    )
    certified = (Case("textbook:three-state", rounds=20, local_steps=2),)
    small = {"rounds": 8, "local_steps": 3}

    @hypothesis("at least two actions and a reward that is not constant")
    def choices(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1 and bool(span(problem.cmdp.r) > 0)

    @hypothesis("the primal step and, with constraints, the dual step are positive")
    def positive_steps(self, problem: FederatedCMDP, eta: float | None, eta_dual: float | None) -> bool:
        return (eta is None or eta > 0) and (problem.cmdp.m == 0 or eta_dual is None or eta_dual > 0)

    def setup(
        self,
        problem: FederatedCMDP,
        rounds: int = 100,
        local_steps: int = 1,
        aggregation: str = "arithmetic",
        eta: float | None = None,
        eta_dual: float | None = None,
        dual_cap: float | None = None,
    ) -> Checked:
        steps = {"eta": eta, "eta_dual": eta_dual, "dual_cap": dual_cap}
        return checked(problem, rounds, local_steps, aggregation, **steps)

    @upper(
        r"V_r^\star - \overline{V_r} \le \tfrac{N \log|A|}{\eta T}"
        r" + \tfrac{\eta}{8(1-\gamma)^4} \textstyle\sum_i"
        r" [\tfrac1T\sum_t B_{i,t}^2 + (E-1) \tfrac{\mathrm{span}(r)}{N} \max_t B_{i,t}]"
        r" + \tfrac{\eta_\lambda}{2} \sum_{ij} G_j^2"
    )
    def gap(self, x: Checked) -> tuple[Measured, Measured, Measured]:
        return x.run.gap, _bound(x, _full(x) * 0.0), x.bound.trivial_gap

    @upper(
        r"V_r^\star - \overline{V_r} + \textstyle\sum_{ij} \Lambda (\overline{V_{c_j}} - d_j)"
        r" \le R(\Lambda 1) \text{ with the multipliers in use}"
    )
    def capped(self, x: Checked) -> tuple[Measured, Measured]:
        return _lagrangian(x), _bound(x, _full(x)) + _squares(x)

    @control(
        "without the local steps' drift",
        Case(
            "textbook:heterogeneous-bandit",
            rounds=20,
            local_steps=1000,
            eta=0.05,
            eta_dual=0.05,
            dual_cap=10.0,
        ),
    )
    def no_drift(self, x: Checked) -> tuple[Measured, Measured]:
        return _lagrangian(x), _bound(x, _full(x), drift=0.0) + _squares(x)


def _full(x: Checked) -> Measured:
    """The comparator that is the cap wherever it may be, ``(N, m)``."""
    return Measured(x.run.problem.mask.astype(np.float64)) * x.bound.dual_cap


def _lagrangian(x: Checked) -> Measured:
    excess = x.run.average_costs - x.run.problem.cmdp.d
    return x.run.gap + (_full(x).sum(0) * excess).sum()


def _squares(x: Checked) -> Measured:
    squares: Measured = x.bound.rate((_full(x) * _full(x)).sum(0)) - x.bound.rate()
    return squares


def _bound(x: Checked, comparator: Measured, drift: float = 1.0) -> Measured:
    """The right side without the comparator's own squares; ``comparator (N, m)``."""
    bound = x.bound
    alone = bound.span_r / float(bound.N)
    # (K, N, E): of the signal in use.
    B = (Measured(seen(x.run.multipliers)) * bound.span_c).sum(-1) + alone
    # (N,): of the signal whose value the drift changes.
    own = (comparator * bound.span_c).sum(-1) + alone
    spent = (B * B).mean((0, 2)) + own * B.max(0).max(-1) * (drift * float(bound.local_steps - 1))
    effective: Measured = bound.effective
    total: Measured = bound.primal + spent.sum() * bound.eta / (effective**4 * 8.0) + bound.dual
    return total
