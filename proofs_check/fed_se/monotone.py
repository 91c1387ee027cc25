"""S2: more likely successes are more successes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from proofs_check.fed_se.learner import (
    GARNETS,
    Learner,
    Sides,
    drawn,
    last_probabilities,
    possible,
    row,
    stacked,
    success,
)
from tabular_fedrl.algorithms.fed_se_adapters import adapted, centred, closed_form, improved
from tabular_fedrl.algorithms.fed_se_buffer import exact_weights, sampled_weights
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, identity, tight
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.measured import Measured, dot

Kept = Literal["successes", "failures"]
LAKES = "frozen-lakes:clients=5,H=12"
RANKS, SWEEPS = (1, 2), 3


@dataclass(frozen=True)
class Step:
    """Policies, and what a fit to their episodes makes of them."""

    before: Learner
    after: Learner

    @cached_property
    def likelihood_gain(self) -> Measured:
        r""":math:`F(\pi') - F(\pi) = J(\pi) E_q[\log \pi'/\pi]`"""
        return self.before.gain(self.after, self.before.W)


@dataclass(frozen=True)
class Fits:
    """Full-rank steps to the maximiser, and the sweeps of low-rank fits, one after another from the same
    successes: ``sweeps[r][i]`` is the policy after i sweeps."""

    full: Step
    sweeps: tuple[tuple[Learner, ...], ...]

    @cached_property
    def steps(self) -> list[Step]:
        """From the policy that played to the fitted ones."""
        return [self.full, *(Step(path[0], later) for path in self.sweeps for later in path[1:])]


class Monotone(Theorem):
    r"""Every gain of the filtered likelihood raises the probability of success.

    **Setting.** As in ``fed-se.closed-form``; :math:`J(\pi) > 0` is the probability of success, q the law of
    the episodes of :math:`\pi` given success, :math:`F(\nu) = E_{\tau\sim\pi}[R(\tau)\log\nu(\tau)]`.

    **Statement.** For every policy :math:`\pi'`

    .. math:: \log J(\pi') \ge \log J(\pi) + E_q\Big[\log\frac{\pi'}{\pi}\Big], \qquad
              E_q\Big[\log\frac{\pi'}{\pi}\Big] = \frac{F(\pi') - F(\pi)}{J(\pi)} .

    So :math:`J(\pi') \ge J(\pi)` for every fit that starts from the current policy and does not lower the
    exact filtered likelihood: the closed form, and adapters of any rank on a frozen base after any number of
    sweeps. For the closed form

    .. math:: J(\pi') - J(\pi) = \sum_{h,s} d_h^{\pi'}(s)\,
              \frac{\mathrm{Var}_{\pi_h(\cdot|s)} Q_h(s,\cdot)}{V_h(s)} .

    The likelihood must be the exact one, and of the successes: with a handful of sampled episodes, or with
    the failures in their place, J can fall.

    **Proof.** :math:`J(\pi') \ge \sum_{\tau:\, q(\tau)>0} \pi'(\tau) R(\tau) = J(\pi)\, E_q[\pi'/\pi]`, and
    Jensen's inequality. A sweep of the adapters maximises two quadratic minorants of F in turn. For the
    closed form :math:`\langle\pi'_h, Q_h\rangle - V_h = \langle\pi_h, Q_h^2\rangle/V_h - V_h`, and the
    performance difference lemma.

    **Source.** Theory notes, self-evolution, S2; the method is that of Chen et al. (2025).
    """

    id = "fed-se.monotone"
    mark = "ours"
    source = "theory notes, self-evolution, S2"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("opposed-grid:side=3,clients=3,opposed=1,H=4"),
        Case(LAKES, draws=4),
        Case("episodic-chain:H=4"),
    )
    certified = (
        Case("success-garnet:S=2,A=4,H=2,b=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=2),
        Case("episodic-chain:H=3", draws=2),
    )
    small = {"draws": 3}

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    @hypothesis("some episode succeeds in every environment")
    def successful(self, problem: FederatedEpisodicMDP) -> bool:
        return possible(problem)

    def setup(
        self,
        problem: FederatedEpisodicMDP,
        draws: int = 12,
        seed: int = 0,
        episodes: int | None = None,
        kept: Kept = "successes",
    ) -> Fits:
        """Fits from random policies. ``episodes``: fit to so many sampled ones in place of their law;
        ``kept``: what the filter keeps."""
        rng = np.random.default_rng(seed)
        ending = success(problem)
        before = drawn(rng, ending, draws)
        W = before.plain_W
        if kept == "failures":
            W = exact_weights(ending, before.pi, filtered=False) - W
        if episodes is not None:
            W = np.stack(
                [
                    [sampled_weights(m, p, episodes, rng) for m, p in zip(ending.mdps, row)]
                    for row in before.pi
                ]
            )
        full = Step(before, Learner(ending, closed_form(W, before.pi)))
        return Fits(full, tuple(_sweeps(rng, ending, draws, rank) for rank in RANKS))

    @tight(r"\log J(\pi) + E_q[\log \pi'/\pi] \le \log J(\pi')")
    def jensen(self, x: Fits) -> Sides:
        return stacked((s.before.J.log() + s.likelihood_gain / s.before.J, s.after.J.log()) for s in x.steps)

    @tight(r"F(\pi) \le F(\pi') \text{ for the closed form, and for every sweep of adapters of rank 1 and 2}")
    def likelier(self, x: Fits) -> Sides:
        pairs = [(a, b, path[0].W) for path in x.sweeps for a, b in itertools.pairwise(path)]
        gains = [x.full.likelihood_gain, *(a.gain(b, W) for a, b, W in pairs)]
        return stacked((gain * 0.0, gain) for gain in gains)

    @tight(r"\log J(\pi) \le \log J(\pi')")
    def monotone(self, x: Fits) -> Sides:
        return stacked((s.before.J.log(), s.after.J.log()) for s in x.steps)

    @chain("monotone")
    def monotone_chain(self, x: Fits) -> Iterator[tuple[str, Measured]]:
        yield "left side", row(s.before.J.log() for s in x.steps)
        bound = (s.before.J.log() + s.likelihood_gain / s.before.J for s in x.steps)
        yield "the likelihood does not fall", row(bound)
        yield "Jensen's inequality", row(s.after.J.log() for s in x.steps)

    @identity(r"J(\pi') - J(\pi) = \sum_{h,s} d_h^{\pi'}(s) \mathrm{Var}_{\pi_h} Q_h(s,\cdot)/V_h(s)")
    def gain(self, x: Fits) -> Sides:
        old, new = x.full.before, x.full.after
        off = old.Q - old.V[..., None]
        hopeless = old.plain_W.sum(-1) == 0
        ratio = (dot(old.p, off * off) / old.V.where(hopeless, 1.0)).where(hopeless, 0.0)
        return new.J - old.J, dot(new.d, ratio, (-2, -1))

    @control("a likelihood of ten sampled episodes is not the exact one", Case(GARNETS, episodes=10))
    def sampled(self, x: Fits) -> Sides:
        return x.full.before.J, x.full.after.J

    @control("the filter must keep the successes, not the failures", Case(GARNETS, kept="failures"))
    def failures_kept(self, x: Fits) -> Sides:
        return x.full.before.J, x.full.after.J

    @control("the gain counts where the new policy goes, not the old one", Case(GARNETS))
    def old_visits(self, x: Fits) -> Sides:
        old, new = x.full.before, x.full.after
        off = old.Q - old.V[..., None]
        return new.J - old.J, dot(old.d, dot(old.p, off * off) / old.V, (-2, -1))


def _sweeps(
    rng: np.random.Generator, problem: FederatedEpisodicMDP, draws: int, rank: int
) -> tuple[Learner, ...]:
    """Random adapters, and those after each sweep of a fit to their successes."""
    N, H, S, actions = problem.N, problem.H, problem.S, problem.A
    base, B, A = (
        array(rng.standard_normal((draws, N, *shape)))
        for shape in ((H * S, actions), (H * S, rank), (rank, actions))
    )
    A = centred(A)
    path = [_learner(problem, base, B, A)]
    W: Any = path[0].plain_W.reshape(draws, N, H * S, actions)
    for _ in range(SWEEPS):
        B, A = improved(W, base, B, A, 1)
        path.append(_learner(problem, base, B, A))
    return tuple(path)


def _learner(problem: FederatedEpisodicMDP, base: Any, B: Any, A: Any) -> Learner:
    return Learner(problem, adapted(base, B, A).reshape(*base.shape[:-2], problem.H, problem.S, problem.A))
