"""S3: a buffer that keeps the successes of all rounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.fed_se.learner import (
    EPISODE,
    GARNETS,
    Learner,
    Sides,
    drawn,
    last_probabilities,
    possible,
    stacked,
    success,
)
from tabular_fedrl.algorithms.fed_se_adapters import adapted, closed_form, improved, initial_adapter
from tabular_fedrl.arithmetic import array, log
from tabular_fedrl.balls import Balls
from tabular_fedrl.claims import (
    Case,
    Rows,
    Table,
    Theorem,
    chain,
    control,
    hypothesis,
    identity,
    tight,
    upper,
)
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, repeated
from tabular_fedrl.measured import Measured, dot


@dataclass(frozen=True)
class Path:
    """Policies of successive rounds, each fitted to the successes of all before it."""

    learners: tuple[Learner, ...]

    @cached_property
    def buffers(self) -> list[Measured]:
        r"""What :math:`\pi_{t+1}` is fitted to: :math:`\sum_{i\le t} W^{\pi_i}`, ``(..., K, H, S, A)``."""
        sums = [self.learners[0].W]
        for learner in self.learners[1:-1]:
            sums.append(sums[-1] + learner.W)
        return sums

    @property
    def pairs(self) -> list[tuple[Learner, Learner]]:
        r""":math:`\pi_t, \pi_{t+1}`"""
        return list(zip(self.learners, self.learners[1:]))

    @cached_property
    def likelihood_gains(self) -> list[Measured]:
        r""":math:`F_t(\pi_{t+1}) - F_t(\pi_t)`"""
        return [old.gain(new, old.W) for old, new in self.pairs]


@dataclass(frozen=True)
class Rounds:
    """Paths whose fits are maximisers: over all policies, and over those that are the same at every step; and
    one whose fits are a few sweeps."""

    full: Path
    tied: Path
    partial: Path


def late_bloomer() -> EpisodicMDP:
    """Two steps: the first chooses between an arm that succeeds half of the time, and one that always does,
    if the second step chooses well."""
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1.0
    r = np.zeros((2, 3, 2))
    r[1, 1], r[1, 2, 0] = 0.5, 1.0
    return EpisodicMDP(P, r, [1.0, 0.0, 0.0], 2, state_names=["start", "even", "late"])


EVEN = [0.5, 0.5]
SLOW = [[0.9, 0.1], EVEN, EVEN, EVEN, EVEN, [4e-18, 1.0]]
"""Policy of both steps: the even arm is the likelier, and the late one chooses wrongly for long."""


class CumulativeBuffer(Theorem):
    r"""With all past successes in the buffer J still rises in every round, if every fit is a maximiser.

    **Setting.** :math:`F_t(\nu) = E_{\tau\sim\pi_t}[R(\tau) \log\nu(\tau)]`; in round t the policy is fitted
    to the buffer of all rounds so far, by :math:`G_t = \sum_{i\le t} F_i`, within any class of policies that
    contains :math:`\pi_0` (all of them, adapters of some rank, stationary policies). :math:`J(\pi_0) > 0`.

    **Statement.** If every :math:`\pi_{t+1}` maximises :math:`G_t` over the class, then
    :math:`F_t(\pi_{t+1}) \ge F_t(\pi_t)` and :math:`J(\pi_{t+1}) \ge J(\pi_t)` for all t. Over all policies,
    with :math:`m_t = d^{\pi_t} V^{\pi_t}` and :math:`\lambda_t = m_t/\sum_{i\le t} m_i`,

    .. math:: \pi_{t+1} = \pi_t \Big(1 - \lambda_t + \lambda_t \frac{Q^{\pi_t}}{V^{\pi_t}}\Big), \qquad
              J(\pi_{t+1}) - J(\pi_t) = \sum_{h,s} d^{\pi_{t+1}}_h(s)\, \lambda_{t,h}(s)\,
              \frac{\mathrm{Var}_{\pi_t} Q_h^{\pi_t}(s,\cdot)}{V_h^{\pi_t}(s)} .

    A fit that only does not lower :math:`G_t` costs at most what the one before had left over: with
    :math:`\delta_t = \max_\nu G_{t-1}(\nu) - G_{t-1}(\pi_t)`,

    .. math:: J(\pi_{t+1}) \ge J(\pi_t)\, e^{-\delta_t/J(\pi_t)} ,

    and then J can fall. (The theory notes state the monotone buffer as a conjecture; with maximisers it is
    the theorem above, with fits that merely improve it is false.)

    **Proof.** :math:`G_{t-1}(\pi_{t+1}) \le G_{t-1}(\pi_t) + \delta_t` and
    :math:`G_t(\pi_{t+1}) \ge G_t(\pi_t)`; the difference is :math:`F_t(\pi_{t+1}) \ge F_t(\pi_t) - \delta_t`,
    and ``fed-se.monotone`` turns it into successes; maximisers have :math:`\delta_t = 0`. The formula is the
    closed form of the buffer :math:`\sum_{i\le t} m_i = \sum_{i<t} m_i + m_t` with :math:`\pi_t` the closed
    form of the first part (where that is empty :math:`\lambda_t = 1`), and the gain the performance
    difference lemma.

    **Source.** Theory notes, self-evolution, S3; the buffer is the method of Chen et al. (2025).
    """

    id = "fed-se.buffer"
    mark = "ours"
    source = "theory notes, self-evolution, S3"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("opposed-grid:side=3,clients=3,opposed=1,H=4"),
        Case("frozen-lakes:clients=5,H=12", draws=2),
        Case("episodic-chain:H=4", rounds=12),
    )
    certified = (
        Case("success-garnet:S=2,A=4,H=2,b=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=1, rounds=3),
    )
    small = {"draws": 2, "rounds": 4}
    space = {"start": Table.POLICY, "sweeps": (1, 8)}
    family = "success:S=1..3,A=2..3,H=1..3,N=1"
    effort = 100

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    @hypothesis("some episode succeeds in every environment")
    def successful(self, problem: FederatedEpisodicMDP) -> bool:
        return possible(problem)

    def setup(
        self,
        problem: FederatedEpisodicMDP,
        rounds: int = 6,
        draws: int = 4,
        seed: int = 0,
        sweeps: int = 2,
        start: Rows | None = None,
    ) -> Rounds:
        """Rounds from random policies, or from ``start``: probabilities ``(H*S, A)`` for every client."""
        ending = success(problem)
        shape = ending.N, ending.H, ending.S, ending.A
        if start is None:
            pi = _balls(drawn(np.random.default_rng(seed), ending, draws).pi)
        else:
            table = array(start).reshape(*shape[1:])
            pi = _balls(array(np.zeros((1, *shape))) + table / table.sum(-1)[..., None])
        tied = repeated(pi[..., 0, :, :], ending.H)
        return Rounds(
            Path(_maximisers(ending, pi, rounds, tied=False)),
            Path(_maximisers(ending, tied, rounds, tied=True)),
            Path(_improvements(ending, pi, rounds, sweeps)),
        )

    @tight(r"F_t(\pi_t) \le F_t(\pi_{t+1})")
    def leader(self, x: Rounds) -> Sides:
        return stacked((gain * 0.0, gain) for path in (x.full, x.tied) for gain in path.likelihood_gains)

    @tight(r"J(\pi_t) \le J(\pi_{t+1})")
    def monotone(self, x: Rounds) -> Sides:
        return stacked((old.J, new.J) for path in (x.full, x.tied) for old, new in path.pairs)

    @chain("monotone")
    def monotone_chain(self, x: Rounds) -> Iterator[tuple[str, Measured]]:
        paths = (x.full, x.tied)
        yield "left side", stacked((old.J.log(), old.J) for path in paths for old, _ in path.pairs)[0]
        bound = (
            (old.J.log() + gain / old.J, gain)
            for path in paths
            for (old, _), gain in zip(path.pairs, path.likelihood_gains)
        )
        yield "each fit is a maximiser", stacked(bound)[0]
        yield (
            "Jensen's inequality",
            stacked((new.J.log(), new.J) for path in paths for _, new in path.pairs)[0],
        )

    @identity(
        r"\pi_{t+1} = \pi_t (1 - \lambda_t + \lambda_t Q^{\pi_t}/V^{\pi_t}) \text{ where } V^{\pi_t} > 0"
    )
    def step(self, x: Rounds) -> Sides:
        return stacked(_step(x.full, t) for t in range(len(x.full.pairs)))

    @identity(
        r"J(\pi_{t+1}) - J(\pi_t) = \sum_{h,s} d^{\pi_{t+1}}_h(s) \lambda_{t,h}(s)"
        r" \mathrm{Var}_{\pi_t} Q_h^{\pi_t}(s,\cdot)/V_h^{\pi_t}(s)"
    )
    def gain(self, x: Rounds) -> Sides:
        return stacked(_gain(x.full, t) for t in range(len(x.full.pairs)))

    @upper(r"J(\pi_t) e^{-\delta_t/J(\pi_t)} \le J(\pi_{t+1}) \text{ for fits of a few sweeps}")
    def partial_fits(self, x: Rounds) -> Sides:
        return stacked(_partial(x.partial, t) for t in range(1, len(x.partial.pairs)))

    @control(
        "fits that merely improve the buffer's likelihood: what the first arm earned early outweighs that the"
        " second is better by now",
        Case(late_bloomer(), rounds=8, sweeps=5, start=SLOW),
    )
    def improving_fits(self, x: Rounds) -> Sides:
        return stacked((old.J, new.J) for old, new in x.partial.pairs)


def _maximisers(problem: FederatedEpisodicMDP, pi: Any, rounds: int, *, tied: bool) -> tuple[Learner, ...]:
    """Closed forms of the buffers; ``tied``: of the same probabilities at every step."""
    path, W = [Learner(problem, pi)], 0.0
    for _ in range(rounds):
        W = path[-1].plain_W + W
        law = closed_form(W.sum(-3) if tied else W, pi[..., 0, :, :] if tied else pi)
        pi = repeated(law, problem.H) if tied else law
        path.append(Learner(problem, pi))
    return tuple(path)


def _improvements(problem: FederatedEpisodicMDP, pi: Any, rounds: int, sweeps: int) -> tuple[Learner, ...]:
    """Full-rank fits of a few sweeps, each from where the last one ended."""
    rows = (*pi.shape[:-3], problem.H * problem.S, problem.A)
    with np.errstate(divide="ignore"):
        base = log(pi).reshape(*rows)
    B, A = initial_adapter(rows[-2], rows[-1], None, 0)
    path, W = [Learner(problem, pi)], 0.0
    for _ in range(rounds):
        W = path[-1].plain_W + W
        B, A = improved(W.reshape(*rows), base, B, A, sweeps, fit_A=False)
        path.append(Learner(problem, adapted(base, B, A).reshape(*pi.shape)))
    return tuple(path)


def _share(path: Path, t: int) -> Measured:
    r""":math:`\lambda_t`, 0 where nothing succeeds"""
    total = path.buffers[t].sum(-1)
    none = path.learners[t].plain_W.sum(-1) == 0
    return (path.learners[t].W.sum(-1) / total.where(none, 1.0)).where(none, 0.0)


def _step(path: Path, t: int) -> Sides:
    old, new = path.pairs[t]
    share = _share(path, t)[..., None]
    hopeless = (old.plain_W.sum(-1) == 0)[..., None]
    factor = 1.0 - share + share * old.Q / old.V[..., None].where(hopeless, 1.0)
    return new.p, old.p * factor


def _gain(path: Path, t: int) -> Sides:
    old, new = path.pairs[t]
    off = old.Q - old.V[..., None]
    hopeless = old.plain_W.sum(-1) == 0
    ratio = _share(path, t) * dot(old.p, off * off) / old.V.where(hopeless, 1.0)
    return new.J - old.J, dot(new.d, ratio, (-2, -1))


def _partial(path: Path, t: int) -> Sides:
    """From the second round on, which has a buffer behind it."""
    old, new = path.pairs[t]
    W = path.buffers[t - 1]
    best = Learner(old.problem, closed_form(sum(x.plain_W for x in path.learners[:t]), old.pi))
    missing = dot((best.log - old.log).where(best.outside | old.outside, 0.0), W, EPISODE)
    return old.J * (-(missing / old.J)).exp(), new.J


def _balls(pi: Any) -> Any:
    """Balls in place of rationals, whose digits would multiply in every round."""
    return pi.balls() if isinstance(pi, Balls) else pi
