r"""What goes wrong with fixed multipliers: the arithmetic mean forgets the common optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from tabular_fedrl.arithmetic import magnitude
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances.textbook import bandit
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import enclosed
from tabular_fedrl.runner import run

BANDIT = "textbook:fixed-multipliers-bandit"


@dataclass(frozen=True)
class Twins:
    """The same run with both means. ``arithmetic``, ``geometric``: log-policies of the global policy,
    ``(K+1, 3)``; ``x``: E eta; ``third``: b, what the third arm pays each agent; ``rounding``: how far E
    local steps and a mean in floats are from exact ones, in log-probability."""

    arithmetic: Array
    geometric: Array
    x: Measured
    third: Measured
    rounding: float

    def growth(self, log_policies: Array) -> Measured:
        """``log(pi(3)/pi(1))`` of each round minus that of the round before, as exact steps would have it,
        ``(K,)``."""
        logs = enclosed(log_policies)[0]
        odds = logs[:, 2] - logs[:, 0]
        change = odds[1:] - odds[:-1]
        # Where rounding has made arms 1 and 2 differ, the two agents' normalisers differ by at most as much.
        asymmetry = (logs[:-1, 0] - logs[:-1, 1]).abs().upper
        return change.rounded_by(self.rounding + asymmetry)

    @property
    def log_factor(self) -> Measured:
        r""":math:`\log \frac{2 e^{bx}}{e^x + 1}`"""
        return Measured(2.0).log() - self.x * (1.0 - self.third) - (-self.x).exp().log1p()


class FixedMultipliers(Theorem):
    r"""With fixed multipliers the arithmetic mean of FedNPG misses the common optimum once E eta is large.

    **Setting.** A bandit (one state, :math:`\gamma = 0`), N = 2 agents with multipliers that stay 1, so that
    their local objectives are :math:`f_1 = (1, 0, b)` and :math:`f_2 = (0, 1, b)`, 1/2 < b < 1: the sum
    :math:`(1, 1, 2b)` is largest at arm 3, which neither agent prefers alone. Uniform start, E local steps
    of size :math:`\eta`, :math:`x = E \eta`.

    **Statement.** A round multiplies :math:`\bar\pi(3)/\bar\pi(1) = \bar\pi(3)/\bar\pi(2)`

    * for the arithmetic mean by :math:`\varphi(x) = 2 e^{bx}/(e^x + 1)`: above 1 for small x, below 1 beyond
      the threshold :math:`x^\star > 0` with :math:`\varphi(x^\star) = 1` (about 6.9 for b = 0.9). Arm 3 is
      found iff :math:`x < x^\star`, and :math:`\bar\pi_k` is within :math:`2\varphi^{-k}`, or
      :math:`\varphi^k/2`, of its limit;
    * for the geometric mean by :math:`e^{(b - 1/2) x} > 1`: arm 3 is found for every E.

    **Proof.** E local steps give :math:`\pi_i \propto \bar\pi e^{x f_i}`. The start is symmetric in arms 1
    and 2, so both agents' normalisers agree and the symmetry persists: the mean of the odds' numerators is
    :math:`e^{bx}`, of their denominators :math:`(e^x + 1)/2`, or :math:`e^{x/2}` in the geometric mean.
    :math:`\log\varphi` is concave, 0 at 0 with slope :math:`b - 1/2 > 0` and tends to :math:`-\infty` as b <
    1, so it has one positive root. With odds :math:`\varphi^k` against each of two arms,
    :math:`1 - \bar\pi_k(3) = 2/(\varphi^k + 2)` and :math:`\bar\pi_k(3) = \varphi^k/(\varphi^k + 2)`.

    **Source.** The algorithm: the authors' public code (arXiv 2405.03236); the counterexample: theory notes,
    fednpg section 6.
    """

    id = "fednpg.heterogeneity-fixed"
    mark = "ours"
    source = "theory notes, fednpg section 6; algorithm: code of arXiv 2405.03236"
    suite = (
        Case(BANDIT, step=0.01, local_steps=1),
        Case(BANDIT, step=0.1, local_steps=10),
        Case(BANDIT, step=0.05, local_steps=100),
        Case(BANDIT, step=0.68, local_steps=10),
        Case(BANDIT, step=0.7, local_steps=10),
        Case(BANDIT, step=0.5, local_steps=40),
        Case(BANDIT, step=0.05, local_steps=1000, rounds=20),
    )
    certified = (
        Case(BANDIT, step=0.1, local_steps=10, rounds=10),
        Case(BANDIT, step=0.7, local_steps=10, rounds=10),
    )
    small = None

    @hypothesis(
        "two agents, three arms, objectives (1, 0, b) and (0, 1, b) at multipliers 1, with 1/2 < b < 1"
    )
    def the_bandit(self, problem: FederatedCMDP) -> bool:
        return _is_bandit(problem) and bool(1 < problem.cmdp.r[0, 2] < 2)

    @hypothesis("eta > 0")
    def positive_step(self, problem: FederatedCMDP, step: float) -> bool:
        return step > 0

    def setup(
        self, problem: FederatedCMDP, step: float = 0.1, local_steps: int = 10, rounds: int = 60
    ) -> Twins:
        fixed: dict[str, Any] = {"eta": step, "eta_dual": 0.0, "dual_cap": 1.0, "initial_multipliers": 1.0}
        both = []
        for how in ("arithmetic", "geometric"):
            result = run(
                "fednpg",
                problem,
                rounds=rounds,
                local_steps=local_steps,
                aggregation=how,
                record="iterates",
                **fixed,
            )
            assert result.iterates is not None
            both.append(result.iterates.log_policies[:, 0])
        # Per local step: an advantage to a few ulps of the largest reward, a product, a sum, a log-softmax;
        # then the mean.
        reach = 1 + max(magnitude(p) for p in both) + step * local_steps * magnitude(problem.cmdp.r)
        rounding = 16 * (local_steps + 1) * UNIT * reach
        third = Measured(problem.cmdp.r[0, 2]) / 2.0
        return Twins(both[0], both[1], Measured(step) * float(local_steps), third, rounding)

    @identity(
        r"\bar\pi(3)/\bar\pi(1) \text{ grows by } 2 e^{bx}/(e^x + 1) \text{ a round (arithmetic mean)}",
        tolerance=1e-8,
    )
    def arithmetic(self, x: Twins) -> tuple[Measured, Measured]:
        return x.growth(x.arithmetic), x.log_factor

    @identity(
        r"\bar\pi(3)/\bar\pi(1) \text{ grows by } e^{(b - 1/2)x} \text{ a round (geometric mean)}",
        tolerance=1e-8,
    )
    def geometric(self, x: Twins) -> tuple[Measured, Measured]:
        return x.growth(x.geometric), x.x * x.third - x.x * 0.5

    @upper(r"0 \le (x^\star - x)(\log\bar\pi_K(3) - \log\bar\pi_0(3)): \text{ arm 3 gains iff } x < x^\star")
    def threshold(self, x: Twins) -> tuple[float, Measured]:
        gain = enclosed(x.arithmetic[[0, -1]])[0][:, 2]
        return 0.0, (_threshold(x.third) - x.x) * (gain[1] - gain[0])

    @tight(r"|\bar\pi_k(3) - 1_{x < x^\star}| \le 2 e^{-k |\log\varphi(x)|}", tolerance=1e-6)
    def limit(self, x: Twins) -> tuple[Measured, Measured, float]:
        k, third = np.arange(len(x.arithmetic)), enclosed(x.arithmetic)[1][:, 2]
        # Where this enclosure does not settle it, both limits are right: |log phi| < 1e-9, and the right side
        # exceeds 1 in every round there is time for.
        found = 1.0 if float((_threshold(x.third) - x.x).value) > 0 else 0.0
        # What k rounds of rounding may do to the odds, and with them to a probability.
        distance = (third - found).abs().rounded_by(x.rounding * k)
        return distance, (-x.log_factor.abs() * k).exp() * 2.0, 1.0

    @tight(r"1 - \bar\pi_k(3) \le 2 e^{-k (b - 1/2) x} \text{ for every E (geometric mean)}", tolerance=1e-6)
    def always_found(self, x: Twins) -> tuple[Measured, Measured, float]:
        k = np.arange(len(x.geometric))
        others = enclosed(x.geometric)[1][:, :2].sum(-1)
        return others.rounded_by(x.rounding * k), (x.x * (0.5 - x.third) * k).exp() * 2.0, 1.0

    @control(
        "the arithmetic mean does not grow by the geometric one's factor",
        Case(BANDIT, step=0.1),
        kind=Kind.IDENTITY,
    )
    def wrong_mean(self, x: Twins) -> tuple[Measured, Measured]:
        return x.growth(x.arithmetic), x.x * x.third - x.x * 0.5

    @control("beyond the threshold the arithmetic mean loses arm 3", Case(BANDIT, step=0.7))
    def found_for_every_e(self, x: Twins) -> tuple[Measured, Measured]:
        probabilities = enclosed(x.arithmetic[[0, -1]])[1][:, 2]
        return probabilities[0], probabilities[1]

    @control(
        "without b > 1/2 arm 3 is no common optimum, and the geometric mean does not find it either",
        Case(bandit([2.0, 2.0, 0.8], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0.2, 0.2]), step=0.1),
    )
    def no_common_optimum(self, x: Twins) -> tuple[Measured, Measured]:
        probabilities = enclosed(x.geometric[[0, -1]])[1][:, 2]
        return probabilities[0], probabilities[1]


def _is_bandit(problem: FederatedCMDP) -> bool:
    cmdp = problem.cmdp
    if (cmdp.S, cmdp.A, cmdp.m, problem.N) != (1, 3, 2, 2) or cmdp.gamma != 0:
        return False
    first, second = (cmdp.r[0] / 2 - cmdp.c[list(seen), 0].sum(0) for seen in problem.visible)
    wanted = (first[0], 1), (first[1], 0), (second[0], 0), (second[1], 1), (first[2], second[2])
    return all(bool(f == w) for f, w in wanted) and bool(cmdp.r[0, 2] / 2 == first[2])


def _threshold(b: Measured) -> Measured:
    r"""The positive root of :math:`\log 2 + bx - \log(1 + e^x)`, enclosed by its change of sign."""

    def log_factor(x: float) -> Measured:
        return Measured(2.0).log() + Measured(x) * b - Measured(x).exp().log1p()

    # Positive at the maximum b/(1-b) = e^x, negative where 2 < e^{(1-b)x}.
    low, high = np.log(b.value / (1 - b.value)), np.log(2.0) / (1 - b.value) + 1.0
    root = brentq(lambda x: float(log_factor(x).value), low, high, xtol=1e-13)
    left, right = root - 1e-9, root + 1e-9
    if not (log_factor(left).lower > 0 > log_factor(right).upper):
        raise ArithmeticError(f"the threshold is not isolated around {root!r}")
    return Measured.between(left, right)
