r"""What goes wrong with fixed multipliers: the arithmetic mean forgets the common optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from tabular_fedrl.arithmetic import magnitude
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, upper
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
        return (odds[1:] - odds[:-1]).rounded_by(self._lost(logs)[:-1])

    def third_arm(self, log_policies: Array) -> Measured:
        """``pi(3)`` before each round and after the last, as exact steps would have it, ``(K+1,)``."""
        logs, probabilities = enclosed(log_policies)
        lost = self._lost(logs)
        # A probability moves by at most a quarter of what moves its log-odds, against either arm.
        return probabilities[:, 2].rounded_by((np.cumsum(lost) - self.rounding) / 4)

    def _lost(self, logs: Measured) -> Array:
        """What the round after each policy may do to log-odds beside an exact one, ``(K+1,)``."""
        # Where rounding has made arms 1 and 2 differ, the two agents' normalisers differ by at most as much.
        return self.rounding + (logs[:, 0] - logs[:, 1]).abs().upper

    def predicted(self, log_factor: Measured) -> Measured:
        r""":math:`\varphi^k/(\varphi^k + 2)` for k up to K."""
        grown = log_factor * np.arange(len(self.arithmetic))
        found, others = grown.minimum(0.0).exp(), (-grown.maximum(0.0)).exp() * 2.0
        return found / (found + others)

    @property
    def log_factor(self) -> Measured:
        r""":math:`\log \frac{2 e^{bx}}{e^x + 1}`"""
        return Measured(2.0).log() - self.x * (1.0 - self.third) - (-self.x).exp().log1p()

    @property
    def geometric_log_factor(self) -> Measured:
        r""":math:`(b - \tfrac12) x`"""
        return self.x * self.third - self.x * 0.5


class FixedMultipliers(Theorem):
    r"""With fixed multipliers the arithmetic mean of FedNPG misses the common optimum once E eta is large.

    **Setting.** A bandit (one state, :math:`\gamma = 0`), N = 2 agents with multipliers that stay 1, so that
    their local objectives are :math:`f_1 = (1, 0, b)` and :math:`f_2 = (0, 1, b)`, 1/2 < b < 1: the sum
    :math:`(1, 1, 2b)` is largest at arm 3, which neither agent prefers alone. Uniform start, E local steps
    of size :math:`\eta`, :math:`x = E \eta`.

    **Statement.** A round multiplies :math:`\bar\pi(3)/\bar\pi(1) = \bar\pi(3)/\bar\pi(2)`

    * for the arithmetic mean by :math:`\varphi(x) = 2 e^{bx}/(e^x + 1)`: above 1 for small x, below 1 beyond
      the threshold :math:`x^\star > 0` with :math:`\varphi(x^\star) = 1` (about 6.9 for b = 0.9),
      :math:`0 \le (x^\star - x) \log\varphi(x) \le (1 - b) (x^\star - x)^2`. Arm 3 is found iff
      :math:`x < x^\star`;
    * for the geometric mean by :math:`\psi(x) = e^{(b - 1/2) x} > 1`: arm 3 is found for every E.

    So :math:`\bar\pi_k(3) = \varphi^k/(\varphi^k + 2)`, or the same with :math:`\psi`: within
    :math:`2\varphi^{-k}`, or :math:`\varphi^k/2`, of its limit.

    **Proof.** E local steps give :math:`\pi_i \propto \bar\pi e^{x f_i}`. The start is symmetric in arms 1
    and 2, so both agents' normalisers agree and the symmetry persists: the mean of the odds' numerators is
    :math:`e^{bx}`, of their denominators :math:`(e^x + 1)/2`, or :math:`e^{x/2}` in the geometric mean.
    The odds against either arm start at 1. :math:`\log\varphi` is concave, 0 at 0 with slope
    :math:`b - 1/2 > 0` and tends to :math:`-\infty` as b < 1, so it has one positive root and the sign of
    :math:`x^\star - x`; :math:`\log\varphi(x) = \log 2 - (1-b) x - \log(1 + e^{-x})` is
    :math:`(1-b)(x^\star - x)` less :math:`\log(1 + e^{-x}) - \log(1 + e^{-x^\star})`, of that sign too.

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
        return x.growth(x.geometric), x.geometric_log_factor

    @upper(
        r"0 \le (x^\star - x)\,\tfrac1K \log\frac{\bar\pi_K(3)}{\bar\pi_K(1)} \le (1 - b)(x^\star - x)^2:"
        r"\text{ arm 3 gains iff } x < x^\star"
    )
    def threshold(self, x: Twins) -> tuple[Measured, Measured]:
        below = _threshold(x.third) - x.x
        growth = below * x.growth(x.arithmetic).mean()
        return Measured.stack([growth * 0.0, growth]), Measured.stack([growth, below**2 * (1.0 - x.third)])

    @identity(r"\bar\pi_k(3) = \varphi^k/(\varphi^k + 2) \text{ (arithmetic mean)}", tolerance=1e-6)
    def limit(self, x: Twins) -> tuple[Measured, Measured]:
        return x.third_arm(x.arithmetic), x.predicted(x.log_factor)

    @identity(
        r"\bar\pi_k(3) = \psi^k/(\psi^k + 2), \psi = e^{(b - 1/2)x}, \text{ for every E (geometric mean)}",
        tolerance=1e-6,
    )
    def always_found(self, x: Twins) -> tuple[Measured, Measured]:
        return x.third_arm(x.geometric), x.predicted(x.geometric_log_factor)

    @control(
        "the arithmetic mean does not grow by the geometric one's factor",
        Case(BANDIT, step=0.1),
        kind=Kind.IDENTITY,
    )
    def wrong_mean(self, x: Twins) -> tuple[Measured, Measured]:
        return x.growth(x.arithmetic), x.geometric_log_factor

    @control(
        "arm 3 has two rivals, not one",
        Case(BANDIT, step=0.1),
        kind=Kind.IDENTITY,
        tolerance=1e-6,
    )
    def one_rival(self, x: Twins) -> tuple[Measured, Measured]:
        found = x.predicted(x.log_factor)
        return x.third_arm(x.arithmetic), found * 2.0 / (found + 1.0)

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
