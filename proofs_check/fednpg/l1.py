r"""L1: what one natural-gradient step does to the divergence from any comparator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabular_fedrl.arithmetic import logsumexp, magnitude, stack
from tabular_fedrl.claims import Case, Kind, Rows, Theorem, control, identity
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import average, evaluate, visitation
from tabular_fedrl.measured import UNIT, Array, Measured
from tabular_fedrl.policies import enclosed, enclosed_kl, log_policy, natural_gradient_step, random_log_policy


@dataclass(frozen=True)
class Step:
    """A natural-gradient step on the signal f from a policy to the next.

    ``before``, ``after``, ``comparator``: log-policies ``(S, A)`` (``after`` as the algorithm computes it;
    in floats each entry is within ``rounding`` of the exact step); ``span``: B, the span of f; ``log_z``:
    enclosure of log Z, ``(S,)``.
    """

    cmdp: CMDP
    f: Array
    eta: float
    before: Array
    after: Array
    comparator: Array
    advantage: Measured
    log_z: Measured
    rounding: float

    @property
    def span(self) -> Measured:
        return Measured(self.f.max()) - self.f.min()


def steps(
    problem: FederatedCMDP, eta: float, draws: int, seed: int, policy: Rows | None = None
) -> list[Step]:
    """Steps from random policies on random Lagrangian signals ``r/N - sum_j lam_j c_j``; from ``policy``,
    where one is given."""
    rng = np.random.default_rng(seed)
    cmdp = problem.cmdp
    out = []
    for _ in range(draws):
        before, comparator = (random_log_policy(rng, cmdp.S, cmdp.A, 2.0) for _ in range(2))
        if policy is not None:
            before = log_policy(policy, cmdp.S, cmdp.A)
        lam = rng.exponential(1.0, (cmdp.m, 1, 1))
        f = cmdp.r / problem.N - (lam * cmdp.c).sum(axis=0)
        out.append(take_step(cmdp, f, eta, before, comparator))
    return out


def take_step(cmdp: CMDP, f: Array, eta: float, before: Array, comparator: Array) -> Step:
    """The step on the signal ``f`` from ``before``."""
    scale = Measured(eta) / (Measured(1.0) - cmdp.gamma)
    advantage = evaluate(cmdp, before, f[None]).advantage[0]
    after = natural_gradient_step(before, advantage.plain, scale.plain)
    log_z = logsumexp(enclosed(before)[0] + advantage * scale)
    # The floats' step: the error of A enters once directly and once through log Z, each operation rounds.
    reach = magnitude(before) + magnitude(after) + magnitude(advantage * scale)
    rounding = 2 * magnitude(scale) * float(advantage.error.max()) + (cmdp.A + 16) * UNIT * (1 + reach)
    return Step(cmdp, f, eta, before, after, comparator, advantage, log_z.reshape(cmdp.S), rounding)


class OneStep(Theorem):
    r"""One natural-gradient step moves the divergence from any comparator by its value gap, exactly.

    **Setting.** Any signal f, policy :math:`\pi`, comparator :math:`\pi^\star`, and the step
    :math:`\pi' = \pi \exp(\eta A_f^\pi/(1-\gamma))/Z`; :math:`d^\star = d_\rho^{\pi^\star}`.

    **Statement.**

    .. math:: E_{d^\star}[KL(\pi^\star\|\pi') - KL(\pi^\star\|\pi)] = -\eta\,(V_f^{\pi^\star}(\rho) -
              V_f^\pi(\rho)) + E_{d^\star} \log Z .

    **Proof.** :math:`\log\pi - \log\pi' = -\eta A_f^\pi/(1-\gamma) + \log Z`; average over :math:`\pi^\star`
    and :math:`d^\star` and use the performance difference lemma.

    The left side is computed from the two policies as the algorithm's floats have them.

    **Source.** Theory notes, fednpg section 3; the argument is that of Agarwal, Kakade, Lee and Mahajan
    (2021).
    """

    id = "fednpg.l1"
    mark = "ours"
    source = "theory notes, L1"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:seed=2,agents=2", eta=0.01),
        Case("garnet:S=30,A=4,b=4,m=2,seed=2"),
        Case("windy-cliff:ncost=2", eta=0.001),
        Case("gym:FrozenLake-v1", eta=0.01),
        Case("textbook:three-state", eta=1.0),
    )
    certified = (Case("textbook:three-state", eta=1.0), Case("random-mdp:seed=1", draws=2))

    def setup(self, problem: FederatedCMDP, eta: float = 0.1, draws: int = 4, seed: int = 0) -> list[Step]:
        return steps(problem, eta, draws, seed)

    @identity(
        r"E_{d^\star}[KL(\pi^\star\|\pi') - KL(\pi^\star\|\pi)] = "
        r"-\eta (V_f^{\pi^\star} - V_f^\pi) + E_{d^\star} \log Z"
    )
    def divergence(self, x: list[Step]) -> tuple[Measured, Measured]:
        sides = [_sides(step, of_comparator=True) for step in x]
        return Measured.stack([a for a, _ in sides]), Measured.stack([b for _, b in sides])

    @control(
        "the weights are the comparator's visitation, not the policy's own",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def own_visitation(self, x: list[Step]) -> tuple[Measured, Measured]:
        sides = [_sides(step, of_comparator=False) for step in x]
        return Measured.stack([a for a, _ in sides]), Measured.stack([b for _, b in sides])


def _sides(step: Step, of_comparator: bool) -> tuple[Measured, Measured]:
    d = visitation(step.cmdp, step.comparator if of_comparator else step.before)
    change = enclosed_kl(step.comparator, step.after) - enclosed_kl(step.comparator, step.before)
    left = average(d, change.rounded_by(step.rounding))
    values = evaluate(step.cmdp, stack([step.comparator, step.before]), step.f[None]).at_rho
    return left, (values[0, 0] - values[1, 0]) * (-step.eta) + average(d, step.log_z)
