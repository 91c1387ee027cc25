r"""FedPPO: what can be said exactly of an algorithm without a theorem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.fedppo import logit_gradient, ppo_update
from tabular_fedrl.arithmetic import array, magnitude, seen, stack, sum
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.evaluation import average, evaluate, visitation
from tabular_fedrl.federation import PublicSteps, federate
from tabular_fedrl.measured import UNIT, Measured, dot
from tabular_fedrl.policies import enclosed, geometric_logits, natural_gradient_step
from tabular_fedrl.runner import run


@dataclass(frozen=True)
class Update:
    r"""One update of one agent, enclosed: ``before``, ``after (S, A)``: the policies, ``logits``: those
    before; ``A (1+m, S, A)``: advantages at the policy before; ``lam (m,)``: the multipliers after the dual
    step, 0 where unseen; ``factor``: 1/N; ``d (S,)``; ``gain``: :math:`L_i(\pi') - L_i(\pi)`; ``near``:
    :math:`1-\gamma`; ``clip``."""

    logits: Any
    before: Measured
    after: Measured
    A: Measured
    lam: Measured
    factor: float
    d: Measured
    gain: Measured
    near: Measured
    clip: float

    @property
    def lagrangian(self) -> Measured:
        """:math:`A_i` ``(S, A)``"""
        return self.A[0] * self.factor - dot(self.lam[:, None, None], self.A[1:], axis=0)

    @property
    def scale(self) -> Measured:
        r""":math:`1/N + \sum_j \lambda_{ij}`"""
        return self.lam.sum() + self.factor

    @property
    def promised(self) -> Measured:
        r""":math:`\frac{1}{1-\gamma} E_{d^\pi}\langle\pi', A_i\rangle`"""
        return average(self.d, dot(self.after, self.lagrangian)) / self.near

    def surrogate(self, clipped: bool) -> Measured:
        """The surrogate at the policy after the update."""
        b, p, A_r = self.before, self.after, self.A[0]
        reward = p * A_r
        if clipped:
            reward = reward.minimum(p.maximum(b * (1 - self.clip)).minimum(b * (1 + self.clip)) * A_r)
        costs = dot(self.lam[:, None, None], self.A[1:], axis=0) * p
        return average(self.d, (reward * self.factor - costs).sum(-1)) / self.scale


@dataclass(frozen=True)
class Checked:
    """The problem, all updates of a run, and the parameters."""

    problem: FederatedCMDP
    updates: list[Update]
    clip: float
    eta: float


def updates(problem: FederatedCMDP, rounds: int, clip: float, eta: float | None) -> list[Update]:
    """All updates of a run."""
    result = run("fedppo", problem, rounds, clip=clip, eta=eta, record="iterates", compare=False)
    assert result.iterates is not None
    cmdp, N = problem.cmdp, problem.N
    after_dual = [*result.multipliers[1:, :, 0], result.final_multipliers]
    out = []
    for k in range(rounds):
        for i in range(N):
            start, end = result.iterates.local[k, i]
            lam = Measured(seen(after_dual[k][i]))
            values, ends = evaluate(cmdp, start), evaluate(cmdp, end)
            change = ends.at_rho - values.at_rho
            out.append(
                Update(
                    logits=start,
                    before=enclosed(start)[1],
                    after=enclosed(end)[1],
                    A=values.advantage,
                    lam=lam,
                    factor=1.0 / N,
                    d=visitation(cmdp, start),
                    gain=change[0] / float(N) - dot(lam, change[1:]),
                    near=Measured(1.0) - cmdp.gamma,
                    clip=clip,
                )
            )
    return out


class FedPPO(Theorem):
    r"""FedPPO's surrogate bounds nothing by itself, but its gradient is right and a certificate is at hand.

    **Setting.** An update of agent i from :math:`\pi` to :math:`\pi'` with multipliers
    :math:`\lambda_i`, :math:`A_i = A_r/N - \sum_j \lambda_{ij} A_{c_j}`,
    :math:`s_i = 1/N + \sum_j \lambda_{ij}`; the surrogate is printed in ``algorithms/fedppo.py``.

    **Statement.** (i) The clipped surrogate is at most the unclipped one, and at :math:`\pi' = \pi` its
    gradient in the logits is :math:`(1-\gamma)/s_i` times that of the local Lagrangian :math:`L_i`. (iv)
    Averaging logits commutes with averaging Lagrangians for a natural-gradient step; for an update of PPO it
    does not (control). (v) For every update

    .. math:: L_i(\pi') - L_i(\pi) \ge \frac{1}{1-\gamma} E_{d^\pi}\langle\pi', A_i\rangle
              - \frac{4\gamma \max|A_i|}{(1-\gamma)^2} \max_s \mathrm{TV}(\pi',\pi)^2 .

    (ii) and (iii), on the exact maximiser, are on the page ``fednpg.fedppo-maximiser``.

    **Proof.** (i) A minimum is at most its first argument; both agree near ratio 1, and the derivative of
    :math:`E_d\langle\pi, A_i\rangle/s_i` is the policy gradient theorem's. (iv) Logits are linear in the
    Lagrangian. (v) Performance difference, and
    :math:`|\langle d^{\pi'} - d^\pi, \langle\pi', A_i\rangle\rangle| \le
    \frac{2\gamma}{1-\gamma} \mathrm{TV} \cdot 2\,\mathrm{TV} \max|A_i|`, as
    :math:`\langle\pi, A_i\rangle = 0`.

    **Source.** Theory notes, fednpg section 2, on the authors' public code; (v) as in TRPO, with the
    constant of ``related.trpo``.
    """

    id = "fednpg.fedppo"
    mark = "ours"
    source = "theory notes, fednpg section 2"
    suite = (
        Case("textbook:heterogeneous-bandit"),
        Case("textbook:three-state", eta=5.0),
        Case("random-mdp:seed=1", eta=5.0),
        Case("random-mdp:seed=2,visible=0+1/1+2/2+3/3+0", eta=20.0),
        Case("garnet:S=20,A=4,b=5,m=3,seed=2", eta=20.0, rounds=5),
        Case("gym:FrozenLake-v1,gamma=0.5,agents=2", eta=1.0, rounds=5),
    )
    certified = (Case("textbook:three-state", eta=1.0, rounds=2),)
    small = {"rounds": 2}

    @hypothesis("epsilon > 0")
    def positive_clip(self, problem: FederatedCMDP, clip: float) -> bool:
        return clip > 0

    def setup(
        self, problem: FederatedCMDP, rounds: int = 10, clip: float = 0.2, eta: float = 1.0, seed: int = 0
    ) -> Checked:
        return Checked(problem, updates(problem, rounds, clip, eta), clip, eta)

    @tight(
        r"\mathrm{surrogate}_{\mathrm{clip}}(\pi') \le \mathrm{surrogate}(\pi')",
        attained=Case("textbook:heterogeneous-bandit", eta=0.01, rounds=2),
    )
    def below(self, x: Checked) -> tuple[Measured, Measured]:
        return (
            Measured.stack([u.surrogate(True) for u in x.updates]),
            Measured.stack([u.surrogate(False) for u in x.updates]),
        )

    @identity(
        r"\tfrac{s_i}{1-\gamma} \langle\nabla_\theta \mathrm{surrogate}(\pi), v\rangle"
        r" = \tfrac{d}{dt} L_i(\theta + t v)"
    )
    def gradient(self, x: Checked) -> tuple[Measured, Measured]:
        rng = np.random.default_rng(0)
        left, right = [], []
        for u in x.updates:
            v = rng.normal(size=u.before.shape)
            v = array(v / np.linalg.norm(v))
            gradient = logit_gradient(u.before, u.d, u.lagrangian / u.scale)
            left.append((gradient * v).sum() * u.scale / u.near)
            right.append(_derivative(x.problem, u, v))
        return Measured.stack(left), Measured.stack(right)

    @tight(
        r"\tfrac{1}{1-\gamma} E_{d^\pi}\langle\pi', A_i\rangle - \tfrac{4\gamma\max|A_i|}{(1-\gamma)^2}"
        r" \max_s \mathrm{TV}^2 \le L_i(\pi') - L_i(\pi)",
        attained=Case("textbook:heterogeneous-bandit", rounds=2),
    )
    def certificate(self, x: Checked) -> tuple[Measured, Measured]:
        left = []
        for u in x.updates:
            apart = (u.after - u.before).abs().sum(-1).max() * 0.5
            lost = (1.0 - u.near) * u.lagrangian.abs().max() * apart**2 * 4.0 / u.near**2
            left.append(u.promised - lost)
        return Measured.stack(left), Measured.stack([u.gain for u in x.updates])

    @control("without the distance the surrogate promises too much", Case("random-mdp:seed=1", eta=5.0))
    def promise(self, x: Checked) -> tuple[Measured, Measured]:
        return Measured.stack([u.promised for u in x.updates]), Measured.stack([u.gain for u in x.updates])

    @identity(r"\mathrm{geometric\ mean}_i\ \pi e^{\eta A_i} = \pi e^{\eta \bar A}/Z")
    def npg_commutes(self, x: Checked) -> tuple[Measured, Measured]:
        first = x.updates[: x.problem.N]
        steps = [u.lagrangian.plain for u in first]
        logits = first[0].logits
        each = stack([natural_gradient_step(logits, A, x.eta) for A in steps])
        mean = natural_gradient_step(logits, sum(stack(steps), axis=0) / float(len(steps)), x.eta)
        # In floats: sums of N logits and of A exponentials, of the size of the steps.
        size = 1 + magnitude(logits) + x.eta * magnitude(stack(steps))
        rounding = 16 * (len(steps) + x.problem.cmdp.A) * UNIT * size
        sides = (enclosed(logits)[1] for logits in (geometric_logits(each), mean))
        left, right = (side.rounded_by(rounding) for side in sides)
        return left, right

    @control(
        "an update of PPO does not commute: averaged logits against the averaged Lagrangian",
        Case("textbook:heterogeneous-bandit", eta=5.0),
        kind=Kind.IDENTITY,
    )
    def ppo_commutes(self, x: Checked) -> tuple[Measured, Measured]:
        problem, N = x.problem, x.problem.N
        first = x.updates[:N]
        lam = sum(stack([u.lam.plain for u in first]), axis=0) / float(N)
        none = np.zeros(problem.cmdp.m)
        centre = federate(
            FederatedCMDP(problem.cmdp, [range(problem.cmdp.m)]),
            PublicSteps(x.eta, none, np.full(problem.cmdp.m, np.inf)),
            initial_multipliers=lam[None],
            reward_factor=1.0 / N,
        )
        mean = ppo_update(centre.agents[0], first[0].logits, x.clip, 10, 0.02)
        each = np.log(np.stack([u.after.value for u in first]))
        return enclosed(geometric_logits(each))[1], enclosed(mean)[1]


def _derivative(problem: FederatedCMDP, u: Update, v: Any) -> Measured:
    r"""The derivative of :math:`L_i` along v in the logits, without the visitation: that of V solves the
    Bellman equation with the reward :math:`\sum_a \pi'(a|s) A_i(s,a)`, :math:`\pi'` the derivative of the
    policy."""
    moved = u.before * (v - dot(u.before, v).reshape(-1, 1))
    reward = dot(moved, u.lagrangian).reshape(-1, 1) + np.zeros((1, problem.cmdp.A))
    value = evaluate(problem.cmdp, u.logits, reward.plain[None]).at_rho[0]
    return value.rounded_by((reward.error.max() / u.near).upper)
