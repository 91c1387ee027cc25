r"""The exact maximiser of FedPPO's clipped surrogate, state by state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from tabular_fedrl.arithmetic import seen
from tabular_fedrl.claims import Case, Theorem, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import policy_values
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import random_log_policy
from tabular_fedrl.runner import run


@dataclass(frozen=True)
class States:
    """n problems of one state each: ``b (n, A)``: the old policy; ``gain (n, A)``: the reward's advantage
    times 1/N; ``price (n, A)``: that of the costs times the multipliers; ``clip``."""

    b: Array
    gain: Array
    price: Array
    clip: float

    def value(self, p: Array) -> Array:
        """The surrogate of ``p (..., n, A)``, ``(..., n)``."""
        kept = np.clip(p, (1 - self.clip) * self.b, (1 + self.clip) * self.b)
        return (np.minimum(p * self.gain, kept * self.gain) - p * self.price).sum(axis=-1)

    def maximiser(self) -> Array:
        """Greedy: every probability's gain is concave with one kink, so that mass goes to the steepest pieces
        first. ``(n, A)``"""
        up = self.gain >= 0
        kink = np.where(up, 1 + self.clip, max(1 - self.clip, 0.0)) * self.b
        first = np.where(up, self.gain, 0.0) - self.price
        second = np.where(up, 0.0, self.gain) - self.price
        slopes = np.concatenate([first, second], axis=1)
        widths = np.concatenate([np.minimum(kink, 1.0), np.ones_like(kink)], axis=1)
        order = np.argsort(-slopes, axis=1, kind="stable")
        ahead = np.cumsum(np.take_along_axis(widths, order, axis=1), axis=1)
        filled = np.minimum(ahead, 1.0)
        taken = np.diff(filled, axis=1, prepend=0.0)
        mass = np.zeros_like(slopes)
        np.put_along_axis(mass, order, taken, axis=1)
        return mass[:, : self.b.shape[1]] + mass[:, self.b.shape[1] :]

    def program(self) -> Array:
        """The same maximum by linear programming, ``(n,)``."""
        n, A = self.b.shape
        best = np.empty(n)
        for s in range(n):
            # Variables p and t, t at most both branches of the minimum.
            gain, keep = self.gain[s], self.gain[s] * self.b[s]
            limit = np.where(gain >= 0, (1 + self.clip) * keep, (1 - self.clip) * keep)
            rows = np.block([[-np.diag(gain), np.eye(A)], [np.zeros((A, A)), np.eye(A)]])
            answer = linprog(
                np.concatenate([self.price[s], -np.ones(A)]),
                A_ub=rows,
                b_ub=np.concatenate([np.zeros(A), limit]),
                A_eq=np.concatenate([np.ones(A), np.zeros(A)])[None],
                b_eq=[1.0],
                bounds=[(0, 1)] * A + [(None, None)] * A,
                method="highs-ds",
                options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
            )
            best[s] = -answer.fun
        return best


class Maximiser(Theorem):
    r"""The clipped surrogate has an exact maximiser in every state, and it can leave the clip range.

    **Statement.** (ii) In a state the surrogate is a sum over actions of concave functions of
    :math:`\pi(a|s)`, linear but for one kink at :math:`(1 \pm \epsilon)\pi_{old}(a|s)`: giving mass to the
    steepest pieces first maximises it, and the maximum is that of a linear program. (iii) Clipping is not a
    trust region: costs are not clipped. Whatever the old policy, there are advantages for which the maximiser
    takes an action with probability 1 whose old probability was 1/2 or less.

    **Proof.** (ii) Moving mass from a less steep piece to a steeper one does not lower the sum, and pieces of
    one action are filled in their order because they become less steep. (iii) Let one action be good and all
    others bad, in reward and costs alike: the slope that clipping leaves it, its costs', is positive, and
    those of the others are negative.

    **Source.** Theory notes, fednpg section 2. In floats, against a linear program: no certificate.
    """

    id = "fednpg.fedppo-maximiser"
    mark = "ours"
    source = "theory notes, fednpg section 2"
    suite = (
        Case("textbook:heterogeneous-bandit"),
        Case("textbook:three-state"),
        Case("textbook:running-b", rounds=100),
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=2,visible=0+1/1+2/2+3/3+0"),
        Case("random-mdp:seed=2", clip=1.5),
        Case("garnet:S=20,A=4,b=5,m=3,seed=2"),
        Case("windy-cliff:ncost=2"),
    )

    @hypothesis("at least two actions")
    def choices(self, problem: FederatedCMDP) -> bool:
        return problem.cmdp.A > 1

    @hypothesis("epsilon > 0")
    def positive_clip(self, problem: FederatedCMDP, clip: float) -> bool:
        return clip > 0

    @hypothesis("the range is clipped to less than twice the old probability", only=["not_a_trust_region"])
    def narrow(self, problem: FederatedCMDP, clip: float) -> bool:
        return clip < 1

    def setup(self, problem: FederatedCMDP, rounds: int = 5, clip: float = 0.2) -> States:
        result = run("fedppo", problem, rounds, clip=clip, record="iterates", compare=False)
        assert result.iterates is not None
        parts = []
        for i in range(problem.N):
            log_pi, lam = result.iterates.local[-1, i, 0], seen(result.final_multipliers[i])
            V, Q = policy_values(problem.cmdp, log_pi)
            A = Q - V[:, :, None]
            parts.append((np.exp(log_pi), A[0] / problem.N, (lam[:, None, None] * A[1:]).sum(axis=0)))
        b, gain, price = (np.concatenate(x) for x in zip(*parts))
        return States(b / b.sum(axis=1, keepdims=True), gain, price, clip)

    @identity(r"\max_{\pi(\cdot|s)} \mathrm{surrogate} = \text{a linear program's value}", tolerance=1e-8)
    def program(self, x: States) -> tuple[Measured, Measured]:
        # In units of the largest term; the radius is what the solver's tolerances leave open.
        unit = 1 + np.abs(x.gain).max() + np.abs(x.price).max()
        return Measured(x.value(x.maximiser()) / unit), Measured(x.program() / unit, 1e-9)

    @upper(r"\mathrm{surrogate}(p) \le \max_\pi \mathrm{surrogate}(\pi) \text{ for random } p")
    def best(self, x: States) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        n, A = x.b.shape
        p = np.stack([np.exp(random_log_policy(rng, n, A, s)) for s in (0.1, 1.0, 10.0) * 5])
        return x.value(p), x.value(x.maximiser()) + 1e-12 * (1 + np.abs(x.gain).max() + np.abs(x.price).max())

    @upper(r"1 + \epsilon \le \max_a \pi^+(a|s)/\pi_{old}(a|s) \text{ for some advantages}")
    def not_a_trust_region(self, x: States) -> tuple[float, Array]:
        # The reward, and minus the cost, of the least probable action alone: its advantages.
        good = np.eye(x.b.shape[1])[x.b.argmin(axis=1)] - x.b.min(axis=1, keepdims=True)
        return 1 + x.clip, (States(x.b, good, -good, x.clip).maximiser() / x.b).max(axis=1)

    @control(
        "without a price on any cost the bandit's maximiser stays in the range", Case("textbook:two-arm")
    )
    def priceless(self, x: States) -> tuple[float, float]:
        free = States(x.b, np.abs(x.gain) + 1.0, 0.0 * x.price, x.clip)
        return (1 + x.clip) * 1.001, float((free.maximiser() / x.b).max())
